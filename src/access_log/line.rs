//! The text of one line, made straight into a buffer of bytes.
//!
//! Request ids and methods are a stranger's input: whatever they hold, a line stays one line of
//! printable ASCII and its fields stay apart. The lines look like those of the event log, so that
//! both may go to one file.

use std::io::Write;
use std::net::SocketAddr;

use super::stamp::Stamp;
use super::{Entry, LogFormat};

/// Longer values are cut to this many bytes.
const MAX_VALUE: usize = 128;

/// Appends the line of one request.
pub(super) fn append_request(
    out: &mut Vec<u8>,
    format: LogFormat,
    stamp: &mut Stamp,
    entry: &Entry<'_>,
) {
    out.reserve(512);
    match format {
        LogFormat::Text => append_request_text(out, stamp, entry),
        LogFormat::Json => append_request_json(out, stamp, entry),
    }
    out.push(b'\n');
}

fn append_request_text(out: &mut Vec<u8>, stamp: &mut Stamp, entry: &Entry<'_>) {
    stamp.append(entry.at_ms, out);
    out.extend_from_slice(b"  INFO request: request_id=");
    append_text(out, entry.request_id);
    out.extend_from_slice(b" method=");
    append_text(out, entry.method.as_bytes());
    out.extend_from_slice(b" route=");
    out.extend_from_slice(entry.route.as_str().as_bytes());
    if let Some(counter) = entry.counter {
        out.extend_from_slice(b" counter=");
        append_text(out, counter.as_bytes());
    }
    out.extend_from_slice(b" status=");
    append_decimal(out, u64::from(entry.status));
    out.extend_from_slice(b" duration_us=");
    append_decimal(out, micros(entry));
    out.extend_from_slice(b" bytes=");
    append_decimal(out, entry.bytes);
    out.extend_from_slice(b" peer=");
    append_peer(out, entry.peer);
}

fn append_request_json(out: &mut Vec<u8>, stamp: &mut Stamp, entry: &Entry<'_>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    stamp.append(entry.at_ms, out);
    out.extend_from_slice(b"\",\"level\":\"INFO\",\"target\":\"request\",\"request_id\":\"");
    append_json(out, entry.request_id);
    out.extend_from_slice(b"\",\"method\":\"");
    append_json(out, entry.method.as_bytes());
    out.extend_from_slice(b"\",\"route\":\"");
    out.extend_from_slice(entry.route.as_str().as_bytes());
    if let Some(counter) = entry.counter {
        out.extend_from_slice(b"\",\"counter\":\"");
        append_json(out, counter.as_bytes());
    }
    out.extend_from_slice(b"\",\"status\":");
    append_decimal(out, u64::from(entry.status));
    out.extend_from_slice(b",\"duration_us\":");
    append_decimal(out, micros(entry));
    out.extend_from_slice(b",\"bytes\":");
    append_decimal(out, entry.bytes);
    out.extend_from_slice(b",\"peer\":\"");
    append_peer(out, entry.peer);
    out.extend_from_slice(b"\"}");
}

/// Appends the line that says that `lines` lines of `what` were lost before it.
pub(super) fn append_dropped(
    out: &mut Vec<u8>,
    format: LogFormat,
    at_ms: i64,
    what: &str,
    lines: u64,
) {
    let mut stamp = Stamp::new();
    // Appending to a Vec does not fail.
    let _ = match format {
        LogFormat::Text => {
            stamp.append(at_ms, out);
            writeln!(out, "  WARN {what}: dropped {lines} {what} lines")
        }
        LogFormat::Json => {
            out.extend_from_slice(b"{\"timestamp\":\"");
            stamp.append(at_ms, out);
            writeln!(
                out,
                "\",\"level\":\"WARN\",\"target\":\"{what}\",\
                 \"message\":\"dropped {lines} {what} lines\",\"dropped\":{lines}}}"
            )
        }
    };
}

fn micros(entry: &Entry<'_>) -> u64 {
    u64::try_from(entry.took.as_micros()).unwrap_or(u64::MAX)
}

fn cut(value: &[u8]) -> &[u8] {
    value.get(..MAX_VALUE).unwrap_or(value)
}

/// A value of the text format: as it is where that is unmistakable, else quoted.
fn append_text(out: &mut Vec<u8>, value: &[u8]) {
    let value = cut(value);
    let bare = |b: &u8| matches!(b, b'!'..=b'~') && !matches!(b, b'"' | b'\\' | b'=');
    if !value.is_empty() && value.iter().all(bare) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            append_text_char(out, c);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push(b'"');
}

