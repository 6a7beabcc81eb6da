//! The store.

pub mod expiry;
pub mod keys;
pub mod merge;
