//! Long bodies of `ringmill http`: they are in files while they wait.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::Signal;
use serde_json::json;

use crate::http::{lines, mill};
use crate::support::rows::json_rows;
use crate::support::small_disk::SmallDisk;
use crate::support::web::{Then, Web, response};
use crate::support::{Mill, eventually, for_each_engine};

/// What is kept in memory of each body.
const IN_MEMORY: usize = 128 * 1024;

/// Lengths of bodies.
const LENS: [usize; 9] = [
    0,
    1_500_000,
    1,
    IN_MEMORY - 1,
    IN_MEMORY,
    IN_MEMORY + 1,
    100,
    2 * IN_MEMORY + 1,
    600_000,
];

/// The body of a number: text if it is even.
fn content(number: usize) -> Vec<u8> {
    let values = if number.is_multiple_of(2) { 127 } else { 251 };
    let bytes = (number..).step_by(31).map(|value| (value % values) as u8);
    bytes.take(LENS[number % LENS.len()]).collect()
}

/// The number that a request asks for.
fn number(target: &str) -> usize {
    target[1..].parse().expect("a number")
}

/// The first part of a response without the rest.
fn cut_off(stream: &mut TcpStream, body: &[u8], len: usize) -> io::Result<()> {
    let response = response("200 OK", "", body);
    stream.write_all(&response[..response.len() - body.len() + len])
}

/// The files in a directory, which may not exist yet.
fn files(dir: &Path) -> Vec<fs::DirEntry> {
    fs::read_dir(dir).map_or(Vec::new(), |entries| entries.map(Result::unwrap).collect())
}

/// The length of all files in a directory together.
fn total_len(dir: &Path) -> u64 {
    let len = |file: &fs::DirEntry| file.metadata().map_or(0, |it| it.len());
    files(dir).iter().map(len).sum()
}

fn with_temporary_files(mill: Mill, dir: &Path) -> Mill {
    mill.env("TMPDIR", dir.to_str().expect("UTF-8"))
}

/// In all forms, each body is whole, and those in files are as good as others.
#[test]
fn all_lengths() {
    let web = Web::start(|seen, stream| {
        let number = number(seen.target());
        let body = content(number);
        stream.write_all(&match number % 3 {
            0 => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&body)?;
                response("200 OK", "content-encoding: gzip\r\n", encoder.finish()?)
            }
            1 => {
                let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
                body.chunks(70_000).fold(head, |head, chunk| {
                    [
                        head,
                        format!("{:x}\r\n", chunk.len()).into_bytes(),
                        chunk.to_vec(),
                        b"\r\n".to_vec(),
                    ]
                    .concat()
                })
            }
            _ => response("200 OK", "", body),
        })?;
        if number % 3 == 1 {
            stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(Then::Keep)
    });
    let count = 4 * LENS.len();
    let urls = || lines((0..count).map(|number| web.url(&format!("/{number}"))));
    for_each_engine(|engine| {
        let (temporary, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let given = || with_temporary_files(mill(engine), temporary.path()).stdin(urls());
        let expected: Vec<u8> = (0..count).flat_map(content).collect();
        given()
            .args(["--format", "body"])
            .run()
            .exits(0)
            .prints(expected);
        let rows = json_rows(&given().arg("--body").run().exits(0));
        assert_eq!(rows.len(), count);
        for (number, row) in rows.iter().enumerate() {
            let expected = match String::from_utf8(content(number)) {
                Ok(text) => json!({ "text": text }),
                Err(error) => json!({ "bytes": STANDARD.encode(error.as_bytes()) }),
            };
            assert!(row["body"] == expected, "the body of {number}");
            assert_eq!(row["size"], LENS[number % LENS.len()], "{number}");
        }
        given().arg("--bodies").arg(kept.path()).run().exits(0);
        for number in 0..count {
            let body = fs::read(kept.path().join(number.to_string())).unwrap();
            assert!(body == content(number), "the file of {number}");
        }
        assert_eq!(files(kept.path()).len(), count);
        assert_eq!(files(temporary.path()).len(), 0);
    });
}

