//! What a request's head says by itself, ahead of any handler.

use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Version};

use super::error::{Code, Problem};
use crate::counter::Action;

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
    let others = |coding: &HeaderValue| {
        !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
            || headers.get_all(TRANSFER_ENCODING).iter().count() > 1
    };
    if headers.get(TRANSFER_ENCODING).is_some_and(others) {
        let detail = "the only transfer coding that is taken is `Transfer-Encoding: chunked`";
        return Err(Problem::new(Code::BadRequest, detail).closing());
    }
    let not_once = match headers.contains_key(HOST) {
        // A header that comes twice has one key.
        true => headers.len() > headers.keys_len() && headers.get_all(HOST).iter().count() > 1,
        false => *version == Version::HTTP_11,
    };
    if not_once {
        return Err(
            Problem::new(Code::BadRequest, "send the header `Host` exactly once").closing(),
        );
    }
    Ok(())
}

/// Knows the calls that nearly all requests are, in their plain spelling.
pub(super) fn action<'p>(method: &Method, path: &'p str) -> Option<(Action, &'p str)> {
    if method != Method::POST {
        return None;
    }
    let rest = path.strip_prefix("/api/v1/counter/")?;
    let ending = |(end, action): (&str, Action)| Some((action, rest.strip_suffix(end)?));
    let (action, name) = [
        ("/increment", Action::Increment),
        ("/decrement", Action::Decrement),
        ("/heartbeat", Action::Heartbeat),
        ("/leave", Action::Leave),
    ]
    .into_iter()
    .find_map(ending)?;
    let plain = !name.is_empty() && !name.bytes().any(|byte| matches!(byte, b'/' | b'%'));
    plain.then_some((action, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_plain_spelling_is_known_ahead_of_the_router() {
        let known = |method: Method, path| action(&method, path);
        let (up, down) = (Action::Increment, Action::Decrement);
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
