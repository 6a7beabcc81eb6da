//! The trace that a request belongs to, as its client says in the header `traceparent` (W3C Trace Context, level 1).

use std::fmt;

/// Bytes of version 00: `00-<32 digits of the trace>-<16 of the parent>-<2 of the flags>`.
const LENGTH: usize = 55;

/// A `traceparent` that is well formed. Its text is plain ASCII of one length, whoever sent it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceParent([u8; LENGTH]);

impl TraceParent {
    /// Reads the value of the header; `None` for one that is malformed: then the request goes on as one without a trace.
    ///
    /// Of a later version what it says beyond the fields of version 00 is left out, as the standard asks.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let known: [u8; LENGTH] = value.get(..LENGTH)?.try_into().ok()?;
        let rest = value.get(LENGTH..)?;
        let [version, trace, parent, flags] = fields(&known)?;
        let is_lower_hex = |digits: &[u8]| {
            let mut digits = digits.iter();
            digits.all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_whole = match version {
            // The standard forbids this one.
            b"ff" => false,
            b"00" => rest.is_empty(),
            _ => rest.first().is_none_or(|&next| next == b'-'),
        };
        let is_named = |id: &[u8]| id.iter().any(|&digit| digit != b'0');
        let is_valid = is_whole
            && [version, trace, parent, flags]
                .into_iter()
                .all(is_lower_hex)
            && is_named(trace)
            && is_named(parent);
        is_valid.then_some(Self(known))
    }

    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns version, trace, parent and flags; `None` where no dashes are between them.
fn fields(text: &[u8; LENGTH]) -> Option<[&[u8]; 4]> {
    let (version, rest) = text.split_at_checked(2)?;
    let (trace, rest) = rest.strip_prefix(b"-")?.split_at_checked(32)?;
    let (parent, rest) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
    Some([version, trace, parent, rest.strip_prefix(b"-")?])
}

#[cfg(test)]
mod tests {
    use super::TraceParent;

    const RIGHT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parsed(text: &str) -> Option<String> {
        TraceParent::parse(text.as_bytes()).map(|trace| trace.as_str().to_owned())
    }

    #[test]
    fn what_is_well_formed_is_taken_as_it_is() {
        for right in [
            RIGHT,
            "00-00000000000000000000000000000001-0000000000000001-00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parsed(right).as_deref(), Some(right));
        }
        // A later version may say more; that is not for us.
        let later = format!("01{}", &RIGHT[2..]);
        assert_eq!(parsed(&format!("{later}-what-will-be")), Some(later));
    }

    #[test]
    fn what_is_malformed_is_no_trace() {
        let cut = &RIGHT[..RIGHT.len() - 1];
        let longer = format!("{RIGHT}0");
        let more = format!("{RIGHT}-more");
        let later = format!("01{}.what", &RIGHT[2..]);
        let upper = RIGHT.to_uppercase();
        let without_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let without_parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let umlaut = RIGHT.replacen("4b", "ä", 1);
        let forbidden = format!("ff{}", &RIGHT[2..]);
        for wrong in [
            "",
            "00",
            cut,
            &longer,
            &more,
            &later,
            &upper,
            &without_trace,
            &without_parent,
            &umlaut,
            &forbidden,
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-001",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\n",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert!(TraceParent::parse(&[0xff; 55]).is_none());
    }
}
