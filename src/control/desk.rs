//! What is asked on the control socket, done on a running writer.

mod adopt;
mod delete;
mod upkeep;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

pub use adopt::{CopyOptions, POSTGRES, REDIS};

use super::{Ask, CorruptCounter, DaysAsked, Part, RowAside, StandingCause, Tell, Told};
use crate::calendar::Day;
use crate::counter::{CounterName, Existence, Outcome, Refusal, RequestId};
use crate::export::Selection;
use crate::export::files::{self, Content, ExportFileError, FileForm, FileWritten};
use crate::export::postgres::{ExportContext, PostgresError};
use crate::lifecycle::kept_days;
use crate::metrics::Metrics;
use crate::storage::Tables;
use crate::writer::{Cause, Command, Failure, ModeState, Reading, Request, Running};

/// How many bytes of a corrupt record are shown.
const SHOWN_BYTES: usize = 256;

/// Returns the first bytes of a corrupt record, in hexadecimal.
fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.iter().take(SHOWN_BYTES);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Where asks are answered.
#[derive(Clone)]
pub struct Desk {
    running: Running,
    /// Held while a backup is made.
    backups: Arc<Mutex<()>>,
    postgres: Option<ExportContext>,
    copies: CopyOptions,
}

/// Why an ask was not answered as it was meant.
enum Unanswered {
    /// It is not done, for this reason.
    Refused(String),
    /// Whoever asked does not take the answer.
    Broken(io::Error),
}

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

fn refused(why: impl std::fmt::Display) -> Unanswered {
    Unanswered::Refused(why.to_string())
}

impl Desk {
    /// Makes the desk of a writer, whose copies are those.
    pub fn new(running: &Running, metrics: &Arc<Metrics>, copies: CopyOptions) -> Self {
        let postgres = copies.postgres.clone();
        Self {
            running: running.clone(),
            backups: Arc::default(),
            postgres: postgres
                .map(|options| ExportContext::new(running, Arc::clone(metrics), options)),
            copies,
        }
    }

    /// Does what is asked; `tell` takes the parts of the answer that come before its end.
    ///
    /// # Errors
    /// When `tell` does not take a part.
    pub fn answer(&self, ask: Ask, tell: Tell<'_>) -> io::Result<Told> {
        match self.done(ask, tell) {
            Ok(told) => Ok(told),
            Err(Unanswered::Refused(reason)) => Ok(Told::Refused { reason }),
            Err(Unanswered::Broken(error)) => Err(error),
        }
    }

    fn done(&self, ask: Ask, tell: Tell<'_>) -> Result<Told, Unanswered> {
        if self.running.mode.stands(Cause::NoStore) && !matches!(ask, Ask::Mode { .. }) {
            return Err(refused(
                "the server has no store open (cause `no_store`): its log says why; put the store right, and it is opened by itself",
            ));
        }
        match ask {
            Ask::Mode {
                read_only,
                accept_clock,
            } => Ok(self.mode(read_only, accept_clock)),
            Ask::Corrupt => Ok(self.corrupt()),
            Ask::Repair {
                name,
                value,
                reason,
            } => self.repair(&name, value, reason),
            Ask::Export {
                days,
                form,
                content,
            } => self.export(&days, form, content, tell),
            Ask::ExportDays { days, replace } => self.export_days(&days, replace, tell),
            Ask::SetAside => self.set_aside(),
            Ask::Adopt { confirmed } => self.adopt(confirmed),
            Ask::Delete { prefix, confirmed } => self.delete(&prefix, confirmed, tell),
            Ask::Backup(options) => self.back_up(&options, tell),
            Ask::Inspect { count } => self.inspect(count, tell),
            Ask::Compact => self.compact(tell),
        }
    }

    fn selection(&self, asked: &DaysAsked) -> Result<Selection, Unanswered> {
        let DaysAsked {
            from,
            to,
            counter,
            include_open,
        } = asked;
        let counter = counter.as_deref().map(CounterName::parse).transpose();
        let counter = counter.map_err(refused)?;
        let today = self.running.day.look().day;
        let selection = Selection::new(from, to, today, counter, *include_open).map_err(refused)?;
        // A file without a day that was asked for would look like one of a day without records.
        let closed = self.running.reader.with(Tables::closed_through);
        let closed = closed.map_err(refused)?;
        if !include_open && closed.is_none_or(|closed| closed < selection.to) {
            return Err(refused(format!(
                "{} is over, but not closed yet: try again in a moment (while writes are refused, \
                 no day is closed: `counterd mode`)",
                selection.to
            )));
        }
        Ok(selection)
    }

    fn export_days(
        &self,
        days: &DaysAsked,
        replace: bool,
        tell: Tell<'_>,
    ) -> Result<Told, Unanswered> {
        let selection = self.selection(days)?;
        let no_database =
            "there is no database to export to: postgres.url is not set where the store is open";
        let postgres = self.postgres.as_ref().ok_or_else(|| refused(no_database))?;
        let exported = postgres.export(&selection, replace, &mut |done, total| {
            tell(Part::Progress {
                what: "rows and users".to_owned(),
                done,
                total: Some(total),
            })
        });
        match exported {
            Ok(written) if written.rows() == 0 => {
                Err(self.nothing_kept(selection.from, selection.to))
            }
            Ok(written) => Ok(Told::ExportedDays {
                written,
                through: selection.to,
            }),
            Err(PostgresError::BrokenOff(error)) => Err(error.into()),
            Err(error) => Err(refused(error)),
        }
    }

