//! Names for requests: taken from `X-Request-Id` or made here, and echoed on every answer.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::counter::RequestId;

/// The header that names a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids that no other runtime or run makes, but by a chance of one in 2^64 a pair.
pub(super) struct RequestIds(AtomicU64);

impl RequestIds {
    pub(super) fn new() -> Self {
        // The standard hasher is keyed by the system's randomness.
        Self(AtomicU64::new(RandomState::new().hash_one("request id")))
    }

    /// The client's id, when it sent one that may be echoed; else a new one.
    pub(super) fn of(&self, headers: &HeaderMap) -> RequestId {
        headers
            .get(REQUEST_ID)
            .and_then(|value| RequestId::given(value.as_bytes()))
            .unwrap_or_else(|| self.make())
    }

    pub(super) fn make(&self) -> RequestId {
        RequestId::Made(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// The id as a header's value.
pub(super) fn header_value(id: &RequestId) -> HeaderValue {
    let mut text = Vec::with_capacity(16);
    id.push(&mut text);
    // Ids are printable ASCII, whoever made them.
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_when_printable_and_made_otherwise() {
        let ids = RequestIds::new();
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("abc-1"));
        assert_eq!(header_value(&ids.of(&headers)), "abc-1");
        for bad in ["", "a b", "ä", &"x".repeat(129)] {
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            assert!(matches!(ids.of(&headers), RequestId::Made(_)), "{bad}");
        }
    }

    #[test]
    fn a_made_id_is_shown_the_same_everywhere() {
        for number in [0, 0x0123_4567_89ab_cdef, u64::MAX] {
            let id = RequestId::Made(number);
            assert_eq!(header_value(&id), id.to_string());
        }
    }
}
