//! Reading the records of a cell: all of them in pages, some by their keys, and how many there are; and removing those that
//! are over.

use std::mem;

use super::link::Script;
use super::{RawRecords, SharedLog};
use crate::storage::Family;
use crate::storage::shared_log_error::SharedLogError;

/// Records that are read at once.
const PAGE: usize = 1000;

impl SharedLog {
    /// Calls `visit` with all records, page by page: one may come twice.
    ///
    /// # Errors
    /// When Redis cannot be asked, or holds something else; what `visit` returns.
    pub(super) fn each_page<E: From<SharedLogError>>(
        &mut self,
        mut visit: impl FnMut(Family, &RawRecords) -> Result<(), E>,
    ) -> Result<(), E> {
        let state = self.cell_state(self.link.limit())?;
        let tells_keys = state.is_some_and(|state| state.tells_keys);
        let hashes = self.hashes()?;
        // There is always that of the lineage.
        if tells_keys && hashes.is_empty() {
            return Err(SharedLogError::Torn(self.keys.hashes()).into());
        }
        for (family, hash) in hashes {
            let (mut cursor, mut from) = (0u64, None);
            loop {
                let mut call = redis::cmd("HSCAN");
                call.arg(&hash).arg(cursor).arg("COUNT").arg(PAGE);
                let (next, records): (u64, RawRecords) = self.link.ask(self.link.limit(), &call)?;
                let is_begun = cursor != 0;
                let before = mem::replace(&mut from, self.link.connection());
                if is_begun && before != from {
                    // A cursor means nothing to another server: the hash has moved.
                    cursor = 0;
                    continue;
                }
                if tells_keys && !is_begun && next == 0 && records.is_empty() {
                    self.was_emptied(&hash)?;
                }
                visit(family, &records)?;
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Checks that a hash without a record lost the last one in a group, and is not somewhere else.
    fn was_emptied(&mut self, hash: &str) -> Result<(), SharedLogError> {
        let mut call = redis::cmd("SISMEMBER");
        call.arg(self.keys.hashes()).arg(hash);
        if self.link.ask(self.link.limit(), &call)? {
            return Err(SharedLogError::Torn(hash.to_owned()));
        }
        Ok(())
    }

    /// Lists the hashes that hold records, each with its family.
    ///
    /// # Errors
    /// When Redis cannot be asked, or names something else.
    pub(super) fn hashes(&mut self) -> Result<Vec<(Family, String)>, SharedLogError> {
        let mut call = redis::cmd("SMEMBERS");
        call.arg(self.keys.hashes());
        let hashes: Vec<String> = self.link.ask(self.link.limit(), &call)?;
        let with_family = |hash: String| {
            let family = self.keys.family(&hash);
            let family = family.ok_or(SharedLogError::Unreadable("the name of a hash"))?;
            Ok((family, hash))
        };
        hashes.into_iter().map(with_family).collect()
    }

    /// Removes the days or buckets of a family that lie before `end`, the bare prefix of the first that stays. The group that
    /// says so must be acknowledged. Where Redis does not do it now, the next time does.
    pub(in crate::storage) fn drop_before(&mut self, family: Family, end: &[u8]) {
        if let Err(error) = self.try_drop(family, end) {
            tracing::debug!(%error, "what is over stays in the shared log for now");
        }
    }

    fn try_drop(&mut self, family: Family, end: &[u8]) -> Result<(), SharedLogError> {
        let script = Script::new(include_str!("drop.lua"));
        let limit = self.link.limit();
        let first_kept = self.keys.hash(family, end);
        for (of, hash) in self.hashes()? {
            // Of one family they sort as their days do.
            if of != family || hash >= first_kept {
                continue;
            }
            let mut call = script.call(&[self.keys.cell(), self.keys.hashes(), hash]);
            let _: u8 = self.link.call(limit, &script, call.arg(self.epoch()))?;
        }
        Ok(())
    }

    /// Removes records of a family without parts, which are over. The group that says so must be acknowledged. Where Redis does
    /// not do it now, they stay, and the answer is `false`.
    pub(in crate::storage) fn drop_records(&mut self, family: Family, keys: &[Vec<u8>]) -> bool {
        if keys.is_empty() {
            return true;
        }
        let script = Script::new(include_str!("drop_records.lua"));
        let hash = self.keys.hash(family, &[]);
        let mut call = script.call(&[self.keys.cell(), self.keys.hashes(), hash]);
        call.arg(self.epoch()).arg(keys);
        let limit = self.link.limit();
        let dropped = self.link.call::<u8>(limit, &script, &call);
        if let Err(error) = &dropped {
            tracing::debug!(%error, "what is over stays in the shared log for now");
        }
        dropped.is_ok()
    }

    /// Returns how many records a hash holds.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub(super) fn length(&mut self, hash: &str) -> Result<u64, SharedLogError> {
        let mut call = redis::cmd("HLEN");
        call.arg(hash);
        self.link.ask(self.link.limit(), &call)
    }

    /// Reads the values of some keys of one hash; `None` where there is no such record.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub(super) fn values<'a>(
        &mut self,
        hash: &str,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<Option<Vec<u8>>>, SharedLogError> {
        let mut call = redis::cmd("HMGET");
        call.arg(hash);
        for key in keys {
            call.arg(key);
        }
        self.link.ask(self.link.limit(), &call)
    }
}
