//! What can be said on the command line. Plain data; nothing here looks at the system.

use super::forms::FormArguments;
use super::help;
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

/// Options that `-h` leaves out of the subcommands that have more than a screenful. `--help` and the man
/// pages have all.
const RARE: [&str; 23] = [
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

/// For whoever asks `hash` for what the sum tools do with this option.
const CHECK_HINT: &str = "there is no --check yet; `b3sum --check FILE`, or `sha256sum --check FILE` \
    after -a sha256, checks the lines that `ringmill hash` prints";

/// Runs endless lists of work on `io_uring`: bounded, concurrent, results in input order.
#[derive(Debug, Parser)]
#[command(name = "ringmill", version, after_help = help::RINGMILL.short(), after_long_help = help::RINGMILL.long(), max_term_width = 100)]
// Aliases of shells have options that whoever uses them may give once more.
#[command(arg_required_else_help = true, args_override_self = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// Print the man page or a shell's completions.
    #[arg(long, hide = true, value_enum)]
    pub(super) generate: Option<Generate>,
}

impl Arguments {
    /// The command line as it is parsed and described.
    pub(super) fn definition() -> clap::Command {
        let leave_out = |option: clap::Arg| {
            let is_rare = RARE.contains(&option.get_id().as_str());
            option.hide_short_help(is_rare)
        };
        let mut command = Self::command();
        for subcommand in ["hash", "dns"] {
            command = command.mut_subcommand(subcommand, |it| it.mut_args(leave_out));
        }
        command
    }

    /// The process's arguments. If they make no sense, this ends the process.
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
                // If it cannot be printed, there is nobody to tell.
                let _ = error.print();
                if let Some(hint) = hint {
                    messages::hint(&hint);
                }
                std::process::exit(error.exit_code())
            }
        }
    }

    fn check(self) -> Result<Self, clap::Error> {
        if let Some(Command::Hash(hash)) = &self.command
            && hash.format == Format::Jsonl
            && (hash.tag || hash.zero)
        {
            let message = "--tag and --zero are about GNU lines, not about --format jsonl";
            let mut command = Self::definition();
            command.build();
            let hash = command.find_subcommand_mut("hash").expect("it exists");
            return Err(hash.error(ErrorKind::ArgumentConflict, message));
        }
        Ok(self)
    }
}

/// What to do instead of what is not understood.
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
    ManMerge,
    ManPlot,
    StatsSchema,
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Hash files: many at once, one line each, in the order they were named.
    #[command(after_help = help::HASH.short(), after_long_help = help::HASH.long())]
    Hash(HashArguments),

    /// Look names up: many at once, one line each, in the order they were named.
    #[command(after_help = help::DNS.short(), after_long_help = help::DNS.long())]
    Dns(DnsArguments),

    /// Add the latencies of several runs, from the interval logs that --hlog wrote.
    #[command(after_help = help::MERGE.short(), after_long_help = help::MERGE.long())]
    Merge(MergeArguments),

    /// Draw the latencies of runs: a percentile spectrum and a histogram for each phase.
    #[command(after_help = help::PLOT.short(), after_long_help = help::PLOT.long())]
    Plot(PlotArguments),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("picture").args(["output", "text"]).required(true).multiple(true))]
pub(super) struct PlotArguments {
    /// What --hlog or --stats wrote, one file for each run. Its name stands in the legend.
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,

    /// Where to write the picture, in SVG unless --text is given; `-` for standard output. A file is replaced
    /// when the picture is complete.
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: Option<PathBuf>,

    /// Draw for a terminal, on standard output if there is no --output.
    #[arg(long)]
    pub(super) text: bool,
}

#[derive(Debug, Args)]
pub(super) struct MergeArguments {
    /// Interval logs, of ringmill or of other programs that use HdrHistogram.
    #[arg(value_name = "FILE", required = true)]
    pub(super) logs: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) forms: FormArguments,
}

#[derive(Debug, Args)]
pub(super) struct HashArguments {
    /// Files to hash. Without any, and without --files-from, a list on standard input names them.
    #[arg(value_name = "PATH", conflicts_with = "files_from", value_hint = ValueHint::FilePath)]
    pub(super) paths: Vec<OsString>,

