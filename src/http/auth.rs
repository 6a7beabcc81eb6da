//! Who may do what: tokens, and the origins of web pages.

use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, HOST, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::Tokens;
use super::error::{Code, Problem};
use super::reply::ReplyBody;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// To see values.
    Read,
    /// To count.
    Write,
    /// To administer.
    Admin,
}

/// Why the tokens of a request do not allow a call.
#[derive(Debug, PartialEq)]
pub(super) struct Denied {
    /// What the client is told.
    pub(super) problem: Problem,
    /// How many of the tokens match no secret: each of them is a guess, whatever the others are.
    pub(super) unknown: u64,
}

/// Compares without telling by its time where two secrets differ.
fn same(secret: &SecretString, given: &[u8]) -> bool {
    let secret = secret.expose_secret().as_bytes();
    !secret.is_empty() && bool::from(secret.ct_eq(given))
}

impl Tokens {
    /// Returns the tokens of those who may do that, and the key that sets them.
    fn of(&self, access: Access) -> (&[SecretString], &'static str) {
        match access {
            Access::Read => (&self.read, "auth.read_token"),
            Access::Write => (&self.write, "auth.write_token"),
            Access::Admin => (&self.admin, "auth.admin_token"),
        }
    }

    /// Checks that the tokens of a request allow a call. They come in the header, and for a reset also in
    /// the body. Only if `may_be_admin` are they compared with the administrators'.
    pub(super) fn check(
        &self,
        access: Access,
        headers: &HeaderMap,
        in_body: Option<&str>,
        may_be_admin: bool,
    ) -> Result<(), Denied> {
        let (guard, setting) = self.of(access);
        if guard.is_empty() {
            return match access {
                Access::Read | Access::Write => Ok(()),
                Access::Admin => {
                    let detail =
                        "administrative calls are disabled while `auth.admin_token` is not set";
                    let problem = Problem::new(Code::AdminDisabled, detail);
                    Err(Denied {
                        problem,
                        unknown: 0,
                    })
                }
            };
        }
        let header = bearer(headers);
        let given = [header.ok().flatten(), in_body.map(str::as_bytes)];
        // Every secret is compared with every token given, whatever the others said.
        let matches = |secrets: &[SecretString], token: &[u8]| {
            let compare = |matched, secret| matched | same(secret, token);
            secrets.iter().fold(false, compare)
        };
        let (mut is_admin, mut reads, mut writes, mut unknown) = (false, false, false, 0);
        for token in given.into_iter().flatten() {
            let of_admin = may_be_admin && matches(&self.admin, token);
            let (of_reader, of_writer) = (matches(&self.read, token), matches(&self.write, token));
            is_admin |= of_admin;
            reads |= of_reader;
            writes |= of_writer;
            unknown += u64::from(!(of_admin | of_reader | of_writer));
        }
        let enough = match access {
            Access::Read => is_admin | reads,
            Access::Write => is_admin | writes,
            Access::Admin => is_admin,
        };
        if enough {
            return Ok(());
        }
        if is_admin | reads | writes {
            let detail = format!("this token does not allow this call; it needs `{setting}`");
            let problem = Problem::new(Code::Forbidden, detail);
            return Err(Denied { problem, unknown });
        }
        let came = match header {
            Err(malformed) => malformed,
            Ok(None) if in_body.is_none() => "no token came with the request",
            Ok(_) => "the token is not one that this server knows",
        };
        let wanted = format!("send `Authorization: Bearer` with the token of `{setting}`");
        let problem = Problem::new(Code::Unauthorized, format!("{came}; {wanted}"));
        Err(Denied { problem, unknown })
    }
}

/// Returns how many tokens a request brings.
pub(super) fn tokens_given(headers: &HeaderMap, in_body: Option<&str>) -> u64 {
    let in_header = matches!(bearer(headers), Ok(Some(_)));
    u64::from(in_header) + u64::from(in_body.is_some())
}

/// Returns the token of the header `Authorization`; `None` without the header. `Err` says that it has another scheme
/// or no token, or that there are several such headers.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, &'static str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let value = match (all.next(), all.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.as_bytes().split_at_checked(7),
        (Some(_), Some(_)) => None,
    };
    value
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, token)| token.trim_ascii())
        .filter(|token| !token.is_empty())
        .map(Some)
        .ok_or("the header `Authorization` is not, once, `Bearer`, a space and a token")
}

/// Where a request came from, as far as browsers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// No page, or one of this server's own.
    Home,
    /// A page of an origin that may call.
    Friend,
    /// A page of any other origin.
    Stranger,
    /// A page that was opened under a host name that is not this server's.
    Rebound,
}

