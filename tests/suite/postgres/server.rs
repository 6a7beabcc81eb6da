//! The real binary beside a database: commands, pages, logs.
