//! What is looked up for each request: the users that were counted, and the outcomes kept under
//! idempotency keys.

use std::ops::ControlFlow;

use crate::calendar::Day;
use crate::counter::{Generation, Outcome};
use crate::storage::Family;
use crate::storage::batch::Batch;
use crate::storage::error::ReadError;
use crate::storage::keys::{self, Bucket};
use crate::storage::records::Cursor;
use crate::storage::rot::Gap;
use crate::storage::tables::Tables;
use crate::storage::value::{self, Kept, Undecodable};

/// Which records are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookedUp {
    /// Users that were counted.
    Users,
    /// The seats of one generation.
    Seats(Generation),
    /// Outcomes under idempotency keys.
    Requests,
}

/// Names a counted user on disk. It is filled again and again, so that a look-up allocates nothing.
#[derive(Debug, Default)]
pub struct UserKey(Vec<u8>);

impl UserKey {
    /// Becomes the key of a user of that period (`None`: of a counter that never resets).
    pub fn set(&mut self, period: Option<Day>, generation: Generation, user: &str) -> &Self {
        keys::dedup_into(
            &mut self.0,
            keys::dedup_day(period),
            generation,
            user.as_bytes(),
        );
        self
    }

    /// Returns its bytes, to be hashed and compared as they are.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Names a kept outcome on disk. It is filled again and again, so that a look-up allocates nothing.
#[derive(Debug, Default)]
pub struct RequestKey(Vec<u8>);

impl RequestKey {
    /// Becomes the key of what is kept in that bucket under a client's key.
    pub fn set(&mut self, bucket: Bucket, client_key: &str) -> &Self {
        keys::idempotency_into(&mut self.0, bucket, client_key);
        self
    }

    /// Returns its bytes, to be hashed and compared as they are.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Cursor {
    /// Begins at the users of a period (`None`: of counters that never reset).
    pub(crate) fn users_of(period: Option<Day>) -> Self {
        Self(keys::day_prefix(keys::dedup_day(period)).to_vec())
    }

    /// Begins at the outcomes kept in a bucket.
    pub(crate) fn requests_of(bucket: Bucket) -> Self {
        Self(bucket.to_be_bytes().to_vec())
    }
}

impl Batch {
    /// Puts that a user is counted.
    pub(crate) fn put_user(&mut self, period: Option<Day>, generation: Generation, user: &str) {
        let mut key = UserKey(Vec::with_capacity(12 + user.len()));
        self.put(Family::Dedup, &key.set(period, generation, user).0, &[]);
    }

    /// Deletes a counted user.
    pub(crate) fn delete_user(&mut self, period: Option<Day>, generation: Generation, user: &[u8]) {
        let mut key = Vec::with_capacity(12 + user.len());
        keys::dedup_into(&mut key, keys::dedup_day(period), generation, user);
        self.delete(Family::Dedup, &key);
    }

    /// Puts the outcome of the request with that idempotency key.
    pub(crate) fn put_kept(
        &mut self,
        bucket: Bucket,
        client_key: &str,
        fingerprint: u128,
        outcome: &Outcome,
    ) {
        let mut key = RequestKey(Vec::with_capacity(4 + client_key.len()));
        let record = value::encode_kept(fingerprint, outcome);
        self.put_record(Family::Idempotency, &key.set(bucket, client_key).0, record);
    }
}

impl Tables {
    /// Whether a user is counted.
    pub(crate) fn is_counted(&self, user: &UserKey) -> Result<bool, ReadError> {
        Ok(self.get(Family::Dedup, &user.0)?.is_some())
    }

    /// Returns what is kept under an idempotency key.
    ///
    /// # Errors
    /// When RocksDB cannot read it.
    pub fn kept(&self, key: &RequestKey) -> Result<Option<Result<Kept, Undecodable>>, ReadError> {
        let bytes = self.get(Family::Idempotency, &key.0)?;
        Ok(bytes.map(|bytes| value::decode_kept(&bytes)))
    }

    /// Returns up to `limit` ids of the users of one generation in one period, in order, from `from`
    /// on (the first for `None`), and where to go on; `None` after the last.
    ///
    /// # Errors
    /// When RocksDB cannot read on.
    pub fn users(
        &self,
        period: Option<Day>,
        generation: Generation,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<Vec<u8>>, Option<Cursor>), ReadError> {
        let mut prefix = Vec::new();
        keys::dedup_into(&mut prefix, keys::dedup_day(period), generation, &[]);
        let start = from.map_or(&prefix, |cursor| &cursor.0);
        let (mut users, mut next) = (Vec::new(), None);
        self.scan(Family::Dedup, start, None, |key, _| {
            let Some(user) = key.strip_prefix(prefix.as_slice()) else {
                return ControlFlow::Break(());
            };
            if users.len() == limit {
                next = Some(Cursor(key.to_vec()));
                return ControlFlow::Break(());
            }
            users.push(user.to_vec());
            ControlFlow::Continue(())
        })?;
        Ok((users, next))
    }

    /// Calls `visit` with up to `limit` keys from `from` on, in order, and returns where to go on
    /// (`None` after the last) and what could not be read.
    pub(crate) fn keys_of(
        &self,
        what: LookedUp,
        from: &Cursor,
        limit: usize,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(Option<Cursor>, Vec<Gap>), ReadError> {
        let (family, end) = match what {
            LookedUp::Users => (Family::Dedup, None),
            LookedUp::Seats(generation) => (Family::Windows, Some(keys::after_seats(generation))),
            LookedUp::Requests => (Family::Idempotency, None),
        };
        let end = end.as_ref().map(|end| &end[..]);
        let (mut taken, mut next) = (0, None);
        let gaps = self.scan_past_rot(family, &from.0, end, |key, _| {
            if taken == limit {
                next = Some(Cursor(key.to_vec()));
                return ControlFlow::Break(());
            }
            visit(key);
            taken += 1;
            ControlFlow::Continue(())
        })?;
        Ok((next, gaps))
    }
}
