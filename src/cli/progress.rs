//! How far long work has got, for whoever waits for it.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

use crate::control::Part;
use crate::storage::pace::Step;

/// How often a plain line says how far it is, where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far long work has got: a bar on a terminal, now and then a line elsewhere.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    begun: Instant,
    said: Instant,
}

impl Progress {
    pub(super) fn begin() -> Self {
        let bar = io::stderr().is_terminal().then(ProgressBar::new_spinner);
        Self {
            bar,
            what: String::new(),
            begun: Instant::now(),
            said: Instant::now(),
        }
    }

    /// Shows the part of an answer that says how far the work has got.
    pub(super) fn tell(&mut self, part: &Part) {
        if let Part::Progress { what, done, total } = part {
            self.at(what, *done, *total);
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    pub(super) fn at(&mut self, what: &str, done: u64, total: Option<u64>) {
        if self.what != what {
            // Another piece of work, of a rate of its own.
            what.clone_into(&mut self.what);
            self.begun = Instant::now();
            if let Some(bar) = &self.bar {
                bar.reset();
            }
        }
        match &self.bar {
            Some(bar) => {
                let template = if total.is_some() {
                    "{bar:30} {human_pos}/{human_len} {msg}, {rate} a second, {eta} left"
                } else {
                    "{spinner} {human_pos} {msg}, {rate} a second, {elapsed}"
                };
                if let Some(total) = total {
                    bar.set_length(total);
                }
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style.with_key("rate", whole_rate));
                }
                bar.set_message(what.to_owned());
                bar.set_position(done);
            }
            None if self.said.elapsed() >= LINE_EVERY => {
                self.said = Instant::now();
                let rate = done as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
                let of = total.map_or(String::new(), |total| format!(" of {total}"));
                let _ = writeln!(io::stderr(), "{done}{of} {what}, {rate:.0} a second");
            }
            None => {}
        }
    }

    /// Hears how far work in this process is.
    pub(super) fn step(&mut self, Step { what, done, total }: Step) -> io::Result<()> {
        self.at(what, done, Some(total));
        Ok(())
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The rate of a bar without fractions.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for people"
)]
fn whole_rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // What cannot be shown is not shown.
    let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
}