    /// What to do with FIFOs, sockets and devices.
    ///
    /// `error` reports them unopened, `read` reads them, which may take for ever and takes their data away
    /// from other readers.
    #[arg(
        long,
        value_enum,
        default_value = "error",
        value_name = "WHAT",
        help_heading = "Input"
    )]
    pub(super) special: Special,

    /// The hash function.
    #[arg(
        short,
        long,
        default_value = "blake3",
        value_parser = algorithm_parser(),
        ignore_case = true,
        help_heading = "Output"
    )]
    pub(super) algorithm: Algorithm,

    /// The form of the output.
    ///
    /// `gnu` prints lines as sha256sum does; `jsonl` prints one JSON object for every file, failures
    /// included.
    #[arg(long, value_enum, default_value = "gnu", help_heading = "Output")]
    pub(super) format: Format,

    /// Print BSD lines: `SHA256 (name) = digest`.
    #[arg(long, help_heading = "Output")]
    pub(super) tag: bool,

    /// End lines with NUL, and do not escape names.
    #[arg(short, long, help_heading = "Output")]
    pub(super) zero: bool,

    /// Treat a file that changed while it was read as a failure, not as a warning.
    #[arg(long, help_heading = "Failures")]
    pub(super) strict: bool,

    /// Give up a file that is not done in this time, such as `500ms` or `1m 30s`.
    ///
    /// It runs from the first call for the file [default: never].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Failures")]
    pub(super) timeout: Option<Duration>,

    #[command(flatten)]
    pub(super) stream: StreamArguments,
}

#[derive(Debug, Args)]
pub(super) struct DnsArguments {
    /// Names to look up. Without any, and without --files-from, a list on standard input has them.
    ///
    /// Each may have a type: `'example.com MX'`.
    #[arg(value_name = "NAME", conflicts_with = "files_from", value_hint = ValueHint::Hostname)]
    pub(super) names: Vec<OsString>,

    /// The type of records to ask for where a line names none.
    ///
    /// Several, separated by commas, make a row each. An IP address asks for its name (PTR); with PTR, a
    /// block such as 192.0.2.0/24 asks for the names of all its addresses.
    #[arg(
        short = 't',
        long = "type",
        value_name = "TYPE",
        default_value = "A",
        value_delimiter = ',',
        value_parser = parse_record_type
    )]
    pub(super) types: Vec<Rtype>,

    /// Lists have comments, from a word that begins with #.
    ///
    /// They end with their line. Lines without anything else have no row and no index.
    #[arg(long, conflicts_with = "names", help_heading = "Input")]
    pub(super) comments: bool,

    /// Ask this server, not those of /etc/resolv.conf.
    ///
    /// May be given several times.
    #[arg(short, long = "resolver", value_name = "ADDR[:PORT]", value_parser = dns::parse_server, help_heading = "Resolvers")]
    pub(super) resolvers: Vec<SocketAddr>,

    /// Read the servers to ask from FILE, one a line.
    #[arg(long = "resolvers", value_name = "FILE", help_heading = "Resolvers")]
    pub(super) resolvers_from: Option<PathBuf>,

    /// Ask each name of every server.
    ///
    /// There is a row for each of them. They come in the order of the list, and for a name in the order in which the servers were given, -r
    /// before --resolvers. No server is asked in place of another. With --format text the server is the
    /// fourth column, between status and data.
    #[arg(long, help_heading = "Resolvers")]
    pub(super) all_resolvers: bool,

    /// Find out which names have their records from a wildcard.
    ///
    /// Where a name has records, a random name in its place is asked for, once for each parent and type, and
    /// if that has the same, the name is said to be one. With --format text the column before the data is
    /// then `WILDCARD`, `?` if the random name had no answer, and otherwise `-`.
    #[arg(long, help_heading = "Resolvers")]
    pub(super) wildcards: bool,

    /// Sockets for each server, all loops together, from which it is asked.
    #[arg(long, value_name = "K", default_value = "8", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(super) sockets: usize,

    /// Attempts after the first.
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

    /// The time for the first attempt.
    ///
    /// Each further one has twice as much, up to a second or as much as the first [default: for each server
    /// what its replies take, at least 100 ms].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(super) attempt_timeout: Option<Duration>,

    /// Queries to each server per second, at most.
    ///
    /// What is beyond that waits.
    #[arg(long, value_name = "R", value_parser = parse_rate, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(super) rate_per_resolver: Option<f64>,

    /// Ask in a mixture of capitals and small letters that replies have to repeat.
    ///
    /// It makes forging them harder. Servers that do not repeat it have no answers then.
    #[arg(long = "0x20", help_heading = "Resolvers")]
    pub(super) mixes_case: bool,

    /// The time for a name, all attempts together.
    ///
    /// It is the time in which replies are waited for.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_timeout, allow_hyphen_values = true, help_heading = "Resolvers")]
    pub(super) timeout: Duration,

    #[command(flatten)]
    pub(super) queries: QueryArguments,

    /// The form of the output.
    ///
    /// `text` prints name, type, status and data, separated by tabs; `jsonl` prints one JSON object
    /// for every name; `massdns` prints what massdns does with -o Je (docs/dns.md lists the differences).
    #[arg(long, value_enum, default_value = "text", help_heading = "Output")]
    pub(super) format: DnsFormat,

    /// Print only rows with these statuses: `NOERROR,NODATA`.
    ///
    /// Other rows are counted all the same, and decide the exit status.
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

