//! SIGINT and SIGTERM: whole lines, correct counts, and death by the signal itself.

use std::io::Write;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::fusefs::{Gate, Mounted, Script};
use crate::support::terminal::terminal;
use crate::support::tree::{Corpus, list};
use crate::support::{Engine, Mill, Output, eventually, for_each_engine};

const SIGNALS: [Signal; 2] = [Signal::INT, Signal::TERM];

fn sha256(engine: Engine) -> Mill {
    Mill::new(engine).args(["-a", "sha256"])
}

/// The numbers of items pulled and emitted, from the one line that reports them.
#[track_caller]
fn counts(output: &Output) -> (usize, usize) {
    let lines = output.stderr_lines();
    let reported: Vec<(usize, usize)> = lines
        .iter()
        .filter_map(|line| {
            let rest = line.strip_prefix("ringmill: interrupted: ")?;
            let (pulled, rest) = rest.split_once(" items pulled, ")?;
            let emitted = rest.strip_suffix(" emitted")?;
            Some((pulled.parse().ok()?, emitted.parse().ok()?))
        })
        .collect();
    assert_eq!(reported.len(), 1, "one line with the counts: {output:?}");
    reported[0]
}

#[test]
fn an_idle_run_is_interrupted() {
    let corpus = Corpus::new(300);
    for_each_engine(|engine| {
        for signal in SIGNALS {
            let mut mill = sha256(engine).dir(corpus.dir()).stdin_pipe().start();
            mill.feed(corpus.list());
            corpus.names.iter().for_each(|_| drop(mill.read_line()));
            mill.signal(signal);
            eventually("it ends", Duration::from_secs(20), || mill.has_ended());
            let output = mill.finish().killed_by(signal).prints(corpus.expected());
            assert_eq!(counts(&output), (300, 300));
            assert_eq!(output.stderr_lines().len(), 1, "{output:?}");
        }
    });
}

/// In the middle of the work, with many items in flight.
#[test]
fn a_busy_run_is_interrupted() {
    const WINDOW: usize = 64;
    let corpus = Corpus::new(100);
    let expected = corpus.expected();
    let lines: Vec<&[u8]> = expected.split_inclusive(|&byte| byte == b'\n').collect();
    for_each_engine(|engine| {
        for (signal, read_before) in [(Signal::INT, 1), (Signal::TERM, 500), (Signal::INT, 2777)] {
            eprintln!("{signal:?} after {read_before} lines");
            let mill = sha256(engine).dir(corpus.dir()).args(["--in-flight", "32"]);
            let mill = mill.args(["--window", &WINDOW.to_string()]).stdin_pipe();
            let mut mill = mill.start();
            let (mut pipe, names) = (mill.take_stdin(), corpus.list());
            let writer = thread::spawn(move || while pipe.write_all(&names).is_ok() {});
            (0..read_before).for_each(|_| drop(mill.read_line()));
            mill.signal(signal);
            let output = mill.finish().killed_by(signal);
            writer.join().unwrap();
            let (pulled, emitted) = counts(&output);
            assert_eq!(output.lines().len(), emitted, "lines and the count of them");
            assert!(
                pulled >= emitted && pulled - emitted <= WINDOW,
                "{pulled} and {emitted}"
            );
            assert!(emitted >= read_before);
            let whole: Vec<u8> = (0..emitted)
                .flat_map(|number| lines[number % lines.len()])
                .copied()
                .collect();
            crate::support::assert_same("the prefix", &output.stdout, &whole);
        }
    });
}

/// A file hangs and is then released: nothing that was printed is lost, and the counts are correct.
#[test]
fn an_interrupted_run_with_a_hanging_file() {
    let corpus = Corpus::new(50);
    for_each_engine(|engine| {
        for signal in SIGNALS {
            let gate = Gate::new();
            let fuse = Mounted::new([("hangs", Script::new("hangs").behind(&gate))]);
            let hanging = fuse.path("hangs").to_str().unwrap().to_owned();
            let mut names = corpus.names.clone();
            names.insert(20, hanging);
            let mill =
                sha256(engine)
                    .dir(corpus.dir())
                    .args(["--window", "30", "--in-flight", "8"]);
            let mut mill = mill.stdin(list(&names, b'\n')).start();
            gate.wait_for_a_reader();
            (0..20).for_each(|_| drop(mill.read_line()));
            mill.signal(signal);
            sleep(Duration::from_millis(300));
            gate.open();
            let output = mill.finish().killed_by(signal);
            let (pulled, emitted) = counts(&output);
            assert_eq!(output.lines().len(), emitted);
            assert!(emitted >= 20 && pulled >= emitted && pulled - emitted <= 30);
        }
    });
}

/// The longest time that a person who has pressed Ctrl-C twice accepts as "at once".
const AT_ONCE: Duration = Duration::from_secs(3);

