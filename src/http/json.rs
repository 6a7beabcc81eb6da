//! Writing JSON by hand, for answers that are made a hundred thousand times a second.

use serde_json::Value;

/// Appends a whole number.
pub(super) fn push_i64(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_u64(out, number.unsigned_abs());
}

/// Appends a whole number.
pub(super) fn push_u64(out: &mut Vec<u8>, mut number: u64) {
    // 20 digits hold any u64.
    let mut digits = [0u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend(digits.iter().skip(20 - used));
}

/// Appends a string with its quotes, escaped.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(text.get(from..at).unwrap_or("").as_bytes());
        from = at + 1;
        if escaped.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escaped);
        }
    }
    out.extend_from_slice(text.get(from..).unwrap_or("").as_bytes());
    out.push(b'"');
}

/// The members of an object, in the order in which they were put; each value is JSON already.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Members(Vec<(&'static str, String)>);

impl Members {
    /// Puts a plain value.
    pub(super) fn with(self, member: &'static str, value: impl Into<Value>) -> Self {
        self.with_json(member, value.into().to_string())
    }

    /// Puts what is JSON already.
    pub(super) fn with_json(mut self, member: &'static str, json: String) -> Self {
        self.0.push((member, json));
        self
    }

    /// Puts the members of another one, but those that are here.
    pub(super) fn with_all(mut self, others: Self) -> Self {
        for (member, json) in others.0 {
            if !self.0.iter().any(|(known, _)| *known == member) {
                self.0.push((member, json));
            }
        }
        self
    }

    /// Appends them with commas between.
    pub(super) fn push_to(&self, out: &mut Vec<u8>) {
        for (index, (member, json)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_text(out, member);
            out.push(b':');
            out.extend_from_slice(json.as_bytes());
        }
    }

    /// The whole object.
    pub(super) fn to_json(&self) -> String {
        let members = self
            .0
            .iter()
            .map(|(member, json)| format!("\"{member}\":{json}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 1, -1, 9, 10, 1234567890, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            push_i64(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
        let mut out = Vec::new();
        push_u64(&mut out, u64::MAX);
        assert_eq!(out, u64::MAX.to_string().into_bytes());
    }

    #[test]
    fn members_keep_their_order_and_come_once() {
        let members = Members::default()
            .with("b", 1)
            .with("a", "x\"y")
            .with_json("c", "[1]".to_owned());
        let more = Members::default().with("a", 2).with("d", Value::Null);
        let all = members.with_all(more);
        assert_eq!(all.to_json(), r#"{"b":1,"a":"x\"y","c":[1],"d":null}"#);
        let mut out = Vec::new();
        all.push_to(&mut out);
        assert_eq!(
            format!("{{{}}}", String::from_utf8(out).unwrap()),
            all.to_json()
        );
    }

    #[test]
    fn text_comes_back_as_it_was() {
        for text in ["", "plain", "a\"b\\c", "\0\u{1f}\n\r\t", "ü€𝄞", "end\""] {
            let mut out = Vec::new();
            push_text(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
