//! Where log lines end: standard output or rotating files. Both logs, of requests and of events,
//! share one, and each writes whole lines.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use parking_lot::Mutex;

use super::file::{self, Lost};
use super::rotate::{FileOptions, RotatingFile};
use super::{LogError, LogFormat, line};
use crate::calendar::Calendar;
use crate::clock::Clock;
use crate::metrics::{LogKind, LogMetrics};

enum Target {
    Stream {
        file: File,
        torn: bool,
    },
    Files {
        files: RotatingFile,
        dates: Calendar,
    },
}

struct Sink {
    target: Target,
    failing: bool,
}

/// The end of both logs; cheap to clone.
///
/// It is written by the two log threads only. A failed write is counted, told on standard error
/// once until it is over, and tried anew with the next lines.
#[derive(Clone)]
pub struct LogOutput {
    sink: Arc<Mutex<Sink>>,
    clock: Arc<dyn Clock>,
    metrics: LogMetrics,
}

impl LogOutput {
    /// Writes to standard output.
    ///
    /// # Errors
    /// [`LogError::Stdout`] when it is closed.
    pub fn stdout(clock: Arc<dyn Clock>, metrics: LogMetrics) -> Result<Self, LogError> {
        // Not through std's Stdout: its buffer would hide how much of a failed write was written.
        let fd = io::stdout().as_fd().try_clone_to_owned();
        let file = File::from(fd.map_err(LogError::Stdout)?);
        let target = Target::Stream { file, torn: false };
        Ok(Self::new(target, clock, metrics))
    }

    /// Writes to files that rotate with the days of `dates`. The first is opened here.
    ///
    /// # Errors
    /// [`LogError::Files`] when that fails. Later failures are counted and tried anew.
    pub fn files(
        options: FileOptions,
        clock: Arc<dyn Clock>,
        dates: Calendar,
        metrics: LogMetrics,
    ) -> Result<Self, LogError> {
        let dir = options.dir.clone();
        let mut files = RotatingFile::new(options, Box::new(file::open), metrics.clone());
        files
            .with_room(dates.day_of(clock.wall_ms()), 1)
            .map_err(|source| LogError::Files { dir, source })?;
        Ok(Self::new(Target::Files { files, dates }, clock, metrics))
    }

    fn new(target: Target, clock: Arc<dyn Clock>, metrics: LogMetrics) -> Self {
        let failing = false;
        Self {
            sink: Arc::new(Mutex::new(Sink { target, failing })),
            clock,
            metrics,
        }
    }

    pub(super) fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    pub(super) fn metrics(&self) -> &LogMetrics {
        &self.metrics
    }

    /// Writes whole lines and returns how many of them were lost.
    pub(super) fn write_lines(&self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        let mut sink = self.sink.lock();
        let result = match &mut sink.target {
            Target::Stream { file, torn } => write_stream(file, torn, lines),
            Target::Files { files, dates } => {
                files.write_lines(dates.day_of(self.wall_ms()), lines)
            }
        };
        let was_failing = std::mem::replace(&mut sink.failing, result.is_err());
        let Err(Lost { error, kept, .. }) = result else {
            if was_failing {
                tell_operator("counterd: the log is written again");
            }
            return 0;
        };
        self.metrics.write_errors.inc();
        if !was_failing {
            tell_operator(&format!(
                "counterd: cannot write the log, lines are lost until it can: {error}"
            ));
        }
        let lost = lines.get(kept..).unwrap_or_default();
        memchr::memchr_iter(b'\n', lost).count() as u64
    }

    /// Writes the line that says how many lines of a log were lost, unless none; what cannot be
    /// told now stays in `untold`.
    pub(super) fn tell_dropped(&self, format: LogFormat, log: LogKind, untold: &mut u64) {
        if *untold == 0 {
            return;
        }
        let text = line::dropped(format, self.wall_ms(), log.as_str(), *untold);
        if self.write_lines(text.as_bytes()) == 0 {
            *untold = 0;
        }
    }

    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Sized + '_ {
        self.sink.lock()
    }
}

/// Tells on standard error what the log itself cannot say.
fn tell_operator(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Writes whole lines into what cannot be cut back: after a failure within a line, the next write
/// ends it first.
fn write_stream(stream: &mut impl Write, torn: &mut bool, lines: &[u8]) -> Result<(), Lost> {
    if *torn {
        file::write_lines(stream, b"\n")?;
        *torn = false;
    }
    let result = file::write_lines(stream, lines);
    *torn = result.as_ref().is_err_and(|lost| lost.torn);
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// Takes `room` bytes, then fails until it is given more.
    struct Narrow {
        text: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.room -= n;
            self.text.extend_from_slice(bytes.get(..n).unwrap());
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let mut stream = Narrow {
            text: Vec::new(),
            room: 7,
        };
        let mut torn = false;
        let lost = write_stream(&mut stream, &mut torn, b"one\ntwo\nthree\n").unwrap_err();
        assert_eq!(lost.kept, 4);
        assert_eq!(
            write_stream(&mut stream, &mut torn, b"four\n")
                .unwrap_err()
                .kept,
            0
        );
        stream.room = 100;
        write_stream(&mut stream, &mut torn, b"five\n").unwrap();
        write_stream(&mut stream, &mut torn, b"six\n").unwrap();
        assert!(!torn);
        assert_eq!(stream.text, b"one\ntwo\nfive\nsix\n");
    }
}
