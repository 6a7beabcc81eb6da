//! Writing JSON by hand, for answers that are made a hundred thousand times a second.

use serde::Serialize;

use crate::invariant::Broken;

/// Appends a value of a type that has a form in JSON.
pub(super) fn push_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    if let Err(error) = serde_json::to_writer(out, value) {
        Broken::found(format_args!("an answer has no form in JSON: {error}"));
    }
}

/// Appends a whole number.
pub(super) fn push_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 1, -1, 9, 10, 1234567890, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
        let mut out = Vec::new();
        push_number(&mut out, u64::MAX);
        assert_eq!(out, u64::MAX.to_string().into_bytes());
    }
}