/// One character between the quotes of the text format.
fn append_text_char(out: &mut Vec<u8>, c: char) {
    let _ = match c {
        '"' | '\\' => write!(out, "\\{c}"),
        ' '..='~' => write!(out, "{c}"),
        _ => write!(out, "{}", c.escape_unicode()),
    };
}

/// The inside of a JSON string. Nothing but printable ASCII is left as it is, so that no terminal
/// and no reader of lines is led astray either.
fn append_json(out: &mut Vec<u8>, value: &[u8]) {
    let value = cut(value);
    let bare = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\');
    if value.iter().all(bare) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            append_json_char(out, c);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn append_json_char(out: &mut Vec<u8>, c: char) {
    let _ = match c {
        '"' | '\\' => write!(out, "\\{c}"),
        ' '..='~' => write!(out, "{c}"),
        _ => c
            .encode_utf16(&mut [0; 2])
            .iter()
            .try_for_each(|unit| write!(out, "\\u{unit:04x}")),
    };
}

/// Takes out of one event's text whatever would make it more than one line. The end of line at its
/// end stays.
pub(super) fn one_line(format: LogFormat, text: &[u8]) -> Vec<u8> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let mut line = Vec::with_capacity(text.len());
    for chunk in body.utf8_chunks() {
        for c in chunk.valid().chars() {
            match (c.is_control(), format) {
                (false, _) => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                (true, LogFormat::Text) => append_text_char(&mut line, c),
                (true, LogFormat::Json) => append_json_char(&mut line, c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
    line.push(b'\n');
    line
}

fn append_decimal(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
        used += 1;
        if n == 0 {
            break;
        }
    }
    if let Some(tail) = digits.get(digits.len() - used..) {
        out.extend_from_slice(tail);
    }
}

/// An IPv4 address that came in over an IPv6 socket is written as the IPv4 address that it is.
fn append_peer(out: &mut Vec<u8>, peer: SocketAddr) {
    match peer.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            append_decimal(out, u64::from(a));
            for octet in [b, c, d] {
                out.push(b'.');
                append_decimal(out, u64::from(octet));
            }
            out.push(b':');
            append_decimal(out, u64::from(peer.port()));
        }
        std::net::IpAddr::V6(ip) => {
            let _ = write!(out, "[{ip}]:{}", peer.port());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test may panic"
    )]

    use super::*;
    use crate::metrics::Route;
    use std::time::Duration;

    fn entry() -> Entry<'static> {
        Entry {
            at_ms: 1_795_515_000_007,
            request_id: b"01J-9f",
            method: "POST",
            route: Route::Increment,
            counter: Some("online_players"),
            status: 200,
            took: Duration::from_nanos(187_900),
            bytes: 104,
            peer: "203.0.113.7:51234".parse().unwrap(),
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
            let text = std::str::from_utf8(value).unwrap_or("GET");
            let entry = Entry {
                request_id: value,
                method: text,
                counter: Some(text),
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
            let entry = Entry {
                request_id: value,
                ..entry()
            };
            let parsed: serde_json::Value =
                serde_json::from_str(&line(LogFormat::Json, &entry)).unwrap();
            let sent = String::from_utf8_lossy(&value[..value.len().min(MAX_VALUE)]);
            assert_eq!(parsed["request_id"], *sent);
            assert_eq!(parsed["status"], 200);
        }
    }

    #[test]
    fn a_text_value_cannot_pass_for_another_field() {
        let told = |value: &[u8]| {
            let mut out = Vec::new();
            append_text(&mut out, value);
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
        let told = |peer: &str| {
            let mut out = Vec::new();
            append_peer(&mut out, peer.parse().unwrap());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(told("255.0.10.1:65535"), "255.0.10.1:65535");
        assert_eq!(told("[2001:db8::1]:80"), "[2001:db8::1]:80");
        assert_eq!(told("[::ffff:10.0.0.1]:80"), "10.0.0.1:80");
    }

    #[test]
    fn numbers_are_whole_to_their_ends() {
        for n in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            append_decimal(&mut out, n);
            assert_eq!(String::from_utf8(out).unwrap(), n.to_string());
        }
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
        let told = |format| {
            let mut out = Vec::new();
            append_dropped(&mut out, format, 0, "request", 12);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            told(LogFormat::Text),
            "1970-01-01T00:00:00.000Z  WARN request: dropped 12 request lines\n"
        );
        let json: serde_json::Value = serde_json::from_str(&told(LogFormat::Json)).unwrap();
        assert_eq!(json["dropped"], 12);
        assert_eq!(json["message"], "dropped 12 request lines");
    }
}
