//! The text of one line, made straight into a buffer of bytes.
//!
//! Request ids and methods are a stranger's input: whatever they hold, a line stays one line of
//! printable ASCII and its fields stay apart. The lines look like those of the event log, so that
//! both may go to one file.

use std::io::Write;

use super::stamp::Stamp;
use super::{Entry, LogFormat};
use crate::counter::RequestId;

/// Longer values are cut to this many bytes.
const MAX_VALUE: usize = 128;

/// What stands before the value of a field, in text and in JSON: one copy for each field of each line.
macro_rules! named {
    ($name:literal) => {
        (concat!(" ", $name, "="), concat!(",\"", $name, "\":"))
    };
}

/// Appends the line of one request.
pub(super) fn append_request(
    out: &mut Vec<u8>,
    format: LogFormat,
    stamp: &mut Stamp,
    entry: &Entry<'_>,
) {
    out.reserve(512);
    match format {
        LogFormat::Text => {
            stamp.append(entry.at_ms, out);
            out.extend_from_slice(b"  INFO request:");
        }
        LogFormat::Json => {
            out.extend_from_slice(b"{\"timestamp\":\"");
            stamp.append(entry.at_ms, out);
            out.extend_from_slice(b"\",\"level\":\"INFO\",\"target\":\"request\"");
        }
    }
    let mut fields = Fields { out, format };
    fields.request_id(entry.request_id);
    fields.text(named!("method"), entry.method);
    fields.plain(named!("route"), entry.route.as_str());
    if let Some(counter) = entry.counter {
        fields.plain(named!("counter"), counter.as_str());
    }
    fields.number(named!("status"), entry.status.into());
    let took = u64::try_from(entry.took.as_micros()).unwrap_or(u64::MAX);
    fields.number(named!("duration_us"), took);
    fields.number(named!("bytes"), entry.bytes);
    fields.plain(named!("peer"), &entry.peer.0);
    if let Some(trace) = entry.trace {
        fields.plain(named!("traceparent"), trace.as_str());
    }
    out.extend_from_slice(match format {
        LogFormat::Text => b"\n",
        LogFormat::Json => b"}\n",
    });
}

type FieldName = (&'static str, &'static str);

/// The fields of a line.
struct Fields<'o> {
    out: &'o mut Vec<u8>,
    format: LogFormat,
}

impl Fields<'_> {
    fn name(&mut self, (text, json): FieldName) {
        let name = match self.format {
            LogFormat::Text => text,
            LogFormat::Json => json,
        };
        self.out.extend_from_slice(name.as_bytes());
    }

    /// Appends a stranger's text.
    fn text(&mut self, name: FieldName, value: &str) {
        self.name(name);
        append_value(self.out, self.format, value.as_bytes());
    }

    /// Appends a text of ours, in which nothing is to be escaped.
    fn plain(&mut self, name: FieldName, value: &str) {
        self.name(name);
        self.quote();
        self.out.extend_from_slice(value.as_bytes());
        self.quote();
    }

    fn request_id(&mut self, id: &RequestId) {
        match id {
            RequestId::Given(text) => self.text(named!("request_id"), text),
            RequestId::Made(_) => {
                self.name(named!("request_id"));
                self.quote();
                id.push(self.out);
                self.quote();
            }
        }
    }

    fn quote(&mut self) {
        if self.format == LogFormat::Json {
            self.out.push(b'"');
        }
    }

    fn number(&mut self, name: FieldName, value: u64) {
        self.name(name);
        self.out
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

/// Returns the line that says that `lines` lines of `what` were lost before it.
pub(super) fn dropped(format: LogFormat, at_ms: i64, what: &str, lines: u64) -> String {
    let mut stamp = Vec::new();
    Stamp::new().append(at_ms, &mut stamp);
    let at = String::from_utf8_lossy(&stamp);
    match format {
        LogFormat::Text => format!("{at}  WARN {what}: dropped {lines} {what} lines\n"),
        LogFormat::Json => format!(
            "{{\"timestamp\":\"{at}\",\"level\":\"WARN\",\"target\":\"{what}\",\
             \"message\":\"dropped {lines} {what} lines\",\"dropped\":{lines}}}\n"
        ),
    }
}

/// Appends a value, cut: quoted in JSON, and in text where it could be mistaken.
fn append_value(out: &mut Vec<u8>, format: LogFormat, value: &[u8]) {
    let value = value.get(..MAX_VALUE).unwrap_or(value);
    let is_plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
    let is_bare = |b: &u8| is_plain(char::from(*b)) && !matches!(b, b' ' | b'=');
    if format == LogFormat::Text && !value.is_empty() && value.iter().all(is_bare) {
        return out.extend_from_slice(value);
    }
    out.push(b'"');
    append_escaped(out, format, value, is_plain);
    out.push(b'"');
}

/// Returns one event's text with whatever would make it more than one line escaped. The end of line at its
/// end stays.
pub(super) fn one_line(format: LogFormat, text: &[u8]) -> Vec<u8> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let mut line = Vec::with_capacity(text.len());
    append_escaped(&mut line, format, body, |c| !c.is_control());
    line.push(b'\n');
    line
}

