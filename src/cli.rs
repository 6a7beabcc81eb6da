//! The command line: what may be typed, and what each command does with it.
//!
//! Commands return a [`CliFailure`]; which exit code that is, `main` alone decides. The work itself is
//! done elsewhere: here are only arguments, the configuration, and text for people.

mod adopt;
mod alert;
mod backup;
mod check;
mod configured;
mod counting;
mod export;
mod health;
mod live;
mod migrate;
mod progress;
mod remote;
mod work;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::calendar::tzdb_version;
pub use adopt::AdoptArgs;
pub use alert::AlertArgs;
pub use backup::{BackupArgs, CompactArgs, InspectArgs, RestoreArgs};
pub use configured::{ConfigArgs, Configured};
pub use counting::{AdjustArgs, CountArgs, DefineArgs, GetArgs, ListArgs, ResetArgs, WriteArgs};
pub use export::{ExportArgs, ExportTarget, HistoryArgs};
pub use health::HealthArgs;
pub use live::{LogArgs, ModeArgs, WantedMode};
pub use migrate::MigrateArgs;
pub use remote::ServerArgs;
pub use work::{DeleteArgs, RepairArgs};

use crate::config::ConfigErrors;
use crate::writer::StartError;

/// Counts game activity exactly: players online, daily users, games played.
#[derive(Debug, Parser)]
#[command(
    name = "counterd",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  counterd serve                      listen on 127.0.0.1:8080, store in ./data
  counterd check && counterd serve    look first
  counterd mode --help                what a command takes, with examples

Exit codes:
  0   done
  1   failed at run time
  2   the command line makes no sense
  3   check found a fault
  78  the configuration is wrong"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: CliCommand,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Count: serve the HTTP API until a signal stops it
    #[command(after_help = "\
Examples:
  counterd serve
  counterd serve --config /etc/counterd/counterd.toml
  counterd serve --listen 0.0.0.0:8080 --data-dir /var/lib/counterd
  counterd serve --timezone Europe/Berlin --day-start 04:00
  counterd serve --set storage.memory=512MiB --set log.access=errors
  COUNTERD_AUTH__ADMIN_TOKEN=... counterd serve

SIGTERM or SIGINT ends it: first the requests under way are answered and stored. A second one ends it at once.
SIGHUP reloads tokens, limits of requests and connections, and what is logged.")]
    Serve(ConfigArgs),

    /// Increment a counter of a running server, and print its value
    #[command(after_help = "\
Examples:
  counterd incr online_players
  counterd incr total_games_played --value 3
  counterd incr daily_active_users --user anna
  counterd incr online_players --url https://counterd.example.net --token-file ~/token --json

Tries again while the server is away or asks for patience, and counts once all the same: each command has an idempotency key.")]
    Incr(CountArgs),

    /// Decrement a counter of a running server, and print its value
    #[command(after_help = "\
Examples:
  counterd decr online_players
  counterd decr online_players --value 2")]
    Decr(CountArgs),

    /// Print values of a running server
    #[command(after_help = "\
Examples:
  counterd get online_players
  counterd get online_players daily_active_users total_games_played
  counterd get online_players --json

One counter prints its value alone, several print a table. Exit code 1 when one is not there.")]
    Get(GetArgs),

    /// Print all counters of a running server
    #[command(after_help = "\
Examples:
  counterd list
  counterd list --prefix event:
  counterd list --json | jq .value

With --json each counter is a line.")]
    List(ListArgs),

    /// Define a counter at a running server, or change its definition
    #[command(after_help = "\
Examples:
  counterd define winter_event --kind sum --max 1000000 --description \"Winter event\"
  counterd define players_today --kind unique --reset daily
  counterd define players_here --kind presence --ttl 90s

What is not given takes its default, also where the counter is there already. Needs the token of administrators.")]
    Define(DefineArgs),

    /// Set a counter of a running server right, with a reason
    #[command(after_help = "\
Examples:
  counterd adjust online_players --value 1200 --reason \"from the lobby's own count\"
  counterd adjust online_players --delta -3 --reason \"three ghosts\"

