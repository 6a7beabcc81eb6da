//! The page at `/docs`: the whole contract for people, without a script and without anything from elsewhere.

use super::super::schema::{Field, Type};
use super::super::*;
use super::{examples, openapi};

const STYLE: &str = include_str!("page.css");

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A meaning with its words in `code`; links of `docs/api.md` become their words.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in escaped(text).split('`').enumerate() {
        match at % 2 {
            0 => out.push_str(part),
            _ => out.push_str(&format!("<code>{part}</code>")),
        }
    }
    while let Some((before, rest)) = out.split_once('[') {
        let Some((words, after)) = rest.split_once("](") else {
            break;
        };
        let Some((_, after)) = after.split_once(')') else {
            break;
        };
        out = format!("{before}{words}{after}");
    }
    out
}

fn anchor(endpoint: &Endpoint) -> &'static str {
    endpoint.route.as_str()
}

/// What a value is, in words.
fn type_of(is: Type, nullable: bool) -> String {
    let mut said = match is {
        Type::Flag => "true or false".to_owned(),
        Type::Whole(least, most) if most > i64::MAX.into() => format!("whole number from {least}"),
        Type::Whole(least, most) if least <= i64::MIN.into() && most >= i64::MAX.into() => {
            "64-bit whole number".to_owned()
        }
        Type::Whole(least, most) => format!("whole number, {least} to {most}"),
        Type::Number => "number".to_owned(),
        Type::Text(form) => match (form.format, form.most) {
            (Some("date-time"), _) => "instant, RFC 3339".to_owned(),
            (Some("date"), _) => "day, <code>YYYY-MM-DD</code>".to_owned(),
            (Some("span"), _) => "span, such as <code>5m</code>".to_owned(),
            (Some("counter-name"), _) => "counter name".to_owned(),
            (_, Some(most)) => format!("text, {} to {most} characters", form.least),
            (_, None) => "text".to_owned(),
        },
        Type::Word(words) => {
            let words: Vec<String> = words
                .iter()
                .map(|word| format!("<code>{}</code>", escaped(word)))
                .collect();
            format!("one of {}", words.join(", "))
        }
        Type::List(item, least, most) if most <= 1000 => {
            format!("list of {least} to {most}: {}", type_of(*item, false))
        }
        Type::List(item, ..) => format!("list: {}", type_of(*item, false)),
        Type::Object(shape) => format!("<a href=\"#o-{0}\">{0}</a>", shape.name),
        Type::Anything => "object".to_owned(),
    };
    if nullable {
        said.push_str(" or <code>null</code>");
    }
    said
}

fn row(name: &str, required: bool, is: &str, meaning: &str) -> String {
    let need = if required {
        ""
    } else {
        " <span class=\"facts\">optional</span>"
    };
    format!(
        "<tr><td><code>{name}</code>{need}</td><td>{is}</td><td>{}</td></tr>\n",
        prose(&openapi::sentence(meaning))
    )
}

