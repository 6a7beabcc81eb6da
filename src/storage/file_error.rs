//! A failed operation on a file or directory, with what it was for.

use std::io;
use std::path::PathBuf;

/// A file or directory operation that failed, with what it was for.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}{}", path.display(), limit_in(&source.to_string()))]
pub struct FileError {
    /// What was being done, as a verb: "read", "sync", "rename".
    pub doing: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl FileError {
    /// Wraps what the operating system said about `path`; for `map_err`.
    pub fn new<E: Into<io::Error>>(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self {
            doing,
            path,
            source: source.into(),
        }
    }
}

/// Turns "not found" into `None`.
pub fn if_there<T>(found: Result<T, FileError>) -> Result<Option<T>, FileError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names the limit behind an error that the operating system words as something else; empty for most.
pub fn limit_in(text: &str) -> &'static str {
    if text.contains("File too large") {
        " (a limit on the size of a file: `ulimit -f`, LimitFSIZE= of a unit, or the file system's own)"
    } else if text.contains("No space left on device") {
        " (no bytes, `df -h`, or no inodes, `df -i`)"
    } else {
        ""
    }
}
