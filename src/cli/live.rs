//! The commands that only a running server can carry out.

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::work::asked;
use super::{print, usage};
use crate::access_log::level_in_words;
use crate::config::Config;
use crate::control::Ask;

/// Arguments of `mode`.
#[derive(Debug, Clone, Args)]
pub struct ModeArgs {
    /// The new mode; without it the present one is shown
    pub mode: Option<WantedMode>,

    /// With `normal`: the wall clock is right now, whatever it did before
    #[arg(long, requires = "mode")]
    pub accept_clock: bool,
}

/// A mode that an operator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WantedMode {
    /// Reads and writes are served
    #[value(name = "normal")]
    Normal,
    /// Reads are served, writes are refused
    #[value(name = "read_only", alias = "read-only")]
    ReadOnly,
}

/// Arguments of `log`.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// off, error, warn, info, debug or trace; also TARGET=LEVEL for parts of the program, with commas between them
    #[arg(value_parser = level_in_words)]
    pub level: Option<String>,
}

/// Shows or changes the mode of the running server.
pub(super) fn mode(config: &Config, args: ModeArgs) -> anyhow::Result<()> {
    let read_only = args.mode.map(|mode| mode == WantedMode::ReadOnly);
    if args.accept_clock && read_only == Some(true) {
        return Err(usage("--accept-clock goes with `normal`"));
    }
    let ask = Ask::Mode {
        read_only,
        accept_clock: args.accept_clock,
    };
    of_the_server(config, &ask)
}

/// Shows or changes the level of the running server's log.
pub(super) fn log(config: &Config, args: LogArgs) -> anyhow::Result<()> {
    of_the_server(config, &Ask::Log { level: args.level })
}

/// Prints what the running server answers.
fn of_the_server(config: &Config, ask: &Ask) -> anyhow::Result<()> {
    let told: Option<String> = asked(config, ask, &mut |_| Ok(()))?;
    let dir = config.storage.data_dir.display();
    print(
        &told.with_context(|| {
            format!("no server has {dir} open; start one with `counterd serve`")
        })?,
    )
}
