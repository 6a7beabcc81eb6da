//! The highest value that a counter has had, which outlives the history in which it was reached. One record for each
//! counter in `meta`: a version byte, the value, the instant in milliseconds since 1970, the local day.

use crate::calendar::Day;
use crate::counter::{CounterName, Extreme};
use crate::storage::Family;
use crate::storage::batch::Batch;
use crate::storage::error::ReadError;
use crate::storage::tables::Tables;

const PREFIX: &[u8] = b"peak|";

const VERSION: u8 = 1;

fn key(name: &CounterName) -> Vec<u8> {
    [PREFIX, name.as_str().as_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<(Extreme, Day)> {
    let rest = bytes.strip_prefix(&[VERSION])?;
    let (value, rest) = rest.split_first_chunk()?;
    let (at, rest) = rest.split_first_chunk()?;
    let day = Day::from_days(i32::from_be_bytes(rest.try_into().ok()?)).ok()?;
    let (value, at) = (i64::from_be_bytes(*value), i64::from_be_bytes(*at));
    Some((Extreme { value, at }, day))
}

impl Batch {
    /// Puts the highest value of a counter, and in which day it was reached.
    pub(crate) fn put_peak(&mut self, name: &CounterName, peak: Extreme, day: Day) {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&peak.value.to_be_bytes());
        bytes.extend_from_slice(&peak.at.to_be_bytes());
        bytes.extend_from_slice(&day.days().to_be_bytes());
        self.put(Family::Meta, &key(name), &bytes);
    }

    /// Deletes the highest value of a counter that is gone.
    pub(crate) fn delete_peak(&mut self, name: &CounterName) {
        self.delete(Family::Meta, &key(name));
    }
}

impl Tables {
    /// Returns the highest value of a counter in its closed days, and in which day it was reached; `None` where none is
    /// recorded, or the record cannot be read.
    pub(crate) fn peak(&self, name: &CounterName) -> Result<Option<(Extreme, Day)>, ReadError> {
        let bytes = self.get(Family::Meta, &key(name))?;
        Ok(bytes.and_then(|bytes| decode(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_these_bytes() {
        let bytes = [
            &[1][..],
            &(-5i64).to_be_bytes(),
            &1_795_521_600_000i64.to_be_bytes(),
            &20_781i32.to_be_bytes(),
        ];
        let bytes = bytes.concat();
        let peak = Extreme {
            value: -5,
            at: 1_795_521_600_000,
        };
        assert_eq!(decode(&bytes), Some((peak, "2026-11-24".parse().unwrap())));
        assert_eq!(decode(&bytes[..20]), None);
        assert_eq!(decode(&[&[2], &bytes[1..]].concat()), None);
    }
}
