//! Metadata: checked, and brought to one spelling, so that two requests can be told apart by them.
//!
//! Numbers stay as they were written: a number that no float holds is not taken for its neighbour.

use serde_json::value::RawValue;

use crate::http::code::Code;

/// Longest metadata, in bytes as sent.
const MAX_METADATA: usize = 4096;

/// Deepest metadata; an object without any inside has one level.
const MAX_METADATA_LEVELS: usize = 8;

/// Why metadata are refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) Code, pub(super) String);

impl Fault {
    fn limits() -> Self {
        let detail = "`metadata` must be an object of at most 4 KiB and 8 levels";
        Self(Code::InvalidMetadata, detail.to_owned())
    }
}

/// Checks metadata that are JSON already.
pub(super) fn check(metadata: &RawValue) -> Result<(), Fault> {
    let text = metadata.get();
    if !text.starts_with('{') || text.len() > MAX_METADATA {
        return Err(Fault::limits());
    }
    spell(text).map(drop)
}

/// Spells metadata that were checked: keys sorted, no spaces, strings escaped alike, numbers without
/// sign of zero, trailing zeros and leading zeros of an exponent.
pub(in crate::http) fn canonical(metadata: &RawValue) -> String {
    spell(metadata.get()).unwrap_or_else(|_| metadata.get().to_owned())
}

fn spell(text: &str) -> Result<String, Fault> {
    let mut out = String::with_capacity(text.len());
    Cursor { rest: text }.value(&mut out, 0)?;
    Ok(out)
}

/// Reads text that is known to be JSON.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// The next byte that is no space; 0 at the end.
    fn peek(&mut self) -> u8 {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest.bytes().next().unwrap_or(0)
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or("");
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// Writes one value.
    fn value(&mut self, out: &mut String, level: usize) -> Result<(), Fault> {
        let first = self.peek();
        if matches!(first, b'{' | b'[') && level == MAX_METADATA_LEVELS {
            return Err(Fault::limits());
        }
        match first {
            b'{' => self.object(out, level + 1),
            b'[' => self.array(out, level + 1),
            b'"' => {
                let text = self.string()?;
                quote(out, &text);
                Ok(())
            }
            _ => {
                let end = self.rest.find([',', '}', ']', ' ', '\t', '\n', '\r']);
                let word = self.take(end.unwrap_or(self.rest.len()));
                if first == b'-' || first.is_ascii_digit() {
                    number(out, word);
                } else {
                    out.push_str(word);
                }
                Ok(())
            }
        }
    }

    fn object(&mut self, out: &mut String, level: usize) -> Result<(), Fault> {
        self.skip();
        let mut members: Vec<(String, String)> = Vec::new();
        while !matches!(self.peek(), b'}' | 0) {
            let key = self.string()?;
            self.peek();
            self.skip();
            let mut value = String::new();
            self.value(&mut value, level)?;
            members.push((key, value));
            if self.peek() == b',' {
                self.skip();
            }
        }
        self.skip();
        members.sort_unstable();
        let mut before: Option<&str> = None;
        out.push('{');
        for (key, value) in &members {
            if before == Some(key) {
                let shown = super::shown(key);
                let detail = format!("the key `{shown}` of the metadata is there twice");
                return Err(Fault(Code::InvalidJson, detail));
            }
            if before.is_some() {
                out.push(',');
            }
            before = Some(key);
            quote(out, key);
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        Ok(())
    }

    fn array(&mut self, out: &mut String, level: usize) -> Result<(), Fault> {
        self.skip();
        out.push('[');
        while !matches!(self.peek(), b']' | 0) {
            self.value(out, level)?;
            if self.peek() == b',' {
                self.skip();
                out.push(',');
            }
        }
        self.skip();
        out.push(']');
        Ok(())
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.peek();
        let mut escaped = true;
        let end = self.rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let quoted = self.take(end.map_or(self.rest.len(), |end| end + 1));
        serde_json::from_str(quoted).map_err(|_| {
            let detail = "the metadata have an escape that stands for half a character";
            Fault(Code::InvalidJson, detail.to_owned())
        })
    }
}

fn quote(out: &mut String, text: &str) {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    crate::http::json::push_text(&mut bytes, text);
    out.push_str(&String::from_utf8_lossy(&bytes));
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
        check(&raw).map_err(|fault| fault.0)?;
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