/// Items in, results out; the same for every job.
#[derive(Debug, Args)]
pub(super) struct StreamArguments {
    /// Read names from FILE, `-` for standard input.
    ///
    /// May be given several times: the lists are read one after the other.
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

    /// Print results as they come, in any order.
    #[arg(long, help_heading = "Output")]
    pub(super) unordered: bool,

    /// End at the first failure.
    ///
    /// Nothing is printed of what stands behind it.
    #[arg(long, help_heading = "Failures")]
    pub(super) fail_fast: bool,

    #[command(flatten)]
    pub(super) resources: ResourceArguments,

    #[command(flatten)]
    pub(super) measure: MeasureArguments,

    /// Print the plan on standard error.
    ///
    /// That is the engine, items in flight, window, loops and limits.
    #[arg(short, long, help_heading = "Messages")]
    pub(super) verbose: bool,
}

/// What a run may use; the same for every job.
#[derive(Debug, Args)]
pub(super) struct ResourceArguments {
    /// Items in flight at most, all loops together.
    ///
    /// [default: 8192 names; 512 files, or as many as the limit on open files allows]
    #[arg(long, value_name = "N", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(super) in_flight: Option<usize>,

    /// Items between their pull from the list and the printing of their result, at most.
    ///
    /// [default: for files 16 times --in-flight; for names 196608, or fewer whose rows take 30 MiB]
    #[arg(long, value_name = "W", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(super) window: Option<usize>,

    /// Event loops, each on its own thread [default: the processors this process may use].
    #[arg(long, value_name = "R", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(super) loops: Option<usize>,

    /// Threads for calls that block, for each mounted file system, all loops together [default: 64].
    #[arg(long, value_name = "N", value_parser = parse_count, allow_hyphen_values = true, help_heading = "Resources")]
    pub(super) io_workers: Option<usize>,

    /// Items to start per second, at most.
    ///
    /// They start on a schedule; what was late is made up for, and latencies are measured from the schedule,
    /// too [default: as many as can be].
    #[arg(long, value_name = "R", value_parser = parse_rate, allow_hyphen_values = true, help_heading = "Resources")]
    pub(super) rate: Option<f64>,

    /// What carries out the operations.
    ///
    /// `auto` takes threads where `io_uring` is not to be had.
    #[arg(
        long,
        value_parser = EngineParser,
        default_value = "auto",
        env = "RINGMILL_ENGINE",
        help_heading = "Resources"
    )]
    pub(super) engine: Engine,
}

/// What is to be told of a run besides its results; the same for every job.
#[derive(Debug, Args)]
pub(super) struct MeasureArguments {
    #[command(flatten)]
    pub(super) forms: FormArguments,

    /// The length of the intervals of --hlog.
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
    /// For names also the counts of each status and of each server.
    #[arg(long, help_heading = "Messages")]
    pub(super) summary: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Gnu,
    Jsonl,
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

    /// Whatever is wrong with a number or a length of time: the option is named, and what is said is
    /// ours.
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
                // A minus makes sense only where a number may stand.
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
