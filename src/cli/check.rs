//! `counterd check`: looks at what serving would need, and leaves nothing changed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, FlockOperation, Mode, OFlags, access, flock, open, statvfs};
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
    defined, mirror_options, postgres_options, storage_options, why_no_new_store, zone_is_written,
};
use crate::storage::{DataDirLock, Sound, lock, look, read_through, verify};
use crate::writer::Wanted;

/// What one look found.
struct Finding {
    what: &'static str,
    verdict: Verdict,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It works, and may not be what anybody wants.
    Warn,
    Fault,
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
    for Finding {
        what,
        verdict,
        text: found,
    } in &findings
    {
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
    match findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fault)
        .count()
    {
        0 => Ok(()),
        1 => Err(CliFailure::Check("a fault".to_owned())),
        faults => Err(CliFailure::Check(format!("{faults} faults"))),
    }
}

fn ok(what: &'static str, text: String) -> Finding {
    Finding {
        what,
        verdict: Verdict::Ok,
        text,
    }
}

fn warn(what: &'static str, text: String) -> Finding {
    Finding {
        what,
        verdict: Verdict::Warn,
        text,
    }
}

fn fault(what: &'static str, text: String) -> Finding {
    Finding {
        what,
        verdict: Verdict::Fault,
        text,
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

/// The files of secrets that others than their owner and group may read.
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
        Ok(SchemaState::Current) => ok(
            POSTGRES,
            "takes writes, and the schema is this version's".to_owned(),
        ),
        Ok(SchemaState::Older) => ok(
            POSTGRES,
            "takes writes; the schema is an older one, and the start of the server brings it up to date"
                .to_owned(),
        ),
        Ok(SchemaState::OlderNotOwned) => fault(
            POSTGRES,
            "reached; the schema is an older one, and this role does not own it: start the server once \
             with the URL of the role that does"
                .to_owned(),
        ),
        Ok(SchemaState::Absent) => ok(
            POSTGRES,
            "takes writes; it has no schema yet, and the start of the server makes it".to_owned(),
        ),
        Err(error) => fault(POSTGRES, error.to_string()),
    })
}

fn mirrored(config: &Config, epoch: Option<u64>) -> Option<Finding> {
    let options = mirror_options(config)?;
    Some(match mirror::check(&options, epoch) {
        Ok(()) => ok(
            REDIS,
            "takes writes; the mirror's scripts are loaded".to_owned(),
        ),
        Err(error) => fault(REDIS, error.to_string()),
    })
}

/// And the epoch of the store, where nobody has it open.
fn data_directory(config: &Config, deep: bool) -> (Vec<Finding>, Option<u64>) {
    const WHAT: &str = "data directory";
    let dir = &config.storage.data_dir;
    let found = directory(WHAT, dir);
    if found.verdict == Verdict::Fault {
        return (vec![found], None);
    }
    if let Some(kind) = existing(dir).and_then(without_sockets) {
        let text = format!(
            "{} is on {kind}, which has no Unix sockets: a start would fail",
            dir.display()
        );
        return (vec![fault(WHAT, text)], None);
    }
    let (store, epoch) = store(config, dir);
    let mut findings = vec![found, store];
    findings.extend(epoch.and_then(|_| disagreement(config, dir)));
    findings.extend(deep.then(|| tables(config, dir)));
    findings.push(free_space(config, dir));
    (findings, epoch)
}

/// A directory that can be written to, or that can be made.
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
    match access(
        looked_at,
        Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
    ) {
        Ok(()) => {}
        Err(error) => return fault(what, not_written(looked_at, &error)),
    }
    if let Err(error) = write_unseen(looked_at) {
        return fault(what, not_written(looked_at, &error));
    }
    if let Some(kind) = volatile(looked_at) {
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

fn not_written(dir: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{} cannot be written to: {error}", dir.display())
}

/// Writes and syncs a file without a name, which is gone once it is closed: that the rights suffice does
/// not say that the disk takes anything.
fn write_unseen(dir: &Path) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = match open(dir, flags, Mode::RUSR | Mode::WUSR) {
        // Not every file system has such files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) if can_hold_files(dir) => {
            return Ok(());
        }
        opened => File::from(opened?),
    };
    (&file).write_all(&[0; 4096])?;
    file.sync_data()
}

/// Returns what the file system is where it keeps nothing, or keeps it elsewhere.
fn volatile(dir: &Path) -> Option<&'static str> {
    const KINDS: [(u32, &str); 8] = [
        (0x0102_1994, "tmpfs"),
        (0x8584_58f6, "ramfs"),
        (0x6969, "a network file system (NFS)"),
        (0xff53_4d42, "a network file system (CIFS)"),
        (0xfe53_4d42, "a network file system (SMB)"),
        (0x517b, "a network file system (SMB)"),
        (0x0102_1997, "a network file system (9P)"),
        (0x00c3_6400, "a network file system (Ceph)"),
    ];
    let kind = file_system(dir)?;
    KINDS
        .iter()
        .find(|(magic, _)| *magic == kind)
        .map(|(_, name)| *name)
}

/// Returns what the file system is where it cannot hold the control socket.
fn without_sockets(dir: &Path) -> Option<&'static str> {
    match file_system(dir)? {
        0x4d44 => Some("vfat"),
        0x2011_bab0 => Some("exfat"),
        _ => None,
    }
}

/// Returns whether directories and files can be made there at all: not in `/proc` or `/sys`.
fn can_hold_files(dir: &Path) -> bool {
    const NONE: [u32; 4] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];
    file_system(dir).is_some_and(|kind| !NONE.contains(&kind))
}