fn fields(fields: &[Field]) -> String {
    let rows: String = fields
        .iter()
        .map(|one| {
            row(
                one.name,
                one.required,
                &type_of(one.is, one.nullable),
                one.meaning,
            )
        })
        .collect();
    format!(
        "<div class=\"rows\" tabindex=\"0\"><table><thead><tr><th>field</th><th>what it is</th><th>meaning</th></tr></thead>\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn parameters(endpoint: &Endpoint) -> String {
    if endpoint.parameters.is_empty() {
        return String::new();
    }
    let place = |parameter: &Parameter| match parameter.place {
        ParameterIn::Path => "in the path",
        ParameterIn::Query => "behind <code>?</code>",
        ParameterIn::Header => "header",
    };
    let one = |one: &Parameter| {
        let is = format!("{}; {}", place(one), type_of(one.is, false));
        row(one.name, one.required, &is, one.meaning)
    };
    let rows: String = endpoint.parameters.iter().map(one).collect();
    format!(
        "<h4>Parameters</h4>\n<div class=\"rows\" tabindex=\"0\"><table><thead><tr><th>parameter</th><th>what it is</th>\
         <th>meaning</th></tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// The call as a command line that can be typed.
fn command(endpoint: &Endpoint) -> String {
    let mut path = endpoint.path.to_owned();
    let mut query = Vec::new();
    for one in endpoint
        .parameters
        .iter()
        .filter(|one| !one.example.is_empty())
    {
        match one.place {
            ParameterIn::Path => path = path.replace(&format!("{{{}}}", one.name), one.example),
            ParameterIn::Query => query.push(format!("{}={}", one.name, one.example)),
            ParameterIn::Header => {}
        }
    }
    if !query.is_empty() {
        path.push_str(&format!("?{}", query.join("&")));
    }
    let method = match (endpoint.method.as_str(), endpoint.body) {
        ("GET", _) | ("POST", BodyForm::Optional(..) | BodyForm::Required(..)) => String::new(),
        (method, _) => format!(" -X {method}"),
    };
    let token = match openapi::role(endpoint) {
        "anyone" => "",
        _ => " -H \"Authorization: Bearer $TOKEN\"",
    };
    let body = match endpoint.body {
        BodyForm::None => String::new(),
        BodyForm::Optional(_, example) | BodyForm::Required(_, example) => {
            format!(" --json '{example}'")
        }
    };
    format!("curl -s{method} 'http://127.0.0.1:8080{path}'{token}{body}")
}

fn answers(endpoint: &Endpoint) -> String {
    let one = |answer: &GoodAnswer| {
        let (kind, fields) = match answer.media {
            Media::Json(shape) | Media::Events(shape) => (
                format!("<a href=\"#o-{0}\">{0}</a>", shape.name),
                format!(
                    "<details><summary>Fields of {}</summary>\n{}</details>\n",
                    shape.name,
                    fields(shape.fields)
                ),
            ),
            Media::Other(media) => (format!("<code>{media}</code>"), String::new()),
            Media::Upgraded | Media::Nothing => ("no body".to_owned(), String::new()),
        };
        let example = match answer.example.is_empty() {
            true => String::new(),
            false => format!(
                "<pre><code>{}</code></pre>\n",
                escaped(answer.example.trim_end())
            ),
        };
        format!(
            "<h4>Answer {}: {kind}</h4>\n<p>{}</p>\n{example}{fields}",
            answer.status,
            prose(answer.meaning)
        )
    };
    endpoint.answers.iter().map(one).collect()
}

fn refusals(endpoint: &Endpoint) -> String {
    let one = |code: &Code| {
        let word = code.as_str();
        format!(
            "<li>{} <a href=\"#e-{word}\"><code>{word}</code></a></li>\n",
            code.status().as_u16()
        )
    };
    let codes = endpoint.codes();
    let (own, shared): (Vec<Code>, Vec<Code>) = codes
        .into_iter()
        .partition(|code| endpoint.refusals.contains(code));
    let list = |codes: &[Code]| codes.iter().map(one).collect::<String>();
    let own = match own.is_empty() {
        true => String::new(),
        false => format!("<h4>Errors of its own</h4>\n<ul>\n{}</ul>\n", list(&own)),
    };
    format!(
        "{own}<details><summary>Further errors</summary>\n<ul>\n{}</ul>\n</details>\n",
        list(&shared)
    )
}

fn section(endpoint: &Endpoint) -> String {
    let limits: Vec<String> = openapi::limits(endpoint)
        .iter()
        .map(|limit| format!("<code>{limit}</code>"))
        .collect();
    let limits = match limits.is_empty() {
        true => "no limit".to_owned(),
        false => format!("limits {}", limits.join(", ")),
    };
    let role = match openapi::role(endpoint) {
        "anyone" => "no token".to_owned(),
        role => format!("token: {role}"),
    };
    let body = match endpoint.body {
        BodyForm::None => String::new(),
        BodyForm::Optional(shape, _) => format!(
            "<h4>Body (optional)</h4>\n<p>{}</p>\n{}",
            prose(shape.meaning),
            fields(shape.fields)
        ),
        BodyForm::Required(shape, _) => format!(
            "<h4>Body</h4>\n<p>{}</p>\n{}",
            prose(shape.meaning),
            fields(shape.fields)
        ),
    };
    format!(
        "<section id=\"{id}\">\n<h3>{title}</h3>\n<p><span class=\"verb\">{method}</span> <code>{path}</code></p>\n\
         <p class=\"facts\">label <code>{id}</code> · {role} · {limits}</p>\n<p>{meaning}</p>\n\
         <pre><code>{command}</code></pre>\n{parameters}{body}{answers}{refusals}</section>\n",
        id = anchor(endpoint),
        title = escaped(endpoint.title),
        method = endpoint.method.as_str(),
        path = escaped(endpoint.path),
        meaning = prose(endpoint.meaning),
        command = escaped(&command(endpoint)),
        parameters = parameters(endpoint),
        answers = answers(endpoint),
        refusals = refusals(endpoint),
    )
}

fn index() -> String {
    let mut out = String::new();
    for topic in TOPICS {
        out.push_str(&format!("<h4>{}</h4>\n<ul>\n", topic.title));
        for endpoint in topic.calls {
            out.push_str(&format!(
                "<li><a href=\"#{}\">{}</a></li>\n",
                anchor(endpoint),
                escaped(endpoint.title)
            ));
        }
        out.push_str("</ul>\n");
    }
    out
}

/// Objects within others, each once.
fn objects() -> String {
    let mut out = String::new();
    let mut seen = Vec::new();
    let shapes = calls().flat_map(|endpoint| {
        let answered = endpoint
            .answers
            .iter()
            .filter_map(|answer| match answer.media {
                Media::Json(shape) | Media::Events(shape) => Some(shape),
                Media::Other(_) | Media::Upgraded | Media::Nothing => None,
            });
        endpoint.body.shape().into_iter().chain(answered)
    });
    for shape in shapes
        .chain([&refusals::PROBLEM])
        .flat_map(super::tables::with_inner)
    {
        if seen.contains(&shape.name) {
            continue;
        }
        seen.push(shape.name);
        out.push_str(&format!(
            "<section id=\"o-{0}\">\n<h3>{0}</h3>\n<p>{1}</p>\n<details><summary>Fields</summary>\n{2}</details>\n</section>\n",
            shape.name,
            prose(shape.meaning),
            fields(shape.fields)
        ));
    }
    out
}

fn errors() -> String {
    let one = |code: &Code| {
        format!(
            "<section id=\"e-{word}\">\n<h3><code>{word}</code></h3>\n<p class=\"facts\">{status} · {title}</p>\n<p>{advice}</p>\n\
             <details><summary>Example</summary>\n<pre><code>{example}</code></pre>\n</details>\n</section>\n",
            word = code.as_str(),
            status = code.status().as_u16(),
            title = escaped(code.title()),
            advice = prose(code.advice()),
            example = escaped(&examples::problem(*code).to_string()),
        )
    };
    Code::ALL.iter().map(one).collect()
}

/// The whole page.
pub(super) fn page() -> String {
    let mut calls = String::new();
    for topic in TOPICS {
        calls.push_str(&format!(
            "<h2>{}</h2>\n<p>{}</p>\n",
            topic.title,
            prose(topic.meaning)
        ));
        calls.extend(topic.calls.iter().map(|endpoint| section(endpoint)));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>counterd: HTTP API</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>counterd: HTTP API</h1>\n\
         <p>JSON over HTTP/1.1. <code>null</code> in a request is the same as absent; an unknown parameter or field is an \
         error on every call. Answers may get further fields, and words in them further values. The same for programs: \
         <a href=\"/openapi.json\">openapi.json</a> (OpenAPI 3.1).</p>\n<nav aria-label=\"Calls\">\n{index}\
         <p><a href=\"#errors\">Errors</a> · <a href=\"#objects\">Objects</a></p>\n</nav>\n</header>\n<main>\n{calls}\
         <h2 id=\"errors\">Errors</h2>\n<p>{problem}</p>\n{errors}<h2 id=\"objects\">Objects</h2>\n{objects}</main>\n\
         <footer><p class=\"facts\">counterd {version}</p></footer>\n</body>\n</html>\n",
        index = index(),
        problem = prose(refusals::PROBLEM.meaning),
        errors = errors(),
        objects = objects(),
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// The hash of the page's style, as its policy names it.
pub(super) fn style_hash() -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(STYLE))
}

#[test]
fn the_policy_of_the_page_names_its_style() {
    let policy = crate::http::documents::POLICY;
    let hash = style_hash();
    assert!(
        policy.contains(&format!("'sha256-{hash}'")),
        "src/http/documents.rs, POLICY: write sha256-{hash}"
    );
    assert!(!policy.contains("unsafe"));
}

#[test]
fn the_page_asks_for_nothing_and_names_every_call_and_code() {
    let page = page();
    for wanted in calls().map(anchor) {
        assert!(
            page.contains(&format!("<section id=\"{wanted}\">")),
            "{wanted}"
        );
    }
    for code in Code::ALL {
        assert!(
            page.contains(&format!("<section id=\"e-{}\">", code.as_str())),
            "{}",
            code.as_str()
        );
    }
    for asking in [
        "<script",
        "<img",
        "<link",
        "<iframe",
        " src=",
        "@import",
        "url(",
        " style=\"",
        "http://",
        "https://",
    ] {
        let commands = page.matches("curl -s").count();
        let allowed = if asking == "http://" { commands } else { 0 };
        assert_eq!(page.matches(asking).count(), allowed, "{asking}");
    }
    for target in page.split("href=\"#").skip(1) {
        let id = target.split('"').next().unwrap();
        assert!(
            page.contains(&format!("id=\"{id}\"")),
            "nothing has the id {id}"
        );
    }
}
