//! The integration suite: one binary, a module for each promise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml exempts test functions only, and a panic is a test's way to report"
)]

mod access;
mod alerting;
mod as_root;
mod backup;
mod bad_input;
mod checker;
mod cli;
mod clients;
mod clocks;
mod commands;
mod concurrent;
mod containers;
mod contract;
mod counted_names;
mod crash;
mod damage;
mod days;
mod degraded;
mod dependencies;
mod deploy;
mod docs;
mod documented;
mod exporting;
mod faults;
mod harness;
mod help;
mod house;
mod instances;
#[path = "instances/mod.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "each of its tests runs with each server"
)]
mod instances_on_valkey;
mod invariants;
mod lapse;
mod limits;
mod lineage;
mod links;
mod log_level;
mod logs;
mod matrix;
mod midnight;
mod mirror;
mod model;
mod on_shared_log;
mod operate;
mod page;
mod postgres;
mod power;
mod proxied;
mod push;
mod reload;
mod room;
mod rot;
mod runbook;
mod shutdown;
mod slow_disk;
mod tidy;
mod traffic;
mod two_stores;
mod upgrade;
mod watched;
mod watching;
mod year;
