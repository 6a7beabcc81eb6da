//! `export` and `history`: the past, to files and to people.

use std::ffi::OsString;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum, ValueHint};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::progress::Progress;
use super::work::{carry_out, unexpected, with_progress};
use super::{CliFailure, ConfigArgs, print, usage};
use crate::calendar::Day;
use crate::config::Config;
use crate::control::{Ask, DaysAsked, Part, Told};
use crate::counter::CounterName;
use crate::export::files::{Content, FileForm, FileWritten};
use crate::export::postgres::DaysWritten;
use crate::links;
use crate::storage::HeldDir;

/// Where an export goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportTarget {
    /// The database of `postgres.url`
    Postgres,
    /// Comma-separated values with a header
    Csv,
    /// One JSON object a line
    Jsonl,
}

/// Checks what `--to` takes: a target, and a day too, since it once was the last day as well.
fn a_target(text: &str) -> Result<String, String> {
    let is_target = ExportTarget::from_str(text, false).is_ok();
    let is_one = is_target || a_day(text).is_ok();
    let no_target = || "want `postgres`, `csv` or `jsonl`".to_owned();
    is_one.then(|| text.to_owned()).ok_or_else(no_target)
}

/// Checks a day as people write it; the server knows which one `today` is.
fn a_day(text: &str) -> Result<String, String> {
    match text {
        "today" | "yesterday" => Ok(text.to_owned()),
        _ if text.parse::<Day>().is_ok() => Ok(text.to_owned()),
        _ => Err("want YYYY-MM-DD, `yesterday` or `today`".to_owned()),
    }
}

/// Arguments of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// One day: YYYY-MM-DD, `yesterday` or `today`
    #[arg(
        long,
        value_name = "DAY",
        value_parser = a_day,
        required_unless_present_any = ["from", "rejected"],
        conflicts_with_all = ["from", "until"]
    )]
    pub date: Option<String>,

    /// The first of several days
    #[arg(long, value_name = "DAY", value_parser = a_day)]
    pub from: Option<String>,

    /// The last of them [default: yesterday]
    #[arg(long, value_name = "DAY", value_parser = a_day)]
    pub until: Option<String>,

    /// `postgres`, `csv` or `jsonl` [default: PostgreSQL when it is configured and nothing below asks
    /// for a file, else CSV]
    #[arg(long, value_name = "TARGET", value_parser = a_target)]
    pub to: Vec<String>,

    /// The file to write; `-` is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// This counter alone
    #[arg(long, value_name = "NAME", value_parser = CounterName::parse)]
    pub counter: Option<CounterName>,

    /// A row for each user id counted in the days, in place of one for each day
    #[arg(long)]
    pub users: bool,

    /// Days that have not ended too, with what they have so far
    #[arg(long)]
    pub include_open: bool,

    /// To PostgreSQL: overwrite rows of another epoch, and rows written by hand
    #[arg(long, conflicts_with_all = ["output", "users", "include_open"])]
    pub replace: bool,

    /// List the rows of closed days that PostgreSQL did not take, and why
    #[arg(
        long,
        conflicts_with_all = ["date", "from", "until", "to", "output", "counter", "users", "include_open", "replace"]
    )]
    pub rejected: bool,

    /// Say what was done as a JSON object
    #[arg(long)]
    pub json: bool,

    /// Where the data directory is.
    #[command(flatten)]
    pub config: ConfigArgs,
}

impl ExportArgs {
    fn days(&self, from: String, to: String) -> DaysAsked {
        DaysAsked {
            from,
            to,
            counter: self.counter.as_ref().map(ToString::to_string),
            include_open: self.include_open,
        }
    }

    /// Returns the first day, the last one, and the target.
    fn resolve(&self) -> Result<(String, String, Option<ExportTarget>), CliFailure> {
        let (mut last, mut target) = (self.until.clone(), None);
        for to in &self.to {
            let taken = match ExportTarget::from_str(to, false) {
                Ok(to) => target.replace(to).is_some(),
                Err(_) => last.replace(to.clone()).is_some(),
            };
            if taken {
                return Err(usage("there are two last days, or two targets"));
            }
        }
        match (&self.date, &self.from, last) {
            (Some(_), _, Some(last)) => Err(usage(&format!(
                "--date is one day; with a last day, {last}, say --from"
            ))),
            (Some(day), _, None) => Ok((day.clone(), day.clone(), target)),
            (None, from, last) => Ok((
                from.clone().unwrap_or_default(),
                last.unwrap_or_else(|| "yesterday".to_owned()),
                target,
            )),
        }
    }
}

