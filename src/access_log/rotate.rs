//! Log files that change with the local day and at a size, of which the newest are kept.
//!
//! A day's first file is `counterd-2026-11-24.log`; when it is full the day goes on in
//! `counterd-2026-11-24.log.1`, then `.2`. No file is ever renamed, so a higher number is newer. A
//! line is in the file of the day in which it was written to disk, which may be a moment after the
//! request.
//!
//! A failing disk loses lines, never more: the file is closed, and the next write opens it anew.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::file::{LogFile, Lost, Open, Opened, whole_lines, write_lines};
use crate::calendar::Day;
use crate::metrics::LogMetrics;

/// Where log files are and how many.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The directory, made when it is missing. Files in it with other names are left alone.
    pub dir: PathBuf,
    /// Bytes after which a file is followed by another; a single longer line is written whole.
    pub max_file_size: u64,
    /// Files kept, with the one in use; at least 1.
    pub max_files: usize,
}

/// A file's place in time: its day, then the number within the day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    day: Day,
    number: u32,
}

impl Place {
    fn file_name(&self) -> String {
        match self.number {
            0 => format!("counterd-{}.log", self.day),
            number => format!("counterd-{}.log.{number}", self.day),
        }
    }

    /// Returns the place of a file of ours; `None` for any other.
    fn of(file_name: &str) -> Option<Self> {
        let (day, number) = file_name.strip_prefix("counterd-")?.split_once(".log")?;
        let day = day.parse().ok()?;
        let number = match number.strip_prefix('.') {
            Some(digits) => digits.parse().ok()?,
            None => 0,
        };
        Some(Self { day, number }).filter(|place| place.file_name() == file_name)
    }
}

/// The file in use.
pub(super) struct Current {
    place: Place,
    size: u64,
    file: Box<dyn LogFile>,
}

impl Current {
    fn has_room(&self, line: usize, max_file_size: u64) -> bool {
        self.size == 0 || self.size.saturating_add(line as u64) <= max_file_size
    }

    fn append(&mut self, lines: &[u8]) -> Result<(), Lost> {
        let result = write_lines(&mut *self.file, lines);
        match &result {
            Ok(()) => self.size = self.size.saturating_add(lines.len() as u64),
            Err(lost) if lost.torn => {
                // Should this fail too, opening finds the torn line and ends it.
                let _ = self.file.cut(self.size.saturating_add(lost.kept as u64));
            }
            Err(_) => {}
        }
        result
    }
}

/// Returns the bytes up to the end of the first line.
fn first_line(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1)
}

pub(super) struct RotatingFile {
    options: FileOptions,
    open: Open,
    current: Option<Current>,
    metrics: LogMetrics,
}

impl RotatingFile {
    pub(super) fn new(options: FileOptions, open: Open, metrics: LogMetrics) -> Self {
        Self {
            options,
            open,
            current: None,
            metrics,
        }
    }

    /// Writes whole lines into the files of `day`.
    pub(super) fn write_lines(&mut self, day: Day, lines: &[u8]) -> Result<(), Lost> {
        let max_file_size = self.options.max_file_size;
        let mut done = 0;
        while let Some(rest) = lines.get(done..).filter(|rest| !rest.is_empty()) {
            let first = first_line(rest);
            let current = self.with_room(day, first).map_err(|error| Lost {
                error,
                kept: done,
                torn: false,
            })?;
            let room = usize::try_from(max_file_size.saturating_sub(current.size));
            let fitting = rest.get(..room.unwrap_or(usize::MAX)).unwrap_or(rest);
            let now = whole_lines(fitting).max(first);
            if let Err(lost) = current.append(rest.get(..now).unwrap_or(rest)) {
                self.current = None;
                return Err(Lost {
                    kept: done + lost.kept,
                    ..lost
                });
            }
            done += now;
        }
        Ok(())
    }

    /// Returns the file of `day`, another one if need be, with room for a line of `line` bytes.
    pub(super) fn with_room(&mut self, day: Day, line: usize) -> io::Result<&mut Current> {
        let usable = self.current.take().filter(|current| {
            current.place.day == day
                && current.has_room(line, self.options.max_file_size)
                && !current.file.is_deleted()
        });
        let current = match usable {
            Some(current) => current,
            None => self.open_newest(day, line)?,
        };
        Ok(self.current.insert(current))
    }

    fn open_newest(&self, day: Day, line: usize) -> io::Result<Current> {
        let newest = self.places().into_iter().rfind(|place| place.day == day);
        let mut place = newest.unwrap_or(Place { day, number: 0 });
        loop {
            let Opened { file, size, torn } = (self.open)(&self.path(&place))?;
            let mut current = Current { place, size, file };
            if current.has_room(line, self.options.max_file_size) {
                if torn {
                    current.append(b"\n").map_err(|lost| lost.error)?;
                }
                self.remove_oldest(&current.place);
                return Ok(current);
            }
            place = current.place;
            place.number = place.number.saturating_add(1);
        }
    }

    fn path(&self, place: &Place) -> PathBuf {
        self.options.dir.join(place.file_name())
    }

    /// Returns the places of all files of ours, oldest first. A directory that cannot be read has none:
    /// opening the file will say why.
    fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = fs::read_dir(&self.options.dir)
            .into_iter()
            .flatten()
            .filter_map(|entry| Place::of(entry.ok()?.file_name().to_str()?))
            .collect();
        places.sort_unstable();
        places
    }

    fn remove_oldest(&self, in_use: &Place) {
        let places = self.places();
        let surplus = places.len().saturating_sub(self.options.max_files.max(1));
        // After the clock was set back the file in use is not the newest.
        let oldest = places.iter().filter(|place| *place != in_use);
        for place in oldest.take(surplus) {
            if fs::remove_file(self.path(place)).is_err() {
                self.metrics.write_errors.inc();
            }
        }
    }
}

#[cfg(test)]
mod tests;
