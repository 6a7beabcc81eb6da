//! What clients send: bodies of increments, decrements and batches, and the small objects of
//! administrative calls. Parsing happens once, here; what comes out has types that hold.
//!
//! `null` is absent everywhere. A field twice, an unknown field or another type is an error with a
//! code of its own.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{Code, Problem};
use crate::counter::{CounterName, Direction, Operation, UserId};

/// Most operations of a batch.
pub(super) const MAX_BATCH: usize = 1000;

/// Longest metadata, in bytes as sent.
const MAX_METADATA: usize = 4096;

/// Deepest metadata; an object without any inside has one level.
const MAX_METADATA_LEVELS: usize = 8;

/// What a name may be.
const NAME_RULE: &str = "a counter name is 1 to 100 characters of a-z, 0-9, '_', '.', ':', '-', starting \
                         with a letter or digit, not ending in ':meta' and not containing ':users:'";

/// The counter that a path or query names.
pub(super) fn name(text: &str) -> Result<CounterName, Problem> {
    CounterName::parse(text).map_err(|_| Problem::new(Code::InvalidName, NAME_RULE))
}

/// The body of an increment or decrement.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) amount: i64,
    pub(super) user_id: Option<UserId>,
    /// Checked, and of use only to tell two requests apart.
    pub(super) metadata: Option<&'a RawValue>,
}

/// The body of a batch.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) operations: Vec<Operation>,
    /// The metadata of those operations that have some, by index.
    pub(super) metadata: Vec<(usize, &'a RawValue)>,
}

/// Reads the body of an increment or decrement. An empty one is allowed.
pub(super) fn change(body: &[u8]) -> Result<Change<'_>, Problem> {
    if body.is_empty() {
        return Ok(Change {
            amount: 1,
            user_id: None,
            metadata: None,
        });
    }
    let trouble = Trouble::default();
    let fields = parse(
        body,
        &trouble,
        Fields {
            trouble: &trouble,
            batch: None,
        },
    )?;
    Ok(Change {
        amount: fields.amount.unwrap_or(1),
        user_id: fields.user_id,
        metadata: fields.metadata,
    })
}

/// Reads the body of a batch.
pub(super) fn batch(body: &[u8]) -> Result<Batch<'_>, Problem> {
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

/// Runs a parser over the whole body.
pub(super) fn parse<'de, S>(
    body: &'de [u8],
    trouble: &Trouble,
    seed: S,
) -> Result<S::Value, Problem>
where
    S: DeserializeSeed<'de>,
{
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = seed
        .deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value));
    parsed.map_err(|error| trouble.0.take().unwrap_or_else(|| not_json(&error)))
}

/// Says where the JSON ends to be JSON; never what is written there, which may be a secret.
fn not_json(error: &serde_json::Error) -> Problem {
    let detail = match error.classify() {
        serde_json::error::Category::Data => {
            return Problem::new(
                Code::InvalidJson,
                "the body must be one JSON object; `null` counts as absent",
            );
        }
        serde_json::error::Category::Eof => "the body ends in the middle of its JSON",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
            "the body is not JSON in UTF-8"
        }
    };
    Problem::new(
        Code::InvalidJson,
        format!("{detail}: line {}, column {}", error.line(), error.column()),
    )
}

/// The problem behind an error of the parser, which has no place for a code.
#[derive(Default)]
pub(super) struct Trouble(Cell<Option<Problem>>);

impl Trouble {
    fn raise<E: de::Error>(&self, code: Code, detail: impl Into<Cow<'static, str>>) -> E {
        self.0.set(Some(Problem::new(code, detail)));
        E::custom("")
    }