/// Arguments of `history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArgs {
    /// The counter
    #[arg(value_parser = CounterName::parse)]
    pub name: CounterName,

    /// The first day [default: the oldest that is kept]
    #[arg(
        long,
        value_name = "DAY",
        value_parser = a_day,
        default_value = "0001-01-01",
        hide_default_value = true
    )]
    pub from: String,

    /// The last day
    #[arg(
        long,
        alias = "to",
        value_name = "DAY",
        value_parser = a_day,
        default_value = "today"
    )]
    pub until: String,

    /// Where the data directory is.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Exports days.
pub(super) fn export(args: &ExportArgs) -> Result<(), CliFailure> {
    let config = args.config.load_and_warn()?;
    if args.rejected {
        return rejected(&config, args.json);
    }
    let (from, to, target) = args.resolve()?;
    let of_files = args.output.is_some() || args.users || args.include_open;
    let form = match target {
        Some(ExportTarget::Postgres) if of_files => {
            return Err(usage("--output, --users and --include-open are for files"));
        }
        Some(ExportTarget::Postgres) => return into_postgres(args, &config, from, to),
        None if config.postgres.url.is_some() && !of_files => {
            return into_postgres(args, &config, from, to);
        }
        Some(ExportTarget::Csv | ExportTarget::Jsonl) | None if args.replace => {
            return Err(usage("--replace is for PostgreSQL"));
        }
        Some(ExportTarget::Jsonl) => FileForm::Jsonl,
        Some(ExportTarget::Csv) | None => FileForm::Csv,
    };
    let ask = Ask::Export {
        days: args.days(from, to.clone()),
        form,
        content: if args.users {
            Content::Users
        } else {
            Content::Days
        },
    };
    let mut output = Output::begin(args.output.as_deref())?;
    let mut progress = Progress::begin();
    let mut not_taken = None;
    let told = carry_out(&config, ask, &mut |part| {
        if let Part::Text(text) = &part
            && let Err(error) = output.write(text)
        {
            // The work ends by this, and is not to blame.
            let kind = error.kind();
            not_taken = Some(error);
            return Err(kind.into());
        }
        progress.tell(&part);
        Ok(())
    });
    progress.end();
    match not_taken {
        // Whoever reads has enough, such as `head`.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Some(error) => return Err(anyhow!("cannot write {}: {error}", output.place()).into()),
        None => {}
    }
    let (FileWritten { days, users }, through) = match told? {
        Told::Exported { written, through } => (written, through),
        other => return Err(unexpected(other)),
    };
    let place = output.finish()?;
    let summary = if args.json {
        json!({"days": days, "users": users, "through": through, "output": place}).to_string()
    } else {
        let users = match args.users {
            true => format!(", {users} users"),
            false => String::new(),
        };
        let left_out = left_out(&to, through, args.include_open);
        format!("exported {days} records{users} to {place}{left_out}")
    };
    // The rows themselves may be on standard output.
    let _ = writeln!(io::stderr(), "{summary}");
    Ok(())
}

/// Says which days were asked for and left out, since they have not ended.
fn left_out(asked: &str, through: Day, include_open: bool) -> String {
    let all = asked == "yesterday" || asked == through.to_string();
    if all || include_open {
        return String::new();
    }
    format!("; days after {through} have not ended and are left out")
}

/// Exports days into the database.
fn into_postgres(
    args: &ExportArgs,
    config: &Config,
    from: String,
    to: String,
) -> Result<(), CliFailure> {
    let ask = Ask::ExportDays {
        days: args.days(from, to.clone()),
        replace: args.replace,
    };
    let (written, through) = match with_progress(config, ask)? {
        Told::ExportedDays { written, through } => (written, through),
        other => return Err(unexpected(other)),
    };
    let DaysWritten {
        written,
        unchanged,
        set_aside,
        users,
    } = written;
    print(&if args.json {
        let summary = json!({
            "written": written,
            "unchanged": unchanged,
            "set_aside": set_aside,
            "users": users,
            "through": through,
            "output": "PostgreSQL",
        });
        format!("{summary}\n")
    } else {
        let left_out = left_out(&to, through, args.include_open);
        format!(
            "PostgreSQL: {written} rows written (with {users} users), {unchanged} unchanged, {set_aside} set aside{left_out}\n"
        )
    })?;
    if set_aside > 0 {
        let why = "`counterd export --rejected` says why";
        return Err(anyhow!("{set_aside} rows were set aside; {why}").into());
    }
    Ok(())
}

/// Prints the rows that the database did not take.
fn rejected(config: &Config, json: bool) -> Result<(), CliFailure> {
    let rows = match carry_out(config, Ask::SetAside, &mut |_| Ok(()))? {
        Told::SetAside { rows } => rows,
        other => return Err(unexpected(other)),
    };
    if json {
        let rows = serde_json::to_string(&rows).context("the rows")?;
        return print(&format!("{rows}\n"));
    }
    if rows.is_empty() {
        return print("no row is set aside\n");
    }
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["date", "counter", "reason"]);
    for row in rows {
        table.add_row([row.date.to_string(), row.counter, row.reason]);
    }
    print(&format!("{}\n", table.trim_fmt()))
}

