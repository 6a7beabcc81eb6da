//! `counterd check`: looks at what serving would need, and leaves nothing changed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use rustix::fs::{Access, FlockOperation, Mode, OFlags, access, flock, open};
use rustix::io::Errno;

use super::{CliFailure, adopt, print};
use crate::calendar::{Calendar, UnknownZone, tzdb_version};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, SettingSource, Warning};
use crate::control::{CopyFound, POSTGRES, REDIS, Whose};
use crate::export::postgres::{self, SchemaState};
use crate::links::{NO_LINK, others_may_write};
use crate::mirror;
use crate::serve::{
    Against, defined, mirror_options, postgres_options, storage_options, why_no_new_store,
    zone_is_written,
};
use crate::storage::reserve::Space;
use crate::storage::{DataDirLock, Reader, lock, look, read_through};
use crate::writer::Wanted;

/// What is wrong with a thing that was looked at.
struct Fault(String);

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// How a thing is that is not at fault.
enum Fine {
    Ok(String),
    /// It works, and may not be what anybody wants.
    Warn(String),
}

type Judgement = Result<Fine, Fault>;

/// What was looked at, and how it is.
type Finding = (&'static str, Judgement);

fn ok(text: impl Into<String>) -> Judgement {
    Ok(Fine::Ok(text.into()))
}

fn warn(text: impl Into<String>) -> Judgement {
    Ok(Fine::Warn(text.into()))
}

fn fault(text: impl Into<String>) -> Judgement {
    Err(Fault(text.into()))
}

/// Prints one line for each thing looked at; the failure says how many faults were found.
pub(super) fn run(
    file: &Option<PathBuf>,
    config: &Config,
    warnings: &[Warning],
    deep: bool,
) -> Result<(), CliFailure> {
    let mut findings = vec![("configuration", configuration(file, config))];
    findings.push(("time zone", time_zone(config)));
    findings.extend(day(config).map(|day| ("day", day)));
    findings.push(("address", listening(config)));
    findings.extend(secret_files(config));
    let (found, epoch) = data_directory(config, deep);
    findings.extend(found);
    if let Some(dir) = &config.log.dir {
        findings.push(("log directory", directory(dir)));
    }
    let copies = adopt::copies(config);
    // Nothing is written to another store's copy, not even to try.
    if !adopt::is_another_stores(&copies, POSTGRES) {
        findings.extend(database(config, epoch).map(|found| (POSTGRES, found)));
    }
    if !adopt::is_another_stores(&copies, REDIS) {
        findings.extend(mirrored(config, epoch).map(|found| (REDIS, found)));
    }
    let copies = copies.into_iter().filter_map(of_copy);
    findings.extend(copies.map(|found| ("copies", found)));
    let mut text = String::new();
    for (what, judgement) in &findings {
        let (verdict, found) = match judgement {
            Ok(Fine::Ok(text)) => ("ok", text),
            Ok(Fine::Warn(text)) => ("warn", text),
            Err(Fault(text)) => ("FAULT", text),
        };
        let _ = writeln!(text, "{verdict:5}  {what:14}  {found}");
    }
    for warning in warnings {
        let _ = writeln!(text, "warn   {warning}");
    }
    print(&text)?;
    match findings.iter().filter(|(_, found)| found.is_err()).count() {
        0 => Ok(()),
        1 => Err(CliFailure::Check("a fault".to_owned())),
        faults => Err(CliFailure::Check(format!("{faults} faults"))),
    }
}

fn configuration(file: &Option<PathBuf>, config: &Config) -> Judgement {
    let file = match file {
        Some(path) => path.display().to_string(),
        None => "no file, defaults".to_owned(),
    };
    let counters = config.defined_counters.len();
    ok(format!("{file}; {counters} counters defined"))
}

fn calendar(config: &Config) -> Result<Calendar, UnknownZone> {
    Calendar::new(&config.calendar.timezone, config.calendar.day_start)
}

fn time_zone(config: &Config) -> Judgement {
    let calendar = calendar(config)?;
    let source = config.source("calendar.timezone");
    ok(format!(
        "{} ({}); tz data {}",
        calendar.zone_name(),
        source.unwrap_or(&SettingSource::Default),
        tzdb_version()
    ))
}

/// Says which day it is and when it ends; `None` where the zone is not known.
fn day(config: &Config) -> Option<Judgement> {
    let calendar = calendar(config).ok()?;
    let now_ms = SystemClock.wall_ms();
    let ends_ms = calendar.next_boundary(now_ms);
    let left = Duration::from_secs(u64::try_from(ends_ms - now_ms).unwrap_or(0) / 1000);
    Some(ok(format!(
        "{}; the next begins {}, in {}",
        calendar.day_of(now_ms),
        calendar.local_text(ends_ms),
        humantime::format_duration(left)
    )))
}

/// Says whether the address can be listened on, and who could write there.
fn listening(config: &Config) -> Judgement {
    let address = config.server.listen;
    match std::net::TcpListener::bind(address) {
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse
                && matches!(
                    holder(&config.storage.data_dir.join(lock::FILE_NAME)),
                    Ok(Holder::Process(_) | Holder::Unknown)
                ) =>
        {
            ok(format!("{address} is in use, as the store is"))
        }
        Err(error) => fault(format!("{address} cannot be listened on: {error}")),
        Ok(_) if config.open_to_the_network() => warn(format!(
            "anyone who reaches {address} may write: set auth.write_token"
        )),
        Ok(_) => ok(format!("{address} can be listened on")),
    }
}

/// Finds files of secrets that every user may read.
fn secret_files(config: &Config) -> Vec<Finding> {
    let judge = |(key, path): &(_, PathBuf)| {
        let shown = path.display();
        let text = match path.metadata() {
            Ok(file) if file.mode() & 0o007 != 0 => {
                format!("{shown} ({key}) may be used by every user of this machine: chmod 0600")
            }
            Ok(_) => return None,
            Err(error) => format!("{shown}: {error}"),
        };
        Some(("secret file", warn(text)))
    };
    config.secret_files.iter().filter_map(judge).collect()
}

/// Says whether the export could write to its database, as a store of that epoch.
fn database(config: &Config, epoch: Option<u64>) -> Option<Judgement> {
    let options = postgres_options(config)?;
    Some(match postgres::check(&options, epoch) {
        Ok(SchemaState::Current) => ok("takes writes, and the schema is this version's"),
        Ok(SchemaState::Older) => ok(
            "takes writes; the schema is an older one, and the start of the server brings it up to date",
        ),
        Ok(SchemaState::OlderNotOwned) => fault(
            "reached; the schema is an older one, and this role does not own it: start the server once \
             with the URL of the role that does",
        ),
        Ok(SchemaState::Absent) => {
            ok("takes writes; it has no schema yet, and the start of the server makes it")
        }
        Err(error) => Err(error.into()),
    })
}

fn mirrored(config: &Config, epoch: Option<u64>) -> Option<Judgement> {
    let options = mirror_options(config)?;
    Some(match mirror::check(&options, epoch) {
        Ok(()) => ok("takes writes; the mirror's scripts are loaded"),
        Err(error) => Err(error.into()),
    })
}

/// Looks at the data directory and at the store in it. Returns also the epoch of a store that nobody has open.
fn data_directory(config: &Config, deep: bool) -> (Vec<Finding>, Option<u64>) {
    const WHAT: &str = "data directory";
    let dir = &config.storage.data_dir;
    let found = directory(dir);
    if found.is_err() {
        return (vec![(WHAT, found)], None);
    }
    if let Some((Lack::Sockets, kind)) = existing(dir).and_then(lack) {
        let without = fault(format!(
            "{} is on {kind}, which has no Unix sockets: a start would fail",
            dir.display()
        ));
        return (vec![(WHAT, without)], None);
    }
    let mut findings = vec![(WHAT, found)];
    let (store, epoch) = store(config, dir);
    findings.extend(store.into_iter().map(|found| ("store", found)));
    if deep {
        findings.push(("tables", tables(config, dir)));
    }
    findings.push(("free space", free_space(config, dir)));
    (findings, epoch)
}

/// Checks that a directory can be written to, or made.
fn directory(dir: &Path) -> Judgement {
    let shown = dir.display();
    let Some(looked_at) = existing(dir) else {
        return fault(format!("{shown}: no part of the path exists"));
    };
    if !looked_at.is_dir() {
        return fault(format!("{} is not a directory", looked_at.display()));
    }
    if let Err(error) = may_write(looked_at) {
        let looked_at = looked_at.display();
        return fault(format!("{looked_at} cannot be written to: {error}"));
    }
    if let Some((Lack::Memory, kind)) = lack(looked_at) {
        return warn(format!(
            "{shown} is on {kind}: what is acknowledged there may be gone after a crash"
        ));
    }
    if looked_at != dir {
        return ok(format!("{shown} is not there yet and can be made"));
    }
    match others_may_write(dir) {
        Some(mode) => warn(format!(
            "{shown} can be written to by everybody (mode {mode:o}): chmod o-w"
        )),
        None => ok(format!("{shown} can be written to")),
    }
}

fn may_write(dir: &Path) -> io::Result<()> {
    access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?;
    write_unseen(dir)
}

/// Writes and syncs a file without a name, which is gone once it is closed: that the rights suffice does
/// not say that the disk takes anything.
fn write_unseen(dir: &Path) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = match open(dir, flags, Mode::RUSR | Mode::WUSR) {
        // Not every file system has such files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL)
            if !matches!(lack(dir), Some((Lack::Files, _))) =>
        {
            return Ok(());
        }
        opened => File::from(opened?),
    };
    (&file).write_all(&[0; 4096])?;
    file.sync_data()
}

