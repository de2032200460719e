//! The options and arguments of the command line, as plain data. Nothing here inspects the system.

mod connect;
mod dns;
mod hash;
mod http;
mod names;
mod query;
mod stream;

pub(super) use connect::{ConnectArguments, ConnectFormat};
pub(super) use dns::{DnsArguments, DnsFormat};
pub(super) use hash::{Field, Format, HashArguments, Special};
pub(super) use http::{HttpArguments, HttpFormat};
pub(super) use names::NameArguments;
pub(super) use stream::{MeasureArguments, ResourceArguments, StreamArguments, When};

use crate::cli::forms::FormArguments;
use crate::cli::help;
use crate::sink::messages;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Options that `-h` leaves out, in subcommands with more options than fit a screen. `--help` and the man
/// pages list all options.
const RARE: [&str; 36] = [
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
    // Those of connect and http.
    "resolve",
    "v4_only",
    "v6_only",
    "user_agent",
    "max_redirects",
    "retry_after_max",
    "connect_timeout",
    "max_body",
    "cacert",
    "insecure",
    "bodies",
    "headers",
];

/// The same for `ringmill http`, which has the most options.
const RARE_IN_HTTP: [&str; 4] = ["resolvers", "engine", "stats", "deny_private"];

/// Printed for `ringmill hash --check`, an option that the sum tools have.
const CHECK_HINT: &str = "there is no --check yet; `b3sum --check FILE`, or `sha256sum --check FILE` \
    after -a sha256, checks the lines that `ringmill hash` prints";

/// Hashes files, looks up names, connects to endpoints and requests URLs, many at once with `io_uring`. Prints results
/// in input order.
#[derive(Debug, Parser)]
#[command(name = "ringmill", version, after_help = help::RINGMILL.short(), after_long_help = help::RINGMILL.long(), max_term_width = 100)]
// A shell alias may contain an option that the user gives again.
#[command(arg_required_else_help = true, args_override_self = true)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<Command>,

    /// Print the man page or a shell's completions.
    #[arg(long, hide = true, value_enum)]
    pub(in crate::cli) generate: Option<Generate>,
}

impl Arguments {
    /// The definition that parsing, help and man pages use.
    pub(in crate::cli) fn definition() -> clap::Command {
        let leave_out = |option: clap::Arg| {
            let is_rare = RARE.contains(&option.get_id().as_str());
            option.hide_short_help(is_rare)
        };
        let mut command = Self::command();
        for subcommand in ["hash", "dns", "connect", "http"] {
            command = command.mut_subcommand(subcommand, |it| it.mut_args(leave_out));
        }
        command.mut_subcommand("http", |mut it| {
            for option in RARE_IN_HTTP {
                it = it.mut_arg(option, |option| option.hide_short_help(true));
            }
            it
        })
    }

    /// Parses the process's arguments. Ends the process if they are invalid.
    pub(in crate::cli) fn parse_and_check() -> Self {
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
pub(in crate::cli) enum Generate {
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
pub(in crate::cli) enum Command {
    /// Hash many files at once and print one line for each, in input order.
    #[command(after_help = help::HASH.short(), after_long_help = help::HASH.long())]
    Hash(HashArguments),

    /// Look up many names at once and print one line for each, in input order.
    #[command(after_help = help::DNS.short(), after_long_help = help::DNS.long())]
    Dns(DnsArguments),

    /// Connect to many endpoints at once and print one line for each, in input order.
    #[command(after_help = help::CONNECT.short(), after_long_help = help::CONNECT.long())]
    Connect(ConnectArguments),

    /// Request many URLs at once and print one row for each, in input order.
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
pub(in crate::cli) struct PlotArguments {
    /// Files that --hlog or --stats wrote, one for each run. Their names are shown in the legend.
    #[arg(value_name = "FILE", required = true)]
    pub(in crate::cli) files: Vec<PathBuf>,

    /// Write the picture to OUT, as SVG unless --text is given; `-` for standard output. An existing file is
    /// replaced only when the picture is complete.
    #[arg(short, long, value_name = "OUT")]
    pub(in crate::cli) output: Option<PathBuf>,

    /// Draw with characters, for a terminal. Written to standard output if there is no --output.
    #[arg(long)]
    pub(in crate::cli) text: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct MergeArguments {
    /// Interval logs, written by ringmill or by other programs that use HdrHistogram.
    #[arg(value_name = "FILE", required = true)]
    pub(in crate::cli) logs: Vec<PathBuf>,

    #[command(flatten)]
    pub(in crate::cli) forms: FormArguments,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use domain::base::Rtype;

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
