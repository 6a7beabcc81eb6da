//! `backup`, `restore`, `inspect` and `compact`: what the commands take, and what they print.

use std::fmt::{Display, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bytesize::ByteSize;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, ValueHint};
use rustix::process::geteuid;
use serde_json::json;

use super::configured::tell as warn;
use super::progress::Progress;
use super::work::{asked, hand_over, no_store, with_progress};
use super::{print, print_json, table};
use crate::calendar::Day;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::control::Ask;
use crate::inspect::{CounterGroup, ExportView, Inspection, inspect as look_into};
use crate::serve::storage_options;
use crate::storage::backup::{self, BackupOptions, Listed, Made, Restore, Summary};
use crate::storage::compact::Compacted;
use crate::storage::{DataDirLock, LineageId, look};

/// Arguments of `backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// The directory of backups, outside the data directory; made where there is none
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,

    /// Keep this store's newest so many and remove older ones [default: all stay]
    #[arg(long, value_name = "NUMBER")]
    pub keep: Option<NonZeroU32>,

    /// Back up to a directory that holds another store's backups; they stay
    #[arg(long)]
    pub another_store: bool,

    /// Do not open and read the backup through once it is written
    #[arg(long)]
    pub no_verify: bool,

    /// Only list the backups that are there
    #[arg(long, conflicts_with_all = ["keep", "no_verify", "another_store"])]
    pub list: bool,

    /// Say what was done as a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The directory of backups
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,

    /// Which backup, by its number [default: the newest]
    #[arg(long, value_name = "NUMBER")]
    pub backup: Option<u32>,

    /// Set a store that is there aside; it is kept as store.before-EPOCH
    #[arg(long)]
    pub replace: bool,

    /// Restore a backup of another store than the one that is there
    #[arg(long)]
    pub another_store: bool,

    /// Say what was done as a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// Count the records of every family, which reads all of the store
    #[arg(long)]
    pub count: bool,

    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `compact`.
