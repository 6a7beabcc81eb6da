//! What does not change while the server runs is sent once: it has a mark (`ETag`), and who has it already
//! (`If-None-Match`) is told so with 304.

use bytes::Bytes;
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use xxhash_rust::xxh3::xxh3_64;

use super::reply::ReplyBody;

/// Marks an answer that holds these bytes, in whatever encoding; takes its body away where the client has them.
pub(super) fn mark(response: &mut Response<ReplyBody>, bytes: &[u8], asked: &HeaderMap) {
    let mark = format!("\"{:016x}\"", xxh3_64(bytes));
    if has(asked, &mark) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = ReplyBody::Whole(Bytes::new());
    }
    // Hexadecimal digits within quotes are a value. It is weak: the bytes are the same in either encoding.
    if let Ok(mark) = HeaderValue::try_from(format!("W/{mark}")) {
        response.headers_mut().insert(ETAG, mark);
    }
}

/// Whether the client has what this mark names.
fn has(headers: &HeaderMap, mark: &str) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter();
    let mut marks = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|known| known.trim().trim_start_matches("W/"));
    marks.any(|known| known == mark || known == "*")
}