Needs the token of administrators.")]
    Adjust(AdjustArgs),

    /// Set a counter of a running server to 0
    #[command(after_help = "\
Examples:
  counterd reset winter_event          its value, and what would happen
  counterd reset winter_event --yes

Needs the token of administrators.")]
    Reset(ResetArgs),

    /// Print the effective configuration and where each value comes from
    #[command(after_help = "\
Examples:
  counterd config
  counterd config --config staging.toml | grep calendar
  COUNTERD_LOG__FORMAT=json counterd config

Secrets show as (set) or (not set). Any value can be pasted into counterd.toml as it is printed.")]
    Config(ConfigArgs),

    /// Check configuration and data directory without changing anything
    #[command(after_help = "\
Examples:
  counterd check
  counterd check --deep
  counterd check --config /etc/counterd/counterd.toml || echo \"exit code $?\"

Exit code 3 says that a check found a fault, 78 that the configuration itself is wrong.")]
    Check(Configured<CheckArgs>),

    /// Export closed days to a file, or to PostgreSQL
    #[command(after_help = "\
Examples:
  counterd export --date yesterday --to csv --output yesterday.csv
  counterd export --from 2026-11-01 --until 2026-11-30 --to jsonl --output november.jsonl
  counterd export --date 2026-11-24 --counter daily_active_users --users --to csv
  counterd export --date today --include-open --to jsonl
  counterd export --date yesterday --to postgres
  counterd export --rejected

Works through the running server, or on the data directory when none runs. A file is written whole or \
not at all. Days that have not ended are left out, and the last line says so. CSV is for spreadsheets: a \
user id that a spreadsheet could take for a formula (it, or a part of it after a semicolon, begins with \
= + - @) gets a ' in front, and so does an id that begins with '. JSON lines have every id unchanged.

Exit code 1 when there is no record of the days, or they have not ended; 2 when a date cannot be read.")]
    Export(Configured<ExportArgs>),

    /// Print the days of a counter
    #[command(after_help = "\
Examples:
  counterd history daily_active_users
  counterd history total_games_played --from 2026-11-01 --until 2026-11-30

The newest day comes first. Days that have not ended, or were not closed yet, say so.")]
    History(Configured<HistoryArgs>),

    /// Try the receivers of alerts: each is sent a test notice
    #[command(after_help = "\
Examples:
  counterd alert test

Prints what each receiver says, and ends with 1 when one does not take it. No server is needed.")]
    Alert(Configured<AlertArgs>),

    /// Show the mode of the server, or change it
    #[command(after_help = "\
Examples:
  counterd mode                          what it is, why, and what ends it
  counterd mode read_only                refuse writes, serve reads
  counterd mode normal                   take writes again
  counterd mode normal --accept-clock    ... though the wall clock jumped: it is right now

Speaks to the server that has the data directory open.")]
    Mode(Configured<ModeArgs>),

    /// Show what the server logs besides requests, or change it while it runs
    #[command(after_help = "\
Examples:
  counterd log                               the level in force
  counterd log debug
  counterd log warn,counterd::mirror=debug   of the mirror more than of the rest
  counterd log off

Speaks to the server that has the data directory open. What administrators do is logged at any level. A level that is set here \
holds until the server restarts or reloads its configuration; which requests are logged is `log.access`.")]
    Log(Configured<LogArgs>),

    /// Show counters whose record is corrupt, or set one right
    #[command(after_help = "\
Examples:
  counterd repair                        list them, with the bytes found
  counterd repair online_players --value 1200 --reason \"from the lobby's own count\"

Works through the running server, or on the data directory when none runs.")]
    Repair(Configured<RepairArgs>),

    /// Delete a counter of a running server, or all whose names begin with a prefix
    #[command(after_help = "\
Examples:
  counterd delete winter_event           its value, and what would happen
  counterd delete winter_event --yes     delete it
  counterd delete --prefix typo:         list them
  counterd delete --prefix typo: --yes   delete them

Counters that the configuration defines stay. One counter is deleted over HTTP; a prefix works through the server that has the data \
directory open, or on the directory when none runs.")]
    Delete(Configured<DeleteArgs>),

    /// Open a damaged store at its last consistent point, giving up what came after
    #[command(after_help = "\
