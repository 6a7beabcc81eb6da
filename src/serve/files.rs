//! How many files the process may have open, and how many of them may be connections; how large files may be.
//!
//! The store needs descriptors at any moment, for tables, logs and manifests. Connections that took
//! the last ones would make it fail, and nothing could be written for as long as they stay.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of the files that may be open, connections leave this share to the store and the logs,
const KEPT_SHARE: u64 = 4;
/// but at least so many
const KEPT_LEAST: u64 = 64;
/// and at most so many.
const KEPT_MOST: u64 = 4096;

/// Allows as many open files as the system lets it, and says how many of the connections that are
/// wanted then fit: of the usual ones, and of those whose clients are told of changes.
pub(super) fn room_for_connections(wanted: usize, pushed: usize) -> (usize, usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let room = shared(limit, wanted, pushed);
    if room != (wanted, pushed) {
        tracing::warn!(
            limit,
            max_connections = room.0,
            push_max_connections = room.1,
            "the limit on open files leaves room for fewer connections than server.max_connections and \
             push.max_connections; raise it (LimitNOFILE=, ulimit -n)"
        );
    }
    room
}

/// Shares what the limit leaves in the proportion of what is wanted.
fn shared(limit: Option<u64>, wanted: usize, pushed: usize) -> (usize, usize) {
    let both = wanted.saturating_add(pushed);
    let room = within(limit, both);
    if room == both {
        return (wanted, pushed);
    }
    let pushed = (room as u128 * pushed as u128 / both as u128) as usize;
    ((room - pushed).max(1), pushed.max(1))
}

/// Tells of a limit on the size of files: the store fails where it is met.
pub(super) fn tell_of_a_limit_on_sizes() {
    if let Some(limit) = getrlimit(Resource::Fsize).current {
        tracing::warn!(
            limit,
            "files may have at most so many bytes (ulimit -f, LimitFSIZE=): the store cannot be written beyond that; remove the limit"
        );
    }
}

fn within(limit: Option<u64>, wanted: usize) -> usize {
    let Some(limit) = limit else {
        return wanted;
    };
    let kept = (limit / KEPT_SHARE).clamp(KEPT_LEAST, KEPT_MOST);
    let room = usize::try_from(limit.saturating_sub(kept)).unwrap_or(usize::MAX);
    wanted.min(room.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_the_store() {
        assert_eq!(within(None, 10_000), 10_000);
        assert_eq!(within(Some(524_288), 10_000), 10_000);
        assert_eq!(within(Some(1024), 10_000), 768);
        assert_eq!(within(Some(1024), 100), 100);
        assert_eq!(within(Some(100), 10_000), 36);
        assert_eq!(within(Some(10), 10_000), 1);
        assert_eq!(shared(None, 10_000, 10_000), (10_000, 10_000));
        assert_eq!(shared(Some(1024), 10_000, 10_000), (384, 384));
        assert_eq!(shared(Some(1024), 300, 100), (300, 100));
        assert_eq!(shared(Some(10), 10_000, 10_000), (1, 1));
    }
}