    fn unknown<E: de::Error>(&self, field: &str, known: &[&'static str]) -> E {
        self.raise(Code::UnknownField, unknown_field(field, known))
    }

    fn twice<E: de::Error>(&self, field: &str) -> E {
        self.raise(
            Code::InvalidJson,
            format!("the field `{field}` is there twice"),
        )
    }

    /// Says in which operation of a batch it happened.
    fn locate(&self, index: usize) {
        if let Some(mut problem) = self.0.take() {
            problem.detail = format!("operation {index}: {}", problem.detail).into();
            self.0.set(Some(problem.with("index", index)));
        }
    }
}

/// Names an unknown field and the known one that is most like it.
pub(super) fn unknown_field(field: &str, known: &[&'static str]) -> String {
    let shown: String = field.chars().take(50).collect();
    let near = known
        .iter()
        .map(|known| {
            (
                strsim::jaro_winkler(known, &shown.to_ascii_lowercase()),
                known,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, near)) => format!("unknown field {shown:?}; did you mean `{near}`?"),
        None => format!("unknown field {shown:?}; known are {}", listed(known)),
    }
}

fn listed(words: &[&'static str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Checks metadata that are JSON already.
fn check_metadata(metadata: &RawValue) -> bool {
    let text = metadata.get();
    if !text.starts_with('{') || text.len() > MAX_METADATA {
        return false;
    }
    let (mut level, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                level += 1;
                deepest = deepest.max(level);
            }
            b'}' | b']' if !in_string => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest <= MAX_METADATA_LEVELS
}

/// The fields of one operation, as far as they came.
#[derive(Default)]
struct Parsed<'a> {
    amount: Option<i64>,
    user_id: Option<UserId>,
    metadata: Option<&'a RawValue>,
    direction: Option<Direction>,
    counter: Option<CounterName>,
}

/// Reads the fields of one operation.
#[derive(Clone, Copy)]
struct Fields<'t> {
    trouble: &'t Trouble,
    /// In a batch, `op` and `name` are among them; the names met are remembered.
    batch: Option<&'t RefCell<NameMemo>>,
}

const CHANGE_FIELDS: &[&str] = &["value", "user_id", "metadata"];
const OPERATION_FIELDS: &[&str] = &["op", "name", "value", "user_id", "metadata"];

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Parsed<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Parsed<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Parsed::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let trouble = self.trouble;
        let mut parsed = Parsed::default();
        let mut seen = 0u8;
        while let Some(field) = map.next_key_seed(FieldSeed(self))? {
            let bit = 1 << field as u8;
            if seen & bit != 0 {
                return Err(trouble.twice(field.as_str()));
            }
            seen |= bit;
            match field {
                Field::Value => parsed.amount = map.next_value_seed(Amount(trouble))?,
                Field::UserId => {
                    let detail =
                        "`user_id` must be 1 to 128 bytes of UTF-8 without control characters";
                    let refused = (Code::InvalidUserId, detail);
                    let read = |text: &str| UserId::parse(text).ok();
                    parsed.user_id = map.next_value_seed(Text {
                        trouble,
                        refused,
                        read,
                    })?;
                }
                Field::Metadata => {
                    parsed.metadata = map.next_value::<Option<&RawValue>>()?;
                    if !parsed.metadata.is_none_or(check_metadata) {
                        let detail = "`metadata` must be an object of at most 4 KiB and 8 levels";
                        return Err(trouble.raise(Code::InvalidMetadata, detail));
                    }
                }
                Field::Op => {
                    let refused = (
                        Code::InvalidBatch,
                        "`op` must be `increment` or `decrement`",
                    );
                    parsed.direction = map.next_value_seed(Text {
                        trouble,
                        refused,
                        read: direction,
                    })?;
                }
                Field::Name => {
                    let refused = (Code::InvalidName, NAME_RULE);
                    let read =
                        |text: &str| self.batch.and_then(|names| names.borrow_mut().parse(text));
                    parsed.counter = map.next_value_seed(Text {
                        trouble,
                        refused,
                        read,
                    })?;
                }
            }
        }
        Ok(parsed)
    }
}

