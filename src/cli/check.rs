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
use crate::calendar::{Calendar, tzdb_version};
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

/// What one look found: of what, how it is, in words.
struct Finding(Verdict, &'static str, String);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It works, and may not be what anybody wants.
    Warn,
    Fault,
}

impl Finding {
    fn is_fault(&self) -> bool {
        self.0 == Verdict::Fault
    }
}

fn ok(what: &'static str, text: impl Into<String>) -> Finding {
    Finding(Verdict::Ok, what, text.into())
}

fn warn(what: &'static str, text: impl Into<String>) -> Finding {
    Finding(Verdict::Warn, what, text.into())
}

fn fault(what: &'static str, text: impl Into<String>) -> Finding {
    Finding(Verdict::Fault, what, text.into())
}

/// Prints one line for each thing looked at; the failure says how many faults were found.
pub(super) fn run(
    file: &Option<PathBuf>,
    config: &Config,
    warnings: &[Warning],
    deep: bool,
) -> Result<(), CliFailure> {
    let mut findings = vec![configuration(file, config)];
    findings.extend(time(config));
    findings.push(listening(config));
    findings.extend(secret_files(config));
    let (found, epoch) = data_directory(config, deep);
    findings.extend(found);
    if let Some(dir) = &config.log.dir {
        findings.push(directory("log directory", dir));
    }
    let copies = adopt::copies(config);
    // Nothing is written to another store's copy, not even to try.
    let tried = |copy: &str| !adopt::is_another_stores(&copies, copy);
    findings.extend(tried(POSTGRES).then(|| database(config, epoch)).flatten());
    findings.extend(tried(REDIS).then(|| mirrored(config, epoch)).flatten());
    findings.extend(copies.into_iter().filter_map(of_copy));
    let mut text = String::new();
    for Finding(verdict, what, found) in &findings {
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fault => "FAULT",
        };
        let _ = writeln!(text, "{verdict:5}  {what:14}  {found}");
    }
    for warning in warnings {
        let _ = writeln!(text, "warn   {warning}");
    }
    print(&text)?;
    match findings.iter().filter(|finding| finding.is_fault()).count() {
        0 => Ok(()),
        1 => Err(CliFailure::Check("a fault".to_owned())),
        faults => Err(CliFailure::Check(format!("{faults} faults"))),
    }
}

fn configuration(file: &Option<PathBuf>, config: &Config) -> Finding {
    let file = match file {
        Some(path) => path.display().to_string(),
        None => "no file, defaults".to_owned(),
    };
    let counters = config.defined_counters.len();
    ok(
        "configuration",
        format!("{file}; {counters} counters defined"),
    )
}

fn time(config: &Config) -> Vec<Finding> {
    let calendar = match Calendar::new(&config.calendar.timezone, config.calendar.day_start) {
        Ok(calendar) => calendar,
        Err(error) => return vec![fault("time zone", error.to_string())],
    };
    let source = config
        .source("calendar.timezone")
        .unwrap_or(&SettingSource::Default);
    let now_ms = SystemClock.wall_ms();
    let ends_ms = calendar.next_boundary(now_ms);
    let left = Duration::from_secs(u64::try_from(ends_ms - now_ms).unwrap_or(0) / 1000);
    vec![
        ok(
            "time zone",
            format!(
                "{} ({source}); tz data {}",
                calendar.zone_name(),
                tzdb_version()
            ),
        ),
        ok(
            "day",
            format!(
                "{}; the next begins {}, in {}",
                calendar.day_of(now_ms),
                calendar.local_text(ends_ms),
                humantime::format_duration(left)
            ),
        ),
    ]
}

/// Whether the address can be listened on, and who could write there.
fn listening(config: &Config) -> Finding {
    const WHAT: &str = "address";
    let address = config.server.listen;
    match std::net::TcpListener::bind(address) {
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse
                && matches!(
                    holder(&config.storage.data_dir.join(lock::FILE_NAME)),
                    Ok(Holder::Process(_) | Holder::Unknown)
                ) =>
        {
            ok(WHAT, format!("{address} is in use, as the store is"))
        }
        Err(error) => fault(WHAT, format!("{address} cannot be listened on: {error}")),
        Ok(_) if config.open_to_the_network() => warn(
            WHAT,
            format!("anyone who reaches {address} may write: set auth.write_token"),
        ),
        Ok(_) => ok(WHAT, format!("{address} can be listened on")),
    }
}

