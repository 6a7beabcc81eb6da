//! Where the configuration of a command is, and what overrides it.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use super::{CliFailure, usage};
use crate::config::{Config, ConfigErrors, Override, Warning};

/// Read when it is there and `--config` names no other.
const DEFAULT_FILE: &str = "counterd.toml";

/// What a command takes, and where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct Configured<A: Args> {
    /// What the command takes.
    #[command(flatten)]
    pub args: A,

    /// Where the configuration is, and what overrides it.
    #[command(flatten)]
    pub config: ConfigArgs,
}

impl<A: Args> Configured<A> {
    /// Does what the command does, under the configuration; prints the warnings first.
    pub(super) fn run(
        self,
        command: impl FnOnce(&Config, A) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let config = self.config.load_and_warn()?;
        command(&config, self.args)
    }
}

/// Where the configuration is, and what overrides it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// Configuration file [default: ./counterd.toml where there is one]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,

    /// Address and port to listen on (server.listen)
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,

    /// Directory of the store (storage.data_dir)
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<String>,

    /// IANA time zone of local days (calendar.timezone)
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,

    /// Local time at which a day begins (calendar.day_start)
    #[arg(long, value_name = "HH:MM")]
    pub day_start: Option<String>,

    /// Directory of log files (log.dir)
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub log_dir: Option<String>,

    /// text or json (log.format)
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// error, warn, info, debug or trace (log.level)
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Requests to log: all, errors or off (log.access)
    #[arg(long, value_name = "WHICH")]
    pub log_access: Option<String>,

    /// Any other key; secrets only in the file or the environment
    #[arg(long, value_name = "SECTION.NAME=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Returns the effective configuration.
    pub fn load(&self) -> anyhow::Result<(Config, Vec<Warning>)> {
        let loaded = self.load_with(&self.overrides()?);
        Ok(loaded.map_err(CliFailure::Config)?)
    }

    /// Returns the effective configuration; prints its warnings.
    pub(super) fn load_and_warn(&self) -> anyhow::Result<Config> {
        let (config, warnings) = self.load()?;
        tell(&warnings);
        Ok(config)
    }

    /// Returns the effective configuration under these flags.
    pub(super) fn load_with(
        &self,
        flags: &[Override],
    ) -> Result<(Config, Vec<Warning>), ConfigErrors> {
        let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        Config::load(flags, &environment, self.file().as_deref())
    }

    /// Returns the file to read; `None` where there is none.
    fn file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| {
            let default = Path::new(DEFAULT_FILE);
            default.exists().then(|| default.to_path_buf())
        })
    }

    pub(super) fn overrides(&self) -> anyhow::Result<Vec<Override>> {
        let own_flags = [
            ("--listen", "server.listen", &self.listen),
            ("--data-dir", "storage.data_dir", &self.data_dir),
            ("--timezone", "calendar.timezone", &self.timezone),
            ("--day-start", "calendar.day_start", &self.day_start),
            ("--log-dir", "log.dir", &self.log_dir),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
            ("--log-access", "log.access", &self.log_access),
        ];
        let own_flags = own_flags
            .into_iter()
            .filter_map(|(flag, key, value)| Some(Ok(Override::new(flag, key, value.as_deref()?))));
        let sets = self.set.iter();
        let sets = sets.map(|text| Override::from_set(text).map_err(usage));
        own_flags.chain(sets).collect()
    }
}

pub(super) fn tell(warnings: &[impl Display]) {
    let mut out = io::stderr().lock();
    for warning in warnings {
        // Where nobody listens there is nobody to tell.
        let _ = writeln!(out, "warning: {warning}");
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::cli::{Cli, CliCommand};
    use crate::config::all_keys;

    #[test]
    fn the_flags_are_those_of_the_table_of_keys() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        let mut args = vec!["counterd".into(), "serve".into()];
        let mut expected = Vec::new();
        for (flag, key) in all_keys().filter_map(|key| Some((key.flag?, key.name))) {
            let argument = serve
                .get_arguments()
                .find(|argument| argument.get_long() == flag.strip_prefix("--"))
                .unwrap_or_else(|| panic!("{flag} is missing"));
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains(&format!("({key})")), "{flag}: {help}");
            args.extend([OsString::from(flag), OsString::from("value")]);
            expected.push((flag.to_owned(), key.to_owned()));
        }
        let CliCommand::Serve(parsed) = Cli::try_parse_from(args).unwrap().command else {
            panic!("not serve");
        };
        let mut overrides: Vec<(String, String)> = parsed
            .overrides()
            .unwrap()
            .into_iter()
            .map(|given| (given.flag, given.key))
            .collect();
        overrides.sort();
        expected.sort();
        assert_eq!(overrides, expected);
    }
}
