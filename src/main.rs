//! The command: maps outcomes to exit codes, nothing else.

use ringmill::cli::{self, Memory};
use std::process::ExitCode;

#[global_allocator]
static MEMORY: Memory = Memory;

fn main() -> ExitCode {
    cli::main()
}
