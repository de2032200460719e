//! The command line: parses arguments into options, makes a plan of them, and runs it.

mod arguments;
mod bodies;
mod closed;
mod connect;
mod dns;
mod dns_stats;
mod forms;
mod generate;
mod hash;
mod help;
mod hints;
mod http;
mod http_rows;
mod interrupt;
mod lingering;
mod memory;
mod merge;
mod name_servers;
mod observer;
mod outcome;
mod outputs;
mod plan;
mod plot;
mod servers;
mod setup_error;
mod signals;
mod source;
mod stream;
mod values;

pub use memory::Memory;

use arguments::{Arguments, Command};
use outcome::Outcome;
use std::process::ExitCode;

/// Runs the command with the process's arguments.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse_and_check();
    let outcome = match arguments.command {
        _ if arguments.generate.is_some() => generate::generate(arguments.generate),
        Some(Command::Hash(options)) => hash::hash(options),
        Some(Command::Dns(options)) => dns::dns(options),
        Some(Command::Connect(options)) => connect::connect(options),
        Some(Command::Http(options)) => http::http(options),
        Some(Command::Plot(options)) => plot::plot(&options),
        Some(Command::Merge(options)) => merge::merge(&options),
        None => unreachable!("clap shows the help if there are no arguments"),
    };
    match outcome {
        Outcome::AllWell => ExitCode::SUCCESS,
        Outcome::SomeFailed => ExitCode::from(1),
        Outcome::RunFailed => ExitCode::from(2),
        Outcome::Signal(signal) => {
            // The default action of both signals ends the process here.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            ExitCode::from(2)
        }
    }
}
