//! The command line: exit codes for its misuse, and the options that report on the run.

use std::fs;
use std::time::Duration;

use crate::files::mkfifo;
use crate::support::tree::{Corpus, Scratch};
use crate::support::{Mill, eventually, for_each_engine};

#[test]
fn misuse_exits_with_2() {
    let cases: [&[&str]; 23] = [
        &["--no-such-option"],
        &["-a", "sha257"],
        &["--format", "xml"],
        &["--in-flight", "0"],
        &["--in-flight", "many"],
        &["--window", "0"],
        &["--loops", "0"],
        &["--io-workers", "x"],
        &["--timeout", "soon"],
        &["--timeout", "-1s"],
        &["--special", "maybe"],
        &["--progress", "sometimes"],
        &["--files-from"],
        &["--format", "jsonl", "--tag"],
        &["--format", "jsonl", "-z"],
        &["--rate", "0"],
        &["--rate", "fast"],
        &["--percentiles", "50"],
        &["--latency", "--percentiles", "101"],
        &["--latency", "--percentiles", "NaN"],
        &["--bins"],
        &["--hgrm-phase", "read"],
        &["--interval", "1ms"],
    ];
    for case in cases {
        let output = Mill::auto().args(case).stdin("").run().exits(2).prints("");
        assert!(!output.stderr.is_empty(), "{case:?} is explained");
    }
    Mill::auto()
        .args(["--engine", "steam"])
        .stdin("")
        .run()
        .exits(2)
        .prints("");
    Mill::auto()
        .env("RINGMILL_ENGINE", "steam")
        .stdin("")
        .run()
        .exits(2)
        .prints("");
    Mill::bare()
        .arg("no-such-command")
        .run()
        .exits(2)
        .prints("");
    let usage = Mill::bare().run().exits(2).prints("");
    usage.mentions(&["Usage: ringmill"]);
}

#[test]
fn help_and_version() {
    let help = Mill::auto().arg("--help").run().succeeds();
    let text = String::from_utf8(help.stdout).expect("UTF-8");
    let options = [
        "--algorithm",
        "--tag",
        "--zero",
        "--null",
        "--files-from",
        "--format",
        "--output",
        "--in-flight",
        "--window",
        "--loops",
        "--engine",
        "--io-workers",
        "--unordered",
        "--fail-fast",
        "--timeout",
        "--special",
        "--strict",
        "--progress",
        "--summary",
        "--verbose",
        "--rate",
        "--latency",
        "--percentiles",
        "--stats",
        "--bins",
        "--hlog",
        "--interval",
        "--hgrm",
        "--hgrm-phase",
    ];
    for option in options {
        assert!(text.contains(option), "--help lacks {option}");
    }
    assert!(
        !text.contains("  --generate"),
        "--generate is for packagers"
    );
    let version = Mill::bare().arg("--version").run().succeeds();
    version.prints(concat!("ringmill ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn completions_and_the_man_page() {
    for (what, piece) in [
        ("man-hash", ".TH"),
        ("bash", "complete"),
        ("zsh", "#compdef"),
        ("fish", "complete -c ringmill"),
    ] {
        let output = Mill::bare().args(["--generate", what]).run().succeeds();
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains(piece), "{what} lacks {piece:?}");
        // Man pages write a hyphen as `\-`.
        assert!(
            text.replace('\\', "").contains("files-from"),
            "{what} lacks an option"
        );
    }
}

const SUBCOMMANDS: [&str; 6] = ["hash", "dns", "connect", "http", "merge", "plot"];

/// On a terminal of 80 columns.
#[test]
fn the_short_help_fits_a_screen() {
    for subcommand in SUBCOMMANDS {
        let help = |option| {
            let mill = Mill::bare().args([subcommand, option]).env("COLUMNS", "80");
            String::from_utf8(mill.run().succeeds().stdout).unwrap()
        };
        let (short, long) = (help("-h"), help("--help"));
        assert!(
            short.lines().count() <= 60,
            "{subcommand}: {}\n{short}",
            short.lines().count()
        );
        assert!(
            short.lines().all(|line| line.chars().count() <= 80),
            "{short}"
        );
        let options = |text: &str| -> Vec<String> {
            let words = text
                .split_whitespace()
                .filter(|word| word.starts_with("--"));
            let names = words.map(|word| word.trim_end_matches([',', '.', ';', ':']).to_owned());
            names.collect()
        };
        let all = options(&long);
        assert!(
            options(&short).iter().all(|option| all.contains(option)),
            "{short}"
        );
    }
    let hash = Mill::auto().arg("-h").run().succeeds().stdout;
    let hash = String::from_utf8(hash).unwrap();
    assert!(
        hash.contains("--algorithm") && !hash.contains("--io-workers"),
        "{hash}"
    );
}

#[test]
fn man_pages_have_their_sections_and_refer_to_each_other() {
    let page = |what: &str| {
        let output = Mill::bare().args(["--generate", what]).run().succeeds();
        String::from_utf8(output.stdout)
            .unwrap()
            .replace("\\-", "-")
    };
    let pages = [
        "man",
        "man-hash",
        "man-dns",
        "man-connect",
        "man-http",
        "man-merge",
        "man-plot",
    ];
    for what in pages {
        let page = page(what);
        let mut sections = vec!["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"];
        if what != "man" {
            sections.push("EXAMPLES");
        }
        if matches!(what, "man-hash" | "man-dns" | "man-connect" | "man-http") {
            sections.push("ENVIRONMENT");
            assert!(page.contains("RINGMILL_ENGINE") && page.contains("--io-workers"));
            // Options that the short help leaves out are described, too.
            assert!(page.contains("Threads for calls that block"), "{page}");
        }
        for section in sections {
            let heading = format!(".SH {section}\n");
            let quoted = format!(".SH \"{section}\"\n");
            assert!(
                page.contains(&heading) || page.contains(&quoted),
                "{what}: {section}"
            );
        }
        assert!(
            !page.contains("EXTRA") && !page.contains("ringmill-help"),
            "{page}"
        );
        let references = page.split("(1)").map(|before| {
            let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '-');
            before[start.map_or(0, |at| at + 1)..].to_owned()
        });
        let references: Vec<String> = references
            .filter(|name| name.starts_with("ringmill"))
            .collect();
        assert!(references.len() >= 4, "{references:?}");
        for name in references {
            let what = name.replace("ringmill", "man");
            assert!(pages.contains(&&*what), "{name}");
        }
    }
    let hash = page("man-hash");
    let synopsis = hash
        .split(".SH")
        .find(|section| section.contains("SYNOPSIS"))
        .unwrap();
    assert!(
        synopsis.contains("--timeout\\fR \\fIDURATION\\fR]"),
        "{synopsis}"
    );
    assert!(synopsis.contains("[\\fIPATH\\fR...]"), "{synopsis}");
    assert!(synopsis.contains("[\\fB--tag\\fR]"), "{synopsis}");
    let plot = page("man-plot");
    let either = "{\\fB-o\\fR|\\fB--output\\fR \\fIOUT\\fR | \\fB--text\\fR}";
    assert!(plot.contains(either), "{plot}");
}