/// Judges a request's `Origin`.
pub(super) fn origin(
    headers: &HeaderMap,
    uri: &Uri,
    allowed: &[String],
    hosts: Option<&[String]>,
) -> Origin {
    let Some(origin) = headers.get(ORIGIN) else {
        return Origin::Home;
    };
    let Ok(origin) = origin.to_str() else {
        return Origin::Stranger;
    };
    if headers.get_all(ORIGIN).iter().count() > 1 {
        return Origin::Stranger;
    }
    if allowed
        .iter()
        .any(|friend| friend.eq_ignore_ascii_case(origin))
    {
        return Origin::Friend;
    }
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .or(uri.authority().map(Authority::as_str));
    match host.filter(|host| is_own(origin, host)) {
        None => Origin::Stranger,
        Some(host) if hosts.is_none_or(|hosts| is_known(host, hosts)) => Origin::Home,
        Some(_) => Origin::Rebound,
    }
}

/// Whether a host, with its port, is known to be this server: a name can be made to point anywhere.
fn is_known(host: &str, hosts: &[String]) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) | None => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether the origin is the host that the request was sent to. A proxy may have ended TLS, so only host
/// and port are compared; the default port of a scheme counts as no port.
fn is_own(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |authority: &str| {
        authority
            .strip_suffix(port)
            .unwrap_or(authority)
            .to_ascii_lowercase()
    };
    bare(authority) == bare(host)
}

/// Refuses writes of strangers' pages, and everything of a page under a name that is not known.
pub(super) fn check_origin(origin: Origin, writes: bool) -> Result<(), Problem> {
    let detail = match origin {
        Origin::Stranger if writes => {
            "pages of this origin may not do this; add it to `server.cors_origins` or call from a backend"
        }
        Origin::Rebound => {
            "this server does not know itself by the host that this page was opened under; add the \
             host to `server.hosts`, or open the page by an IP address or `localhost`"
        }
        Origin::Home | Origin::Friend | Origin::Stranger => return Ok(()),
    };
    Err(Problem::new(Code::OriginNotAllowed, detail))
}

/// Tells browsers that a friend's page may read the answer.
pub(super) fn let_read(
    response: &mut Response<ReplyBody>,
    from: Origin,
    origin: Option<&HeaderValue>,
) {
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let (Origin::Friend, Some(origin)) = (from, origin) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(
                "X-Request-Id, Idempotency-Replayed, Retry-After, RateLimit, RateLimit-Policy",
            ),
        );
    }
}

