//! The contract as OpenAPI 3.1.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::refusals::{NO_CALL, PROBLEM};
use super::super::schema::{Case, Field, TextForm, Type};
use super::super::*;
use super::examples;

/// Whether clients send it or are answered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Sent,
    Answered,
}

/// The schemas of the objects that were met.
#[derive(Default)]
struct Schemas(BTreeMap<&'static str, Value>);

impl Schemas {
    fn of(&mut self, is: Type, nullable: bool, side: Side) -> Value {
        let (mut schema, kind) = match is {
            Type::Flag => (json!({}), "boolean"),
            Type::Whole(least, most) => (whole(least, most), "integer"),
            Type::Number => (json!({}), "number"),
            Type::Text(form) => (of_text(&form), "string"),
            Type::Word(words) if side == Side::Sent => (json!({"enum": words}), "string"),
            // Open: a client must expect further words.
            Type::Word(words) => (json!({"x-extensible-enum": words}), "string"),
            Type::List(item, least, most) => {
                let mut list = json!({"items": self.of(*item, false, side)});
                if side == Side::Sent {
                    list["minItems"] = least.into();
                    list["maxItems"] = most.into();
                }
                (list, "array")
            }
            Type::Object(shape) => {
                assert!(
                    !nullable,
                    "{}: an object that may be `null` needs a union",
                    shape.name
                );
                self.add(shape, false, side);
                return json!({"$ref": format!("#/components/schemas/{}", shape.name)});
            }
            Type::Anything => (json!({"additionalProperties": true}), "object"),
        };
        schema["type"] = match nullable {
            true => json!([kind, "null"]),
            false => json!(kind),
        };
        if let (true, Some(Value::Array(words))) = (nullable, schema.get_mut("enum")) {
            words.push(Value::Null);
        }
        schema
    }

    fn field(&mut self, field: &Field, side: Side) -> Value {
        let mut schema = self.of(field.is, field.nullable, side);
        schema["description"] = sentence(field.meaning).into();
        schema
    }

    /// Adds an object; `nullable` where the whole body may be `null`.
    fn add(&mut self, shape: &'static Shape, nullable: bool, side: Side) {
        if self.0.contains_key(shape.name) {
            return;
        }
        self.0.insert(shape.name, Value::Null);
        let mut properties = Map::new();
        for field in shape.fields {
            properties.insert(field.name.to_owned(), self.field(field, side));
        }
        let required: Vec<&str> = shape
            .fields
            .iter()
            .filter(|field| field.required)
            .map(|field| field.name)
            .collect();
        let mut schema = json!({
            "type": if nullable { json!(["object", "null"]) } else { json!("object") },
            "description": shape.meaning,
            "properties": properties,
            "additionalProperties": side == Side::Answered,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if !shape.cases.is_empty() {
            let cases: Vec<Value> = shape
                .cases
                .iter()
                .map(|case| self.case(shape, case, side))
                .collect();
            schema["anyOf"] = json!(cases);
        }
        self.0.insert(shape.name, schema);
    }

    /// What holds in a case, beside what always holds.
    fn case(&mut self, shape: &Shape, case: &Case, side: Side) -> Value {
        let mut properties = Map::new();
        for name in case.lacks {
            properties.insert((*name).to_owned(), json!({"type": "null"}));
        }
        for field in shape.fields {
            let narrow = case.narrows.iter().find(|(name, _)| *name == field.name);
            let has = case.has.contains(&field.name);
            let is = match narrow {
                Some((_, is)) => *is,
                None if has => field.is,
                None => continue,
            };
            let nullable = field.nullable && !has;
            properties.insert(field.name.to_owned(), self.of(is, nullable, side));
        }
        let mut schema = json!({"properties": properties});
        if !case.has.is_empty() {
            schema["required"] = json!(case.has);
        }
        schema
    }
}

fn whole(least: i128, most: i128) -> Value {
    let mut schema = json!({});
    if least >= i64::MIN.into() && most <= i64::MAX.into() {
        schema["format"] = "int64".into();
    }
    if let Ok(least) = i64::try_from(least) {
        schema["minimum"] = least.into();
    }
    if let Ok(most) = i64::try_from(most) {
        schema["maximum"] = most.into();
    }
    schema
}

fn of_text(form: &TextForm) -> Value {
    let mut schema = json!({});
    if form.least > 0 {
        schema["minLength"] = form.least.into();
    }
    for (member, value) in [
        ("maxLength", form.most.map(Value::from)),
        ("pattern", form.pattern.map(Value::from)),
        ("format", form.format.map(Value::from)),
    ] {
        if let Some(value) = value {
            schema[member] = value;
        }
    }
    schema
}

/// A meaning as a sentence, with the links of `docs/api.md` as they are.
pub(super) fn sentence(meaning: &str) -> String {
    let mut letters = meaning.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    let end = if meaning.ends_with(['.', ':', '?']) {
        ""
    } else {
        "."
    };
    format!("{first}{}{end}", letters.as_str())
}

fn parameter(schemas: &mut Schemas, parameter: &Parameter) -> Value {
    let place = match parameter.place {
        ParameterIn::Path => "path",
        ParameterIn::Query => "query",
        ParameterIn::Header => "header",
    };
    let mut value = json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.required,
        "description": sentence(parameter.meaning),
        "schema": schemas.of(parameter.is, false, Side::Sent),
    });
    value["example"] = match parameter.is {
        Type::List(..) => {
            value["style"] = "form".into();
            value["explode"] = false.into();
            json!(parameter.example.split(',').collect::<Vec<_>>())
        }
        Type::Whole(..) => serde_json::from_str(parameter.example).unwrap(),
        _ => parameter.example.into(),
    };
    value
}

fn parsed(example: &str) -> Value {
    serde_json::from_str(example).unwrap_or_else(|error| panic!("{error}: {example}"))
}

/// The calls that one may make next of the counter in the path.
fn links(endpoint: &Endpoint) -> Value {
    let next = [Route::Read, Route::Increment, Route::History, Route::Delete];
    let of_name = |endpoint: &Endpoint| endpoint.path.contains("{name}");
    let begins = matches!(endpoint.route, Route::Increment | Route::Define);
    let next = calls().filter(|other| begins && of_name(other) && next.contains(&other.route));
    let link = |other: &Endpoint| {
        let link = json!({
            "operationId": other.route.as_str(),
            "parameters": {"name": "$request.path.name"},
        });
        (other.route.as_str().to_owned(), link)
    };
    Value::Object(next.map(link).collect())
}

fn good_answers(schemas: &mut Schemas, endpoint: &Endpoint, responses: &mut Map<String, Value>) {
    for answer in endpoint.answers {
        let response = responses
            .entry(answer.status.to_string())
            .or_insert_with(|| {
                let mut headers =
                    json!({"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}});
                if endpoint.codes().contains(&Code::IdempotencyKeyReused) {
                    headers["Idempotency-Replayed"] =
                        json!({"$ref": "#/components/headers/Idempotency-Replayed"});
                }
                if endpoint.answers.iter().any(|answer| answer.status == 304) {
                    headers["ETag"] = json!({"$ref": "#/components/headers/ETag"});
                }
                json!({"description": answer.meaning, "headers": headers})
            });
        let (media, content) = match answer.media {
            Media::Upgraded | Media::Nothing => continue,
            Media::Events(shape) => {
                let schema = schemas.of(Type::Object(shape), false, Side::Answered);
                let example = json!({"schema": schema, "example": parsed(answer.example)});
                ("text/event-stream", example)
            }
            Media::Json(shape) => {
                let schema = schemas.of(Type::Object(shape), false, Side::Answered);
                (
                    "application/json",
                    json!({"schema": schema, "example": parsed(answer.example)}),
                )
            }
            Media::Other("application/json") => (
                "application/json",
                json!({"schema": {"type": "object", "additionalProperties": true}, "example": parsed(answer.example)}),
            ),
            Media::Other(media) => (
                media,
                json!({"schema": {"type": "string"}, "example": answer.example}),
            ),
        };
        response["content"][media] = content;
        let links = links(endpoint);
        if links.as_object().is_some_and(|links| !links.is_empty()) {
            response["links"] = links;
        }
    }
}

fn refusals(endpoint: &Endpoint, responses: &mut Map<String, Value>) {
    for code in endpoint.codes() {
        let status = code.status().as_u16();
        let response = responses.entry(status.to_string()).or_insert_with(|| {
            let mut headers =
                json!({"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}});
            let further: &[&str] = match status {
                401 => &["WWW-Authenticate"],
                429 => &["Retry-After", "RateLimit", "RateLimit-Policy"],
                503 => &["Retry-After"],
                _ => &[],
            };
            for name in further {
                headers[*name] = json!({"$ref": format!("#/components/headers/{name}")});
            }
            json!({
                "description": "",
                "headers": headers,
                "content": {"application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {},
                }},
            })
        });
        let said = response["description"].as_str().unwrap_or("");
        let between = if said.is_empty() { "" } else { ", " };
        response["description"] = format!("{said}{between}`{}`", code.as_str()).into();
        response["content"]["application/problem+json"]["examples"][code.as_str()] =
            json!({"$ref": format!("#/components/examples/{}", code.as_str())});
    }
}

fn security(endpoint: &Endpoint) -> Value {
    match endpoint.role {
        Role::Anyone => json!([]),
        Role::Holder(_) => json!([{"token": []}]),
        Role::AdminInBody => json!([{"token": []}, {}]),
        Role::Watcher => json!([{"token": []}, {"ticket": []}]),
    }
}

/// What a client has to be, in one word.
pub(super) fn role(endpoint: &Endpoint) -> &'static str {
    match endpoint.role {
        Role::Anyone => "anyone",
        Role::Holder(Access::Read) | Role::Watcher => "read",
        Role::Holder(Access::Write) => "write",
        Role::Holder(Access::Admin) | Role::AdminInBody => "admin",
    }
}

fn operation(schemas: &mut Schemas, topic: &Topic, endpoint: &Endpoint) -> Value {
    let listed = endpoint
        .parameters
        .iter()
        .filter(|one| one.name != "ticket");
    let parameters: Vec<Value> = listed.map(|one| parameter(schemas, one)).collect();
    let mut responses = Map::new();
    good_answers(schemas, endpoint, &mut responses);
    refusals(endpoint, &mut responses);
    let mut operation = json!({
        "operationId": endpoint.route.as_str(),
        "tags": [topic.title],
        "summary": endpoint.title,
        "description": endpoint.meaning,
        "security": security(endpoint),
        "responses": responses,
        "x-role": role(endpoint),
        "x-limits": limits(endpoint),
    });
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    let (shape, example, required) = match endpoint.body {
        BodyForm::None => return operation,
        BodyForm::Optional(shape, example) => (shape, example, false),
        BodyForm::Required(shape, example) => (shape, example, true),
    };
    schemas.add(shape, !required, Side::Sent);
    operation["requestBody"] = json!({
        "required": required,
        "content": {"application/json": {
            "schema": {"$ref": format!("#/components/schemas/{}", shape.name)},
            "example": parsed(example),
        }},
    });
    operation
}

/// The keys of the configuration that limit a call.
pub(super) fn limits(endpoint: &Endpoint) -> Vec<&'static str> {
    let of_rate: &[&str] = match endpoint.rate {
        RateClass::Free => &[],
        RateClass::Reads => &["limits.per_ip"],
        RateClass::Writes if endpoint.fields().contains(&"user_id") => {
            &["limits.per_ip", "limits.per_user"]
        }
        RateClass::Writes if endpoint.limit == Limit::Batch => {
            &["limits.per_ip", "limits.per_user"]
        }
        RateClass::Writes => &["limits.per_ip"],
    };
    let of_body: &[&str] = match endpoint.limit {
        Limit::NoBody => &[],
        Limit::Body => &["server.max_body"],
        Limit::Batch => &["server.max_batch_body"],
    };
    [of_rate, of_body].concat()
}

fn headers() -> Value {
    let text = json!({"type": "string"});
    let header = |meaning: &str, schema: &Value| json!({"description": meaning, "schema": schema});
    json!({
        "X-Request-Id": header("The request's id: the one that it brought, or one that was made.", &text),
        "Idempotency-Replayed": header(
            "`true`, and only there, when this is the first answer to the same `Idempotency-Key`, given again.",
            &json!({"type": "string", "enum": ["true"]}),
        ),
        "ETag": header("Names what was sent: a client that has it says so in `If-None-Match`.", &text),
        "Retry-After": header("After how many seconds to try again.", &json!({"type": "integer", "minimum": 1})),
        "WWW-Authenticate": header("`Bearer realm=\"counterd\"`", &text),
        "RateLimit": header("How much of the limit is left, and when it is whole again.", &text),
        "RateLimit-Policy": header("What the limit is.", &text),
    })
}

/// All errors as data.
fn errors() -> Value {
    let error = |code: &Code| {
        let error = json!({
            "status": code.status().as_u16(),
            "title": code.title(),
            "advice": code.advice(),
            "answered_by_no_call": NO_CALL.contains(code),
        });
        (code.as_str().to_owned(), error)
    };
    Value::Object(Code::ALL.iter().map(error).collect())
}

/// The whole document.
pub(super) fn document() -> Value {
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    for topic in TOPICS {
        for endpoint in topic.calls {
            let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
            let method = endpoint.method.as_str().to_lowercase();
            path[method] = operation(&mut schemas, topic, endpoint);
        }
    }
    schemas.add(&PROBLEM, false, Side::Answered);
    let examples = Code::ALL.iter().map(|code| {
        let example = json!({"summary": code.title(), "description": code.advice(), "value": examples::problem(*code)});
        (code.as_str().to_owned(), example)
    });
    let tags: Vec<Value> = TOPICS
        .iter()
        .map(|topic| json!({"name": topic.title, "description": topic.meaning}))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "counterd",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Counts game activity exactly.",
            "description": "JSON over HTTP/1.1. `null` in a request is the same as absent. An unknown parameter or \
                            field is an error on every call. Answers may get further fields, and words marked \
                            `x-extensible-enum` further values.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The server that this comes from."}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.0,
            "examples": Value::Object(examples.collect()),
            "headers": headers(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the call's role (`x-role`); the administrator's serves for all. Calls of \
                                    `read` and `write` need one only where `auth.read_token` or `auth.write_token` is \
                                    set.",
                },
                "ticket": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "ticket",
                    "description": "A ticket of `POST /api/v1/push-ticket`, good for one connection within 30 seconds.",
                },
            },
        },
        "x-errors": errors(),
    })
}

#[test]
fn every_call_and_every_code_is_in_the_document() {
    let document = document();
    let mut codes = BTreeSet::new();
    for endpoint in calls() {
        let method = endpoint.method.as_str().to_lowercase();
        let operation = &document["paths"][endpoint.path][method];
        assert_eq!(
            operation["operationId"],
            endpoint.route.as_str(),
            "{}",
            endpoint.path
        );
        for response in operation["responses"].as_object().unwrap().values() {
            let examples = &response["content"]["application/problem+json"]["examples"];
            codes.extend(
                examples
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(code, _)| code.clone()),
            );
        }
    }
    codes.extend(NO_CALL.iter().map(|code| code.as_str().to_owned()));
    let all: BTreeSet<String> = Code::ALL
        .iter()
        .map(|code| code.as_str().to_owned())
        .collect();
    assert_eq!(codes, all);
}

#[test]
fn nothing_of_it_is_a_union_with_null() {
    fn look(value: &Value) {
        match value {
            Value::Object(members) => {
                assert!(!members.contains_key("oneOf"), "{value}");
                members.values().for_each(look);
            }
            Value::Array(items) => items.iter().for_each(look),
            _ => {}
        }
    }
    look(&document());
}
