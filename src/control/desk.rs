//! What is asked on the control socket, done on a running writer.

mod adopt;
mod delete;
mod upkeep;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

pub use adopt::{CopyOptions, POSTGRES, REDIS};

use super::{Ask, CorruptCounter, RowAside, StandingCause, Tell, Told};
use crate::calendar::Day;
use crate::counter::{CounterName, Existence, Outcome, RequestId};
use crate::export::Selection;
use crate::export::files::{self, Content, ExportFileError, ExportSource, FileForm, FileWritten};
use crate::export::postgres::{DaysWritten, ExportContext, PostgresError};
use crate::lifecycle::kept_days;
use crate::storage::Tables;
use crate::storage::backup::BackupOptions;
use crate::writer::{Cause, Command, Failure, ModeState, Request, Running};

/// How many bytes of a corrupt record are shown.
const SHOWN_BYTES: usize = 256;

/// The first bytes of a corrupt record, in hexadecimal.
fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.iter().take(SHOWN_BYTES);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// How many rows are told in one line, which has its limit.
const ROWS_TOLD_AT_ONCE: usize = 100;

/// Where asks are answered.
#[derive(Clone)]
pub struct Desk {
    running: Running,
    /// Held while a backup is made.
    backups: Arc<Mutex<()>>,
    postgres: Option<ExportContext>,
    copies: CopyOptions,
}

impl Desk {
    /// For that writer.
    pub fn new(running: &Running) -> Self {
        Self {
            running: running.clone(),
            backups: Arc::default(),
            postgres: None,
            copies: CopyOptions::default(),
        }
    }

    /// With a way into PostgreSQL.
    #[must_use]
    pub fn with_postgres(self, postgres: Option<ExportContext>) -> Self {
        Self { postgres, ..self }
    }

    /// Does what is asked; `tell` takes the parts of the answer that come before its end.
    ///
    /// # Errors
    /// When `tell` does not take a part.
    pub fn answer(&self, ask: Ask, tell: Tell<'_>) -> io::Result<Told> {
        if self.running.mode.stands(Cause::NoStore) && !matches!(ask, Ask::Mode { .. }) {
            return Ok(refused(
                "the server has no store open (cause `no_store`): its log says why; put the store right, and it is opened by itself",
            ));
        }
        Ok(match ask {
            Ask::Mode {
                read_only,
                accept_clock,
            } => self.mode(read_only, accept_clock),
            Ask::Corrupt => Told::Corrupt {
                counters: self.corrupt(),
            },
            Ask::Repair {
                name,
                value,
                reason,
            } => match CounterName::parse(&name) {
                Ok(counter) => self.repair(counter, value, reason),
                Err(fault) => refused(fault),
            },
            Ask::Export {
                from,
                to,
                counter,
                include_open,
                form,
                content,
            } => match self.selection(&from, &to, counter.as_deref(), include_open) {
                Ok(selection) => return self.export(selection, form, content, tell),
                Err(told) => told,
            },
            Ask::ExportDays {
                from,
                to,
                counter,
                replace,
            } => match self.selection(&from, &to, counter.as_deref(), false) {
                Ok(selection) => return self.export_days(&selection, replace, tell),
                Err(told) => told,
            },
            Ask::SetAside => return self.set_aside(tell),
            Ask::Adopt { confirmed } => self.adopt(confirmed),
            Ask::Delete { prefix, confirmed } => return self.delete(&prefix, confirmed, tell),
            Ask::Backup {
                dir,
                keep,
                another_store,
                verify,
            } => {
                let options = BackupOptions {
                    dir,
                    keep,
                    verify,
                    another_store,
                };
                return self.back_up(&options, tell);
            }
            Ask::Inspect { count } => return self.inspect(count, tell),
            Ask::Compact => return self.compact(tell),
        })
    }

    fn selection(
        &self,
        from: &str,
        to: &str,
        counter: Option<&str>,
        include_open: bool,
    ) -> Result<Selection, Told> {
        let counter = counter.map(CounterName::parse).transpose();
        let counter = counter.map_err(refused)?;
        let today = self.running.day.look().day;
        let selection = Selection::new(from, to, today, counter, include_open).map_err(refused)?;
        // A file without a day that was asked for would look like one of a day without records.
        let closed = self
            .running
            .reader
            .with(Tables::closed_through)
            .map_err(refused)?;
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
        selection: &Selection,
        replace: bool,
        tell: Tell<'_>,
    ) -> io::Result<Told> {
        let Some(postgres) = &self.postgres else {
            return Ok(refused(
                "there is no database to export to: postgres.url is not set where the store is open",
            ));
        };
        let exported = postgres.export(selection, replace, &mut |done, total| {
            tell(Told::Progress {
                what: "rows and users".to_owned(),
                done,
                total: Some(total),
            })
        });
        match exported {
            Ok(written) if written.rows() == 0 => {
                Ok(self.nothing_kept((selection.from, selection.to)))
            }
            Ok(DaysWritten {
                written,
                unchanged,
                set_aside,
                users,
            }) => Ok(Told::ExportedDays {
                written,
                unchanged,
                set_aside,
                users,
                through: selection.to.to_string(),
            }),
            Err(PostgresError::BrokenOff(error)) => Err(error),
            Err(error) => Ok(refused(error)),
        }
    }

