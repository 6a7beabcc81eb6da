//! Batches that others prepared: closed days, horizons, cursors. They change no counter and take no
//! revision, but are written like everything else, in order, by the one writer.

use std::sync::mpsc;

use crate::calendar::Day;
use crate::current_day::Look;
use crate::storage::Batch;
use crate::storage::expiry::Daily;

use super::run::Writer;
use super::{Cause, Failure};

/// A batch for the writer, in a commit group of its own.
#[derive(Default)]
pub struct Chore {
    /// What to write, in families that the writer itself does not write.
    pub batch: Batch,
    /// Horizons to store with it, and to publish once they are on disk: files that lie below one
    /// whole are dropped then.
    pub horizons: Vec<(Daily, Day)>,
}

/// A chore that waits, and whom to tell.
pub(super) struct WaitingChore {
    pub(super) chore: Chore,
    pub(super) done: mpsc::SyncSender<Result<(), Failure>>,
}

impl Writer {
    /// Carries out the chore that waits, if one does.
    pub(super) fn carry_out_chore(&mut self, look: Look) {
        let Some(WaitingChore { chore, done }) = self.intake.take_chore() else {
            return;
        };
        // Whoever no longer waits need not be told.
        let _ = done.try_send(self.chore(chore, look));
    }

    fn chore(&mut self, chore: Chore, look: Look) -> Result<(), Failure> {
        if let Some(cause) = self.mode.refuses() {
            return Err(Failure::ReadOnly(cause));
        }
        if self.store.is_none() {
            return Err(Failure::ReadOnly(Cause::StoreFailed));
        }
        let Chore { batch, horizons } = chore;
        self.batch = batch;
        for &(daily, day) in &horizons {
            self.batch.put_horizon(daily, day);
        }
        let group = self.new_group(look);
        self.write_batch(group);
        if self.store.is_none() {
            return Err(Failure::OutcomeUnknown);
        }
        for (daily, day) in horizons {
            self.horizons.publish(daily, day.days());
            self.drop_days(daily, day);
        }
        Ok(())
    }

    fn drop_days(&mut self, daily: Daily, below: Day) {
        if let Some(store) = &mut self.store
            && let Err(error) = store.drop_days(daily, below)
        {
            self.fail(&error, None);
        }
    }
}
