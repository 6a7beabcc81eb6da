//! What is asked on the control socket, done on a running writer.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use parking_lot::Mutex;
use serde_json::value::{RawValue, to_raw_value};

use super::{Ask, CopiesFound, CopyFound, DaysAsked, Exported, Part, RowAside, Tell, Told};
use crate::access_log::EventLevel;
use crate::calendar::Day;
use crate::counter::{CounterName, Existence, Outcome, Refusal, RequestId, rfc3339};
use crate::engine::{Answer, Engine};
use crate::export::Selection;
use crate::export::files::{self, Content, FileForm, FileWritten};
use crate::export::postgres::{self, DaysWritten, ExportContext, PostgresOptions};
use crate::inspect::{Inspection, inspect};
use crate::lifecycle::kept_days;
use crate::metrics::Metrics;
use crate::mirror::{self, MirrorOptions};
use crate::storage::backup::{self, BackupOptions, Made};
use crate::storage::compact::{Compacted, compact};
use crate::storage::pace::Step;
use crate::storage::{CopyContents, CopyOwner, Lineage, Tables};
use crate::writer::{Cause, Command, Failure, ModeState, Reading, Request, Running};

/// How many bytes of a corrupt record are shown.
const SHOWN_BYTES: usize = 256;

/// How far work that nobody waits for stands back: a thread's niceness.
const STANDING_BACK: i32 = 10;

