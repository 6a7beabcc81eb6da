//! How long work tells how far it has got, and learns that nobody wants it any more.

use std::borrow::Cow;
use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How often it tells.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// How far the work has got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is being done, for people.
    pub what: Cow<'static, str>,
    /// Done so far.
    pub done: u64,
    /// Of so many; `None` when that is not known.
    pub total: Option<u64>,
}

/// Hears how far the work has got, some times a second. An error ends the work.
pub type Watch<'a> = &'a mut dyn FnMut(Step) -> io::Result<()>;

/// Whoever asked for the work does not want it any more.
#[derive(Debug, thiserror::Error)]
#[error("ended before it was done: {0}")]
pub struct Ended(pub io::Error);

/// Tells a watch now and then.
pub struct Pace<'a> {
    watch: Watch<'a>,
    told: Option<(&'static str, Instant)>,
}

impl<'a> Pace<'a> {
    /// Makes one that tells `watch`.
    pub fn new(watch: Watch<'a>) -> Self {
        Self { watch, told: None }
    }

    /// Tells the watch, if it is time. To be called often; a new kind of work is told at once.
    ///
    /// # Errors
    /// When the work is to end.
    pub fn at(&mut self, what: &'static str, done: u64, total: u64) -> Result<(), Ended> {
        let lately = |(last, told): (&str, Instant)| last == what && told.elapsed() < TELL_EVERY;
        if self.told.is_some_and(lately) {
            return Ok(());
        }
        self.told = Some((what, Instant::now()));
        let what = what.into();
        let total = Some(total.max(done));
        (self.watch)(Step { what, done, total }).map_err(Ended)
    }
}

/// One kind of work, and how much of it is done.
pub(super) struct Part<'a, 'w> {
    pace: &'a mut Pace<'w>,
    what: &'static str,
    done: u64,
    total: u64,
}

impl<'w> Pace<'w> {
    /// Begins work of which there is `total` to do, as far as that is known.
    pub(super) fn begin(&mut self, what: &'static str, total: u64) -> Result<Part<'_, 'w>, Ended> {
        self.at(what, 0, total)?;
        Ok(Part {
            pace: self,
            what,
            done: 0,
            total,
        })
    }
}

impl Part<'_, '_> {
    /// Tells that `more` is done.
    pub(super) fn add(&mut self, more: u64) -> Result<(), Ended> {
        self.done += more;
        self.pace.at(self.what, self.done, self.total)
    }
}
