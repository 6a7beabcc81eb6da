//! The directory of backups.
//!
//! ```text
//! lock             held while one is made (exclusive) or restored (shared)
//! backup-1.json    the manifest of backup 1
//! files/           every file of every backup, as NAME.HASH
//! verify.tmp/      a backup being verified
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FlockOperation, Mode, fadvise, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use xxhash_rust::xxh3::Xxh3;

use super::BackupError;
use super::manifest::{Listed, Manifest, StoredFile, Unreadable, hex};
use super::origin::StoreOrigin;
use crate::storage::create::remove;
use crate::storage::file_error::FileError;
use crate::storage::held::HeldDir;
use crate::storage::pace::Part;

const LOCK: &str = "lock";
const FILES: &str = "files";
const VERIFY: &str = "verify.tmp";
const TEMPORARY: &str = ".tmp";
/// What a disk of its own has in its first directory.
const OF_THE_FILE_SYSTEM: &str = "lost+found";
const PIECE: usize = 1024 * 1024;

/// Lists the backups in `dir`, oldest first. Their files are not looked at.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Listed>, FileError> {
    list_in(&HeldDir::open(dir)?)
}

fn list_in(dir: &HeldDir) -> Result<Vec<Listed>, FileError> {
    let names = dir.names()?;
    let ids = names
        .iter()
        .filter_map(|name| name.to_str().and_then(number_of));
    let mut found: Vec<Listed> = ids
        .map(|id| Listed {
            id,
            manifest: read_manifest(dir, id),
        })
        .collect();
    found.sort_unstable_by_key(|listed| listed.id);
    Ok(found)
}

/// Reads the number of a backup from its manifest's name; `None` when it is no such name.
fn number_of(name: &str) -> Option<u32> {
    let id = name.strip_prefix("backup-")?.strip_suffix(".json")?;
    let id = id.parse().ok()?;
    (manifest_name(id) == name).then_some(id)
}

pub(super) fn manifest_name(id: u32) -> String {
    format!("backup-{id}.json")
}

/// Chooses the number of the next backup: above that of every backup, and not in any file's name. A damaged
/// manifest is no backup; one that cannot be read now, or is of another version, may be one.
pub(super) fn free_number(dir: &Path, listed: &[Listed]) -> Result<u32, BackupError> {
    let newest = listed
        .iter()
        .rfind(|listed| !matches!(listed.manifest, Err(BackupError::Damaged { .. })));
    let first = newest.map_or(1, |newest| newest.id.saturating_add(1));
    let taken: BTreeSet<u32> = listed.iter().map(|listed| listed.id).collect();
    let free = (first..=u32::MAX).find(|id| !taken.contains(id));
    free.ok_or_else(|| {
        BackupError::Unfit(format!(
            "no number is left after that of {}; move that file away, or choose another directory",
            dir.join(manifest_name(u32::MAX)).display()
        ))
    })
}

/// How many names a refusal tells.
const NAMES_TOLD: usize = 3;

/// Refuses a directory that holds something else than backups. One that has a backup already is a
/// directory of backups, whatever was put beside it since.
fn refuse_strangers(dir: &HeldDir) -> Result<(), BackupError> {
    let is_strange = |name: &String| {
        ![LOCK, FILES, VERIFY, OF_THE_FILE_SYSTEM].contains(&name.as_str())
            && number_of(name.strip_suffix(TEMPORARY).unwrap_or(name)).is_none()
    };
    let names = dir.names()?.into_iter();
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let strangers: BTreeSet<String> = names.filter(is_strange).collect();
    let is_backup = |listed: &Listed| {
        matches!(
            listed.manifest,
            Ok(_) | Err(BackupError::Unsupported { .. })
        )
    };
    if strangers.is_empty() || list_in(dir)?.iter().any(is_backup) {
        return Ok(());
    }
    let more = match strangers.len().saturating_sub(NAMES_TOLD) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let told: Vec<String> = strangers.into_iter().take(NAMES_TOLD).collect();
    Err(BackupError::Unfit(format!(
        "{} is no directory of backups: it holds {}{more}; no backup was made: choose a new or an empty directory",
        dir.path().display(),
        told.join(", ")
    )))
}

fn read_manifest(dir: &HeldDir, id: u32) -> Result<Manifest, BackupError> {
    let path = dir.path_of(manifest_name(id));
    let mut bytes = Vec::new();
    dir.read(&manifest_name(id))?
        .read_to_end(&mut bytes)
        .map_err(FileError::new("read", &path))?;
    match Manifest::decode(&bytes) {
        Ok(manifest) if manifest.backup == id => Ok(manifest),
        Ok(manifest) => Err(BackupError::Damaged {
            path,
            what: format!("is that of backup {}", manifest.backup),
        }),
        Err(Unreadable::Damaged(what)) => Err(BackupError::Damaged { path, what }),
        Err(Unreadable::Layout(found)) => Err(BackupError::Unsupported { path, found }),
    }
}

