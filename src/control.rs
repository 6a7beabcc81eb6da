//! The Unix socket in the data directory, through which commands speak to a running server.
//!
//! A command asks in one line of JSON. The answer is a line that says how it ended, after as many lines with parts as
//! it has. Only the user that runs the server may open the socket (mode 0600), and that user could read and write
//! the store anyway. A command that finds no server does the same work on the store itself, through [`Desk`].
//!
//! Kept out: what the commands mean (`writer`, `lifecycle`), and what is printed (`cli`).

mod desk;
mod socket;

use std::io;

use serde::{Deserialize, Serialize};

use crate::calendar::Day;
use crate::counter::Millis;
use crate::export::files::{Content, FileForm, FileWritten};
use crate::export::postgres::DaysWritten;
use crate::inspect::Inspection;
use crate::storage::backup::{BackupOptions, Summary};
use crate::storage::compact::Compacted;

pub use desk::{CopyOptions, Desk, POSTGRES, REDIS};
pub use socket::{ControlSocket, FILE_NAME, ask};

/// What a command asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// The mode; changed first if asked.
    Mode {
        /// Whether writes are to be refused from now on; `None` leaves that as it is.
        read_only: Option<bool>,
        /// The wall clock is right, whatever it did before.
        accept_clock: bool,
    },
    /// The counters that cannot be read.
    Corrupt,
    /// Gives a counter that cannot be read a value.
    Repair {
        /// Which counter.
        name: String,
        /// Its value from now on.
        value: i64,
        /// Why.
        reason: Option<String>,
    },
    /// The days of counters as the text of a file.
    Export {
        /// Which days.
        days: DaysAsked,
        /// The form of the text.
        form: FileForm,
        /// What it holds.
        content: Content,
    },
    /// A backup of the store.
    Backup(BackupOptions),
    /// What the store holds.
    Inspect {
        /// Whether every record is counted.
        count: bool,
    },
    /// Drops what has expired.
    Compact,
    /// The closed days of counters into PostgreSQL.
    ExportDays {
        /// Which days.
        days: DaysAsked,
        /// Whether rows that were written under another epoch are replaced.
        replace: bool,
    },
    /// The rows of closed days that did not get into PostgreSQL.
    SetAside,
    /// Deletes the counters whose names begin alike.
    Delete {
        /// How they begin.
        prefix: String,
        /// Whether they are deleted, and not only listed.
        confirmed: bool,
    },
    /// Whose the copies are, and what they hold; those of another store are taken over if asked.
    Adopt {
        /// Whether they are taken over.
        confirmed: bool,
    },
}

/// Which days of which counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaysAsked {
    /// The first day, as people write it.
    pub from: String,
    /// The last day.
    pub to: String,
    /// One counter alone; `None` for all of them.
    pub counter: Option<String>,
    /// Whether days that are not closed are taken too.
    pub include_open: bool,
}

impl Ask {
    /// Returns whether the answer may be long in coming.
    fn takes_long(&self) -> bool {
        match self {
            Self::Mode { .. } | Self::Corrupt | Self::Repair { .. } | Self::SetAside => false,
            Self::Export { .. }
            | Self::ExportDays { .. }
            | Self::Backup(_)
            | Self::Inspect { .. }
            | Self::Adopt { .. }
            | Self::Delete { .. }
            | Self::Compact => true,
        }
    }
}

/// How an ask ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Told {
    /// The mode, with every cause that stands.
    Mode {
        /// The causes, gravest first; none in mode `normal`.
        causes: Vec<StandingCause>,
        /// When the mode last became `read_only`, milliseconds since 1970.
        since: Option<Millis>,
    },
    /// The counters that cannot be read.
    Corrupt {
        /// Each with the bytes found.
        counters: Vec<CorruptCounter>,
    },
    /// A counter was repaired.
    Repaired {
        /// Its value.
        value: i64,
        /// Its revision.
        revision: u64,
    },
    /// The whole text was told.
    Exported {
        /// What is in it.
        written: FileWritten,
        /// The last day that was looked at: days that have not ended may have been asked for too.
        through: Day,
    },
    /// A backup was made.
    BackedUp {
        /// The backup.
        summary: Box<Summary>,
        /// Older ones that were removed for it.
        removed: Vec<u32>,
        /// What is to be said of the directory.
        warning: Option<String>,
    },
    /// What the store holds.
    Inspected(Box<Inspection>),
    /// What has expired was dropped.
    Compacted {
        /// What that gave.
        families: Vec<Compacted>,
    },
    /// The days are in PostgreSQL, but for those that were set aside.
    ExportedDays {
        /// What became of the rows.
        written: DaysWritten,
        /// The last day that was looked at: days that have not ended may have been asked for too.
        through: Day,
    },
    /// The rows that were set aside, oldest first.
    SetAside {
        /// Each with its reason.
        rows: Vec<RowAside>,
    },
    /// Counters were deleted or, where that was not confirmed, would be.
    Deleted {
        /// How many.
        deleted: u64,
        /// How many stay, since the configuration defines them.
        kept: u64,
        /// How many could not be deleted.
        failed: u64,
    },
    /// Whose the copies are, as they were found.
    Copies {
        /// The id of the store.
        store: String,
        /// Each copy that is configured.
        copies: Vec<CopyFound>,
        /// Whether those of another store were taken over.
        adopted: bool,
    },
    /// It was not done.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// What is told before the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// How far the work has got.
    Progress {
        /// What is being done, for people.
        what: String,
        /// Done so far.
        done: u64,
        /// Of so many; `None` when that is not known.
        total: Option<u64>,
    },
    /// Text, in order.
    Text(String),
}

/// Takes the parts of an answer as they come. An error ends the work.
pub type Tell<'a> = &'a mut dyn FnMut(Part) -> io::Result<()>;

/// A copy of the store elsewhere, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyFound {
    /// Redis or PostgreSQL.
    pub copy: String,
    /// Whose it is and what it holds, in words.
    pub text: String,
    /// Whose that is.
    pub whose: Whose,
}

/// Whose a copy is, in the eyes of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// This store's, or nobody's yet.
    Ours,
    /// Another store's.
    AnotherStores,
    /// It could not be asked.
    Unknown,
}

/// A cause of `read_only`, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingCause {
    /// Its name.
    pub cause: String,
    /// What ends it.
    pub remedy: String,
}

/// A counter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorruptCounter {
    /// Its name.
    pub name: String,
    /// The first bytes of its value on disk, in hexadecimal; `None` when there is no value.
    pub value: Option<String>,
    /// The first bytes of its definition on disk; `None` when there is no definition.
    pub definition: Option<String>,
}

/// A row of a closed day that did not get into PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowAside {
    /// The day.
    pub date: Day,
    /// The counter.
    pub counter: String,
    /// Why.
    pub reason: String,
}