/// Bodies that wait for the row of an earlier item are in files, not in memory.
#[test]
fn they_wait_in_files() {
    const COUNT: usize = 32;
    const LEN: usize = 4 * 1024 * 1024;
    for_each_engine(|engine| {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let web = Web::start(move |seen, stream| {
            if seen.target() == "/0" {
                let _the_test_is_over = released.lock().unwrap().recv();
            }
            let body = vec![b'x'; LEN];
            stream
                .write_all(&response("200 OK", "", body))
                .map(|()| Then::Keep)
        });
        let dir = tempfile::tempdir().unwrap();
        let urls = (0..COUNT).map(|number| web.url(&format!("/{number}")));
        let running = mill(engine)
            .args(["--per-host=32", "--timeout=900s", "--bodies"])
            .arg(dir.path())
            .stdin(lines(urls))
            .start();
        eventually("all others are complete", Duration::from_secs(300), || {
            total_len(dir.path()) == ((COUNT - 1) * LEN) as u64
        });
        let memory_kib = running.memory_kib("VmHWM");
        assert!(memory_kib < 64 * 1024, "{memory_kib} KiB");
        drop(release);
        let rows = json_rows(&running.finish().exits(0));
        assert_eq!(rows.len(), COUNT);
        for number in 0..COUNT {
            let len = fs::metadata(dir.path().join(number.to_string()))
                .unwrap()
                .len();
            assert_eq!(len, LEN as u64, "{number}");
        }
    });
}

/// A file as the command, which compresses it, prints it.
fn compressed(command: &[&str], file: &Path) -> Vec<u8> {
    let output = Command::new(command[0])
        .args(&command[1..])
        .arg(file)
        .output()
        .expect("it is installed");
    assert!(output.status.success(), "{command:?}: {output:?}");
    output.stdout
}

/// Bodies that the usual tools have compressed, among them a few bytes from which megabytes follow: each is whole, and
/// is not in memory at once.
#[test]
fn compressed_bodies() {
    const COUNT: usize = 48;
    let zeros = vec![0; 8 * 1024 * 1024];
    let numbers: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let dir = tempfile::tempdir().unwrap();
    let mut bodies = Vec::new();
    for plain in [zeros, numbers] {
        let file = dir.path().join("plain");
        fs::write(&file, &plain).unwrap();
        for (encoding, command) in [
            ("gzip", &["gzip", "-c"][..]),
            ("br", &["brotli", "--lgwin=16", "-c"]),
            ("zstd", &["zstd", "-1", "-q", "-c"]),
        ] {
            bodies.push((encoding, compressed(command, &file), plain.clone()));
        }
    }
    let bodies = Arc::new(bodies);
    for_each_engine(|engine| {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let of_web = Arc::clone(&bodies);
        let web = Web::start(move |seen, stream| {
            let number = number(seen.target());
            if number == 0 {
                let _the_test_is_over = released.lock().unwrap().recv();
            }
            let (encoding, body, _) = &of_web[number % of_web.len()];
            let header = format!("content-encoding: {encoding}\r\n");
            stream
                .write_all(&response("200 OK", &header, body.clone()))
                .map(|()| Then::Keep)
        });
        let dir = tempfile::tempdir().unwrap();
        let running = mill(engine)
            .args(["--per-host=48", "--timeout=900s", "--bodies"])
            .arg(dir.path())
            .stdin(lines(
                (0..COUNT).map(|number| web.url(&format!("/{number}"))),
            ))
            .start();
        let expected: u64 = (1..COUNT)
            .map(|number| bodies[number % bodies.len()].2.len() as u64)
            .sum();
        eventually("all others are complete", Duration::from_secs(300), || {
            total_len(dir.path()) == expected
        });
        let memory_kib = running.memory_kib("VmHWM");
        assert!(memory_kib < 96 * 1024, "{memory_kib} KiB");
        drop(release);
        let rows = json_rows(&running.finish().exits(0));
        assert_eq!(rows.len(), COUNT);
        for (number, row) in rows.iter().enumerate() {
            let (encoding, _, plain) = &bodies[number % bodies.len()];
            assert_eq!(row["size"], plain.len(), "{row}");
            let file = fs::read(dir.path().join(number.to_string())).unwrap();
            assert!(file == *plain, "{number}, {encoding}");
        }
    });
}

