//! After a failed write: drop the handle, open and verify the store again, and go on.
//!
//! Nothing is retried. The reopened store must hold what readers have seen, or that and the whole
//! group whose write failed; the numbers are checked by the store, each counter's value here.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::counter::Existence;
use crate::current_day::Look;
use crate::storage::{DataDirLock, Expectation, Landed, Store};

use super::Cause;
use super::away::Away;
use super::group::bucket_at;
use super::ledger::Ledger;
use super::options::StartError;
use super::run::{Writer, stored_state};
use super::table::Reading;

/// The first try to reopen comes this long after the failure.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// Tries are never further apart than this.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// After failures that come again and again for one cause, tries are never further apart than this.
const LAST_RELAPSE: Duration = Duration::from_secs(60);

/// A failure that comes so long after another is not taken for the same.
const HEALTHY_FOR: Duration = Duration::from_secs(600);

/// The failure before, by which one that comes again for the same cause is known.
pub(super) struct Relapse {
    cause: String,
    at: Instant,
    back_off: Duration,
}

impl Relapse {
    /// Notes a failure of that cause, given the one before, and how long to wait.
    fn after(before: Option<&Self>, cause: String, now: Instant) -> Self {
        let back_off = match before {
            Some(before) if before.cause == cause && now - before.at < HEALTHY_FOR => {
                (before.back_off * 2).min(LAST_RELAPSE)
            }
            Some(_) | None => FIRST_RETRY,
        };
        Self {
            cause,
            at: now,
            back_off,
        }
    }
}

/// What is known about the store while it is closed after a failure.
pub(super) struct Failed {
    expectation: Expectation,
    retry_at: Instant,
    back_off: Duration,
    last_error: String,
}

impl Failed {
    /// Returns how long it is until the next try.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.retry_at.saturating_duration_since(now)
    }
}

impl Writer {
    /// Ends the handle after a failure. `unknown` is the count of the batch that may or may not be
    /// on disk.
    pub(super) fn fail(&mut self, error: &dyn Display, unknown: Option<u64>) {
        let now = self.links.clock.wall_ms();
        tracing::error!(%error, "the store failed; it is closed, and reopened and verified by itself");
        self.links.mode.raise(Cause::StoreFailed, now);
        let Some(store) = self.handle.store.take() else {
            return;
        };
        self.links.days.store_closed();
        let expectation = Expectation {
            published_sequence: store.sequence(),
            unknown_count: unknown,
            epoch: store.epoch(),
        };
        self.handle.log = store.into_log();
        self.handle.refused = None;
        // A Redis that was away may be back at once, however often that was so.
        let log = self.handle.log.as_ref();
        let was_away = log.is_some_and(|log| log.is_unanswered());
        let before = self.handle.relapse.as_ref().filter(|_| !was_away);
        let relapse = Relapse::after(before, error.to_string(), Instant::now());
        let back_off = relapse.back_off;
        self.handle.relapse = Some(relapse);
        self.handle.failed = Some(Failed {
            expectation,
            retry_at: Instant::now() + back_off,
            back_off,
            last_error: String::new(),
        });
    }

    /// Opens the store again, if it is time for a try.
    pub(super) fn try_reopen(&mut self, look: Look) {
        let is_due = |failed: &mut Failed| failed.wait(Instant::now()).is_zero();
        let Some(mut failed) = self.handle.failed.take_if(is_due) else {
            return;
        };
        match self.reopen(&failed.expectation) {
            Ok(()) => {
                tracing::warn!("the store is open again and verified");
                self.watch_space(look.wall_ms);
                self.links.mode.clear(Cause::StoreFailed);
            }
            Err(error) => {
                self.links.days.store_closed();
                let error = error.to_string();
                if error != failed.last_error {
                    tracing::error!(%error, "the store cannot be opened yet; it is tried again");
                    failed.last_error = error;
                }
                failed.back_off = (failed.back_off * 2).min(LAST_RETRY.max(failed.back_off));
                failed.retry_at = Instant::now() + failed.back_off;
                self.handle.failed = Some(failed);
            }
        }
    }

    fn reopen(&mut self, expectation: &Expectation) -> Result<(), StartError> {
        let lock = DataDirLock::take_existing(&self.handle.storage.data_dir)?;
        let (storage, reader) = (&self.handle.storage, &self.handle.reader);
        let (store, landed) = match self.handle.log.take() {
            None => Store::reopen(&lock, storage, reader, expectation)?,
            Some(log) => match Store::view(&lock, storage, reader, log) {
                Ok(store) => (store, Landed::NewEpoch),
                Err(failed) => {
                    let (log, error) = *failed;
                    self.handle.log = Some(log);
                    return Err(error.into());
                }
            },
        };
        if let Err(error) = self.go_on(&store, landed) {
            self.handle.log = store.into_log();
            return Err(error);
        }
        self.handle.store = Some(store);
        // Readers must see which counters cannot be read any more, and that leases settle.
        let ledger = &self.books.ledger;
        if landed != Landed::Absent || ledger.corrupt > 0 || !ledger.lapsing.is_empty() {
            self.publish_all();
        }
        Ok(())
    }

