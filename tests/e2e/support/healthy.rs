//! Healthy files among faulty ones: whatever happens to the faulty ones, each healthy file has one row,
//! with its digest.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::rows::{self, Outcome, Row};
use super::scripted::Scripted;
use super::tree::{Corpus, list};
use super::{Engine, Mill, Output, Running};

/// The paths of files, and the digests that `sha256sum` prints for them.
#[derive(Default)]
pub struct Healthy {
    files: Vec<(String, String)>,
}

impl Healthy {
    /// Every file of the corpus, as it is found in `dir`.
    pub fn of(corpus: &Corpus, dir: &Path) -> Self {
        let paths = corpus.names.iter().map(|name| dir.join(name));
        let paths = paths.map(|path| path.to_str().expect("UTF-8").to_owned());
        Healthy {
            files: paths.zip(corpus.digests.iter().cloned()).collect(),
        }
    }

    /// The files of both, alternately as long as both have some.
    pub fn mixed_with(self, others: Healthy) -> Self {
        let (mut left, mut right) = (self.files.into_iter(), others.files.into_iter());
        let mut files = Vec::new();
        loop {
            let before = files.len();
            files.extend(left.next());
            files.extend(right.next());
            if files.len() == before {
                return Healthy { files };
            }
        }
    }

    /// Without the files with these names.
    pub fn without(mut self, names: &[String]) -> Self {
        self.files
            .retain(|(path, _)| !names.iter().any(|name| path.ends_with(name)));
        self
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(path, _)| path.as_str())
    }

    /// Brings all of them into the kernel's memory.
    #[track_caller]
    pub fn warm(&self) {
        for path in self.paths() {
            std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }

    /// The paths of all of them, with the `sick` ones spread evenly among them.
    pub fn list_with(&self, sick: &[String]) -> Vec<String> {
        let step = self.files.len() / (sick.len() + 1) + 1;
        let mut sick = sick.iter();
        let mut paths = Vec::new();
        for (place, path) in self.paths().enumerate() {
            if place % step == step / 2 {
                paths.extend(sick.next().cloned());
            }
            paths.push(path.to_owned());
        }
        paths.extend(sick.cloned());
        paths
    }

    /// Checks that each path of the list has one row, and that the row of each healthy file has its
    /// digest; returns the rows of the others, in the order of the list.
    #[track_caller]
    pub fn rows_of_others(&self, paths: &[String], output: &Output) -> Vec<Row> {
        let mut rows = rows::parse(&output.stdout);
        rows.sort_by_key(|row| row.index);
        assert_eq!(rows.len(), paths.len(), "a row for each file: {output:?}");
        let digests: HashMap<&str, &str> = self
            .files
            .iter()
            .map(|(path, digest)| (path.as_str(), digest.as_str()))
            .collect();
        let mut wrong = Vec::new();
        let mut others = Vec::new();
        for (index, (row, path)) in rows.into_iter().zip(paths).enumerate() {
            assert_eq!(
                (row.index, row.path.as_slice()),
                (index as u64, path.as_bytes())
            );
            match (digests.get(path.as_str()), &row.outcome) {
                (None, _) => others.push(row),
                (
                    Some(expected),
                    Outcome::Digest {
                        digest, changed, ..
                    },
                ) if digest == expected && !changed => {}
                (Some(_), _) => wrong.push(row.show()),
            }
        }
        assert!(
            wrong.is_empty(),
            "{} healthy files have no good row, such as {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(3)]
        );
        others
    }
}

/// `ringmill hash` that prints rows.
pub fn rows_by(engine: Engine) -> Mill {
    Mill::new(engine).args(["-a", "sha256", "--format", "jsonl"])
}

/// The same for a list.
pub fn rows_of(engine: Engine, paths: &[String]) -> Mill {
    rows_by(engine).stdin(list(paths, b'\n'))
}

/// Runs `something` while calls hang in `server`, and then releases them: nothing else could end a
/// process with a thread in a call that the kernel does not interrupt. After `patience` they are
/// released in any case, and the test fails.
#[track_caller]
pub fn while_hanging(server: &Scripted, patience: Duration, something: impl FnOnce()) {
    let (done, is_done) = mpsc::channel::<()>();
    let in_time = thread::scope(|scope| {
        let releaser = scope.spawn(move || {
            let in_time = is_done.recv_timeout(patience) != Err(RecvTimeoutError::Timeout);
            server.recover();
            in_time
        });
        let done = done;
        something();
        drop(done);
        releaser.join().expect("the releaser")
    });
    assert!(in_time, "it took {patience:?} and more while calls hung");
}

/// Waits for a row of each file while calls hang, and only then for the end of the run.
#[track_caller]
pub fn finish_while_hanging(
    mut mill: Running,
    rows: usize,
    server: &Scripted,
    patience: Duration,
) -> Output {
    while_hanging(server, patience, || {
        (0..rows).for_each(|_| drop(mill.read_line()));
    });
    mill.finish()
}
