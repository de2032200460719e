//! The options and arguments of the command line, as plain data. Nothing here inspects the system.

use super::connect_arguments::ConnectArguments;
use super::forms::FormArguments;
use super::help;
use super::http_arguments::HttpArguments;
use super::query_arguments::QueryArguments;
use super::values::{
    EngineParser, algorithm_parser, parse_count, parse_interval, parse_rate, parse_record_type,
    parse_retries, parse_timeout,
};
use crate::digest::Algorithm;
use crate::jobs::dns::{self, RowStatus};
use crate::run::Engine;
use crate::sink::messages;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{
    ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint,
};
use domain::base::Rtype;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Options that `-h` leaves out, in subcommands with more options than fit a screen. `--help` and the man
/// pages list all options.
const RARE: [&str; 24] = [
    "fields",
    "window",
    "loops",
    "io_workers",
    "percentiles",
    "bins",
    "hlog",
    "interval",
    "hgrm",
    "hgrm_phase",
    "rate",
    "special",
    "sockets",
    "attempt_timeout",
    "rate_per_resolver",
    "mixes_case",
    "tcp",
    "dnssec",
    "no_recurse",
    "edns",
    "subnet",
    "source",
    "wildcards",
    "comments",
];

/// Printed for `ringmill hash --check`, an option that the sum tools have.
const CHECK_HINT: &str = "there is no --check yet; `b3sum --check FILE`, or `sha256sum --check FILE` \
    after -a sha256, checks the lines that `ringmill hash` prints";

/// Hashes files and looks up names, many at once with `io_uring`. Prints results in input order.
#[derive(Debug, Parser)]
#[command(name = "ringmill", version, after_help = help::RINGMILL.short(), after_long_help = help::RINGMILL.long(), max_term_width = 100)]
// A shell alias may contain an option that the user gives again.
#[command(arg_required_else_help = true, args_override_self = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// Print the man page or a shell's completions.
    #[arg(long, hide = true, value_enum)]
    pub(super) generate: Option<Generate>,
}

impl Arguments {
    /// The definition that parsing, help and man pages use.
    pub(super) fn definition() -> clap::Command {
        let leave_out = |option: clap::Arg| {
            let is_rare = RARE.contains(&option.get_id().as_str());
            option.hide_short_help(is_rare)
        };
        let mut command = Self::command();
        for subcommand in ["hash", "dns", "connect", "http"] {
            command = command.mut_subcommand(subcommand, |it| it.mut_args(leave_out));
        }
        command
    }

    /// Parses the process's arguments. Ends the process if they are invalid.
    pub(super) fn parse_and_check() -> Self {
        let matches = Self::definition().try_get_matches();
        let arguments = matches.and_then(|matches| Self::from_arg_matches(&matches));
        match arguments.and_then(Self::check) {
            Ok(arguments) => arguments,
            Err(mut error) => {
                let hint = hint(&error);
                if hint.is_some() {
                    error.remove(ContextKind::Suggested);
                }
                // A failure to print an error cannot be reported.
                let _ = error.print();
                if let Some(hint) = hint {
                    messages::hint(&hint);
                }
                std::process::exit(error.exit_code())
            }
        }
    }

    fn check(self) -> Result<Self, clap::Error> {
        let Some(Command::Hash(hash)) = &self.command else {
            return Ok(self);
        };
        let message = match hash.format {
            Format::Jsonl if hash.tag || hash.zero => {
                "--tag and --zero cannot be used with --format jsonl"
            }
            Format::Gnu if !hash.fields.is_empty() => "--fields needs --format jsonl",
            _ => return Ok(self),
        };
        let mut command = Self::definition();
        command.build();
        let hash = command.find_subcommand_mut("hash").expect("it exists");
        Err(hash.error(ErrorKind::ArgumentConflict, message))
    }
}

/// A hint for an argument that is not known.
fn hint(error: &clap::Error) -> Option<&'static str> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let is_check = error.kind() == ErrorKind::UnknownArgument
        && matches!(argument.as_str(), "--check" | "-c")
        && std::env::args_os()
            .nth(1)
            .is_some_and(|word| word == "hash");
    is_check.then_some(CHECK_HINT)
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Generate {
    Man,
    ManHash,
    ManDns,
    ManConnect,
    ManHttp,
    ManMerge,
    ManPlot,
    StatsSchema,
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Hash many files at once and print one line for each, in input order.
    #[command(after_help = help::HASH.short(), after_long_help = help::HASH.long())]
    Hash(HashArguments),

    /// Look up many names at once and print one line for each, in input order.
    #[command(after_help = help::DNS.short(), after_long_help = help::DNS.long())]
    Dns(DnsArguments),

    /// Connect to many endpoints at once and print one line for each, in input order.
    #[command(after_help = help::CONNECT.short(), after_long_help = help::CONNECT.long())]
    Connect(ConnectArguments),

    /// Send many requests to web servers at once and print one row for each, in input order.
    #[command(after_help = help::HTTP.short(), after_long_help = help::HTTP.long())]
    Http(HttpArguments),

    /// Merge the latencies of several runs, from interval logs that --hlog wrote.
    #[command(after_help = help::MERGE.short(), after_long_help = help::MERGE.long())]
    Merge(MergeArguments),

    /// Draw the latencies of runs: a percentile spectrum and a histogram for each phase.
    #[command(after_help = help::PLOT.short(), after_long_help = help::PLOT.long())]
    Plot(PlotArguments),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("picture").args(["output", "text"]).required(true).multiple(true))]
