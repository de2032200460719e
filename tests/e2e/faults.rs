//! Faulty files, from a file system whose replies are scripted.

use std::time::Duration;

use crate::support::fusefs::{Change, Direct, Errno, Mounted, Script};
use crate::support::rows::{self, Outcome, Row};
use crate::support::tree::{content, gnu_lines, list};
use crate::support::{Engine, Mill, Output, for_each_engine, peers};

/// The row, and the whole output, for one scripted file.
fn hash(engine: Engine, fuse: &Mounted, name: &str, options: &[&str]) -> (Row, Output) {
    let mill = Mill::new(engine)
        .dir(fuse.dir())
        .args(["-a", "sha256", "--format", "jsonl"]);
    let output = mill.args(options).arg(name).run();
    let mut rows = rows::parse(&output.stdout);
    assert_eq!(rows.len(), 1, "one row for one item: {output:?}");
    (rows.remove(0), output)
}

#[track_caller]
fn assert_error(engine: Engine, script: Script, operation: &str, errno: &str, message: &str) {
    for direct in Direct::BOTH {
        eprintln!("{direct:?}");
        let fuse = Mounted::with(direct, [("file", script.clone())]);
        let (row, output) = hash(engine, &fuse, "file", &[]);
        assert_eq!(row.error(), (operation, errno, message));
        let line = format!("ringmill: file: cannot {operation}: {message}\n");
        output.exits(1).complains(line);
    }
}

#[track_caller]
fn assert_digest(engine: Engine, script: Script, bytes: &[u8]) {
    for direct in Direct::BOTH {
        eprintln!("{direct:?}");
        let fuse = Mounted::with(direct, [("file", script.clone())]);
        let (row, output) = hash(engine, &fuse, "file", &[]);
        let output = output.succeeds();
        assert_eq!(row.size(), bytes.len() as u64, "{row:?}");
        assert_eq!(row.digest(), peers::digest("sha256", bytes), "{output:?}");
        assert!(!row.changed(), "{row:?}");
    }
}

#[test]
fn reads_that_fail() {
    let bytes = content(1, 700_000);
    for_each_engine(|engine| {
        for offset in [0, 1, 4096, 100_000, 131_072, 524_288, 699_999] {
            eprintln!("EIO at {offset}");
            let script = Script::new(bytes.clone())
                .direct()
                .fails_read(offset, Errno::EIO);
            assert_error(engine, script, "read", "EIO", "Input/output error");
        }
        for offset in [0, 4096, 131_072, 524_288] {
            eprintln!("EIO at {offset}, through the page cache");
            let script = Script::new(bytes.clone()).fails_read(offset, Errno::EIO);
            assert_error(engine, script, "read", "EIO", "Input/output error");
        }
        let script = Script::new("x").direct().fails_read(0, Errno::ESTALE);
        assert_error(engine, script, "read", "ESTALE", "Stale file handle");
    });
}

#[test]
fn opens_that_fail() {
    let cases = [
        (Errno::EIO, "EIO", "Input/output error"),
        (Errno::EACCES, "EACCES", "Permission denied"),
        (Errno::ESTALE, "ESTALE", "Stale file handle"),
        (Errno::ENODEV, "ENODEV", "No such device"),
    ];
    for_each_engine(|engine| {
        for (errno, name, message) in cases {
            eprintln!("{name}");
            let script = Script::new("never read").fails_open(errno);
            assert_error(engine, script, "open", name, message);
        }
    });
}

/// "Too many open files in system" is resource exhaustion, so the open is retried; but not for ever.
#[test]
fn an_exhausted_file_table() {
    let names: Vec<String> = (0..60).map(|number| format!("f{number}")).collect();
    let slices: Vec<String> = names
        .iter()
        .map(|name| peers::digest("sha256", name.as_bytes()))
        .collect();
    for_each_engine(|engine| {
        let fuse = Mounted::new(names.iter().enumerate().map(|(number, name)| {
            let script = Script::new(name.as_bytes());
            let times = if number % 3 == 0 { 2 } else { 0 };
            (name.as_str(), script.fails_opens(Errno::ENFILE, times))
        }));
        let mill = Mill::new(engine).dir(fuse.dir()).args(["-a", "sha256"]);
        let output = mill.stdin(list(&names, b'\n')).run().exits(0);
        output.prints(gnu_lines(&slices, &names));

        let fuse = Mounted::new([
            ("good", Script::new("good")),
            ("never", Script::new("never").fails_open(Errno::ENFILE)),
            ("also good", Script::new("good")),
        ]);
        let mill = Mill::new(engine).dir(fuse.dir()).args(["-a", "sha256"]);
        let output = mill.args(["good", "never", "also good"]).run().exits(1);
        let digest = peers::digest("sha256", b"good");
        let output = output.prints(gnu_lines(&[&digest, &digest], &["good", "also good"]));
        let complaint = "ringmill: never: cannot open: Too many open files in system";
        output.mentions(&[complaint]);
    });
}