    fn set_aside(&self) -> Result<Told, Unanswered> {
        let rows = self.running.reader.with(|tables| tables.set_aside(None));
        let rows = rows.map_err(refused)?.into_iter().map(|aside| RowAside {
            date: aside.day,
            counter: aside.counter.to_string(),
            reason: aside.reason,
        });
        Ok(Told::SetAside {
            rows: rows.collect(),
        })
    }

    fn export(
        &self,
        days: &DaysAsked,
        form: FileForm,
        content: Content,
        tell: Tell<'_>,
    ) -> Result<Told, Unanswered> {
        let selection = self.selection(days)?;
        let (from, through) = (selection.from, selection.to);
        let mut put = |text: String, written: FileWritten| {
            tell(Part::Text(text))?;
            tell(Part::Progress {
                what: "rows".to_owned(),
                done: match content {
                    Content::Days => written.days,
                    Content::Users => written.users,
                },
                total: None,
            })
        };
        match files::write(&self.running, selection, form, content, &mut put) {
            Ok(FileWritten { days: 0, .. }) if content == Content::Users => Err(refused(
                "there is no record of a counter that counts the users of a day (unique, daily)",
            )),
            Ok(FileWritten { days: 0, .. }) => Err(self.nothing_kept(from, through)),
            Ok(written) => Ok(Told::Exported { written, through }),
            Err(ExportFileError::Write(error)) => Err(error.into()),
            Err(error @ (ExportFileError::Read(_) | ExportFileError::UsersGone { .. })) => {
                Err(refused(error))
            }
        }
    }

    /// Says which days there are, in place of those that there are not.
    fn nothing_kept(&self, from: Day, to: Day) -> Unanswered {
        let asked = if from == to {
            format!("of {from}")
        } else {
            format!("from {from} to {to}")
        };
        match kept_days(&self.running.reader, &self.running.horizons) {
            Ok(Some((first, last))) => refused(format!(
                "there are no records {asked}; closed days are kept from {first} to {last}"
            )),
            Ok(None) => refused(format!(
                "there are no records {asked}; no day is closed yet (the first closes at the next boundary of the local day)"
            )),
            Err(error) => refused(error),
        }
    }

    fn mode(&self, read_only: Option<bool>, accept_clock: bool) -> Told {
        if accept_clock {
            let look = self.running.day.accept();
            self.running.mode.clear(Cause::Clock);
            tracing::info!(target: "audit", action = "accept_clock", day = %look.day, "the operator accepted the clock");
        }
        if let Some(read_only) = read_only {
            let after = if read_only {
                let look = self.running.day.look();
                self.running.mode.raise(Cause::Operator, look.wall_ms);
                "read_only"
            } else {
                self.running.mode.clear(Cause::Operator);
                "normal"
            };
            tracing::info!(target: "audit", action = "mode", after, "the operator changed the mode");
        }
        self.running.intake.nudge();
        let standing = Cause::ALL
            .into_iter()
            .filter(|&cause| self.running.mode.stands(cause));
        let causes = standing.map(|cause| StandingCause {
            cause: cause.as_str().to_owned(),
            remedy: cause.remedy().to_owned(),
        });
        Told::Mode {
            causes: causes.collect(),
            since: match self.running.mode.state() {
                ModeState::Normal => None,
                ModeState::ReadOnly { since, .. } => Some(since),
            },
        }
    }

    fn corrupt(&self) -> Told {
        let is_corrupt = |reading: &Reading| reading.existence == Existence::Corrupt;
        let mut names = self.running.table.names_where(is_corrupt);
        names.sort();
        let counters = names.into_iter().map(|name| {
            let read = self.running.reader.with(|tables| tables.bytes_of(&name));
            let [definition, value] = read.unwrap_or_default();
            CorruptCounter {
                name: name.to_string(),
                value: value.as_deref().map(shown),
                definition: definition.as_deref().map(shown),
            }
        });
        Told::Corrupt {
            counters: counters.collect(),
        }
    }

    fn repair(&self, name: &str, value: i64, reason: Option<String>) -> Result<Told, Unanswered> {
        let counter = CounterName::parse(name).map_err(refused)?;
        let asked = self.running.intake.call(Request {
            command: Command::Repair {
                counter: counter.clone(),
                value,
                reason: reason.clone().map(String::into_boxed_str),
            },
            key: None,
            request_id: RequestId::Given("repair".into()),
        });
        let answer = asked.map_err(|failure| refused(explain(&counter, &failure)))?;
        let Outcome::Set {
            current_value: value,
            revision,
            ..
        } = answer.outcome
        else {
            return Err(refused(format!("unexpected outcome {:?}", answer.outcome)));
        };
        tracing::info!(
            target: "audit",
            action = "repair",
            %counter,
            after = value,
            reason = reason.as_deref().unwrap_or(""),
            "the operator repaired a counter"
        );
        Ok(Told::Repaired { value, revision })
    }
}

fn explain(counter: &CounterName, failure: &Failure) -> String {
    match failure {
        Failure::Refused(Refusal::NotCorrupt) => {
            format!("{counter} is not corrupt; to correct its value, use the adjust call")
        }
        Failure::Refused(Refusal::UnknownCounter) => format!("there is no counter {counter}"),
        Failure::Refused(
            Refusal::BelowMinimum { minimum: bound, .. }
            | Refusal::AboveMaximum { maximum: bound, .. },
        ) => format!("the value is outside the bounds of {counter}: {bound}"),
        Failure::Refused(other) => format!("{counter}: {other:?}"),
        other => other.to_string(),
    }
}