pub(super) struct PlotArguments {
    /// Files that --hlog or --stats wrote, one for each run. Their names are shown in the legend.
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,

    /// Write the picture to OUT, as SVG unless --text is given; `-` for standard output. An existing file is
    /// replaced only when the picture is complete.
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: Option<PathBuf>,

    /// Draw with characters, for a terminal. Written to standard output if there is no --output.
    #[arg(long)]
    pub(super) text: bool,
}

#[derive(Debug, Args)]
pub(super) struct MergeArguments {
    /// Interval logs, written by ringmill or by other programs that use HdrHistogram.
    #[arg(value_name = "FILE", required = true)]
    pub(super) logs: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) forms: FormArguments,
}

#[derive(Debug, Args)]
pub(super) struct HashArguments {
    /// Files to hash. Without PATH and --files-from, their names are read from standard input.
    #[arg(value_name = "PATH", conflicts_with = "files_from", value_hint = ValueHint::FilePath)]
    pub(super) paths: Vec<OsString>,

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
    pub(super) special: Special,

    /// Hash function.
    #[arg(
        short,
        long,
        default_value = "blake3",
        value_parser = algorithm_parser(),
        ignore_case = true,
        help_heading = "Output"
    )]
    pub(super) algorithm: Algorithm,

    /// Output format.
    ///
    /// `gnu` prints lines as sha256sum does; `jsonl` prints one JSON object for every file, failures
    /// included.
    #[arg(long, value_enum, default_value = "gnu", help_heading = "Output")]
    pub(super) format: Format,

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
    pub(super) fields: Vec<Field>,

    /// Print BSD lines: `SHA256 (name) = digest`.
    #[arg(long, help_heading = "Output")]
    pub(super) tag: bool,

    /// End lines with NUL and do not escape names.
    #[arg(short, long, help_heading = "Output")]
    pub(super) zero: bool,

    /// Treat a file that changed while it was read as a failure, not as a warning.
    #[arg(long, help_heading = "Failures")]
    pub(super) strict: bool,

    /// Fail a file that takes longer than this, such as `500ms` or `1m 30s`.
    ///
    /// The time starts with the first system call for the file [default: no timeout].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Failures")]
    pub(super) timeout: Option<Duration>,

    #[command(flatten)]
    pub(super) stream: StreamArguments,
}

#[derive(Debug, Args)]
pub(super) struct DnsArguments {
    /// Names to look up. Without NAME and --files-from, they are read from standard input.
    ///
    /// Each may have a record type: `'example.com MX'`.
    #[arg(value_name = "NAME", conflicts_with = "files_from", value_hint = ValueHint::Hostname)]
    pub(super) names: Vec<OsString>,

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
    pub(super) types: Vec<Rtype>,

    /// Ignore comments and blank lines in lists.
    ///
    /// A # at the start of a line or after a space begins a comment, up to the end of the line. Lines
    /// that are blank or only a comment have no row and no index.
    #[arg(long, conflicts_with = "names", help_heading = "Input")]
    pub(super) comments: bool,

    /// Query this server instead of /etc/resolv.conf.
    ///
    /// May be given several times.
    #[arg(short, long = "resolver", value_name = "ADDR[:PORT]", value_parser = dns::parse_server, help_heading = "Resolvers")]
    pub(super) resolvers: Vec<SocketAddr>,

    /// Read servers to query from FILE, one per line.
    #[arg(long = "resolvers", value_name = "FILE", help_heading = "Resolvers")]
    pub(super) resolvers_from: Option<PathBuf>,

    /// Query every server for each name.
    ///
    /// There is one row for each name and server: names in the order of the list and, for each name,
    /// servers in the order given, -r before --resolvers. If a server fails, its row says so; the query is
    /// not sent to another. With --format text the server is the fourth column, between status and data.
    #[arg(long, help_heading = "Resolvers")]
    pub(super) all_resolvers: bool,