/// The magic number of the file system; `None` where it cannot be asked.
fn file_system(dir: &Path) -> Option<u32> {
    u32::try_from(rustix::fs::statfs(dir).ok()?.f_type & 0xffff_ffff).ok()
}

/// The path itself or the nearest folder above it that exists.
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
fn store(config: &Config, dir: &Path) -> (Finding, Option<u64>) {
    const WHAT: &str = "store";
    let found = match holder(&dir.join(lock::FILE_NAME)) {
        Ok(Holder::Process(pid)) => ok(WHAT, format!("in use by process {pid}")),
        Ok(Holder::Unknown) => ok(WHAT, "in use by a process that cannot be seen".to_owned()),
        Ok(Holder::Nobody) if dir.join("store").try_exists().unwrap_or(true) => {
            return sound(config, dir);
        }
        Ok(Holder::Nobody) => none_yet(config),
        Err(error) => fault(WHAT, format!("its lock cannot be looked at: {error}")),
    };
    (found, None)
}

/// Whether a start would make a store where there is none.
fn none_yet(config: &Config) -> Finding {
    const WHAT: &str = "store";
    let why = match why_no_new_store(config) {
        Ok(why) => why,
        Err(error) => return fault(WHAT, format!("whether one is missing: {error}")),
    };
    let Some(why) = why else {
        return ok(WHAT, "none yet; the first start makes it".to_owned());
    };
    let remedy = if why.known {
        "a start makes none and serves copies (degraded.start). Put the directory back or restore a backup; \
         to begin a new store all the same, start once with degraded.start = false"
    } else {
        "a start waits until it can, and makes one if there are none (degraded.start)"
    };
    fault(WHAT, format!("none here, but {}: {remedy}", why.text))
}

/// Looks into a store that is not in use.
fn sound(config: &Config, dir: &Path) -> (Finding, Option<u64>) {
    const WHAT: &str = "store";
    let found = DataDirLock::take(dir).and_then(|lock| verify(&lock, &storage_options(config)));
    match found {
        Ok(Sound { epoch, sequence }) => {
            let text =
                format!("not in use, and sound: epoch {epoch}, acknowledged up to {sequence}");
            (ok(WHAT, text), Some(epoch))
        }
        Err(error) => (fault(WHAT, error.to_string()), None),
    }
}

/// Compares a store that is not in use with the zone and the counters of the configuration, as a start would.
/// Returns `None` when they agree.
fn disagreement(config: &Config, dir: &Path) -> Option<Finding> {
    const WHAT: &str = "store";
    let calendar = Calendar::new(&config.calendar.timezone, config.calendar.day_start).ok()?;
    let counters = defined(config);
    let wanted = Wanted {
        zone: calendar.zone_name(),
        zone_is_written: zone_is_written(config),
        counters: &counters,
    };
    let lock = DataDirLock::take_existing(dir).ok()?;
    let judged = look(&lock, &storage_options(config), |reader, _| {
        reader.with(|tables| Ok(wanted.judge(tables, SystemClock.wall_ms())))
    });
    match judged.ok()?.ok()? {
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
        return ok(WHAT, "there is no store to read".to_owned());
    }
    let lock = match DataDirLock::take_existing(dir) {
        Ok(lock) => lock,
        Err(error) => return fault(WHAT, format!("not read: {error}")),
    };
    match read_through(&lock, &storage_options(config)) {
        Err(error) => fault(WHAT, error.to_string()),
        Ok(rotten) if rotten.is_empty() => ok(WHAT, "every record was read".to_owned()),
        Ok(rotten) => {
            let named: Vec<String> = rotten.iter().map(ToString::to_string).collect();
            fault(
                WHAT,
                format!(
                    "{}; restore a backup, or set them aside with `counterd recover`",
                    named.join("; ")
                ),
            )
        }
    }
}

enum Holder {
    Nobody,
    Process(u32),
    /// Of another container, say.
    Unknown,
}

/// Who holds the lock. Taken, shared, for the moment of looking: nothing else tells for certain.
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

/// The process that the kernel's table of locks names for a whole-file lock on `inode`:
/// `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`.
fn process_in(locks: &str, inode: u64) -> Option<u32> {
    let inode = format!(":{inode}");
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, _, _, pid, file) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        // Whoever waits has a line too, with an arrow before the kind.
        (kind == "FLOCK" && file.ends_with(&inode)).then(|| pid.parse().ok())?
    })
}

fn free_space(config: &Config, dir: &Path) -> Finding {
    const WHAT: &str = "free space";
    let Some(looked_at) = existing(dir) else {
        return fault(WHAT, format!("{} is nowhere", dir.display()));
    };
    let file_system = match statvfs(looked_at) {
        Ok(file_system) => file_system,
        Err(error) => return fault(WHAT, format!("cannot be looked at: {error}")),
    };
    let bytes = |blocks: u64| blocks.saturating_mul(file_system.f_frsize);
    let free = bytes(file_system.f_bavail);
    let limit = config.storage.min_free.bytes(bytes(file_system.f_blocks));
    let text = format!(
        "{} free, storage.min_free is {}",
        bytesize::ByteSize(free).display().iec(),
        bytesize::ByteSize(limit).display().iec()
    );
    if file_system.f_files > 0 && file_system.f_favail < 32 {
        return fault(WHAT, format!("{text}; no inodes are left (`df -i`)"));
    }
    if free < limit {
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
