//! The promises that hold with each engine, once more with `storage.engine = "redis"`: the same tests, over a Redis.
#![allow(
    clippy::duplicate_mod,
    reason = "each of its tests runs with each engine"
)]

#[path = "bad_input/mod.rs"]
mod bad_input;
#[path = "concurrent.rs"]
mod concurrent;
#[path = "counted_names.rs"]
mod counted_names;
#[path = "days.rs"]
mod days;
#[path = "lapse.rs"]
mod lapse;
#[path = "limits.rs"]
mod limits;
#[path = "model/mod.rs"]
mod model;
#[path = "push/mod.rs"]
mod push;
