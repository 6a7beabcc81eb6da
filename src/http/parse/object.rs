//! Bodies of calls that are not made often: types of serde. Every mistake is a problem that names the field.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, IntoDeserializer as _};
use serde_json::error::Category;

use super::{not_json, unknown_field};
use crate::http::error::{Code, Problem};

/// Reads the object of a call that has these fields; a body that is empty or `null` is one without any.
/// `code` is under which a field is refused that has another type.
pub(in crate::http) fn object<T: DeserializeOwned + Default>(
    body: &[u8],
    fields: &[&'static str],
    code: fn(&str) -> Code,
) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    // What is not JSON is that before it is anything else.
    let whole = serde_json::from_slice::<IgnoredAny>(body);
    whole.map_err(|error| not_json(&error))?;
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(not_an_object());
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize::<_, Option<T>>(&mut json);
    read.map(Option::unwrap_or_default)
        .map_err(|error| explain(&error, fields, code))
}

/// Says what is wrong with which field; never what is written there, which may be a secret.
fn explain(
    error: &serde_path_to_error::Error<serde_json::Error>,
    fields: &[&'static str],
    code: fn(&str) -> Code,
) -> Problem {
    if error.inner().classify() != Category::Data {
        return not_json(error.inner());
    }
    let (path, text) = (error.path().to_string(), error.inner().to_string());
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(text, _)| text);
    if text.starts_with("unknown field ") {
        return Problem::new(Code::UnknownField, unknown_field(&path, fields));
    }
    if let Some(field) = text.strip_prefix("duplicate field ") {
        return Problem::new(
            Code::InvalidJson,
            format!("the field {field} is there twice"),
        );
    }
    let expected = text.rsplit_once(", expected ").map_or("", |(_, rest)| rest);
    let expected = match expected {
        "i64" => {
            "a whole number from -9223372036854775808 to 9223372036854775807, without fraction, \
             exponent or quotes"
        }
        expected => expected,
    };
    if path == "." {
        return not_an_object();
    }
    Problem::new(code(&path), format!("`{path}` must be {expected}"))
}

fn not_an_object() -> Problem {
    let detail = "the body must be one JSON object; `null` counts as absent";
    Problem::new(Code::InvalidJson, detail)
}

/// Reads a word of a closed set, of which the type gives the words.
pub(in crate::http) fn word<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    json: D,
) -> Result<Option<T>, D::Error> {
    let word = Option::<String>::deserialize(json)?;
    word.map(|word| T::deserialize(word.into_deserializer()))
        .transpose()
}