/// Returns the answer to a friend's page that asks whether it may call.
pub(super) fn preflight() -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Whole(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    for (name, text) in [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE"),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, Idempotency-Key, X-Request-Id",
        ),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        let value = HeaderValue::from_static(text);
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(admin: Option<&str>, write: Option<&str>, read: Option<&str>) -> Tokens {
        let secret = |text: Option<&str>| {
            let secrets = text
                .iter()
                .map(|text| SecretString::from((*text).to_owned()));
            secrets.collect()
        };
        Tokens {
            admin: secret(admin),
            write: secret(write),
            read: secret(read),
        }
    }

    fn code(tokens: &Tokens, access: Access, authorization: &str) -> Option<Code> {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        }
        tokens
            .check(access, &headers, None, true)
            .err()
            .map(|denied| denied.problem.code)
    }

    #[test]
    fn tokens_open_what_they_are_for() {
        let all = tokens(Some("adm"), Some("wri"), Some("rea"));
        for (access, authorization, want) in [
            (Access::Read, "", Some(Code::Unauthorized)),
            (Access::Read, "Bearer rea", None),
            (Access::Read, "bEARER  rea ", None),
            (Access::Read, "Bearer wri", Some(Code::Forbidden)),
            (Access::Read, "Bearer adm", None),
            (Access::Read, "Bearer re", Some(Code::Unauthorized)),
            (Access::Read, "Bearer rearea", Some(Code::Unauthorized)),
            (Access::Read, "Basic rea", Some(Code::Unauthorized)),
            (Access::Read, "Bearerrea", Some(Code::Unauthorized)),
            (Access::Read, "Bearer", Some(Code::Unauthorized)),
            (Access::Write, "Bearer wri", None),
            (Access::Write, "Bearer rea", Some(Code::Forbidden)),
            (Access::Write, "Bearer adm", None),
            (Access::Admin, "Bearer adm", None),
            (Access::Admin, "Bearer wri", Some(Code::Forbidden)),
            (Access::Admin, "Bearer no", Some(Code::Unauthorized)),
        ] {
            assert_eq!(
                code(&all, access, authorization),
                want,
                "{access:?} {authorization}"
            );
        }
    }

    #[test]
    fn unset_tokens_leave_calls_open_and_administration_closed() {
        let none = tokens(None, None, None);
        assert_eq!(code(&none, Access::Read, ""), None);
        assert_eq!(code(&none, Access::Write, "Bearer whatever"), None);
        assert_eq!(
            code(&none, Access::Admin, "Bearer whatever"),
            Some(Code::AdminDisabled)
        );
        let empty = tokens(Some(""), None, None);
        assert_eq!(
            code(&empty, Access::Admin, "Bearer x"),
            Some(Code::Unauthorized)
        );
    }

    #[test]
    fn a_401_says_whether_a_token_came_was_malformed_or_is_not_known() {
        let all = tokens(Some("adm"), None, None);
        for (authorization, in_body, want) in [
            (&[][..], None, "no token came with the request; "),
            (
                &["Bearer"],
                None,
                "the header `Authorization` is not, once, ",
            ),
            (
                &["Basic adm"],
                None,
                "the header `Authorization` is not, once, ",
            ),
            (
                &["Bearer adm", "Bearer adm"],
                None,
                "the header `Authorization` is not, once, ",
            ),
            (
                &["Bearer ad"],
                None,
                "the token is not one that this server knows; ",
            ),
            (
                &[],
                Some("ad"),
                "the token is not one that this server knows; ",
            ),
        ] {
            let mut headers = HeaderMap::new();
            for value in authorization {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            let Denied { problem, .. } = all
                .check(Access::Admin, &headers, in_body, true)
                .unwrap_err();
            assert_eq!(problem.code, Code::Unauthorized);
            assert!(problem.detail.starts_with(want), "{}", problem.detail);
        }
    }

    #[test]
    fn a_reset_may_bring_its_token_in_the_body() {
        let all = tokens(Some("adm"), Some("wri"), None);
        assert_eq!(
            all.check(Access::Admin, &HeaderMap::new(), Some("adm"), true),
            Ok(())
        );
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer wri"));
        assert_eq!(
            all.check(Access::Admin, &headers, Some("adm"), true),
            Ok(())
        );
        assert_eq!(
            all.check(Access::Admin, &headers, None, true)
                .unwrap_err()
                .problem
                .code,
            Code::Forbidden
        );
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer adm"));
        assert_eq!(
            all.check(Access::Admin, &headers, None, true)
                .unwrap_err()
                .problem
                .code,
            Code::Unauthorized
        );
    }

    #[test]
    fn tokens_that_match_no_secret_are_counted_one_by_one() {
        let all = tokens(Some("adm"), Some("wri"), Some("rea"));
        let unknown = |authorization: &'static str, in_body, may_be_admin| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(authorization));
            let denied = all.check(Access::Admin, &headers, in_body, may_be_admin);
            let Denied { problem, unknown } = denied.unwrap_err();
            (problem.code, unknown)
        };
        for (authorization, in_body, want) in [
            ("Bearer rea", None, (Code::Forbidden, 0)),
            ("Bearer rea", Some("wri"), (Code::Forbidden, 0)),
            ("Bearer rea", Some("ad"), (Code::Forbidden, 1)),
            ("Bearer ad", Some("wri"), (Code::Forbidden, 1)),
            ("Bearer ad", Some("am"), (Code::Unauthorized, 2)),
            ("Bearer", Some("am"), (Code::Unauthorized, 1)),
            ("Bearer", None, (Code::Unauthorized, 0)),
        ] {
            let got = unknown(authorization, in_body, true);
            assert_eq!(got, want, "{authorization} {in_body:?}");
        }
        // What is not compared with the administrators' is not known either.
        let got = unknown("Bearer rea", Some("adm"), false);
        assert_eq!(got, (Code::Forbidden, 1));
    }

    #[test]
    fn an_origin_is_home_friend_or_stranger() {
        let allowed = ["https://game.example".to_owned()];
        let of = |origin_text: &str, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            if !origin_text.is_empty() {
                headers.insert(ORIGIN, HeaderValue::from_str(origin_text).unwrap());
            }
            let hosts = ["counters.example".to_owned()];
            origin(&headers, &Uri::from_static("/"), &allowed, Some(&hosts))
        };
        for (origin, host, want) in [
            ("", "localhost:8080", Origin::Home),
            ("http://localhost:8080", "localhost:8080", Origin::Home),
            ("https://LOCALHOST", "localhost:443", Origin::Home),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", Origin::Home),
            ("http://[::1]:8080", "[::1]:8080", Origin::Home),
            ("https://[::1]", "[::1]", Origin::Home),
            ("https://counters.example", "Counters.Example", Origin::Home),
            (
                "http://evil.example:8080",
                "evil.example:8080",
                Origin::Rebound,
            ),
            (
                "http://localhost.evil.example",
                "localhost.evil.example",
                Origin::Rebound,
            ),
            (
                "http://1.2.3.4.evil.example",
                "1.2.3.4.evil.example",
                Origin::Rebound,
            ),
            ("http://localhost:8081", "localhost:8080", Origin::Stranger),
            ("http://localhost", "localhost:8080", Origin::Stranger),
            ("https://game.example", "localhost:8080", Origin::Friend),
            ("http://game.example", "localhost:8080", Origin::Stranger),
            (
                "https://game.example.evil",
                "localhost:8080",
                Origin::Stranger,
            ),
            ("null", "localhost:8080", Origin::Stranger),
            ("localhost:8080", "localhost:8080", Origin::Stranger),
            ("file://localhost:8080", "localhost:8080", Origin::Stranger),
        ] {
            assert_eq!(of(origin, host), want, "{origin} at {host}");
        }
    }
}
