//! The commands that work on a store: through the server that has it open, else on the store itself.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::progress::Progress;
use super::{CliFailure, ConfigArgs, DeleteArgs, ModeArgs, RepairArgs, WantedMode, print, usage};
use crate::calendar::Calendar;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::control::{self, Ask, Desk, Part, Tell, Told};
use crate::counter::rfc3339;
use crate::lifecycle::Archivist;
use crate::metrics::Metrics;
use crate::serve;
use crate::storage::recover::recover;
use crate::storage::{DataDirLock, give_back};
use crate::writer::{Running, StartError};

/// Shows or changes the mode of the running server.
pub(super) fn mode(args: &ModeArgs) -> Result<(), CliFailure> {
    let config = args.config.load_and_warn()?;
    let read_only = args.mode.map(|mode| mode == WantedMode::ReadOnly);
    if args.accept_clock && read_only == Some(true) {
        return Err(usage("--accept-clock goes with `normal`"));
    }
    let ask = Ask::Mode {
        read_only,
        accept_clock: args.accept_clock,
    };
    let told = control::ask(&config.storage.data_dir, &ask, &mut |_| Ok(()));
    let told = told.context("the control socket")?;
    let told = told.ok_or_else(|| {
        anyhow!(
            "no server has {} open; start one with `counterd serve`",
            config.storage.data_dir.display()
        )
    })?;
    match told {
        Told::Mode { causes, since } => print(&mode_text(&causes, since)),
        other => Err(unexpected(other)),
    }
}

fn mode_text(causes: &[control::StandingCause], since: Option<i64>) -> String {
    if causes.is_empty() {
        return "normal\n".to_owned();
    }
    let mut text = match since {
        Some(since) => format!("read_only since {}\n", rfc3339(since)),
        None => "read_only\n".to_owned(),
    };
    for control::StandingCause { cause, remedy } in causes {
        let _ = writeln!(text, "  cause {cause}; to end it: {remedy}");
    }
    text
}

/// Lists the counters that cannot be read, or sets one right.
pub(super) fn repair(args: RepairArgs) -> Result<(), CliFailure> {
    let RepairArgs {
        name,
        value,
        reason,
        config,
    } = args;
    let config = config.load_and_warn()?;
    let ask = match (name, value) {
        (Some(name), Some(value)) => Ask::Repair {
            name: name.to_string(),
            value,
            reason,
        },
        (Some(_), None) | (None, Some(_)) | (None, None) => Ask::Corrupt,
    };
    let told = carry_out(&config, ask, &mut |_| Ok(()))?;
    match told {
        Told::Corrupt { counters } if counters.is_empty() => print("no counter is corrupt\n"),
        Told::Corrupt { counters } => {
            let mut text = String::new();
            for counter in counters {
                let _ = writeln!(text, "{}", counter.name);
                for (what, bytes) in [("value", counter.value), ("definition", counter.definition)]
                {
                    let _ = writeln!(
                        text,
                        "  {what:10}  {}",
                        bytes.as_deref().unwrap_or("missing")
                    );
                }
            }
            text.push_str("set one right with `counterd repair NAME --value NUMBER`\n");
            print(&text)
        }
        Told::Repaired { value, revision } => print(&format!(
            "repaired: the value is {value}, revision {revision}\n"
        )),
        other => Err(unexpected(other)),
    }
}

/// Deletes counters by how their names begin, or lists them.
pub(super) fn delete(args: DeleteArgs) -> Result<(), CliFailure> {
    let DeleteArgs {
        prefix,
        yes,
        config,
    } = args;
    let config = config.load_and_warn()?;
    let ask = Ask::Delete {
        prefix,
        confirmed: yes,
    };
    let mut list = |part| match part {
        Part::Text(text) => print(&text).map_err(std::io::Error::other),
        Part::Progress { .. } => Ok(()),
    };
    match carry_out(&config, ask, &mut list)? {
        Told::Deleted {
            deleted, failed: 0, ..
        } if yes => print(&format!("{deleted} counters deleted\n")),
        Told::Deleted {
            deleted, failed, ..
        } if yes => Err(anyhow!("{deleted} counters deleted, {failed} not").into()),
        Told::Deleted { deleted: 0, .. } => print("nothing to delete\n"),
        Told::Deleted { deleted, .. } => print(&format!(
            "with --yes these {deleted} counters are deleted\n"
        )),
        other => Err(unexpected(other)),
    }
}

