//! The tables of `docs/api.md`.

use super::super::schema::Shape;
use super::super::*;
use super::openapi;

/// Begins a table that is made: its kind follows, and for fields the name of the object.
const BEGIN: &str = "<!-- contract: ";

/// Ends it.
const END: &str = "<!-- contract -->";

fn words(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn line(columns: &[String]) -> String {
    let mut line = String::from("|");
    for column in columns {
        let between = if column.is_empty() { "" } else { " " };
        line.push_str(&format!(" {column}{between}|"));
    }
    line.push('\n');
    line
}

/// A call's row in the table of calls.
fn row(endpoint: &Endpoint) -> String {
    let path = endpoint
        .path
        .strip_prefix("/api/v1")
        .unwrap_or(endpoint.path);
    let mut answers: Vec<String> = endpoint
        .answers
        .iter()
        .map(|answer| answer.status.to_string())
        .collect();
    answers.dedup();
    let codes: Vec<&str> = endpoint.refusals.iter().map(|code| code.as_str()).collect();
    let parameters = endpoint
        .parameters
        .iter()
        .filter(|one| one.place != ParameterIn::Path);
    let parameters: Vec<&str> = parameters.map(|one| one.name).collect();
    line(&[
        format!("`{} {path}`", endpoint.method.as_str()),
        endpoint.route.as_str().to_owned(),
        openapi::role(endpoint).to_owned(),
        words(&openapi::limits(endpoint)),
        words(&parameters),
        words(&endpoint.fields()),
        answers.join(", "),
        words(&codes),
    ])
}

fn of_calls() -> String {
    let head = "| call | label | token | limits | parameters | fields of the body | answers | refusals of its own |\n\
                |---|---|---|---|---|---|---|---|\n";
    head.to_owned() + &calls().map(row).collect::<String>()
}

fn of_codes() -> String {
    let row = |code: &Code| {
        line(&[
            format!("`{}`", code.as_str()),
            code.status().as_u16().to_string(),
            code.advice().to_owned(),
        ])
    };
    let head = "| code | status | what a client should do |\n|---|---|---|\n";
    head.to_owned() + &Code::ALL.iter().map(row).collect::<String>()
}

fn of_parameters(label: &str) -> String {
    let endpoint = calls().find(|endpoint| endpoint.route.as_str() == label);
    let endpoint = endpoint.unwrap_or_else(|| panic!("docs/api.md: no call has the label {label}"));
    let listed = endpoint
        .parameters
        .iter()
        .filter(|one| one.place == ParameterIn::Query);
    let rows: String = listed
        .map(|one| line(&[format!("`{}`", one.name), one.meaning.to_owned()]))
        .collect();
    format!("| parameter | meaning |\n|---|---|\n{rows}")
}

fn of_fields(shape: &Shape) -> String {
    let row =
        |field: &schema::Field| line(&[format!("`{}`", field.name), field.meaning.to_owned()]);
    let rows: String = shape.fields.iter().map(row).collect();
    format!("| field | meaning |\n|---|---|\n{rows}")
}

fn table(kind: &str) -> String {
    let shapes = || {
        calls().flat_map(|endpoint| {
            let answers = endpoint
                .answers
                .iter()
                .filter_map(|answer| match answer.media {
                    Media::Json(shape) | Media::Events(shape) => Some(shape),
                    Media::Upgraded | Media::Nothing | Media::Other(_) => None,
                });
            answers.chain(endpoint.body.shape())
        })
    };
    let named = |name: &str| {
        shapes()
            .flat_map(with_inner)
            .find(|shape| shape.name == name)
    };
    match kind.split_once(' ') {
        None if kind == "calls" => of_calls(),
        None if kind == "codes" => of_codes(),
        Some(("parameters", label)) => of_parameters(label),
        Some(("fields", name)) => of_fields(
            named(name).unwrap_or_else(|| panic!("docs/api.md: no object has the name {name}")),
        ),
        _ => panic!("docs/api.md: no table is of the kind {kind}"),
    }
}

/// A shape with those of its fields.
pub(super) fn with_inner(shape: &'static Shape) -> Vec<&'static Shape> {
    let mut all = vec![shape];
    for field in shape.fields {
        let inner = match field.is {
            schema::Type::List(item, ..) => *item,
            other => other,
        };
        if let schema::Type::Object(inner) = inner {
            all.extend(with_inner(inner));
        }
    }
    all
}

/// The text with each table made anew.
pub(super) fn fill(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(BEGIN) {
        let (before, marked) = rest.split_at(begin);
        let (head, after) = marked.split_once('\n').unwrap_or((marked, ""));
        let kind = head
            .strip_prefix(BEGIN)
            .and_then(|kind| kind.strip_suffix(" -->"));
        let kind = kind.unwrap_or_else(|| panic!("docs/api.md: {head:?} is no mark"));
        let (_, after) = after
            .split_once(END)
            .unwrap_or_else(|| panic!("docs/api.md: {head:?} has no {END}"));
        out.push_str(&format!("{before}{head}\n{}{END}", table(kind)));
        rest = after;
    }
    out + rest
}

#[test]
fn the_docs_have_both_tables_of_the_contract() {
    let docs = include_str!("../../../../docs/api.md");
    for kind in ["calls", "codes"] {
        assert!(
            docs.contains(&format!("{BEGIN}{kind} -->\n")),
            "docs/api.md has no table of {kind}"
        );
    }
}