Examples:
  counterd recover --data-dir /var/lib/counterd

The server must be off. What is given up is printed; the damaged store is kept beside the recovered \
one. A new epoch begins, by which the copies in Redis and PostgreSQL know. If a backup is newer, restore that instead.

With storage.engine = \"redis\", and a loss there: what Redis still holds becomes a new epoch, and all instances go on.")]
    Recover(ConfigArgs),

    /// Back up the store, also while a server uses it, and verify the backup
    #[command(after_help = "\
Examples:
  counterd backup /backups/counterd
  counterd backup /backups/counterd --keep 14 --json
  counterd backup /backups/counterd --list
  counterd backup /backups/counterd --no-verify

A server that runs goes on counting, and writes the backup as its own user. Files that an earlier backup \
in the directory has are not written again. One directory is for the backups of one store: a directory of \
other things or of another store's backups is refused.")]
    Backup(Configured<BackupArgs>),

    /// Make a backup the store, as a new epoch
    #[command(after_help = "\
Examples:
  counterd restore /backups/counterd --data-dir /var/lib/counterd
  counterd restore /backups/counterd --backup 12
  counterd restore /backups/counterd --replace

The server must be off. Every byte and record is checked before anything is changed. A backup of another \
store than the one that is there is refused. What was counted after the backup is not in it.")]
    Restore(Configured<RestoreArgs>),

    /// Move all counts from a data directory to a shared log in Redis, or back
    #[command(after_help = "\
Examples:
  counterd migrate --from /var/lib/counterd --to redis
  counterd migrate --from redis --to /var/lib/counterd
  counterd migrate --from /var/lib/counterd --to redis --json

No server may run, on the directory or with the log. Where the log is, the section `redis` of the configuration says. Every record \
is compared before anything counts there; the counts keep their epoch. One that was broken off is run again, and begins anew. A \
store that was moved is kept as store.moved-TIME.")]
    Migrate(Configured<MigrateArgs>),

    /// Show whose the copies in Redis and PostgreSQL are; take over those of another store
    #[command(after_help = "\
Examples:
  counterd adopt          whose they are, and what would be replaced; changes nothing
  counterd adopt --yes    replace what another store wrote there

Each store has an id, which backups, restores and recoveries keep. Its copies carry that id, and another \
store that finds them writes nothing to them until it is told so here. Works through the running server, or on the data directory when none runs.")]
    Adopt(Configured<AdoptArgs>),

    /// Print what a data directory holds
    #[command(after_help = "\
Examples:
  counterd inspect
  counterd inspect --data-dir /var/lib/counterd --json
  counterd inspect --count

Asks the running server, or looks at the data directory when none runs, and changes nothing.")]
    Inspect(Configured<InspectArgs>),

    /// Drop now what has expired, and give its space back
    #[command(after_help = "\
Examples:
  counterd compact
  counterd compact --data-dir /var/lib/counterd --json

Works through the running server, or on the data directory when none runs. What has expired goes by \
itself within some days; this is for a disk that needs the space now.")]
    Compact(Configured<CompactArgs>),

    /// Ask the server whether it is ready: exit code 0 if it is, 1 if not
    #[command(after_help = "\
Examples:
  counterd health
  counterd health --writes
  counterd health --listen 127.0.0.1:8080

Asks /readyz at server.listen, over the loopback where that is all interfaces.")]
    Health(Configured<HealthArgs>),

    /// Print the version of the program and of its time zone data
    #[command(after_help = "\
Example:
  counterd version")]
    Version,

    /// Write the man pages, one for each command
    #[command(after_help = "\
Examples:
  counterd man /usr/local/share/man/man1
  counterd man . && man ./counterd-incr.1")]
    Man {
        /// Directory for the pages
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },

    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  counterd completions bash > /etc/bash_completion.d/counterd
  counterd completions fish > ~/.config/fish/completions/counterd.fish")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What `check` looks at.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckArgs {
    /// Read every record of the store too, and name the tables that cannot be read
    #[arg(long)]
    pub deep: bool,
}