/// Where the text goes.
enum Output {
    /// Standard output, a device or a pipe takes the text as it comes.
    Direct {
        out: Box<dyn Write>,
        place: &'static str,
    },
    /// A file is there whole or not at all: it has another name until it is finished.
    File {
        file: BufWriter<File>,
        dir: HeldDir,
        unfinished: OsString,
        path: PathBuf,
    },
}

impl Output {
    fn begin(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::Direct {
                out: Box::new(io::stdout()),
                place: "standard output",
            });
        };
        let cannot = || format!("cannot write {}", path.display());
        // A link stays one: what it leads to is written.
        let path = links::followed(path).with_context(cannot)?;
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(&path);
            return Ok(Self::Direct {
                out: Box::new(file.with_context(cannot)?),
                place: "the device or pipe",
            });
        }
        let name = path.file_name();
        let mut unfinished = name
            .with_context(|| format!("{} is no file", path.display()))?
            .to_owned();
        // No other run, a killed one in another container included, has this name.
        let serial = RandomState::new().hash_one(std::process::id());
        unfinished.push(format!(".{serial:016x}.unfinished"));
        // Held: whatever is put in its place meanwhile, the file is made and named in this one.
        let dir = HeldDir::open(links::directory_of(&path)).with_context(cannot)?;
        // For its owner alone: it may hold user ids.
        let file = dir.create(&unfinished).with_context(cannot)?;
        Ok(Self::File {
            file: BufWriter::new(file),
            dir,
            unfinished,
            path,
        })
    }

    fn place(&self) -> String {
        match self {
            Self::Direct { place, .. } => (*place).to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Direct { out, .. } => out.write_all(text.as_bytes()),
            Self::File { file, .. } => file.write_all(text.as_bytes()),
        }
    }

    /// Gives the file its name; returns where the text is.
    fn finish(mut self) -> anyhow::Result<String> {
        let place = self.place();
        let cannot = || format!("cannot write {place}");
        match &mut self {
            Self::Direct { out, .. } => out.flush().with_context(cannot)?,
            Self::File {
                file,
                dir,
                unfinished,
                path,
            } => {
                let written = file.flush().and_then(|()| file.get_ref().sync_all());
                written.with_context(cannot)?;
                let name = path.file_name().unwrap_or_default();
                dir.rename(&*unfinished, name).with_context(cannot)?;
            }
        }
        Ok(place)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Under that name it is there only when it was not finished.
        if let Self::File {
            dir, unfinished, ..
        } = self
        {
            let _ = dir.remove(&*unfinished);
        }
    }
}

/// Columns of `history`, each with the field that it shows.
const HISTORY: [(&str, &str); 7] = [
    ("date", "date"),
    ("final", "final_value"),
    ("peak", "peak"),
    ("low", "low"),
    ("up", "increments"),
    ("down", "decrements"),
    ("operations", "operations"),
];

/// Prints the days of a counter as a table.
pub(super) fn history(args: &HistoryArgs) -> Result<(), CliFailure> {
    let config = args.config.load_and_warn()?;
    let ask = Ask::Export {
        days: DaysAsked {
            from: args.from.clone(),
            to: args.until.clone(),
            counter: Some(args.name.to_string()),
            include_open: true,
        },
        form: FileForm::Jsonl,
        content: Content::Days,
    };
    let mut lines = String::new();
    let told = carry_out(&config, ask, &mut |part| {
        if let Part::Text(text) = part {
            lines.push_str(&text);
        }
        Ok(())
    })?;
    if !matches!(told, Told::Exported { .. }) {
        return Err(unexpected(told));
    }
    let mut table = Table::new();
    let heads = HISTORY.map(|(head, _)| head);
    table
        .load_preset(presets::NOTHING)
        .set_header(heads.into_iter().chain(["away", ""]));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for line in lines.lines().rev() {
        let day: Value =
            serde_json::from_str(line).context("the server answered something else")?;
        let cell = |field: &str| match day.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "?".to_owned(),
            Some(other) => other.to_string(),
        };
        let away = day.get("away_seconds").and_then(Value::as_u64);
        let away = Duration::from_secs(away.unwrap_or(0));
        let is_closed = day.get("closed") == Some(&Value::Bool(true));
        let away = humantime::format_duration(away).to_string();
        let closed = if is_closed { "" } else { "not closed" };
        let cells = HISTORY.map(|(_, field)| cell(field));
        table.add_row(cells.into_iter().chain([away, closed.to_owned()]));
    }
    print(&format!("{}\n", table.trim_fmt()))
}
