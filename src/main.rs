//! The command line's edge: maps what happened to an exit code.

fn main() {}
