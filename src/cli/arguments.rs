//! What can be said on the command line. Plain data; nothing here looks at the system.

use super::forms::FormArguments;
use super::query_arguments::QueryArguments;
use crate::digest::Algorithm;
use crate::jobs::dns::{self, RowStatus};
use crate::run::Engine;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use domain::base::Rtype;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const AFTER_HELP: &str = "\
Exit status: 0 all well; 1 some items failed; 2 usage, set-up or output failed; a signal is raised again.";

const HASH_AFTER_HELP: &str = "\
Examples:
  find /srv -type f -print0 | ringmill hash -0 -z > sums
  ringmill hash -a sha256 --files-from list.txt -o SHA256SUMS
  ringmill hash --format jsonl *.iso | jq .digest

A list is one name a line (or NUL-separated with -0), of any length, and may never end.
Exit status: 0 all well; 1 some files failed; 2 usage, set-up or output failed; a signal is raised again.";

const MERGE_AFTER_HELP: &str = "\
Without any of the options, the table of --latency is printed. It goes to standard output.

Example:
  ringmill merge shard1.hlog shard2.hlog --hlog all.hlog --latency

Exit status: 0 all well; 2 usage, reading or writing failed.";

const PLOT_AFTER_HELP: &str = "\
Examples:
  ringmill plot uring.hlog threads.hlog -o both.svg
  ringmill plot run.json --text | less

JSON documents that were written without --bins have percentiles, but no histograms.
Exit status: 0 all well; 2 usage, reading or writing failed.";

const DNS_AFTER_HELP: &str = "\
Examples:
  ringmill dns --files-from names.txt -o answers.txt
  ringmill dns -r 192.0.2.53 -r '[2001:db8::53]:5353' -t AAAA --format jsonl < names.txt

Lines of a list are NAME or NAME TYPE. Text lines are name, type, status and the records' data; aliases
on the way have their type before their data.
Exit status: 0 all names were answered for; 1 some were not; 2 usage, set-up or output failed; a signal is raised again.";

/// Shorter intervals would have a loop do little else than give away what it has recorded.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// From an item in a quarter of an hour to one in a nanosecond.
const RATE_MIN: f64 = 1e-3;
const RATE_MAX: f64 = 1e9;

/// Runs endless lists of work on `io_uring`: bounded, concurrent, results in input order.
#[derive(Debug, Parser)]
#[command(name = "ringmill", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// Print the man page or a shell's completions.
    #[arg(long, hide = true, value_enum)]
    pub(super) generate: Option<Generate>,
}

impl Arguments {
    /// The process's arguments. If they make no sense, this ends the process.
    pub(super) fn parse_and_check() -> Self {
        let arguments = Self::parse();
        if let Some(Command::Hash(hash)) = &arguments.command
            && hash.format == Format::Jsonl
            && (hash.tag || hash.zero)
        {
            let message = "--tag and --zero are about GNU lines, not about --format jsonl";
            let mut command = Self::command();
            command.build();
            let hash = command.find_subcommand_mut("hash").expect("it exists");
            hash.error(ErrorKind::ArgumentConflict, message).exit();
        }
        arguments
    }
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
    #[command(after_help = HASH_AFTER_HELP)]
    Hash(HashArguments),

    /// Look names up: many at once, one line each, in the order they were named.
    #[command(after_help = DNS_AFTER_HELP)]
    Dns(DnsArguments),

    /// Add the latencies of several runs, from the interval logs that --hlog wrote.
    #[command(after_help = MERGE_AFTER_HELP)]
    Merge(MergeArguments),

    /// Draw the latencies of runs: a percentile spectrum and a histogram for each phase.
    #[command(after_help = PLOT_AFTER_HELP)]
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
    /// Files to hash. With neither PATH nor --files-from, a list is read from standard input.
    #[arg(value_name = "PATH", conflicts_with = "files_from")]
    pub(super) paths: Vec<OsString>,

