//! Order and its bounds: a slow head, the window, fail-fast, timeouts, and no order on request.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::support::fusefs::{Errno, Gate, Mounted, Script};
use crate::support::rows;
use crate::support::tree::{Corpus, gnu_lines, list};
use crate::support::{Engine, Mill, Output, eventually, for_each_engine, peers, with_patience};

/// How long to watch a count that must not rise any more.
const WATCHED: Duration = Duration::from_millis(300);

fn sha256(engine: Engine) -> Mill {
    Mill::new(engine).args(["-a", "sha256"])
}

/// A file system whose first file hangs, the names of all files and what is to be printed.
struct SlowHead {
    gate: Gate,
    fuse: Mounted,
    names: Vec<String>,
    expected: Vec<u8>,
}

impl SlowHead {
    fn new(count: usize) -> Self {
        let gate = Gate::new();
        let names: Vec<String> = (0..count).map(|number| format!("f{number:04}")).collect();
        let script = |name: &String| Script::new(name.as_bytes());
        let fuse = Mounted::new(names.iter().enumerate().map(|(number, name)| {
            let script = script(name);
            (
                name.as_str(),
                if number == 0 {
                    script.behind(&gate)
                } else {
                    script
                },
            )
        }));
        let expected = gnu_lines(&digests_of(&names), &names);
        SlowHead {
            gate,
            fuse,
            names,
            expected,
        }
    }

    fn list(&self) -> Vec<u8> {
        list(&self.names, b'\n')
    }
}

/// The digests of files that contain their own names, by one run of the oracle.
fn digests_of(names: &[String]) -> Vec<String> {
    let scratch = crate::support::tree::Scratch::new();
    for name in names {
        scratch.file(name, name);
    }
    let slices: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    peers::digests("sha256", scratch.path(), &slices)
}

/// While the head hangs, exactly as many other items are started as the window has room for.
#[test]
fn a_slow_head_fills_the_window_and_no_more() {
    for_each_engine(|engine| {
        for (in_flight, window) in [(4, 8), (4, 4), (16, 50)] {
            eprintln!("in flight {in_flight}, window {window}");
            let head = SlowHead::new(200);
            let mill = sha256(engine).dir(head.fuse.dir());
            let mill = mill.args(["--in-flight", &in_flight.to_string()]);
            let mill = mill.args(["--window", &window.to_string()]);
            let mut mill = mill.stdin(head.list()).start();
            eventually("the window fills", Duration::from_secs(20), || {
                head.fuse.opened_files() >= window
            });
            sleep(WATCHED);
            assert_eq!(
                head.fuse.opened_files(),
                window,
                "started while the head hangs"
            );
            assert!(!mill.has_ended());
            head.gate.open();
            mill.finish().succeeds().prints(&head.expected);
        }
    });
}

/// N reads at a time: never more and, while there is work, never fewer.
#[test]
fn in_flight_is_reached_and_kept() {
    for_each_engine(|engine| {
        for limit in [1, 4, 24] {
            eprintln!("in flight {limit}");
            let gate = Gate::new();
            let names: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
            let script = |name: &String| Script::new(name.as_bytes()).behind(&gate);
            let fuse = Mounted::new(names.iter().map(|name| (name.as_str(), script(name))));
            let mill = sha256(engine)
                .dir(fuse.dir())
                .args(["--in-flight", &limit.to_string()]);
            let mill = mill
                .args(["--io-workers", "64"])
                .stdin(list(&names, b'\n'))
                .start();
            eventually("N reads hang", Duration::from_secs(20), || {
                gate.waiting() >= limit
            });
            sleep(WATCHED);
            assert_eq!(gate.waiting(), limit, "reads at one time");
            gate.open();
            mill.finish()
                .succeeds()
                .prints(gnu_lines(&digests_of(&names), &names));
            assert!(
                fuse.reads_at_once_max() <= limit,
                "{} at once",
                fuse.reads_at_once_max()
            );
        }
    });
}

/// Slow files everywhere among quick ones: the order holds.
#[test]
fn lines_come_in_input_order() {
    let names: Vec<String> = (0..150).map(|number| format!("f{number}")).collect();
    let expected = gnu_lines(&digests_of(&names), &names);
    for_each_engine(|engine| {
        for (in_flight, window) in [("64", "128"), ("8", "9"), ("2", "2")] {
            let fuse = Mounted::new(names.iter().enumerate().map(|(number, name)| {
                let delay = Duration::from_millis((number as u64 * 7919) % 13);
                (name.as_str(), Script::new(name.as_bytes()).slow(delay))
            }));
            let mill = sha256(engine)
                .dir(fuse.dir())
                .args(["--in-flight", in_flight]);
            let mill = mill.args(["--window", window]).stdin(list(&names, b'\n'));
            mill.run().succeeds().prints(&expected);
        }
    });
}

