//! The command: maps outcomes to exit codes, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    ringmill::cli::main()
}
