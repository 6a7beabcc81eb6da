//! The directory of backups.
//!
//! ```text
//! lock             held while one is made (exclusive) or restored (shared)
//! backup-1.json    the manifest of backup 1
//! files/           every file of every backup, as NAME.HASH
//! verify.tmp/      a backup being verified
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FlockOperation, fadvise, flock};
use rustix::io::Errno;
use xxhash_rust::xxh3::Xxh3;

use super::BackupError;
use super::manifest::{LAYOUT, Manifest, StoredFile, Unreadable, hex};
use super::origin::Origin;
use crate::storage::create::remove;
use crate::storage::file_error::FileError;
use crate::storage::files::sync_dir;

const LOCK: &str = "lock";
const FILES: &str = "files";
const VERIFY: &str = "verify.tmp";
const TEMPORARY: &str = ".tmp";
/// What a disk of its own has in its first directory.
const OF_THE_FILE_SYSTEM: &str = "lost+found";
const PIECE: usize = 1024 * 1024;

/// A backup in a directory.
#[derive(Debug)]
pub struct Listed {
    /// Its number.
    pub id: u32,
    /// Its manifest; what is wrong with it when it cannot be read.
    pub manifest: Result<Manifest, BackupError>,
}

/// The backups in `dir`, oldest first. Their files are not looked at.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Listed>, FileError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(FileError::new("list", dir))? {
        let entry = entry.map_err(FileError::new("list", dir))?;
        let name = entry.file_name();
        if let Some(id) = name.to_str().and_then(number_of) {
            let manifest = read_manifest(&entry.path(), id);
            found.push(Listed { id, manifest });
        }
    }
    found.sort_unstable_by_key(|listed| listed.id);
    Ok(found)
}

/// The number of the backup whose manifest has that name.
fn number_of(name: &str) -> Option<u32> {
    let id = name.strip_prefix("backup-")?.strip_suffix(".json")?;
    let id = id.parse().ok()?;
    (manifest_name(id) == name).then_some(id)
}

fn manifest_name(id: u32) -> String {
    format!("backup-{id}.json")
}

/// The number of the next backup: above every one that there is, and no file's name.
pub(super) fn free_number(dir: &Path, listed: &[Listed]) -> Result<u32, BackupError> {
    let newest = listed.iter().rfind(|listed| listed.manifest.is_ok());
    let next = newest.map_or(Some(1), |newest| newest.id.checked_add(1));
    let taken: BTreeSet<u32> = listed.iter().map(|listed| listed.id).collect();
    let free = next.and_then(|next| (next..=u32::MAX).find(|id| !taken.contains(id)));
    free.ok_or_else(|| BackupError::NoNumber {
        path: dir.join(manifest_name(u32::MAX)),
    })
}

/// How many names a refusal tells.
const NAMES_TOLD: usize = 3;

/// Refuses a directory that holds something else than backups. One that has a backup already is a
/// directory of backups, whatever was put beside it since.
pub(super) fn refuse_strangers(dir: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::new("list", dir)(error).into()),
    };
    let mut strangers = Vec::new();
    for entry in entries {
        let name = entry.map_err(FileError::new("list", dir))?.file_name();
        let name = name.to_string_lossy();
        let ours = [LOCK, FILES, VERIFY, OF_THE_FILE_SYSTEM].contains(&name.as_ref())
            || number_of(name.strip_suffix(TEMPORARY).unwrap_or(&name)).is_some();
        if !ours {
            strangers.push(name.into_owned());
        }
    }
    let is_backup = |listed: &Listed| {
        matches!(
            listed.manifest,
            Ok(_) | Err(BackupError::Unsupported { .. })
        )
    };
    if strangers.is_empty() || list(dir)?.iter().any(is_backup) {
        return Ok(());
    }
    strangers.sort_unstable();
    let more = match strangers.len().saturating_sub(NAMES_TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    strangers.truncate(NAMES_TOLD);
    Err(BackupError::Strangers {
        dir: dir.to_owned(),
        found: format!("{}{more}", strangers.join(", ")),
    })
}

fn read_manifest(path: &Path, id: u32) -> Result<Manifest, BackupError> {
    let damaged = |what: String| BackupError::Damaged {
        path: path.to_owned(),
        what,
    };
    let bytes = fs::read(path).map_err(FileError::new("read", path))?;
    match Manifest::decode(&bytes) {
        Ok(manifest) if manifest.backup == id => Ok(manifest),
        Ok(manifest) => Err(damaged(format!("is that of backup {}", manifest.backup))),
        Err(Unreadable::Damaged(what)) => Err(damaged(what)),
        Err(Unreadable::Layout(found)) => Err(BackupError::Unsupported {
            path: path.to_owned(),
            what: "backup layout",
            found,
            known: LAYOUT,
        }),
    }
}

