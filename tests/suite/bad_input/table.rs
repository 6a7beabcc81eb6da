//! The table: what is sent, and what is answered.

mod bodies;
mod calls;
mod wire;

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
        bodies::bodies(),
        bodies::names(),
        calls::paths_and_queries(),
        wire::wire(),
        wire::headers(),
        calls::batches(),
        calls::administration(),
        calls::rules(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
