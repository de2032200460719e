//! The options of every job: input, output, resources, measurements.

use crate::cli::forms::FormArguments;
use crate::cli::values::{EngineParser, parse_count, parse_interval, parse_rate};
use crate::run::Engine;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Options for input and output; the same for every job.
#[derive(Debug, Args)]
pub(in crate::cli) struct StreamArguments {
    /// Read names from FILE, `-` for standard input.
    ///
    /// May be given several times; the lists are read one after the other.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(in crate::cli) files_from: Vec<PathBuf>,

    /// Names in lists end with NUL, not with a newline.
    #[arg(short = '0', long, help_heading = "Input")]
    pub(in crate::cli) null: bool,

    /// Write to FILE, `-` for standard output.
    ///
    /// FILE must not be one of the inputs.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(in crate::cli) output: Option<PathBuf>,

    /// Print results as they become ready, in any order.
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) unordered: bool,

    /// Stop at the first failure.
    ///
    /// The failure itself is reported as usual; nothing is printed for the items after it.
    #[arg(long, help_heading = "Failures")]
    pub(in crate::cli) fail_fast: bool,

    #[command(flatten)]
    pub(in crate::cli) resources: ResourceArguments,

    #[command(flatten)]
    pub(in crate::cli) measure: MeasureArguments,

    /// Print the settings of the run on standard error.
    ///
    /// These are the engine, items in flight, window, event loops and limits.
    #[arg(short, long, help_heading = "Messages")]
    pub(in crate::cli) verbose: bool,
}

/// What a run may use; the same for every job.
#[derive(Debug, Args)]
pub(in crate::cli) struct ResourceArguments {
    /// Maximum items in flight [default: 512, dns 8192].
    ///
    /// In flight means started and not finished. All event loops share this limit. `hash` has fewer in
    /// flight if the limit on open files is lower.
    #[arg(long, value_name = "N", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(in crate::cli) in_flight: Option<usize>,

    /// Maximum items that are started and not printed yet.
    ///
    /// A result waits until all earlier items are printed. While W items are not printed, no other is
    /// started [default: hash 16 times --in-flight; dns, connect and http 196608, or fewer if the rows
    /// take 30 MiB, or with connections 20 MiB or 2048 items waiting for their turn].
    #[arg(long, value_name = "W", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(in crate::cli) window: Option<usize>,

    /// Event loops, each on its own thread [default: one for each processor this process may use].
    #[arg(long, value_name = "R", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(in crate::cli) loops: Option<usize>,

    /// Threads for calls that block, for each mounted file system (only for `hash`) [default: 64].
    ///
    /// All event loops share them.
    #[arg(long, value_name = "N", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(in crate::cli) io_workers: Option<usize>,

    /// Maximum items to start per second.
    ///
    /// Items start on a schedule. If the run falls behind, items start at once. Latency is reported twice:
    /// from the actual and from the scheduled start [default: no limit].
    #[arg(long, value_name = "R", value_parser = parse_rate, allow_hyphen_values = true, help_heading = "Resources")]
    pub(in crate::cli) rate: Option<f64>,

    /// How operations are carried out.
    ///
    /// `auto` uses threads if `io_uring` is not available.
    #[arg(
        long,
        value_parser = EngineParser,
        default_value = "auto",
        env = "RINGMILL_ENGINE",
        help_heading = "Resources"
    )]
    pub(in crate::cli) engine: Engine,
}

/// Options for measurements and messages; the same for every job.
#[derive(Debug, Args)]
pub(in crate::cli) struct MeasureArguments {
    #[command(flatten)]
    pub(in crate::cli) forms: FormArguments,

    /// Interval length of --hlog.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1s",
        value_parser = parse_interval,
        allow_hyphen_values = true,
        help_heading = "Measurements"
    )]
    pub(in crate::cli) interval: Duration,

    /// Show progress on standard error.
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        help_heading = "Messages"
    )]
    pub(in crate::cli) progress: When,

    /// At the end, print counts, rates and the time per item on standard error.
    ///
    /// With dns, also print counts for each status and each server.
    #[arg(long, help_heading = "Messages")]
    pub(in crate::cli) summary: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum When {
    /// If standard error is a terminal.
    Auto,
    Always,
    Never,
}
