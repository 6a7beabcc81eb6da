//! What is hardly HTTP, and headers that are wrong.

use super::{Case, INCREMENT, bare, raw};

pub(super) fn wire() -> Vec<Case> {
    let chunked = |name: &str, body: &str, status, code| {
        let head =
            format!("POST {INCREMENT} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
        raw(name, format!("{head}{body}").as_bytes(), status, code)
    };
    let increment = |name: &str, headers: &str| {
        let request = format!("POST {INCREMENT} HTTP/1.1\r\nhost: h\r\n{headers}\r\n\r\n{{}}");
        raw(name, request.as_bytes(), 400, "bad_request")
    };
    vec![
        raw("nonsense", b"NONSENSE\r\n\r\n", 400, "bad_request"),
        raw(
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            400,
            "bad_request",
        ),
        raw(
            "HTTP/3",
            b"GET /livez HTTP/3.0\r\nhost: h\r\n\r\n",
            400,
            "bad_request",
        ),
        raw("no version", b"GET /livez\r\n\r\n", 400, "bad_request"),
        raw(
            "a space in the path",
            b"GET /li vez HTTP/1.1\r\nhost: h\r\n\r\n",
            400,
            "bad_request",
        ),
        raw(
            "a NUL in the path",
            b"GET /livez\0 HTTP/1.1\r\nhost: h\r\n\r\n",
            400,
            "bad_request",
        ),
        raw(
            "no host",
            b"GET /livez HTTP/1.1\r\n\r\n",
            400,
            "bad_request",
        ),
        raw(
            "two hosts",
            b"GET /livez HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            400,
            "bad_request",
        ),
        bare(
            "a header without a colon",
            "GET /livez",
            "nonsense\r\n",
            400,
            "bad_request",
        ),
        bare(
            "a header with a space in its name",
            "GET /livez",
            "a b: c\r\n",
            400,
            "bad_request",
        ),
        bare(
            "a header on two lines",
            "GET /livez",
            "a: b\r\n c\r\n",
            400,
            "bad_request",
        ),
        bare(
            "a NUL in a header",
            "GET /livez",
            "a: \0\r\n",
            400,
            "bad_request",
        ),
        bare(
            "a header over the limit",
            "GET /livez",
            &format!("a: {}\r\n", "x".repeat(17_000)),
            431,
            "headers_too_large",
        ),
        bare(
            "a path over the limit",
            &format!("GET /{}", "x".repeat(17_000)),
            "",
            431,
            "headers_too_large",
        ),
        bare(
            "65 headers",
            "GET /livez",
            &"a: b\r\n".repeat(64),
            431,
            "headers_too_large",
        ),
        bare(
            "500 headers",
            "GET /livez",
            &"a: b\r\n".repeat(500),
            431,
            "headers_too_large",
        ),
        increment("two lengths", "content-length: 2\r\ncontent-length: 3"),
        increment("a negative length", "content-length: -2"),
        increment("a length with a sign", "content-length: +2"),
        increment("a length that is none", "content-length: two"),
        increment(
            "a length beyond 64 bits",
            "content-length: 99999999999999999999",
        ),
        increment("an unknown coding", "transfer-encoding: gzip"),
        chunked(
            "a chunk size that is none",
            "zz\r\n{}\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
        chunked(
            "a chunk that is too long",
            "1\r\n{}\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
        chunked(
            "chunks over the limit",
            &format!("5000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x5000)),
            413,
            "body_too_large",
        ),
        chunked(
            "chunks that are not JSON",
            "1\r\n{\r\n0\r\n\r\n",
            400,
            "invalid_json",
        ),
        bare(
            "a huge length",
            &format!("POST {INCREMENT}"),
            "content-length: 1000000000000\r\n",
            413,
            "body_too_large",
        ),
        bare(
            "a huge length that waits to be asked for",
            &format!("POST {INCREMENT}"),
            "content-length: 20000\r\nexpect: 100-continue\r\n",
            413,
            "body_too_large",
        ),
    ]
}

pub(super) fn headers() -> Vec<Case> {
    let increment = |name: &str, headers: &str, status, code| {
        bare(
            name,
            &format!("POST {INCREMENT}"),
            &format!("{headers}\r\n"),
            status,
            code,
        )
    };
    let key = |name: &str, value: &str| {
        increment(
            name,
            &format!("idempotency-key: {value}"),
            400,
            "invalid_idempotency_key",
        )
    };
    vec![
        key("an empty key", ""),
        key("a key of 256 characters", &"k".repeat(256)),
        key("a key that is not ASCII", "schlüssel"),
        key("a key with a tab", "a\tb"),
        key("two keys", "a\r\nidempotency-key: b"),
        key("the same key twice", "a\r\nidempotency-key: a"),
        increment(
            "a key that was used for another request",
            "idempotency-key: used",
            422,
            "idempotency_key_reused",
        ),
        increment(
            "a page of a stranger",
            "origin: http://evil.example",
            403,
            "origin_not_allowed",
        ),
        increment(
            "a page without an origin to name",
            "origin: null",
            403,
            "origin_not_allowed",
        ),
        increment(
            "two origins",
            "origin: http://h\r\norigin: http://h",
            403,
            "origin_not_allowed",
        ),
    ]
}
