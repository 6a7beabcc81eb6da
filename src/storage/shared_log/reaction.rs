//! What an error of Redis says of the call that it answers: whether anything was done, whether the same call may be done a
//! moment later, and what ends it. One table, by the first word of the error.

use redis::{ErrorKind, RedisError};

use self::Reaction::{Again, Elsewhere, Refused, Unanswered, Unknown};

/// What is done about a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Nothing was done, and it may be a moment later: the call is sent again.
    Again,
    /// Nothing was done here, and another node may do it: the call goes there. Without another node it is as `Refused`.
    Elsewhere,
    /// Nothing was done, and nothing will be before somebody acts.
    Refused,
    /// No answer came: it may have been done, and the call is sent again.
    Unanswered,
    /// It may have been done, wholly or in part.
    Unknown,
}

/// Each word with which Redis refuses a call before it does anything of it, and what ends that.
const WORDS: [(&str, Reaction, &str); 18] = [
    ("LOADING", Again, "it reads its data after a start"),
    (
        "BUSY",
        Again,
        "another script runs for too long: SCRIPT KILL or FUNCTION KILL ends it, or SHUTDOWN NOSAVE where these say UNKILLABLE",
    ),
    ("MOVED", Elsewhere, MOVES),
    ("ASK", Elsewhere, MOVES),
    ("TRYAGAIN", Again, MOVES),
    ("CLUSTERDOWN", Again, "its cluster lacks nodes"),
    ("MASTERDOWN", Again, "its primary is down"),
    // A wait that was under way; the call that it belongs to is sent again.
    ("UNBLOCKED", Again, "its primary became a replica"),
    (
        "NOSCRIPT",
        Again,
        "somebody empties its scripts: SCRIPT FLUSH",
    ),
    ("OOM", Refused, "give it more maxmemory"),
    ("READONLY", Elsewhere, "redis.url must lead to the primary"),
    (
        "NOREPLICAS",
        Refused,
        "it lacks replicas for its min-replicas-to-write",
    ),
    (
        "MISCONF",
        Refused,
        "it cannot write to its disk: see its own log",
    ),
    ("NOPERM", Refused, "give its user the right: ACL SETUSER"),
    ("NOAUTH", Refused, "redis.url needs a user and a password"),
    ("WRONGPASS", Refused, WRONG_PASSWORD),
    // Our own scripts say it.
    (
        "TORN",
        Refused,
        "a failover came amid a move of their slot: `redis-cli --cluster fix` puts them together",
    ),
    (
        "PRIMARIES",
        Refused,
        "make one of them a replica of the other, or leave it out of redis.url",
    ),
];

const NO_REMEDY: &str = "it goes on when Redis answers";
const WRONG_PASSWORD: &str = "the user or the password in redis.url is not right";
const MOVES: &str = "its slots are being moved";

/// Judges a failed try. `is_sent` tells whether the call may have been sent, else there was no connection for it. Returns
/// also what ends it, where that is known.
pub(super) fn judge(error: &RedisError, is_sent: bool) -> (Reaction, &'static str) {
    // A script was running when it says where it was: commands before may have been carried out.
    let is_within = error
        .detail()
        .is_some_and(|detail| detail.contains("user_script"));
    let word = error.code().filter(|_| !is_within);
    if let Some(&(_, reaction, remedy)) = WORDS.iter().find(|known| word == Some(known.0)) {
        return (reaction, remedy);
    }
    let is_lost = error.is_io_error() || error.is_timeout() || error.is_connection_dropped();
    match (is_sent, is_lost) {
        (true, true) => (Unanswered, NO_REMEDY),
        (true, false) => (Unknown, NO_REMEDY),
        (false, true) => (Again, "it cannot be reached by redis.url"),
        (false, false) if error.kind() == ErrorKind::AuthenticationFailed => {
            (Refused, WRONG_PASSWORD)
        }
        (false, false) => (Refused, "see redis.url"),
    }
}

/// Whether Redis says that the call is not for this user, or that it has no such command: one that broke off, or is refused for
/// now, says nothing of that.
pub(super) fn is_forbidden(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOPERM" | "ERR"))
}

/// Returns what Redis said, in its own words.
pub(super) fn said(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(_) | None, _) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use redis::make_extension_error;

    use super::*;

    fn answered(word: &str, detail: &str) -> RedisError {
        make_extension_error(word.to_owned(), Some(detail.to_owned()))
    }

    #[test]
    fn a_refusal_is_certain_unless_a_script_ran_or_no_answer_came() {
        let full = answered("OOM", "command not allowed when used memory > 'maxmemory'.");
        assert_eq!(judge(&full, true).0, Refused);
        assert_eq!(
            said(&full),
            "OOM command not allowed when used memory > 'maxmemory'."
        );
        let within = "not allowed script: 0123456789, on @user_script:31.";
        let unknown = [
            answered("OOM", within),
            answered("NOPERM", within),
            answered("ERR", "something else"),
        ];
        for error in unknown {
            assert_eq!(judge(&error, true).0, Unknown, "{error}");
        }
        let lost = RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
        assert_eq!(judge(&lost, true).0, Unanswered);
        assert_eq!(judge(&lost, false).0, Again);
        let moved = answered("MOVED", "3999 127.0.0.1:6381");
        assert_eq!(judge(&moved, true).0, Elsewhere);
        let busy = answered("BUSY", "Redis is busy running a script.");
        assert_eq!(judge(&busy, true).0, Again);
        let wrong = RedisError::from((ErrorKind::AuthenticationFailed, "wrong password"));
        assert_eq!(judge(&wrong, false).0, Refused);
    }
}
