//! Latencies in all their output forms, and the rate.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Signal};
use serde_json::{Value, json};

use crate::support::fusefs::{Gate, Mounted, Script};
use crate::support::tree::{Corpus, Scratch, list};
use crate::support::{Engine, Mill, eventually, for_each_engine, judge};

const PHASES: [&str; 9] = [
    "queue", "lookup", "open", "read", "hash", "stat", "close", "total", "reorder",
];

fn json_of(path: &Path) -> Value {
    let text = fs::read(path).expect("it was written");
    serde_json::from_slice(&text).expect("JSON")
}

/// The document, which must be valid by the schema.
#[track_caller]
pub fn document_of(scratch: &Scratch, path: &Path) -> Value {
    let schema = scratch.join("schema.json");
    let printed = Mill::bare().args(["--generate", "stats-schema"]).run();
    fs::write(&schema, printed.succeeds().stdout).unwrap();
    judge::validate(&schema, path);
    json_of(path)
}

fn argument(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Twenty files that are hashed, one that is missing, and a directory.
struct Mixed(Scratch);

impl Mixed {
    fn new() -> Self {
        let scratch = Scratch::new();
        (0..20).for_each(|number| drop(scratch.file(format!("f{number}"), b"content")));
        Self(scratch)
    }

    fn list(&self) -> Vec<u8> {
        let mut names: Vec<String> = (0..20).map(|number| format!("f{number}")).collect();
        names.extend(["missing".to_owned(), ".".to_owned()]);
        list(&names, b'\n')
    }

    fn hash(&self, engine: Engine) -> Mill {
        Mill::new(engine).dir(self.0.path()).stdin(self.list())
    }
}

#[test]
fn the_table_has_a_line_for_each_phase() {
    let mixed = Mixed::new();
    for_each_engine(|engine| {
        let output = mixed.hash(engine).args(["--latency"]).run().exits(1);
        let text = output.stderr_text();
        let header = text.lines().find(|line| line.starts_with("phase")).unwrap();
        let columns: Vec<&str> = header.split_whitespace().collect();
        let expected = [
            "phase", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max",
        ];
        assert_eq!(columns, expected);
        let counts = PHASES.map(|phase| {
            let line = text.lines().find(|line| line.starts_with(phase));
            let line = line.unwrap_or_else(|| panic!("no {phase} in {text}"));
            line.split_whitespace().nth(1).unwrap().to_owned()
        });
        let expected = ["22", "22", "20", "20", "20", "20", "20", "22", "22"];
        assert_eq!(counts, expected, "{text}");
        let chosen = mixed
            .hash(engine)
            .args(["--latency", "--percentiles", "0,12.5,100"]);
        chosen.run().exits(1).mentions(&["p0", "p12.5", "p100"]);
    });
}

#[test]
fn the_document_is_complete_and_valid() {
    let mixed = Mixed::new();
    for_each_engine(|engine| {
        let path = mixed.0.join("stats.json");
        let options = [
            "--stats",
            argument(&path),
            "--percentiles",
            "50,99.9",
            "--bins",
        ];
        let mill = mixed.hash(engine).args(options);
        let mill = mill.args(["-a", "sha256", "--timeout", "50s", "--in-flight", "7"]);
        mill.run().exits(1);
        let document = document_of(&mixed.0, &path);
        assert_eq!(document["command"], "hash");
        assert_eq!(document["end"], "complete");
        let options = &document["options"];
        assert_eq!(options["engine"], engine.name());
        assert_eq!(options["algorithm"], "sha256");
        assert_eq!(options["in_flight"], 7);
        assert_eq!(options["timeout_ns"], 50_000_000_000_u64);
        let counters = &document["counters"];
        assert_eq!(counters["pulled"], 22);
        assert_eq!(counters["emitted"], 22);
        assert_eq!(
            counters["failed_by_cause"],
            json!({"ENOENT": 1, "EISDIR": 1})
        );
        assert_eq!(counters["bytes"], 20 * b"content".len());
        // Two items take one operation each, the others five.
        let at_once = counters["operations_at_once"].as_u64().unwrap();
        let submitted = counters["submissions"].as_u64().unwrap();
        // Items that are handed to a worker begin anew there.
        assert!(at_once + submitted >= 2 + 20 * 5, "{counters}");
        assert_eq!(counters["completions"], submitted);
        let uses_ring = engine == Engine::Uring;
        assert_eq!(counters["enters"].as_u64().unwrap() > 0, uses_ring);
        let features = document["ring_features"].as_array().unwrap();
        assert_eq!(!features.is_empty(), uses_ring);
        assert!(document["machine"]["file_system"]["type"].is_string());
        for phase in PHASES {
            let phase = &document["phases"][phase];
            let percentiles = phase["percentiles_ns"].as_object().unwrap();
            let names: Vec<&str> = percentiles.keys().map(String::as_str).collect();
            assert_eq!(names, ["50", "99.9"]);
            let buckets = phase["buckets_ns"].as_array().unwrap();
            let count: u64 = buckets.iter().map(|b| b[2].as_u64().unwrap()).sum();
            assert_eq!(phase["count"], count);
        }
        assert!(document.get("scheduled_phases").is_none());
    });
}

/// The limit on open files counts, not the requested number.
#[test]
fn the_document_has_the_options_in_effect() {
    let corpus = Corpus::new(100);
    for_each_engine(|engine| {
        let scratch = Scratch::new();
        let path = scratch.join("stats.json");
        let mill = Mill::new(engine).dir(corpus.dir()).stdin(corpus.list());
        let mill = mill.args(["-a", "sha256", "--stats", argument(&path)]);
        let mill = mill.limit(Resource::Nofile, 16, 16);
        mill.run().succeeds().prints(corpus.expected());
        let document = document_of(&scratch, &path);
        assert_eq!(document["open_files_max"], 16);
        assert!(document["options"]["in_flight"].as_u64().unwrap() < 16);
    });
}

/// The interval log of a run of a second, read by another implementation, agrees with the document.
#[test]
fn the_interval_log_can_be_read_by_other_implementations() {
    let corpus = Corpus::new(60);
    for_each_engine(|engine| {
        let scratch = Scratch::new();
        let (log, stats) = (scratch.join("run.hlog"), scratch.join("run.json"));
        let mill = Mill::new(engine).dir(corpus.dir()).stdin_pipe();
        let mill = mill.args(["--hlog", argument(&log), "--stats", argument(&stats)]);
        let mill = mill.args(["--interval", "100ms", "--bins", "--rate", "60"]);
        let mut mill = mill.start();
        // The second half comes after an interval with each phase of the first.
        let list = corpus.list();
        let (first, second) = list.split_at(list.len() / 2);
        mill.feed(first);
        eventually(
            "an interval with each phase",
            Duration::from_secs(120),
            || {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let tags = text
                    .lines()
                    .filter_map(|line| line.split_once(",").map(|(tag, _)| tag));
                let tags: HashSet<_> = tags.filter(|tag| tag.starts_with("Tag=")).collect();
                tags.len() == PHASES.len() + 2
            },
        );
        mill.feed(second);
        mill.finish().succeeds();
        let read = judge::read_hlog(&log);
        let document = json_of(&stats);
        let reported = |name: &str| match name.strip_prefix("scheduled-") {
            Some(name) => document["scheduled_phases"][name].clone(),
            None => document["phases"][name].clone(),
        };
        let tags = read.as_object().unwrap();
        assert_eq!(tags.len(), PHASES.len() + 2, "{tags:?}");
        for (tag, read) in tags {
            let reported = reported(tag);
            assert_eq!(read["count"], reported["count"], "{tag}");
            let buckets = reported["buckets_ns"].as_array().unwrap();
            let buckets: Vec<Value> = buckets.iter().map(|b| json!([b[1], b[2]])).collect();
            assert_eq!(read["buckets_ns"], Value::from(buckets), "{tag}");
            assert_eq!(read["max_ns"], reported["max_ns"], "{tag}");
            // 60 items at 60 a second: about ten intervals, fewer on a busy machine, one after the other.
            let intervals = read["intervals_ms"].as_array().unwrap();
            assert!(intervals.len() >= 2, "{tag}: {intervals:?}");
            // The log has whole milliseconds; the reader's sums of seconds are not exact.
            let ms = |time: &Value| time.as_f64().unwrap().round();
            for pair in intervals.windows(2) {
                assert!(ms(&pair[0][1]) <= ms(&pair[1][0]), "{tag}: {intervals:?}");
            }
        }
    });
}

#[test]
fn distributions_end_with_the_number_of_items() {
    let mixed = Mixed::new();
    for_each_engine(|engine| {
        let path = mixed.0.join("run.hgrm");
        let option = ["--hgrm", argument(&path)];
        mixed.hash(engine).args(option).run().exits(1);
        let total = fs::read_to_string(mixed.0.join("run.total.hgrm")).unwrap();
        let is_line = |line: &&str| line.split_whitespace().nth(1) == Some("1.000000000000");
        let last = total.lines().rfind(is_line).expect("a line for 100 %");
        assert_eq!(last.split_whitespace().nth(2), Some("22"));
        for phase in PHASES {
            fs::remove_file(mixed.0.join(format!("run.{phase}.hgrm"))).unwrap();
        }
        let chosen = mixed
            .hash(engine)
            .args(option)
            .args(["--hgrm-phase", "total"]);
        chosen.run().exits(1);
        let alone = fs::read_to_string(&path).unwrap();
        assert_eq!(alone.lines().next(), total.lines().next());
        let unknown = mixed
            .hash(engine)
            .args(option)
            .args(["--hgrm-phase", "tls"]);
        unknown.run().exits(2).mentions(&[
            "--hgrm-phase tls: no such phase",
            "hint: the phases are: queue, lookup, open",
        ]);
    });
}

/// Two shards, one of them with latencies measured from a schedule.
#[test]
fn shards_add_up() {
    let corpus = Corpus::new(200);
    let scratch = Scratch::new();
    let shard = |name: &str, options: &[&str]| -> PathBuf {
        let path = scratch.join(name);
        let mill = Mill::auto().dir(corpus.dir()).stdin(corpus.list());
        let mill = mill.args(["--hlog", argument(&path)]).args(options);
        mill.run().succeeds();
        path
    };
    let (one, two) = (shard("1.hlog", &[]), shard("2.hlog", &["--rate", "2000"]));
    let merge = || Mill::bare().args(["merge", argument(&one), argument(&two)]);
    let table = merge().run().succeeds();
    let text = String::from_utf8(table.stdout).unwrap();
    let total = text.lines().find(|line| line.starts_with("total")).unwrap();
    assert_eq!(total.split_whitespace().nth(1), Some("400"));
    let (log, stats) = (scratch.join("all.hlog"), scratch.join("all.json"));
    let forms = ["--hlog", argument(&log), "--stats", argument(&stats)];
    merge().args(forms).run().succeeds().prints("");
    let document = document_of(&scratch, &stats);
    assert_eq!(document["phases"]["total"]["count"], 400);
    assert_eq!(document["scheduled_phases"]["total"]["count"], 200);
    let (read, parts) = (
        judge::read_hlog(&log),
        [&one, &two].map(|log| judge::read_hlog(log)),
    );
    for phase in PHASES {
        let counts = parts
            .each_ref()
            .map(|part| part[phase]["count"].as_u64().unwrap());
        assert_eq!(read[phase]["count"], counts[0] + counts[1], "{phase}");
        let max = parts
            .iter()
            .map(|part| part[phase]["max_ns"].as_u64())
            .max();
        assert_eq!(read[phase]["max_ns"].as_u64(), max.unwrap(), "{phase}");
    }
}

#[test]
fn logs_of_other_programs_are_read() {
    let scratch = Scratch::new();
    let log = scratch.join("foreign.hlog");
    judge::write_hlog(&log);
    let merge = Mill::bare().args([
        "merge",
        argument(&log),
        "--latency",
        "--percentiles",
        "25,75",
    ]);
    let text = String::from_utf8(merge.run().succeeds().stdout).unwrap();
    let line = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("B"), "4 278 ns 1 ns 100 ns 1.00 µs", "{text}");
    assert_eq!(line("untagged"), line("B"));
}