/// Without order, no line waits for the head.
#[test]
fn unordered_lines_do_not_wait() {
    for_each_engine(|engine| {
        let head = SlowHead::new(200);
        let mill = sha256(engine).dir(head.fuse.dir()).arg("--unordered");
        let mill = mill.args(["--in-flight", "8", "--window", "16"]);
        let mut mill = mill.stdin(head.list()).start();
        let mut lines: Vec<Vec<u8>> = (1..head.names.len()).map(|_| mill.read_line()).collect();
        head.gate.open();
        lines.push(mill.read_line());
        assert!(
            lines.last().unwrap().ends_with(b"  f0000\n"),
            "the head comes last"
        );
        lines.sort_by(|a, b| a[66..].cmp(&b[66..]));
        crate::support::assert_same("the set of lines", &lines.concat(), &head.expected);
        mill.finish().succeeds();
    });
}

#[test]
fn unordered_rows_keep_their_index() {
    let corpus = Corpus::new(500);
    let with_missing = [corpus.list(), b"missing\n".to_vec(), corpus.list()].concat();
    for_each_engine(|engine| {
        let mill = sha256(engine)
            .dir(corpus.dir())
            .args(["--unordered", "--format", "jsonl"]);
        let output = mill.stdin(with_missing.clone()).run().exits(1);
        let mut rows = rows::parse(&output.stdout);
        rows.sort_by_key(|row| row.index);
        assert_eq!(rows.len(), 1001);
        for (index, row) in rows.iter().enumerate() {
            assert_eq!(row.index, index as u64);
            if index == 500 {
                assert_eq!(row.error().1, "ENOENT");
            } else {
                assert_eq!(row.path, corpus.names[index % 501].as_bytes());
                assert_eq!(row.digest(), corpus.digests[index % 501]);
            }
        }
    });
}

#[test]
fn fail_fast_prints_an_exact_prefix() {
    let corpus = Corpus::new(1000);
    let mut names = corpus.names.clone();
    for place in [421, 422, 437, 900] {
        names[place] = format!("missing {place}");
    }
    let complaint = "ringmill: missing 421: cannot open: No such file or directory\n";
    let expected = gnu_lines(&corpus.digests[..421], &corpus.names[..421]);
    for_each_engine(|engine| {
        for (in_flight, window) in [("512", "1024"), ("4", "8"), ("1", "1")] {
            let mill = || {
                sha256(engine)
                    .dir(corpus.dir())
                    .args(["--fail-fast", "--window", window])
            };
            let mill = || {
                mill()
                    .args(["--in-flight", in_flight])
                    .stdin(list(&names, b'\n'))
            };
            mill().run().exits(1).prints(&expected).complains(complaint);
            // With JSON rows, the failure is the last row.
            let output = mill()
                .args(["--format", "jsonl"])
                .run()
                .exits(1)
                .complains(complaint);
            let rows = rows::parse(&output.stdout);
            assert_eq!(rows.len(), 422);
            assert_eq!(rows[420].digest(), corpus.digests[420]);
            assert_eq!(rows[421].error().1, "ENOENT");
        }
    });
}

/// An item that fails late counts before one that failed early but has a higher index.
#[test]
fn fail_fast_waits_for_the_lower_indices() {
    for_each_engine(|engine| {
        let gate = Gate::new();
        let names: Vec<String> = (0..40).map(|number| format!("f{number}")).collect();
        let fuse = Mounted::new(names.iter().enumerate().map(|(number, name)| {
            let script = Script::new(name.as_bytes());
            let script = match number {
                5 => script.fails_read(0, Errno::EIO).behind(&gate),
                10 => script.fails_open(Errno::EIO),
                _ => script,
            };
            (name.as_str(), script)
        }));
        let mill = sha256(engine)
            .dir(fuse.dir())
            .arg("--fail-fast")
            .stdin(list(&names, b'\n'));
        let mut mill = mill.start();
        gate.wait_for_a_reader();
        eventually("the other failure", Duration::from_secs(20), || {
            fuse.opened_files() > 10
        });
        sleep(WATCHED);
        assert!(!mill.has_ended(), "item 5 has no result yet");
        gate.open();
        let output = mill.finish().exits(1);
        let expected = gnu_lines(&digests_of(&names[..5]), &names[..5]);
        output
            .prints(expected)
            .complains("ringmill: f5: cannot read: Input/output error\n");
    });
}

