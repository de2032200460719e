//! What `ringmill http` accepts on the command line.

use super::names::NameArguments;
use super::stream::StreamArguments;
use crate::cli::values::{algorithm_parser, parse_count, parse_rate, parse_retries, parse_timeout};
use crate::digest::Algorithm;
use crate::jobs::http::{parse_header, parse_method};
use clap::{Args, ValueEnum, ValueHint};
use http::Method;
use http::header::{HeaderName, HeaderValue};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(in crate::cli) struct HttpArguments {
    /// URLs to request [default: the lines of standard input].
    ///
    /// A line may also be a JSON object with `url`, and with `method`, `headers` and `body` for this request.
    #[arg(value_name = "URL", conflicts_with = "files_from", value_hint = ValueHint::Url)]
    pub(in crate::cli) urls: Vec<OsString>,

    /// Method [default: GET, or POST with --data].
    #[arg(short = 'X', long = "request", value_name = "METHOD", value_parser = method, help_heading = "Requests")]
    pub(in crate::cli) method: Option<Method>,

    /// Send this header. May be given several times.
    ///
    /// Authorization and Cookie are not sent to another origin after a redirect.
    #[arg(short = 'H', long = "header", id = "header", value_name = "NAME: VALUE", value_parser = parse_header, help_heading = "Requests")]
    pub(in crate::cli) request_headers: Vec<(HeaderName, HeaderValue)>,

    /// Send this body. `@FILE` reads it from a file.
    #[arg(short, long, value_name = "DATA", help_heading = "Requests")]
    pub(in crate::cli) data: Option<OsString>,

    /// Value of the header User-Agent.
    #[arg(short = 'A', long, value_name = "NAME", help_heading = "Requests")]
    pub(in crate::cli) user_agent: Option<HeaderValue>,

    /// Follow redirects.
    #[arg(short = 'L', long, help_heading = "Requests")]
    pub(in crate::cli) location: bool,

    /// Redirects to follow with --location.
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = parse_count, help_heading = "Requests")]
    pub(in crate::cli) max_redirects: usize,

    /// Connections to each origin.
    ///
    /// An origin is a scheme, a host and a port.
    #[arg(long, value_name = "COUNT", default_value = "6", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Limits")]
    pub(in crate::cli) per_host: usize,

    /// Requests per second to each origin.
    #[arg(long, value_name = "RATE", value_parser = parse_rate, allow_hyphen_values = true, help_heading = "Limits")]
    pub(in crate::cli) rate_per_host: Option<f64>,

    /// Further attempts after some failures.
    ///
    /// Failed connects, and for methods that may be repeated lost connections and the statuses 408, 429, 502,
    /// 503 and 504.
    #[arg(long, value_name = "COUNT", default_value = "2", value_parser = parse_retries, allow_hyphen_values = true, help_heading = "Limits")]
    pub(in crate::cli) retries: u32,

    /// Longest pause to wait for that a server asks for (Retry-After).
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Limits")]
    pub(in crate::cli) retry_after_max: Duration,

    /// Timeout for each request, from when it is sent to the end of the response.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Limits")]
    pub(in crate::cli) timeout: Duration,

    /// Timeout for a connect to each address, and then for a TLS handshake.
    ///
    /// It is not longer than --timeout.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Limits")]
    pub(in crate::cli) connect_timeout: Duration,

    /// Longest body, in bytes, decoded.
    #[arg(long, value_name = "BYTES", default_value = "67108864", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Limits")]
    pub(in crate::cli) max_body: usize,

    /// Connect to public addresses only.
    ///
    /// Applies to redirects and to names, too: for lists from strangers.
    #[arg(long, help_heading = "Limits")]
    pub(in crate::cli) deny_private: bool,

    /// Trust the certificate authorities in this file (PEM) instead of those of the system.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "TLS")]
    pub(in crate::cli) cacert: Option<PathBuf>,

    /// Accept any certificate.
    #[arg(short = 'k', long, conflicts_with = "cacert", help_heading = "TLS")]
    pub(in crate::cli) insecure: bool,

    /// Hash bodies.
    #[arg(short, long, value_parser = algorithm_parser(), ignore_case = true, help_heading = "Output")]
    pub(in crate::cli) algorithm: Option<Algorithm>,

    /// Add the headers of responses to rows of --format jsonl.
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) headers: bool,

    /// Add bodies to rows of --format jsonl.
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) body: bool,

    /// Output format.
    ///
    /// `jsonl` prints one JSON object for every request; `text` prints status, size, time and URL, separated
    /// by tabs; `body` prints the bodies and nothing else.
    #[arg(long, value_enum, default_value = "jsonl", help_heading = "Output")]
    pub(in crate::cli) format: HttpFormat,

    /// Print digests and URLs as `ringmill hash` does.
    ///
    /// With BLAKE3, unless --algorithm is given.
    #[arg(long, conflicts_with_all = ["format", "body", "headers"], help_heading = "Output")]
    pub(in crate::cli) hash: bool,

    /// Write each body to a file in this directory, named after its index.
    ///
    /// The directory is created if it is missing. Files that exist already are not replaced.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["hash", "body"], value_hint = ValueHint::DirPath, help_heading = "Output")]
    pub(in crate::cli) bodies: Option<PathBuf>,

    #[command(flatten)]
    pub(in crate::cli) names: NameArguments,

    #[command(flatten)]
    pub(in crate::cli) stream: StreamArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum HttpFormat {
    Jsonl,
    Text,
    Body,
}

fn method(text: &str) -> Result<Method, String> {
    parse_method(text).ok_or_else(|| "not the name of a method".to_owned())
}
