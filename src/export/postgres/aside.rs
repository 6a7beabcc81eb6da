//! Rows of closed days that the database did not take: set aside with the reason, in the store, so
//! that the rest of the day goes on and nobody has to look into old logs.

use std::ops::ControlFlow;

use crate::calendar::Day;
use crate::counter::CounterName;
use crate::storage::{Batch, Family, ReadError, Tables, keys};

/// Most rows that are remembered; further ones are logged and counted only.
pub(super) const MOST: u64 = 10_000;

/// Longest reason, in bytes.
const LONGEST_REASON: usize = 500;

const PREFIX: &[u8] = b"export|aside|";
const VERSION: u8 = 1;

/// A row that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Of which day.
    pub day: Day,
    /// Of which counter.
    pub counter: CounterName,
    /// Why.
    pub reason: String,
}

impl Aside {
    /// Adds it to a batch.
    pub(super) fn put(&self, batch: &mut Batch) {
        let mut end = self.reason.len().min(LONGEST_REASON);
        while !self.reason.is_char_boundary(end) {
            end -= 1;
        }
        let reason = self.reason.get(..end).unwrap_or_default();
        let value = [&[VERSION], reason.as_bytes()].concat();
        batch.put(Family::Meta, &key(self.day, &self.counter), &value);
    }
}

/// Takes the row out again: it is in the database now.
pub(super) fn take_out(batch: &mut Batch, day: Day, counter: &CounterName) {
    batch.delete(Family::Meta, &key(day, counter));
}

fn key(day: Day, counter: &CounterName) -> Vec<u8> {
    [
        PREFIX,
        &keys::day_prefix(day.days())[..],
        &keys::counter(counter),
    ]
    .concat()
}

/// The rows that are set aside, of one day or of all, oldest first.
///
/// # Errors
/// When the store cannot be read.
pub fn set_aside(tables: &Tables, day: Option<Day>) -> Result<Vec<Aside>, ReadError> {
    let start = match day {
        Some(day) => [PREFIX, &keys::day_prefix(day.days())[..]].concat(),
        None => PREFIX.to_vec(),
    };
    let mut found = Vec::new();
    tables.scan(Family::Meta, &start, None, |key, value| {
        let Some(rest) = key.strip_prefix(PREFIX).filter(|_| key.starts_with(&start)) else {
            return ControlFlow::Break(());
        };
        let day = keys::leading_day(rest).and_then(|day| Day::from_days(day).ok());
        let counter = rest.get(4..).and_then(keys::counter_name);
        if let (Some(day), Some(counter), Some((&VERSION, reason))) =
            (day, counter, value.split_first())
        {
            found.push(Aside {
                day,
                counter,
                reason: String::from_utf8_lossy(reason).into_owned(),
            });
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_these_bytes() {
        let aside = Aside {
            day: Day::from_days(20781).unwrap(),
            counter: CounterName::parse("ab").unwrap(),
            reason: "no".to_owned(),
        };
        let mut batch = Batch::new();
        aside.put(&mut batch);
        let (_, key, change) = batch.changes().next().unwrap();
        assert_eq!(key, b"export|aside|\x80\x00\x51\x2d\x02ab");
        assert_eq!(format!("{change:?}"), format!("Put({:?})", b"\x01no"));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let aside = Aside {
            day: Day::from_days(0).unwrap(),
            counter: CounterName::parse("ab").unwrap(),
            reason: "ü".repeat(400),
        };
        let mut batch = Batch::new();
        aside.put(&mut batch);
        assert!(batch.bytes() < 600, "{}", batch.bytes());
        let aside = Aside {
            reason: format!("x{}", aside.reason),
            ..aside
        };
        aside.put(&mut batch);
    }
}
