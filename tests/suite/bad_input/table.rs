//! The table: what is sent, and what is answered.

/// One bad request.
pub struct Case {
    pub name: String,
    pub request: Vec<u8>,
    pub status: u16,
    pub code: &'static str,
}

/// A request as these bytes.
pub fn raw(name: &str, request: &[u8], status: u16, code: &'static str) -> Case {
    Case {
        name: name.to_owned(),
        request: request.to_owned(),
        status,
        code,
    }
}

/// A head and a body of the length that it has.
fn with_body(name: &str, head: &str, body: &[u8], status: u16, code: &'static str) -> Case {
    let head = format!(
        "{head}\r\nhost: h\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    raw(name, &[head.as_bytes(), body].concat(), status, code)
}

/// A POST of JSON.
pub fn post(name: &str, path: &str, body: &str, status: u16, code: &'static str) -> Case {
    let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/json");
    with_body(name, &head, body.as_bytes(), status, code)
}

/// A request without a body.
fn bare(name: &str, line: &str, headers: &str, status: u16, code: &'static str) -> Case {
    raw(
        name,
        format!("{line} HTTP/1.1\r\nhost: h\r\n{headers}\r\n").as_bytes(),
        status,
        code,
    )
}

/// An administrative call of JSON with its token.
fn admin(name: &str, line: &str, body: &str, status: u16, code: &'static str) -> Case {
    let head = format!(
        "{line} HTTP/1.1\r\nauthorization: Bearer {}",
        crate::harness::ADMIN
    );
    with_body(name, &head, body.as_bytes(), status, code)
}

const INCREMENT: &str = "/api/v1/counter/gauge/increment";

pub fn cases() -> Vec<Case> {
    [
        bodies(),
        names(),
        paths_and_queries(),
        wire(),
        headers(),
        batches(),
        administration(),
        rules(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn bodies() -> Vec<Case> {
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

fn names() -> Vec<Case> {
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

fn paths_and_queries() -> Vec<Case> {
    let many = |name: &str, query: &str, code| {
        bare(name, &format!("GET /api/v1/counters{query}"), "", 400, code)
    };
    let eleven = (0..11)
        .map(|number| format!("n{number}"))
        .collect::<Vec<_>>()
        .join(",");
    vec![
        bare("no such path", "GET /nowhere", "", 404, "not_found"),
        bare("the root", "GET /", "", 404, "not_found"),
        bare(
            "a path that ends too early",
            "GET /api/v1",
            "",
            404,
            "not_found",
        ),
        bare(
            "a path that ends too late",
            "GET /api/v1/counter/gauge/",
            "",
            404,
            "not_found",
        ),
        bare(
            "another version",
            "GET /api/v2/counter/gauge",
            "",
            404,
            "not_found",
        ),
        bare(
            "a path upwards",
            "GET /api/v1/../../etc/passwd",
            "",
            404,
            "not_found",
        ),
        bare(
            "a call that is none",
            "POST /api/v1/counter/gauge/double",
            "",
            404,
            "not_found",
        ),
        bare("everything", "OPTIONS *", "", 404, "not_found"),
        bare("a tunnel", "CONNECT example.com:443", "", 404, "not_found"),
        bare(
            "GET of an increment",
            &format!("GET {INCREMENT}"),
            "",
            405,
            "method_not_allowed",
        ),
        bare(
            "POST of a counter",
            "POST /api/v1/counter/gauge",
            "",
            405,
            "method_not_allowed",
        ),
        bare(
            "PUT of an increment",
            &format!("PUT {INCREMENT}"),
            "",
            405,
            "method_not_allowed",
        ),
        bare(
            "DELETE of all",
            "DELETE /api/v1/counters/all",
            "",
            405,
            "method_not_allowed",
        ),
        bare(
            "a method that nobody knows",
            "BREW /livez",
            "",
            405,
            "method_not_allowed",
        ),
        bare(
            "a method in small letters",
            "get /livez",
            "",
            405,
            "method_not_allowed",
        ),
        many("no names", "", "invalid_query"),
        many("empty names", "?names=", "invalid_query"),
        many("eleven names", &format!("?names={eleven}"), "invalid_query"),
        many(
            "a name that is none among names",
            "?names=gauge,Gauge",
            "invalid_name",
        ),
        many("names twice", "?names=gauge&names=sum", "invalid_query"),
        many("another parameter", "?name=gauge", "invalid_query"),
        many("a query that is not UTF-8", "?names=%ff", "invalid_name"),
        many("a limit of zero", "/all?limit=0", "invalid_query"),
        many(
            "a limit over a thousand",
            "/all?limit=1001",
            "invalid_query",
        ),
        many(
            "a limit that is no number",
            "/all?limit=+5",
            "invalid_query",
        ),
        bare(
            "a counter nobody wrote",
            "GET /api/v1/counter/nobody",
            "",
            404,
            "unknown_counter",
        ),
        bare(
            "a counter that is gone",
            "GET /api/v1/counter/gone",
            "",
            410,
            "counter_deleted",
        ),
    ]
}

fn wire() -> Vec<Case> {
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

fn headers() -> Vec<Case> {
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

fn batches() -> Vec<Case> {
    let batch = |name: &str, body: &str, code| post(name, "/api/v1/batch", body, 400, code);
    let of = |operation: &str| {
        format!(r#"{{"operations":[{{"op":"increment","name":"gauge"}},{operation}]}}"#)
    };
    let thousand_and_one = vec![r#"{"op":"increment","name":"gauge"}"#; 1001].join(",");
    vec![
        batch("a batch without a body", "", "invalid_json"),
        batch("a batch without operations", "{}", "invalid_batch"),
        batch("a batch of none", r#"{"operations":[]}"#, "invalid_batch"),
        batch(
            "a batch of 1001",
            &format!(r#"{{"operations":[{thousand_and_one}]}}"#),
            "invalid_batch",
        ),
        batch("a batch that is a list", "[]", "invalid_json"),
        batch(
            "operations that are an object",
            r#"{"operations":{}}"#,
            "invalid_json",
        ),
        batch(
            "another field of a batch",
            r#"{"operation":[]}"#,
            "unknown_field",
        ),
        batch(
            "an operation without op",
            &of(r#"{"name":"gauge"}"#),
            "invalid_batch",
        ),
        batch(
            "an operation without name",
            &of(r#"{"op":"increment"}"#),
            "invalid_batch",
        ),
        batch(
            "an operation that is none",
            &of(r#"{"op":"reset","name":"gauge"}"#),
            "invalid_batch",
        ),
        batch(
            "an operation with a bad name",
            &of(r#"{"op":"increment","name":"Gauge"}"#),
            "invalid_name",
        ),
        batch(
            "an operation with a bad value",
            &of(r#"{"op":"increment","name":"gauge","value":0.5}"#),
            "invalid_value",
        ),
        batch(
            "an operation with an unknown field",
            &of(r#"{"op":"increment","name":"gauge","by":1}"#),
            "unknown_field",
        ),
        post(
            "a batch with an operation against the rules",
            "/api/v1/batch",
            &of(r#"{"op":"decrement","name":"sum"}"#),
            409,
            "batch_refused",
        ),
        with_body(
            "a batch over its limit",
            "POST /api/v1/batch HTTP/1.1",
            &vec![b' '; (1 << 20) + 1],
            413,
            "body_too_large",
        ),
    ]
}

fn administration() -> Vec<Case> {
    let define = |name: &str, body: &str, status, code| {
        admin(name, "PUT /api/v1/counter/new", body, status, code)
    };
    let adjust = |name: &str, body: &str, status, code| {
        admin(
            name,
            "POST /api/v1/counter/gauge/adjust",
            body,
            status,
            code,
        )
    };
    vec![
        bare(
            "a reset without a token",
            "POST /api/v1/counter/gauge/reset",
            "",
            401,
            "unauthorized",
        ),
        bare(
            "a delete with a wrong token",
            "DELETE /api/v1/counter/gauge",
            "authorization: Bearer x\r\n",
            401,
            "unauthorized",
        ),
        bare(
            "a delete with another scheme",
            "DELETE /api/v1/counter/gauge",
            "authorization: Basic eA==\r\n",
            401,
            "unauthorized",
        ),
        define(
            "a kind that is none",
            r#"{"kind":"set"}"#,
            400,
            "invalid_definition",
        ),
        define(
            "a reset that is none",
            r#"{"reset":"weekly"}"#,
            400,
            "invalid_definition",
        ),
        define(
            "bounds without zero",
            r#"{"min":1,"max":5}"#,
            400,
            "invalid_definition",
        ),
        define(
            "a bound that is a fraction",
            r#"{"max":1.5}"#,
            400,
            "invalid_definition",
        ),
        define(
            "an end in the past",
            r#"{"expires_at":"2020-01-01T00:00:00Z"}"#,
            400,
            "invalid_definition",
        ),
        define(
            "an end that is no time",
            r#"{"expires_at":"tomorrow"}"#,
            400,
            "invalid_definition",
        ),
        define(
            "an unknown field of a definition",
            r#"{"knid":"sum"}"#,
            400,
            "unknown_field",
        ),
        define("a definition that is a list", "[]", 400, "invalid_json"),
        admin(
            "another kind for a live counter",
            "PUT /api/v1/counter/gauge",
            r#"{"kind":"sum"}"#,
            409,
            "definition_conflict",
        ),
        admin(
            "a definition of the configuration's",
            "PUT /api/v1/counter/online_players",
            "{}",
            409,
            "defined_in_config",
        ),
        admin(
            "a delete of the configuration's",
            "DELETE /api/v1/counter/online_players",
            "",
            409,
            "defined_in_config",
        ),
        adjust(
            "an adjustment by nothing",
            r#"{"reason":"why"}"#,
            400,
            "invalid_adjustment",
        ),
        adjust(
            "an adjustment in two ways",
            r#"{"value":1,"delta":1,"reason":"why"}"#,
            400,
            "invalid_adjustment",
        ),
        adjust(
            "an adjustment without a reason",
            r#"{"value":1}"#,
            400,
            "invalid_adjustment",
        ),
        adjust(
            "an adjustment by a fraction",
            r#"{"delta":0.5,"reason":"why"}"#,
            400,
            "invalid_value",
        ),
        adjust(
            "an adjustment below the minimum",
            r#"{"value":-1,"reason":"why"}"#,
            409,
            "below_minimum",
        ),
        admin(
            "an adjustment of a unique",
            "POST /api/v1/counter/unique/adjust",
            r#"{"value":1,"reason":"why"}"#,
            409,
            "wrong_kind",
        ),
        admin(
            "a reset of what nobody wrote",
            "POST /api/v1/counter/nobody/reset",
            "",
            404,
            "unknown_counter",
        ),
        admin(
            "a delete of what is gone",
            "DELETE /api/v1/counter/gone",
            "",
            410,
            "counter_deleted",
        ),
    ]
}

fn rules() -> Vec<Case> {
    let call = |name: &str, path: &str, body: &str, status, code| {
        post(name, &format!("/api/v1/counter/{path}"), body, status, code)
    };
    vec![
        call(
            "a unique without a user",
            "unique/increment",
            "{}",
            400,
            "missing_user_id",
        ),
        call(
            "a unique by two",
            "unique/increment",
            r#"{"user_id":"u","value":2}"#,
            400,
            "invalid_value",
        ),
        call(
            "a decrement of a unique",
            "unique/decrement",
            r#"{"user_id":"u"}"#,
            409,
            "wrong_kind",
        ),
        call(
            "a decrement of a sum",
            "sum/decrement",
            "",
            409,
            "wrong_kind",
        ),
        call(
            "a decrement of what nobody wrote",
            "nobody/decrement",
            "",
            404,
            "unknown_counter",
        ),
        call(
            "an increment beyond the maximum",
            "full/increment",
            "",
            409,
            "above_maximum",
        ),
        call(
            "an increment beyond 64 bits",
            "gauge/increment",
            r#"{"value":9223372036854775807}"#,
            409,
            "above_maximum",
        ),
        call(
            "a decrement below the minimum",
            "gauge/decrement",
            r#"{"value":8}"#,
            409,
            "below_minimum",
        ),
        call(
            "an increment of what is gone",
            "gone/increment",
            "",
            410,
            "counter_deleted",
        ),
    ]
}
