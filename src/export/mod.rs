//! Exports of days: to files, and to PostgreSQL for history and reports.
//!
//! Everything is read from the store in pages, so that an export of any size takes little memory and
//! never keeps the store from closing. Nothing here changes what is counted.
//!
//! Kept out: closing days (`lifecycle`), and who asks (`control`, `cli`).

pub mod files;
pub mod postgres;
mod rows;

pub use rows::{Row, RowPages, Selection, UserPages};
