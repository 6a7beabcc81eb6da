//! `migrate`: all counts from a data directory to a shared log, or back.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueHint};
use serde_json::{Value, json};

use super::progress::Progress;
use super::work::{hand_over, no_store};
use super::{print, print_json, table, usage};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::serve::{log_address, storage_options};
use crate::storage::migrate::{Migrated, from_log, is_there, to_log};
use crate::storage::{DataDirLock, StorageOptions};

/// The word for the shared log, in place of a directory.
const REDIS: &str = "redis";

/// Arguments of `migrate`.
#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// A data directory, or `redis` (a directory of that name is ./redis)
    #[arg(long, value_name = "DIR|redis", value_hint = ValueHint::DirPath)]
    pub from: PathBuf,

    /// `redis`, or a data directory without a store; made where there is none
    #[arg(long, value_name = "redis|DIR", value_hint = ValueHint::DirPath)]
    pub to: PathBuf,

    /// Say what was done as a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Moves all counts.
pub(super) fn migrate(config: &Config, args: MigrateArgs) -> anyhow::Result<()> {
    let is_redis = |place: &PathBuf| place.as_os_str() == REDIS;
    let data_dir = match (is_redis(&args.from), is_redis(&args.to)) {
        (false, true) => &args.from,
        (true, false) => &args.to,
        (true, true) | (false, false) => {
            return Err(usage(
                "one of --from and --to is `redis`, and the other a data directory",
            ));
        }
    };
    let address = log_address(config);
    let address = address
        .ok_or_else(|| anyhow!("redis.url is not set, so nothing says where the shared log is"))?;
    let options = StorageOptions {
        data_dir: data_dir.clone(),
        shared: None,
        ..storage_options(config)
    };
    let mut progress = Progress::begin();
    let watch = &mut |step| progress.step(step);
    let migrated = if is_redis(&args.to) {
        if !is_there(data_dir) {
            return Err(no_store(data_dir));
        }
        let lock = DataDirLock::take_existing(data_dir)?;
        to_log(&lock, &options, address, SystemClock.wall_ms(), watch)
    } else {
        let known = &config.storage.data_dir;
        from_log(data_dir, known, &options, address, watch)
    };
    drop(progress);
    hand_over(data_dir);
    let migrated = migrated?;
    let names = [&args.from, &args.to].map(|place| place.display().to_string());
    if args.json {
        return print_json(&summary(&migrated, &names));
    }
    print(&text(&migrated, &names))
}

fn summary(migrated: &Migrated, [from, to]: &[String; 2]) -> Value {
    let families = migrated.records.iter();
    let families: serde_json::Map<_, _> = families
        .map(|(family, records)| (family.as_str().to_owned(), json!(records)))
        .collect();
    json!({
        "from": from,
        "to": to,
        "log": migrated.log,
        "store": migrated.lineage.to_string(),
        "epoch": migrated.epoch,
        "revision": migrated.state.map_or(0, |state| state.revision),
        "records": migrated.records.values().sum::<u64>(),
        "families": families,
        "kept": migrated.kept,
    })
}

fn text(migrated: &Migrated, [from, to]: &[String; 2]) -> String {
    let records: u64 = migrated.records.values().sum();
    let day = migrated.state.map(|state| state.highest_day.to_string());
    let mut text = format!(
        "migrated:  {from} to {to}, every record compared\n\
         log:       {}\n\
         store:     {}\n\
         holds:     revision {}, {records} records, up to day {}\n\
         epoch:     {}, as before\n",
        migrated.log,
        migrated.lineage,
        migrated.state.map_or(0, |state| state.revision),
        day.unwrap_or_else(|| "none".to_owned()),
        migrated.epoch,
    );
    if let Some(kept) = &migrated.kept {
        let _ = writeln!(text, "kept:      {}", kept.display());
    }
    let mut table = table(&["family", "records"], &[1]);
    for (family, records) in &migrated.records {
        table.add_row([family.as_str().to_owned(), records.to_string()]);
    }
    let _ = write!(text, "\n{}\n", table.trim_fmt());
    let engine = if migrated.kept.is_some() {
        "redis"
    } else {
        "rocksdb"
    };
    let _ = writeln!(
        text,
        "\nNext: storage.engine = \"{engine}\" in the configuration, and start the server."
    );
    text
}