/// The directory, held for one piece of work.
pub(super) struct Pool {
    dir: PathBuf,
    /// None where nothing can be held: a medium that cannot be written to.
    _held: Option<File>,
}

impl Pool {
    /// For making a backup: nobody else works in it.
    pub(super) fn for_writing(dir: &Path) -> Result<Self, BackupError> {
        let files = dir.join(FILES);
        for dir in [dir, &files] {
            make_dir(dir, true)?;
        }
        let path = dir.join(LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(FileError::new("open", &path))?;
        let pool = Self {
            dir: dir.to_owned(),
            _held: Some(held(file, dir, FlockOperation::NonBlockingLockExclusive)?),
        };
        remove(&pool.verify_dir())?;
        Ok(pool)
    }

    /// For restoring: others may do so as well.
    pub(super) fn for_reading(dir: &Path) -> Result<Self, BackupError> {
        let path = dir.join(LOCK);
        let held = match File::open(&path) {
            Ok(file) => Some(held(file, dir, FlockOperation::NonBlockingLockShared)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(FileError::new("open", path)(error).into()),
        };
        Ok(Self {
            dir: dir.to_owned(),
            _held: held,
        })
    }

    pub(super) fn path(&self, file: &StoredFile) -> PathBuf {
        self.dir.join(FILES).join(file.pool_name())
    }

    /// Where a backup is restored to for its verification.
    pub(super) fn verify_dir(&self) -> PathBuf {
        self.dir.join(VERIFY)
    }

    /// Adds a file, unless its content is there; says whether it was written.
    pub(super) fn add(
        &self,
        source: &Path,
        progress: &mut dyn FnMut(u64) -> Result<(), BackupError>,
    ) -> Result<(StoredFile, bool), BackupError> {
        let name = source.file_name().unwrap_or_default();
        let (size, hash) = read(source, &mut |_| Ok(()), progress)?;
        let file = StoredFile {
            name: name.to_string_lossy().into_owned(),
            size,
            xxh3_128: hex(hash),
        };
        let path = self.path(&file);
        if fs::symlink_metadata(&path).is_ok_and(|there| there.len() == size) {
            return Ok((file, false));
        }
        let unfinished = self
            .dir
            .join(FILES)
            .join(format!("{}{TEMPORARY}", file.name));
        copy(source, &unfinished, &file, &mut |_| Ok(()))?;
        fs::rename(&unfinished, &path).map_err(FileError::new("rename", &unfinished))?;
        Ok((file, true))
    }

    /// Puts a file of a backup into a directory, by a link if `link` and the file system allow it,
    /// and checks every byte of it.
    pub(super) fn take_out(
        &self,
        file: &StoredFile,
        to: &Path,
        link: bool,
        progress: &mut dyn FnMut(u64) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let source = self.path(file);
        let target = to.join(&file.name);
        if link && fs::hard_link(&source, &target).is_ok() {
            let (size, hash) = read(&source, &mut |_| Ok(()), progress).map_err(gone(&source))?;
            return same(&source, file, size, hash);
        }
        copy(&source, &target, file, progress).map_err(gone(&source))
    }

    /// Makes the names of files durable that were added.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        sync_dir(&self.dir.join(FILES))
    }

    /// Writes the manifest: from then on there is a backup.
    pub(super) fn publish(&self, manifest: &Manifest) -> Result<(), FileError> {
        let path = self.manifest_path(manifest.backup);
        let unfinished = path.with_extension("json.tmp");
        let write = || FileError::new("write", &unfinished);
        let text = manifest
            .encode()
            .map_err(io::Error::from)
            .map_err(write())?;
        let mut file = writable(&unfinished).map_err(write())?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(write())?;
        fs::rename(&unfinished, &path).map_err(FileError::new("rename", &unfinished))?;
        sync_dir(&self.dir)
    }

    fn manifest_path(&self, id: u32) -> PathBuf {
        self.dir.join(manifest_name(id))
    }

    /// Removes all backups of that store but its `keep` newest (`None`: all are kept), and files of no
    /// backup; gives the backups removed. Files stay as long as a manifest cannot be read, which may need
    /// them.
    pub(super) fn prune(&self, keep: Option<u32>, store: &Origin) -> Result<Vec<u32>, FileError> {
        let listed = list(&self.dir)?;
        let all_known = listed.iter().all(|listed| listed.manifest.is_ok());
        let (own, others): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .filter_map(|listed| listed.manifest.ok())
            .partition(|manifest| store.is(&Origin::of(manifest)));
        let too_many = keep.map_or(0, |keep| own.len().saturating_sub(keep as usize));
        let (removed, kept) = own.split_at(too_many);
        let removed: Vec<u32> = removed.iter().map(|manifest| manifest.backup).collect();
        for &id in &removed {
            let path = self.manifest_path(id);
            fs::remove_file(&path).map_err(FileError::new("remove", &path))?;
        }
        sync_dir(&self.dir)?;
        if all_known {
            self.remove_all_but(kept.iter().chain(&others))?;
        }
        Ok(removed)
    }

    fn remove_all_but<'a>(
        &self,
        kept: impl Iterator<Item = &'a Manifest>,
    ) -> Result<(), FileError> {
        let wanted: BTreeSet<String> = kept
            .flat_map(|manifest| manifest.files.iter().map(StoredFile::pool_name))
            .collect();
        let dir = self.dir.join(FILES);
        for entry in fs::read_dir(&dir).map_err(FileError::new("list", &dir))? {
            let entry = entry.map_err(FileError::new("list", &dir))?;
            let name = entry.file_name();
            // Somebody else's file stays: the directory may be used for other things too.
            let spare = name
                .to_str()
                .is_some_and(|name| is_ours(name) && !wanted.contains(name));
            if spare {
                let path = entry.path();
                fs::remove_file(&path).map_err(FileError::new("remove", &path))?;
            }
        }
        sync_dir(&dir)
    }
}

