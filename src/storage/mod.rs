//! What is on disk: the store that keeps every acknowledged change.
//!
//! The writer hands a [`Batch`] to [`Store::commit`], which returns once the batch is synced and
//! recorded as acknowledged. [`Store::open`] checks, before it changes a byte, that the directory
//! still holds everything that was acknowledged, and refuses to open what would lose some of it.
//!
//! - `schema`: the column families and RocksDB's options, one set for every way of opening.
//! - `keys`, `value`: how records are laid out, a file each.
//! - `merge`, `expiry`: what RocksDB calls back: the fold of a counter's records, what may go.
//! - `acked`: the small file beside RocksDB's directory that says how far it was acknowledged.
//! - `files`: which log and manifest are live, read from the directory itself.
//! - `lock`: one process at a time in a data directory.
//! - `create`, `open`, `verify`, `recover`: a new store, the checked opening, the same check alone, the
//!   way past damage.
//! - `backup`: whole copies elsewhere, and the way back from them.
//! - `batch`, `tables`, `store`: one group's writes, reading, the live handle.
//! - `compact`: making compaction drop now what has expired.
//! - `pace`: how long work tells how far it has got.
//! - `reserve`: space put aside so that a full disk can be opened and mended.
//! - `error`: why a store did not open, why a commit failed.
//!
//! Kept out: bounds, duplicates and every other rule of counting (`writer`), any clock (times are
//! passed in), and retries: a failed write or sync is never tried again on the same handle.

pub mod acked;
pub mod backup;
pub mod batch;
pub mod compact;
pub mod create;
pub mod error;
pub mod expiry;
pub mod files;
pub mod keys;
pub mod lock;
pub mod merge;
pub mod open;
pub mod pace;
mod place;
pub mod recover;
pub mod reserve;
pub mod schema;
pub mod store;
pub mod tables;
pub mod value;
pub mod verify;

pub use batch::Batch;
pub use error::{CommitError, OpenError, ReadError};
pub use lock::DataDirLock;
pub use open::{Expectation, Landed, StorageOptions};
pub use schema::Family;
pub use store::{Store, Tick};
pub use tables::{Reader, Tables};
pub use verify::{Sound, look, verify};

#[cfg(test)]
mod tests;
