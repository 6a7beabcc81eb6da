//! The handshake of the WebSocket protocol (RFC 6455, section 4), and the token that a browser can only show there.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, Version};
use sha1_smol::Sha1;

use super::super::error::{Code, Problem};

/// The protocol that is spoken in the frames.
pub(in crate::http) const PROTOCOL: &str = "counterd.v1";

/// What a browser writes a token after, in base64url.
const BEARER: &str = "counterd.bearer.";

/// What the answer's key is made with (RFC 6455, section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Judges a handshake; returns what the answer says in `Sec-WebSocket-Accept`.
pub(in crate::http) fn accept(version: Version, headers: &HeaderMap) -> Result<String, Problem> {
    let upgrade = |detail: &'static str| Problem::new(Code::UpgradeRequired, detail);
    let malformed = |detail: &'static str| Problem::new(Code::BadRequest, detail);
    if version != Version::HTTP_11
        || !has_word(headers, &UPGRADE, "websocket")
        || !has_word(headers, &CONNECTION, "upgrade")
    {
        return Err(upgrade(
            "this path speaks WebSocket: send `Upgrade: websocket` and `Connection: Upgrade` over HTTP/1.1",
        ));
    }
    if once(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(upgrade("the version of WebSocket spoken here is 13"));
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get_all(CONTENT_LENGTH)
            .iter()
            .any(|length| length != "0");
    if has_body {
        return Err(malformed("a WebSocket handshake has no body").closing());
    }
    let key = once(headers, &SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16))
        .ok_or_else(|| malformed("`Sec-WebSocket-Key` is not, once, 16 bytes in base64"))?;
    if !words(headers, &SEC_WEBSOCKET_PROTOCOL).any(|word| word == PROTOCOL) {
        return Err(malformed(
            "offer the subprotocol `counterd.v1` in `Sec-WebSocket-Protocol`",
        ));
    }
    let mut digest = Sha1::new();
    digest.update(key.as_bytes());
    digest.update(KEY_SUFFIX);
    Ok(STANDARD.encode(digest.digest().bytes()))
}

/// Returns the token that is shown as a subprotocol; `None` without one that is understood.
pub(in crate::http) fn bearer(headers: &HeaderMap) -> Option<String> {
    let mut tokens = words(headers, &SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|word| word.strip_prefix(BEARER))
        .filter_map(|token| URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok());
    String::from_utf8(tokens.next()?).ok()
}

/// The value of a header that is there once.
fn once<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    let value = all.next()?.to_str().ok()?;
    all.next().is_none().then(|| value.trim())
}

/// The words of a header that is a list, in one line or several.
fn words<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',').map(str::trim))
}

fn has_word(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    words(headers, name).any(|word| word.eq_ignore_ascii_case(wanted))
}
