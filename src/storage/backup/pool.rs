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
use super::manifest::{Listed, Manifest, StoredFile, hex};
use super::origin::StoreOrigin;
use crate::storage::create::remove;
use crate::storage::file_error::{FileError, if_there};
use crate::storage::held::HeldDir;
use crate::storage::pace::{Pace, Part};

const LOCK: &str = "lock";
const FILES: &str = "files";
/// Where a backup is restored to for its verification.
pub(super) const VERIFY: &str = "verify.tmp";
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

pub(super) fn list_in(dir: &HeldDir) -> Result<Vec<Listed>, FileError> {
    let names = dir.names()?;
    let ids = names.iter().filter_map(|name| number_of(name.to_str()?));
    let listed = |id| Listed {
        id,
        manifest: read_manifest(dir, id),
    };
    Ok(ids
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(listed)
        .collect())
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
    let is_taken = |id| listed.iter().any(|listed| listed.id == id);
    let free = (first..=u32::MAX).find(|&id| !is_taken(id));
    free.ok_or_else(|| {
        BackupError::Refused(format!(
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
    Err(BackupError::Refused(format!(
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
    let manifest = Manifest::decode(&bytes, &path)?;
    if manifest.backup == id {
        return Ok(manifest);
    }
    let what = format!("is that of backup {}", manifest.backup);
    Err(BackupError::damaged(&path, what))
}

/// Says what others may do in a directory; refuses one where anybody could replace a backup.
fn judge(dir: &HeldDir) -> Result<Option<String>, BackupError> {
    let found = dir.stat()?;
    let mode = Mode::from_raw_mode(found.st_mode);
    let path = dir.path();
    let shown = format!("{} (mode {:04o})", path.display(), mode.bits());
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return Err(BackupError::Refused(format!(
            "anyone may write to {shown}, and so could replace a backup; no backup was made: `chmod go-w` it, \
             or choose another directory"
        )));
    }
    let others = mode.intersects(Mode::WOTH | Mode::WGRP);
    Ok(others.then(|| {
        format!("others than its owner may write to {shown}, and so may spoil backups: `chmod go-w` ends that")
    }))
}

/// The directory, held for one piece of work.
pub(super) struct Pool {
    pub(super) dir: HeldDir,
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
            return Err(BackupError::Refused(format!(
                "{} belongs to another user (uid {owner}), who could replace a backup; no backup was made: \
                 move it away, or choose another directory",
                files.path().display()
            )));
        }
        let lock = dir.lock_file(LOCK)?;
        let held = held(lock, &dir, FlockOperation::NonBlockingLockExclusive)?;
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
        let lock = if_there(dir.read(LOCK))?;
        let lock = lock.map(|file| held(file, &dir, FlockOperation::NonBlockingLockShared));
        let held = lock.transpose()?;
        let Some(files) = if_there(dir.dir(FILES))? else {
            return Err(if list_in(&dir)?.is_empty() {
                BackupError::Refused(format!("{} holds no backup", path.display()))
            } else {
                BackupError::damaged(&dir.path_of(FILES), "is missing")
            });
        };
        Ok(Self {
            dir,
            files,
            _held: held,
        })
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

    /// Puts all files of a backup into a directory, by links if `link` and the file system allow it, and checks
    /// every byte of them.
    pub(super) fn take_out(
        &self,
        manifest: &Manifest,
        to: &HeldDir,
        link: bool,
        pace: &mut Pace<'_>,
    ) -> Result<(), BackupError> {
        let what = if link {
            "bytes verified"
        } else {
            "bytes restored"
        };
        let mut part = pace.begin(what, manifest.bytes())?;
        for file in &manifest.files {
            let name = file.pool_name();
            let path = self.files.path_of(&name);
            let Some(found) = if_there(self.files.read(&name))? else {
                return Err(BackupError::damaged(&path, "is missing"));
            };
            let mut from = SourceFile { file: found, path };
            if link && self.files.link(&name, to, &file.name) {
                let (size, hash) = from.read(&mut |_| Ok(()), Some(&mut part))?;
                same(&from.path, file, size, hash)?;
            } else {
                from.copy(to, &file.name, file, Some(&mut part))?;
            }
        }
        Ok(())
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
        let listed = list_in(&self.dir)?;
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
            let wanted = kept.iter().chain(&others).flat_map(|kept| &kept.files);
            let wanted: BTreeSet<String> = wanted.map(StoredFile::pool_name).collect();
            for name in self.files.names()? {
                // Somebody else's file stays: the directory may be used for other things too.
                if let Some(name) = name.to_str()
                    && is_ours(name)
                    && !wanted.contains(name)
                {
                    self.files.remove(name)?;
                }
            }
            self.files.sync()?;
        }
        Ok(removed)
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
        Err(Errno::WOULDBLOCK) => Err(BackupError::Refused(format!(
            "another backup or restore is at work in {}; try again when it is done",
            dir.path().display()
        ))),
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
    Err(BackupError::damaged(path, what))
}