    /// What to do with FIFOs, sockets and devices: `error` reports them unopened, `read` reads
    /// them, which may take for ever and takes their data away from other readers.
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
        hide_possible_values = false,
        help_heading = "Output"
    )]
    pub(super) algorithm: Algorithm,

    /// `gnu` prints lines as sha256sum does; `jsonl` prints one JSON object for every file,
    /// failures included.
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

    /// Give up a file that is not done this long after its first call, such as `500ms` or `1m 30s`
    /// [default: never].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, help_heading = "Failures")]
    pub(super) timeout: Option<Duration>,

    #[command(flatten)]
    pub(super) stream: StreamArguments,
}

#[derive(Debug, Args)]
pub(super) struct DnsArguments {
    /// Names to look up, each with its type if there is one: `'example.com MX'`. With neither NAME nor
    /// --files-from, a list is read from standard input.
    #[arg(value_name = "NAME", conflicts_with = "files_from")]
    pub(super) names: Vec<OsString>,

    /// The type of records to ask for where a line names none. Several, separated by commas, make a row
    /// each. An IP address asks for its name (PTR); with PTR, a block such as 192.0.2.0/24 asks for the
    /// names of all its addresses.
    #[arg(
        short = 't',
        long = "type",
        value_name = "TYPE",
        default_value = "A",
        value_delimiter = ',',
        value_parser = parse_record_type
    )]
    pub(super) types: Vec<Rtype>,

    /// Lists have comments: a word that begins with # and what follows it in its line. Lines without
    /// anything else have no row and no index.
    #[arg(long, conflicts_with = "names", help_heading = "Input")]
    pub(super) comments: bool,

    /// Ask this server, not those of /etc/resolv.conf. May be given several times.
    #[arg(short, long = "resolver", value_name = "ADDR[:PORT]", value_parser = dns::parse_server, help_heading = "Resolvers")]
    pub(super) resolvers: Vec<SocketAddr>,

    /// Read the servers to ask from FILE, one a line.
    #[arg(long = "resolvers", value_name = "FILE", help_heading = "Resolvers")]
    pub(super) resolvers_from: Option<PathBuf>,

    /// Ask each name of every server, and print a row for each: in the order of the list, and for a name
    /// in the order in which the servers were given, -r before --resolvers. No server is asked in place of
    /// another. With --format text the server is the fourth column, between status and data.
    #[arg(long, help_heading = "Resolvers")]
    pub(super) all_resolvers: bool,

    /// Find out which names have their records from a wildcard: where a name has records, a random name in
    /// its place is asked for, once for each parent and type, and if that has the same, the name is said to
    /// be one. With --format text the column before the data is then `WILDCARD`, `?` if the random name had
    /// no answer, and otherwise `-`.
    #[arg(long, help_heading = "Resolvers")]
    pub(super) wildcards: bool,

    /// Sockets for each server, all loops together, from which it is asked.
    #[arg(long, value_name = "K", default_value = "8", value_parser = positive(), help_heading = "Resolvers")]
    pub(super) sockets: usize,

    /// Attempts after the first, with other servers if there are any.
    #[arg(
        long,
        value_name = "N",
        default_value = "5",
        help_heading = "Resolvers"
    )]
    pub(super) retries: u32,

    /// The time for the first attempt; each further one has twice as much, up to a second or as much as
    /// the first [default: for each server what its replies take, at least 100 ms].
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, help_heading = "Resolvers")]
    pub(super) attempt_timeout: Option<Duration>,

    /// Queries to each server per second, at most. What is beyond that waits.
    #[arg(long, value_name = "R", value_parser = parse_rate, help_heading = "Resolvers")]
    pub(super) rate_per_resolver: Option<f64>,

    /// Ask in a mixture of capitals and small letters that replies have to repeat, which makes forging
    /// them harder. Servers that do not repeat it have no answers then.
    #[arg(long = "0x20", help_heading = "Resolvers")]
    pub(super) mixes_case: bool,

    /// The time for a name: how long replies are waited for, all attempts together.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = parse_timeout, help_heading = "Resolvers")]
    pub(super) timeout: Duration,

    #[command(flatten)]
    pub(super) queries: QueryArguments,

    /// `text` prints name, type, status and data, separated by tabs; `jsonl` prints one JSON object
    /// for every name; `massdns` prints what massdns does with -o Je (the README lists the differences).
    #[arg(long, value_enum, default_value = "text", help_heading = "Output")]
    pub(super) format: DnsFormat,

    /// Print only rows with these statuses, separated by commas: `NOERROR,NODATA`. Other rows are counted
    /// all the same, and decide the exit status.
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
    /// Read names from FILE, `-` for standard input. May be given several times.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub(super) files_from: Vec<PathBuf>,

    /// Names in lists end with NUL, not with a newline.
    #[arg(short = '0', long, help_heading = "Input")]
    pub(super) null: bool,

    /// Write to FILE, `-` for standard output. FILE must not be one of the inputs.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(super) output: Option<PathBuf>,

    /// Print results as they come, not in the order of the input.
    #[arg(long, help_heading = "Output")]
    pub(super) unordered: bool,

    /// End at the first failure: nothing is printed of what stands behind it.
    #[arg(long, help_heading = "Failures")]
    pub(super) fail_fast: bool,

    #[command(flatten)]
    pub(super) resources: ResourceArguments,

    #[command(flatten)]
    pub(super) measure: MeasureArguments,

    /// Print the plan on standard error: engine, items in flight, window, loops, limits.
    #[arg(short, long, help_heading = "Messages")]
    pub(super) verbose: bool,
}

