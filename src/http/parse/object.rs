//! Bodies as types of serde. They are read fast; only a body with a mistake is read once more, in a slower
//! way that knows the field.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde_json::error::Category;
use serde_path_to_error::Segment;

use super::unknown_field;
use crate::http::error::{Code, Extras, Problem};

/// Reads the object of a call; a body that is empty or `null` is one without fields.
pub(in crate::http) fn object<'de, T: Deserialize<'de> + Default>(
    body: &'de [u8],
) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    read(body)
}

/// Reads the object of a call that needs a body.
pub(super) fn read<'de, T: Deserialize<'de> + Default>(body: &'de [u8]) -> Result<T, Problem> {
    match serde_json::from_slice(body) {
        Ok(Object(object)) => Ok(object),
        Err(_) => Err(explain::<T>(body)),
    }
}

/// A JSON object; `null` is one without fields. serde alone would take a list of values for an object too.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Object(T::default()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// Reads a string, which is copied only when it has escapes; `null` is none.
pub(super) fn text<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    json.deserialize_any(TextVisitor)
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }
}

/// Returns the error of the parser by which [`explain`] says what is wanted.
pub(super) fn wanted<E: de::Error>(what: &str) -> E {
    E::invalid_value(Unexpected::Other("another"), &what)
}

/// Says what is wrong with which field; never what is written there, which may be a secret.
#[cold]
fn explain<'de, T: Deserialize<'de> + Default>(body: &'de [u8]) -> Problem {
    // What is not JSON is that before it is anything else.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(body) {
        return not_json(&error);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let Err(error) = serde_path_to_error::deserialize::<_, Object<T>>(&mut json) else {
        return not_an_object();
    };
    if error.inner().classify() != Category::Data {
        return not_json(error.inner());
    }
    let (mut index, mut field) = (None, None);
    for segment in error.path() {
        match segment {
            Segment::Seq { index: at } => (index, field) = (Some(*at), None),
            Segment::Map { key } => field = Some(key.as_str()),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let text = error.inner().to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(text, _)| text);
    let (fault, expected) = text.rsplit_once(", expected ").unwrap_or((text, ""));
    let problem = match field {
        _ if fault.starts_with("duplicate field ") => {
            let field = fault.trim_start_matches("duplicate field ");
            let detail = format!("the field {field} is there twice");
            Problem::new(Code::InvalidJson, detail)
        }
        Some(field) if fault.starts_with("unknown field ") => {
            // The parser lists those it knows: one of `a`, `b`.
            let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
            unknown_field(field, &known)
        }
        Some(field) => {
            let wanted = match expected {
                "a string" => "a JSON string, in quotes",
                "i64" => {
                    "a whole number from -9223372036854775808 to 9223372036854775807, without \
                     fraction, exponent or quotes"
                }
                other => other,
            };
            Problem::new(code_of(field), format!("`{field}` must be {wanted}"))
        }
        None if index.is_some() => {
            let detail = "it must be an object with `op` and `name`";
            Problem::new(Code::InvalidJson, detail)
        }
        None => not_an_object(),
    };
    match index {
        Some(index) => in_operation(problem, index),
        None => problem,
    }
}

/// Returns the code under which a field is refused that has another type or form.
fn code_of(field: &str) -> Code {
    match field {
        "value" | "delta" | "admin_token" => Code::InvalidValue,
        "user_id" => Code::InvalidUserId,
        "session" => Code::InvalidSession,
        "metadata" => Code::InvalidMetadata,
        "op" | "mode" => Code::InvalidBatch,
        "operations" => Code::InvalidJson,
        "name" => Code::InvalidName,
        "reason" => Code::InvalidAdjustment,
        _ => Code::InvalidDefinition,
    }
}

/// Says in which operation of a batch the problem is.
pub(in crate::http) fn in_operation(mut problem: Problem, index: usize) -> Problem {
    problem.detail = format!("operation {index}: {}", problem.detail).into();
    problem.with(Extras::Index { index })
}

fn not_an_object() -> Problem {
    let detail = "the body must be one JSON object; `null` counts as absent";
    Problem::new(Code::InvalidJson, detail)
}

/// Says where the JSON ends to be JSON; never what is written there, which may be a secret.
fn not_json(error: &serde_json::Error) -> Problem {
    let place = format!("line {}, column {}", error.line(), error.column());
    // The parser takes a number beyond every float for a mistake of syntax.
    if error.to_string().starts_with("number out of range") {
        let detail = format!("the number at {place} is out of range");
        return Problem::new(Code::InvalidValue, detail);
    }
    let detail = if error.is_eof() {
        "the body ends in the middle of its JSON"
    } else {
        "the body is not JSON in UTF-8"
    };
    Problem::new(Code::InvalidJson, format!("{detail}: {place}"))
}
