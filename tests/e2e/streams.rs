//! Consumers and producers: closed, full, slow or endless ones.

use std::fs::{self, File};
use std::io::Write;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::support::fusefs::{Gate, Mounted, Script};
use crate::support::small_disk::SmallDisk;
use crate::support::tree::{Corpus, gnu_lines, list};
use crate::support::{Engine, Mill, Running, eventually, for_each_engine};

fn sha256(engine: Engine, corpus: &Corpus) -> Mill {
    Mill::new(engine).args(["-a", "sha256"]).dir(corpus.dir())
}

/// Writes the names over and over until the reader is gone; counts the names written.
struct Endless {
    taken: Arc<AtomicUsize>,
    writer: JoinHandle<()>,
}

impl Endless {
    fn new(mut pipe: ChildStdin, names: Vec<String>) -> Self {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let writer = thread::spawn(move || {
            for name in names.iter().cycle() {
                if pipe.write_all(format!("{name}\n").as_bytes()).is_err() {
                    break;
                }
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        Endless { taken, writer }
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// Waits until the reader of the list is gone.
    fn join(self) {
        self.writer.join().expect("the writer ends with its reader");
    }
}

/// Lines `from..` of the endless output.
fn expect_lines(mill: &mut Running, corpus: &Corpus, from: usize, count: usize) {
    let expected = corpus.expected();
    let lines: Vec<&[u8]> = expected.split_inclusive(|&byte| byte == b'\n').collect();
    for number in from..from + count {
        assert_eq!(
            mill.read_line(),
            lines[number % lines.len()],
            "line {number}"
        );
    }
}

/// `ringmill hash | head -3`, over a list that ends and over one that does not.
#[test]
fn a_closed_pipe_ends_the_run_quietly() {
    let corpus = Corpus::new(100);
    for_each_engine(|engine| {
        let mut mill = sha256(engine, &corpus)
            .stdin(corpus.list().repeat(1000))
            .start();
        expect_lines(&mut mill, &corpus, 0, 3);
        mill.close_stdout();
        let closed = Instant::now();
        mill.finish().succeeds();
        assert!(
            closed.elapsed() < Duration::from_secs(10),
            "it took {:?}",
            closed.elapsed()
        );
    });
}

#[test]
fn an_endless_list_ends_with_its_consumer() {
    let corpus = Corpus::new(100);
    for_each_engine(|engine| {
        let mut mill = sha256(engine, &corpus).stdin_pipe().start();
        let endless = Endless::new(mill.take_stdin(), corpus.names.clone());
        expect_lines(&mut mill, &corpus, 0, 3000);
        mill.close_stdout();
        eventually("it ends", Duration::from_secs(20), || mill.has_ended());
        mill.finish().succeeds();
        endless.join();
    });
}

/// Writing the next line finds the pipe closed; the rest of an idle list is not waited for.
#[test]
fn an_idle_list_does_not_keep_a_closed_pipe_open() {
    let corpus = Corpus::new(3);
    for_each_engine(|engine| {
        let mut mill = sha256(engine, &corpus).stdin_pipe().start();
        mill.feed(corpus.list());
        expect_lines(&mut mill, &corpus, 0, 3);
        mill.close_stdout();
        mill.feed(corpus.list());
        eventually("it ends", Duration::from_secs(20), || mill.has_ended());
        mill.finish().succeeds();
    });
}

#[test]
fn a_full_disk_is_an_error() {
    let corpus = Corpus::new(100);
    for_each_engine(|engine| {
        let full = || {
            File::options()
                .write(true)
                .open("/dev/full")
                .expect("/dev/full")
        };
        // A list of one line, whose loss only the last flush finds, and one of many.
        for list in [
            corpus.names[0].clone().into_bytes(),
            corpus.list().repeat(100),
        ] {
            for form in [&[][..], &["--format", "jsonl"], &["-z"]] {
                let mill = sha256(engine, &corpus).args(form).stdin(list.clone());
                let output = mill.stdout_to(full()).run().exits(2);
                output.mentions(&["ringmill: ", "No space left on device"]);
            }
            let mill = sha256(engine, &corpus)
                .args(["-o", "/dev/full"])
                .stdin(list.clone());
            mill.run().exits(2).prints("").mentions(&[
                "/dev/full",
                "No space left on device; 0 whole lines were written\n",
            ]);
        }
    });
}

#[test]
fn a_full_disk_has_the_lines_that_are_counted() {
    let corpus = Corpus::new(100);
    let disk = SmallDisk::new(100);
    for_each_engine(|engine| {
        for (form, end) in [(&["--tag"][..], b'\n'), (&["-z"], 0)] {
            let sums = disk.join("sums");
            let mill = sha256(engine, &corpus).args(form).arg("-o").arg(&sums);
            let output = mill.stdin(corpus.list().repeat(100)).run().exits(2);
            let written = fs::read(&sums).unwrap();
            let lines = written.iter().filter(|&&byte| byte == end).count();
            assert!(
                lines > 1000 && written.last() != Some(&end),
                "{lines} lines"
            );
            let count = format!("No space left on device; {lines} whole lines were written\n");
            output.prints("").mentions(&[&count]);
        }
    });
}

/// The Rust runtime opens /dev/null in place of a closed stream: the loss would not be noticed.
#[test]
fn no_standard_output_is_an_error() {
    let corpus = Corpus::new(3);
    for_each_engine(|engine| {
        let mill = sha256(engine, &corpus).stdin(corpus.list());
        let output = mill.close_stdout_before_start().run().exits(2);
        output.mentions(&["ringmill: standard output: ", "Bad file descriptor"]);
        let into_file = sha256(engine, &corpus)
            .args(["-o", "out"])
            .stdin(corpus.list());
        into_file.close_stdout_before_start().run().succeeds();
        let written = std::fs::read(corpus.dir().join("out")).unwrap();
        assert_eq!(written, corpus.expected());
    });
}

/// An endless list is not read further when nothing can be written.
#[test]
fn a_full_disk_ends_the_run() {
    let corpus = Corpus::new(100);
    for_each_engine(|engine| {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full");
        let mut mill = sha256(engine, &corpus).stdout_to(full).stdin_pipe().start();
        let endless = Endless::new(mill.take_stdin(), corpus.names.clone());
        eventually("it ends", Duration::from_secs(20), || mill.has_ended());
        mill.finish()
            .exits(2)
            .mentions(&["No space left on device"]);
        endless.join();
    });
}

#[test]
fn an_output_file_that_cannot_be_made() {
    let corpus = Corpus::new(3);
    for_each_engine(|engine| {
        for target in ["nowhere/out", "."] {
            let mill = sha256(engine, &corpus)
                .args(["-o", target])
                .stdin(corpus.list());
            mill.run()
                .exits(2)
                .prints("")
                .mentions(&["ringmill: ", target]);
        }
    });
}

/// Waits until no more names are read from the list, because pipes and window are full. On a busy
/// machine, reading may also pause before that. Returns how many names were read.
fn taken_when_full(endless: &Endless) -> usize {
    const LOOKS: u32 = 20;
    let (mut taken, mut looks) = (usize::MAX, 0);
    eventually("the producer stands", Duration::from_secs(120), || {
        sleep(Duration::from_millis(100));
        let before = std::mem::replace(&mut taken, endless.taken());
        looks = if before == taken { looks + 1 } else { 0 };
        looks == LOOKS
    });
    taken
}

/// Ten lines a second: the list is read ahead only within a bound, and memory does not grow.
#[test]
fn a_slow_consumer_holds_the_producer_back() {
    let corpus = Corpus::new(100);
    for_each_engine(|engine| {
        let mut mill = sha256(engine, &corpus).stdin_pipe().start();
        let endless = Endless::new(mill.take_stdin(), corpus.names.clone());
        expect_lines(&mut mill, &corpus, 0, 1);
        // Pipes and window fill up.
        let before = taken_when_full(&endless);
        let memory = mill.memory_kib("VmRSS");
        for number in 1..20 {
            expect_lines(&mut mill, &corpus, number, 1);
            sleep(Duration::from_millis(100));
        }
        // Twenty lines of room in a pipe of 64 KiB may let in another buffer of names.
        let ahead = endless.taken() - before;
        assert!(ahead <= 20_000, "{ahead} names were read for 20 lines");
        let grown = mill.memory_kib("VmRSS").saturating_sub(memory);
        assert!(grown < 4 << 10, "{grown} KiB more");
        // The run goes on at full speed when the consumer does.
        expect_lines(&mut mill, &corpus, 20, 20_000);
        let grown = mill.memory_kib("VmRSS").saturating_sub(memory);
        assert!(grown < 8 << 10, "{grown} KiB more after 20,000 lines");
        mill.close_stdout();
        mill.finish().succeeds();
        endless.join();
    });
}

/// A result does not wait for the next path.
#[test]
fn a_slow_producer_gets_each_line_at_once() {
    let corpus = Corpus::new(40);
    for_each_engine(|engine| {
        for form in [&[][..], &["--format", "jsonl"], &["--unordered"]] {
            let mut mill = sha256(engine, &corpus).args(form).stdin_pipe().start();
            for (number, name) in corpus.names.iter().enumerate() {
                mill.feed(format!("{name}\n"));
                let line = String::from_utf8(mill.read_line()).expect("ASCII");
                assert!(
                    line.contains(&corpus.digests[number]),
                    "line {number}: {line}"
                );
                if number % 8 == 0 {
                    sleep(Duration::from_millis(100));
                }
            }
            mill.finish().succeeds();
        }
    });
}

/// The same for failures, which go to standard error.
#[test]
fn a_slow_producer_gets_each_failure_at_once() {
    for_each_engine(|engine| {
        let mut mill = Mill::new(engine).stdin_pipe().start();
        for number in 0..20 {
            mill.feed(format!("/nowhere/{number}\n"));
            let name = format!("/nowhere/{number}: ");
            eventually("the message", Duration::from_secs(20), || {
                String::from_utf8_lossy(&mill.stderr_so_far()).contains(&name)
            });
        }
        mill.finish().exits(1).prints("");
    });
}

/// Processor time of the process so far, in clock ticks (100 a second).
fn ticks(mill: &Running) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", mill.pid())).expect("it runs");
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Waiting threads are woken and do not poll: while they wait for the list, for a file, or for the
/// consumer.
#[test]
fn waiting_costs_no_processor_time() {
    let corpus = Corpus::new(100);
    for_each_engine(|engine| {
        let idle = |what: &str, mill: &Running| {
            sleep(Duration::from_millis(200));
            let before = ticks(mill);
            sleep(Duration::from_millis(1000));
            let spent = ticks(mill) - before;
            assert!(
                spent <= 10,
                "{what}: {spent} ms ×10 of processor time in a second"
            );
        };
        let mut mill = sha256(engine, &corpus).stdin_pipe().start();
        mill.feed(corpus.list());
        expect_lines(&mut mill, &corpus, 0, 100);
        idle("waiting for the list", &mill);

        let endless = Endless::new(mill.take_stdin(), corpus.names.clone());
        taken_when_full(&endless);
        idle("waiting for the consumer", &mill);
        drop(mill);
        endless.join();

        let gate = Gate::new();
        let head = ("head", Script::new("head").behind(&gate));
        let fuse = Mounted::new([head]);
        let names = list(&corpus.names, b'\n');
        let input = [b"head\n".to_vec(), names].concat();
        for name in &corpus.names {
            assert!(!fuse.path(name).exists());
        }
        let mill = Mill::new(engine)
            .dir(fuse.dir())
            .args(["--window", "20", "--in-flight", "10"]);
        let mill = mill.stdin(input).start();
        gate.wait_for_a_reader();
        idle("waiting for a file", &mill);
        gate.open();
        mill.finish().exits(1);
    });
}

/// Standard output may be a regular file.
#[test]
fn output_into_a_file_is_complete() {
    let corpus = Corpus::new(1000);
    for_each_engine(|engine| {
        let target = corpus.scratch.join("redirected");
        let mill = sha256(engine, &corpus).stdin(corpus.list());
        mill.stdout_to(File::create(&target).unwrap())
            .run()
            .succeeds();
        let expected = gnu_lines(&corpus.digests, &corpus.names);
        crate::support::assert_same("the file", &fs::read(&target).unwrap(), &expected);
    });
}
