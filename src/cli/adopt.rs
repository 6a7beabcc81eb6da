//! `counterd adopt`, and what `counterd check` tells of whose the copies are.

use std::fmt::Write as _;

use clap::Args;

use super::print;
use super::work::{asked, carry_out};
use crate::config::Config;
use crate::control::{Ask, CopiesFound, CopyFound};
use crate::serve::{copy_options, storage_options};
use crate::storage::{DataDirLock, Lineage, Tables, look};

/// Arguments of `adopt`.
#[derive(Debug, Clone, Args)]
pub struct AdoptArgs {
    /// Replace what the copies of another store hold; without it they are only shown
    #[arg(long)]
    pub yes: bool,
}

/// Shows whose the copies are, and takes over those of another store.
pub(super) fn adopt(config: &Config, args: AdoptArgs) -> anyhow::Result<()> {
    let confirmed = args.yes;
    let CopiesFound { store, copies } =
        carry_out(config, Ask::Adopt { confirmed }, &mut |_| Ok(()))?;
    let mut text = format!("this store: {store}\n");
    for found in &copies {
        let _ = writeln!(text, "{} {}", found.copy, found.text);
    }
    let unknown = copies.iter().any(|copy| copy.owner.is_none());
    let others = copies.iter().any(CopyFound::is_another_stores);
    text.push_str(match (others, confirmed) {
        (false, _) if copies.is_empty() => "no copy is configured (redis.mirror, postgres.url)\n",
        (false, _) if unknown => "no copy that can be asked is another store's\n",
        (false, _) => "no copy is another store's\n",
        (true, false) => {
            "with --yes this store takes over what is another store's. In Redis it replaces all values, and \
             deletes the counters that it does not have. In PostgreSQL it replaces current values and adds \
             the days that are missing; days that are there stay (`counterd export --to postgres --replace`)\n"
        }
        (true, true) => "they are this store's now; within some seconds it writes its values\n",
    });
    print(&text)
}

/// Asks whose the copies are: the server that has the store open, or else the store itself.
pub(super) fn copies(config: &Config) -> Vec<CopyFound> {
    let options = copy_options(config);
    if options.redis.is_none() && options.postgres.is_none() {
        return Vec::new();
    }
    let ask = Ask::Adopt { confirmed: false };
    match asked(config, &ask, &mut |_| Ok(())) {
        Ok(Some(CopiesFound { copies, .. })) => copies,
        Ok(None) => seen_from(config),
        // A copy that cannot be reached, and a store that does not open, are findings of their own.
        Err(_) => Vec::new(),
    }
}

/// Says whose the copies are, in the eyes of the store in the data directory, which nobody has open.
fn seen_from(config: &Config) -> Vec<CopyFound> {
    let dir = &config.storage.data_dir;
    if !dir.join("store").exists() {
        // The first start makes one, which is no store that any copy knows.
        return copy_options(config).look(&Lineage::born(u64::MAX), None);
    }
    // The lock is given back before anybody is asked over a network: a start would find it held.
    let known = DataDirLock::take(dir).and_then(|lock| {
        look(&lock, &storage_options(config), |store| {
            let cursor = store.reader.with(Tables::export_cursor).ok().flatten();
            (store.lineage.clone(), cursor.map(|cursor| cursor.database))
        })
    });
    known.map_or_else(
        |_| Vec::new(),
        |(lineage, database)| copy_options(config).look(&lineage, database),
    )
}