/// Two runs, one of them known only by its percentiles.
#[test]
fn runs_are_drawn() {
    let corpus = Corpus::new(100);
    let scratch = Scratch::new();
    let (log, stats) = (scratch.join("one.hlog"), scratch.join("two.json"));
    let mill = Mill::auto().dir(corpus.dir()).stdin(corpus.list());
    let mill = mill.args(["--hlog", argument(&log), "--stats", argument(&stats)]);
    mill.run().succeeds();
    let plot = || Mill::bare().args(["plot", argument(&log), argument(&stats)]);
    let picture = scratch.join("both.svg");
    plot()
        .args(["-o", argument(&picture)])
        .run()
        .succeeds()
        .prints("");
    let svg = fs::read_to_string(&picture).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for words in PHASES.iter().chain(&["one", "two", "90 %", "no buckets"]) {
        assert!(svg.contains(words), "no {words:?} in the picture");
    }
    let text = plot().arg("--text").run().succeeds().stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("a  one") && text.contains("b  two"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100));
    plot().run().exits(2);
    scratch.file("none", b"{}");
    let none = scratch.join("none");
    let refused = Mill::bare().args(["plot", "--text", argument(&none)]).run();
    refused
        .exits(2)
        .mentions(&["none: cannot read: missing field `schema_version`"]);
}

