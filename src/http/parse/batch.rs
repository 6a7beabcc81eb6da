//! The body of a batch, read in one go: at most one allocation for each name and user id met.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::names::NameMemo;
use super::operation::{Fields, Refused, Text};
use super::{Trouble, parse};
use crate::counter::Operation;
use crate::http::error::{Code, Problem};

/// Most operations of a batch.
const MAX_BATCH: usize = 1000;

/// The body of a batch.
#[derive(Debug, Default)]
pub(in crate::http) struct Batch<'a> {
    pub(in crate::http) operations: Vec<Operation>,
    /// Whether each operation is judged by itself.
    pub(in crate::http) each: bool,
    /// The metadata of those operations that have some, by index.
    pub(in crate::http) metadata: Vec<(usize, &'a RawValue)>,
}

/// Reads the body of a batch.
pub(in crate::http) fn batch(body: &[u8]) -> Result<Batch<'_>, Problem> {
    let trouble = Trouble::default();
    let batch = parse(body, &trouble, BatchBody(&trouble))?;
    if batch.operations.is_empty() {
        return Err(Problem::new(
            Code::InvalidBatch,
            "send `operations`: 1 to 1000 objects with `op` and `name`",
        ));
    }
    Ok(batch)
}

/// `{"operations":[…],"mode":"all"}`
struct BatchBody<'t>(&'t Trouble);

impl<'de> DeserializeSeed<'de> for BatchBody<'_> {
    type Value = Batch<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Batch<'de>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BatchBody<'_> {
    type Value = Batch<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with operations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Batch<'de>, A::Error> {
        let (mut batch, mut mode) = (None, None);
        while let Some(field) = map.next_key::<Cow<'_, str>>()? {
            if field == "mode" {
                if mode.is_some() {
                    return Err(self.0.twice("mode"));
                }
                mode = Some(map.next_value_seed(Text {
                    trouble: self.0,
                    refused: Refused {
                        field: "mode",
                        code: Code::InvalidBatch,
                        detail: "`mode` must be `all` or `each`",
                    },
                    read: |mode: &str| match mode {
                        "all" => Some(false),
                        "each" => Some(true),
                        _ => None,
                    },
                })?);
                continue;
            }
            if field != "operations" {
                return Err(self.0.unknown(&field, &["operations", "mode"]));
            }
            if batch.is_some() {
                return Err(self.0.twice("operations"));
            }
            let operations = map.next_value_seed(Operations(self.0)).inspect_err(|_| {
                let detail = "`operations` must be an array of objects";
                self.0.otherwise(Code::InvalidJson, detail);
            })?;
            batch = Some(operations);
        }
        let mut batch = batch.unwrap_or_default();
        batch.each = mode.flatten().unwrap_or(false);
        Ok(batch)
    }
}

struct Operations<'t>(&'t Trouble);

impl<'de> DeserializeSeed<'de> for Operations<'_> {
    type Value = Batch<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Batch<'de>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Operations<'_> {
    type Value = Batch<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of operations")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Batch<'de>, E> {
        Ok(Batch::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Batch<'de>, A::Error> {
        let trouble = self.0;
        let names = RefCell::new(NameMemo::new());
        let fields = Fields {
            trouble,
            batch: Some(&names),
        };
        let mut batch = Batch {
            operations: Vec::with_capacity(MAX_BATCH),
            ..Batch::default()
        };
        loop {
            let index = batch.operations.len();
            if index == MAX_BATCH {
                if list.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(batch);
                }
                return Err(
                    trouble.raise(Code::InvalidBatch, "a batch has at most 1000 operations")
                );
            }
            let Some(parsed) = list.next_element_seed(fields).inspect_err(|_| {
                let detail = "it must be an object with `op` and `name`";
                trouble.otherwise(Code::InvalidJson, detail);
                trouble.locate(index);
            })?
            else {
                return Ok(batch);
            };
            let (Some(direction), Some(counter)) = (parsed.direction, parsed.counter) else {
                let missing = if parsed.direction.is_none() {
                    "op"
                } else {
                    "name"
                };
                let error = trouble.raise(Code::InvalidBatch, format!("`{missing}` is missing"));
                trouble.locate(index);
                return Err(error);
            };
            batch
                .metadata
                .extend(parsed.metadata.map(|metadata| (index, metadata)));
            let amount = parsed.amount.unwrap_or(1);
            batch.operations.push(Operation {
                counter,
                direction,
                amount,
                user_id: parsed.user_id,
            });
        }
    }
}
