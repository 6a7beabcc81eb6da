//! The one place where a log file is opened, and how whole lines are written to it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::links::NO_LINK;

/// Lines could not be written.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) error: io::Error,
    /// Bytes of the lines that were written whole before the failure.
    pub(super) kept: usize,
    /// Whether a part of the next line was written too.
    pub(super) torn: bool,
}

/// Writes whole lines.
pub(super) fn write_lines(out: &mut (impl Write + ?Sized), lines: &[u8]) -> Result<(), Lost> {
    let mut written = 0;
    while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
        let error = match out.write(rest) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(n) => {
                written += n;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        let kept = whole_lines(lines.get(..written).unwrap_or(lines));
        return Err(Lost {
            error,
            kept,
            torn: kept < written,
        });
    }
    Ok(())
}

/// Returns the bytes up to the end of the last whole line.
pub(super) fn whole_lines(text: &[u8]) -> usize {
    memchr::memrchr(b'\n', text).map_or(0, |at| at + 1)
}

/// An open log file, written at its end only.
pub(super) trait LogFile: Write + Send {
    /// Cuts the file to `size` bytes.
    fn cut(&self, size: u64) -> io::Result<()>;

    /// Returns whether the file has been deleted, so that what is written to it is lost.
    fn is_deleted(&self) -> bool;
}

impl LogFile for File {
    fn cut(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn is_deleted(&self) -> bool {
        self.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }
}

pub(super) struct Opened {
    pub(super) file: Box<dyn LogFile>,
    /// Bytes in it.
    pub(super) size: u64,
    /// Whether it ends in the middle of a line, as a crash or a full disk may leave it.
    pub(super) torn: bool,
}

/// How a file is opened; tests put a failing disk in its place.
pub(super) type Open = Box<dyn Fn(&Path) -> io::Result<Opened> + Send>;

/// Opens `path` to append, making it and its directory where they are missing. Others of the
/// owner's group may read it.
pub(super) fn open(path: &Path) -> io::Result<Opened> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        // Nor a pipe, which would hold the log up until somebody reads.
        .custom_flags(NO_LINK)
        .open(path)?;
    let there = file.metadata()?;
    if !there.is_file() {
        let text = format!("{} is no file", path.display());
        return Err(io::Error::other(text));
    }
    let size = there.len();
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    Ok(Opened {
        file: Box::new(file),
        size,
        torn: last != [b'\n'],
    })
}