    /// Detect names whose records come from a wildcard.
    ///
    /// If a name has records, a random name with the same parent is queried, once for each parent and type.
    /// If it has the same records, they come from a wildcard. With --format text, there is one more column
    /// before the data: `WILDCARD`, or `?` if the random name got no answer, or otherwise `-`.
    #[arg(long, help_heading = "Resolvers")]
    pub(super) wildcards: bool,

    /// UDP sockets for each server in total, shared by all event loops.
    #[arg(long, value_name = "K", default_value = "8", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(super) sockets: usize,

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
    pub(super) retries: u32,

    /// Timeout of the first attempt.
    ///
    /// It doubles with each retry but stays at most 1 s; a first timeout of over 1 s is used for all
    /// attempts [default: measured for each server from its round-trip times, at least 100 ms].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(super) attempt_timeout: Option<Duration>,

    /// Maximum rate of queries per second to each server.
    ///
    /// Queries above this rate wait [default: no limit].
    #[arg(long, value_name = "R", value_parser = parse_rate, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(super) rate_per_resolver: Option<f64>,

    /// Mix upper and lower case in queried names, and accept only replies that have the same mix.
    ///
    /// This makes replies harder to forge.
    #[arg(long = "0x20", help_heading = "Resolvers")]
    pub(super) mixes_case: bool,

    /// Timeout for each name, all attempts together.
    ///
    /// Time that a query waits to be sent (as with --rate-per-resolver) does not count.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(super) timeout: Duration,

    #[command(flatten)]
    pub(super) queries: QueryArguments,

    /// Output format.
    ///
    /// `text` prints name, type, status and data, separated by tabs; `jsonl` prints one JSON object
    /// for every name; `massdns` prints what `massdns -o Je` does (docs/dns.md lists the differences).
    #[arg(long, value_enum, default_value = "text", help_heading = "Output")]
    pub(super) format: DnsFormat,

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
    pub(super) statuses: Vec<RowStatus>,

    #[command(flatten)]
    pub(super) stream: StreamArguments,
}

/// Options for input and output; the same for every job.
#[derive(Debug, Args)]
pub(super) struct StreamArguments {
    /// Read names from FILE, `-` for standard input.
    ///
    /// May be given several times; the lists are read one after the other.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(super) files_from: Vec<PathBuf>,

    /// Names in lists end with NUL, not with a newline.
    #[arg(short = '0', long, help_heading = "Input")]
    pub(super) null: bool,

    /// Write to FILE, `-` for standard output.
    ///
    /// FILE must not be one of the inputs.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(super) output: Option<PathBuf>,

    /// Print results as they become ready, in any order.
    #[arg(long, help_heading = "Output")]
    pub(super) unordered: bool,

    /// Stop at the first failure.
    ///
    /// The failure itself is reported as usual; nothing is printed for the items after it.
    #[arg(long, help_heading = "Failures")]
    pub(super) fail_fast: bool,

    #[command(flatten)]
    pub(super) resources: ResourceArguments,

    #[command(flatten)]
    pub(super) measure: MeasureArguments,

    /// Print the settings of the run on standard error.
    ///
    /// These are the engine, items in flight, window, event loops and limits.
    #[arg(short, long, help_heading = "Messages")]
    pub(super) verbose: bool,
}

/// What a run may use; the same for every job.
#[derive(Debug, Args)]
pub(super) struct ResourceArguments {
    /// Maximum items in flight [default: hash and connect 512, dns 8192].
    ///
    /// In flight means started and not finished. All event loops share this limit. `hash` has fewer in
    /// flight if the limit on open files is lower.
    #[arg(long, value_name = "N", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(super) in_flight: Option<usize>,

    /// Maximum items that are started and not printed yet.
    ///
    /// A result waits until all earlier items are printed. While W items are not printed, no other is
    /// started [default: hash 16 times --in-flight; dns 196608, or fewer if their rows take 30 MiB].
    #[arg(long, value_name = "W", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(super) window: Option<usize>,

    /// Event loops, each on its own thread [default: one for each processor this process may use].
    #[arg(long, value_name = "R", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(super) loops: Option<usize>,

    /// Threads for calls that block, for each mounted file system (only for `hash`) [default: 64].
    ///
    /// All event loops share them.
    #[arg(long, value_name = "N", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(super) io_workers: Option<usize>,

    /// Maximum items to start per second.
    ///
    /// Items start on a schedule. If the run falls behind, items start at once. Latency is reported twice:
    /// from the actual and from the scheduled start [default: no limit].
    #[arg(long, value_name = "R", value_parser = parse_rate, allow_hyphen_values = true, help_heading = "Resources")]
    pub(super) rate: Option<f64>,

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
    pub(super) engine: Engine,
}

