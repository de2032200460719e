//! The program one would write today to hash many files at once on io_uring and print the results
//! in input order: tokio-uring, and `buffered(N)` of futures over the list. `scripts/bench` builds
//! it and measures `ringmill hash` against it.
//!
//! It runs on one thread, as tokio-uring does, and hashes there. Names are printed as they are,
//! without the escapes of GNU.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use futures_util::stream::{self, StreamExt};
use sha2::{Digest, Sha256};
use tokio_uring::fs::File;

const USAGE: &str = "\
usage: tokio-uring-buffered --in-flight N --algorithm sha256|blake3 < LIST

Hashes the files of a newline-separated list, N at once, and prints GNU lines in its order.
";

const BUFFER_BYTES: usize = 64 * 1024;

/// The default of tokio-uring; more where more operations may be in flight.
const RING_ENTRIES_MIN: usize = 256;
const RING_ENTRIES_MAX: usize = 16384;

#[derive(Clone, Copy)]
enum Algorithm {
    Blake3,
    Sha256,
}

struct Options {
    in_flight: usize,
    algorithm: Algorithm,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some(options) = parse(&arguments) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let entries = options
        .in_flight
        .next_power_of_two()
        .clamp(RING_ENTRIES_MIN, RING_ENTRIES_MAX);
    match tokio_uring::builder()
        .entries(entries as u32)
        .start(run(&options))
    {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("tokio-uring-buffered: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: &[String]) -> Option<Options> {
    let (mut in_flight, mut algorithm) = (None, None);
    for pair in arguments.chunks(2) {
        match pair {
            [flag, count] if flag == "--in-flight" => {
                in_flight = Some(count.parse().ok().filter(|&count| count > 0)?);
            }
            [flag, name] if flag == "--algorithm" => {
                algorithm = Some(match name.as_str() {
                    "blake3" => Algorithm::Blake3,
                    "sha256" => Algorithm::Sha256,
                    _ => return None,
                });
            }
            _ => return None,
        }
    }
    Some(Options {
        in_flight: in_flight?,
        algorithm: algorithm?,
    })
}

/// Hashes the list on stdin; returns how many files failed.
async fn run(options: &Options) -> io::Result<usize> {
    let algorithm = options.algorithm;
    let names = io::stdin().lock().split(b'\n');
    let mut results = stream::iter(names)
        .map(|name| async move {
            let name = name?;
            let digest = hash_file(&name, algorithm).await;
            Ok::<_, io::Error>((name, digest))
        })
        .buffered(options.in_flight);
    let mut stdout = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    let mut failures = 0;
    while let Some(result) = results.next().await {
        let (name, digest) = result?;
        match digest {
            Ok(digest) => {
                write!(stdout, "{digest}  ")?;
                stdout.write_all(&name)?;
                stdout.write_all(b"\n")?;
            }
            Err(error) => {
                eprintln!(
                    "tokio-uring-buffered: {}: {error}",
                    String::from_utf8_lossy(&name)
                );
                failures += 1;
            }
        }
    }
    stdout.flush()?;
    Ok(failures)
}

async fn hash_file(name: &[u8], algorithm: Algorithm) -> io::Result<String> {
    let file = File::open(Path::new(OsStr::from_bytes(name))).await?;
    let digest = match algorithm {
        Algorithm::Blake3 => {
            let mut hasher = blake3::Hasher::new();
            read_all(&file, |piece| _ = hasher.update(piece)).await?;
            hasher.finalize().to_hex().to_string()
        }
        Algorithm::Sha256 => {
            let mut hasher = Sha256::new();
            read_all(&file, |piece| hasher.update(piece)).await?;
            hex(&hasher.finalize())
        }
    };
    file.close().await?;
    Ok(digest)
}

/// Passes each piece to `take`, until a read returns nothing.
async fn read_all(file: &File, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut offset = 0;
    loop {
        buffer.clear();
        let (result, filled) = file.read_at(buffer, offset).await;
        buffer = filled;
        match result? {
            0 => return Ok(()),
            count => offset += count as u64,
        }
        take(&buffer);
    }
}

fn hex(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| {
        [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]
    };
    digest.iter().flat_map(digits).map(char::from).collect()
}