/// What a run may use; the same for every job.
#[derive(Debug, Args)]
pub(super) struct ResourceArguments {
    /// Items in flight at most, all loops together [default: 8192 names; 512 files, or as many as the
    /// limit on open files allows].
    #[arg(long, value_name = "N", value_parser = positive(), help_heading = "Resources")]
    pub(super) in_flight: Option<usize>,

    /// Items between their pull from the list and the printing of their result, at most
    /// [default: for files 16 times --in-flight; for names 196608, or fewer whose rows take 30 MiB].
    #[arg(long, value_name = "W", value_parser = positive(), help_heading = "Resources")]
    pub(super) window: Option<usize>,

    /// Event loops, each on its own thread [default: the processors this process may use].
    #[arg(long, value_name = "R", value_parser = positive(), help_heading = "Resources")]
    pub(super) loops: Option<usize>,

    /// Threads for calls that block, for each mounted file system, all loops together [default: 64].
    #[arg(long, value_name = "N", value_parser = positive(), help_heading = "Resources")]
    pub(super) io_workers: Option<usize>,

    /// Items to start per second, at most. They start on a schedule; what was late is made up for, and
    /// latencies are measured from the schedule, too [default: as many as can be].
    #[arg(long, value_name = "R", value_parser = parse_rate, help_heading = "Resources")]
    pub(super) rate: Option<f64>,

    /// What carries out the operations; `auto` takes threads where `io_uring` is not to be had.
    #[arg(
        long,
        value_enum,
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

    /// At the end, print counts, rates and the time per item on standard error; for names also the counts
    /// of each status and of each server.
    #[arg(long, help_heading = "Messages")]
    pub(super) summary: bool,
}

impl ValueEnum for Engine {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Uring, Self::Threads]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Threads => "threads",
        }))
    }
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

fn algorithm_parser() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::name))
        .map(|name| name.parse().expect("the name of an algorithm"))
}

/// A number from 1 on.
fn positive() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u32)
        .range(1..)
        .map(|number| number as usize)
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if timeout.is_zero() {
        return Err("a deadline of 0 gives up everything".to_owned());
    }
    Ok(timeout)
}

fn parse_record_type(text: &str) -> Result<Rtype, String> {
    dns::parse_type(text.as_bytes()).map_err(|error| error.to_string())
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < INTERVAL_MIN {
        return Err("an interval is 10 ms or longer".to_owned());
    }
    Ok(interval)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number per second, from 0.001 to 1000000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn numbers_start_at_one() {
        assert!(Arguments::try_parse_from(["ringmill", "hash", "--in-flight", "0"]).is_err());
        assert!(Arguments::try_parse_from(["ringmill", "hash", "--timeout", "0s"]).is_err());
    }
}