#[test]
fn files_that_are_no_logs_are_refused() {
    let scratch = Scratch::new();
    let merge = |name: &str| {
        Mill::bare()
            .args(["merge", argument(&scratch.join(name))])
            .run()
    };
    merge("missing")
        .exits(2)
        .mentions(&["cannot read: No such file"]);
    scratch.file("text", b"#[comment]\nhello\n");
    merge("text")
        .exits(2)
        .mentions(&["text: cannot read: line 2 is not one of an interval log"]);
    scratch.file("empty", b"");
    merge("empty")
        .exits(2)
        .mentions(&["empty: cannot read: there is neither a histogram nor the head of an"]);
    Mill::bare().arg("merge").run().exits(2);
}

/// A shard without items, as may occur when a list is divided by names.
#[test]
fn an_empty_run_has_an_empty_log() {
    let corpus = Corpus::new(5);
    let scratch = Scratch::new();
    let shard = |name: &str, list: Vec<u8>| -> PathBuf {
        let path = scratch.join(name);
        let mill = Mill::auto().dir(corpus.dir()).stdin(list);
        mill.args(["--hlog", argument(&path)]).run().succeeds();
        path
    };
    let (empty, full) = (shard("0.hlog", Vec::new()), shard("1.hlog", corpus.list()));
    let merge = |logs: &[&Path]| Mill::bare().arg("merge").args(logs).run().succeeds();
    let alone = merge(&[&full]).stdout;
    merge(&[&empty, &full]).prints(&alone);
    let nothing = String::from_utf8(merge(&[&empty, &empty]).stdout).unwrap();
    assert!(nothing.starts_with("phase") && nothing.lines().count() == 1);
    let (log, stats) = (scratch.join("all.hlog"), scratch.join("all.json"));
    let forms = ["--hlog", argument(&log), "--stats", argument(&stats)];
    let written = Mill::bare().arg("merge").arg(&empty).args(forms).run();
    written.succeeds().prints("");
    assert_eq!(document_of(&scratch, &stats)["phases"], json!({}));
    merge(&[&log, &full]).prints(&alone);

    let plot = |files: &[&Path]| Mill::bare().args(["plot", "--text"]).args(files).run();
    let drawn = plot(&[&empty, &full]).exits(0);
    drawn.complains(format!(
        "ringmill: {}: no latencies in it\n",
        empty.display()
    ));
    let picture = scratch.join("none.svg");
    for file in [&empty, &stats] {
        let refused = Mill::bare().arg("plot").arg(file).arg("-o").arg(&picture);
        let message = format!(
            "ringmill: nothing to draw: no latencies in {}\n",
            file.display()
        );
        refused.run().exits(2).complains(message);
        assert!(!picture.exists());
    }
}

