//! The command line: arguments to plain options, options to a plan, a plan to a run.

mod arguments;
mod closed;
mod dns;
mod dns_figures;
mod forms;
mod generate;
mod hash;
mod help;
mod hints;
mod interrupt;
mod lingering;
mod memory;
mod merge;
mod observer;
mod outputs;
mod plan;
mod plot;
mod query_arguments;
mod servers;
mod setup_error;
mod signals;
mod source;
mod stream;
mod values;

pub use memory::Memory;

use arguments::{Arguments, Command};
use std::process::ExitCode;

/// How the process ends.
enum Outcome {
    /// Every item has a good result.
    AllWell,
    /// Some items failed.
    SomeFailed,
    /// Usage, set-up, input as a whole, or output.
    Unusable,
    /// A signal, which is raised again so that the shell sees it.
    Signal(i32),
}

impl Outcome {
    /// The one of the two that whoever called should rather know of.
    fn worst(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Signal(_), _) => self,
            (_, Self::Signal(_)) => other,
            (Self::Unusable, _) | (_, Self::AllWell) => self,
            _ => other,
        }
    }
}

/// Runs the command with the process's arguments.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse_and_check();
    let outcome = match arguments.command {
        _ if arguments.generate.is_some() => generate::generate(arguments.generate),
        Some(Command::Hash(options)) => hash::hash(options),
        Some(Command::Dns(options)) => dns::dns(options),
        Some(Command::Plot(options)) => plot::plot(&options),
        Some(Command::Merge(options)) => merge::merge(&options),
        None => unreachable!("clap shows the help if there are no arguments"),
    };
    match outcome {
        Outcome::AllWell => ExitCode::SUCCESS,
        Outcome::SomeFailed => ExitCode::from(1),
        Outcome::Unusable => ExitCode::from(2),
        Outcome::Signal(signal) => {
            // The default action of both signals ends the process here.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            ExitCode::from(2)
        }
    }
}
