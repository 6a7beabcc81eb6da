//! Whose the copies of the store are, and taking over those of another store.

use super::super::{CopyFound, Told, Whose};
use super::{Desk, refused};
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
            in_words(REDIS, found.map_err(|error| error.to_string()))
        });
        let postgres = self.postgres.as_ref().map(|options| {
            let found = postgres::contents(options, lineage, database);
            in_words(POSTGRES, found.map_err(|error| error.to_string()))
        });
        redis.into_iter().chain(postgres).collect()
    }

    /// Takes over the copy of that name.
    fn adopt(&self, copy: &str, lineage: &Lineage) -> Result<(), String> {
        match (copy, &self.redis, &self.postgres) {
            (REDIS, Some(options), _) => {
                mirror::adopt(options, lineage).map_err(|error| error.to_string())
            }
            (POSTGRES, _, Some(options)) => {
                postgres::adopt(options, lineage).map_err(|error| error.to_string())
            }
            _ => Ok(()),
        }
    }
}

/// What the mirror is called in answers.
pub const REDIS: &str = "Redis";
/// What the database is called in answers.
pub const POSTGRES: &str = "PostgreSQL";

fn in_words(copy: &str, found: Result<CopyContents, String>) -> CopyFound {
    let holds = |found: &CopyContents| {
        let CopyContents {
            names, revision, ..
        } = found;
        let days = found
            .through
            .map(|day| format!(", closed days up to {day}"));
        let days = days.unwrap_or_default();
        format!("{names} counters, up to revision {revision}{days}")
    };
    let (text, whose) = match found {
        Err(error) => (format!("cannot be asked: {error}"), Whose::Unknown),
        Ok(found) => match found.owner {
            CopyOwner::Nobody => (
                "holds nothing yet: this store fills it".to_owned(),
                Whose::Ours,
            ),
            CopyOwner::Ours => (format!("is this store's: {}", holds(&found)), Whose::Ours),
            CopyOwner::Other(theirs) => (
                format!("is another store's, {theirs}: {}", holds(&found)),
                Whose::AnotherStores,
            ),
        },
    };
    CopyFound {
        copy: copy.to_owned(),
        text,
        whose,
    }
}

impl Desk {
    /// With the copies that are configured.
    #[must_use]
    pub fn with_copies(self, copies: CopyOptions) -> Self {
        Self { copies, ..self }
    }

    pub(super) fn adopt(&self, confirmed: bool) -> Told {
        let read = self.running.reader.lineage().and_then(|lineage| {
            let cursor = self.running.reader.with(Tables::export_cursor)?;
            Ok((lineage, cursor.map(|cursor| cursor.database)))
        });
        let (lineage, database) = match read {
            Ok(read) => read,
            Err(error) => return refused(error),
        };
        let copies = self.copies.look(&lineage, database);
        for found in copies.iter().filter(|_| confirmed) {
            match found.whose {
                Whose::Ours => continue,
                Whose::AnotherStores => {}
                Whose::Unknown => return refused(format!("{} {}", found.copy, found.text)),
            }
            if let Err(error) = self.copies.adopt(&found.copy, &lineage) {
                return refused(format!("{}: {error}", found.copy));
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
        Told::Copies {
            store: lineage.id.to_string(),
            copies,
            adopted: confirmed,
        }
    }
}
