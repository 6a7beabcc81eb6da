//! Which instances are up, and by what time: each notes about once a second that it is, and is told what time Redis has.

use std::time::{Duration, Instant};

use super::link::{Link, Script};
use crate::storage::shared_log_error::SharedLogError;

/// For how long after its last note an instance is taken to be up.
pub(super) const LASTS: Duration = Duration::from_secs(8);

/// For how long after that Redis keeps the number of its last group. One that is stopped for so long and goes on has nothing
/// to send again, and its name is told to be forgotten.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How often an instance notes it.
const EVERY: Duration = Duration::from_secs(1);

/// What time it was in Redis at an instant.
#[derive(Clone, Copy, Debug)]
pub struct RedisTime {
    ms: i64,
    at: Instant,
    error: Duration,
}

impl RedisTime {
    /// Makes one of an answer to a question that was asked then.
    fn told(ms: i64, asked: Instant) -> Self {
        // It was read at some instant in between.
        let error = asked.elapsed() / 2;
        let at = asked + error;
        Self { ms, at, error }
    }

    /// Returns what time it is there now, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.ms.saturating_add(millis(self.at.elapsed()))
    }

    /// Returns by how much that may be wrong at most, in milliseconds.
    pub fn error_ms(&self) -> i64 {
        millis(self.error)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The notes of one instance.
pub(super) struct Pulse {
    script: Script,
    keys: [String; 2],
    instance: String,
    due: Instant,
}

impl Pulse {
    /// Makes one that is due, by the keys of who is up and of the last group of each instance.
    pub(super) fn new(keys: [String; 2], instance: String) -> Self {
        Self {
            script: Script::new(include_str!("pulse.lua")),
            keys,
            instance,
            due: Instant::now(),
        }
    }

    /// Returns the name of the instance.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// Notes that the instance is up, where that is due; returns what time it was then.
    pub(super) fn keep(&mut self, link: &mut Link) -> Option<RedisTime> {
        let now = Instant::now();
        if now < self.due {
            return None;
        }
        self.due = now + EVERY;
        // After an error the next one is soon.
        let told = self.note(link, true).ok()?;
        Some(RedisTime::told(told.parse().ok()?, now))
    }

    /// Notes that it is not up any more.
    pub(super) fn end(&self, link: &mut Link) {
        // The note goes by itself.
        let _ = self.note(link, false);
    }

    fn note(&self, link: &mut Link, is_up: bool) -> Result<String, SharedLogError> {
        let mut call = self.script.call(&self.keys);
        call.arg(&self.instance).arg(u8::from(is_up));
        for time in [LASTS, REMEMBERED] {
            call.arg(time.as_millis() as u64);
        }
        link.call(link.limit(), &self.script, &call)
    }
}

/// Asks what time it is.
///
/// # Errors
/// When Redis cannot be asked.
pub(super) fn time(link: &mut Link, limit: Instant) -> Result<RedisTime, SharedLogError> {
    let asked = Instant::now();
    let (seconds, micros): (i64, i64) = link.ask(limit, &redis::cmd("TIME"))?;
    let ms = seconds.saturating_mul(1000).saturating_add(micros / 1000);
    Ok(RedisTime::told(ms, asked))
}

/// Returns whether any instance is up, or was a moment ago.
///
/// # Errors
/// When Redis cannot be asked.
pub(super) fn is_any_up(link: &mut Link, key: &str) -> Result<bool, SharedLogError> {
    let limit = link.limit();
    let since = time(link, limit)?.now_ms().saturating_sub(millis(LASTS));
    let mut count = redis::cmd("ZCOUNT");
    count.arg(key).arg(since).arg("+inf");
    let up: u64 = link.ask(limit, &count)?;
    Ok(up > 0)
}