#[test]
fn short_reads_are_not_the_end() {
    for_each_engine(|engine| {
        for (size, longest) in [
            (5000, 7),
            (300_000, 4096),
            (300_000, 65_535),
            (1_000_000, 131_071),
        ] {
            eprintln!("{size} bytes, {longest} a read");
            let bytes = content(size, size);
            let script = Script::new(bytes.clone()).short_reads(longest);
            assert_digest(engine, script, &bytes);
        }
    });
}

/// `st_size` may be wrong.
#[test]
fn wrong_sizes() {
    let mut files = Vec::new();
    for size in [0, 1, 200_000, 400_000] {
        let bytes = if size == 0 {
            Vec::new()
        } else {
            content(size, size)
        };
        for claimed in [0, 1, 4096, 199_999, 200_001, 1 << 40] {
            let name = format!("{size} bytes that claim to be {claimed}");
            let expected = (bytes.len() as u64, peers::digest("sha256", &bytes));
            files.push((name, Script::new(bytes.clone()).claims(claimed), expected));
        }
    }
    let names: Vec<&str> = files.iter().map(|(name, ..)| name.as_str()).collect();
    for_each_engine(|engine| {
        for direct in Direct::BOTH {
            let scripts = files.iter().map(|(name, script, _)| (name, script.clone()));
            let fuse = Mounted::with(direct, scripts);
            let mill = Mill::new(engine).dir(fuse.dir()).args(["-a", "sha256"]);
            let output = mill.args(["--format", "jsonl"]).args(&names).run();
            let rows = rows::parse(&output.succeeds().stdout);
            assert_eq!(rows.len(), files.len());
            let wrong: Vec<String> = rows
                .iter()
                .zip(&files)
                .filter(|(row, (.., expected))| *expected != (row.size(), row.digest().to_owned()))
                .map(|(row, (name, ..))| format!("{name}: {} were hashed", row.size()))
                .collect();
            assert!(wrong.is_empty(), "{direct:?}: {wrong:#?}");
        }
    });
}

/// An interrupted read is repeated, not reported.
#[test]
fn an_interrupted_read_is_repeated() {
    let bytes = content(3, 10_000);
    for_each_engine(|engine| {
        let script = Script::new(bytes.clone()).fails_first_read(Errno::EINTR);
        assert_digest(engine, script, &bytes);
    });
}

/// Scripts of files that change, on both kinds of file systems.
fn changes() -> impl Iterator<Item = (Direct, &'static str, Script)> {
    let bytes = content(4, 1_500_000);
    let scripts = [
        (
            "shrinks",
            Script::new(bytes.clone()).changes(Change::EndsThere),
        ),
        (
            "grows",
            Script::new(bytes.clone()).changes(Change::Grows(content(5, 70_000))),
        ),
        (
            "grows from little",
            Script::new("little").changes(Change::Grows(b" more".to_vec())),
        ),
        ("touched", Script::new(bytes).changes(Change::Touched)),
    ];
    Direct::BOTH.into_iter().flat_map(move |direct| {
        scripts
            .clone()
            .into_iter()
            .map(move |(name, script)| (direct, name, script))
    })
}

/// The digest is of the bytes that were read. A warning says that they may be neither the old nor the
/// new file.
#[test]
fn a_change_is_a_warning() {
    for_each_engine(|engine| {
        for (direct, name, script) in changes() {
            eprintln!("{name}, {direct:?}");
            let fuse = Mounted::with(direct, [(name, script)]);
            let (row, output) = hash(engine, &fuse, name, &[]);
            let warning = format!("ringmill: {name}: warning: changed while it was read\n");
            output.exits(0).complains(&warning);
            assert!(row.changed(), "{row:?}");
            // Several pieces are read at a time: bytes beyond the new end may have been served.
            let served = fuse.served(name);
            let read = &served[..row.size() as usize];
            assert!(name == "shrinks" || read.len() == served.len());
            assert_eq!(row.digest(), peers::digest("sha256", read));
        }
    });
}

/// The line of a file that changed is an ordinary line.
#[test]
fn a_change_is_a_warning_beside_the_line() {
    for_each_engine(|engine| {
        let script = Script::new("content").changes(Change::Touched);
        let fuse = Mounted::new([("touched", script)]);
        let mill = Mill::new(engine).dir(fuse.dir());
        let output = mill.args(["-a", "sha256", "touched"]).run();
        let digest = peers::digest("sha256", b"content");
        output
            .exits(0)
            .complains("ringmill: touched: warning: changed while it was read\n")
            .prints(format!("{digest}  touched\n"));
    });
}