#[test]
fn a_second_signal_ends_a_hanging_run() {
    let corpus = Corpus::new(20);
    for_each_engine(|engine| {
        for signal in SIGNALS {
            let gate = Gate::new();
            // Through the page cache, where a waiting reader can be killed.
            let fuse = Mounted::new([("hangs", Script::new("hangs").behind(&gate))]);
            let mut names = corpus.names.clone();
            names.push(fuse.path("hangs").to_str().unwrap().to_owned());
            let mill = sha256(engine).dir(corpus.dir()).stdin(list(&names, b'\n'));
            let mut mill = mill.deadline(Duration::from_secs(20)).start();
            gate.wait_for_a_reader();
            (0..20).for_each(|_| drop(mill.read_line()));
            mill.signal(signal);
            sleep(Duration::from_millis(300));
            let start = Instant::now();
            mill.signal(signal);
            let output = mill.finish().killed_by(signal).prints(corpus.expected());
            assert!(
                start.elapsed() < AT_ONCE,
                "{:?}; {output:?}",
                start.elapsed()
            );
            assert_eq!(gate.waiting().min(1), 1, "the file hangs to this moment");
        }
    });
}

/// The output is not read, so it cannot be flushed; that must not delay a second signal.
#[test]
fn a_second_signal_ends_a_blocked_run() {
    let corpus = Corpus::new(100);
    for_each_engine(|engine| {
        let mill = sha256(engine)
            .dir(corpus.dir())
            .stdin(corpus.list().repeat(200));
        let mut mill = mill.deadline(Duration::from_secs(20)).start();
        mill.read_line();
        // The pipe is full when it has not moved for a while.
        sleep(Duration::from_millis(500));
        mill.signal(Signal::TERM);
        sleep(Duration::from_millis(300));
        mill.signal(Signal::TERM);
        eventually("it ends", AT_ONCE, || mill.has_ended());
        mill.finish().killed_by(Signal::TERM);
    });
}

/// The progress line takes one row of the terminal, and is erased at the end.
#[test]
fn the_progress_fits_the_terminal_and_is_taken_away() {
    let corpus = Corpus::new(300);
    for columns in [40, 80] {
        let (controller, terminal) = terminal(columns);
        let mut child = std::process::Command::new(crate::support::mill::binary())
            .args(["hash", "--progress", "always", "--unordered"])
            .current_dir(corpus.dir())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(terminal)
            .spawn()
            .expect("the binary");
        // It stays open, so that the list cannot end before the signal.
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&corpus.list()).unwrap();
        let mut shown = vec![0; 1 << 16];
        let mut len = 0;
        let mut read = |shown: &mut Vec<u8>| {
            let count = rustix::io::read(&controller, &mut shown[len..]).unwrap_or(0);
            len += count;
            (count, len)
        };
        loop {
            let (_, len) = read(&mut shown);
            if memchr::memmem::find(&shown[..len], b"300 done").is_some() {
                break;
            }
        }
        // Until the percentiles of a second are shown, for which the narrow terminal has no room.
        sleep(Duration::from_millis(1500));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT)
            .unwrap();
        child.wait().unwrap();
        drop(stdin);
        // A read at the end of a terminal fails.
        let len = loop {
            if let (0, len) = read(&mut shown) {
                break len;
            }
        };
        let shown = String::from_utf8(shown[..len].to_vec()).unwrap();
        let parts = shown.split_once("ringmill: ");
        let (progress, rest) = parts.unwrap_or_else(|| panic!("{columns}: {shown:?}"));
        assert_eq!(
            rest, "interrupted: 300 items pulled, 300 emitted\r\n",
            "{shown:?}"
        );
        let rows: Vec<&str> = progress.split("\r\x1b[K").collect();
        assert!(
            rows.len() > 4 && rows.iter().any(|row| row.starts_with("300 done  ")),
            "{shown:?}"
        );
        assert_eq!(rows.last(), Some(&""), "it is taken away: {shown:?}");
        for row in rows {
            assert!(row.chars().count() < usize::from(columns), "{row:?}");
            assert!(!row.contains(char::is_control), "{row:?}");
        }
    }
}

/// A signal that was ignored at the start, as by nohup and shells, stays ignored.
#[test]
fn an_ignored_signal_stays_ignored() {
    let corpus = Corpus::new(10);
    for_each_engine(|engine| {
        let script = "trap '' INT; exec \"$0\" \"$@\"";
        let binary = crate::support::mill::binary();
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .arg(binary)
            .args(["hash", "-a", "sha256", "--engine", engine.name()])
            .current_dir(corpus.dir())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&corpus.list()).unwrap();
        let status = format!("/proc/{}/comm", child.id());
        eventually("exec", Duration::from_secs(10), || {
            std::fs::read_to_string(&status).is_ok_and(|name| name.starts_with("ringmill"))
        });
        let pid = rustix::process::Pid::from_child(&child);
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut output = Vec::new();
        std::io::BufRead::read_until(&mut stdout, b'\n', &mut output).unwrap();
        rustix::process::kill_process(pid, Signal::INT).unwrap();
        sleep(Duration::from_millis(200));
        stdin.write_all(&corpus.list()).expect("it still reads");
        drop(stdin);
        std::io::Read::read_to_end(&mut stdout, &mut output).unwrap();
        assert!(child.wait().unwrap().success());
        crate::support::assert_same("stdout", &output, &corpus.expected().repeat(2));
    });
}
