//! What a client is told that asked too often: when to come again, and by which limit.
//!
//! The fields `RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers (structured fields:
//! a list of strings with parameters). `q` operations may be done in `w` seconds; `r` are left; in `t` seconds, as in
//! `Retry-After`, the same request finds enough.

use super::Rule;
use crate::http::error::{Code, Extras, Limited, Problem};
use crate::metrics::RateLimit;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A request that asked for more than is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::http) struct Refused {
    pub(super) rule: Rule,
    /// How many operations it asked for.
    pub(super) operations: u64,
    /// Nanoseconds until there is enough.
    pub(super) wait: u64,
    /// Operations that are left.
    pub(super) left: u64,
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let Refused {
            rule,
            operations,
            wait,
            left,
        } = refused;
        let Rule {
            limit, rate, burst, ..
        } = rule;
        let seconds = wait.div_ceil(NANOS_PER_SECOND).max(1);
        let who = match limit {
            RateLimit::IpReads => "this address reads too often",
            RateLimit::IpWrites => "this address writes too often",
            RateLimit::User => "a user is counted too often",
            RateLimit::WrongTokens => {
                "too many tokens came from this address that the server does not know; none is looked at"
            }
        };
        let whole = match operations > u64::from(burst) {
            true => format!(
                "; with more operations than {burst} at once it is let in when nothing was taken for a while, \
                 and then all of them are paid for"
            ),
            false => String::new(),
        };
        let detail = format!(
            "{who} (`{}`: {rate}), nothing was counted; retry after {seconds} s{whole}",
            setting(limit)
        );
        let name = limit.as_str();
        let (q, w) = (rate.count(), rate.seconds());
        let burst = match burst == q {
            true => String::new(),
            false => format!(";counterd-burst={burst}"),
        };
        let limited = Box::new(Limited {
            limit: name,
            of_address: limit != RateLimit::User,
            policy: format!("\"{name}\";q={q};w={w}{burst}"),
            state: format!("\"{name}\";r={left};t={seconds}"),
            errors: Vec::new(),
        });
        let mut problem = Self::new(Code::RateLimited, detail).with(Extras::Limited(limited));
        problem.retry_after = Some(seconds);
        problem
    }
}

/// The key that sets a limit.
fn setting(limit: RateLimit) -> &'static str {
    match limit {
        RateLimit::IpReads | RateLimit::IpWrites => "limits.per_ip",
        RateLimit::User => "limits.per_user",
        RateLimit::WrongTokens => "limits.wrong_admin_tokens",
    }
}
