//! `counterd alert`, and what `counterd check` tells of who is told of alerts.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use super::print;
use crate::alerts::{Answered, Poster, Receivers, reach_all, tell_test};
use crate::background::runtime;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::serve::alert_options;

/// Arguments of `alert`.
#[derive(Debug, Clone, Args)]
pub struct AlertArgs {
    /// What to do
    pub action: AlertAction,
}

/// What can be done with alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AlertAction {
    /// Send a notice that is marked as a test to each receiver, and print what it says
    Test,
}

/// Sends a test notice by each way that is configured.
pub(super) fn alert(config: &Config, args: AlertArgs) -> anyhow::Result<()> {
    let AlertAction::Test = args.action;
    let options = alert_options(config);
    let Receivers {
        webhook,
        alertmanager,
        ..
    } = &options.receivers;
    if webhook.is_none() && alertmanager.is_none() {
        bail!(
            "nobody is told of alerts: set alerts.webhook or alerts.alertmanager (docs/alerts.md)"
        );
    }
    let poster = Poster::new(options.receivers.timeout);
    let now_ms = SystemClock.wall_ms();
    let told = tell_test(&poster, &options.receivers, &options.texts, now_ms);
    let answers = runtime().context("a runtime")?.block_on(told);
    let (mut text, mut failed) = (String::new(), 0);
    for Answered { receiver, result } in answers {
        failed += usize::from(result.is_err());
        let (Ok(said) | Err(said)) = result;
        let _ = writeln!(text, "{receiver}: {said}");
    }
    print(&text)?;
    match failed {
        0 => Ok(()),
        1 => bail!("a receiver did not take the test notice"),
        failed => bail!("{failed} receivers did not take the test notice"),
    }
}

/// Says whether each receiver can be reached; nothing is sent to it.
pub(super) fn receivers(config: &Config) -> Vec<(String, Result<String, String>)> {
    let receivers = alert_options(config).receivers;
    let poster = Poster::new(receivers.timeout);
    let reached = runtime().map(|runtime| runtime.block_on(reach_all(&poster, &receivers)));
    let reached = reached.unwrap_or_default().into_iter();
    reached
        .map(|Answered { receiver, result }| (receiver, result))
        .collect()
}