/// No part of a body that was cut off is in the body of the next attempt.
#[test]
fn bodies_that_were_cut_off() {
    for_each_engine(|engine| {
        let asked = Mutex::new(HashSet::new());
        let web = Web::start(move |seen, stream| {
            let body = content(number(seen.target()));
            if asked.lock().unwrap().insert(seen.target().to_owned()) && !body.is_empty() {
                cut_off(stream, &body, body.len() - 1).map(|()| Then::Close)
            } else {
                stream
                    .write_all(&response("200 OK", "", body))
                    .map(|()| Then::Keep)
            }
        });
        let (temporary, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mill = with_temporary_files(mill(engine), temporary.path());
        let urls = (0..LENS.len()).map(|number| web.url(&format!("/{number}")));
        let mill = mill.arg("--bodies").arg(kept.path()).stdin(lines(urls));
        for (number, row) in json_rows(&mill.run().exits(0)).iter().enumerate() {
            let body = content(number);
            assert_eq!(row["attempts"], 1 + u64::from(!body.is_empty()), "{row}");
            let file = fs::read(kept.path().join(number.to_string())).unwrap();
            assert!(file == body, "the file of {number}");
        }
        assert_eq!(files(kept.path()).len(), LENS.len());
        assert_eq!(files(temporary.path()).len(), 0);
    });
}

/// An interrupted run leaves no unfinished files.
#[test]
fn interrupted() {
    for_each_engine(|engine| {
        let web = Web::start(|_, stream| {
            let body = vec![b'x'; 3 * IN_MEMORY];
            cut_off(stream, &body, 2 * IN_MEMORY).map(|()| Then::Hang)
        });
        let dir = tempfile::tempdir().unwrap();
        let running = mill(engine)
            .args(["--timeout=900s", "--bodies"])
            .arg(dir.path())
            .stdin(lines((0..20).map(|number| web.url(&format!("/{number}")))))
            .start();
        eventually("bodies arrive", Duration::from_secs(120), || {
            files(dir.path()).len() == 6
        });
        running.signal(Signal::INT);
        running.finish().killed_by(Signal::INT);
        assert_eq!(files(dir.path()).len(), 0);
    });
}

/// A directory for temporary files that is full: only the rows of long bodies say so.
#[test]
fn no_room_for_temporary_files() {
    let disk = SmallDisk::new(512);
    let web = Web::start(|seen, stream| {
        let body = content(number(seen.target()));
        stream
            .write_all(&response("200 OK", "", body))
            .map(|()| Then::Keep)
    });
    for_each_engine(|engine| {
        let dir = disk.join("");
        let urls = (0..LENS.len()).map(|number| web.url(&format!("/{number}")));
        let output = with_temporary_files(mill(engine).arg("--body"), &dir)
            .stdin(lines(urls))
            .run()
            .exits(1);
        let rows = json_rows(&output);
        assert_eq!(rows.len(), LENS.len());
        for (row, len) in rows.iter().zip(LENS) {
            match row.get("error") {
                Some(error) => {
                    assert!(len > IN_MEMORY, "{row}");
                    assert_eq!(error["operation"], "write", "{row}");
                    let message = error["message"].as_str().unwrap();
                    let full = format!("{}: No space left on device (os error 28)", dir.display());
                    assert_eq!(message, full);
                }
                None => assert!(len < 600_000 && row["size"] == len, "{row}"),
            }
        }
        assert_eq!(files(&dir).len(), 0);
    });
}
