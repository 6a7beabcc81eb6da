//! counterd counts game activity exactly: players online, unique active users of the day, games
//! played, and whatever counters operations invents for an event.
//!
//! It is one binary with RocksDB inside: an acknowledged increment is on disk, counted once, in the
//! right local day, and still there after a crash. It is not a metrics store, a queue, or a rate
//! limiter for others. `ARCHITECTURE.md` shows the way of one increment through these modules.

#[macro_use]
mod words;

pub mod access_log;
pub mod alerts;
pub mod background;
pub mod calendar;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod counter;
pub mod current_day;
pub mod engine;
pub mod export;
pub mod fallback;
pub mod http;
pub mod inspect;
mod invariant;
pub mod lifecycle;
mod links;
mod masking;
pub mod metrics;
pub mod mirror;
pub mod rounds;
mod seeded;
pub mod serve;
pub mod storage;
pub mod writer;
