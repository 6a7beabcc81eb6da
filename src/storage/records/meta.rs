//! The store as a whole: where it stands, which history it is on, the zone of its days.

use crate::storage::Family;
use crate::storage::batch::Batch;
use crate::storage::error::ReadError;
use crate::storage::fixed::{Fixed, whole};
use crate::storage::schema::{META_EPOCH, META_VERSIONS, META_ZONE};
use crate::storage::tables::Tables;
use crate::storage::value::{StoreState, Undecodable};

impl Batch {
    /// Puts where the store stands.
    pub(crate) fn put_state(&mut self, state: &StoreState) {
        self.put(Family::Meta, StoreState::KEY, &state.encode());
    }

    /// Puts the zone that days are counted in.
    pub(crate) fn put_zone(&mut self, zone: &str) {
        self.put(Family::Meta, META_ZONE, zone.as_bytes());
    }
}

impl Tables {
    /// Returns where the store stands; `None` in a new one.
    ///
    /// # Errors
    /// When RocksDB cannot read it.
    pub fn stored_state(&self) -> Result<Option<Result<StoreState, Undecodable>>, ReadError> {
        let bytes = self.get(Family::Meta, StoreState::KEY)?;
        Ok(bytes.map(|bytes| StoreState::decode(&bytes)))
    }

    /// Returns where the store stands; `None` in a new one, or when the record cannot be read.
    pub(crate) fn state(&self) -> Result<Option<StoreState>, ReadError> {
        Ok(self.stored_state()?.and_then(Result::ok))
    }

    /// Returns the zone that days are counted in; `None` before the first change.
    pub(crate) fn zone(&self) -> Result<Option<String>, ReadError> {
        let bytes = self.get(Family::Meta, META_ZONE)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Returns which history the store is on; 0 when the record cannot be read.
    pub(crate) fn epoch(&self) -> Result<u64, ReadError> {
        Ok(self.number(META_EPOCH)?.unwrap_or(0))
    }

    /// Returns the format version and the version of the merge operator.
    ///
    /// # Errors
    /// When RocksDB cannot read them.
    pub fn versions(&self) -> Result<(u32, u32), ReadError> {
        let versions: u64 = self.number(META_VERSIONS)?.unwrap_or(0);
        Ok(((versions >> 32) as u32, versions as u32))
    }

    /// Returns the number under a key of `meta`; `None` where there is none, or something else.
    pub(in crate::storage) fn number<T: Fixed>(&self, key: &[u8]) -> Result<Option<T>, ReadError> {
        let bytes = self.get(Family::Meta, key)?;
        Ok(bytes.and_then(|bytes| whole(&bytes, T::take)))
    }
}