/// Says what others may do in a directory; refuses one where anybody could replace a backup.
fn judge(dir: &HeldDir) -> Result<Option<String>, BackupError> {
    let found = dir.stat()?;
    let mode = Mode::from_raw_mode(found.st_mode);
    let path = dir.path();
    let shown = format!("{} (mode {:04o})", path.display(), mode.bits());
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return Err(BackupError::Unfit(format!(
            "anyone may write to {shown}, and so could replace a backup; no backup was made: `chmod go-w` it, \
             or choose another directory"
        )));
    }
    let others = mode.intersects(Mode::WOTH | Mode::WGRP);
    Ok(others.then(|| {
        format!("others than its owner may write to {shown}, and so may spoil backups: `chmod go-w` ends that")
    }))
}

/// Makes the error for a directory that has no `files/`.
fn nothing_in(dir: &HeldDir) -> Result<BackupError, FileError> {
    Ok(if list_in(dir)?.is_empty() {
        BackupError::None(format!("{} holds no backup", dir.path().display()))
    } else {
        BackupError::Damaged {
            path: dir.path_of(FILES),
            what: "is missing".to_owned(),
        }
    })
}

/// The directory, held for one piece of work.
pub(super) struct Pool {
    dir: HeldDir,
    files: HeldDir,
    /// `None` where nothing can be held: a medium that cannot be written to.
    _held: Option<File>,
}

impl Pool {
    /// Opens the directory for making a backup, while nobody else works in it. Returns a warning, too, where
    /// others may write to it.
    pub(super) fn for_writing(path: &Path) -> Result<(Self, Option<String>), BackupError> {
        let dir = HeldDir::open_or_make(path)?;
        refuse_strangers(&dir)?;
        let warning = judge(&dir)?;
        let files = dir.make_dir(FILES, false)?;
        judge(&files)?;
        let owner = files.stat()?.st_uid;
        if ![0, geteuid().as_raw(), dir.stat()?.st_uid].contains(&owner) {
            return Err(BackupError::Unfit(format!(
                "{} belongs to another user (uid {owner}), who could replace a backup; no backup was made: \
                 move it away, or choose another directory",
                files.path().display()
            )));
        }
        let held = held(
            dir.lock_file(LOCK)?,
            &dir,
            FlockOperation::NonBlockingLockExclusive,
        )?;
        let pool = Self {
            dir,
            files,
            _held: Some(held),
        };
        remove(&pool.dir.path_of(VERIFY))?;
        Ok((pool, warning))
    }

    /// Opens the directory for restoring, which others may do at the same time.
    pub(super) fn for_reading(path: &Path) -> Result<Self, BackupError> {
        let dir = HeldDir::open(path)?;
        let lock = FileError::if_there(dir.read(LOCK))?;
        let lock = lock.map(|file| held(file, &dir, FlockOperation::NonBlockingLockShared));
        let held = lock.transpose()?;
        let Some(files) = FileError::if_there(dir.dir(FILES))? else {
            return Err(nothing_in(&dir)?);
        };
        Ok(Self {
            dir,
            files,
            _held: held,
        })
    }

    /// Lists the backups in it, oldest first.
    pub(super) fn list(&self) -> Result<Vec<Listed>, FileError> {
        list_in(&self.dir)
    }

    /// Makes the directory that a backup is restored to for its verification.
    pub(super) fn make_verify_dir(&self) -> Result<HeldDir, FileError> {
        self.dir.make_dir(VERIFY, true)
    }

    /// Adds a file, unless its content is there; returns whether it was written.
    pub(super) fn add(
        &self,
        source: &Path,
        part: &mut Part<'_, '_>,
    ) -> Result<(StoredFile, bool), BackupError> {
        let name = source.file_name().unwrap_or_default();
        let mut from = SourceFile {
            file: File::open(source).map_err(FileError::new("open", source))?,
            path: source.to_owned(),
        };
        let (size, hash) = from.read(&mut |_| Ok(()), Some(part))?;
        let file = StoredFile {
            name: name.to_string_lossy().into_owned(),
            size,
            xxh3_128: hex(hash),
        };
        if self.files.has(&file.pool_name(), size) {
            return Ok((file, false));
        }
        let unfinished = format!("{}{TEMPORARY}", file.name);
        from.copy(&self.files, &unfinished, &file, None)?;
        self.files.rename(&unfinished, file.pool_name())?;
        Ok((file, true))
    }

