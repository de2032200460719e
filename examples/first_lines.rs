//! A custom job: prints the first line of every file whose path is on standard input, in input order.
//! `find . -type f | cargo run --release --example first_lines`

use ringmill::{Error, Io};
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

const LINE_BYTES_MAX: usize = 4096;

async fn first_line(io: Io, path: PathBuf) -> Result<String, Error> {
    let file = io.open(&path).await?;
    let mut start = vec![0; LINE_BYTES_MAX];
    let mut len = 0;
    // A read may return fewer bytes than there is room for.
    while len < start.len() && !start[..len].contains(&b'\n') {
        match file.read_at(&mut start[len..], len as u64).await? {
            0 => break,
            count => len += count,
        }
    }
    let line = start[..len].split(|&byte| byte == b'\n').next();
    Ok(String::from_utf8_lossy(line.unwrap_or_default()).into_owned())
}

fn main() -> Result<(), Error> {
    let paths = BufReader::new(io::stdin()).lines();
    let paths = paths.map_while(Result::ok).map(PathBuf::from);
    for row in ringmill::run(paths, first_line).in_flight(128).start()? {
        let row = row?;
        match row.result {
            Ok(line) => println!("{}: {line}", row.input.display()),
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(())
}
