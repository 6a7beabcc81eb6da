//! The fields of one operation: how much, who, and metadata; in a batch also which way and where.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::metadata::{self, Fault};
use super::names::NameMemo;
use super::{NAME_RULE, Trouble, parse};
use crate::counter::{CounterName, Direction, UserId};
use crate::http::error::{Code, Problem};

/// The body of an increment or decrement.
#[derive(Debug)]
pub(in crate::http) struct Change<'a> {
    pub(in crate::http) amount: i64,
    pub(in crate::http) user_id: Option<UserId>,
    /// Checked, and of use only to tell two requests apart.
    pub(in crate::http) metadata: Option<&'a RawValue>,
}

/// Reads the body of an increment or decrement. An empty one is allowed.
pub(in crate::http) fn change(body: &[u8]) -> Result<Change<'_>, Problem> {
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

/// The fields of one operation, as far as they came.
#[derive(Default)]
pub(super) struct Parsed<'a> {
    pub(super) amount: Option<i64>,
    pub(super) user_id: Option<UserId>,
    pub(super) metadata: Option<&'a RawValue>,
    pub(super) direction: Option<Direction>,
    pub(super) counter: Option<CounterName>,
}

/// Reads the fields of one operation.
#[derive(Clone, Copy)]
pub(super) struct Fields<'t> {
    pub(super) trouble: &'t Trouble,
    /// In a batch, `op` and `name` are among them; the names met are remembered.
    pub(super) batch: Option<&'t RefCell<NameMemo>>,
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
                    let refused = Refused {
                        field: "user_id",
                        code: Code::InvalidUserId,
                        detail,
                    };
                    let read = |text: &str| UserId::parse(text).ok();
                    parsed.user_id = map.next_value_seed(Text {
                        trouble,
                        refused,
                        read,
                    })?;
                }
                Field::Metadata => {
                    parsed.metadata = map.next_value::<Option<&RawValue>>()?;
                    let checked = parsed.metadata.map_or(Ok(()), metadata::check);
                    checked.map_err(|Fault(code, detail)| trouble.raise(code, detail))?;
                }
                Field::Op => {
                    let refused = Refused {
                        field: "op",
                        code: Code::InvalidBatch,
                        detail: "`op` must be `increment` or `decrement`",
                    };
                    parsed.direction = map.next_value_seed(Text {
                        trouble,
                        refused,
                        read: direction,
                    })?;
                }
                Field::Name => {
                    let refused = Refused {
                        field: "name",
                        code: Code::InvalidName,
                        detail: NAME_RULE,
                    };
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

/// The methods of a visitor for what is refused: these types, lists and objects.
macro_rules! refused {
    ($($visit:ident: $other:ty),+) => {
        $(fn $visit<E: de::Error>(self, _: $other) -> Result<Self::Value, E> {
            Err(self.refuse())
        })+

        fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(self.refuse())
        }

        fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(self.refuse())
        }
    };
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

    refused!(visit_i64: i64, visit_f64: f64, visit_bool: bool, visit_str: &str);
}

/// How a field is refused that must be a string of some form.
pub(super) struct Refused {
    pub(super) field: &'static str,
    pub(super) code: Code,
    /// What is said of a string of another form.
    pub(super) detail: &'static str,
}

/// A string that `read` understands; anything else is `refused`.
pub(super) struct Text<'t, R> {
    pub(super) trouble: &'t Trouble,
    pub(super) refused: Refused,
    pub(super) read: R,
}

impl<R> Text<'_, R> {
    fn refuse<E: de::Error>(&self) -> E {
        let Refused { field, code, .. } = self.refused;
        let detail = format!("`{field}` must be a JSON string, in quotes");
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
        let (trouble, Refused { code, detail, .. }) = (self.trouble, self.refused);
        match (self.read)(text) {
            Some(value) => Ok(Some(value)),
            None => Err(trouble.raise(code, detail)),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    refused!(visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_bool: bool);
}
