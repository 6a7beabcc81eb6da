//! `counterd check`: looks at what serving would need, and changes nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::{Failure, print};
use crate::calendar::{Calendar, tzdb_version};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Source, Warning};

/// What one look found.
struct Finding {
    what: &'static str,
    fault: bool,
    text: String,
}

/// Prints one line for each thing looked at; the failure says how many faults were found.
pub(super) fn run(
    file: &Option<PathBuf>,
    config: &Config,
    warnings: &[Warning],
) -> Result<(), Failure> {
    let mut findings = vec![configuration(file, config)];
    findings.extend(time(config));
    findings.extend(data_directory(config));
    if let Some(dir) = &config.log.dir {
        findings.push(directory("log directory", dir));
    }
    let mut text = String::new();
    for Finding {
        what,
        fault,
        text: found,
    } in &findings
    {
        let verdict = if *fault { "FAULT" } else { "ok" };
        let _ = writeln!(text, "{verdict:5}  {what:14}  {found}");
    }
    for warning in warnings {
        let _ = writeln!(text, "warn   {warning}");
    }
    print(&text)?;
    match findings.iter().filter(|finding| finding.fault).count() {
        0 => Ok(()),
        1 => Err(Failure::Check("a fault".to_owned())),
        faults => Err(Failure::Check(format!("{faults} faults"))),
    }
}

fn ok(what: &'static str, text: String) -> Finding {
    Finding {
        what,
        fault: false,
        text,
    }
}

fn fault(what: &'static str, text: String) -> Finding {
    Finding {
        what,
        fault: true,
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
        .unwrap_or(&Source::Default);
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

fn data_directory(config: &Config) -> Vec<Finding> {
    const WHAT: &str = "data directory";
    let dir = &config.storage.data_dir;
    let found = directory(WHAT, dir);
    if found.fault {
        return vec![found];
    }
    let mut findings = vec![found];
    if dir.exists() {
        findings.push(store(dir));
    }
    findings.push(free_space(config, dir));
    findings
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
        Ok(()) if exists => ok(what, format!("{shown} can be written to")),
        Ok(()) => ok(what, format!("{shown} is not there yet and can be made")),
        Err(error) => fault(
            what,
            format!("{} cannot be written to: {error}", looked_at.display()),
        ),
    }
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

/// Whether there is a store, and who has it open: a POSIX record lock on the store's lock file.
fn store(dir: &Path) -> Finding {
    const WHAT: &str = "store";
    let path = dir.join("store");
    if !path.exists() {
        return ok(WHAT, "none yet; the first start makes it".to_owned());
    }
    let holder = std::fs::File::open(path.join("LOCK"))
        .map(|file| fcntl_getlk(file, &Flock::from(FlockType::WriteLock)));
    match holder {
        Ok(Ok(None)) => ok(WHAT, "not in use".to_owned()),
        Ok(Ok(Some(lock))) => match lock.pid {
            Some(pid) => ok(WHAT, format!("in use by process {}", pid.as_raw_nonzero())),
            None => ok(WHAT, "in use by another process".to_owned()),
        },
        Ok(Err(error)) => fault(WHAT, format!("its lock cannot be looked at: {error}")),
        Err(error) => fault(WHAT, format!("its lock file cannot be opened: {error}")),
    }
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
    if free < limit {
        fault(WHAT, format!("{text}: writes would be refused"))
    } else {
        ok(WHAT, text)
    }
}
