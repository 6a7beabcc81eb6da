//! What counts for a while only: how much leaves in each grain, and the seats: until when each user counts.
//!
//! Each record says at its front until when it counts, and in which time, so that a compaction can drop what has
//! left.

use std::ops::{ControlFlow, Deref};

use crate::counter::{CounterName, Generation, Millis, Seat, SessionId, TimeLine};
use crate::storage::Family;
use crate::storage::batch::Batch;
use crate::storage::error::ReadError;
use crate::storage::fixed::{Fixed, whole};
use crate::storage::keys;
use crate::storage::merge::Record;
use crate::storage::records::Cursor;
use crate::storage::rot::Gap;
use crate::storage::tables::Tables;
use crate::storage::value::{Undecodable, time_line_of, version_of};

/// How much leaves at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeavingAt {
    /// When.
    pub until: Millis,
    /// How much of the value.
    pub amount: i64,
    /// How many leases; 0 in a window.
    pub leases: i64,
}

/// Names a seat on disk. It is filled again and again, so that a look-up allocates nothing.
#[derive(Debug, Default)]
pub struct SeatKey(Vec<u8>);

impl SeatKey {
    /// Becomes the key of the seat of a user in that generation.
    pub fn set(&mut self, generation: Generation, user: &str) -> &Self {
        keys::seat_into(&mut self.0, generation, user.as_bytes());
        self
    }

    /// Returns its bytes, to be hashed and compared as they are.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The record of a seat on disk. It is filled again and again, so that nothing is allocated.
#[derive(Debug, Default)]
pub struct SeatRecord(Vec<u8>);

impl SeatRecord {
    /// Becomes the record of a seat that counts in that time.
    pub(crate) fn set(&mut self, time_line: TimeLine, seat: &Seat) -> &Self {
        self.0.clear();
        self.0.push(version_of(time_line));
        self.0.extend_from_slice(&seat.until.to_be_bytes());
        if time_line == TimeLine::Store {
            self.0.extend_from_slice(&seat.weight.to_be_bytes());
            let session = seat.session.as_ref().map_or("", SessionId::as_str);
            self.0.extend_from_slice(session.as_bytes());
        }
        self
    }

    /// Returns its bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When it has another layout.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Seat, Undecodable> {
        seat(bytes).ok_or(Undecodable)
    }
}

impl Cursor {
    /// Begins at the seats of a generation.
    pub(crate) fn seats_of(generation: Generation) -> Self {
        let mut key = Vec::new();
        keys::seat_into(&mut key, generation, &[]);
        Self(key)
    }
}

impl Batch {
    /// Puts how much leaves at an instant of that time.
    pub(crate) fn put_leaving(
        &mut self,
        generation: Generation,
        time_line: TimeLine,
        leaving: &LeavingAt,
    ) {
        let LeavingAt {
            until,
            amount,
            leases,
        } = leaving;
        let mut record = vec![version_of(time_line)];
        record.extend_from_slice(&until.to_be_bytes());
        record.extend_from_slice(&amount.to_be_bytes());
        if time_line == TimeLine::Store {
            record.extend_from_slice(&leases.to_be_bytes());
        }
        self.put(Family::Windows, &keys::leaving(generation, *until), &record);
    }

    /// Puts a user's seat; deletes it for `None`.
    pub(crate) fn put_seat(
        &mut self,
        generation: Generation,
        time_line: TimeLine,
        user: &str,
        seat: Option<&Seat>,
    ) {
        let mut key = SeatKey(Vec::with_capacity(9 + user.len()));
        let key = &key.set(generation, user).0;
        let Some(seat) = seat else {
            return self.delete(Family::Windows, key);
        };
        let mut record = SeatRecord::default();
        self.put(Family::Windows, key, &record.set(time_line, seat).0);
    }

    /// Puts any bytes in place of a user's seat, as damage would.
    #[cfg(test)]
    pub(crate) fn damage_seat(&mut self, generation: Generation, user: &str, bytes: &[u8]) {
        let mut key = SeatKey::default();
        self.put(Family::Windows, &key.set(generation, user).0, bytes);
    }
}

