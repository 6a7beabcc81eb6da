//! The clients of `clients/`, one language each: against a server that answers by a script
//! (`clients/conformance.json`), and against the real one, which is killed, loses answers, cannot write to its disk and
//! limits rates. What they were told was counted is exactly what was counted.
//!
//! A language is a [`Language`] and a module that says `client_tests!`; everything else is the same for all.

mod python;
mod real;
mod script;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use serde_json::Value;

use crate::harness::PATIENCE;

/// How the programs of one language are run.
pub(super) trait Language {
    /// Its folder in `clients/`.
    fn folder(&self) -> &'static str;

    /// A program of the client's `tests` or `examples`, without its ending, such as `tests/count`.
    fn program(&self, name: &str) -> Command;

    /// How the README marks a block of code of the language.
    fn marks_code(&self) -> &'static str;

    /// A program that is the first example of the README.
    fn snippet(&self, text: &str) -> Command;
}

/// All tests of one language. `$find` gives the language, or why it cannot be tested here.
macro_rules! client_tests {
    ($find:expr) => {
        crate::clients::client_tests! {
            $find,
            script::conforms,
            real::nothing_is_lost_or_doubled_by_kill_9,
            real::nothing_is_lost_or_doubled_by_lost_answers,
            real::nothing_is_lost_or_doubled_by_a_failing_disk,
            real::limits_of_rates_slow_it_down_and_lose_nothing,
            real::the_first_example_of_the_readme_runs_as_written,
            real::the_examples_run,
        }
    };
    ($find:expr, $($module:ident::$test:ident,)*) => {
        $(
            #[test]
            fn $test() {
                match $find {
                    Ok(language) => crate::clients::$module::$test(&language),
                    Err(reason) => crate::harness::skipped(module_path!(), &reason),
                }
            }
        )*
    };
}
use client_tests;

fn folder(language: &dyn Language) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(language.folder())
}

/// A running program whose lines are read as they come; dropped, it is killed.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Its next line; `None` when it has ended.
    #[track_caller]
    fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it says nothing for {PATIENCE:?}"),
        }
    }

    #[track_caller]
    fn json(&self) -> Value {
        let line = self.line().expect("it has ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Ends its input, which tells it to come to an end.
    fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// What is left of its lines; claims that it ends well.
    #[track_caller]
    fn rest(mut self) -> Vec<String> {
        self.end_input();
        let lines = std::iter::from_fn(|| self.line()).collect();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {lines:?}");
        lines
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error says that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
