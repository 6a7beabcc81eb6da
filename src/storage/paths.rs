//! Where the parts of a store lie on disk.

use std::path::{Path, PathBuf};

use super::acked;

/// Where the parts of a store lie.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub data_dir: PathBuf,
    pub store: PathBuf,
    pub building: PathBuf,
    pub db: PathBuf,
    pub acked: PathBuf,
}

impl Paths {
    pub fn new(data_dir: &Path) -> Self {
        Self::at(data_dir.to_owned(), data_dir.join("store"))
    }

    pub fn at(data_dir: PathBuf, store: PathBuf) -> Self {
        Self {
            building: data_dir.join("store.new"),
            db: store.join("db"),
            acked: store.join(acked::FILE_NAME),
            data_dir,
            store,
        }
    }
}
