//! Metadata: checked, and brought to one spelling, so that two requests can be told apart by them.
//!
//! Numbers stay as they were written: a number that no float holds is not taken for its neighbour.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::http::error::{Code, Problem};

/// Longest metadata, in bytes as sent.
const MAX_METADATA: usize = 4096;

/// Deepest metadata; an object without any inside has one level.
const MAX_METADATA_LEVELS: usize = 8;

/// Checks metadata that are JSON already.
pub(super) fn check(metadata: &RawValue) -> Result<(), Problem> {
    let text = metadata.get();
    if !text.starts_with('{') || text.len() > MAX_METADATA {
        return Err(beyond_limits());
    }
    spell(text, &mut String::new(), 0)
}

/// Spells metadata that were checked: keys sorted, no spaces, strings escaped alike, numbers without
/// sign of zero, trailing zeros and leading zeros of an exponent.
pub(in crate::http) fn canonical(metadata: &RawValue) -> String {
    let mut out = String::with_capacity(metadata.get().len());
    match spell(metadata.get(), &mut out, 0) {
        Ok(()) => out,
        Err(_) => metadata.get().to_owned(),
    }
}

/// Appends JSON in its one spelling. `level` counts the lists and objects around it.
fn spell(json: &str, out: &mut String, level: usize) -> Result<(), Problem> {
    match json.as_bytes().first() {
        Some(b'{' | b'[') if level == MAX_METADATA_LEVELS => return Err(beyond_limits()),
        Some(b'{') => {
            let Members(mut members) = part(json)?;
            members.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            let mut before = None;
            for (key, value) in &members {
                if before == Some(key) {
                    let shown = super::shown(key);
                    let detail = format!("the key `{shown}` of the metadata is there twice");
                    return Err(Problem::new(Code::InvalidJson, detail));
                }
                out.push(if before.is_none() { '{' } else { ',' });
                before = Some(key);
                quote(out, key);
                out.push(':');
                spell(value.get(), out, level + 1)?;
            }
            out.push_str(if before.is_none() { "{}" } else { "}" });
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = part(json)?;
            out.push('[');
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                spell(item.get(), out, level + 1)?;
            }
            out.push(']');
        }
        Some(b'"') => quote(out, &part::<String>(json)?),
        Some(b'-' | b'0'..=b'9') => number(out, json),
        Some(_) | None => out.push_str(json),
    }
    Ok(())
}

/// Reads one level of what is known to be JSON.
fn part<'de, T: Deserialize<'de>>(json: &'de str) -> Result<T, Problem> {
    serde_json::from_str(json).map_err(|_| {
        let detail = "the metadata have an escape that stands for half a character";
        Problem::new(Code::InvalidJson, detail)
    })
}

/// The members of an object in the order sent. A key that is there twice comes twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

fn beyond_limits() -> Problem {
    let detail = "`metadata` must be an object of at most 4 KiB and 8 levels";
    Problem::new(Code::InvalidMetadata, detail)
}

/// Appends a string with its quotes. What is stored under a key is bound to these escapes.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..' ' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// Writes a number as it was written, but for what does not change it.
fn number(out: &mut String, word: &str) {
    let (mantissa, exponent) = word.split_once(['e', 'E']).unwrap_or((word, ""));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_zero = |digits: &str| digits.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    if is_zero(whole) && is_zero(fraction) {
        out.push_str(if fraction.is_empty() { "0" } else { "0.0" });
        return;
    }
    out.push_str(whole);
    if !fraction.is_empty() {
        let fraction = fraction.trim_end_matches('0');
        out.push('.');
        // 1.0 is not 1, as ever: what is stored under a key speaks of either.
        out.push_str(if fraction.is_empty() { "0" } else { fraction });
    }
    let below = exponent.starts_with('-');
    let exponent = exponent
        .trim_start_matches(['+', '-'])
        .trim_start_matches('0');
    if !exponent.is_empty() {
        out.push_str(if below { "e-" } else { "e" });
        out.push_str(exponent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(json: &str) -> Result<String, Code> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        check(&raw).map_err(|problem| problem.code)?;
        Ok(canonical(&raw))
    }

    #[test]
    fn numbers_stay_as_they_were_written() {
        for (written, want) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00e9", "0.0"),
            ("1.50", "1.5"),
            ("1.000", "1.0"),
            ("-100", "-100"),
            ("1E+016", "1e16"),
            ("2.0e-007", "2.0e-7"),
            ("3e00", "3"),
            ("18446744073709551616", "18446744073709551616"),
            ("18446744073709551617", "18446744073709551617"),
            ("9007199254740993.0", "9007199254740993.0"),
            ("0.1000000000000000001", "0.1000000000000000001"),
        ] {
            let got = spelt(&format!("{{\"a\":[{written} ,true, null ]}}"));
            assert_eq!(
                got,
                Ok(format!("{{\"a\":[{want},true,null]}}")),
                "{written}"
            );
        }
    }

    #[test]
    fn any_spelling_of_the_same_is_the_same() {
        let text = " { \"b\\u0062\" : { } , \"a\" : [ ] ,\"\\\"\":\"\\u00fc\\\\\\n\" } ".trim();
        assert_eq!(spelt(text).unwrap(), r#"{"\"":"ü\\\n","a":[],"bb":{}}"#);
    }

    #[test]
    fn each_string_has_one_escape_for_each_character() {
        let all: String = ('\0'..='\u{a0}').chain(['"', '\\', '€', '𝄞']).collect();
        let mut quoted = String::new();
        quote(&mut quoted, &all);
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), all);
        let escaped = r#"{"a":"\b\f\u0001\/\u007f"}"#;
        assert_eq!(
            spelt(escaped).unwrap(),
            "{\"a\":\"\\u0008\\u000c\\u0001/\u{7f}\"}"
        );
    }

    #[test]
    fn keys_there_twice_and_half_characters_are_refused() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":[{"a":1,"b":2,"a":3}]}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"\udc00":1}"#,
        ] {
            assert_eq!(spelt(bad), Err(Code::InvalidJson), "{bad}");
        }
        assert_eq!(spelt("[]"), Err(Code::InvalidMetadata));
        let deep =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(spelt(&deep(7)).is_ok());
        assert_eq!(spelt(&deep(8)), Err(Code::InvalidMetadata));
    }
}
