//! The integration suite: one binary, a module for each promise.
