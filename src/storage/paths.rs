//! Where the parts of a store lie on disk.

use std::path::{Path, PathBuf};

use super::acked;

/// Where a new store is made, before it gets its place.
pub(super) const NEW: &str = "store.new";

/// Where `recover` works.
pub(super) const RECOVERING: &str = "store.recovering";

/// Where `recover` writes a store anew.
pub(super) const SALVAGING: &str = "store.salvaging";

/// Where a backup is restored to, before it gets the store's place.
pub(super) const RESTORING: &str = "store.restoring";

/// Where a store is made of the records of a shared log, before it gets its place.
pub(super) const MIGRATING: &str = "store.migrating";

/// What a store is called between the making of a shared log of its records and its name for good.
pub(super) const MOVING: &str = "store.moving";

/// What the name begins with of a store that was moved to a shared log; then when, in milliseconds since 1970.
pub(super) const MOVED: &str = "store.moved-";

/// Where the view of a shared log is.
const VIEW: &str = "view";

const REPLACED: &str = "store.before-";

/// Where the parts of a store lie.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub data_dir: PathBuf,
    pub store: PathBuf,
    pub db: PathBuf,
    pub acked: PathBuf,
}

impl Paths {
    /// Returns where the store of a data directory lies.
    pub fn new(data_dir: &Path) -> Self {
        Self::named(data_dir, "store")
    }

    /// Returns where the view of a shared log lies.
    pub fn view(data_dir: &Path) -> Self {
        Self::named(data_dir, VIEW)
    }

    /// Returns where a store of that name lies beside this one.
    pub fn beside(&self, name: &str) -> Self {
        Self::named(&self.data_dir, name)
    }

    /// Returns where the store is kept that was set aside when `epoch` began.
    pub fn replaced_by(&self, epoch: u64) -> Self {
        self.beside(&format!("{REPLACED}{epoch}"))
    }

    /// Reads the epoch from the name of a store that was set aside; `None` when it is no such name.
    pub fn epoch_that_replaced(name: &str) -> Option<u64> {
        name.strip_prefix(REPLACED)?.parse().ok()
    }

    fn named(data_dir: &Path, name: &str) -> Self {
        let store = data_dir.join(name);
        Self {
            data_dir: data_dir.to_owned(),
            db: store.join("db"),
            acked: store.join(acked::FILE_NAME),
            store,
        }
    }
}
