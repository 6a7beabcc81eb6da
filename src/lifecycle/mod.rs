//! Days that are over: the archivist moves their records into history, and moves the horizons below which compaction may
//! drop what is no longer needed. The past is read back here too.
//!
//! The archivist works beside the writer and never in its way: it reads on a thread of its own, and hands the writer
//! finished batches, one at a time ([`crate::writer::PreparedBatch`]).
//!
//! Kept out: counting, exports, HTTP.

mod archivist;
mod close;
mod history;
mod peak;
mod retention;
mod series;
mod view;

pub use archivist::{ArchiveError, Archivist};
pub use history::{PastDay, days_of, kept_days, kept_from, kept_range};
pub use peak::{PeakEver, peak_ever};
pub use retention::Retention;
pub use series::{Point, SeriesRequest, series};

#[cfg(test)]
mod tests;
