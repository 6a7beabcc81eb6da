//! The command line's edge: maps what happened to an exit code.

use std::io::Write;
use std::process::ExitCode;

use counterd::cli::{self, CliFailure};

/// RocksDB's memory and ours in one allocator, which gives back what a burst took.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // By a thread of the allocator's own: RocksDB's threads take much for a compaction, and then rest without ever
    // giving it back themselves. Where there can be no such thread, that memory stays taken.
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
    let Err(failure) = cli::run(std::env::args_os()) else {
        return ExitCode::SUCCESS;
    };
    let code = match &failure {
        CliFailure::RunTime(_) => 1,
        // Help and version come this way too, and are no mistake.
        CliFailure::Usage(usage) => {
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
        CliFailure::Check(_) => 3,
        CliFailure::Config(_) | CliFailure::Contradiction(_) => 78,
    };
    // Where nobody listens the exit code still tells.
    let _ = writeln!(std::io::stderr(), "counterd: {failure}");
    ExitCode::from(code)
}