    /// Brings everything to what a store that was opened again holds.
    fn go_on(&mut self, store: &Store, landed: Landed) -> Result<(), StartError> {
        let stored = stored_state(store)?;
        let of_store = stored.map_or(0, |stored| stored.store_time);
        let slid_to = self.handle.reader.horizons.windows();
        if let (Landed::NewEpoch, Some(stored)) = (landed, stored) {
            // Another history may have lasted longer.
            let mut latest = slid_to;
            if self.is_shared() {
                self.progress.cell_ms = self.progress.cell_ms.max(stored.wall_ms);
                latest = latest.max(self.progress.cell_ms);
            }
            self.links.days.at_least(stored.highest_day, latest);
            self.links.days.store_opened(of_store);
        }
        let moment = self.links.days.moment();
        let mut ledger = Ledger::load(store.tables(), stored.as_ref(), &moment, slid_to)?;
        ledger.configure(&self.books.configured);
        self.verify(&ledger, landed)?;
        self.progress.stored_day = stored.map(|state| state.highest_day);
        self.books.ledger = ledger;
        self.books
            .minutes
            .restart(&mut self.books.ledger, stored.map(|state| state.wall_ms));
        self.progress.settled = false;
        self.progress.upkeep.prune_from = None;
        if self.is_shared() {
            self.days_done_elsewhere();
        }
        self.links.days.store_opened(of_store);
        let bucket = bucket_at(self.links.days.store_ms());
        self.books
            .memory
            .restart(self.links.days.look().day, bucket);
        match landed {
            Landed::Absent => {}
            // The group in flight has stored the absence.
            Landed::Present => self.progress.away = None,
            // This instance was up meanwhile, and what was before it may still have to be noted.
            Landed::NewEpoch if self.is_shared() => {
                let away = self.progress.away;
                self.progress.away = away.filter(|away| stored == Some(away.stored));
            }
            Landed::NewEpoch => {
                // In this history nothing was counted since its last group.
                self.progress.away = stored.map(|stored| Away {
                    stored,
                    back_at_boot: self.links.clock.boot_ms(),
                });
            }
        }
        Ok(())
    }

    /// Checks that each value is the published one, or what the group in flight made of it.
    fn verify(&self, found: &Ledger, landed: Landed) -> Result<(), StartError> {
        let epoch = self.links.table.epoch();
        for entry in found.iter() {
            let agrees = match landed {
                Landed::NewEpoch => true,
                // It became unreadable after it was published; it is refused until it is repaired.
                Landed::Absent | Landed::Present if entry.state.existence == Existence::Corrupt => {
                    true
                }
                Landed::Absent => {
                    let published = self.links.table.read(entry.name.as_str());
                    published.is_some_and(|published| agree(published, entry.reading(epoch)))
                }
                Landed::Present => {
                    let ours = self.books.ledger.named(&entry.name);
                    ours.is_some_and(|ours| {
                        ours.state.existence != Existence::Absent
                            && agree(ours.reading(epoch), entry.reading(epoch))
                    })
                }
            };
            if !agrees {
                return Err(StartError::Differs {
                    name: entry.name.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Whether two readings are of one state, wherever their windows have slid to since.
fn agree(mut one: Reading, mut other: Reading) -> bool {
    if let (Some(one), Some(other)) = (&mut one.leaving, &mut other.leaving) {
        let (one, other) = (Arc::make_mut(one), Arc::make_mut(other));
        let begun =
            |leaving: &crate::counter::Leaving| leaving.amounts.start_of(leaving.amounts.now());
        let latest = begun(one).max(begun(other));
        one.advance(latest);
        other.advance(latest);
        // A server that reopened its store settles anew.
        one.settles_at = other.settles_at;
    }
    one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_comes_again_for_one_cause_waits_ever_longer_and_another_does_not() {
        let now = Instant::now();
        let mut relapse = Relapse::after(None, "rot".to_owned(), now);
        assert_eq!(relapse.back_off, FIRST_RETRY);
        for _ in 0..20 {
            let next = Relapse::after(Some(&relapse), "rot".to_owned(), now);
            assert_eq!(next.back_off, (relapse.back_off * 2).min(LAST_RELAPSE));
            relapse = next;
        }
        assert_eq!(relapse.back_off, LAST_RELAPSE);
        let other = Relapse::after(Some(&relapse), "full".to_owned(), now);
        assert_eq!(other.back_off, FIRST_RETRY);
        let later = Relapse::after(Some(&relapse), "rot".to_owned(), now + HEALTHY_FOR);
        assert_eq!(later.back_off, FIRST_RETRY);
    }
}