/// Options for measurements and messages; the same for every job.
#[derive(Debug, Args)]
pub(super) struct MeasureArguments {
    #[command(flatten)]
    pub(super) forms: FormArguments,

    /// Interval length of --hlog.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "1s",
        value_parser = parse_interval,
        allow_hyphen_values = true,
        help_heading = "Measurements"
    )]
    pub(super) interval: Duration,

    /// Show progress on standard error.
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        help_heading = "Messages"
    )]
    pub(super) progress: When,

    /// At the end, print counts, rates and the time per item on standard error.
    ///
    /// With dns, also print counts for each status and each server.
    #[arg(long, help_heading = "Messages")]
    pub(super) summary: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Gnu,
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Field {
    Device,
    Inode,
    Nlink,
    #[value(name = "mtime_ns")]
    MtimeNs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DnsFormat {
    Text,
    Jsonl,
    Massdns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Special {
    Error,
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// If standard error is a terminal.
    Auto,
    Always,
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::definition().debug_assert();
    }

    fn parsed(arguments: &str) -> Command {
        let words = ["ringmill"].into_iter().chain(arguments.split(' '));
        let parsed = Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        parsed.command.expect("a subcommand")
    }

    #[test]
    fn the_last_of_several_values_counts_and_lists_keep_all() {
        let options = "--in-flight 1 -v --in-flight 2 -v --files-from a --files-from b";
        let Command::Hash(hash) = parsed(&format!("hash -a md5 {options} -a sha1")) else {
            panic!("another subcommand");
        };
        assert_eq!(hash.algorithm, Algorithm::Sha1);
        assert_eq!(hash.stream.resources.in_flight, Some(2));
        assert_eq!(hash.stream.files_from, ["a", "b"].map(PathBuf::from));
        let servers = "-r 192.0.2.1 -r 192.0.2.2 -t A -t MX,NS --status NOERROR --status NODATA";
        let Command::Dns(dns) = parsed(&format!("dns {servers}")) else {
            panic!("another subcommand");
        };
        assert_eq!(dns.resolvers.len(), 2);
        assert_eq!(dns.types, [Rtype::A, Rtype::MX, Rtype::NS]);
        assert_eq!(dns.statuses.len(), 2);
    }

    #[test]
    fn algorithms_are_known_by_several_spellings() {
        for algorithm in Algorithm::ALL {
            for name in [algorithm.name().to_owned(), algorithm.tag().to_owned()] {
                let Command::Hash(hash) = parsed(&format!("hash -a {name}")) else {
                    panic!("another subcommand");
                };
                assert_eq!(hash.algorithm, algorithm);
            }
        }
        for (name, algorithm) in [
            ("SHA-256", Algorithm::Sha256),
            ("crc-32c", Algorithm::Crc32c),
        ] {
            let Command::Hash(hash) = parsed(&format!("hash -a {name}")) else {
                panic!("another subcommand");
            };
            assert_eq!(hash.algorithm, algorithm);
        }
    }

    /// An invalid number or duration is reported with the name of its option, and in our own words, not
    /// those of a parser.
    #[test]
    fn no_value_is_refused_in_the_words_of_a_parser() {
        let phrases = [
            "invalid digit",
            "invalid float",
            "invalid IP",
            "cannot parse",
            "out of range",
            "expected number",
            "unexpected argument",
            "is not in ",
            "empty string",
            "was empty",
        ];
        let command = Arguments::definition();
        for subcommand in command.get_subcommands() {
            let options = subcommand.get_arguments().filter(|option| {
                let takes_text = option.get_value_hint() == clap::ValueHint::Unknown;
                let is_choice = !option.get_possible_values().is_empty();
                option.get_action().takes_values() && takes_text && !is_choice
            });
            for option in options.filter(|option| option.get_long().is_some()) {
                // Only options that take a number accept a minus sign.
                let takes_minus = option.is_allow_hyphen_values_set();
                let values = ["-1", "-1s", "x", "1e", "99999999999999999999999"];
                let values = values
                    .iter()
                    .filter(|value| takes_minus || !value.starts_with('-'));
                let option = option.get_long().unwrap_or_default();
                for &value in values {
                    let words = [
                        "ringmill",
                        subcommand.get_name(),
                        &format!("--{option}"),
                        value,
                    ];
                    let Err(error) = Arguments::try_parse_from(words) else {
                        continue;
                    };
                    let text = error.to_string();
                    assert!(text.contains(&format!("--{option}")), "{text}");
                    for phrase in phrases {
                        assert!(!text.contains(phrase), "{words:?}: {text}");
                    }
                }
            }
        }
    }
}
