//! `LOG_ACKED`: how much of a shared log was acknowledged, as far as the instance in this data directory knows. Written about
//! once a second, like `ACKED` of a store of one's own: an instance that is started again knows by it whether the log still
//! holds what was acknowledged, and never takes an emptied Redis for a new one.
//!
//! Kept out: judging. What a mark means for a log is `history`'s to decide.

use std::io::{Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::storage::file_error::{FileError, if_there};
use crate::storage::held::HeldDir;
use crate::storage::lineage::Lineage;
use crate::storage::shared_log_error::SharedLogError;

/// The file's name in the data directory.
const FILE_NAME: &str = "LOG_ACKED";

/// Its name until it is written whole.
const NEW: &str = "LOG_ACKED.new";

/// Most bytes that are read of it: 256 epochs of 20 digits are 6 KB.
const MAX_BYTES: u64 = 64 * 1024;

/// A place in the log: behind so many groups, the last of which has this name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogPlace {
    /// How many groups.
    pub(super) position: u64,
    /// The name of the last of them; where that is none, the id of a log that a relocation made, and else nothing.
    pub(super) tail: String,
}

/// Writes which log of a store it is; nothing for the one that was not made by a relocation.
pub(super) fn id_text(id: u128) -> String {
    if id == 0 {
        return String::new();
    }
    format!("{id:032x}")
}

/// Reads what [`id_text`] wrote.
pub(super) fn parse_id(text: &str) -> u128 {
    u128::from_str_radix(text, 16).unwrap_or(0)
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogMark {
    /// `redis.prefix` of the log.
    pub(super) prefix: String,
    /// Which log it is; its last epoch is the one that is followed.
    pub(super) lineage: Lineage,
    /// Which log of that store, where a relocation made it; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) log: String,
    /// Up to where it was certainly acknowledged.
    pub(super) acknowledged: LogPlace,
    /// The last group of this data directory that was acknowledged, by its name; `None` before the first.
    pub(super) own: Option<String>,
    /// Its number; 0 where that is not known.
    #[serde(default)]
    pub(super) own_position: u64,
}

impl LogMark {
    /// Returns which log of the store it is: 0, or that of the relocation that made it.
    pub(super) fn log_id(&self) -> u128 {
        parse_id(&self.log)
    }

    /// Returns the last group of this data directory that was acknowledged; `None` before the first.
    pub(super) fn own(&self) -> Option<LogPlace> {
        let position = self.own_position;
        let place = |tail| LogPlace { position, tail };
        self.own.clone().map(place)
    }

    /// Returns whether there is the file.
    pub(super) fn is_in(data_dir: &Path) -> bool {
        data_dir.join(FILE_NAME).exists()
    }

    /// Reads the file; `None` where there is none, or it is of a log under another prefix.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub(super) fn read(dir: &HeldDir, prefix: &str) -> Result<Option<Self>, SharedLogError> {
        let Some(file) = if_there(dir.read(FILE_NAME))? else {
            return Ok(None);
        };
        let path = dir.path_of(FILE_NAME);
        let mut bytes = Vec::new();
        let read = file.take(MAX_BYTES).read_to_end(&mut bytes);
        read.map_err(FileError::new("read", &path))?;
        let mark: Result<Self, _> = serde_json::from_slice(&bytes);
        let mark = mark.map_err(|_| SharedLogError::DamagedMark(path))?;
        Ok(Some(mark).filter(|mark| mark.prefix == prefix))
    }

    /// Writes the file and syncs it: it is the earlier one or this one, whatever happens meanwhile.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn write(&self, dir: &HeldDir) -> Result<(), FileError> {
        let path = dir.path_of(NEW);
        let bytes = serde_json::to_vec(self).map_err(FileError::new("write", &path))?;
        let mut file = dir.create(NEW)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        written.map_err(FileError::new("write", &path))?;
        dir.rename(NEW, FILE_NAME)?;
        dir.sync()
    }

    /// Removes the file.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn forget(dir: &HeldDir) -> Result<(), FileError> {
        dir.remove(FILE_NAME)?;
        dir.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_a_damaged_one_is_no_new_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let held = HeldDir::open(dir.path()).unwrap();
        assert!(LogMark::read(&held, "game:").unwrap().is_none());
        let mark = LogMark {
            prefix: "game:".to_owned(),
            lineage: Lineage::born(7),
            log: id_text(258),
            acknowledged: LogPlace {
                position: 9,
                tail: "ab 3".to_owned(),
            },
            own: Some("ab 3".to_owned()),
            own_position: 9,
        };
        assert_eq!((mark.log_id(), parse_id(&id_text(0))), (258, 0));
        mark.write(&held).unwrap();
        assert_eq!(LogMark::read(&held, "game:").unwrap(), Some(mark));
        assert_eq!(LogMark::read(&held, "").unwrap(), None);
        std::fs::write(dir.path().join(FILE_NAME), b"{\"prefix\":").unwrap();
        let error = LogMark::read(&held, "game:").unwrap_err();
        assert!(matches!(error, SharedLogError::DamagedMark(_)), "{error}");
        LogMark::forget(&held).unwrap();
        assert!(LogMark::read(&held, "game:").unwrap().is_none());
    }
}