#[test]
fn a_rate_is_not_exceeded() {
    let corpus = Corpus::new(50);
    for_each_engine(|engine| {
        let mill = Mill::new(engine).dir(corpus.dir()).stdin(corpus.list());
        let mill = mill.args(["-a", "sha256", "--rate", "100", "--latency"]);
        let start = Instant::now();
        let output = mill.run().exits(0).prints(corpus.expected());
        // The first starts at once, each other 10 ms after the one before.
        assert!(start.elapsed() >= Duration::from_millis(490));
        output.mentions(&["scheduled-queue     50 ", "scheduled-total     50 "]);
    });
}

/// One file in the middle takes two seconds while nothing else can start: the service times of the
/// others do not show it, the times from the schedule do.
#[test]
fn a_stall_is_not_omitted() {
    const STALL: Duration = Duration::from_secs(2);
    let mut files: Vec<(String, Script)> = (0..40)
        .map(|number| (format!("f{number:02}"), Script::new("content")))
        .collect();
    files[10].1 = Script::new("content").slow(STALL);
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let fuse = Mounted::new(files);
    for_each_engine(|engine| {
        let scratch = Scratch::new();
        let path = scratch.join("stats.json");
        let mill = Mill::new(engine).dir(fuse.dir()).stdin(list(&names, b'\n'));
        let mill = mill.args(["--rate", "100", "--in-flight", "1", "--loops", "1"]);
        let mill = mill.args(["--percentiles", "50", "--stats", argument(&path)]);
        mill.run().succeeds();
        let document = document_of(&scratch, &path);
        let median = |set: &str| {
            document[set]["total"]["percentiles_ns"]["50"]
                .as_u64()
                .unwrap()
        };
        // More than half of the items come after the stall, and are late by most of it.
        let late_ns = u64::try_from(STALL.as_nanos()).unwrap() / 4;
        assert!(median("scheduled_phases") > late_ns, "{document}");
        assert!(median("phases") < late_ns, "{document}");
    });
}

