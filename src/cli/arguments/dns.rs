//! What `ringmill dns` accepts.

use super::query::QueryArguments;
use super::stream::StreamArguments;
use crate::cli::values::{
    parse_count, parse_rate, parse_record_type, parse_retries, parse_timeout,
};
use crate::jobs::dns::{self, RowStatus};
use clap::{Args, ValueEnum, ValueHint};
use domain::base::Rtype;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(in crate::cli) struct DnsArguments {
    /// Names to look up. Without NAME and --files-from, they are read from standard input.
    ///
    /// Each may have a record type: `'example.com MX'`.
    #[arg(value_name = "NAME", conflicts_with = "files_from", value_hint = ValueHint::Hostname)]
    pub(in crate::cli) names: Vec<OsString>,

    /// Record type to query if a line does not give one.
    ///
    /// Several types, separated by commas, give one row each. For an IP address in a line without a type,
    /// the type is always PTR. With type PTR, a block such as 192.0.2.0/24 stands for all its addresses.
    #[arg(
        short = 't',
        long = "type",
        value_name = "TYPE",
        default_value = "A",
        value_delimiter = ',',
        value_parser = parse_record_type
    )]
    pub(in crate::cli) types: Vec<Rtype>,

    /// Ignore comments and blank lines in lists.
    ///
    /// A # at the start of a line or after a space begins a comment, up to the end of the line. Lines
    /// that are blank or only a comment have no row and no index.
    #[arg(long, conflicts_with = "names", help_heading = "Input")]
    pub(in crate::cli) comments: bool,

    /// Query this server instead of /etc/resolv.conf.
    ///
    /// May be given several times.
    #[arg(short, long = "resolver", value_name = "ADDR[:PORT]", value_parser = dns::parse_server, help_heading = "Resolvers")]
    pub(in crate::cli) resolvers: Vec<SocketAddr>,

    /// Read servers to query from FILE, one per line.
    #[arg(long = "resolvers", value_name = "FILE", help_heading = "Resolvers")]
    pub(in crate::cli) resolvers_from: Option<PathBuf>,

    /// Query every server for each name.
    ///
    /// There is one row for each name and server: names in the order of the list and, for each name,
    /// servers in the order given, -r before --resolvers. If a server fails, its row says so; the query is
    /// not sent to another. With --format text the server is the fourth column, between status and data.
    #[arg(long, help_heading = "Resolvers")]
    pub(in crate::cli) all_resolvers: bool,

    /// Detect names whose records come from a wildcard.
    ///
    /// If a name has records, a random name with the same parent is queried, once for each parent and type.
    /// If it has the same records, they come from a wildcard. With --format text, there is one more column
    /// before the data: `WILDCARD`, or `?` if the random name got no answer, or otherwise `-`.
    #[arg(long, help_heading = "Resolvers")]
    pub(in crate::cli) wildcards: bool,

    /// UDP sockets for each server in total, shared by all event loops.
    #[arg(long, value_name = "K", default_value = "8", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(in crate::cli) sockets: usize,

    /// Retries after the first attempt.
    ///
    /// They go to other servers if there are any.
    #[arg(
        long,
        value_name = "N",
        default_value = "5",
        value_parser = parse_retries,
        allow_hyphen_values = true,
        help_heading = "Resolvers"
    )]
    pub(in crate::cli) retries: u32,

    /// Timeout of the first attempt.
    ///
    /// It doubles with each retry but stays at most 1 s; a first timeout of over 1 s is used for all
    /// attempts [default: measured for each server from its round-trip times, at least 100 ms].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(in crate::cli) attempt_timeout: Option<Duration>,

    /// Maximum rate of queries per second to each server.
    ///
    /// Queries above this rate wait [default: no limit].
    #[arg(long, value_name = "R", value_parser = parse_rate, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(in crate::cli) rate_per_resolver: Option<f64>,

    /// Mix upper and lower case in queried names, and accept only replies that have the same mix.
    ///
    /// This makes replies harder to forge.
    #[arg(long = "0x20", help_heading = "Resolvers")]
    pub(in crate::cli) mixes_case: bool,

    /// Timeout for each name, all attempts together.
    ///
    /// Time that a query waits to be sent (as with --rate-per-resolver) does not count.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(in crate::cli) timeout: Duration,

    #[command(flatten)]
    pub(in crate::cli) queries: QueryArguments,

    /// Output format.
    ///
    /// `text` prints name, type, status and data, separated by tabs; `jsonl` prints one JSON object
    /// for every name; `massdns` prints what `massdns -o Je` does (docs/dns.md lists the differences).
    #[arg(long, value_enum, default_value = "text", help_heading = "Output")]
    pub(in crate::cli) format: DnsFormat,

    /// Print only rows with these statuses.
    ///
    /// Several are separated by commas: `NOERROR,NODATA`. The others are NXDOMAIN, REFERRAL, MALFORMED,
    /// TIMEOUT, UNREACHABLE, TRUNCATED, INVALID, and error codes of replies such as SERVFAIL and REFUSED.
    /// Rows that are not printed still count for --summary and the exit status.
    #[arg(
        long = "status",
        value_name = "STATUS",
        value_delimiter = ',',
        help_heading = "Output"
    )]
    pub(in crate::cli) statuses: Vec<RowStatus>,

    #[command(flatten)]
    pub(in crate::cli) stream: StreamArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum DnsFormat {
    Text,
    Jsonl,
    Massdns,
}
