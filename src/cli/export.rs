//! `export` and `history`: the past, to files and to people.

use std::ffi::OsString;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum, ValueHint};
use serde::Serialize;
use serde_json::Value;

use super::progress::Progress;
use super::work::{carry_out, with_progress};
use super::{print, print_json, table, usage};
use crate::calendar::Day;
use crate::config::Config;
use crate::control::{Ask, DaysAsked, Exported, Part, RowAside};
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
    fn resolve(&self) -> anyhow::Result<(String, String, Option<ExportTarget>)> {
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
}

/// Exports days.
pub(super) fn export(config: &Config, args: ExportArgs) -> anyhow::Result<()> {
    if args.rejected {
        return rejected(config, args.json);
    }
    let (from, to, target) = args.resolve()?;
    let of_files = args.output.is_some() || args.users || args.include_open;
    let to_postgres = match target {
        Some(target) => target == ExportTarget::Postgres,
        None => config.postgres.url.is_some() && !of_files,
    };
    if to_postgres && of_files {
        return Err(usage("--output, --users and --include-open are for files"));
    }
    if to_postgres {
        return into_postgres(&args, config, from, to);
    }
    if args.replace {
        return Err(usage("--replace is for PostgreSQL"));
    }
    let form = match target {
        Some(ExportTarget::Jsonl) => FileForm::Jsonl,
        Some(ExportTarget::Csv | ExportTarget::Postgres) | None => FileForm::Csv,
    };
    let content = match args.users {
        true => Content::Users,
        false => Content::Days,
    };
    let ask = Ask::Export(args.days(from, to.clone()), form, content);
    let mut output = Output::begin(args.output.as_deref())?;
    let mut progress = Progress::begin();
    let mut not_taken = None;
    let exported = carry_out::<Exported<FileWritten>>(config, ask, &mut |part| match part {
        Part::Progress(step) => progress.step(step),
        Part::Text(text) => output.out.write_all(text.as_bytes()).map_err(|error| {
            // The work ends by this, and is not to blame.
            let kind = error.kind();
            not_taken = Some(error);
            kind.into()
        }),
    });
    drop(progress);
    match not_taken {
        // Whoever reads has enough, such as `head`.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Some(error) => bail!("cannot write {}: {error}", output.place),
        None => {}
    }
    let exported = exported?;
    let place = output.finish()?;
    let summary = if args.json {
        summary(&exported, &place)?.to_string()
    } else {
        let FileWritten { days, users } = exported.written;
        let users = match args.users {
            true => format!(", {users} users"),
            false => String::new(),
        };
        let left_out = left_out(&to, exported.through, args.include_open);
        format!("exported {days} records{users} to {place}{left_out}")
    };
    // The rows themselves may be on standard output.
    let _ = writeln!(io::stderr(), "{summary}");
    Ok(())
}

/// Says as a JSON object what was exported, and where to.
fn summary(exported: &impl Serialize, output: &str) -> anyhow::Result<Value> {
    let mut summary = serde_json::to_value(exported)?;
    if let Some(fields) = summary.as_object_mut() {
        fields.insert("output".to_owned(), output.into());
    }
    Ok(summary)
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
) -> anyhow::Result<()> {
    let ask = Ask::ExportDays {
        days: args.days(from, to.clone()),
        replace: args.replace,
    };
    let exported: Exported<DaysWritten> = with_progress(config, ask)?;
    let rows = exported.written;
    if args.json {
        print_json(&summary(&exported, "PostgreSQL")?)?;
    } else {
        let left_out = left_out(&to, exported.through, args.include_open);
        print(&format!(
            "PostgreSQL: {} rows written (with {} users), {} unchanged, {} set aside{left_out}\n",
            rows.written, rows.users, rows.unchanged, rows.set_aside
        ))?;
    }
    if rows.set_aside > 0 {
        let why = "`counterd export --rejected` says why";
        bail!("{} rows were set aside; {why}", rows.set_aside);
    }
    Ok(())
}

