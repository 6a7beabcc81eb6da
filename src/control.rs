//! The Unix socket in the data directory, through which commands speak to a running server.
//!
//! A command asks in one line of JSON. The answer is a line that says how it ended, after as many lines with parts as
//! it has; of a command that only prints the answer it is the text. Only the user that runs the server may open the
//! socket (mode 0600), and that user could read and write the store anyway. A command that finds no server does the
//! same work on the store itself, through [`Desk`].
//!
//! Kept out: what the commands mean (`writer`, `lifecycle`), and how answers are printed that are more than text
//! (`cli`).

mod desk;
mod socket;

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::calendar::Day;
use crate::export::files::{Content, FileForm};
use crate::storage::CopyOwner;
use crate::storage::backup::BackupOptions;
use crate::storage::pace::Step;

pub use desk::{CopyOptions, Desk, POSTGRES, REDIS};
pub use socket::{ControlSocket, FILE_NAME, ask};

/// What a command asks, and the type of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// The mode, changed first if asked: text.
    Mode {
        /// Whether writes are to be refused from now on; `None` leaves that as it is.
        read_only: Option<bool>,
        /// The wall clock is right, whatever it did before.
        accept_clock: bool,
    },
    /// The level of the log of events, changed first if asked: text.
    Log {
        /// The level from now on; `None` leaves it as it is.
        level: Option<String>,
    },
    /// The counters that cannot be read: text.
    Corrupt,
    /// Gives a counter that cannot be read a value: text.
    Repair {
        /// Which counter.
        name: String,
        /// Its value from now on.
        value: i64,
        /// Why.
        reason: Option<String>,
    },
    /// The days of counters as the text of a file: [`Exported<FileWritten>`](Exported), after the text.
    Export(DaysAsked, FileForm, Content),
    /// A backup of the store: [`Made`](crate::storage::backup::Made).
    Backup(BackupOptions),
    /// What the store holds: [`Inspection`](crate::inspect::Inspection).
    Inspect {
        /// Whether every record is counted.
        count: bool,
    },
    /// Drops what has expired: a [`Compacted`](crate::storage::compact::Compacted) for each family.
    Compact,
    /// The closed days of counters into PostgreSQL: [`Exported<DaysWritten>`](Exported).
    ExportDays {
        /// Which days.
        days: DaysAsked,
        /// Whether rows that were written under another epoch are replaced.
        replace: bool,
    },
    /// The rows of closed days that did not get into PostgreSQL, oldest first: each a [`RowAside`].
    SetAside,
    /// Deletes the counters whose names begin alike: text.
    Delete {
        /// How they begin.
        prefix: String,
        /// Whether they are deleted, and not only listed.
        confirmed: bool,
    },
    /// Whose the copies are, and what they hold; those of another store are taken over if asked: [`CopiesFound`].
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

/// How an ask ended: the answer in JSON, whose type is told at the [`Ask`], or why it was not done, and what to do.
pub type Told = Result<Box<RawValue>, String>;

/// What is told before the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// How far the work has got.
    Progress(Step),
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
    /// Whose that is; `None` when it could not be asked.
    pub owner: Option<CopyOwner>,
}

impl CopyFound {
    /// Returns whether it is known to be another store's.
    pub fn is_another_stores(&self) -> bool {
        matches!(self.owner, Some(CopyOwner::Other(_)))
    }
}

/// Whose the copies are, as they were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiesFound {
    /// The id of the store.
    pub store: String,
    /// Each copy that is configured.
    pub copies: Vec<CopyFound>,
}

/// Days that were exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported<W> {
    /// What became of them.
    #[serde(flatten)]
    pub written: W,
    /// The last day that was looked at: days that have not ended may have been asked for too.
    pub through: Day,
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