/// Finds files of secrets that every user may read.
fn secret_files(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, path) in &config.secret_files {
        match path.metadata() {
            Ok(file) if file.mode() & 0o007 != 0 => findings.push(warn(
                "secret file",
                format!(
                    "{} ({key}) may be used by every user of this machine: chmod 0600",
                    path.display()
                ),
            )),
            Ok(_) => {}
            Err(error) => {
                findings.push(warn("secret file", format!("{}: {error}", path.display())))
            }
        }
    }
    findings
}

/// Whether the export could write to its database, as a store of that epoch.
fn database(config: &Config, epoch: Option<u64>) -> Option<Finding> {
    let options = postgres_options(config)?;
    Some(match postgres::check(&options, epoch) {
        Ok(SchemaState::Current) => ok(POSTGRES, "takes writes, and the schema is this version's"),
        Ok(SchemaState::Older) => ok(
            POSTGRES,
            "takes writes; the schema is an older one, and the start of the server brings it up to date",
        ),
        Ok(SchemaState::OlderNotOwned) => fault(
            POSTGRES,
            "reached; the schema is an older one, and this role does not own it: start the server once \
             with the URL of the role that does",
        ),
        Ok(SchemaState::Absent) => ok(
            POSTGRES,
            "takes writes; it has no schema yet, and the start of the server makes it",
        ),
        Err(error) => fault(POSTGRES, error.to_string()),
    })
}

fn mirrored(config: &Config, epoch: Option<u64>) -> Option<Finding> {
    let options = mirror_options(config)?;
    Some(match mirror::check(&options, epoch) {
        Ok(()) => ok(REDIS, "takes writes; the mirror's scripts are loaded"),
        Err(error) => fault(REDIS, error.to_string()),
    })
}

/// Looks at the data directory and at the store in it. Returns also the epoch of a store that nobody has open.
fn data_directory(config: &Config, deep: bool) -> (Vec<Finding>, Option<u64>) {
    const WHAT: &str = "data directory";
    let dir = &config.storage.data_dir;
    let found = directory(WHAT, dir);
    if found.is_fault() {
        return (vec![found], None);
    }
    if let Some((Lack::Sockets, kind)) = existing(dir).and_then(lack) {
        let text = format!(
            "{} is on {kind}, which has no Unix sockets: a start would fail",
            dir.display()
        );
        return (vec![fault(WHAT, text)], None);
    }
    let (store, epoch) = store(config, dir);
    let mut findings = vec![found];
    findings.extend(store);
    findings.extend(deep.then(|| tables(config, dir)));
    findings.push(free_space(config, dir));
    (findings, epoch)
}

