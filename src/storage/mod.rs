//! The store on disk, which keeps every acknowledged change.
//!
//! The writer hands a [`Batch`] to [`Store::commit`], which returns once the batch is synced and
//! recorded as acknowledged. [`Store::open`] checks, before it changes a byte, that the directory
//! still holds everything that was acknowledged, and refuses to open what would lose some of it.
//!
//! - `family`, `schema`: the column families; RocksDB's options, one set for every way of opening.
//! - `keys`, `value`, `fixed`: how keys, records and numbers are laid out, a file each.
//! - `merge`, `expiry`: what RocksDB calls back: the fold of a counter's records, what may go.
//! - `acked`: the small file beside RocksDB's directory that says how far it was acknowledged.
//! - `files`: which log and manifest are live, read from the directory itself.
//! - `lineage`, `copies`: which store this is, whatever becomes of its files; whose a copy elsewhere is.
//! - `held`, `owner`: directories that are held open; whose the files in a data directory are.
//! - `lock`: one process at a time in a data directory.
//! - `create`, `open`, `recover`: a new store, the checked opening, and the way past damage.
//! - `backup`: whole copies elsewhere, and the way back from them.
//! - `migrate`: from a store on disk to a shared log, and back.
//! - `records`: what others write and read, each kind of record by its name.
//! - `batch`, `tables`, `store`: one group's writes, reading, the live handle.
//! - `shared_log`, `view`: the log that several instances share in Redis, and the store that is a view of it.
//! - `compact`: making compaction drop now what has expired.
//! - `rot`: tables that cannot be read any more, and reading past them.
//! - `pace`: how long work tells how far it has got.
//! - `reserve`: space put aside so that a full disk can be opened and mended.
//! - `error`: why a store did not open, why a commit failed.
//!
//! Kept out: bounds, duplicates and every other rule of counting (`writer`), any clock (times are
//! passed in), and retries: a failed write or sync is never tried again on the same handle.

mod acked;
pub mod backup;
mod batch;
pub mod compact;
mod copies;
mod create;
mod error;
pub mod expiry;
mod family;
mod file_error;
mod files;
mod fixed;
mod held;
mod keys;
mod lineage;
pub mod lock;
mod merge;
pub mod migrate;
mod open;
mod owner;
pub mod pace;
mod paths;
mod records;
pub mod recover;
pub mod reserve;
mod rot;
mod schema;
mod shared_log;
mod shared_log_error;
mod store;
mod tables;
mod value;
mod view;

pub use batch::Batch;
pub use copies::{CopyConflict, CopyContents, CopyMark, CopyOwner, OtherStore};
pub use error::{CommitError, OpenCause, OpenError, ReadError};
pub use family::Family;
pub(crate) use held::HeldDir;
pub use keys::Bucket;
pub use lineage::{Lineage, LineageId};
pub use lock::DataDirLock;
#[doc(hidden)]
pub use merge::fold;
pub use merge::{CounterValue, Operand, Record};
pub use open::{Expectation, Landed, Sound, StorageOptions, look, read_through, refuse_remains};
pub use owner::give_back;
#[doc(hidden)]
pub use records::Damaged;
pub use records::{
    AlertRecord, Aside, Cursor, DayPart, Defined, ExportCursor, LeavingAt, LookedUp, NoticeRecord,
    Recorded, RequestKey, SeatKey, SeatRecord, SilenceRecord, UserKey,
};
pub use rot::{Gap, Rot, RottenTable};
pub use shared_log::{
    Ack, Chores, Confirmed, FollowedChange, LogAddress, LogRecovery, OnLoss, RedisNodes, RedisTime,
    SharedLog, Wake,
};
pub use shared_log_error::SharedLogError;
pub use store::{Committed, Store};
pub use tables::{Reader, Tables};
pub use value::{Kept, StoreState, Undecodable};

#[cfg(test)]
mod tests;
