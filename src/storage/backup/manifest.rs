//! The record of one backup: `backup-ID.json`, JSON for people and programs. Its last field is the
//! hash of everything before it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::BackupError;
use crate::calendar::Day;
use crate::counter::Millis;
use crate::storage::lineage::{Lineage, LineageId};

/// The form of the directory and of manifests. In layout 1 they did not say of which store they are.
pub(super) const LAYOUT: u32 = 2;
const OLDEST_LAYOUT: u32 = 1;

const HASH_FIELD: &str = ",\n  \"xxh3_128\": \"";
const HASH_END: &str = "\"\n}\n";
const BODY_END: &str = "\n}";

/// Records in each family, by its name.
pub type FamilyRows = BTreeMap<String, u64>;

/// What one backup is and holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of this file and of the directory it is in.
    pub layout: u32,
    /// Its number: each backup's is greater than that of the one before.
    pub backup: u32,
    /// The version of counterd that made it.
    pub counterd: String,
    /// When it was begun, milliseconds since 1970.
    pub made_at_ms: Millis,
    /// Whether it was opened and read through after it was written.
    pub verified: bool,
    /// The store's format version.
    pub format: u32,
    /// The store's merge-operator version.
    pub merge: u32,
    /// The store's epoch.
    pub epoch: u64,
    /// Which store it is of; `None` where an earlier version made it.
    #[serde(default)]
    pub lineage: Option<Lineage>,
    /// The revision of the last change in it.
    pub revision: u64,
    /// The highest day that was counted in; none in a store that never counted.
    pub highest_day: Option<Day>,
    /// The zone that days were counted in.
    pub zone: Option<String>,
    /// When its last group was committed, milliseconds since 1970.
    pub committed_at_ms: Option<Millis>,
    /// Records in each family.
    pub rows: FamilyRows,
    /// xxh3-128 over all records, in hexadecimal.
    pub rows_xxh3_128: String,
    /// Bytes that were written for it: of files that no backup before it had.
    pub new_bytes: u64,
    /// The files that make it up.
    pub files: Vec<StoredFile>,
}

/// A backup in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its number.
    pub backup: u32,
    /// When it was begun, milliseconds since 1970.
    pub made_at_ms: Millis,
    /// Whether it was opened and read through after it was written.
    pub verified: bool,
    /// The store's epoch.
    pub epoch: u64,
    /// The id of the store; `None` where an earlier version made it.
    pub lineage: Option<LineageId>,
    /// The revision of the last change in it.
    pub revision: u64,
    /// The highest day that was counted in.
    pub highest_day: Option<Day>,
    /// The zone that days were counted in.
    pub zone: Option<String>,
    /// Records in all families.
    pub rows: u64,
    /// Its files.
    pub files: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes that were written for it.
    pub new_bytes: u64,
}

impl From<&Manifest> for Summary {
    fn from(manifest: &Manifest) -> Self {
        Self {
            backup: manifest.backup,
            made_at_ms: manifest.made_at_ms,
            verified: manifest.verified,
            epoch: manifest.epoch,
            lineage: manifest.lineage.as_ref().map(|lineage| lineage.id),
            revision: manifest.revision,
            highest_day: manifest.highest_day,
            zone: manifest.zone.clone(),
            rows: manifest.rows.values().sum(),
            files: manifest.files.len() as u64,
            bytes: manifest.bytes(),
            new_bytes: manifest.new_bytes,
        }
    }
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredFile {
    /// Its name in RocksDB's directory.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// xxh3-128 of its content, in hexadecimal.
    pub xxh3_128: String,
}

impl StoredFile {
    /// Its name in the pool.
    pub(super) fn pool_name(&self) -> String {
        format!("{}.{}", self.name, self.xxh3_128)
    }

    /// Whether the names are what we write: a name from elsewhere must not lead out of a directory.
    fn is_plain(&self) -> bool {
        let plain = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
                && !text.starts_with('.')
        };
        plain(&self.name) && self.xxh3_128.len() == 32 && plain(&self.xxh3_128)
    }
}

pub(super) fn hex(hash: u128) -> String {
    format!("{hash:032x}")
}

impl Manifest {
    /// Returns how many bytes the backup's files have together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Says what of a store that was read through is not as this says; `None` when nothing.
    pub(super) fn differs(&self, found: &Self) -> Option<String> {
        let numbers = |of: &Self| [of.format.into(), of.merge.into(), of.epoch, of.revision];
        let whats = ["format", "merge operator", "epoch", "revision"];
        let numbers = numbers(self).into_iter().zip(numbers(found));
        for (what, (wanted, found)) in whats.into_iter().zip(numbers) {
            if wanted != found {
                return Some(format!("{what} is {found}, not {wanted}"));
            }
        }
        for (family, &wanted) in &self.rows {
            let found = found.rows.get(family).copied().unwrap_or(0);
            if found != wanted {
                return Some(format!("{family} has {found} records, not {wanted}"));
            }
        }
        let same = self.rows_xxh3_128 == found.rows_xxh3_128
            && self.zone == found.zone
            && self.highest_day == found.highest_day;
        (!same).then(|| "records differ".to_owned())
    }

    /// Returns the text of the file.
    pub(super) fn encode(&self) -> serde_json::Result<String> {
        let text = serde_json::to_string_pretty(self)?;
        let body = text.strip_suffix(BODY_END).unwrap_or(&text);
        let hash = hex(xxh3_128(body.as_bytes()));
        Ok(format!("{body}{HASH_FIELD}{hash}{HASH_END}"))
    }

    /// Reads the text of the file at `path`; any byte that is not as it was written is seen.
    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Self, BackupError> {
        #[derive(Deserialize)]
        struct Layout {
            layout: u32,
        }
        let damaged = |what: &str| BackupError::damaged(path, what);
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("is no text"))?;
        let (body, hash) = text
            .strip_suffix(HASH_END)
            .and_then(|text| text.rsplit_once(HASH_FIELD))
            .ok_or_else(|| damaged("does not end in its hash"))?;
        if hash != hex(xxh3_128(body.as_bytes())) {
            return Err(damaged(
                "does not have the content that it was written with",
            ));
        }
        let whole = format!("{body}{BODY_END}");
        let no_manifest = |error: serde_json::Error| damaged(&format!("is no manifest: {error}"));
        let Layout { layout: found } = serde_json::from_str(&whole).map_err(no_manifest)?;
        if !(OLDEST_LAYOUT..=LAYOUT).contains(&found) {
            let path = path.to_owned();
            return Err(BackupError::Unsupported { path, found });
        }
        let manifest: Self = serde_json::from_str(&whole).map_err(no_manifest)?;
        if manifest.files.iter().all(StoredFile::is_plain) {
            Ok(manifest)
        } else {
            Err(damaged("names a file that no backup has"))
        }
    }
}

/// A backup in a directory.
#[derive(Debug)]
pub struct Listed {
    /// Its number.
    pub id: u32,
    /// Its manifest; what is wrong with it when it cannot be read.
    pub manifest: Result<Manifest, BackupError>,
}