/// What counterd needs and a file system does not have.
enum Lack {
    /// It keeps nothing, or keeps it elsewhere.
    Memory,
    /// It cannot hold the control socket.
    Sockets,
    /// No directories and files can be made there at all.
    Files,
}

/// Says by its magic number what a file system lacks, and which it is; `None` where that is nothing, or it cannot be
/// asked.
fn lack(dir: &Path) -> Option<(Lack, &'static str)> {
    let kind = rustix::fs::statfs(dir).ok()?.f_type & 0xffff_ffff;
    Some(match kind {
        0x0102_1994 => (Lack::Memory, "tmpfs"),
        0x8584_58f6 => (Lack::Memory, "ramfs"),
        0x6969 => (Lack::Memory, "a network file system (NFS)"),
        0xff53_4d42 => (Lack::Memory, "a network file system (CIFS)"),
        0xfe53_4d42 | 0x517b => (Lack::Memory, "a network file system (SMB)"),
        0x0102_1997 => (Lack::Memory, "a network file system (9P)"),
        0x00c3_6400 => (Lack::Memory, "a network file system (Ceph)"),
        0x4d44 => (Lack::Sockets, "vfat"),
        0x2011_bab0 => (Lack::Sockets, "exfat"),
        0x9fa0 | 0x6265_6572 | 0x0027_e0eb | 0x6367_7270 => (Lack::Files, "the kernel's own"),
        _ => return None,
    })
}

