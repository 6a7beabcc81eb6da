//! What turned while the store took no writes, in a file beside it: so a kill meanwhile has nothing told twice. It is
//! not synced: after a power cut something may be told twice.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::metrics::Cause;
use crate::storage::{AlertRecord, NoticeRecord};
use crate::writer::Failure;

/// What the store does not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Aside {
    /// Of which history of the store.
    pub epoch: u64,
    /// The alerts that turned: rule, counter, and how each stands; `None` where it is ok.
    pub alerts: Vec<(String, Option<String>, Option<AlertRecord>)>,
    /// All notices that wait.
    pub notices: Vec<(u64, NoticeRecord)>,
}

impl Aside {
    /// Returns where the file lies.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("alerts")
    }

    /// Reads the file; `None` where there is none that says something.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

/// What is to be written into the file.
pub(super) struct WriteAside {
    pub aside: Aside,
    pub path: PathBuf,
}

impl WriteAside {
    /// Writes the file anew.
    pub fn write(&self) -> Result<(), Failure> {
        let new = self.path.with_extension("new");
        let text = serde_json::to_vec(&self.aside).unwrap_or_default();
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path));
        written.map_err(|error| {
            tracing::debug!(%error, "what turned cannot be put aside");
            Failure::ReadOnly(Cause::Space)
        })
    }
}