fn direction(op: &str) -> Option<Direction> {
    match op {
        "increment" => Some(Direction::Increment),
        "decrement" => Some(Direction::Decrement),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Field {
    Value,
    UserId,
    Metadata,
    Op,
    Name,
}

impl Field {
    fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::UserId => "user_id",
            Self::Metadata => "metadata",
            Self::Op => "op",
            Self::Name => "name",
        }
    }
}

/// A field's name.
struct FieldSeed<'t>(Fields<'t>);

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Field, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldSeed<'_> {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Field, E> {
        let in_batch = self.0.batch.is_some();
        match name {
            "value" => Ok(Field::Value),
            "user_id" => Ok(Field::UserId),
            "metadata" => Ok(Field::Metadata),
            "op" if in_batch => Ok(Field::Op),
            "name" if in_batch => Ok(Field::Name),
            unknown => {
                let known = if in_batch {
                    OPERATION_FIELDS
                } else {
                    CHANGE_FIELDS
                };
                Err(self.0.trouble.unknown(unknown, known))
            }
        }
    }
}

/// By how much: a whole number from 1 on. Fractions and exponents come as floats.
struct Amount<'t>(&'t Trouble);

impl Amount<'_> {
    fn refuse<E: de::Error>(&self) -> E {
        let detail = "`value` must be a whole number from 1 to 9223372036854775807, \
                      without fraction, exponent or quotes";
        self.0.raise(Code::InvalidValue, detail)
    }
}

impl<'de> DeserializeSeed<'de> for Amount<'_> {
    type Value = Option<i64>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Amount<'_> {
    type Value = Option<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        match i64::try_from(number) {
            Ok(amount) if amount > 0 => Ok(Some(amount)),
            Ok(_) | Err(_) => Err(self.refuse()),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Err(self.refuse())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Err(self.refuse())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Err(self.refuse())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(self.refuse())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.refuse())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.refuse())
    }
}

/// A string that `read` understands; anything else is `refused`.
struct Text<'t, R> {
    trouble: &'t Trouble,
    refused: (Code, &'static str),
    read: R,
}

impl<R> Text<'_, R> {
    fn refuse<E: de::Error>(&self) -> E {
        let (code, detail) = self.refused;
        self.trouble.raise(code, detail)
    }
}