/// Returns the path itself, or the nearest directory above it that exists.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors()
        .map(|path| {
            if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            }
        })
        .find(|path| path.symlink_metadata().is_ok())
}

/// Says whether there is a store, who has it open, and if nobody has, whether it would open.
fn store(config: &Config, dir: &Path) -> (Vec<Judgement>, Option<u64>) {
    let found = match holder(&dir.join(lock::FILE_NAME)) {
        Ok(Holder::Process(pid)) => ok(format!("in use by process {pid}")),
        Ok(Holder::Unknown) => ok("in use by a process that cannot be seen"),
        Ok(Holder::Nobody) if dir.join("store").try_exists().unwrap_or(true) => {
            return sound(config, dir);
        }
        Ok(Holder::Nobody) => none_yet(config),
        Err(error) => fault(format!("its lock cannot be looked at: {error}")),
    };
    (vec![found], None)
}

/// Says whether a start would make a store where there is none.
fn none_yet(config: &Config) -> Judgement {
    let why = why_no_new_store(config);
    let why = why.map_err(|error| Fault(format!("whether one is missing: {error}")))?;
    let Some(why) = why else {
        return ok("none yet; the first start makes it");
    };
    let remedy = if matches!(why, Against::Known(_)) {
        "a start makes none and serves copies (degraded.start). Put the directory back or restore a backup; \
         to begin a new store all the same, start once with degraded.start = false"
    } else {
        "a start waits until it can, and makes one if there are none (degraded.start)"
    };
    fault(format!("none here, but {why}: {remedy}"))
}

/// Looks into a store that is not in use, and compares it with the configuration.
fn sound(config: &Config, dir: &Path) -> (Vec<Judgement>, Option<u64>) {
    let looked = DataDirLock::take(dir).and_then(|lock| {
        look(&lock, &storage_options(config), |store| {
            let text = format!(
                "not in use, and sound: epoch {}, acknowledged up to {}",
                store.epoch, store.sequence
            );
            let mut found = vec![ok(text)];
            found.extend(disagreement(config, &store.reader));
            (found, Some(store.epoch))
        })
    });
    looked.unwrap_or_else(|error| (vec![Err(error.into())], None))
}