#[test]
fn zsh_completes_files() {
    let output = Mill::bare().args(["--generate", "zsh"]).run().succeeds();
    let text = String::from_utf8(output.stdout).unwrap();
    let paths = text
        .lines()
        .find(|line| line.contains("paths -- "))
        .unwrap();
    assert!(paths.contains(":_files'"), "{paths}");
}

#[test]
fn the_environment_chooses_the_engine() {
    let corpus = Corpus::new(10);
    for_each_engine(|engine| {
        let mill = Mill::auto()
            .env("RINGMILL_ENGINE", engine.name())
            .args(["-a", "sha256", "-v"]);
        let output = mill.dir(corpus.dir()).stdin(corpus.list()).run().exits(0);
        output.prints(corpus.expected()).mentions(&[engine.name()]);
    });
}

#[test]
fn verbose_prints_the_plan_once() {
    let corpus = Corpus::new(10);
    for_each_engine(|engine| {
        let mill = Mill::new(engine).args(["-a", "sha256", "-v", "--in-flight", "37"]);
        let mill = mill.args(["--window", "91", "--loops", "2"]);
        let output = mill.dir(corpus.dir()).stdin(corpus.list()).run().exits(0);
        let output = output
            .prints(corpus.expected())
            .mentions(&[engine.name(), "37", "91"]);
        let mentions = output.stderr_text().matches("37").count();
        assert_eq!(mentions, 1, "once: {output:?}");
    });
}

#[test]
fn the_summary_is_one_line() {
    let corpus = Corpus::new(10);
    let list = [corpus.list(), b"missing\n".to_vec()].concat();
    let bytes: u64 = corpus
        .names
        .iter()
        .map(|name| std::fs::metadata(corpus.scratch.join(name)).unwrap().len())
        .sum();
    for_each_engine(|engine| {
        let mill = Mill::new(engine)
            .args(["-a", "sha256", "--summary"])
            .dir(corpus.dir());
        let output = mill
            .stdin(list.clone())
            .run()
            .exits(1)
            .prints(corpus.expected());
        let lines = output.stderr_lines();
        assert_eq!(lines.len(), 2, "a failure and the summary: {output:?}");
        assert!(lines[0].contains("missing"), "{lines:?}");
        assert!(
            lines[1].contains("11 items") && lines[1].contains("1 failed"),
            "{lines:?}"
        );
        for word in ["p50", "p99", "max", &bytes.to_string()] {
            assert!(lines[1].contains(word), "{word:?} in {lines:?}");
        }
    });
}

#[test]
fn one_item_is_not_several() {
    let corpus = Corpus::new(1);
    let mill = Mill::auto().arg("--summary").dir(corpus.dir());
    let output = mill.stdin(corpus.list()).run().exits(0);
    output.mentions(&["ringmill: 1 item, 0 failed, "]);
}