#[derive(Debug, Clone, Args)]
pub struct CompactArgs {
    /// Say what was done as a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Has a backup made, or lists those that are there.
pub(super) fn backup(config: &Config, args: BackupArgs) -> anyhow::Result<()> {
    if args.list {
        return list(&args.dir, args.json);
    }
    // The server has a working directory of its own.
    let dir = std::path::absolute(&args.dir)
        .with_context(|| format!("cannot find {}", args.dir.display()))?;
    let ask = Ask::Backup(BackupOptions {
        dir: dir.clone(),
        keep: args.keep.map(NonZeroU32::get),
        another_store: args.another_store,
        verify: !args.no_verify,
    });
    let made: Made = with_progress(config, ask)?;
    warn(made.warning.as_slice());
    let summary = Summary::from(&made.manifest);
    if args.json {
        return print_json(&json!({"backup": summary, "removed": made.removed}));
    }
    let verified = if summary.verified {
        "verified: it was opened and every record read"
    } else {
        "NOT verified, as --no-verify says"
    };
    let mut text = format!(
        "backup {} in {}: revision {}, {} records, {} in {} files, of which {} are new; {verified}\n",
        summary.backup,
        dir.display(),
        summary.revision,
        summary.rows,
        size(summary.bytes),
        summary.files,
        size(summary.new_bytes),
    );
    for id in made.removed {
        let _ = writeln!(text, "backup {id} was removed");
    }
    print(&text)
}

fn list(dir: &Path, json: bool) -> anyhow::Result<()> {
    let listed = backup::list(dir)?;
    if json {
        let lines: Vec<_> = listed
            .iter()
            .map(|Listed { id, manifest }| match manifest {
                Ok(manifest) => json!(Summary::from(manifest)),
                Err(error) => json!({"backup": id, "error": error.to_string()}),
            })
            .collect();
        return print_json(&json!({ "backups": lines }));
    }
    if listed.is_empty() {
        return print(&format!("there are no backups in {}\n", dir.display()));
    }
    let header = [
        "backup",
        "made at",
        "revision",
        "up to day",
        "records",
        "size",
        "new",
        "store",
        "",
    ];
    let mut table = table(&header, &[0, 2, 4, 5, 6]);
    for Listed { id, manifest } in listed {
        match manifest {
            Ok(manifest) => {
                let summary = Summary::from(&manifest);
                let day = summary.highest_day.map(|day| day.to_string());
                table.add_row([
                    id.to_string(),
                    instant(summary.made_at_ms),
                    summary.revision.to_string(),
                    day.unwrap_or_default(),
                    summary.rows.to_string(),
                    size(summary.bytes),
                    size(summary.new_bytes),
                    short(summary.lineage),
                    if summary.verified { "" } else { "not verified" }.to_owned(),
                ])
            }
            Err(error) => table.add_row([id.to_string(), error.to_string()]),
        };
    }
    print(&format!("{}\n", table.trim_fmt()))
}

/// Shortens a store's id to its beginning, which is enough to tell the stores of one directory apart.
fn short(id: Option<LineageId>) -> String {
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    id.split('-').next().unwrap_or_default().to_owned()
}

/// Makes a backup the store.
pub(super) fn restore(config: &Config, args: RestoreArgs) -> anyhow::Result<()> {
    let wanted = Restore {
        dir: args.dir,
        backup: args.backup,
        replace: args.replace,
        another_store: args.another_store,
    };
    let data_dir = &config.storage.data_dir;
    let mut progress = Progress::begin();
    let now_ms = SystemClock.wall_ms();
    let restored = backup::restore(data_dir, &wanted, now_ms, &mut |step| progress.step(step));
    drop(progress);
    hand_over(data_dir);
    let restored = restored?;
    let summary = Summary::from(&restored.manifest);
    let (epoch, kept) = (restored.epoch, restored.kept);
    if args.json {
        return print_json(&json!({"restored": summary, "epoch": epoch, "kept": kept}));
    }
    let store = summary.lineage.map(|id| id.to_string());
    let day = summary.highest_day.map(|day| day.to_string());
    let mut text = format!(
        "restored:  backup {} of {}, every byte and record checked\n\
         store:     {}\n\
         holds:     revision {}, {} records, up to day {}\n\
         epoch:     {epoch} (was {})\n",
        summary.backup,
        instant(summary.made_at_ms),
        store.unwrap_or_else(|| "of an earlier version, without an id".to_owned()),
        summary.revision,
        summary.rows,
        day.unwrap_or_else(|| "none".to_owned()),
        summary.epoch,
    );
    if let Some(kept) = kept {
        let _ = writeln!(text, "replaced:  kept in {}", kept.display());
    }
    if geteuid().is_root() && data_dir.metadata().is_ok_and(|dir| dir.uid() == 0) {
        let _ = writeln!(
            text,
            "owner:     root, as of the directory; a server of another user needs `chown -R USER {}`",
            data_dir.display()
        );
    }
    print(&text)
}

/// Prints what a data directory holds.
pub(super) fn inspect(config: &Config, args: InspectArgs) -> anyhow::Result<()> {
    let mut progress = Progress::begin();
    let ask = Ask::Inspect { count: args.count };
    let inspection: Inspection = match asked(config, &ask, &mut |part| progress.hear(part))? {
        Some(inspection) => inspection,
        None => of_a_store_not_in_use(config, args.count, &mut progress)?,
    };
    drop(progress);
    if args.json {
        return print(&format!("{}\n", serde_json::to_string_pretty(&inspection)?));
    }
    print(&inspection_text(&inspection))
}

/// Opens the store to look at it, and changes nothing.
fn of_a_store_not_in_use(
    config: &Config,
    count: bool,
    progress: &mut Progress,
) -> anyhow::Result<Inspection> {
    let data_dir = &config.storage.data_dir;
    if !data_dir.join("store").exists() {
        return Err(no_store(data_dir));
    }
    let lock = DataDirLock::take(data_dir)?;
    let found = look(&lock, &storage_options(config), |store| {
        let watch = &mut |step| progress.step(step);
        look_into(&store.reader, count, watch)
    });
    found?.context("cannot read the store")
}

fn inspection_text(found: &Inspection) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: &dyn Display| {
        let _ = writeln!(text, "{what:<16} {value}");
    };
    let none = || "none".to_owned();
    let day = |day: Option<Day>| day.map_or_else(none, |day| day.to_string());
    let versions = format!("format {}, merge operator {}", found.format, found.merge);
    line("versions", &versions);
    line("epoch", &found.epoch);
    line("revision", &found.revision);
    line(
        "last commit",
        &found.committed_at_ms.map_or_else(none, instant),
    );
    let store_time = Duration::from_secs(u64::try_from(found.store_time_ms).unwrap_or(0) / 1000);
    line("store time", &humantime::format_duration(store_time));
    line("zone", &found.zone.as_deref().unwrap_or("none"));
    line("highest day", &day(found.highest_day));
    line("closed through", &day(found.closed_through));
    let history = found.history;
    let history = history.map(|(first, last)| format!("{first} to {last}"));
    line("history", &history.unwrap_or_else(none));
    let exported = found
        .export
        .as_ref()
        .map(|ExportView { database, through }| {
            let through = day(*through);
            format!("through {through} in database {database}")
        });
    line("exported", &exported.unwrap_or_else(none));
    for (family, first) in &found.kept_from {
        line("kept from", &format_args!("{first} in {family}"));
    }
    for CounterGroup { kind, life, count } in &found.counters {
        line("counters", &format_args!("{count} {life} {kind}"));
    }
    if found.unreadable_definitions > 0 {
        let unreadable = format!("{}; see `counterd repair`", found.unreadable_definitions);
        line("unreadable", &unreadable);
    }
    line("logs", &size(found.log_bytes));
    let rows = if found.counted {
        "records"
    } else {
        "records, about"
    };
    let mut table = table(&["family", rows, "on disk", "expired, about"], &[1, 2, 3]);
    for family in &found.families {
        table.add_row([
            family.family.clone(),
            family.rows.to_string(),
            size(family.bytes),
            family.expired_bytes.map_or(String::new(), size),
        ]);
    }
    let _ = write!(text, "\n{}\n", table.trim_fmt());
    text
}

/// Has dropped what expired.
pub(super) fn compact(config: &Config, args: CompactArgs) -> anyhow::Result<()> {
    let families: Vec<Compacted> = with_progress(config, Ask::Compact)?;
    let freed = |one: &Compacted| one.before.saturating_sub(one.after);
    let all: u64 = families.iter().map(freed).sum();
    if args.json {
        return print_json(&json!({"freed_bytes": all, "families": families}));
    }
    let mut text = String::new();
    for one in &families {
        let _ = writeln!(
            text,
            "{:<12} {:>10} freed, {:>10} left",
            one.family.as_str(),
            size(freed(one)),
            size(one.after)
        );
    }
    let _ = writeln!(text, "{:<12} {:>10} freed", "all", size(all));
    print(&text)
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

fn instant(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms).map_or_else(
        || ms.to_string(),
        |at| at.to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}