/// Compares a store with the zone and the counters of the configuration, as a start would. Returns `None` when
/// they agree.
fn disagreement(config: &Config, reader: &Reader) -> Option<Judgement> {
    let calendar = calendar(config).ok()?;
    let counters = defined(config);
    let wanted = Wanted {
        zone: calendar.zone_name(),
        zone_is_written: zone_is_written(config),
        counters: &counters,
    };
    let judged = reader.with(|tables| Ok(wanted.judge(tables, SystemClock.wall_ms())));
    match judged.ok()? {
        Ok(None) => None,
        Ok(Some(stored)) => Some(warn(format!(
            "days were counted in the zone {stored} so far; a start changes it to {} from then on",
            calendar.zone_name()
        ))),
        Err(error) => Some(Err(error.into())),
    }
}

/// Reads the whole store, if it is not in use.
fn tables(config: &Config, dir: &Path) -> Judgement {
    if !dir.join("store").exists() {
        return ok("there is no store to read");
    }
    let lock = DataDirLock::take_existing(dir);
    let lock = lock.map_err(|error| Fault(format!("not read: {error}")))?;
    let rotten = read_through(&lock, &storage_options(config))?;
    if rotten.is_empty() {
        return ok("every record was read");
    }
    let named: Vec<String> = rotten.iter().map(ToString::to_string).collect();
    fault(format!(
        "{}; restore a backup, or set them aside with `counterd recover`",
        named.join("; ")
    ))
}

enum Holder {
    Nobody,
    Process(u32),
    /// Of another container, say.
    Unknown,
}

/// Says who holds the lock. It takes the lock, shared, for a moment: nothing else tells for certain.
fn holder(path: &Path) -> io::Result<Holder> {
    let file = match File::options().read(true).custom_flags(NO_LINK).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Holder::Nobody),
        Err(Errno::WOULDBLOCK) => {
            let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
            let inode = file.metadata()?.ino();
            Ok(process_in(&locks, inode).map_or(Holder::Unknown, Holder::Process))
        }
        Err(error) => Err(error.into()),
    }
}

/// Finds the process that has locked the file with that inode in the kernel's table of locks:
/// `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`.
fn process_in(locks: &str, inode: u64) -> Option<u32> {
    let inode = format!(":{inode}");
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Whoever waits has a line too, with an arrow before the kind.
        match fields[..] {
            [_, "FLOCK", _, _, pid, file, ..] if file.ends_with(&inode) => pid.parse().ok(),
            _ => None,
        }
    })
}

fn free_space(config: &Config, dir: &Path) -> Judgement {
    let Some(looked_at) = existing(dir) else {
        return fault(format!("{} is nowhere", dir.display()));
    };
    let space = Space::of(looked_at)?;
    let limit = config.storage.min_free;
    let limit = limit.unwrap_or_else(|| space.default_min_free());
    let text = format!(
        "{} free, storage.min_free is {}",
        ByteSize(space.available).display().iec(),
        ByteSize(limit).display().iec()
    );
    if space.files.is_some_and(|files| files < 32) {
        fault(format!("{text}; no inodes are left (`df -i`)"))
    } else if space.available < limit {
        fault(format!("{text}: writes would be refused"))
    } else {
        ok(text)
    }
}

/// Says whose a copy is; `None` where that is not known.
fn of_copy(copy: CopyFound) -> Option<Judgement> {
    let text = format!("{} {}", copy.copy, copy.text);
    match copy.whose {
        Whose::Ours => Some(ok(text)),
        Whose::AnotherStores => Some(fault(format!("{text}; see `counterd adopt`"))),
        Whose::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_by_its_inode() {
        let locks = "\
1: POSIX  ADVISORY  WRITE 11 08:01:131 0 EOF
2: FLOCK  ADVISORY  WRITE 12 08:01:1131 0 EOF
3: FLOCK  ADVISORY  WRITE 13 08:01:131 0 EOF
3: -> FLOCK  ADVISORY  WRITE 14 08:01:131 0 EOF
4: FLOCK  ADVISORY  WRITE -1 08:01:99 0 EOF
";
        assert_eq!(process_in(locks, 131), Some(13));
        assert_eq!(process_in(locks, 1131), Some(12));
        assert_eq!(process_in(locks, 99), None);
        assert_eq!(process_in(locks, 1), None);
        assert_eq!(process_in("", 131), None);
    }
}