/// Returns the first bytes of a corrupt record, in hexadecimal.
fn shown(bytes: Option<Vec<u8>>) -> String {
    let Some(bytes) = bytes else {
        return "missing".to_owned();
    };
    let bytes = bytes.iter().take(SHOWN_BYTES);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

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

/// Where asks are answered.
#[derive(Clone)]
pub struct Desk {
    running: Running,
    /// Held while a backup is made.
    backups: Arc<Mutex<()>>,
    postgres: Option<ExportContext>,
    copies: CopyOptions,
    /// The level of the server's log; `None` for a command that works without a server.
    level: Option<EventLevel>,
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
            level: None,
        }
    }

    /// Lets the level of that log be seen and changed here.
    #[must_use]
    pub fn with_level(mut self, level: EventLevel) -> Self {
        self.level = Some(level);
        self
    }

    /// Does what is asked; `tell` takes the parts of the answer that come before its end.
    ///
    /// # Errors
    /// When `tell` does not take a part.
    pub fn answer(&self, ask: Ask, tell: Tell<'_>) -> io::Result<Told> {
        let mut not_taken = None;
        let told = self.done(ask, &mut |part| {
            tell(part).map_err(|error| {
                // The work ends by this, and is not to blame.
                let kind = error.kind();
                not_taken = Some(error);
                kind.into()
            })
        });
        match not_taken {
            Some(error) => Err(error),
            None => Ok(told.map_err(|error| error.to_string())),
        }
    }

    fn done(&self, ask: Ask, tell: Tell<'_>) -> anyhow::Result<Box<RawValue>> {
        let needs_no_store = matches!(ask, Ask::Mode { .. } | Ask::Log { .. });
        if self.running.mode.stands(Cause::NoStore) && !needs_no_store {
            bail!(
                "the server has no store open (cause `no_store`): its log says why; put the store right, and it is opened by itself"
            );
        }
        let told = match ask {
            Ask::Mode {
                read_only,
                accept_clock,
            } => to_raw_value(&self.mode(read_only, accept_clock)),
            Ask::Log { level } => to_raw_value(&self.log(level.as_deref())?),
            Ask::Corrupt => to_raw_value(&self.corrupt()),
            Ask::Repair {
                name,
                value,
                reason,
            } => to_raw_value(&self.repair(&name, value, reason)?),
            Ask::Export(days, form, content) => {
                to_raw_value(&self.export(&days, form, content, tell)?)
            }
            Ask::ExportDays { days, replace } => {
                to_raw_value(&self.export_days(&days, replace, tell)?)
            }
            Ask::SetAside => to_raw_value(&self.set_aside()?),
            Ask::Adopt { confirmed } => to_raw_value(&self.adopt(confirmed)?),
            Ask::Delete { prefix, confirmed } => {
                to_raw_value(&self.delete(&prefix, confirmed, tell)?)
            }
            Ask::Backup(options) => to_raw_value(&self.back_up(&options, tell)?),
            Ask::Inspect { count } => to_raw_value(&self.inspect(count, tell)?),
            Ask::Compact => to_raw_value(&self.compact(tell)?),
        };
        Ok(told?)
    }

    fn selection(&self, asked: &DaysAsked) -> anyhow::Result<Selection> {
        let counter = asked.counter.as_deref().map(CounterName::parse);
        let selection = Selection::new(
            &asked.from,
            &asked.to,
            self.running.day.look().day,
            counter.transpose()?,
            asked.include_open,
        )?;
        // A file without a day that was asked for would look like one of a day without records.
        let closed = self.running.reader.with(Tables::closed_through)?;
        if !asked.include_open && closed.is_none_or(|closed| closed < selection.to) {
            bail!(
                "{} is over, but not closed yet: try again in a moment (while writes are refused, \
                 no day is closed: `counterd mode`)",
                selection.to
            );
        }
        Ok(selection)
    }

    fn export_days(
        &self,
        days: &DaysAsked,
        replace: bool,
        tell: Tell<'_>,
    ) -> anyhow::Result<Exported<DaysWritten>> {
        let selection = self.selection(days)?;
        let no_database =
            "there is no database to export to: postgres.url is not set where the store is open";
        let postgres = self.postgres.as_ref().context(no_database)?;
        let written = postgres.export(&selection, replace, &mut |done, total| {
            tell(Part::Progress(Step {
                what: "rows and users".into(),
                done,
                total: Some(total),
            }))
        })?;
        if written.rows() == 0 {
            return Err(self.nothing_kept(selection.from, selection.to));
        }
        Ok(Exported {
            written,
            through: selection.to,
        })
    }

    fn set_aside(&self) -> anyhow::Result<Vec<RowAside>> {
        let rows = self.running.reader.with(|tables| tables.set_aside())?;
        let rows = rows.into_iter().map(|aside| RowAside {
            date: aside.day,
            counter: aside.counter.to_string(),
            reason: aside.reason,
        });
        Ok(rows.collect())
    }

    fn export(
        &self,
        days: &DaysAsked,
        form: FileForm,
        content: Content,
        tell: Tell<'_>,
    ) -> anyhow::Result<Exported<FileWritten>> {
        let selection = self.selection(days)?;
        let (from, through) = (selection.from, selection.to);
        let mut put = |text: String, written: FileWritten| {
            tell(Part::Text(text))?;
            tell(Part::Progress(Step {
                what: "rows".into(),
                done: match content {
                    Content::Days => written.days,
                    Content::Users => written.users,
                },
                total: None,
            }))
        };
        let written = files::write(&self.running, selection, form, content, &mut put)?;
        match (written.days, content) {
            (0, Content::Users) => Err(anyhow!(
                "there is no record of a counter that counts the users of a day (unique, daily)"
            )),
            (0, Content::Days) => Err(self.nothing_kept(from, through)),
            _ => Ok(Exported { written, through }),
        }
    }

    /// Says which days there are, in place of those that there are not.
    fn nothing_kept(&self, from: Day, to: Day) -> anyhow::Error {
        let asked = if from == to {
            format!("of {from}")
        } else {
            format!("from {from} to {to}")
        };
        match kept_days(&self.running.reader) {
            Ok(Some((first, last))) => {
                anyhow!("there are no records {asked}; closed days are kept from {first} to {last}")
            }
            Ok(None) => anyhow!(
                "there are no records {asked}; no day is closed yet (the first closes at the next boundary of the local day)"
            ),
            Err(error) => error.into(),
        }
    }

    fn mode(&self, read_only: Option<bool>, accept_clock: bool) -> String {
        let Running { day, mode, .. } = &self.running;
        if accept_clock {
            let look = day.accept();
            mode.clear(Cause::Clock);
            tracing::info!(target: "audit", action = "accept_clock", day = %look.day, "the operator accepted the clock");
        }
        if let Some(read_only) = read_only {
            let after = if read_only {
                mode.raise(Cause::Operator, day.look().wall_ms);
                "read_only"
            } else {
                mode.clear(Cause::Operator);
                "normal"
            };
            tracing::info!(target: "audit", action = "mode", after, "the operator changed the mode");
        }
        self.running.intake.nudge();
        let mut text = match mode.state() {
            ModeState::Normal => return "normal\n".to_owned(),
            ModeState::ReadOnly { since, .. } => format!("read_only since {}\n", rfc3339(since)),
        };
        for cause in Cause::ALL.into_iter().filter(|&cause| mode.stands(cause)) {
            let (name, remedy) = (cause.as_str(), cause.remedy());
            let _ = writeln!(text, "  cause {name}; to end it: {remedy}");
        }
        text
    }

    fn log(&self, level: Option<&str>) -> anyhow::Result<String> {
        let log = self.level.as_ref();
        let log = log.context("no server runs whose log has a level")?;
        if let Some(after) = level {
            let before = log.change(after)?;
            tracing::info!(target: "audit", action = "log", before, after, "the operator changed the level of the log");
        }
        let (in_force, configured) = (log.in_force(), log.configured());
        Ok(if in_force == configured {
            format!("{in_force}\n")
        } else {
            format!(
                "{in_force}\n  until the server restarts or reloads its configuration, which says {configured}\n"
            )
        })
    }

    fn corrupt(&self) -> String {
        let is_corrupt = |reading: &Reading| reading.existence == Existence::Corrupt;
        let mut names = self.running.table.names_where(is_corrupt);
        if names.is_empty() {
            return "no counter is corrupt\n".to_owned();
        }
        names.sort();
        let mut text = String::new();
        for name in names {
            let read = self.running.reader.with(|tables| tables.bytes_of(&name));
            let [definition, value] = read.unwrap_or_default().map(shown);
            let _ = writeln!(
                text,
                "{name}\n  value       {value}\n  definition  {definition}"
            );
        }
        text + "set one right with `counterd repair NAME --value NUMBER`\n"
    }

    fn repair(&self, name: &str, value: i64, reason: Option<String>) -> anyhow::Result<String> {
        let counter = CounterName::parse(name)?;
        let answer = self.running.intake.call(Request {
            command: Command::Repair {
                counter: counter.clone(),
                value,
                reason: reason.clone().map(String::into_boxed_str),
            },
            key: None,
            request_id: RequestId::Given("repair".into()),
        });
        let answer = answer.map_err(|failure| anyhow!(explain(&counter, &failure)))?;
        let Outcome::Set {
            current_value: value,
            revision,
            ..
        } = answer.outcome
        else {
            bail!("unexpected outcome {:?}", answer.outcome);
        };
        tracing::info!(
            target: "audit",
            action = "repair",
            %counter,
            after = value,
            reason = reason.as_deref().unwrap_or(""),
            "the operator repaired a counter"
        );
        Ok(format!(
            "repaired: the value is {value}, revision {revision}\n"
        ))
    }

    /// Deletes the counters whose names begin with `prefix`, or, unless that is confirmed, lists them.
    fn delete(&self, prefix: &str, confirmed: bool, tell: Tell<'_>) -> anyhow::Result<String> {
        if prefix.is_empty() {
            bail!("without a prefix these would be all counters");
        }
        let engine = Engine::new(&self.running);
        if confirmed && let Err((cause, _)) = engine.writes() {
            bail!("writes are refused (cause `{}`)", cause.as_str());
        }
        let (mut deleted, mut failed) = (0, 0);
        let mut cursor = None;
        loop {
            let found = engine.removable(prefix, cursor.as_deref());
            let mut text = String::new();
            for name in found.kept {
                let _ = writeln!(text, "{name} stays: the configuration defines it");
            }
            failed += found.unreadable.len();
            for name in found.unreadable {
                let _ = writeln!(
                    text,
                    "{name} cannot be read, and is not deleted: see `counterd repair`"
                );
            }
            if confirmed {
                let request_id = RequestId::Given("delete".into());
                let answers = engine.delete_all(&found.names, &request_id);
                for (name, answer) in found.names.iter().zip(&answers) {
                    match audited(name, answer) {
                        Ok(()) => deleted += 1,
                        Err(failure) => {
                            failed += 1;
                            let _ = writeln!(text, "{name} is not deleted: {failure}");
                        }
                    }
                }
            } else {
                deleted += found.names.len();
                for name in found.names {
                    let _ = writeln!(text, "{name}");
                }
            }
            tell(Part::Text(text))?;
            cursor = found.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(match (confirmed, deleted, failed) {
            (true, _, 0) => format!("{deleted} counters deleted\n"),
            (true, ..) => bail!("{deleted} counters deleted, {failed} not"),
            (false, 0, _) => "nothing to delete\n".to_owned(),
            (false, ..) => format!("with --yes these {deleted} counters are deleted\n"),
        })
    }

    fn adopt(&self, confirmed: bool) -> anyhow::Result<CopiesFound> {
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

    fn back_up(&self, options: &BackupOptions, tell: Tell<'_>) -> anyhow::Result<Made> {
        let only = self.backups.try_lock();
        let _only = only
            .context("a backup of this store is being made already; try again when it is done")?;
        stand_back();
        let made = backup::make(
            &self.running.reader,
            &self.running.storage,
            options,
            self.running.day.look().wall_ms,
            &mut |step| tell(Part::Progress(step)),
        )?;
        tracing::info!(
            target: "audit",
            action = "backup",
            dir = %options.dir.display(),
            backup = made.manifest.backup,
            revision = made.manifest.revision,
            "a backup was made"
        );
        Ok(made)
    }

    fn inspect(&self, count: bool, tell: Tell<'_>) -> anyhow::Result<Inspection> {
        let watch = &mut |step| tell(Part::Progress(step));
        inspect(&self.running.reader, count, watch)
            .map_err(|error| anyhow!("cannot read the store: {error}"))
    }

    fn compact(&self, tell: Tell<'_>) -> anyhow::Result<Vec<Compacted>> {
        stand_back();
        let watch = &mut |step| tell(Part::Progress(step));
        Ok(compact(&self.running.reader, watch)?)
    }
}

/// Lets the threads that serve go first.
fn stand_back() {
    // On Linux this is the thread that calls, not the process. Where it is refused it is only slower
    // for others.
    let _ = rustix::process::setpriority_process(None, STANDING_BACK);
}

/// Writes the audit line of a deletion, and returns why there was none.
fn audited(name: &CounterName, answer: &Result<Answer, Failure>) -> Result<(), String> {
    let (before, result) = match answer {
        Ok(answer) => match &answer.outcome {
            Outcome::Deleted { final_value, .. } => (Some(*final_value), Ok(())),
            other => (None, Err(format!("unexpected outcome {other:?}"))),
        },
        Err(failure) => (None, Err(explain(name, failure))),
    };
    tracing::info!(
        target: "audit",
        action = "delete",
        counter = %name,
        before,
        result = result.as_ref().err().map_or("done", String::as_str),
        "the operator deleted a counter"
    );
    result
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