/// Each cause of having fewer items in flight than allowed is reported separately.
#[test]
fn what_holds_a_run_back_is_reported() {
    // A starved machine may need most of this until the run has nothing left to do.
    let wait = Duration::from_secs(3);
    let gate = Gate::new();
    let mut files = vec![("first".to_owned(), Script::new("x").behind(&gate))];
    files.extend((0..20).map(|number| (format!("f{number}"), Script::new("x"))));
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let fuse = Mounted::new(files);
    let scratch = Scratch::new();
    let path = scratch.join("stats.json");
    let mill = Mill::auto().dir(fuse.dir()).stdin_pipe();
    let mill = mill.args([
        "--in-flight",
        "4",
        "--window",
        "8",
        "--stats",
        argument(&path),
    ]);
    let mut mill = mill.start();
    mill.feed(list(&names, b'\n'));
    gate.wait_for_a_reader();
    // The head is not ready, and the window fills up behind it.
    std::thread::sleep(wait);
    gate.open();
    names.iter().for_each(|_| drop(mill.read_line()));
    // Now there is no input.
    std::thread::sleep(wait);
    drop(mill.take_stdin());
    mill.finish().succeeds();
    let document = document_of(&scratch, &path);
    let held_back = &document["counters"]["held_back_ns"];
    let ms = |cause: &str| held_back[cause].as_u64().unwrap() / 1_000_000;
    assert!(ms("window") >= 200, "{held_back}");
    assert!(ms("input") >= 200, "{held_back}");
    assert_eq!((ms("rate"), ms("pressure")), (0, 0), "{held_back}");
}

