//! The baseline that `ringmill hash` is measured against: threads that open, read, hash and close
//! one file after another with plain blocking calls, and print GNU lines in input order.
//!
//! The threads take small runs of the list from a shared counter, and each keeps one buffer and the
//! digest code of ringmill itself. So the difference between the two is in the I/O. The list is read
//! as a whole and finished lines wait without a bound: a baseline needs no flow control. Names are
//! printed as they are, without the escapes of GNU.

mod baseline;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use ringmill::digest::{Algorithm, Digest, Hasher};

const USAGE: &str = "\
usage: plain_pool --threads N --algorithm NAME|none < LIST

Hashes the files of a newline-separated list with N threads of plain calls. With `none` they are
only read. A baseline for scripts/bench; without arguments it prints this and ends.
";

/// Files that a thread takes at once: few enough that no thread ends much later than the others.
const FILES_PER_TURN: usize = 32;

/// Nearly every small file fits into it, and it fits into the second-level cache.
const BUFFER_BYTES: usize = 128 * 1024;

struct Options {
    threads: usize,
    /// `None`: read only.
    algorithm: Option<Algorithm>,
}

/// The lines of one turn, and how many files could not be read.
struct Finished {
    turn: usize,
    lines: Vec<u8>,
    failures: usize,
}

fn main() -> ExitCode {
    baseline::main("plain_pool", USAGE, parse, run)
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let (mut threads, mut algorithm) = (None, None);
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let value = rest
            .next()
            .ok_or_else(|| format!("{flag}: needs a value"))?;
        match flag.as_str() {
            "--threads" => {
                threads = value.parse().ok().filter(|&count| count > 0);
                threads.ok_or_else(|| format!("--threads {value}: not a positive number"))?;
            }
            "--algorithm" if value == "none" => algorithm = Some(None),
            "--algorithm" => {
                let known = Algorithm::from_str(value).map_err(|error| error.to_string())?;
                algorithm = Some(Some(known));
            }
            _ => return Err(format!("{flag}: unknown")),
        }
    }
    Ok(Options {
        threads: threads.ok_or("--threads is missing")?,
        algorithm: algorithm.ok_or("--algorithm is missing")?,
    })
}

/// Hashes the list on stdin; returns how many files failed.
fn run(options: &Options) -> io::Result<usize> {
    let mut list = Vec::new();
    io::stdin().lock().read_to_end(&mut list)?;
    let names = split_lines(&list);
    let next_turn = AtomicUsize::new(0);
    // The bound is never reached: it only makes the channel an array, which is faster.
    let (sender, receiver) = mpsc::sync_channel(names.len() / FILES_PER_TURN + 1);
    thread::scope(|scope| {
        for _ in 0..options.threads {
            let (names, next_turn, sender) = (&names, &next_turn, sender.clone());
            scope.spawn(move || work(options.algorithm, names, next_turn, &sender));
        }
        drop(sender);
        print_in_order(&receiver)
    })
}

fn split_lines(list: &[u8]) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = list.split(|&byte| byte == b'\n').collect();
    if names.last().is_some_and(|name| name.is_empty()) {
        names.pop(); // what follows the last newline is not a name
    }
    names
}

/// One thread: turn after turn until the list is used up.
fn work(
    algorithm: Option<Algorithm>,
    names: &[&[u8]],
    next_turn: &AtomicUsize,
    results: &SyncSender<Finished>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let turn = next_turn.fetch_add(1, Ordering::Relaxed);
        let start = turn * FILES_PER_TURN;
        if start >= names.len() {
            return;
        }
        let end = names.len().min(start + FILES_PER_TURN);
        let mut finished = Finished {
            turn,
            lines: Vec::with_capacity(4096),
            failures: 0,
        };
        for name in &names[start..end] {
            match hash_file(algorithm, name, &mut buffer) {
                Ok(digest) => write_line(&mut finished.lines, digest.as_ref(), name),
                Err(error) => {
                    eprintln!("plain_pool: {}: {error}", String::from_utf8_lossy(name));
                    finished.failures += 1;
                }
            }
        }
        if results.send(finished).is_err() {
            return; // the printing thread has ended
        }
    }
}

/// A file that ends within the buffer is hashed in one call, a longer one buffer by buffer.
fn hash_file(
    algorithm: Option<Algorithm>,
    name: &[u8],
    buffer: &mut [u8],
) -> io::Result<Option<Digest>> {
    let mut file = File::open(OsStr::from_bytes(name))?;
    let mut length = fill(&mut file, buffer)?;
    let Some(algorithm) = algorithm else {
        while length == buffer.len() {
            length = fill(&mut file, buffer)?;
        }
        return Ok(None);
    };
    if length < buffer.len() {
        return Ok(Some(algorithm.digest(&buffer[..length])));
    }
    let mut hasher = Hasher::new(algorithm);
    while length > 0 {
        hasher.update(&buffer[..length]);
        length = fill(&mut file, buffer)?;
    }
    Ok(Some(hasher.finalize()))
}

/// Reads until the buffer is full or the file ends; less than the buffer means the end.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn write_line(lines: &mut Vec<u8>, digest: Option<&Digest>, name: &[u8]) {
    match digest {
        Some(digest) => digest.write_hex(lines),
        None => lines.push(b'-'),
    }
    lines.extend_from_slice(b"  ");
    lines.extend_from_slice(name);
    lines.push(b'\n');
}

/// Prints turn after turn, and keeps turns that finish early; returns how many files failed.
fn print_in_order(results: &Receiver<Finished>) -> io::Result<usize> {
    let mut stdout = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    let mut early = BTreeMap::new();
    let (mut next, mut failures) = (0, 0);
    for finished in results {
        failures += finished.failures;
        early.insert(finished.turn, finished.lines);
        while let Some(lines) = early.remove(&next) {
            stdout.write_all(&lines)?;
            next += 1;
        }
    }
    stdout.flush()?;
    Ok(failures)
}