/// The run ends, even if the input does not.
#[test]
fn fail_fast_does_not_wait_for_the_input() {
    let corpus = Corpus::new(3);
    for_each_engine(|engine| {
        let mill = sha256(engine)
            .dir(corpus.dir())
            .arg("--fail-fast")
            .stdin_pipe();
        let mut mill = mill.start();
        mill.feed(corpus.list());
        mill.feed("missing\n");
        eventually("it ends", Duration::from_secs(20), || mill.has_ended());
        mill.finish().exits(1).prints(corpus.expected());
    });
}

#[test]
fn fail_fast_without_a_failure_changes_nothing() {
    let corpus = Corpus::new(300);
    for_each_engine(|engine| {
        let mill = sha256(engine)
            .dir(corpus.dir())
            .arg("--fail-fast")
            .stdin(corpus.list());
        mill.run().succeeds().prints(corpus.expected());
    });
}

/// A hanging file fails alone, while it still hangs; everything else is processed.
#[test]
fn a_hanging_file_times_out() {
    for_each_engine(|engine| {
        let names: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
        let hangs = [0, 50, 51, 99];
        let output = with_patience(
            |timeout_s| {
                // For each attempt anew, because calls that hang stay in the file system.
                let gate = Gate::new();
                let fuse = Mounted::new(names.iter().enumerate().map(|(number, name)| {
                    // Through the page cache, where a waiting reader can be killed.
                    let script = Script::new(name.as_bytes());
                    let hangs = hangs.contains(&number);
                    let script = if hangs { script.behind(&gate) } else { script };
                    (name.as_str(), script)
                }));
                let timeout = format!("--timeout={timeout_s}s");
                let mill = sha256(engine).dir(fuse.dir()).arg(timeout);
                let mill = mill.args(["--format", "jsonl"]).stdin(list(&names, b'\n'));
                mill.run().exits(1)
            },
            |output| output.stderr_lines().len() > hangs.len(),
        );
        let rows = rows::parse(&output.stdout);
        assert_eq!(rows.len(), names.len());
        for ((number, row), digest) in rows.iter().enumerate().zip(digests_of(&names)) {
            if hangs.contains(&number) {
                let (operation, _, message) = row.error();
                assert!(["open", "read"].contains(&operation), "{row:?}");
                assert!(message.contains("timed out"), "{row:?}");
            } else {
                assert_eq!(row.digest(), digest);
            }
        }
        let lines = output.stderr_lines();
        assert_eq!(lines.len(), hangs.len(), "{output:?}");
        assert!(
            lines.iter().all(|line| line.contains("timed out")),
            "{output:?}"
        );
    });
}

/// Hanging files keep their slots, but the remaining slots process the rest.
#[test]
fn hanging_files_leave_the_other_slots() {
    for_each_engine(|engine| {
        let (names, output) = with_patience(
            |timeout_s| {
                let hanging = Hanging::new(3, 60);
                let output = hanging.run(engine, "4", &format!("{timeout_s}s")).exits(1);
                (hanging.names.clone(), output)
            },
            |(_, output)| output.stderr_lines().len() > 3,
        );
        assert_eq!(output.stderr_lines().len(), 3, "{output:?}");
        output.prints(gnu_lines(&digests_of(&names[3..]), &names[3..]));
    });
}

/// The run must not hang when every slot hangs: each item gets a result, even if it is a timeout.
#[test]
fn more_hanging_files_than_slots() {
    for_each_engine(|engine| {
        let hanging = Hanging::new(12, 60);
        let output = hanging.run(engine, "4", "300ms").exits(1);
        let digests = digests_of(&hanging.names);
        let (lines, failures) = (output.lines(), output.stderr_lines());
        assert_eq!(
            lines.len() + failures.len(),
            60,
            "one result for each: {output:?}"
        );
        for (name, digest) in hanging.names.iter().zip(&digests).skip(12) {
            let line = format!("{digest}  {name}");
            let failure = format!("ringmill: {name}: ");
            assert!(
                lines.contains(&line.as_bytes())
                    || failures.iter().any(|line| line.starts_with(&failure)),
                "{name}: {output:?}"
            );
        }
    });
}

/// Files of which the first `hanging` ones hang.
struct Hanging {
    _gate: Gate,
    fuse: Mounted,
    names: Vec<String>,
}

impl Hanging {
    fn new(hanging: usize, count: usize) -> Self {
        let gate = Gate::new();
        let names: Vec<String> = (0..count).map(|number| format!("f{number}")).collect();
        let fuse = Mounted::new(names.iter().enumerate().map(|(number, name)| {
            let script = Script::new(name.as_bytes());
            (
                name.as_str(),
                if number < hanging {
                    script.behind(&gate)
                } else {
                    script
                },
            )
        }));
        Hanging {
            _gate: gate,
            fuse,
            names,
        }
    }