impl Tables {
    /// Lists the counters that lapse, with their generations, of whose grains or seats some may lie in a gap.
    pub(in crate::storage) fn lapsing_in(
        &self,
        gaps: &[Gap],
    ) -> Result<Vec<(CounterName, Generation)>, ReadError> {
        let mut met = Vec::new();
        if gaps.is_empty() {
            return Ok(met);
        }
        self.values(|name, value| {
            if let Record::Value(value) = value {
                met.push((name, value.generation));
            }
        })?;
        met.retain(|(_, generation)| {
            let (from, to) = (
                keys::leaving_prefix(*generation),
                keys::after_seats(*generation),
            );
            gaps.iter().any(|gap| gap.meets(&from, &to))
        });
        let mut lapsing = Vec::new();
        for (name, generation) in met {
            let definition = self.definition(&name)?;
            let lapses = definition.is_some_and(|definition| definition.lapse().is_some());
            lapsing.extend(lapses.then_some((name, generation)));
        }
        Ok(lapsing)
    }

    /// Calls `visit` with what leaves a generation, in order.
    ///
    /// # Errors
    /// When RocksDB cannot read on.
    pub(crate) fn leaving(
        &self,
        generation: Generation,
        mut visit: impl FnMut(Result<LeavingAt, Undecodable>),
    ) -> Result<(), ReadError> {
        let prefix = keys::leaving_prefix(generation);
        self.scan(Family::Windows, &prefix, None, |key, value| {
            if !key.starts_with(&prefix) {
                return ControlFlow::Break(());
            }
            visit(leaving_at(value).ok_or(Undecodable));
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// Returns the record of a user's seat, which may be over; `None` for one who has none.
    ///
    /// # Errors
    /// When RocksDB cannot read it.
    pub(crate) fn seat(
        &self,
        user: &SeatKey,
    ) -> Result<Option<impl Deref<Target = [u8]>>, ReadError> {
        self.get(Family::Windows, &user.0)
    }
}

fn leaving_at(bytes: &[u8]) -> Option<LeavingAt> {
    let (version, fields) = bytes.split_first()?;
    let time_line = time_line_of(*version)?;
    whole(fields, |bytes| {
        Some(LeavingAt {
            until: Millis::take(bytes)?,
            amount: i64::take(bytes)?,
            leases: match time_line {
                TimeLine::Wall => 0,
                TimeLine::Store => i64::take(bytes)?,
            },
        })
    })
}

fn seat(bytes: &[u8]) -> Option<Seat> {
    let (version, mut fields) = bytes.split_first()?;
    let until = Millis::take(&mut fields)?;
    let (weight, session) = match time_line_of(*version)? {
        TimeLine::Wall => (1, fields.is_empty().then_some(None)?),
        TimeLine::Store => {
            let weight = u32::take(&mut fields)?;
            let session = std::str::from_utf8(fields).ok()?;
            let session = (!session.is_empty()).then(|| SessionId::parse(session));
            (weight, session.transpose().ok()?)
        }
    };
    Some(Seat {
        until,
        weight,
        session,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_of_another_layout_is_none() {
        let window = b"\x01\0\0\0\0\0\0\x03\xe8";
        assert_eq!(seat(window).unwrap().until, 1000);
        let lease = b"\x02\0\0\0\0\0\0\x03\xe8\0\0\0\x05s1";
        let read = seat(lease).unwrap();
        assert_eq!((read.until, read.weight), (1000, 5));
        assert_eq!(read.session.unwrap().as_str(), "s1");
        for wrong in [
            &b""[..],
            b"\x01\0",
            b"\x03\0\0\0\0\0\0\x03\xe8",
            b"\x02\0\0\0\0\0\0\x03\xe8\0\0\0\x05\xff",
        ] {
            assert_eq!(seat(wrong), None, "{wrong:?}");
        }
        assert_eq!(seat(&[&window[..], b"x"].concat()), None);
        assert_eq!(leaving_at(&window[..]), None);
    }
}
