//! Whose the copies of the store are, and taking over those of another store.

use anyhow::bail;

use super::super::{CopiesFound, CopyFound};
use super::Desk;
use crate::export::postgres::{self, PostgresOptions};
use crate::mirror::{self, MirrorOptions};
use crate::storage::{CopyContents, CopyOwner, Lineage, Tables};

/// The copies that are configured.
#[derive(Clone, Default)]
pub struct CopyOptions {
    /// The mirror, where there is one.
    pub redis: Option<MirrorOptions>,
    /// The database, where there is one.
    pub postgres: Option<PostgresOptions>,
}

impl CopyOptions {
    /// Looks at each copy with the eyes of that store, and changes none. `database` is the one that the
    /// store remembers having written to.
    pub fn look(&self, lineage: &Lineage, database: Option<u128>) -> Vec<CopyFound> {
        let redis = self.redis.as_ref().map(|options| {
            let found = mirror::contents(options, lineage);
            in_words(REDIS, found.map_err(Into::into))
        });
        let postgres = self.postgres.as_ref().map(|options| {
            let found = postgres::contents(options, lineage, database);
            in_words(POSTGRES, found.map_err(Into::into))
        });
        redis.into_iter().chain(postgres).collect()
    }

    /// Takes over the copy of that name.
    fn adopt(&self, copy: &str, lineage: &Lineage) -> anyhow::Result<()> {
        match (copy, &self.redis, &self.postgres) {
            (REDIS, Some(options), _) => mirror::adopt(options, lineage)?,
            (POSTGRES, _, Some(options)) => postgres::adopt(options, lineage)?,
            _ => {}
        }
        Ok(())
    }
}

/// What the mirror is called in answers.
pub const REDIS: &str = "Redis";
/// What the database is called in answers.
pub const POSTGRES: &str = "PostgreSQL";

fn in_words(copy: &str, found: anyhow::Result<CopyContents>) -> CopyFound {
    let owner = found.as_ref().ok().map(|found| found.owner);
    let holds = |found: CopyContents| {
        let (names, revision) = (found.names, found.revision);
        let days = found.through;
        let days = days.map_or_else(String::new, |day| format!(", closed days up to {day}"));
        format!("{names} counters, up to revision {revision}{days}")
    };
    let text = match found {
        Err(error) => format!("cannot be asked: {error}"),
        Ok(found) => match found.owner {
            CopyOwner::Nobody => "holds nothing yet: this store fills it".to_owned(),
            CopyOwner::Ours => format!("is this store's: {}", holds(found)),
            CopyOwner::Other(theirs) => format!("is another store's, {theirs}: {}", holds(found)),
        },
    };
    CopyFound {
        copy: copy.to_owned(),
        text,
        owner,
    }
}

impl Desk {
    pub(super) fn adopt(&self, confirmed: bool) -> anyhow::Result<CopiesFound> {
        let reader = &self.running.reader;
        let lineage = reader.lineage()?;
        let cursor = reader.with(Tables::export_cursor)?;
        let database = cursor.map(|cursor| cursor.database);
        let copies = self.copies.look(&lineage, database);
        for found in copies.iter().filter(|_| confirmed) {
            match found.owner {
                Some(CopyOwner::Ours | CopyOwner::Nobody) => continue,
                Some(CopyOwner::Other(_)) => {}
                None => bail!("{} {}", found.copy, found.text),
            }
            if let Err(error) = self.copies.adopt(&found.copy, &lineage) {
                bail!("{}: {error}", found.copy);
            }
            tracing::info!(
                target: "audit",
                action = "adopt",
                copy = found.copy,
                before = found.text,
                after = %lineage.id,
                "the operator gave a copy of another store to this one"
            );
        }
        Ok(CopiesFound {
            store: lineage.id.to_string(),
            copies,
        })
    }
}
