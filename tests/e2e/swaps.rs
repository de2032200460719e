//! Files that differ from one call to the next: other files take their names, and other processes write
//! to them. The rows say what was hashed.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};

use crate::files::mkfifo;
use crate::support::healthy::{Healthy, rows_of};
use crate::support::rows::{Outcome, Row};
use crate::support::tree::{Corpus, content};
use crate::support::{Engine, Output, for_each_engine, peers};

/// Rows about a file that changes during the run.
const ROUNDS: usize = 3000;

/// A regular file and another that must not be read exchange their names over and over; returns the
/// rows about the name.
fn swapped(engine: Engine, make: impl Fn(&Path), other_is_content: bool) -> Vec<Row> {
    let corpus = Corpus::new(1000);
    let healthy = Healthy::of(&corpus, corpus.dir());
    let file = corpus.scratch.file("file", "content");
    let other = corpus.scratch.join("other");
    make(&other);
    let sick = vec![file.to_str().expect("UTF-8").to_owned(); ROUNDS];
    let paths = healthy.list_with(&sick);
    let ended = AtomicBool::new(false);
    let output: Output = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                renameat_with(CWD, &file, CWD, &other, RenameFlags::EXCHANGE).expect("exchange");
            }
        });
        let _stops = Ends(&ended);
        rows_of(engine, &paths).run()
    });
    let rows = healthy.rows_of_others(&paths, &output);
    assert_eq!(rows.len(), ROUNDS);
    let digest = peers::digest("sha256", b"content");
    let other_digest = peers::digest("sha256", b"other content");
    for row in &rows {
        if let Outcome::Digest { digest: found, .. } = &row.outcome {
            assert!(
                *found == digest || other_is_content && *found == other_digest,
                "{row:?}"
            );
        }
    }
    rows
}

/// Sets a flag when the test is done, even if it fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Each failure is this one, or says that the name was that of another file at each attempt.
#[track_caller]
fn assert_failures(rows: &[Row], expected: (&str, &str, &str)) {
    for row in rows
        .iter()
        .filter(|row| matches!(row.outcome, Outcome::Error { .. }))
    {
        let (operation, errno, message) = row.error();
        let is_expected =
            (operation, errno) == (expected.0, expected.1) && message.contains(expected.2);
        assert!(
            is_expected || message == "changed while it was read",
            "{row:?}"
        );
    }
}

/// /dev/zero, which has no end.
#[test]
fn a_device_takes_the_name() {
    for_each_engine(|engine| {
        let zero = |path: &Path| {
            let mode = Mode::from_raw_mode(0o666);
            mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(1, 5)).expect("mknod");
        };
        assert_failures(&swapped(engine, zero, false), ("open", "-", "device"));
    });
}

#[test]
fn a_fifo_takes_the_name() {
    for_each_engine(|engine| {
        assert_failures(&swapped(engine, mkfifo, false), ("open", "-", "FIFO"));
    });
}

#[test]
fn a_directory_takes_the_name() {
    for_each_engine(|engine| {
        let make = |path: &Path| fs::create_dir(path).unwrap();
        assert_failures(
            &swapped(engine, make, false),
            ("read", "EISDIR", "Is a directory"),
        );
    });
}

/// A link is followed to whichever file it leads to.
#[test]
fn a_link_takes_the_name() {
    for_each_engine(|engine| {
        let make = |path: &Path| {
            fs::write(path.with_file_name("target"), "other content").unwrap();
            symlink("target", path).unwrap();
        };
        for row in swapped(engine, make, true) {
            row.digest();
        }
        let dangling = |path: &Path| symlink("nowhere", path).unwrap();
        let rows = swapped(engine, dangling, false);
        assert_failures(&rows, ("open", "ENOENT", "No such file or directory"));
    });
}

/// A writer fills a file, then truncates it to nothing, again and again. It bypasses the page cache, so
/// the size is 0 until everything is written, and a run that has hashed a part has seen a change.
#[test]
fn a_file_is_filled_and_emptied() {
    const SIZE: usize = 1 << 20;
    let bytes = content(1, SIZE);
    let expected = [
        peers::digest("sha256", b""),
        peers::digest("sha256", &bytes),
    ];
    for_each_engine(|engine| {
        for strict in [false, true] {
            eprintln!("strict: {strict}");
            let corpus = Corpus::new(1000);
            let healthy = Healthy::of(&corpus, corpus.dir());
            let file = corpus.scratch.file("file", "");
            let paths = healthy.list_with(&vec![file.to_str().expect("UTF-8").to_owned(); ROUNDS]);
            let ended = AtomicBool::new(false);
            let output = thread::scope(|scope| {
                scope.spawn(|| fill_and_empty(&file, &bytes, &ended));
                let _stops = Ends(&ended);
                let mill = rows_of(engine, &paths).deadline(Duration::from_secs(120));
                mill.args(if strict { &["--strict"][..] } else { &[] })
                    .run()
            });
            for row in healthy.rows_of_others(&paths, &output) {
                match &row.outcome {
                    Outcome::Digest { changed: true, .. } => assert!(!strict, "{row:?}"),
                    Outcome::Digest { digest, size, .. } => {
                        let sizes = [0, SIZE as u64];
                        let whole = sizes.into_iter().zip(&expected);
                        assert!(whole.clone().any(|one| one == (*size, digest)), "{row:?}");
                    }
                    Outcome::Error { .. } => {
                        assert!(strict, "{row:?}");
                        assert_eq!(row.error(), ("read", "-", "changed while it was read"));
                    }
                }
            }
        }
    });
}

fn fill_and_empty(path: &Path, bytes: &[u8], ended: &AtomicBool) {
    // Direct I/O needs memory that is aligned to a page.
    let mut memory = vec![0; bytes.len() + 4096];
    let start = memory.as_ptr().align_offset(4096);
    let aligned = &mut memory[start..][..bytes.len()];
    aligned.copy_from_slice(bytes);
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let open = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path);
    let mut file = open.expect("open for direct I/O");
    while !ended.load(Ordering::Relaxed) {
        std::io::Seek::rewind(&mut file).unwrap();
        file.write_all(aligned).expect("write");
        file.set_len(0).expect("truncate");
    }
}
