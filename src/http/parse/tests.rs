use super::batch::NameMemo;
use super::*;
use crate::counter::{Action, UserId};
use crate::http::error::Extras;

fn refused(body: &str) -> Code {
    change(body.as_bytes()).map(|_| body).unwrap_err().code
}

#[test]
fn what_is_absent_or_null_takes_its_default() {
    for body in [
        "",
        "{}",
        "null",
        " {} ",
        r#"{"value":null,"user_id":null,"metadata":null}"#,
    ] {
        let change = change(body.as_bytes()).unwrap();
        assert_eq!(
            (change.value, change.user_id, change.metadata.is_none()),
            (None, None, true),
            "{body}"
        );
    }
}

#[test]
fn good_values_are_taken() {
    for (body, amount, user_id) in [
        (r#"{"value":1}"#, 1, None),
        (r#"{"value":9223372036854775807}"#, i64::MAX, None),
        (r#"{"user_id":"u1","value":3,"metadata":{}}"#, 3, Some("u1")),
        (r#"{"user_id":"\u00fc \"x\""}"#, 1, Some("ü \"x\"")),
        (r#"{"val\u0075e":7}"#, 7, None),
        (
            r#"{"metadata":{"a":[1,{"b":"}]{[\"\\"}],"value":9}}"#,
            1,
            None,
        ),
        (
            r#"{"metadata":{"1":{"2":{"3":{"4":{"5":{"6":{"7":{}}}}}}}}}"#,
            1,
            None,
        ),
    ] {
        let change = change(body.as_bytes()).unwrap();
        assert_eq!(
            (
                change.value.unwrap_or(1),
                change.user_id.as_ref().map(UserId::as_str)
            ),
            (amount, user_id),
            "{body}"
        );
    }
}

#[test]
fn each_mistake_has_its_code() {
    let deep = format!(
        r#"{{"metadata":{}1{}}}"#,
        r#"{"a":"#.repeat(9),
        "}".repeat(9)
    );
    let wide = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(4096 - 7));
    let long_user = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(129));
    for (body, code) in [
        (r#"{"value":0}"#, Code::InvalidValue),
        (r#"{"value":-1}"#, Code::InvalidValue),
        (r#"{"value":-0}"#, Code::InvalidValue),
        (r#"{"value":1.0}"#, Code::InvalidValue),
        (r#"{"value":1.5}"#, Code::InvalidValue),
        (r#"{"value":1e0}"#, Code::InvalidValue),
        (r#"{"value":1E3}"#, Code::InvalidValue),
        (r#"{"value":"1"}"#, Code::InvalidValue),
        (r#"{"value":true}"#, Code::InvalidValue),
        (r#"{"value":[1]}"#, Code::InvalidValue),
        (r#"{"value":{}}"#, Code::InvalidValue),
        (r#"{"value":9223372036854775808}"#, Code::InvalidValue),
        (r#"{"value":99999999999999999999999}"#, Code::InvalidValue),
        (r#"{"value":-9223372036854775809}"#, Code::InvalidValue),
        (r#"{"value":01}"#, Code::InvalidJson),
        (r#"{"value":+1}"#, Code::InvalidJson),
        (r#"{"value":.5}"#, Code::InvalidJson),
        (r#"{"value":1x}"#, Code::InvalidJson),
        (r#"{"value":NaN}"#, Code::InvalidJson),
        (r#"{"value":}"#, Code::InvalidJson),
        (r#"{"value":1,}"#, Code::InvalidJson),
        (r#"{"value":1"#, Code::InvalidJson),
        (r#"{"value":1} x"#, Code::InvalidJson),
        (r#"{"value":1}{}"#, Code::InvalidJson),
        (r#"{value:1}"#, Code::InvalidJson),
        (r#"{'value':1}"#, Code::InvalidJson),
        (r#"{"value":1,"value":1}"#, Code::InvalidJson),
        (r#"{"value":null,"value":1}"#, Code::InvalidJson),
        (r#"{"user_id":"a","user_id":"b"}"#, Code::InvalidJson),
        (r#"[]"#, Code::InvalidJson),
        (r#"1"#, Code::InvalidJson),
        (r#""{}""#, Code::InvalidJson),
        (" ", Code::InvalidJson),
        ("\u{feff}{}", Code::InvalidJson),
        (r#"{"user_id":""}"#, Code::InvalidUserId),
        (r#"{"user_id":7}"#, Code::InvalidUserId),
        (r#"{"user_id":"a\u0000"}"#, Code::InvalidUserId),
        (r#"{"user_id":"a\u007f"}"#, Code::InvalidUserId),
        (r#"{"user_id":["a"]}"#, Code::InvalidUserId),
        (r#"{"user_id":"\ud800"}"#, Code::InvalidJson),
        (&long_user, Code::InvalidUserId),
        (r#"{"metadata":[]}"#, Code::InvalidMetadata),
        (r#"{"metadata":"x"}"#, Code::InvalidMetadata),
        (r#"{"metadata":1}"#, Code::InvalidMetadata),
        (&deep, Code::InvalidMetadata),
        (&wide, Code::InvalidMetadata),
        (r#"{"metadata":{"a":}}"#, Code::InvalidJson),
        (r#"{"valeu":1}"#, Code::UnknownField),
        (r#"{"Value":1}"#, Code::UnknownField),
        (r#"{"":1}"#, Code::UnknownField),
        (r#"{"name":"a"}"#, Code::UnknownField),
    ] {
        assert_eq!(refused(body), code, "{body}");
    }
    assert_eq!(
        change(b"{\"user_id\":\"\xff\"}").unwrap_err().code,
        Code::InvalidJson
    );
    assert_eq!(change(b"\xff").unwrap_err().code, Code::InvalidJson);
}

#[test]
fn an_unknown_field_is_named_with_the_nearest_known_one() {
    let detail = |body: &str| change(body.as_bytes()).unwrap_err().detail.into_owned();
    assert_eq!(
        detail(r#"{"valeu":1}"#),
        r#"unknown field "valeu"; did you mean `value`?"#
    );
    assert_eq!(
        detail(r#"{"userId":"a"}"#),
        r#"unknown field "userId"; did you mean `user_id`?"#
    );
    assert_eq!(
        detail(r#"{"zzz":1}"#),
        r#"unknown field "zzz"; known are `value`, `user_id`, `metadata`"#
    );
}

#[test]
fn metadata_may_fill_their_limits() {
    let wide = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(4096 - 8));
    assert!(change(wide.as_bytes()).is_ok());
    let deep = format!(
        r#"{{"metadata":{}1{}}}"#,
        r#"{"a":"#.repeat(8),
        "}".repeat(8)
    );
    assert!(change(deep.as_bytes()).is_ok());
}

#[test]
fn a_batch_is_read_in_order() {
    let body = br#"{"operations":[
        {"op":"increment","name":"a"},
        {"name":"b","op":"decrement","value":5,"user_id":"u"},
        {"op":"increment","name":"a","metadata":{"x":1}}]}"#;
    let batch = batch(body).unwrap();
    let shown: Vec<_> = batch
        .operations
        .iter()
        .map(|o| (o.counter.as_str(), o.action, o.amount, o.user_id.is_some()))
        .collect();
    let (up, down) = (Action::Increment, Action::Decrement);
    assert_eq!(
        shown,
        [
            ("a", up, 1, false),
            ("b", down, 5, true),
            ("a", up, 1, false)
        ]
    );
    assert_eq!(
        batch
            .metadata
            .iter()
            .map(|(index, raw)| (*index, raw.get()))
            .collect::<Vec<_>>(),
        [(2, r#"{"x":1}"#)]
    );
}

#[test]
fn a_batch_has_one_to_a_thousand_operations() {
    let with = |count: usize| {
        let one = r#"{"op":"increment","name":"a"}"#;
        let body = format!(r#"{{"operations":[{}]}}"#, vec![one; count].join(","));
        batch(body.as_bytes())
            .map(|batch| batch.operations.len())
            .map_err(|problem| problem.code)
    };
    assert_eq!((with(1), with(1000)), (Ok(1), Ok(1000)));
    assert_eq!(
        (with(0), with(1001)),
        (Err(Code::InvalidBatch), Err(Code::InvalidBatch))
    );
}

#[test]
fn operations_of_another_type_are_told_so_and_what_is_not_json_is_not_json() {
    for (operations, code, detail) in [
        ("null}", Code::InvalidBatch, "send `operations`"),
        ("{}}", Code::InvalidJson, "`operations` must"),
        (r#""x"}"#, Code::InvalidJson, "`operations` must"),
        (
            "[1]}",
            Code::InvalidJson,
            "operation 0: it must be an object",
        ),
        (r#"[{"op":"up"#, Code::InvalidJson, "the body ends"),
        ("[01]}", Code::InvalidJson, "the body is not JSON"),
    ] {
        let body = format!(r#"{{"operations":{operations}"#);
        let problem = batch(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code, code, "{body}");
        assert!(
            problem.detail.starts_with(detail),
            "{body}: {}",
            problem.detail
        );
    }
}

#[test]
fn a_number_beyond_every_float_is_json_but_no_value() {
    for number in ["1e400", "-1e400", &"9".repeat(400)] {
        let body = format!(r#"{{"value":{number}}}"#);
        let problem = change(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code, Code::InvalidValue, "{number}");
    }
}

#[test]
fn a_mistake_in_a_batch_says_where() {
    for (operation, code, detail) in [
        (
            r#"{"op":"increment"}"#,
            Code::InvalidBatch,
            "operation 1: `name` is missing",
        ),
        (
            r#"null"#,
            Code::InvalidBatch,
            "operation 1: `op` is missing",
        ),
        (
            r#"{"op":"up","name":"a"}"#,
            Code::InvalidBatch,
            "operation 1: `op` must be one of `increment`, `decrement`, `heartbeat`, `leave`",
        ),
        (
            r#"{"op":"increment","name":"A"}"#,
            Code::InvalidName,
            "operation 1: a counter name is",
        ),
        (
            r#"{"op":"increment","name":"a","value":0}"#,
            Code::InvalidValue,
            "operation 1: `value` must",
        ),
        (
            r#"{"op":"heartbeat","name":"a","value":-1}"#,
            Code::InvalidValue,
            "operation 1: `value` must be a whole number from 1 to 9223372036854775807 (of a heartbeat from 0 to \
             2147483647), without fraction",
        ),
        (
            r#"{"op":"increment","nam":"a"}"#,
            Code::UnknownField,
            r#"operation 1: unknown field "nam"; did"#,
        ),
        ("1", Code::InvalidJson, "operation 1: it must be an object"),
        ("[]", Code::InvalidJson, "operation 1: it must be an object"),
        (
            r#"{"op":"increment","op":"increment"}"#,
            Code::InvalidJson,
            "operation 1: the field `op` is there twice",
        ),
    ] {
        let body = format!(r#"{{"operations":[{{"op":"increment","name":"a"}},{operation}]}}"#);
        let problem = batch(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code, code, "{operation}");
        assert!(
            problem.detail.starts_with(detail),
            "{operation}: {}",
            problem.detail
        );
        assert_eq!(problem.extras, Extras::Index { index: 1 }, "{operation}");
    }
    for (body, code) in [
        ("", Code::InvalidJson),
        ("{}", Code::InvalidBatch),
        ("[]", Code::InvalidJson),
        (r#"{"operations":{}}"#, Code::InvalidJson),
        (r#"{"operations":[1]}"#, Code::InvalidJson),
        (r#"{"operation":[]}"#, Code::UnknownField),
        (r#"{"operations":[],"operations":[]}"#, Code::InvalidJson),
    ] {
        assert_eq!(batch(body.as_bytes()).unwrap_err().code, code, "{body}");
    }
}

#[test]
fn a_repeated_name_is_the_same_name() {
    let mut memo = NameMemo::new();
    let (first, again) = (memo.parse("a").unwrap(), memo.parse("a").unwrap());
    assert_eq!(first, again);
    // More names than places: each is still itself.
    for round in 0..2 {
        for number in 0..1000 {
            let text = format!("n{number}");
            assert_eq!(memo.parse(&text).unwrap().as_str(), text, "round {round}");
        }
    }
    assert!(memo.parse("Not a name").is_err());
}

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Small {
    value: Option<i64>,
    reason: Option<String>,
    kind: Option<crate::counter::Kind>,
}

#[test]
fn objects_of_calls_that_are_not_made_often_are_read_by_type() {
    let read = |body: &str| object::<Small>(body.as_bytes());
    for empty in ["", "{}", " null", r#"{"value":null,"kind":null}"#] {
        assert_eq!(read(empty), Ok(Small::default()), "{empty}");
    }
    let full = read(r#"{"value":-7,"reason":"r\u00fcck","kind":"sum"}"#).unwrap();
    assert_eq!(
        (full.value, full.reason.as_deref()),
        (Some(-7), Some("rück"))
    );
    assert_eq!(full.kind, Some(crate::counter::Kind::Sum));
    for (body, code, detail) in [
        (
            r#"{"value":1.0}"#,
            Code::InvalidValue,
            "`value` must be a whole number from",
        ),
        (
            r#"{"value":9223372036854775808}"#,
            Code::InvalidValue,
            "`value` must be a whole",
        ),
        (
            r#"{"value":"1"}"#,
            Code::InvalidValue,
            "`value` must be a whole number from",
        ),
        (
            r#"{"value":[]}"#,
            Code::InvalidValue,
            "`value` must be a whole number from",
        ),
        (
            r#"{"value":1e400}"#,
            Code::InvalidValue,
            "the number at line 1",
        ),
        (
            r#"{"reason":12345}"#,
            Code::InvalidAdjustment,
            "`reason` must be a JSON string, in quotes",
        ),
        (
            r#"{"kind":"Sum"}"#,
            Code::InvalidDefinition,
            "`kind` must be one of `gauge`, `sum`, `unique`, `presence`",
        ),
        (
            r#"{"kind":1}"#,
            Code::InvalidDefinition,
            "`kind` must be a JSON string, in quotes",
        ),
        (
            r#"{"kind":"x, expected secret"}"#,
            Code::InvalidDefinition,
            "`kind` must be one of `gauge`",
        ),
        (
            r#"{"valeu":1}"#,
            Code::UnknownField,
            r#"unknown field "valeu"; did you mean `value`?"#,
        ),
        (r#"{"":1}"#, Code::UnknownField, r#"unknown field "#),
        (
            r#"{"value":1,"value":1}"#,
            Code::InvalidJson,
            "the field `value` is there twice",
        ),
        (r#"{"valeu":1,"#, Code::InvalidJson, "the body ends"),
        (
            r#"{"value":1} x"#,
            Code::InvalidJson,
            "the body is not JSON",
        ),
        (
            r#"[1,"why","sum"]"#,
            Code::InvalidJson,
            "the body must be one JSON object",
        ),
        (
            r#""text""#,
            Code::InvalidJson,
            "the body must be one JSON object",
        ),
    ] {
        let problem = read(body).unwrap_err();
        assert_eq!(problem.code, code, "{body}: {}", problem.detail);
        assert!(
            problem.detail.starts_with(detail),
            "{body}: {}",
            problem.detail
        );
    }
    let secret = read(r#"{"reason":12345}"#).unwrap_err().detail;
    assert!(!secret.contains("12345"), "{secret}");
}
