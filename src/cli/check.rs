//! `counterd check`: looks at what serving would need, and leaves nothing changed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, anyhow, bail};
use bytesize::ByteSize;
use rustix::fs::{Access, FlockOperation, Mode, OFlags, access, flock, open};
use rustix::io::Errno;

use super::{CliFailure, adopt, alert, print};
use crate::alerts::AlertRule;
use crate::calendar::{Calendar, tzdb_version};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Warning};
use crate::control::{CopyFound, POSTGRES, REDIS};
use crate::export::postgres::{self, SchemaState};
use crate::fallback::Against;
use crate::links::{NO_LINK, others_may_write};
use crate::mirror;
use crate::serve::{
    alert_rules, calendar, defined, mirror_options, postgres_options, storage_options,
    why_no_new_store, zone_is_written,
};
use crate::storage::reserve::Space;
use crate::storage::{DataDirLock, Reader, SharedLog, lock, look, read_through, refuse_remains};
use crate::writer::Wanted;

/// How a thing is that was looked at: `ok`, or `warn` if it works and may not be what anybody wants; and in
/// words. `Err` is what is wrong with it.
type Judgement = anyhow::Result<(&'static str, String)>;

/// What was looked at, and how it is.
type Findings = Vec<(&'static str, Judgement)>;

fn ok(text: impl Into<String>) -> Judgement {
    Ok(("ok", text.into()))
}

fn warn(text: impl Into<String>) -> Judgement {
    Ok(("warn", text.into()))
}

/// Prints one line for each thing looked at; the failure says how many faults were found.
pub(super) fn run(config: &Config, warnings: &[Warning], deep: bool) -> anyhow::Result<()> {
    let calendar = calendar(config)?;
    let mut findings = vec![
        ("configuration", configuration(config)),
        ("time zone", time_zone(config, &calendar)),
        ("day", day(&calendar)),
        ("address", listening(config)),
    ];
    findings.extend(limits(config).map(|found| ("limits", found)));
    findings.extend(secret_files(config));
    findings.push(("alerts", alerts(config)));
    let receivers = alert::receivers(config).into_iter();
    findings.extend(receivers.map(|(receiver, reached)| {
        let reached = reached.map(|text| ("ok", format!("{receiver} {text}")));
        let fault = |text| anyhow!("{receiver}: {text}");
        ("alerts", reached.map_err(fault))
    }));
    let epoch = data_directory(config, &calendar, deep, &mut findings);
    if let Some(dir) = &config.log.dir {
        findings.push(("log directory", directory(dir)));
    }
    let copies = adopt::copies(config);
    let others = copies.iter().filter(|copy| copy.is_another_stores());
    let others: Vec<&str> = others.map(|copy| copy.copy.as_str()).collect();
    // Nothing is written to another store's copy, not even to try.
    if !others.contains(&POSTGRES) {
        findings.extend(database(config, epoch).map(|found| (POSTGRES, found)));
    }
    if !others.contains(&REDIS) {
        findings.extend(mirrored(config, epoch).map(|found| (REDIS, found)));
    }
    let copies = copies.into_iter().filter_map(of_copy);
    findings.extend(copies.map(|found| ("copies", found)));
    let (mut text, mut faults) = (String::new(), 0);
    for (what, judgement) in findings {
        let (verdict, found) = judgement.unwrap_or_else(|error| {
            faults += 1;
            ("FAULT", error.to_string())
        });
        let _ = writeln!(text, "{verdict:5}  {what:14}  {found}");
    }
    for warning in warnings {
        let _ = writeln!(text, "warn   {warning}");
    }
    print(&text)?;
    match faults {
        0 => Ok(()),
        1 => Err(CliFailure::Check("a fault".to_owned()).into()),
        faults => Err(CliFailure::Check(format!("{faults} faults")).into()),
    }
}

fn configuration(config: &Config) -> Judgement {
    let file = match &config.file {
        Some(path) => path.display().to_string(),
        None => "no file, defaults".to_owned(),
    };
    let counters = config.defined_counters.len();
    ok(format!("{file}; {counters} counters defined"))
}

fn time_zone(config: &Config, calendar: &Calendar) -> Judgement {
    ok(format!(
        "{} ({}); tz data {}",
        calendar.zone_name(),
        config.source("calendar.timezone"),
        tzdb_version()
    ))
}

/// Says which day it is and when it ends.
fn day(calendar: &Calendar) -> Judgement {
    let now_ms = SystemClock.wall_ms();
    let ends_ms = calendar.next_boundary(now_ms);
    let left = Duration::from_secs(u64::try_from(ends_ms - now_ms).unwrap_or(0) / 1000);
    ok(format!(
        "{}; the next begins {}, in {}",
        calendar.day_of(now_ms),
        calendar.local_text(ends_ms),
        humantime::format_duration(left)
    ))
}

/// Says whether the address can be listened on, and who could write there.
fn listening(config: &Config) -> Judgement {
    let address = config.server.listen;
    let holder = || holder(&config.storage.data_dir.join(lock::FILE_NAME));
    let is_ours = || matches!(holder(), Ok(Holder::Process(_) | Holder::Unknown));
    match std::net::TcpListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_ours() => {
            ok(format!("{address} is in use, as the store is"))
        }
        Err(error) => bail!("{address} cannot be listened on: {error}"),
        Ok(_) if config.open_to_the_network() => warn(format!(
            "anyone who reaches {address} may write: set auth.write_token"
        )),
        Ok(_) => ok(format!("{address} can be listened on")),
    }
}

/// Says which limits of rates are set, and by what clients are known; `None` where neither is.
fn limits(config: &Config) -> Option<Judgement> {
    let limits = &config.limits;
    let rates = [("an address", limits.per_ip), ("a user", limits.per_user)];
    let rates = rates.into_iter();
    let rates = rates.filter_map(|(whose, rate)| Some(format!("{} for {whose}", rate?)));
    let rates: Vec<String> = rates.collect();
    let rates = match rates.is_empty() {
        true => "none of a rate".to_owned(),
        false => rates.join(", "),
    };
    match limits.trusted_proxies.len() {
        0 if limits.per_ip.is_none() && limits.per_user.is_none() => None,
        0 => Some(ok(format!(
            "{rates}; clients are known by their connection"
        ))),
        proxies => Some(ok(format!(
            "{rates}; clients are known by {} from {proxies} networks of proxies",
            limits.client_ip_header
        ))),
    }
}

/// Says which rules are judged, and who is told.
fn alerts(config: &Config) -> Judgement {
    let rules = alert_rules(config);
    let on = AlertRule::ALL.into_iter();
    let on = on.filter(|rule| rules.of(*rule, None).is_some()).count();
    let text = format!(
        "{on} of {} rules are on, {} entries change them",
        AlertRule::COUNT,
        config.alert_rules.len()
    );
    let receivers = &config.alerts;
    if receivers.webhook.is_none() && receivers.alertmanager.is_none() {
        return ok(format!("{text}; nobody is told besides the log"));
    }
    ok(text)
}

/// Finds files of secrets that every user may read.
fn secret_files(config: &Config) -> Findings {
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
        Ok(SchemaState::OlderNotOwned) => Err(anyhow!(
            "reached; the schema is an older one, and this role does not own it: start the server once \
             with the URL of the role that does",
        )),
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

/// Looks at the data directory and at the store in it. Returns the epoch of a store that nobody has open.
fn data_directory(
    config: &Config,
    calendar: &Calendar,
    deep: bool,
    findings: &mut Findings,
) -> Option<u64> {
    let dir = &config.storage.data_dir;
    let found = directory(dir).and_then(|found| match existing(dir).and_then(lack) {
        Some((Lack::Sockets, kind)) => bail!(
            "{} is on {kind}, which has no Unix sockets: a start would fail",
            dir.display()
        ),
        _ => Ok(found),
    });
    let is_usable = found.is_ok();
    findings.push(("data directory", found));
    if !is_usable {
        return None;
    }
    let epoch = match storage_options(config).shared {
        None => store(config, calendar, findings),
        Some(address) => {
            let found = SharedLog::examine(address, dir).map_err(Error::from);
            findings.push(("shared log", found.map(|text| ("ok", text))));
            None
        }
    };
    if deep {
        findings.push(("tables", tables(config, dir)));
    }
    findings.push(("free space", free_space(config, dir)));
    epoch
}

/// Checks that a directory can be written to, or made.
fn directory(dir: &Path) -> Judgement {
    let shown = dir.display();
    let looked_at = existing(dir);
    let looked_at = looked_at.with_context(|| format!("{shown}: no part of the path exists"))?;
    if !looked_at.is_dir() {
        bail!("{} is not a directory", looked_at.display());
    }
    if let Err(error) = may_write(looked_at) {
        bail!("{} cannot be written to: {error}", looked_at.display());
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
    let (none, here) = (Path::new(""), Path::new("."));
    path.ancestors()
        .map(|path| if path == none { here } else { path })
        .find(|path| path.symlink_metadata().is_ok())
}

/// Says whether there is a store, who has it open, and if nobody has, whether it would open and agrees with the
/// configuration. Returns its epoch if it would open.
fn store(config: &Config, calendar: &Calendar, findings: &mut Findings) -> Option<u64> {
    let dir = &config.storage.data_dir;
    let mut epoch = None;
    let mut disagrees = None;
    let found = match holder(&dir.join(lock::FILE_NAME)) {
        Ok(Holder::Process(pid)) => ok(format!("in use by process {pid}")),
        Ok(Holder::Unknown) => ok("in use by a process that cannot be seen"),
        Ok(Holder::Nobody) if dir.join("store").try_exists().unwrap_or(true) => {
            let looked = DataDirLock::take(dir).and_then(|lock| {
                look(&lock, &storage_options(config), |store| {
                    epoch = Some(store.epoch);
                    disagrees = disagreement(config, calendar, &store.reader);
                    format!(
                        "not in use, and sound: epoch {}, acknowledged up to {}",
                        store.epoch, store.sequence
                    )
                })
            });
            looked.map(|text| ("ok", text)).map_err(Error::from)
        }
        Ok(Holder::Nobody) => none_yet(config),
        Err(error) => Err(anyhow!("its lock cannot be looked at: {error}")),
    };
    let found = [Some(found), disagrees].into_iter().flatten();
    findings.extend(found.map(|found| ("store", found)));
    epoch
}

/// Says whether a start would make a store where there is none.
fn none_yet(config: &Config) -> Judgement {
    refuse_remains(&config.storage.data_dir)?;
    let remedy = match why_no_new_store(config) {
        Err(error) => bail!("whether one is missing: {error}"),
        Ok(None) => return ok("none yet; the first start makes it"),
        Ok(Some(why @ Against::Known(_))) => format!(
            "{why}: a start makes none and serves copies (degraded.start). Put the directory back or restore a backup; \
             to begin a new store all the same, start once with degraded.start = false"
        ),
        Ok(Some(why @ Against::Unclear(..))) => format!(
            "{why}: a start waits until it can, and makes one if there are none (degraded.start)"
        ),
    };
    bail!("none here, but {remedy}")
}

/// Compares a store with the zone and the counters of the configuration, as a start would. Returns `None` when
/// they agree.
fn disagreement(config: &Config, calendar: &Calendar, reader: &Reader) -> Option<Judgement> {
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
    let lock = lock.map_err(|error| anyhow!("not read: {error}"))?;
    let rotten = read_through(&lock, &storage_options(config))?;
    if rotten.is_empty() {
        return ok("every record was read");
    }
    let named: Vec<String> = rotten.iter().map(ToString::to_string).collect();
    bail!(
        "{}; restore a backup, or set them aside with `counterd recover`",
        named.join("; ")
    )
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
    let looked_at = existing(dir).with_context(|| format!("{} is nowhere", dir.display()))?;
    let space = Space::of(looked_at)?;
    let limit = config.storage.min_free;
    let limit = limit.unwrap_or_else(|| space.default_min_free());
    let text = format!(
        "{} free, storage.min_free is {}",
        ByteSize(space.available).display().iec(),
        ByteSize(limit).display().iec()
    );
    if space.files.is_some_and(|files| files < 32) {
        bail!("{text}; no inodes are left (`df -i`)");
    }
    if space.available < limit {
        bail!("{text}: writes would be refused");
    }
    ok(text)
}

/// Says whose a copy is; `None` where that is not known.
fn of_copy(copy: CopyFound) -> Option<Judgement> {
    let text = format!("{} {}", copy.copy, copy.text);
    if copy.is_another_stores() {
        return Some(Err(anyhow!("{text}; see `counterd adopt`")));
    }
    copy.owner.map(|_| ok(text))
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
