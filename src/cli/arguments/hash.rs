//! What `ringmill hash` accepts.

use super::stream::StreamArguments;
use crate::cli::values::{algorithm_parser, parse_timeout};
use crate::digest::Algorithm;
use clap::{Args, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::time::Duration;

#[derive(Debug, Args)]
pub(in crate::cli) struct HashArguments {
    /// Files to hash. Without PATH and --files-from, their names are read from standard input.
    #[arg(value_name = "PATH", conflicts_with = "files_from", value_hint = ValueHint::FilePath)]
    pub(in crate::cli) paths: Vec<OsString>,

    /// What to do with FIFOs, sockets and devices.
    ///
    /// `error` reports each as a failure and does not open it. `read` reads it: this may never end, and
    /// data that is read from a FIFO or device is lost to its other readers.
    #[arg(
        long,
        value_enum,
        default_value = "error",
        value_name = "WHAT",
        help_heading = "Input"
    )]
    pub(in crate::cli) special: Special,

    /// Hash function.
    #[arg(
        short,
        long,
        default_value = "blake3",
        value_parser = algorithm_parser(),
        ignore_case = true,
        help_heading = "Output"
    )]
    pub(in crate::cli) algorithm: Algorithm,

    /// Output format.
    ///
    /// `gnu` prints lines as sha256sum does; `jsonl` prints one JSON object for every file, failures
    /// included.
    #[arg(long, value_enum, default_value = "gnu", help_heading = "Output")]
    pub(in crate::cli) format: Format,

    /// Add these fields of stat(2) to the rows of --format jsonl.
    ///
    /// They are read after the file was hashed. Rows with the same device and inode are hard links to one
    /// file, not copies. `mtime_ns` is in nanoseconds since 1970.
    #[arg(
        long,
        value_enum,
        value_name = "FIELD",
        value_delimiter = ',',
        help_heading = "Output"
    )]
    pub(in crate::cli) fields: Vec<Field>,

    /// Print BSD lines: `SHA256 (name) = digest`.
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) tag: bool,

    /// End lines with NUL and do not escape names.
    #[arg(short, long, help_heading = "Output")]
    pub(in crate::cli) zero: bool,

    /// Treat a file that changed while it was read as a failure, not as a warning.
    #[arg(long, help_heading = "Failures")]
    pub(in crate::cli) strict: bool,

    /// Fail a file that takes longer than this, such as `500ms` or `1m 30s`.
    ///
    /// The time starts with the first system call for the file [default: no timeout].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Failures")]
    pub(in crate::cli) timeout: Option<Duration>,

    #[command(flatten)]
    pub(in crate::cli) stream: StreamArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    Gnu,
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Field {
    Device,
    Inode,
    Nlink,
    #[value(name = "mtime_ns")]
    MtimeNs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Special {
    Error,
    Read,
}
