//! Backups, looks into the store and compactions, for whoever asks.

use std::io;

use super::super::{Part, Tell, Told};
use super::{Desk, Unanswered, refused};
use crate::inspect::{InspectError, inspect};
use crate::storage::backup::{self, BackupError, BackupOptions, Made};
use crate::storage::compact::{CompactError, compact};
use crate::storage::pace::{Ended, Step};

/// How far work that nobody waits for stands back: a thread's niceness.
const STANDING_BACK: i32 = 10;

/// Passes on how far the work has got.
fn pass_on(tell: Tell<'_>) -> impl FnMut(Step) -> io::Result<()> {
    |Step { what, done, total }| {
        tell(Part::Progress {
            what: what.to_owned(),
            done,
            total: Some(total),
        })
    }
}

/// Lets the threads that serve go first.
fn stand_back() {
    // On Linux this is the thread that calls, not the process. Where it is refused it is only slower
    // for others.
    let _ = rustix::process::setpriority_process(None, STANDING_BACK);
}

impl Desk {
    pub(super) fn back_up(
        &self,
        options: &BackupOptions,
        tell: Tell<'_>,
    ) -> Result<Told, Unanswered> {
        let Some(_only) = self.backups.try_lock() else {
            return Err(refused(
                "a backup of this store is being made already; try again when it is done",
            ));
        };
        stand_back();
        let now_ms = self.running.day.look().wall_ms;
        let made = backup::make(
            &self.running.reader,
            &self.running.storage,
            options,
            now_ms,
            &mut pass_on(tell),
        );
        match made {
            Ok(Made {
                manifest,
                removed,
                warning,
            }) => {
                tracing::info!(
                    target: "audit",
                    action = "backup",
                    dir = %options.dir.display(),
                    backup = manifest.backup,
                    revision = manifest.revision,
                    "a backup was made"
                );
                Ok(Told::BackedUp {
                    summary: Box::new((&manifest).into()),
                    removed,
                    warning,
                })
            }
            Err(BackupError::Ended(Ended(error))) => Err(error.into()),
            Err(error) => Err(refused(error)),
        }
    }

    pub(super) fn inspect(&self, count: bool, tell: Tell<'_>) -> Result<Told, Unanswered> {
        let (reader, horizons) = (&self.running.reader, &self.running.horizons);
        match inspect(reader, horizons, count, &mut pass_on(tell)) {
            Ok(inspection) => Ok(Told::Inspected(Box::new(inspection))),
            Err(InspectError::Ended(Ended(error))) => Err(error.into()),
            Err(error) => Err(refused(error)),
        }
    }

    pub(super) fn compact(&self, tell: Tell<'_>) -> Result<Told, Unanswered> {
        stand_back();
        let (reader, horizons) = (&self.running.reader, &self.running.horizons);
        match compact(reader, horizons, &mut pass_on(tell)) {
            Ok(families) => Ok(Told::Compacted { families }),
            Err(CompactError::Ended(Ended(error))) => Err(error.into()),
            Err(error) => Err(refused(error)),
        }
    }
}
