//! What `ringmill connect` accepts on the command line.

use super::names::NameArguments;
use super::stream::StreamArguments;
use crate::cli::values::parse_timeout;
use crate::jobs::connect::parse_port;
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::time::Duration;

/// Bytes of a banner that can be requested.
const BANNER_LEN_MAX: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct ConnectArguments {
    /// Endpoints to connect to. Without HOST:PORT and --files-from, they are read from standard input.
    ///
    /// An IPv6 address is in brackets: `[2001:db8::1]:443`.
    #[arg(value_name = "HOST:PORT", conflicts_with = "files_from")]
    pub(in crate::cli) endpoints: Vec<OsString>,

    /// Ports for lines without a port; each gives a row.
    #[arg(short, long = "port", value_name = "PORT", value_delimiter = ',', value_parser = port, help_heading = "Input")]
    pub(in crate::cli) ports: Vec<u16>,

    #[command(flatten)]
    pub(in crate::cli) names: NameArguments,

    /// Timeout for each address of an endpoint.
    ///
    /// The time that a connect waits for free local ports, descriptors or memory does not count. With
    /// --banner, the wait for the first bytes has the same timeout.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Connections")]
    pub(in crate::cli) timeout: Duration,

    /// Close connections by a reset (RST).
    ///
    /// This keeps no connections in TIME_WAIT, so their local ports can be used again at once.
    #[arg(long, help_heading = "Connections")]
    pub(in crate::cli) abort: bool,

    /// Read up to this many bytes of what the peer sends first.
    ///
    /// Only the bytes that arrive together are read: 1 to 65536.
    #[arg(long, value_name = "BYTES", value_parser = banner_len, allow_hyphen_values = true, help_heading = "Connections")]
    pub(in crate::cli) banner: Option<usize>,

    /// Output format.
    ///
    /// `text` prints endpoint, status, address and time, separated by tabs; `jsonl` prints one JSON object
    /// for every endpoint.
    #[arg(long, value_enum, default_value = "text", help_heading = "Output")]
    pub(in crate::cli) format: ConnectFormat,

    #[command(flatten)]
    pub(in crate::cli) stream: StreamArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ConnectFormat {
    Text,
    Jsonl,
}

fn port(text: &str) -> Result<u16, String> {
    parse_port(text).map_err(|invalid| invalid.to_string())
}

fn banner_len(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(len @ 1..=BANNER_LEN_MAX) => Ok(len),
        _ => Err(format!("not a whole number from 1 to {BANNER_LEN_MAX}")),
    }
}
