//! How far long work has got, for whoever waits for it.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::control::Part;
use crate::storage::pace::Step;

/// How often a plain line says how far it is, where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far long work has got: a bar on a terminal until it is dropped, now and then a line elsewhere.
pub(super) struct Progress {
    bar: ProgressBar,
    what: String,
    said: Instant,
}

impl Progress {
    pub(super) fn begin() -> Self {
        Self {
            bar: ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear),
            what: String::new(),
            said: Instant::now(),
        }
    }

    /// Shows how far the work has got.
    pub(super) fn step(&mut self, Step { what, done, total }: Step) -> io::Result<()> {
        let bar = &self.bar;
        if self.what != what {
            // Another piece of work, of a rate of its own.
            self.what = what.into_owned();
            bar.reset();
            let template = if total.is_some() {
                "{bar:30} {human_pos}/{human_len} {msg}, {eta} left"
            } else {
                "{spinner} {human_pos} {msg}, {elapsed}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
        }
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
        let text = format!("{}, {:.0} a second", self.what, bar.per_sec());
        if bar.is_hidden() && self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            let of = total.map_or(String::new(), |total| format!(" of {total}"));
            let _ = writeln!(io::stderr(), "{done}{of} {text}");
        }
        bar.set_message(text);
        Ok(())
    }

    /// Shows the part of an answer that says how far the work has got.
    pub(super) fn hear(&mut self, part: Part) -> io::Result<()> {
        match part {
            Part::Progress(step) => self.step(step),
            Part::Text(_) => Ok(()),
        }
    }
}
