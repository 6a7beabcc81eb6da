//! What a request's head says by itself, ahead of any handler.

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Version};

use super::error::{Code, Problem};
use crate::counter::Direction;

/// Refuses what hyper lets through and no client should send.
pub(super) fn check(parts: &Parts, max_headers: usize) -> Result<(), Problem> {
    let Parts {
        headers, version, ..
    } = parts;
    if headers.len() > max_headers {
        return Err(Problem::new(
            Code::HeadersTooLarge,
            format!("a request may have at most {max_headers} headers"),
        ));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let others = codings.next().is_some_and(|first| !is_chunked(first)) || codings.next().is_some();
    if others {
        let detail = "the only transfer coding that is taken is `Transfer-Encoding: chunked`";
        return Err(Problem::new(Code::BadRequest, detail).closing());
    }
    let mut hosts = headers.get_all(HOST).iter();
    let several = match hosts.next() {
        Some(_) => hosts.next().is_some(),
        None => *version == Version::HTTP_11,
    };
    if several {
        return Err(
            Problem::new(Code::BadRequest, "send the header `Host` exactly once").closing(),
        );
    }
    Ok(())
}

/// Knows the two calls that nearly all requests are, in their plain spelling.
pub(super) fn increment_or_decrement<'p>(
    method: &Method,
    path: &'p str,
) -> Option<(Direction, &'p str)> {
    if method != Method::POST {
        return None;
    }
    let rest = path.strip_prefix("/api/v1/counter/")?;
    let (direction, name) = match rest.strip_suffix("/increment") {
        Some(name) => (Direction::Increment, name),
        None => (Direction::Decrement, rest.strip_suffix("/decrement")?),
    };
    let plain = !name.is_empty() && !name.bytes().any(|byte| matches!(byte, b'/' | b'%'));
    plain.then_some((direction, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_plain_spelling_is_known_ahead_of_the_router() {
        let known = |method: Method, path| increment_or_decrement(&method, path);
        let (up, down) = (Direction::Increment, Direction::Decrement);
        assert_eq!(
            known(Method::POST, "/api/v1/counter/a/increment"),
            Some((up, "a"))
        );
        assert_eq!(
            known(Method::POST, "/api/v1/counter/increment/decrement"),
            Some((down, "increment"))
        );
        // The handler refuses what is not a name.
        assert_eq!(
            known(Method::POST, "/api/v1/counter/A B/increment"),
            Some((up, "A B"))
        );
        for path in [
            "/api/v1/counter/a/reset",
            "/api/v1/counter//increment",
            "/api/v1/counter/increment",
            "/api/v1/counter/a/b/increment",
            "/api/v1/counter/a%2e/increment",
            "/api/v1/counter/a/increment/",
            "/api/v2/counter/a/increment",
        ] {
            assert_eq!(known(Method::POST, path), None, "{path}");
        }
        assert_eq!(known(Method::GET, "/api/v1/counter/a/increment"), None);
    }
}
