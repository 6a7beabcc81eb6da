//! The close of a day: the records that counting left become records of history. Each page of them is one batch, and
//! the last batch also says that the day is closed. A close that was cut off begins the day again, and writes the same
//! once more.

use std::ops::ControlFlow;

use crate::calendar::{Calendar, Day};
use crate::storage::{Batch, Cursor, ReadError, Tables};

use super::history::closed_day;
use super::peak::Reached;

/// The most records and bytes in one batch, so that no client waits long behind it.
const RECORDS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 256 * 1024;

/// A part of a day, ready to be written.
pub(super) struct DayPage {
    pub(super) batch: Batch,
    /// Records in it.
    pub(super) records: u64,
    /// Where the next page begins; `None` after the last.
    pub(super) next: Option<Cursor>,
}

/// Returns the first day above `closed` in which something changed.
pub(super) fn next_day(tables: &Tables, closed: Option<Day>) -> Result<Option<Day>, ReadError> {
    tables.first_recorded_day(closed.map_or(Day::MIN, Day::next))
}

/// Makes the part of `day` that begins at `from`; the first part for `None`.
pub(super) fn page(
    tables: &Tables,
    calendar: &Calendar,
    day: Day,
    from: Option<&Cursor>,
) -> Result<DayPage, ReadError> {
    let away_ms = tables.away_ms(day)?;
    let (mut batch, mut records) = (Batch::new(), 0);
    let mut reached = Vec::new();
    let next = tables.recorded_in(day, from, |name, recorded| {
        records += 1;
        match recorded {
            Ok(recorded) => {
                let (peak, events) = (recorded.record.peak, &recorded.events);
                reached.push(Reached::new(&name, day, peak, events));
                let closed = closed_day(recorded, calendar, day, away_ms);
                batch.put_closed_day(day, &name, &closed);
            }
            Err(bytes) => {
                tracing::error!(counter = %name, %day, "the day record cannot be read; history keeps its bytes");
                batch.put_unreadable_day(day, &name, &bytes);
            }
        }
        if records >= RECORDS_AT_ONCE as u64 || batch.bytes() >= BYTES_AT_ONCE {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    for reached in reached {
        reached.note(tables, &mut batch)?;
    }
    if next.is_none() {
        batch.put_closed_through(day);
        batch.delete_away(day);
    }
    Ok(DayPage {
        batch,
        records,
        next,
    })
}
