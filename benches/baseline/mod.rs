//! What the baselines of scripts/bench have in common: they are commands.

use std::env;
use std::io;
use std::process::ExitCode;

/// Runs a command with its arguments. `run` returns how many items failed; the exit code is 1 if some did, and 2 if
/// the arguments are wrong or the run fails as a whole.
pub fn main<O>(
    name: &str,
    usage: &str,
    parse: impl Fn(&[String]) -> Result<O, String>,
    run: impl Fn(&O) -> io::Result<usize>,
) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // `cargo bench` starts every bench with `--bench`, `cargo test --benches` with nothing: neither
    // has a list to work on.
    let asks_for_usage = |argument: &String| argument == "--bench" || argument == "--help";
    if arguments.is_empty() || arguments.iter().any(asks_for_usage) {
        print!("{usage}");
        return ExitCode::SUCCESS;
    }
    let options = match parse(&arguments) {
        Ok(options) => options,
        Err(problem) => {
            eprint!("{name}: {problem}\n{usage}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}
