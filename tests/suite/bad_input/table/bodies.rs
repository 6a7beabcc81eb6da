//! Bodies and names that are none.

use super::{Case, INCREMENT, bare, post, with_body};

pub(super) fn bodies() -> Vec<Case> {
    let increment = |name: &str, body: &str, code| post(name, INCREMENT, body, 400, code);
    let deep = format!(
        r#"{{"metadata":{}1{}}}"#,
        r#"{"a":"#.repeat(9),
        "}".repeat(9)
    );
    let deeper = format!(r#"{{"metadata":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let wide = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(4096));
    let head = format!("POST {INCREMENT} HTTP/1.1");
    vec![
        increment("a value of zero", r#"{"value":0}"#, "invalid_value"),
        increment("a negative value", r#"{"value":-1}"#, "invalid_value"),
        increment("minus zero", r#"{"value":-0}"#, "invalid_value"),
        increment("a fraction", r#"{"value":1.5}"#, "invalid_value"),
        increment("a fraction of zero", r#"{"value":1.0}"#, "invalid_value"),
        increment("an exponent", r#"{"value":1e2}"#, "invalid_value"),
        increment("an exponent of zero", r#"{"value":1E0}"#, "invalid_value"),
        increment("a number in quotes", r#"{"value":"1"}"#, "invalid_value"),
        increment(
            "one beyond 64 bits",
            r#"{"value":9223372036854775808}"#,
            "invalid_value",
        ),
        increment(
            "far beyond 64 bits",
            r#"{"value":1000000000000000000000000000}"#,
            "invalid_value",
        ),
        increment("a value of true", r#"{"value":true}"#, "invalid_value"),
        increment("a value in a list", r#"{"value":[1]}"#, "invalid_value"),
        increment(
            "a value in an object",
            r#"{"value":{"value":1}}"#,
            "invalid_value",
        ),
        increment("a leading zero", r#"{"value":01}"#, "invalid_json"),
        increment("a plus sign", r#"{"value":+1}"#, "invalid_json"),
        increment("not a number", r#"{"value":NaN}"#, "invalid_json"),
        increment("half an object", r#"{"value":1"#, "invalid_json"),
        increment("a comma too many", r#"{"value":1,}"#, "invalid_json"),
        increment("two objects", r#"{"value":1}{"value":1}"#, "invalid_json"),
        increment("single quotes", r#"{'value':1}"#, "invalid_json"),
        increment("a comment", r#"{"value":1/*one*/}"#, "invalid_json"),
        increment("a byte order mark", "\u{feff}{}", "invalid_json"),
        increment("only a space", " ", "invalid_json"),
        increment("a list as the body", "[]", "invalid_json"),
        increment("a number as the body", "1", "invalid_json"),
        increment("a string as the body", r#""{}""#, "invalid_json"),
        increment("a field twice", r#"{"value":1,"value":2}"#, "invalid_json"),
        increment(
            "a field twice in two spellings",
            r#"{"value":1,"val\u0075e":2}"#,
            "invalid_json",
        ),
        increment("an unknown field", r#"{"valeu":1}"#, "unknown_field"),
        increment("a field of another case", r#"{"Value":1}"#, "unknown_field"),
        increment("a field of a batch", r#"{"name":"gauge"}"#, "unknown_field"),
        increment("an empty user", r#"{"user_id":""}"#, "invalid_user_id"),
        increment(
            "a user that is a number",
            r#"{"user_id":7}"#,
            "invalid_user_id",
        ),
        increment(
            "a user with a NUL",
            r#"{"user_id":"a\u0000"}"#,
            "invalid_user_id",
        ),
        increment(
            "a user with a line break",
            r#"{"user_id":"a\nb"}"#,
            "invalid_user_id",
        ),
        increment(
            "a raw line break in a string",
            "{\"user_id\":\"a\nb\"}",
            "invalid_json",
        ),
        increment(
            "half a surrogate pair",
            r#"{"user_id":"\ud800"}"#,
            "invalid_json",
        ),
        increment(
            "a user of 129 bytes",
            &format!(r#"{{"user_id":"{}"}}"#, "x".repeat(129)),
            "invalid_user_id",
        ),
        increment(
            "metadata that are a list",
            r#"{"metadata":[]}"#,
            "invalid_metadata",
        ),
        increment("metadata of 9 levels", &deep, "invalid_metadata"),
        increment("metadata of 5000 levels", &deeper, "invalid_metadata"),
        increment("metadata over 4 KiB", &wide, "invalid_metadata"),
        with_body(
            "a body in Latin-1",
            &head,
            b"{\"user_id\":\"\xfc\"}",
            400,
            "invalid_json",
        ),
        with_body("a body in UTF-16", &head, b"{\0}\0", 400, "invalid_json"),
        with_body("a body of zeros", &head, &[0; 100], 400, "invalid_json"),
        with_body(
            "a form",
            &format!("{head}\r\ncontent-type: application/x-www-form-urlencoded"),
            b"value=1",
            415,
            "unsupported_media_type",
        ),
        with_body(
            "JSON as text",
            &format!("{head}\r\ncontent-type: text/plain"),
            b"{}",
            415,
            "unsupported_media_type",
        ),
        with_body(
            "JSON in Latin-1",
            &format!("{head}\r\ncontent-type: application/json; charset=latin1"),
            b"{}",
            415,
            "unsupported_media_type",
        ),
        with_body(
            "JSON in gzip",
            &format!("{head}\r\ncontent-encoding: gzip"),
            b"{}",
            415,
            "unsupported_media_type",
        ),
        with_body(
            "a body over the limit",
            &head,
            &[b' '; 16 * 1024 + 1],
            413,
            "body_too_large",
        ),
    ]
}

pub(super) fn names() -> Vec<Case> {
    let increment = |name: &str, counter: &str| {
        bare(
            name,
            &format!("POST /api/v1/counter/{counter}/increment"),
            "",
            400,
            "invalid_name",
        )
    };
    vec![
        increment("a name in capitals", "Gauge"),
        increment("a name with an underscore first", "_gauge"),
        increment("a name of 101 characters", &"a".repeat(101)),
        increment("a name that is reserved by its end", "a:meta"),
        increment("a name that is reserved by its middle", "a:users:b"),
        increment("a name with a space", "a%20b"),
        increment("a name with a slash", "a%2fb"),
        increment("a name that is not UTF-8", "%ff"),
        increment("a name that is half an escape", "a%2"),
        increment("a name with a NUL", "a%00"),
        increment("a name in another alphabet", "%C3%A4"),
        bare(
            "a read of a name that is none",
            "GET /api/v1/counter/Gauge",
            "",
            400,
            "invalid_name",
        ),
    ]
}