/// Appends text in which everything but plain characters is escaped.
fn append_escaped(
    out: &mut Vec<u8>,
    format: LogFormat,
    text: &[u8],
    is_plain: impl Fn(char) -> bool,
) {
    if text
        .iter()
        .all(|b| b.is_ascii() && is_plain(char::from(*b)))
    {
        return out.extend_from_slice(text);
    }
    // Appending to a Vec does not fail.
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let _ = match (c, format) {
                (c, _) if is_plain(c) => write!(out, "{c}"),
                ('"' | '\\', _) => write!(out, "\\{c}"),
                (c, LogFormat::Text) => write!(out, "{}", c.escape_unicode()),
                (c, LogFormat::Json) => {
                    let mut units = [0; 2];
                    let mut units = c.encode_utf16(&mut units).iter();
                    units.try_for_each(|unit| write!(out, "\\u{unit:04x}"))
                }
            };
        }
        let mut invalid = chunk.invalid().iter();
        let _ = match format {
            LogFormat::Text => invalid.try_for_each(|byte| write!(out, "\\x{byte:02x}")),
            // One for all.
            LogFormat::Json => invalid.take(1).try_for_each(|_| write!(out, "\\ufffd")),
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test may panic"
    )]

    use std::sync::LazyLock;
    use std::time::Duration;

    use super::super::{PeerText, TraceParent};
    use super::*;
    use crate::counter::CounterName;
    use crate::metrics::Route;

    fn peer(address: &str) -> PeerText {
        PeerText::new(address.parse().unwrap())
    }

    fn entry() -> Entry<'static> {
        static COUNTER: LazyLock<CounterName> =
            LazyLock::new(|| CounterName::parse("online_players").unwrap());
        static ID: LazyLock<RequestId> = LazyLock::new(|| RequestId::Given("01J-9f".into()));
        static PEER: LazyLock<PeerText> = LazyLock::new(|| peer("203.0.113.7:51234"));
        Entry {
            at_ms: 1_795_515_000_007,
            request_id: &ID,
            method: "POST",
            route: Route::Increment,
            counter: Some(&COUNTER),
            status: 200,
            took: Duration::from_nanos(187_900),
            bytes: 104,
            peer: &PEER,
            trace: None,
        }
    }

    fn line(format: LogFormat, entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        append_request(&mut out, format, &mut Stamp::new(), entry);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_one_line_of_text() {
        assert_eq!(
            line(LogFormat::Text, &entry()),
            "2026-11-24T10:10:00.007Z  INFO request: request_id=01J-9f method=POST \
             route=increment counter=online_players status=200 duration_us=187 bytes=104 \
             peer=203.0.113.7:51234\n"
        );
    }

    #[test]
    fn a_request_is_one_line_of_json() {
        assert_eq!(
            line(LogFormat::Json, &entry()),
            "{\"timestamp\":\"2026-11-24T10:10:00.007Z\",\"level\":\"INFO\",\
             \"target\":\"request\",\"request_id\":\"01J-9f\",\"method\":\"POST\",\
             \"route\":\"increment\",\"counter\":\"online_players\",\"status\":200,\
             \"duration_us\":187,\"bytes\":104,\"peer\":\"203.0.113.7:51234\"}\n"
        );
    }

    #[test]
    fn a_request_of_a_trace_says_which() {
        const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceParent::parse(TRACE.as_bytes());
        let entry = Entry {
            trace: trace.as_ref(),
            ..entry()
        };
        let text = line(LogFormat::Text, &entry);
        assert!(
            text.ends_with(&format!(" peer=203.0.113.7:51234 traceparent={TRACE}\n")),
            "{text}"
        );
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &entry)).unwrap();
        assert_eq!(json["traceparent"], TRACE);
    }

    #[test]
    fn a_request_without_a_counter_has_no_such_field() {
        let entry = Entry {
            counter: None,
            route: Route::Unmatched,
            status: 404,
            ..entry()
        };
        assert!(!line(LogFormat::Text, &entry).contains("counter"));
        assert!(!line(LogFormat::Json, &entry).contains("counter"));
    }

    const HOSTILE: [&[u8]; 12] = [
        b"",
        b"a b",
        b"a\nb\r\nc",
        b"\" status=500 \"",
        b"x\\\"}\n{\"level\":\"ERROR\"}",
        b"\x1b[31mred\x1b[0m",
        b"\xff\xfe\x80",
        b"ok\xf0\x9f\x8e",
        "\u{202e}\u{2028}\u{85}\u{0}\u{7f}".as_bytes(),
        "🎮é".as_bytes(),
        b"a=b",
        &[b'A'; 5_000],
    ];

    #[test]
    fn whatever_a_stranger_sends_a_line_is_one_line_of_ascii() {
        for value in HOSTILE {
            let text = String::from_utf8_lossy(value);
            let entry = Entry {
                request_id: &RequestId::Given(text.as_ref().into()),
                method: &text,
                ..entry()
            };
            for format in [LogFormat::Text, LogFormat::Json] {
                let line = line(format, &entry);
                let body = line.strip_suffix('\n').unwrap();
                assert!(body.bytes().all(|b| matches!(b, b' '..=b'~')), "{line}");
                assert!(line.len() < 3_000, "{}", line.len());
            }
        }
    }

    #[test]
    fn json_gives_back_what_was_sent() {
        for value in HOSTILE {
            let text = String::from_utf8_lossy(value);
            let entry = Entry {
                request_id: &RequestId::Given(text.as_ref().into()),
                method: &text,
                ..entry()
            };
            let parsed: serde_json::Value =
                serde_json::from_str(&line(LogFormat::Json, &entry)).unwrap();
            let sent = String::from_utf8_lossy(&text.as_bytes()[..text.len().min(MAX_VALUE)]);
            assert_eq!(parsed["request_id"], *sent);
            assert_eq!(parsed["method"], *sent);
            assert_eq!(parsed["status"], 200);
        }
    }

    #[test]
    fn a_text_value_cannot_pass_for_another_field() {
        let told = |value: &[u8]| {
            let mut out = Vec::new();
            append_value(&mut out, LogFormat::Text, value);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(told(b""), r#""""#);
        assert_eq!(told(b"a b"), r#""a b""#);
        assert_eq!(told(b"a=b"), r#""a=b""#);
        assert_eq!(told(b"\" status=500"), r#""\" status=500""#);
        assert_eq!(told(b"\n\xff\\"), r#""\u{a}\xff\\""#);
        assert_eq!(told("é".as_bytes()), r#""\u{e9}""#);
    }

    #[test]
    fn addresses_are_written_as_people_know_them() {
        let told = |address| String::from(peer(address).0);
        assert_eq!(told("255.0.10.1:65535"), "255.0.10.1:65535");
        assert_eq!(told("[2001:db8::1]:80"), "[2001:db8::1]:80");
        assert_eq!(told("[::ffff:10.0.0.1]:80"), "10.0.0.1:80");
    }

    #[test]
    fn an_event_stays_on_its_line() {
        let text = |event| one_line(LogFormat::Text, event);
        assert_eq!(text(b"plain \xc3\xa9\n"), b"plain \xc3\xa9\n");
        assert_eq!(text(b"a\nb\x1b[0m\xff"), b"a\\u{a}b\\u{1b}[0m\\xff\n");
        let json = one_line(LogFormat::Json, b"\"\x7f\xc2\x85\"\n");
        assert_eq!(json, b"\"\\u007f\\u0085\"\n");
    }

    #[test]
    fn a_drop_is_told_in_both_formats() {
        let told = |format| dropped(format, 0, "request", 12);
        assert_eq!(
            told(LogFormat::Text),
            "1970-01-01T00:00:00.000Z  WARN request: dropped 12 request lines\n"
        );
        let json: serde_json::Value = serde_json::from_str(&told(LogFormat::Json)).unwrap();
        assert_eq!(json["dropped"], 12);
        assert_eq!(json["message"], "dropped 12 request lines");
    }
}
