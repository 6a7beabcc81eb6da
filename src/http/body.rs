//! Bodies of requests: read within limits before anything is parsed.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};
use http_body::Body;

use super::connection::{Connection, Phase};
use super::error::{Code, Problem};

/// Most bytes that are read and dropped of a body that nobody wants, so that the client sees the answer
/// instead of a reset connection. A batch that is too long may have many times its limit. The time for a
/// body bounds it too.
const MAX_DISCARD: usize = 16 * 1024 * 1024;

/// The body of a request, as hyper has it or as the router hands it on.
pub(super) trait RequestBody: Body<Data = Bytes> + Unpin {}

impl<B: Body<Data = Bytes> + Unpin> RequestBody for B {}

/// Judges what the headers say of the body: its size, then its type.
pub(super) fn check_headers(headers: &HeaderMap, limit: usize) -> Result<(), Problem> {
    if let Some(declared) = headers.get(CONTENT_LENGTH) {
        let declared = declared
            .to_str()
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        if declared.is_none_or(|declared| declared > limit as u64) {
            return Err(too_large(limit));
        }
    }
    if headers
        .get(CONTENT_TYPE)
        .is_some_and(|content_type| !is_json(content_type) && !is_empty(headers))
    {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "the body must be JSON in UTF-8: send `Content-Type: application/json` (curl: `--json`)",
        ));
    }
    let encoded = |encoding: &HeaderValue| !encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get(CONTENT_ENCODING).is_some_and(encoded) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "a body with `Content-Encoding` is not taken",
        ));
    }
    Ok(())
}

/// Whether the head says that there is no body: then its type says nothing.
fn is_empty(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    length.map_or(!headers.contains_key(TRANSFER_ENCODING), |length| {
        length == "0"
    })
}

fn is_json(content_type: &HeaderValue) -> bool {
    if content_type == "application/json" {
        return true;
    }
    let Ok(text) = content_type.to_str() else {
        return false;
    };
    let mut parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
    let essence = parts.next().unwrap_or("").to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    is_json
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                let value = value.trim_matches('"');
                value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
            }
            Some(_) | None => true,
        })
}

/// Reads the whole body. The common body is one frame, which is passed on without a copy.
pub(super) async fn collect(
    body: &mut impl RequestBody,
    limit: usize,
    connection: &Connection,
) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    connection.enter(Phase::Body);
    let collected = collect_frames(body, limit, connection).await;
    connection.enter(Phase::Working);
    collected
}

async fn collect_frames(
    body: &mut impl RequestBody,
    limit: usize,
    connection: &Connection,
) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut held = connection.body_memory.hold();
    while let Some(data) = next_data(body, connection).await? {
        if first.len() + rest.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        let wanted = body.size_hint().exact().unwrap_or(0).min(limit as u64) as usize;
        let in_all = first.len() + rest.len() + data.len() + wanted;
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(in_all);
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
        if !held.grow_to(in_all) {
            let detail = "too many large bodies are under way (`server.max_body_memory`), nothing was counted; \
                          retry after a short pause";
            return Err(Problem::new(Code::Overloaded, detail));
        }
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}

/// Returns the next piece of the body; `None` at its end.
async fn next_data(
    body: &mut impl RequestBody,
    connection: &Connection,
) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = poll_fn(|context| {
            if connection.body_is_late() {
                let detail = "the body did not arrive in time, nothing was counted; send the request again, whole";
                let late = Problem::new(Code::RequestTimeout, detail).closing();
                return Poll::Ready(Some(Err(late)));
            }
            Pin::new(&mut *body).poll_frame(context).map_err(|_| {
                let detail = "the body ended early or its chunks are malformed";
                Problem::new(Code::BadRequest, detail).closing()
            })
        });
        match frame.await.transpose()? {
            None => return Ok(None),
            // Trailers say nothing that is wanted here.
            Some(frame) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_) => continue,
            },
        }
    }
}

/// Reads and drops what is left of a body whose request was refused before it was read, within
/// bounds. Says whether the connection can go on.
pub(super) async fn discard(
    body: &mut impl RequestBody,
    headers: &HeaderMap,
    connection: &Connection,
) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let known = body.size_hint().exact();
    if headers.contains_key(EXPECT) || known.is_some_and(|left| left > MAX_DISCARD as u64) {
        return false;
    }
    connection.enter(Phase::Body);
    let mut left = MAX_DISCARD;
    let at_end = loop {
        match next_data(body, connection).await {
            Ok(Some(data)) if data.len() <= left => left -= data.len(),
            Ok(Some(_)) | Err(_) => break false,
            Ok(None) => break true,
        }
    };
    connection.enter(Phase::Working);
    at_end
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!("the body may have at most {limit} bytes; send less at a time"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(header: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header, HeaderValue::from_bytes(value.as_bytes()).unwrap())])
    }

    #[test]
    fn only_json_in_utf_8_is_taken() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/vnd.game+json",
        ] {
            assert_eq!(
                check_headers(&with(CONTENT_TYPE, good), 10),
                Ok(()),
                "{good}"
            );
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonp",
            "application/json; charset=latin1",
            "json",
            "text/json+x",
            "\u{fe}",
        ] {
            let mut headers = with(CONTENT_TYPE, bad);
            assert_eq!(check_headers(&headers, 10), Ok(()), "no body has no type");
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("2"));
            let problem = check_headers(&headers, 10).unwrap_err();
            assert_eq!(problem.code, Code::UnsupportedMediaType, "{bad}");
        }
        assert_eq!(check_headers(&HeaderMap::new(), 10), Ok(()));
        assert_eq!(
            check_headers(&with(CONTENT_ENCODING, "Identity"), 10),
            Ok(())
        );
        assert_eq!(
            check_headers(&with(CONTENT_ENCODING, "gzip"), 10)
                .unwrap_err()
                .code,
            Code::UnsupportedMediaType
        );
    }

    #[test]
    fn a_declared_size_is_judged_before_the_type() {
        let mut headers = with(CONTENT_LENGTH, "11");
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(
            check_headers(&headers, 10).unwrap_err().code,
            Code::BodyTooLarge
        );
        assert_eq!(
            check_headers(&headers, 11).unwrap_err().code,
            Code::UnsupportedMediaType
        );
    }
}