#[test]
fn progress_goes_to_stderr_on_request_only() {
    let corpus = Corpus::new(100);
    for_each_engine(|engine| {
        let mill = |when| {
            let mill = Mill::new(engine).args(["-a", "sha256", "--progress", when]);
            mill.dir(corpus.dir())
                .stdin(corpus.list())
                .run()
                .exits(0)
                .prints(corpus.expected())
        };
        mill("never").succeeds();
        // Standard error is a pipe here.
        mill("auto").succeeds();
        // The run has to last: progress is not shown for quick runs.
        let mill = Mill::new(engine).args(["-a", "sha256", "--progress", "always"]);
        let mut mill = mill.dir(corpus.dir()).stdin_pipe().start();
        mill.feed(corpus.list());
        corpus.names.iter().for_each(|_| drop(mill.read_line()));
        eventually(
            "progress that was asked for",
            Duration::from_secs(5),
            || !mill.stderr_so_far().is_empty(),
        );
        mill.finish().exits(0).prints(corpus.expected());
    });
}

/// Messages for invalid values need no knowledge of the parser.
#[test]
fn values_that_are_refused_are_explained() {
    for (option, value, words) in [
        (
            "--in-flight",
            "-1",
            "not a whole number from 1 to 4294967295",
        ),
        (
            "--window",
            "many",
            "not a whole number from 1 to 4294967295",
        ),
        ("--timeout", "5", "the unit is missing, as in 5s, 5ms or 5m"),
        (
            "--timeout",
            "-1s",
            "not a duration; examples are 500ms, 30s and '1m 30s'",
        ),
        (
            "--rate",
            "-3",
            "a rate is a number per second, from 0.001 to 1000000000",
        ),
    ] {
        let output = Mill::auto().args([option, value]).stdin("").run().exits(2);
        let refused = format!("invalid value '{value}' for '{option} <");
        output.mentions(&[&refused, &format!(">': {words}\n")]);
    }
    let check = Mill::auto().args(["--check", "sums"]).run().exits(2);
    assert!(!check.stderr_text().contains("tip:"), "{check:?}");
    check.mentions(&[
        "unexpected argument '--check'",
        "\nhint: there is no --check yet",
    ]);
    let elsewhere = Mill::bare().args(["dns", "--check"]).run().exits(2);
    assert!(!elsewhere.stderr_text().contains("hint"), "{elsewhere:?}");
}

/// As in `alias mill='ringmill hash -a sha256 -v'`.
#[test]
fn the_last_of_several_values_counts() {
    let corpus = Corpus::new(3);
    let mill = Mill::auto().args(["-a", "md5", "-a", "SHA-256", "--loops", "2", "--loops", "1"]);
    let mill = mill.args(["--unordered", "--unordered"]).dir(corpus.dir());
    let output = mill.args(&corpus.names).run().succeeds();
    assert_eq!(output.lines().len(), 3);
    let mill = Mill::auto()
        .args(["-a", "md5", "-a", "SHA256"])
        .dir(corpus.dir());
    mill.args(&corpus.names)
        .run()
        .succeeds()
        .prints(corpus.expected());
}

#[test]
fn an_empty_variable_is_not_set() {
    let corpus = Corpus::new(3);
    let mill = || Mill::auto().args(["-a", "sha256"]).dir(corpus.dir());
    let empty = mill().env("RINGMILL_ENGINE", "").stdin(corpus.list());
    empty.run().exits(0).prints(corpus.expected());
    mill().args(["--engine", ""]).run().exits(2);
}

/// No tuning option changes a byte of the output.
#[test]
fn knobs_do_not_change_the_output() {
    let corpus = Corpus::new(700);
    let knobs: [&[&str]; 9] = [
        &["--in-flight", "1"],
        &["--in-flight", "1", "--window", "1"],
        &["--in-flight", "3", "--window", "5"],
        &["--in-flight", "4096", "--window", "8192"],
        &["--loops", "1"],
        &["--loops", "2", "--in-flight", "2"],
        &["--loops", "5"],
        &["--io-workers", "1"],
        &["--timeout", "50s"],
    ];
    for_each_engine(|engine| {
        for knob in knobs {
            eprintln!("{knob:?}");
            let mill = Mill::new(engine)
                .args(["-a", "sha256"])
                .args(knob)
                .dir(corpus.dir());
            mill.stdin(corpus.list())
                .run()
                .succeeds()
                .prints(corpus.expected());
        }
    });
}

/// One of two items is done, the other waits for a writer.
#[test]
fn progress_says_how_far_a_sized_input_is() {
    for_each_engine(|engine| {
        let scratch = Scratch::new();
        let fifo = scratch.join("fifo");
        mkfifo(&fifo);
        fs::write(scratch.join("file"), "").unwrap();
        let mill = Mill::new(engine).dir(scratch.path());
        let mill = mill.args(["--progress", "always", "--special", "read", "file", "fifo"]);
        let mill = mill.start();
        let shows = |words: &str| String::from_utf8_lossy(&mill.stderr_so_far()).contains(words);
        eventually(
            "the share and the time left",
            Duration::from_secs(5),
            || shows("1 done") && shows(" 50 %  ") && shows(" left\n"),
        );
        fs::write(&fifo, "").unwrap();
        mill.finish().exits(0);
    });
}
