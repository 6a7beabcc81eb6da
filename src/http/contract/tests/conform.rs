//! Whether an answer of a server is one that the table knows. Every test that asks a server over HTTP looks with it.

use serde_json::Value;

use super::super::refusals::{NO_CALL, PROBLEM};
use super::super::schema::Type;
use super::super::*;

/// The call that a request line asks for, without its query; `None` for one of no call.
fn asked_for(line: &str) -> Option<&'static Endpoint> {
    let (method, rest) = line.split_once(' ')?;
    let path = rest.split(['?', ' ']).next()?;
    let alike = |endpoint: &&Endpoint| {
        let (wanted, found) = (endpoint.path.split('/'), path.split('/'));
        let same = |(wanted, found): (&str, &str)| {
            wanted == found || (wanted == "{name}" && !found.is_empty())
        };
        wanted.clone().count() == found.clone().count() && wanted.zip(found).all(same)
    };
    calls()
        .filter(|endpoint| endpoint.method.as_str() == method)
        .find(alike)
}

/// Panics unless the answer to `line` is one that the table has for it.
#[track_caller]
pub(in crate::http) fn check(line: &str, status: u16, body: &str) {
    if line.starts_with("HEAD ") {
        return;
    }
    let endpoint = asked_for(line);
    if status >= 400 {
        let problem: Value =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{line}: {error}: {body}"));
        fits(&problem, &PROBLEM, line);
        let code = problem["code"].as_str().unwrap();
        let code = Code::ALL.iter().find(|known| known.as_str() == code);
        let code = *code.unwrap_or_else(|| panic!("{line}: no code: {body}"));
        assert_eq!(code.status().as_u16(), status, "{line}: {body}");
        let known = endpoint.is_some_and(|endpoint| endpoint.codes().contains(&code));
        assert!(
            known || NO_CALL.contains(&code) || endpoint.is_none(),
            "{line}: its row in http/contract/ lacks the code {}",
            code.as_str()
        );
        return;
    }
    let Some(endpoint) = endpoint.filter(|_| status != 204) else {
        return;
    };
    let answer = endpoint
        .answers
        .iter()
        .find(|answer| answer.status == status);
    let answer = answer
        .unwrap_or_else(|| panic!("{line}: its row in http/contract/ lacks the answer {status}"));
    if let Media::Json(shape) = answer.media {
        let answer: Value =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{line}: {error}: {body}"));
        fits(&answer, shape, line);
    }
}

/// Panics unless the object has all the members that it must have, and none that the shape lacks.
#[track_caller]
pub(super) fn fits(value: &Value, shape: &Shape, at: &str) {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("{at}: {} is no object: {value}", shape.name));
    for name in object.keys() {
        let known = shape.fields.iter().any(|field| field.name == name);
        assert!(
            known,
            "{at}: {} in http/contract/ lacks the field {name}: {value}",
            shape.name
        );
    }
    for field in shape.fields {
        match object.get(field.name) {
            None => assert!(
                !field.required,
                "{at}: {} lacks {}: {value}",
                shape.name, field.name
            ),
            Some(Value::Null) => assert!(
                field.nullable,
                "{at}: {} of {} is null: {value}",
                field.name, shape.name
            ),
            Some(member) => is(
                member,
                field.is,
                &format!("{at}: {} of {}", field.name, shape.name),
            ),
        }
    }
}

#[track_caller]
fn is(value: &Value, wanted: Type, at: &str) {
    let good = match wanted {
        Type::Flag => value.is_boolean(),
        Type::Whole(least, most) => {
            let number = value
                .as_i64()
                .map(i128::from)
                .or(value.as_u64().map(i128::from));
            number.is_some_and(|number| (least..=most).contains(&number))
        }
        Type::Number => value.is_number(),
        Type::Text(form) => value.as_str().is_some_and(|text| {
            let length = text.chars().count();
            length >= form.least && form.most.is_none_or(|most| length <= most)
        }),
        Type::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
        Type::List(item, least, most) => {
            let items = value
                .as_array()
                .unwrap_or_else(|| panic!("{at} is no list: {value}"));
            items.iter().for_each(|one| is(one, *item, at));
            (least..=most).contains(&items.len())
        }
        Type::Object(shape) => {
            fits(value, shape, at);
            true
        }
        Type::Anything => value.is_object(),
    };
    assert!(good, "{at} is not as http/contract/ says: {value}");
}

#[test]
fn an_answer_that_the_table_lacks_is_seen() {
    let line = "GET /api/v1/counter/a?x=1 HTTP/1.1";
    let good = super::super::reading::TOPIC.calls[0].answers[0].example;
    check(line, 200, good);
    let problem = super::examples::problem(Code::UnknownCounter).to_string();
    check(line, 404, &problem);
    for (status, body) in [
        (201, good.to_owned()),
        (200, good.replace("\"value\":4", "\"value\":\"4\"")),
        (200, good.replace("\"value\":4,", "")),
        (200, good.replace("\"value\"", "\"more\":1,\"value\"")),
        (200, good.replace("\"kind\":\"sum\"", "\"kind\":\"total\"")),
        (
            200,
            good.replace(
                "\"last_updated\":\"2026-11-24T10:30:00.000Z\"",
                "\"last_updated\":null",
            ),
        ),
        (400, problem.clone()),
        (
            409,
            super::examples::problem(Code::BatchRefused).to_string(),
        ),
    ] {
        let seen = std::panic::catch_unwind(|| check(line, status, &body));
        assert!(seen.is_err(), "{status} {body}");
    }
}

#[test]
fn every_example_is_as_the_table_says() {
    for endpoint in calls() {
        for answer in endpoint.answers {
            if let Media::Json(shape) | Media::Events(shape) = answer.media {
                fits(
                    &serde_json::from_str(answer.example).unwrap(),
                    shape,
                    endpoint.path,
                );
            }
        }
        if let BodyForm::Optional(shape, example) | BodyForm::Required(shape, example) =
            endpoint.body
        {
            fits(
                &serde_json::from_str(example).unwrap(),
                shape,
                endpoint.path,
            );
        }
    }
    for code in Code::ALL {
        fits(&super::examples::problem(*code), &PROBLEM, code.as_str());
    }
}
