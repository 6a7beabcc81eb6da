//! Calls that are understood and cannot be done.

use super::{Case, INCREMENT, admin, bare, post, with_body};

pub(super) fn paths_and_queries() -> Vec<Case> {
    let many = |name: &str, query: &str, code| {
        bare(name, &format!("GET /api/v1/counters{query}"), "", 400, code)
    };
    let eleven = (0..11)
        .map(|number| format!("n{number}"))
        .collect::<Vec<_>>()
        .join(",");
    vec![
        bare("no such path", "GET /nowhere", "", 404, "not_found"),
        bare(
            "a file that the page has not",
            "GET /page/nowhere",
            "",
            404,
            "not_found",
        ),
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

pub(super) fn batches() -> Vec<Case> {
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

pub(super) fn administration() -> Vec<Case> {
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

pub(super) fn rules() -> Vec<Case> {
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
