//! The parts of help texts and man pages that do not describe options.

/// The texts of the command or of a subcommand.
pub(super) struct Texts {
    /// Notes, one paragraph each.
    pub(super) notes: &'static [&'static str],
    pub(super) examples: &'static [&'static str],
    /// Each code with its meaning.
    pub(super) exit_status: &'static [(&'static str, &'static str)],
}

pub(super) const RINGMILL: Texts = Texts {
    notes: &[],
    examples: &[],
    exit_status: &[
        ALL_WELL,
        ("1", "some items failed"),
        NO_RUN,
        SIGINT,
        SIGTERM,
    ],
};

pub(super) const HASH: Texts = Texts {
    notes: &[
        "A list has one name per line (with -0, names end with NUL). It may have any length, or never end.",
    ],
    examples: &[
        "find /srv -type f -print0 | ringmill hash -0 -z > sums",
        "ringmill hash -a sha256 --files-from list.txt -o SHA256SUMS",
        "ringmill hash --format jsonl *.iso | jq .digest",
    ],
    exit_status: &[
        ALL_WELL,
        ("1", "some files failed"),
        NO_RUN,
        SIGINT,
        SIGTERM,
    ],
};

pub(super) const DNS: Texts = Texts {
    notes: &[
        "A line of a list is NAME or NAME TYPE. A row of text is name, type, status and the data of the \
         records, separated by tabs. Records of a type other than the queried one, such as CNAME, have \
         their type before their data.",
    ],
    examples: &[
        "ringmill dns --files-from names.txt -o answers.txt",
        "ringmill dns -r 192.0.2.53 -r '[2001:db8::53]:5353' -t AAAA < names.txt",
    ],
    exit_status: &[
        ("0", "every name got NOERROR, NODATA or NXDOMAIN"),
        ("1", "some did not"),
        NO_RUN,
        SIGINT,
        SIGTERM,
    ],
};

pub(super) const CONNECT: Texts = Texts {
    notes: &[
        "A line of a list is HOST:PORT or, with -p, HOST. A row of text is the endpoint, its status (open, \
         refused, timeout, unreachable, reset, unresolved or invalid), the address and the time of the connect, \
         separated by tabs. The addresses of a name are tried one after the other until one is open.",
    ],
    examples: &[
        "ringmill connect example.com:443 '[::1]:22'",
        "ringmill connect -p 22,80,443 --files-from hosts.txt --format jsonl",
    ],
    exit_status: &[
        ("0", "all endpoints are open"),
        ("1", "some are not"),
        NO_RUN,
        SIGINT,
        SIGTERM,
    ],
};

pub(super) const HTTP: Texts = Texts {
    notes: &[
        "A line of a list is a URL, or a JSON object with `url` and, for this request, `method`, `headers` and \
         `body`; its other members are repeated in the row as `input`. Bodies in gzip, br and zstd are decoded.",
        "After status 429 or 503, an origin is left alone for the time that it asks for (Retry-After), and other \
         origins go on. HTTP/2, cookies and proxies are not supported.",
        "Long bodies are kept in files until their rows are printed: in the directory of --bodies, or else in that of \
         the environment variable TMPDIR (/tmp if it is not set).",
    ],
    examples: &[
        "ringmill http https://example.com/",
        "ringmill http --files-from urls.txt -a sha256 --rate-per-host 10",
    ],
    exit_status: &[
        ("0", "all statuses are below 400"),
        ("1", "some are not, or there is none"),
        NO_RUN,
        SIGINT,
        SIGTERM,
    ],
};

pub(super) const MERGE: Texts = Texts {
    notes: &[
        "Without options, the table of --latency is printed. It is written to standard output.",
    ],
    examples: &["ringmill merge shard1.hlog shard2.hlog --hlog all.hlog --latency"],
    exit_status: &[ALL_WELL, ("2", "usage, reading or writing failed")],
};

pub(super) const PLOT: Texts = Texts {
    notes: &[
        "Documents of --stats that were written without --bins have percentiles, but no histograms.",
    ],
    examples: &[
        "ringmill plot uring.hlog threads.hlog -o both.svg",
        "ringmill plot run.json --text | less",
    ],
    exit_status: &[
        ALL_WELL,
        (
            "2",
            "usage, reading or writing failed, or there was nothing to draw",
        ),
    ],
};

const ALL_WELL: (&str, &str) = ("0", "success");
const NO_RUN: (&str, &str) = ("2", "usage, set-up or output failed");
const SIGINT: (&str, &str) = ("130", "ended by SIGINT");
const SIGTERM: (&str, &str) = ("143", "ended by SIGTERM");

impl Texts {
    /// The text after the options in `-h`, which must fit a screen.
    pub(super) fn short(&self) -> String {
        self.paragraphs(&[])
    }

    /// The text after the options in `--help`.
    pub(super) fn long(&self) -> String {
        self.paragraphs(self.notes)
    }

    fn paragraphs(&self, notes: &[&str]) -> String {
        let mut paragraphs = Vec::new();
        if !self.examples.is_empty() {
            let examples = self.examples.iter().map(|line| format!("\n  {line}"));
            paragraphs.push(format!("Examples:{}", examples.collect::<String>()));
        }
        paragraphs.extend(notes.iter().map(|&note| note.to_owned()));
        let codes = self.exit_status.iter();
        let codes: Vec<String> = codes.map(|(code, text)| format!("{code} {text}")).collect();
        paragraphs.push(format!("Exit status: {}.", codes.join("; ")));
        paragraphs.join("\n\n")
    }
}
