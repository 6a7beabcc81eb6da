//! Batches that others prepared: closed days, horizons, cursors. They change no counter and take no
//! revision, but are written like everything else, in order, by the one writer.
//!
//! Where several instances share a log, one of them works through the days, and another takes over from one that is gone
//! or was paused. What an instance prepared before it knew of the other's work is not written: its cursors and horizons
//! might lie behind those that are stored by then.

use std::sync::atomic::Ordering;
use std::sync::mpsc;

use crate::calendar::Day;
use crate::current_day::Look;
use crate::storage::Batch;
use crate::storage::expiry::Daily;

use super::run::Writer;
use super::tries::Tries;
use super::{Cause, Failure};

/// A batch for the writer, in a commit group of its own.
#[derive(Default)]
pub struct PreparedBatch {
    /// What to write, in families that the writer itself does not write.
    pub batch: Batch,
    /// Horizons to store with it, and to publish once they are on disk: files that lie below one
    /// whole are dropped then.
    pub horizons: Vec<(Daily, Day)>,
    /// What [`super::Running::done_elsewhere`] said before it was worked out: it is not written once other instances
    /// worked through days since. `None` where it rests on nothing that they may do.
    pub as_of: Option<u64>,
}

/// A prepared batch that waits, and whom to tell.
pub(super) struct WaitingBatch {
    pub(super) prepared: PreparedBatch,
    pub(super) done: mpsc::SyncSender<Result<(), Failure>>,
}

impl Writer {
    /// Writes the prepared batch that waits, if one does.
    pub(super) fn write_prepared(&mut self, look: Look) {
        let Some(WaitingBatch { prepared, done }) = self.links.intake.take_prepared() else {
            return;
        };
        // The caller may no longer wait.
        let _ = done.try_send(self.prepared(prepared, look));
    }

    fn prepared(&mut self, prepared: PreparedBatch, mut look: Look) -> Result<(), Failure> {
        if let Some(cause) = self.links.mode.refuses() {
            return Err(Failure::ReadOnly(cause));
        }
        if self.handle.store.is_none() {
            return Err(Failure::ReadOnly(Cause::StoreFailed));
        }
        let PreparedBatch {
            mut batch,
            horizons,
            as_of,
        } = prepared;
        if self.is_overtaken(as_of) {
            return Err(Failure::Overtaken);
        }
        for &(daily, day) in &horizons {
            batch.put_horizon(daily, day);
        }
        // Only where others append too may it have to be written again.
        let again = self.is_shared().then(|| batch.clone());
        self.books.batch = batch;
        let group = self.new_group(look);
        let mut written = self.write_batch(group);
        let tries = Tries::begin();
        while let Err(behind) = written {
            look = self.take_back(&behind, look);
            if let Some(cause) = self.links.mode.refuses() {
                return Err(Failure::ReadOnly(cause));
            }
            if self.is_overtaken(as_of) || self.is_too_late(&tries) {
                return Err(Failure::Overtaken);
            }
            self.books.batch = again.clone().unwrap_or_default();
            let group = self.new_group(look);
            written = self.write_batch(group);
        }
        if self.handle.store.is_none() {
            return Err(Failure::OutcomeUnknown);
        }
        for (daily, day) in horizons {
            self.handle.reader.horizons.publish(daily, day.days());
            self.drop_days(daily, day);
        }
        Ok(())
    }

    /// Whether other instances worked through days since.
    fn is_overtaken(&self, as_of: Option<u64>) -> bool {
        let done = self.links.done_elsewhere.load(Ordering::Relaxed);
        as_of.is_some_and(|as_of| as_of != done)
    }

    fn drop_days(&mut self, daily: Daily, below: Day) {
        if let Some(store) = &mut self.handle.store
            && let Err(error) = store.drop_days(daily, below)
        {
            self.fail(&error, None);
        }
    }
}