/// Has the work done, and shows how far it is.
pub(super) fn with_progress(config: &Config, ask: Ask) -> Result<Told, CliFailure> {
    let mut progress = Progress::begin();
    let told = carry_out(config, ask, &mut |part| {
        progress.tell(&part);
        Ok(())
    });
    progress.end();
    told
}

/// Has the server do it that has the store open, or does it without one.
pub(super) fn carry_out(config: &Config, ask: Ask, tell: Tell<'_>) -> Result<Told, CliFailure> {
    match control::ask(&config.storage.data_dir, &ask, tell).context("the control socket")? {
        Some(told) => Ok(told),
        None => on_the_store(config, ask, tell),
    }
}

/// Gives what root made in a data directory to the directory's owner. It is called however the work ended.
pub(super) fn hand_over(data_dir: &Path) {
    // A server that has the store by now gives nothing away, and may remove files at any moment.
    if let Ok(_lock) = DataDirLock::take_existing(data_dir)
        && let Err(error) = give_back(data_dir)
    {
        eprintln!("warning: {error}; the server's user may not be able to open what root made");
    }
}

/// Does what the server would, without one.
fn on_the_store(config: &Config, ask: Ask, tell: Tell<'_>) -> Result<Told, CliFailure> {
    let told = work_on_the_store(config, ask, tell);
    hand_over(&config.storage.data_dir);
    told
}

fn work_on_the_store(config: &Config, ask: Ask, tell: Tell<'_>) -> Result<Told, CliFailure> {
    if !config.storage.data_dir.join("store").exists() {
        let dir = config.storage.data_dir.display();
        return Err(anyhow!("there is no store in {dir}").into());
    }
    let metrics = Arc::new(Metrics::new());
    let calendar = serve::calendar(config)?;
    let start = |calendar| -> Result<_, CliFailure> {
        let clock = Arc::new(SystemClock);
        Ok(Running::start(serve::writer_options(
            config, clock, calendar, &metrics,
        )?))
    };
    let running = match start(calendar)? {
        // Nobody wrote a zone, and the command counts nothing: the store's holds.
        Err(StartError::ZoneChanged { stored, .. }) => {
            let stored = Calendar::new(&stored, config.calendar.day_start);
            start(stored.context("the zone of the store")?)?
        }
        started => started,
    };
    let running = running.map_err(anyhow::Error::new)?;
    // Days that ended while nothing ran are closed first, as a server would.
    let retention = serve::retention(config);
    let caught_up = Archivist::new(&running, retention, &metrics).catch_up();
    let told = Desk::new(&running, &metrics, serve::copy_options(config)).answer(ask, tell);
    running.stop();
    caught_up.context("closing the days that are over")?;
    Ok(told.context("the answer could not be passed on")?)
}

pub(super) fn unexpected(told: Told) -> CliFailure {
    match told {
        Told::Refused { reason } => anyhow!(reason).into(),
        other => anyhow!("the server answered something else: {other:?}").into(),
    }
}

/// Opens a damaged store at its last consistent point.
pub(super) fn recover_store(args: &ConfigArgs) -> Result<(), CliFailure> {
    let config = args.load_and_warn()?;
    let data_dir: &Path = &config.storage.data_dir;
    // Taking the lock would make the directory.
    if !data_dir.exists() {
        return Err(anyhow!("there is no store in {}", data_dir.display()).into());
    }
    let lock = DataDirLock::take_patiently(data_dir).map_err(anyhow::Error::new)?;
    let options = serve::storage_options(&config);
    let report = recover(&lock, &options, SystemClock.wall_ms(), false);
    drop(lock);
    hand_over(data_dir);
    let report = report.map_err(anyhow::Error::new)?;
    print(&format!("{report}\n"))
}