/// Whether a file in the pool has a name that only the pool gives: `NAME.HASH`, or the name of a file
/// of RocksDB's that was being copied.
fn is_ours(name: &str) -> bool {
    if let Some(name) = name.strip_suffix(TEMPORARY) {
        let numbered = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        return name == "CURRENT"
            || name.strip_prefix("MANIFEST-").is_some_and(numbered)
            || name.strip_prefix("OPTIONS-").is_some_and(numbered)
            || name.strip_suffix(".sst").is_some_and(numbered)
            || name.strip_suffix(".log").is_some_and(numbered);
    }
    name.rsplit_once('.').is_some_and(|(_, hash)| {
        hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Makes a directory for its owner alone.
pub(super) fn make_dir(dir: &Path, recursive: bool) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(recursive)
        .mode(0o700)
        .create(dir)
        .map_err(FileError::new("create", dir))
}

fn held(file: File, dir: &Path, operation: FlockOperation) -> Result<File, BackupError> {
    match flock(&file, operation) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(BackupError::Busy {
            dir: dir.to_owned(),
        }),
        Err(errno) => Err(FileError::new("lock", dir.join(LOCK))(errno.into()).into()),
    }
}

fn writable(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Reads a file piece by piece; gives its length and hash.
fn read(
    path: &Path,
    take: &mut dyn FnMut(&[u8]) -> Result<(), FileError>,
    progress: &mut dyn FnMut(u64) -> Result<(), BackupError>,
) -> Result<(u64, u128), BackupError> {
    let mut file = File::open(path).map_err(FileError::new("open", path))?;
    let mut hash = Xxh3::new();
    let mut size = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let length = file
            .read(&mut piece)
            .map_err(FileError::new("read", path))?;
        let part = piece.get(..length).unwrap_or_default();
        if part.is_empty() {
            return Ok((size, hash.digest128()));
        }
        hash.update(part);
        take(part)?;
        size += length as u64;
        progress(length as u64)?;
    }
}

/// Copies a file and syncs the copy, which must have the expected content.
fn copy(
    source: &Path,
    target: &Path,
    expected: &StoredFile,
    progress: &mut dyn FnMut(u64) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let write = || FileError::new("write", target);
    let mut file = writable(target).map_err(write())?;
    let mut take = |part: &[u8]| file.write_all(part).map_err(write());
    let (size, hash) = read(source, &mut take, progress)?;
    file.sync_all().map_err(write())?;
    // So that a later reading comes from the disk; where that cannot be had it comes from memory.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    same(source, expected, size, hash)
}

fn same(path: &Path, expected: &StoredFile, size: u64, hash: u128) -> Result<(), BackupError> {
    if expected.size == size && expected.xxh3_128 == hex(hash) {
        return Ok(());
    }
    let what = if expected.size == size {
        "does not have the content that it was written with".to_owned()
    } else {
        format!(
            "is {size} bytes long, but was written with {}",
            expected.size
        )
    };
    Err(BackupError::Damaged {
        path: path.to_owned(),
        what,
    })
}

/// A file that is gone is damage, too.
fn gone(path: &Path) -> impl FnOnce(BackupError) -> BackupError {
    let path = path.to_owned();
    move |error| match error {
        BackupError::File(error)
            if error.path == path && error.source.kind() == io::ErrorKind::NotFound =>
        {
            BackupError::Damaged {
                path,
                what: "is missing".to_owned(),
            }
        }
        other => other,
    }
}