    fn set_aside(&self, tell: Tell<'_>) -> io::Result<Told> {
        let rows = match self.running.reader.with(|tables| tables.set_aside(None)) {
            Ok(rows) => rows,
            Err(error) => return Ok(refused(error)),
        };
        for some in rows.chunks(ROWS_TOLD_AT_ONCE) {
            let some = some.iter().map(|aside| RowAside {
                date: aside.day.to_string(),
                counter: aside.counter.to_string(),
                reason: aside.reason.clone(),
            });
            tell(Told::SetAside {
                rows: some.collect(),
            })?;
        }
        Ok(Told::Listed {
            rows: rows.len() as u64,
        })
    }

    fn export(
        &self,
        selection: Selection,
        form: FileForm,
        content: Content,
        tell: Tell<'_>,
    ) -> io::Result<Told> {
        let source = ExportSource {
            reader: &self.running.reader,
            calendar: self.running.day.calendar(),
            horizons: &self.running.horizons,
        };
        let span = (selection.from, selection.to);
        let mut put = |text: String, FileWritten { days, users }| {
            tell(Told::Text { text })?;
            let done = match content {
                Content::Days => days,
                Content::Users => users,
            };
            tell(Told::Progress {
                what: "rows".to_owned(),
                done,
                total: None,
            })
        };
        match files::write(&source, selection, form, content, &mut put) {
            Ok(FileWritten { days: 0, .. }) if content == Content::Users => Ok(refused(
                "there is no record of a counter that counts the users of a day (unique, daily)",
            )),
            Ok(FileWritten { days: 0, .. }) => Ok(self.nothing_kept(span)),
            Ok(FileWritten { days, users }) => Ok(Told::Exported {
                days,
                users,
                through: span.1.to_string(),
            }),
            Err(ExportFileError::Write(error)) => Err(error),
            Err(error @ (ExportFileError::Read(_) | ExportFileError::UsersGone { .. })) => {
                Ok(refused(error))
            }
        }
    }

    /// Says which days there are, in place of those that there are not.
    fn nothing_kept(&self, (from, to): (Day, Day)) -> Told {
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
                "there are no records {asked}; no day is closed yet (the first closes at the next {})",
                "boundary of the local day"
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
        match read_only {
            Some(true) => {
                let look = self.running.day.look();
                self.running.mode.raise(Cause::Operator, look.wall_ms);
                tracing::info!(target: "audit", action = "mode", after = "read_only", "the operator changed the mode");
            }
            Some(false) => {
                self.running.mode.clear(Cause::Operator);
                tracing::info!(target: "audit", action = "mode", after = "normal", "the operator changed the mode");
            }
            None => {}
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

    fn corrupt(&self) -> Vec<CorruptCounter> {
        let mut counters = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let (page, more) = self.running.table.list("", cursor.as_deref(), 1000);
            cursor = page.last().map(|reading| reading.name.to_string());
            for reading in page
                .iter()
                .filter(|reading| reading.existence == Existence::Corrupt)
            {
                let read = self
                    .running
                    .reader
                    .with(|tables| tables.bytes_of(&reading.name));
                let [definition, value] = read.unwrap_or_default();
                counters.push(CorruptCounter {
                    name: reading.name.to_string(),
                    value: value.as_deref().map(shown),
                    definition: definition.as_deref().map(shown),
                });
            }
            if !more || cursor.is_none() {
                return counters;
            }
        }
    }

    fn repair(&self, counter: CounterName, value: i64, reason: Option<String>) -> Told {
        let command = Command::Repair {
            counter: counter.clone(),
            value,
            reason: reason.clone().map(String::into_boxed_str),
        };
        let request_id = RequestId::Given("repair".into());
        let asked = self.running.intake.call(Request {
            command,
            key: None,
            request_id,
        });
        match asked.map(|answer| answer.outcome) {
            Ok(Outcome::Set {
                current_value,
                revision,
                ..
            }) => {
                tracing::info!(
                    target: "audit",
                    action = "repair",
                    counter = %counter,
                    after = current_value,
                    reason = reason.as_deref().unwrap_or(""),
                    "the operator repaired a counter"
                );
                Told::Repaired {
                    value: current_value,
                    revision,
                }
            }
            Ok(other) => Told::Refused {
                reason: format!("unexpected outcome {other:?}"),
            },
            Err(failure) => Told::Refused {
                reason: explain(&counter, &failure),
            },
        }
    }
}

fn refused(why: impl std::fmt::Display) -> Told {
    Told::Refused {
        reason: why.to_string(),
    }
}

fn explain(counter: &CounterName, failure: &Failure) -> String {
    use crate::counter::Refusal;
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
