//! The contract as it is served: the document for programs and the page for people. Both are made of the table of
//! calls beforehand, so a start and a request cost nothing but to send them.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response};

use super::call::{Answered, Asked, Call};
use super::mark::mark;
use super::reply::ReplyBody;
use super::request_id::{REQUEST_ID, header_value};

const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// It asks for nothing outside itself and has no script.
const PAGE: &str = include_str!("../../docs/api.html");

/// What the page may do: nothing but show itself in its own style, which is named by its hash.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'sha256-SAWLT6pfJqLxBkcjP9lfHLXEDsBpWA8wBSeuvWDwrhQ='; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

/// `GET /openapi.json`
pub(super) async fn openapi(call: &Call, asked: &Asked<'_>) -> Answered {
    Ok(answer(call, asked, "application/json", OPENAPI))
}

/// `GET /docs`
pub(super) async fn page(call: &Call, asked: &Asked<'_>) -> Answered {
    let mut response = answer(call, asked, "text/html; charset=utf-8", PAGE);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

fn answer(
    call: &Call,
    asked: &Asked<'_>,
    media: &'static str,
    text: &'static str,
) -> Response<ReplyBody> {
    let body = Bytes::from_static(text.as_bytes());
    let mut response = Response::new(ReplyBody::Whole(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    // Another version of the server may say something else at any time.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REQUEST_ID, header_value(&call.request_id));
    mark(&mut response, text.as_bytes(), asked.headers);
    response
}
