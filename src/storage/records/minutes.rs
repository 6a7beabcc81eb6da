//! Minutes: the value of a counter at the end of a minute, and the minutes in which the server was up.

use std::ops::ControlFlow;

use crate::calendar::Day;
use crate::counter::CounterName;
use crate::storage::Family;
use crate::storage::batch::Batch;
use crate::storage::error::ReadError;
use crate::storage::keys;
use crate::storage::tables::Tables;
use crate::storage::value;

impl Batch {
    /// Puts the value that a counter had at the end of a minute (minutes since 1970); `None` when it
    /// was gone by then.
    pub(crate) fn put_sample(
        &mut self,
        day: Day,
        name: &CounterName,
        minute: u32,
        value: Option<i64>,
    ) {
        let bytes = value::encode_sample(value);
        self.put(Family::Samples, &keys::sample(day, name, minute), &bytes);
    }

    /// Puts that the server was up in a minute (minutes since 1970).
    pub(crate) fn put_uptime_minute(&mut self, day: Day, minute: u32) {
        self.put(Family::Samples, &keys::uptime_minute(day, minute), &[]);
    }
}

impl Tables {
    /// Calls `visit` with the samples of a counter in a day, in order: the minute, and the value at its
    /// end. For samples that cannot be read it calls once with `None`, in the minute after the last that
    /// can be read (minute 0 when they are the first).
    pub(crate) fn samples(
        &self,
        day: Day,
        name: &CounterName,
        mut visit: impl FnMut(u32, Option<i64>),
    ) -> Result<(), ReadError> {
        let (start, end) = (
            keys::sample(day, name, 0),
            keys::sample(day, name, u32::MAX),
        );
        let mut found = Vec::new();
        let gaps = self.scan_past_rot(Family::Samples, &start, Some(&end), |key, bytes| {
            let minute = keys::trailing_minute(key);
            if let (Some(minute), Ok(value)) = (minute, value::decode_sample(bytes)) {
                found.push((minute, value));
            }
            ControlFlow::Continue(())
        })?;
        for gap in gaps {
            // A gap begins right after the last key that was read.
            let last = gap.from.strip_suffix(&[0]).filter(|_| gap.from != start);
            let behind = last
                .and_then(keys::trailing_minute)
                .map_or(0, |minute| minute + 1);
            found.push((behind, None));
        }
        found.sort_by_key(|&(minute, _)| minute);
        found
            .into_iter()
            .for_each(|(minute, value)| visit(minute, value));
        Ok(())
    }

    /// Calls `visit` with the minutes of a day in which the server was up, in order.
    pub(crate) fn uptime_minutes(
        &self,
        day: Day,
        mut visit: impl FnMut(u32),
    ) -> Result<(), ReadError> {
        let start = keys::uptime_minute(day, 0);
        let end = keys::uptime_minute(day, u32::MAX);
        // Of a minute that cannot be read nothing is known, as of one without a record.
        self.scan_past_rot(Family::Samples, &start, Some(&end), |key, _| {
            keys::trailing_minute(key).into_iter().for_each(&mut visit);
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// Returns the first day from `from` on that has samples.
    pub(crate) fn first_sampled_day(&self, from: Day) -> Result<Option<Day>, ReadError> {
        self.first_day(Family::Samples, from)
    }
}
