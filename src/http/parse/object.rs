//! The small objects of administrative calls, read field by field.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Trouble, listed, parse, unknown_field};
use crate::http::error::{Code, Problem};

/// The fields of an administrative call, in the order sent, none twice.
pub(in crate::http) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

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
    pub(in crate::http) fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let trouble = Trouble::default();
        parse(body, &trouble, ObjectBody(&trouble))
    }

    /// Refuses fields that are not among the known ones.
    pub(in crate::http) fn only(&self, known: &[&'static str]) -> Result<(), Problem> {
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
    pub(in crate::http) fn text(
        &self,
        field: &'static str,
        code: Code,
    ) -> Result<Option<String>, Problem> {
        self.read(field, code, "a string")
    }

    /// A whole number of 64 bits, without fraction or exponent.
    pub(in crate::http) fn integer(
        &self,
        field: &'static str,
        code: Code,
    ) -> Result<Option<i64>, Problem> {
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
    pub(in crate::http) fn word<T: Copy>(
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