    /// Puts a file of a backup into a directory, by a link if `link` and the file system allow it,
    /// and checks every byte of it.
    pub(super) fn take_out(
        &self,
        file: &StoredFile,
        to: &HeldDir,
        link: bool,
        part: &mut Part<'_, '_>,
    ) -> Result<(), BackupError> {
        let name = file.pool_name();
        let path = self.files.path_of(&name);
        let Some(file_there) = FileError::if_there(self.files.read(&name))? else {
            let what = "is missing".to_owned();
            return Err(BackupError::Damaged { path, what });
        };
        let mut from = SourceFile {
            file: file_there,
            path,
        };
        if link && self.files.link(&name, to, &file.name) {
            let (size, hash) = from.read(&mut |_| Ok(()), Some(part))?;
            return same(&from.path, file, size, hash);
        }
        from.copy(to, &file.name, file, Some(part))
    }

    /// Writes the manifest: from then on there is a backup.
    pub(super) fn publish(&self, manifest: &Manifest) -> Result<(), FileError> {
        self.files.sync()?;
        let name = manifest_name(manifest.backup);
        let unfinished = format!("{name}{TEMPORARY}");
        let write = || FileError::new("write", self.dir.path_of(&unfinished));
        let text = manifest
            .encode()
            .map_err(io::Error::from)
            .map_err(write())?;
        let mut file = self.dir.create(&unfinished)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(write())?;
        self.dir.rename_to_free(&unfinished, &name)?;
        self.dir.sync()
    }

    /// Removes all backups of that store but its `keep` newest (`None`: all are kept), and files of no
    /// backup; returns the numbers of the backups removed. While a manifest cannot be read all files stay,
    /// since it may need them.
    pub(super) fn prune(
        &self,
        keep: Option<u32>,
        store: &StoreOrigin,
    ) -> Result<Vec<u32>, FileError> {
        let listed = self.list()?;
        let all_known = listed.iter().all(|listed| listed.manifest.is_ok());
        let (own, others): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .filter_map(|listed| listed.manifest.ok())
            .partition(|manifest| store.is(&StoreOrigin::of(manifest)));
        let too_many = keep.map_or(0, |keep| own.len().saturating_sub(keep as usize));
        let (removed, kept) = own.split_at(too_many);
        let removed: Vec<u32> = removed.iter().map(|manifest| manifest.backup).collect();
        for &id in &removed {
            self.dir.remove(manifest_name(id))?;
        }
        self.dir.sync()?;
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
        for name in self.files.names()? {
            // Somebody else's file stays: the directory may be used for other things too.
            if let Some(name) = name.to_str()
                && is_ours(name)
                && !wanted.contains(name)
            {
                self.files.remove(name)?;
            }
        }
        self.files.sync()
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

fn held(file: File, dir: &HeldDir, operation: FlockOperation) -> Result<File, BackupError> {
    match flock(&file, operation) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(BackupError::Busy {
            dir: dir.path().to_owned(),
        }),
        Err(errno) => Err(FileError::new("lock", dir.path_of(LOCK))(errno).into()),
    }
}

/// A file that is read from its beginning.
struct SourceFile {
    file: File,
    path: PathBuf,
}

impl SourceFile {
    /// Reads it piece by piece; returns its length and hash.
    fn read(
        &mut self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), FileError>,
        mut part: Option<&mut Part<'_, '_>>,
    ) -> Result<(u64, u128), BackupError> {
        let fault = || FileError::new("read", &self.path);
        self.file.rewind().map_err(fault())?;
        let mut hash = Xxh3::new();
        let mut size = 0;
        let mut buffer = vec![0; PIECE];
        loop {
            let length = self.file.read(&mut buffer).map_err(fault())?;
            let piece = buffer.get(..length).unwrap_or_default();
            if piece.is_empty() {
                return Ok((size, hash.digest128()));
            }
            hash.update(piece);
            take(piece)?;
            size += length as u64;
            if let Some(part) = &mut part {
                part.add(length as u64)?;
            }
        }
    }

    /// Copies it and syncs the copy, which must have the expected content.
    fn copy(
        &mut self,
        to: &HeldDir,
        name: &str,
        expected: &StoredFile,
        part: Option<&mut Part<'_, '_>>,
    ) -> Result<(), BackupError> {
        let write = || FileError::new("write", to.path_of(name));
        let mut file = to.create(name)?;
        let mut take = |piece: &[u8]| file.write_all(piece).map_err(write());
        let (size, hash) = self.read(&mut take, part)?;
        file.sync_all().map_err(write())?;
        // So that a later reading comes from the disk; where that cannot be had it comes from memory.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        same(&self.path, expected, size, hash)
    }
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