#[test]
fn measurements_that_cannot_be_written_do_not_cost_the_results() {
    let corpus = Corpus::new(20);
    for_each_engine(|engine| {
        for option in ["--stats", "--hlog", "--hgrm"] {
            let mill = Mill::new(engine).dir(corpus.dir()).stdin(corpus.list());
            let mill = mill.args(["-a", "sha256", option, "/dev/full"]);
            let mill = match option {
                "--hgrm" => mill.args(["--hgrm-phase", "total"]),
                _ => mill,
            };
            let output = mill.run().exits(2);
            if option == "--hlog" {
                // The head of the log is written before the run.
                output
                    .prints("")
                    .mentions(&["/dev/full: cannot write: No space left"]);
            } else {
                let output = output.prints(corpus.expected());
                output.mentions(&["/dev/full: cannot write: No space left on device"]);
            }
        }
        let mill = Mill::new(engine).dir(corpus.dir()).stdin(corpus.list());
        let mill = mill.args(["--stats", "no/such/directory"]);
        let output = mill.run().exits(2).prints("");
        output.mentions(&["no/such/directory: cannot open for writing: No such file"]);
    });
}

#[test]
fn an_interrupted_run_still_reports_what_it_measured() {
    let corpus = Corpus::new(30);
    for_each_engine(|engine| {
        let scratch = Scratch::new();
        let (stats, log) = (scratch.join("stats.json"), scratch.join("run.hlog"));
        let mill = Mill::new(engine).dir(corpus.dir()).stdin_pipe();
        let mill = mill.args(["--stats", argument(&stats), "--hlog", argument(&log)]);
        let mut mill = mill.start();
        mill.feed(corpus.list());
        corpus.names.iter().for_each(|_| drop(mill.read_line()));
        mill.signal(Signal::INT);
        eventually("it ends", Duration::from_secs(20), || mill.has_ended());
        mill.finish().killed_by(Signal::INT);
        let document = document_of(&scratch, &stats);
        assert_eq!(document["end"], "interrupted");
        assert_eq!(document["phases"]["total"]["count"], 30);
        assert_eq!(judge::read_hlog(&log)["total"]["count"], 30);
    });
}

#[test]
fn progress_shows_the_latencies_of_the_last_second() {
    let corpus = Corpus::new(1);
    for_each_engine(|engine| {
        let mill = Mill::new(engine).dir(corpus.dir()).stdin_pipe();
        let mut mill = mill.args(["--progress", "always"]).start();
        let shown = |mill: &crate::support::Running| {
            let text = String::from_utf8_lossy(&mill.stderr_so_far()).into_owned();
            text.contains("  p50 ") && text.contains("  p99 ")
        };
        eventually("percentiles", Duration::from_secs(20), || {
            mill.feed(corpus.list());
            std::thread::sleep(Duration::from_millis(20));
            shown(&mill)
        });
        drop(mill.take_stdin());
        mill.finish().exits(0);
    });
}

/// The files of the measurements count against the limit on open files.
#[test]
fn measuring_leaves_the_limit_on_files_as_it_is() {
    let corpus = Corpus::new(300);
    for_each_engine(|engine| {
        let scratch = Scratch::new();
        let (stats, log) = (scratch.join("stats.json"), scratch.join("run.hlog"));
        let sums = scratch.join("sums");
        let mill = Mill::new(engine).dir(corpus.dir()).stdin(corpus.list());
        let mill = mill.args(["-a", "sha256", "-o", argument(&sums)]);
        let mill = mill.args(["--stats", argument(&stats), "--hlog", argument(&log)]);
        mill.limit(Resource::Nofile, 16, 16).run().succeeds();
        assert_eq!(fs::read(&sums).unwrap(), corpus.expected());
        let document = document_of(&scratch, &stats);
        assert_eq!(document["counters"]["retries"], 0);
        drop(File::open(&log).unwrap());
    });
}
