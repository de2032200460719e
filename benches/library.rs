//! `ringmill hash` as a program that uses the library: rows of an iterator, printed as GNU lines. The time
//! that it takes beyond the command's is the cost of the interface. Names are printed without GNU's escapes.

use ringmill::Algorithm;
use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: library --algorithm NAME < LIST

Hashes the files of a newline-separated list with ringmill::hash. For scripts/bench; without arguments it
prints this and ends.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // `cargo bench` starts every bench with `--bench`, `cargo test --benches` with nothing: neither has a
    // list to work on.
    let ["--algorithm", name] = *arguments.iter().map(String::as_str).collect::<Vec<_>>() else {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    };
    let Ok(algorithm) = name.parse() else {
        eprintln!("library: unknown algorithm {name}");
        return ExitCode::from(2);
    };
    match run(algorithm) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("library: {error}");
            ExitCode::from(2)
        }
    }
}

/// The number of files that could not be hashed.
fn run(algorithm: Algorithm) -> io::Result<u64> {
    let lines = BufReader::new(io::stdin()).split(b'\n');
    let paths = lines.map_while(Result::ok);
    let paths = paths.map(|name| PathBuf::from(OsString::from_vec(name)));
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failures = 0;
    for row in ringmill::hash(paths).algorithm(algorithm).start()? {
        let row = row?;
        match row.result {
            Ok(hashed) => {
                write!(out, "{}  ", hashed.digest)?;
                out.write_all(row.input.as_os_str().as_bytes())?;
                out.write_all(b"\n")?;
            }
            Err(error) => {
                eprintln!("library: {error}");
                failures += 1;
            }
        }
    }
    out.flush()?;
    Ok(failures)
}
