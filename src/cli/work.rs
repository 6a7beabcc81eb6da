//! The commands that work on a store: through the server that has it open, else on the store itself.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::de::DeserializeOwned;

use super::progress::Progress;
use super::{WriteArgs, print};
use crate::calendar::Calendar;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, StorageEngine};
use crate::control::{self, Ask, Desk, Part, Tell, Told};
use crate::counter::CounterName;
use crate::lifecycle::Archivist;
use crate::metrics::Metrics;
use crate::serve;
use crate::storage::recover::recover;
use crate::storage::{DataDirLock, SharedLog, give_back};
use crate::writer::{Running, StartError};

/// Arguments of `repair`.
#[derive(Debug, Clone, Args)]
pub struct RepairArgs {
    /// The counter to set right; without it the corrupt ones are listed
    #[arg(value_parser = CounterName::parse, requires = "value")]
    pub name: Option<CounterName>,

    /// The value it should have
    #[arg(
        long,
        value_name = "NUMBER",
        allow_negative_numbers = true,
        requires = "name"
    )]
    pub value: Option<i64>,

    /// Why, for the audit line and the day's events
    #[arg(long, value_name = "TEXT", requires = "name")]
    pub reason: Option<String>,
}

/// Arguments of `delete`.
#[derive(Debug, Clone, Args)]
pub struct DeleteArgs {
    /// The counter
    #[arg(value_parser = CounterName::parse, required_unless_present = "prefix", conflicts_with = "prefix")]
    pub name: Option<CounterName>,

    /// What the names of the counters to delete begin with
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with_all = ["url", "token_file", "key", "json"]
    )]
    pub prefix: Option<String>,

    /// Do it; without it the value is only shown
    #[arg(long)]
    pub yes: bool,

    /// How the change is asked for.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Lists the counters that cannot be read, or sets one right.
pub(super) fn repair(config: &Config, args: RepairArgs) -> anyhow::Result<()> {
    let ask = match (args.name, args.value) {
        (Some(name), Some(value)) => Ask::Repair {
            name: name.to_string(),
            value,
            reason: args.reason,
        },
        (Some(_), None) | (None, Some(_)) | (None, None) => Ask::Corrupt,
    };
    print(&carry_out::<String>(config, ask, &mut |_| Ok(()))?)
}

/// Deletes counters by how their names begin, or lists them.
pub(super) fn delete(config: &Config, args: DeleteArgs) -> anyhow::Result<()> {
    let ask = Ask::Delete {
        prefix: args.prefix.unwrap_or_default(),
        confirmed: args.yes,
    };
    let mut list = |part| match part {
        Part::Text(text) => print(&text).map_err(io::Error::other),
        Part::Progress(_) => Ok(()),
    };
    print(&carry_out::<String>(config, ask, &mut list)?)
}

/// Has the work done, and shows how far it is.
pub(super) fn with_progress<T: DeserializeOwned>(config: &Config, ask: Ask) -> anyhow::Result<T> {
    let mut progress = Progress::begin();
    carry_out(config, ask, &mut |part| progress.hear(part))
}

/// Has the server do it that has the store open, or does it without one.
pub(super) fn carry_out<T: DeserializeOwned>(
    config: &Config,
    ask: Ask,
    tell: Tell<'_>,
) -> anyhow::Result<T> {
    if let Some(answer) = asked(config, &ask, tell)? {
        return Ok(answer);
    }
    let told = on_the_store(config, ask, tell);
    hand_over(&config.storage.data_dir);
    answer(told?)
}

/// Asks the server that has the store open; `None` where there is none.
pub(super) fn asked<T: DeserializeOwned>(
    config: &Config,
    ask: &Ask,
    tell: Tell<'_>,
) -> anyhow::Result<Option<T>> {
    let told = control::ask(&config.storage.data_dir, ask, tell);
    let told = told.context("the control socket")?;
    told.map(answer).transpose()
}

fn answer<T: DeserializeOwned>(told: Told) -> anyhow::Result<T> {
    let answer = told.map_err(anyhow::Error::msg)?;
    serde_json::from_str(answer.get()).context("the server answered something else")
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
fn on_the_store(config: &Config, ask: Ask, tell: Tell<'_>) -> anyhow::Result<Told> {
    let data_dir = &config.storage.data_dir;
    match config.storage.engine {
        StorageEngine::RocksDb if !data_dir.join("store").exists() => {
            return Err(no_store(data_dir));
        }
        // It would begin the log anew where Redis is empty.
        StorageEngine::Redis if !SharedLog::was_followed_in(data_dir) => {
            return Err(anyhow!(
                "no instance has counted with the data directory {}: name that of one that has, or start one",
                data_dir.display()
            ));
        }
        StorageEngine::RocksDb | StorageEngine::Redis => {}
    }
    let metrics = Arc::new(Metrics::new());
    let mut options = serve::writer_options(config, Arc::new(SystemClock), &metrics)?;
    let running = match Running::start(options.clone()) {
        // Nobody wrote a zone, and the command counts nothing: the store's holds.
        Err(StartError::ZoneChanged { stored, .. }) => {
            let stored = Calendar::new(&stored, config.calendar.day_start);
            options.calendar = stored.context("the zone of the store")?;
            Running::start(options)?
        }
        started => started?,
    };
    // Days that ended while nothing ran are closed first, as a server would.
    let retention = serve::retention(config);
    let caught_up = Archivist::new(&running, retention, &metrics).catch_up();
    let told = Desk::new(&running, &metrics, serve::copy_options(config)).answer(ask, tell);
    running.stop();
    caught_up.context("closing the days that are over")?;
    told.context("the answer could not be passed on")
}

/// Returns the failure of a command that needs a store.
pub(super) fn no_store(data_dir: &Path) -> anyhow::Error {
    anyhow!("there is no store in {}", data_dir.display())
}

/// Opens a damaged store at its last consistent point, or begins a new epoch of a shared log that lost groups.
pub(super) fn recover_store(config: &Config) -> anyhow::Result<()> {
    let data_dir: &Path = &config.storage.data_dir;
    // Taking the lock would make the directory.
    if !data_dir.exists() {
        return Err(no_store(data_dir));
    }
    let lock = DataDirLock::take_patiently(data_dir)?;
    let options = serve::storage_options(config);
    let now = SystemClock.wall_ms();
    let report = match options.shared.clone() {
        None => recover(&lock, &options, now, false)
            .map(|report| report.to_string())
            .map_err(anyhow::Error::from),
        Some(log) => SharedLog::recover(log, &lock, now)
            .map(|report| report.to_string())
            .map_err(anyhow::Error::from),
    };
    drop(lock);
    hand_over(data_dir);
    print(&format!("{}\n", report?))
}
