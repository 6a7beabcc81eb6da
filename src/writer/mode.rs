//! Whether writes are served: one small state machine that every write passes.
//!
//! The mode is `normal` while no cause stands, else `read_only`. Several causes can stand at once;
//! the gravest is shown.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use super::disk::DiskWait;
use crate::counter::Millis;
pub use crate::metrics::Cause;

impl Cause {
    /// Returns what ends it, for operators.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoStore => {
                "the store cannot be opened: the log names the file and what to do; once it is put right it is opened by itself"
            }
            Self::StoreFailed => {
                "the store is reopened and verified by itself as soon as the disk, or the Redis of several instances, works again"
            }
            Self::Clock => {
                "set the clock right, or accept it with `counterd mode normal --accept-clock`"
            }
            Self::Space => {
                "free space, or inodes where `df -i` shows none, on the data directory's file system; writes come back by themselves"
            }
            Self::Operator => "`counterd mode normal`",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The mode, shared by everyone who asks.
#[derive(Debug)]
pub struct Mode {
    causes: AtomicU8,
    since: AtomicI64,
    disk: DiskWait,
}

/// One look at the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeState {
    /// Writes are served.
    Normal,
    /// Writes are refused.
    ReadOnly {
        /// The gravest cause that stands.
        cause: Cause,
        /// When the mode last became `read_only`.
        since: Millis,
    },
}

impl Mode {
    /// Makes a mode that is `normal`, with a wait for the disk of its own.
    pub fn new(disk: DiskWait) -> Self {
        Self {
            causes: AtomicU8::new(0),
            since: AtomicI64::new(0),
            disk,
        }
    }

    /// Returns how long the writer waits for the disk. Nothing is refused for that.
    pub fn disk(&self) -> &DiskWait {
        &self.disk
    }

    /// Returns the gravest cause that refuses writes; `None` in mode `normal`. It costs one acquiring load.
    pub fn refuses(&self) -> Option<Cause> {
        let causes = self.causes.load(Ordering::Acquire);
        if causes == 0 {
            return None;
        }
        Cause::ALL
            .into_iter()
            .find(|cause| causes & cause.bit() != 0)
    }

    /// Whether this cause stands.
    pub fn stands(&self, cause: Cause) -> bool {
        self.causes.load(Ordering::Acquire) & cause.bit() != 0
    }

    /// Returns the mode, and since when.
    pub fn state(&self) -> ModeState {
        match self.refuses() {
            None => ModeState::Normal,
            Some(cause) => ModeState::ReadOnly {
                cause,
                since: self.since.load(Ordering::Acquire),
            },
        }
    }

    /// Makes a cause stand from `now` on, and logs it; returns whether it did not stand before.
    pub fn raise(&self, cause: Cause, now: Millis) -> bool {
        let before = self.causes.fetch_or(cause.bit(), Ordering::AcqRel);
        if before == 0 {
            self.since.store(now, Ordering::Release);
        }
        let changed = before & cause.bit() == 0;
        if changed {
            tracing::error!(
                cause = cause.as_str(),
                remedy = cause.remedy(),
                "read_only: writes are refused"
            );
        }
        changed
    }

    /// Ends a cause, and logs it; returns whether it stood before.
    pub fn clear(&self, cause: Cause) -> bool {
        let before = self.causes.fetch_and(!cause.bit(), Ordering::AcqRel);
        let changed = before & cause.bit() != 0;
        if changed {
            let mode = if before == cause.bit() {
                "normal"
            } else {
                "read_only"
            };
            tracing::warn!(
                cause = cause.as_str(),
                mode,
                "a cause of read_only has ended"
            );
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_normal_only_while_no_cause_stands() {
        let mode = Mode::new(DiskWait::new(std::time::Duration::ZERO));
        assert_eq!(mode.state(), ModeState::Normal);
        assert!(mode.raise(Cause::Space, 10));
        assert!(!mode.raise(Cause::Space, 11));
        assert!(mode.raise(Cause::StoreFailed, 20));
        assert_eq!(
            mode.state(),
            ModeState::ReadOnly {
                cause: Cause::StoreFailed,
                since: 10
            }
        );
        assert!(mode.clear(Cause::StoreFailed));
        assert_eq!(mode.refuses(), Some(Cause::Space));
        assert!(mode.clear(Cause::Space));
        assert!(!mode.clear(Cause::Space));
        assert_eq!(mode.state(), ModeState::Normal);
    }
}