    fn run(&self, engine: Engine, in_flight: &str, timeout: &str) -> Output {
        let mill = sha256(engine)
            .dir(self.fuse.dir())
            .args(["--timeout", timeout]);
        let mill = mill.args(["--in-flight", in_flight, "--window", "200"]);
        mill.stdin(list(&self.names, b'\n')).run()
    }
}

/// An item that never waits is subject to its timeout, too.
#[test]
fn an_endless_device_times_out() {
    let corpus = Corpus::new(2);
    for_each_engine(|engine| {
        let mill = sha256(engine).dir(corpus.dir()).args(["--special", "read"]);
        let mill = mill.args(["--timeout", "500ms", &corpus.names[0], "/dev/zero"]);
        let output = mill
            .arg(&corpus.names[1])
            .run()
            .exits(1)
            .prints(corpus.expected());
        assert_eq!(output.stderr_lines().len(), 1, "{output:?}");
        output.mentions(&["ringmill: /dev/zero: ", "timed out"]);
    });
}

/// A FIFO without a writer hangs in open or in read; the timeout applies to both.
#[test]
fn a_fifo_without_a_writer_times_out() {
    let corpus = Corpus::new(2);
    for_each_engine(|engine| {
        let fifo: PathBuf = corpus.scratch.join(format!("fifo-{}", engine.name()));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
            .expect("mkfifo");
        let mill = sha256(engine).dir(corpus.dir()).args(["--special", "read"]);
        let mill = mill
            .args(["--timeout", "400ms", &corpus.names[0]])
            .arg(&fifo);
        let mill = mill.arg(&corpus.names[1]).deadline(Duration::from_secs(25));
        let output = mill.run();
        output
            .exits(1)
            .prints(corpus.expected())
            .mentions(&["timed out"]);
    });
}

/// A user-space file system that keeps a look-up or an open waiting delays no other item, even where a
/// link on a local disk leads to it.
#[test]
fn a_path_that_hangs_holds_up_no_other() {
    let corpus = Corpus::new(20);
    type Hang = fn(Script, &Gate) -> Script;
    let hangs: [Hang; 2] = [Script::looked_up_behind, Script::opened_behind];
    for (number, hang) in hangs.into_iter().enumerate() {
        for_each_engine(|engine| {
            let gate = Gate::new();
            let fuse = Mounted::new([("slow", hang(Script::new("slow"), &gate))]);
            let target = fuse.path("slow");
            let link = corpus
                .scratch
                .join(format!("link-{number}-{}", engine.name()));
            std::os::unix::fs::symlink(&target, &link).expect("symlink");
            if number == 1 {
                std::fs::metadata(&target).expect("the name is now cached");
            }
            let slow = [target.to_str().unwrap(), link.to_str().unwrap()];
            let mill = sha256(engine)
                .dir(corpus.dir())
                .args(["--loops", "1", "--unordered"])
                .args(slow)
                .args(&corpus.names);
            let mut mill = mill.start();
            gate.wait_for_a_reader();
            let lines: Vec<_> = corpus.names.iter().map(|_| mill.read_line()).collect();
            let mut expected = corpus.expected();
            assert_eq!(sorted(&lines.concat()), sorted(&expected));
            assert!(!mill.has_ended(), "two are missing");
            gate.open();
            let digest = peers::digest("sha256", b"slow");
            expected.extend(gnu_lines(&[&digest, &digest], &slow));
            let output = mill.finish().succeeds();
            assert_eq!(sorted(&output.stdout), sorted(&expected));
        });
    }
}

fn sorted(lines: &[u8]) -> Vec<String> {
    let lines = String::from_utf8_lossy(lines);
    let mut lines: Vec<_> = lines.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// `--special read` waits for the writer of a FIFO, as `cat` does.
#[test]
fn a_late_writer_of_a_fifo_is_waited_for() {
    let corpus = Corpus::new(1);
    for_each_engine(|engine| {
        let fifo: PathBuf = corpus.scratch.join(format!("late-{}", engine.name()));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
            .expect("mkfifo");
        let path = fifo.clone();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(600));
            std::fs::write(path, b"late").expect("a reader is there");
        });
        let output = sha256(engine).args(["--special", "read"]).arg(&fifo).run();
        let digest = peers::digest("sha256", b"late");
        output
            .exits(0)
            .prints(gnu_lines(&[&digest], &[fifo.to_str().unwrap()]));
        writer.join().expect("the writer ends");
    });
}