#[test]
fn a_change_is_a_failure_if_asked_for() {
    for_each_engine(|engine| {
        for (direct, name, script) in changes() {
            eprintln!("{name}, {direct:?}");
            let complaint = format!("ringmill: {name}: cannot read: changed while it was read\n");
            let fuse = Mounted::with(direct, [(name, script.clone())]);
            let mill = Mill::new(engine).dir(fuse.dir()).args(["--strict", name]);
            mill.run().exits(1).prints("").complains(&complaint);
            let fuse = Mounted::with(direct, [(name, script)]);
            let (row, output) = hash(engine, &fuse, name, &["--strict"]);
            assert_eq!(row.error(), ("read", "-", "changed while it was read"));
            output.exits(1).complains(&complaint);
        }
    });
}

#[test]
fn strict_accepts_files_that_do_not_change() {
    let bytes = content(6, 500_000);
    for_each_engine(|engine| {
        for script in [
            Script::new(bytes.clone()),
            Script::new(bytes.clone()).short_reads(5000),
        ] {
            for direct in Direct::BOTH {
                eprintln!("{direct:?}");
                let fuse = Mounted::with(direct, [("file", script.clone())]);
                let (row, output) = hash(engine, &fuse, "file", &["--strict"]);
                assert_eq!(row.digest(), peers::digest("sha256", &bytes));
                output.succeeds();
            }
        }
    });
}

/// The expected result of a scripted file.
enum Expected {
    Content(Vec<u8>),
    Error(&'static str, &'static str),
}

/// A script drawn from a seed.
fn draw(random: &mut impl FnMut(usize) -> usize) -> (Script, Expected) {
    let size = [0, 1, 100, 4096, 70_000, 300_000][random(6)];
    let bytes = if size == 0 {
        Vec::new()
    } else {
        content(random(1000), size)
    };
    let script = Script::new(bytes.clone());
    let script = if random(2) == 0 {
        script.direct()
    } else {
        script
    };
    let slow = Duration::from_millis(random(4) as u64);
    let script = if random(5) == 0 {
        script.slow(slow)
    } else {
        script
    };
    match random(8) {
        0 => (
            script.fails_open(Errno::EIO),
            Expected::Error("open", "EIO"),
        ),
        1 if size > 0 => {
            let offset = random(size) as u64;
            (
                script.fails_read(offset, Errno::EIO),
                Expected::Error("read", "EIO"),
            )
        }
        2 if size <= 4096 => (
            script.short_reads(1 + random(300)),
            Expected::Content(bytes),
        ),
        3 => (
            script.short_reads(4096 + random(100_000)),
            Expected::Content(bytes),
        ),
        4 => (
            script.claims(random(1_000_000) as u64),
            Expected::Content(bytes),
        ),
        5 => (
            script.fails_opens(Errno::ENFILE, 1),
            Expected::Content(bytes),
        ),
        _ => (script, Expected::Content(bytes)),
    }
}

/// All faults at once, over many files; the window and the other options come from the seed, too.
#[test]
fn mixed_faults() {
    for_each_engine(|engine| {
        for seed in 1..=6_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = |below: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 33) as usize % below
            };
            let (names, drawn): (Vec<String>, Vec<(Script, Expected)>) = (0..120)
                .map(|number| (format!("f{number}"), draw(&mut random)))
                .unzip();
            let (scripts, expected): (Vec<Script>, Vec<Expected>) = drawn.into_iter().unzip();
            let in_flight = 1 + random(64);
            let window = in_flight + random(64);
            let options = [
                "--in-flight".to_owned(),
                in_flight.to_string(),
                "--window".to_owned(),
                window.to_string(),
                "--loops".to_owned(),
                (1 + random(3)).to_string(),
            ];
            let direct = Direct::BOTH[random(2)];
            eprintln!("seed {seed}: {} {direct:?}", options.join(" "));
            let fuse = Mounted::with(direct, names.iter().map(String::as_str).zip(scripts));
            let mill = Mill::new(engine)
                .dir(fuse.dir())
                .args(["-a", "xxh3", "--format", "jsonl"]);
            let output = mill
                .args(&options)
                .stdin(list(&names, b'\n'))
                .run()
                .exits(1);
            let rows = rows::parse(&output.stdout);
            assert_eq!(rows.len(), names.len());
            for ((row, name), expected) in rows.iter().zip(&names).zip(&expected) {
                assert_eq!(row.path, name.as_bytes());
                match (&row.outcome, expected) {
                    (Outcome::Digest { digest, size, .. }, Expected::Content(bytes)) => {
                        assert_eq!(digest, &peers::digest("xxh3", bytes), "{row:?}");
                        assert_eq!(*size, bytes.len() as u64, "{row:?}");
                    }
                    (Outcome::Error { .. }, Expected::Error(operation, errno)) => {
                        let error = row.error();
                        assert_eq!((error.0, error.1), (*operation, *errno), "{row:?}");
                    }
                    _ => panic!("not what the script says: {row:?}"),
                }
            }
        }
    });
}