/// Checks that a directory can be written to, or made.
fn directory(what: &'static str, dir: &Path) -> Finding {
    let shown = dir.display();
    let (looked_at, exists) = match existing(dir) {
        Some(path) if path == dir => (path, true),
        Some(path) => (path, false),
        None => return fault(what, format!("{shown}: no part of the path exists")),
    };
    if !looked_at.is_dir() {
        return fault(what, format!("{} is not a directory", looked_at.display()));
    }
    let may = access(
        looked_at,
        Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
    );
    if let Err(error) = may
        .map_err(io::Error::from)
        .and_then(|()| write_unseen(looked_at))
    {
        let text = format!("{} cannot be written to: {error}", looked_at.display());
        return fault(what, text);
    }
    if let Some((Lack::Memory, kind)) = lack(looked_at) {
        let text =
            format!("{shown} is on {kind}: what is acknowledged there may be gone after a crash");
        return warn(what, text);
    }
    if !exists {
        return ok(what, format!("{shown} is not there yet and can be made"));
    }
    match others_may_write(dir) {
        Some(mode) => warn(
            what,
            format!("{shown} can be written to by everybody (mode {mode:o}): chmod o-w"),
        ),
        None => ok(what, format!("{shown} can be written to")),
    }
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

/// Whether there is a store, who has it open, and if nobody has, whether it would open.
fn store(config: &Config, dir: &Path) -> (Vec<Finding>, Option<u64>) {
    const WHAT: &str = "store";
    let found = match holder(&dir.join(lock::FILE_NAME)) {
        Ok(Holder::Process(pid)) => ok(WHAT, format!("in use by process {pid}")),
        Ok(Holder::Unknown) => ok(WHAT, "in use by a process that cannot be seen"),
        Ok(Holder::Nobody) if dir.join("store").try_exists().unwrap_or(true) => {
            return sound(config, dir);
        }
        Ok(Holder::Nobody) => none_yet(config),
        Err(error) => fault(WHAT, format!("its lock cannot be looked at: {error}")),
    };
    (vec![found], None)
}

/// Whether a start would make a store where there is none.
fn none_yet(config: &Config) -> Finding {
    const WHAT: &str = "store";
    let why = match why_no_new_store(config) {
        Ok(why) => why,
        Err(error) => return fault(WHAT, format!("whether one is missing: {error}")),
    };
    let Some(why) = why else {
        return ok(WHAT, "none yet; the first start makes it");
    };
    let remedy = if matches!(why, Against::Known(_)) {
        "a start makes none and serves copies (degraded.start). Put the directory back or restore a backup; \
         to begin a new store all the same, start once with degraded.start = false"
    } else {
        "a start waits until it can, and makes one if there are none (degraded.start)"
    };
    fault(WHAT, format!("none here, but {why}: {remedy}"))
}

/// Looks into a store that is not in use, and compares it with the configuration.
fn sound(config: &Config, dir: &Path) -> (Vec<Finding>, Option<u64>) {
    const WHAT: &str = "store";
    let looked = DataDirLock::take(dir).and_then(|lock| {
        look(&lock, &storage_options(config), |store| {
            let text = format!(
                "not in use, and sound: epoch {}, acknowledged up to {}",
                store.epoch, store.sequence
            );
            let mut findings = vec![ok(WHAT, text)];
            findings.extend(disagreement(config, &store.reader));
            (findings, Some(store.epoch))
        })
    });
    looked.unwrap_or_else(|error| (vec![fault(WHAT, error.to_string())], None))
}

/// Compares a store with the zone and the counters of the configuration, as a start would. Returns `None` when
/// they agree.
fn disagreement(config: &Config, reader: &Reader) -> Option<Finding> {
    const WHAT: &str = "store";
    let calendar = Calendar::new(&config.calendar.timezone, config.calendar.day_start).ok()?;
    let counters = defined(config);
    let wanted = Wanted {
        zone: calendar.zone_name(),
        zone_is_written: zone_is_written(config),
        counters: &counters,
    };
    let judged = reader.with(|tables| Ok(wanted.judge(tables, SystemClock.wall_ms())));
    match judged.ok()? {
        Ok(None) => None,
        Ok(Some(stored)) => Some(warn(
            WHAT,
            format!(
                "days were counted in the zone {stored} so far; a start changes it to {} from then on",
                calendar.zone_name()
            ),
        )),
        Err(error) => Some(fault(WHAT, error.to_string())),
    }
}

/// Reads the whole store, if it is not in use.
fn tables(config: &Config, dir: &Path) -> Finding {
    const WHAT: &str = "tables";
    if !dir.join("store").exists() {
        return ok(WHAT, "there is no store to read");
    }
    let lock = match DataDirLock::take_existing(dir) {
        Ok(lock) => lock,
        Err(error) => return fault(WHAT, format!("not read: {error}")),
    };
    match read_through(&lock, &storage_options(config)) {
        Err(error) => fault(WHAT, error.to_string()),
        Ok(rotten) if rotten.is_empty() => ok(WHAT, "every record was read"),
        Ok(rotten) => {
            let named: Vec<String> = rotten.iter().map(ToString::to_string).collect();
            let text = "restore a backup, or set them aside with `counterd recover`";
            fault(WHAT, format!("{}; {text}", named.join("; ")))
        }
    }
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

fn free_space(config: &Config, dir: &Path) -> Finding {
    const WHAT: &str = "free space";
    let Some(looked_at) = existing(dir) else {
        return fault(WHAT, format!("{} is nowhere", dir.display()));
    };
    let space = match Space::of(looked_at) {
        Ok(space) => space,
        Err(error) => return fault(WHAT, error.to_string()),
    };
    let limit = config.storage.min_free;
    let limit = limit.unwrap_or_else(|| space.default_min_free());
    let text = format!(
        "{} free, storage.min_free is {}",
        ByteSize(space.available).display().iec(),
        ByteSize(limit).display().iec()
    );
    if space.files.is_some_and(|files| files < 32) {
        fault(WHAT, format!("{text}; no inodes are left (`df -i`)"))
    } else if space.available < limit {
        fault(WHAT, format!("{text}: writes would be refused"))
    } else {
        ok(WHAT, text)
    }
}

/// Says whose a copy is; `None` where that is not known.
fn of_copy(copy: CopyFound) -> Option<Finding> {
    const WHAT: &str = "copies";
    let text = format!("{} {}", copy.copy, copy.text);
    match copy.whose {
        Whose::Ours => Some(ok(WHAT, text)),
        Whose::AnotherStores => Some(fault(WHAT, format!("{text}; see `counterd adopt`"))),
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
