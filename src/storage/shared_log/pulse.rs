//! Which instances are up: each notes about once a second that it is.

use std::time::{Duration, Instant};

use super::link::{Link, Script};
use crate::storage::shared_log_error::SharedLogError;

/// For how long after its last note an instance is taken to be up.
const LASTS: Duration = Duration::from_secs(8);

/// How often an instance notes it.
const EVERY: Duration = Duration::from_secs(1);

/// The notes of one instance.
pub(super) struct Pulse {
    script: Script,
    key: String,
    instance: String,
    due: Instant,
}

impl Pulse {
    /// Makes one that is due.
    pub(super) fn new(key: String, instance: String) -> Self {
        Self {
            script: Script::new(include_str!("pulse.lua")),
            key,
            instance,
            due: Instant::now(),
        }
    }

    /// Notes that the instance is up, where that is due.
    pub(super) fn keep(&mut self, link: &mut Link) {
        let now = Instant::now();
        if now >= self.due {
            self.due = now + EVERY;
            // The next one is soon.
            let _ = self.note(link, LASTS);
        }
    }

    /// Notes that it is not up any more.
    pub(super) fn end(&self, link: &mut Link) {
        // The note goes by itself.
        let _ = self.note(link, Duration::ZERO);
    }

    fn note(&self, link: &mut Link, lasts: Duration) -> Result<String, SharedLogError> {
        let mut call = self.script.call(std::slice::from_ref(&self.key));
        call.arg(&self.instance).arg(lasts.as_millis() as u64);
        link.call(&self.script, &call)
    }
}

/// Returns whether any instance is up, or was a moment ago.
///
/// # Errors
/// When Redis cannot be asked.
pub(super) fn is_any_up(link: &mut Link, key: &str) -> Result<bool, SharedLogError> {
    let (seconds, _): (i64, i64) = link.ask(&redis::cmd("TIME"))?;
    let since = seconds.saturating_sub(LASTS.as_secs() as i64);
    let mut count = redis::cmd("ZCOUNT");
    count.arg(key).arg(since.saturating_mul(1000)).arg("+inf");
    let up: u64 = link.ask(&count)?;
    Ok(up > 0)
}