/// Prints the rows that the database did not take.
fn rejected(config: &Config, json: bool) -> anyhow::Result<()> {
    let rows: Vec<RowAside> = carry_out(config, Ask::SetAside, &mut |_| Ok(()))?;
    if json {
        return print_json(&rows);
    }
    if rows.is_empty() {
        return print("no row is set aside\n");
    }
    let mut table = table(&["date", "counter", "reason"], &[]);
    for row in rows {
        table.add_row([row.date.to_string(), row.counter, row.reason]);
    }
    print(&format!("{}\n", table.trim_fmt()))
}

/// Where the text goes.
struct Output {
    out: Box<dyn Write>,
    /// What that is, for people.
    place: String,
    /// `None` for standard output, a device or a pipe, which takes the text as it comes.
    unfinished: Option<UnfinishedFile>,
}

/// A file that has another name until it is finished, so that it is there whole or not at all.
struct UnfinishedFile {
    file: File,
    dir: HeldDir,
    unfinished: OsString,
    finished: OsString,
}

impl Output {
    fn begin(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::direct("standard output", io::stdout()));
        };
        let cannot = || format!("cannot write {}", path.display());
        // A link stays one: what it leads to is written.
        let path = links::followed(path).with_context(cannot)?;
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(&path);
            return Ok(Self::direct(
                "the device or pipe",
                file.with_context(cannot)?,
            ));
        }
        let name = path.file_name();
        let name = name.with_context(|| format!("{} is no file", path.display()))?;
        // No other run, a killed one in another container included, has this name.
        let serial = RandomState::new().hash_one(std::process::id());
        let mut unfinished = name.to_owned();
        unfinished.push(format!(".{serial:016x}.unfinished"));
        // Held: whatever is put in its place meanwhile, the file is made and named in this one.
        let dir = HeldDir::open(links::directory_of(&path)).with_context(cannot)?;
        // For its owner alone: it may hold user ids.
        let file = dir.create(&unfinished).with_context(cannot)?;
        let unfinished = UnfinishedFile {
            file: file.try_clone().with_context(cannot)?,
            dir,
            unfinished,
            finished: name.to_owned(),
        };
        Ok(Self {
            out: Box::new(BufWriter::new(file)),
            place: path.display().to_string(),
            unfinished: Some(unfinished),
        })
    }

    fn direct(place: &str, out: impl Write + 'static) -> Self {
        Self {
            out: Box::new(out),
            place: place.to_owned(),
            unfinished: None,
        }
    }

    /// Gives the file its name; returns where the text is.
    fn finish(mut self) -> anyhow::Result<String> {
        let cannot = || format!("cannot write {}", self.place);
        self.out.flush().with_context(cannot)?;
        if let Some(written) = &self.unfinished {
            written.file.sync_all().with_context(cannot)?;
            let renamed = written.dir.rename(&written.unfinished, &written.finished);
            renamed.with_context(cannot)?;
        }
        Ok(self.place)
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        // Under that name it is there only when it was not finished.
        let _ = self.dir.remove(&self.unfinished);
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
pub(super) fn history(config: &Config, args: HistoryArgs) -> anyhow::Result<()> {
    let days = DaysAsked {
        from: args.from,
        to: args.until,
        counter: Some(args.name.to_string()),
        include_open: true,
    };
    let ask = Ask::Export(days, FileForm::Jsonl, Content::Days);
    let mut lines = String::new();
    carry_out::<Exported<FileWritten>>(config, ask, &mut |part| {
        if let Part::Text(text) = part {
            lines.push_str(&text);
        }
        Ok(())
    })?;
    let heads = HISTORY.map(|(head, _)| head);
    let mut table = table(
        &[&heads[..], &["away", ""]].concat(),
        &[1, 2, 3, 4, 5, 6, 7, 8],
    );
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
