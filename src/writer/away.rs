//! How long the server was away: the time between the last group before a start and that start,
//! noted for the two days that it can have been away from: the one that was counted in last and the
//! one that is counted in now. In days between them nothing was counted. Where several instances share a log,
//! nobody was away while one of them was up.

use crate::calendar::{Calendar, Day};
use crate::counter::Millis;
use crate::storage::{Batch, ReadError, StoreState, Tables};

/// An absence that is not noted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Away {
    /// The last group before it.
    pub(super) stored: StoreState,
    /// The boot clock when the server was back.
    pub(super) back_at_boot: Millis,
}

impl Away {
    /// Adds what the absence takes of its days to a batch, for a group of that time.
    pub(super) fn put(
        &self,
        batch: &mut Batch,
        tables: &Tables,
        calendar: &Calendar,
        (today, now, boot_ms): (Day, Millis, Millis),
    ) -> Result<(), ReadError> {
        // By the wall clock of the group: at the start it may not have been right.
        let back = now.saturating_sub(boot_ms.saturating_sub(self.back_at_boot));
        let before = self.stored.highest_day;
        let days = [Some(before), Some(today).filter(|&day| day != before)];
        for day in days.into_iter().flatten() {
            let from = self.stored.wall_ms.max(calendar.start_of(day));
            let until = back.min(calendar.end_of(day));
            if until <= from {
                continue;
            }
            let before = tables.away_ms(day)?;
            batch.put_away(day, before.saturating_add(until.saturating_sub(from)));
        }
        Ok(())
    }
}