impl<'de, T, R: FnOnce(&str) -> Option<T>> DeserializeSeed<'de> for Text<'_, R> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<T>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T, R: FnOnce(&str) -> Option<T>> Visitor<'de> for Text<'_, R> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<T>, E> {
        let (trouble, (code, detail)) = (self.trouble, self.refused);
        match (self.read)(text) {
            Some(value) => Ok(Some(value)),
            None => Err(trouble.raise(code, detail)),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Option<T>, E> {
        Err(self.refuse())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Option<T>, E> {
        Err(self.refuse())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Option<T>, E> {
        Err(self.refuse())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Option<T>, E> {
        Err(self.refuse())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Option<T>, A::Error> {
        Err(self.refuse())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Option<T>, A::Error> {
        Err(self.refuse())
    }
}

/// Names met in a batch: operations that repeat a name share it without checking it again.
struct NameMemo(Vec<Option<CounterName>>);

impl NameMemo {
    const PLACES: usize = 256;

    fn new() -> Self {
        Self(vec![None; Self::PLACES])
    }

    fn parse(&mut self, text: &str) -> Option<CounterName> {
        let place = self
            .0
            .get_mut(xxh3_64(text.as_bytes()) as usize % Self::PLACES)?;
        match place {
            Some(name) if name.as_str() == text => Some(name.clone()),
            Some(_) | None => {
                let name = CounterName::parse(text).ok()?;
                *place = Some(name.clone());
                Some(name)
            }
        }
    }
}

/// `{"operations":[…]}`
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
        let mut batch = None;
        while let Some(field) = map.next_key::<Cow<'_, str>>()? {
            if field != "operations" {
                return Err(self.0.unknown(&field, &["operations"]));
            }
            if batch.is_some() {
                return Err(self.0.twice("operations"));
            }
            batch = Some(map.next_value_seed(Operations(self.0))?);
        }
        Ok(batch.unwrap_or(Batch {
            operations: Vec::new(),
            metadata: Vec::new(),
        }))
    }
}

struct Operations<'t>(&'t Trouble);

impl<'de> DeserializeSeed<'de> for Operations<'_> {
    type Value = Batch<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Batch<'de>, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Operations<'_> {
    type Value = Batch<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of operations")
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
            metadata: Vec::new(),
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
            let Some(parsed) = list
                .next_element_seed(fields)
                .inspect_err(|_| trouble.locate(index))?
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

/// The fields of an administrative call, in the order sent, none twice.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

struct ObjectBody<'t>(&'t Trouble);

impl<'de> DeserializeSeed<'de> for ObjectBody<'_> {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Object<'de>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ObjectBody<'_> {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Object<'de>, E> {
        Ok(Object(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
        while let Some(field) = map.next_key::<Cow<'de, str>>()? {
            if fields.iter().any(|(known, _)| *known == field) {
                return Err(self.0.twice(&field));
            }
            // No call has as many; this bounds the look above.
            if fields.len() == 50 {
                return Err(self.0.raise(
                    Code::UnknownField,
                    "there are more fields than any call has",
                ));
            }
            fields.push((field, map.next_value()?));
        }
        Ok(Object(fields))
    }
}

impl<'a> Object<'a> {
    /// Reads an object; an empty body is one without fields.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let trouble = Trouble::default();
        parse(body, &trouble, ObjectBody(&trouble))
    }

    /// Refuses fields that are not among the known ones.
    pub(super) fn only(&self, known: &[&'static str]) -> Result<(), Problem> {
        let unknown = self
            .0
            .iter()
            .find(|(field, _)| !known.contains(&field.as_ref()));
        match unknown {
            Some((field, _)) => Err(Problem::new(
                Code::UnknownField,
                unknown_field(field, known),
            )),
            None => Ok(()),
        }
    }

    /// The JSON of a field; none when it is absent or `null`.
    fn raw(&self, field: &str) -> Option<&'a str> {
        let (_, raw) = self.0.iter().find(|(name, _)| name == field)?;
        (raw.get() != "null").then_some(raw.get())
    }

    /// A string.
    pub(super) fn text(&self, field: &'static str, code: Code) -> Result<Option<String>, Problem> {
        self.read(field, code, "a string")
    }

    /// A whole number of 64 bits, without fraction or exponent.
    pub(super) fn integer(&self, field: &'static str, code: Code) -> Result<Option<i64>, Problem> {
        let wanted = "a whole number from -9223372036854775808 to 9223372036854775807, without fraction, \
                      exponent or quotes";
        self.read(field, code, wanted)
    }

    fn read<T: de::DeserializeOwned>(
        &self,
        field: &'static str,
        code: Code,
        wanted: &str,
    ) -> Result<Option<T>, Problem> {
        let read = self.raw(field).map(serde_json::from_str::<T>).transpose();
        read.map_err(|_| Problem::new(code, format!("`{field}` must be {wanted}")))
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &self,
        field: &'static str,
        words: &[T],
        name: fn(T) -> &'static str,
        code: Code,
    ) -> Result<Option<T>, Problem> {
        let Some(raw) = self.raw(field) else {
            return Ok(None);
        };
        let text: Option<String> = serde_json::from_str(raw).ok();
        let word = words
            .iter()
            .copied()
            .find(|word| text.as_deref() == Some(name(*word)));
        let names: Vec<&'static str> = words.iter().map(|word| name(*word)).collect();
        word.map(Some).ok_or_else(|| {
            Problem::new(code, format!("`{field}` must be one of {}", listed(&names)))
        })
    }
}

#[cfg(test)]
mod tests;