/// Why a command did not do what was asked. `main` makes an exit code and a message of it.
#[derive(Debug, thiserror::Error)]
pub enum CliFailure {
    /// It failed at run time.
    #[error("{}", whole(.0))]
    RunTime(anyhow::Error),
    /// The command line makes no sense, or asks for help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A check found a fault, and said so.
    #[error("check found {0}")]
    Check(String),
    /// The configuration is wrong.
    #[error("the configuration is wrong:\n{0}")]
    Config(#[from] ConfigErrors),
    /// The configuration contradicts what is stored.
    #[error("{0}")]
    Contradiction(String),
}

/// Returns the failure of arguments that do not go together.
fn usage(text: &str) -> anyhow::Error {
    let usage = Cli::command().error(clap::error::ErrorKind::ArgumentConflict, text);
    CliFailure::Usage(usage).into()
}

/// Returns the error with its causes. A cause is left out where the text before it ends with it already.
fn whole(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

impl From<anyhow::Error> for CliFailure {
    fn from(error: anyhow::Error) -> CliFailure {
        match error.downcast_ref::<StartError>() {
            Some(start) if start.is_configuration() => CliFailure::Contradiction(start.to_string()),
            _ => error.downcast().unwrap_or_else(CliFailure::RunTime),
        }
    }
}

/// Does what the arguments (the program's name first) say.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), CliFailure> {
    let Cli { command } = Cli::try_parse_from(arguments)?;
    Ok(match command {
        CliCommand::Serve(args) => {
            let flags = args.overrides()?;
            let load = || args.load_with(&flags);
            let (config, warnings) = load()?;
            crate::serve::run(&config, &warnings, &load)
        }
        CliCommand::Incr(args) => counting::incr(args),
        CliCommand::Decr(args) => counting::decr(args),
        CliCommand::Get(args) => counting::get(args),
        CliCommand::List(args) => counting::list(args),
        CliCommand::Define(args) => counting::define(args),
        CliCommand::Adjust(args) => counting::adjust(args),
        CliCommand::Reset(args) => counting::reset(args),
        CliCommand::Config(args) => print(&args.load_and_warn()?.to_string()),
        CliCommand::Check(Configured { args, config }) => {
            let (config, warnings) = config.load()?;
            check::run(&config, &warnings, args.deep)
        }
        CliCommand::Export(command) => command.run(export::export),
        CliCommand::History(command) => command.run(export::history),
        CliCommand::Alert(command) => command.run(alert::alert),
        CliCommand::Mode(command) => command.run(live::mode),
        CliCommand::Log(command) => command.run(live::log),
        CliCommand::Repair(command) => command.run(work::repair),
        CliCommand::Delete(Configured {
            args:
                DeleteArgs {
                    name: Some(name),
                    yes,
                    write,
                    ..
                },
            ..
        }) => counting::delete(&name, yes, &write),
        CliCommand::Delete(command) => command.run(work::delete),
        CliCommand::Recover(args) => work::recover_store(&args.load_and_warn()?),
        CliCommand::Backup(command) => command.run(backup::backup),
        CliCommand::Migrate(command) => command.run(migrate::migrate),
        CliCommand::Adopt(command) => command.run(adopt::adopt),
        CliCommand::Restore(command) => command.run(backup::restore),
        CliCommand::Inspect(command) => command.run(backup::inspect),
        CliCommand::Compact(command) => command.run(backup::compact),
        CliCommand::Health(command) => command.run(health::health),
        CliCommand::Version => print(&format!(
            "counterd {}\ntime zone data {}\n",
            env!("CARGO_PKG_VERSION"),
            tzdb_version()
        )),
        CliCommand::Man { dir } => {
            clap_mangen::generate_to(Cli::command(), dir).map_err(Into::into)
        }
        CliCommand::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "counterd", &mut text);
            print(&String::from_utf8_lossy(&text))
        }
    }?)
}

/// Prints to standard output; a reader that has seen enough is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a JSON object, or another value.
fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}

/// Makes a table without lines, in which some columns stand to the right.
fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for &at in right {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_s_help_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().unwrap().to_string();
            let call = format!("counterd {}", command.get_name());
            assert!(help.contains("Example") && help.contains(&call), "{call}");
        }
    }
}
