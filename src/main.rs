//! The command line's edge: maps what happened to an exit code.

use std::io::Write;
use std::process::ExitCode;

use counterd::cli::{self, Failure};

fn main() -> ExitCode {
    let Err(failure) = cli::run(std::env::args_os()) else {
        return ExitCode::SUCCESS;
    };
    let code = match &failure {
        Failure::RunTime(_) => 1,
        // Help and version come this way too, and are no mistake.
        Failure::Usage(usage) => {
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
        Failure::Check(_) => 3,
        Failure::Config(_) => 78,
    };
    // Where nobody listens the exit code still tells.
    let _ = writeln!(std::io::stderr(), "counterd: {failure}");
    ExitCode::from(code)
}
