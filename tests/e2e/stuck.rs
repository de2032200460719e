//! Calls that hang, are interrupted without end, or wait for a lease: the files beside them are hashed
//! meanwhile, and those on other file systems are not affected at all.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, RawFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::disk::Disk;
use crate::support::healthy::{Healthy, finish_while_hanging, rows_of, while_hanging};
use crate::support::rows::{Outcome, Row};
use crate::support::scripted::Scripted;
use crate::support::tree::Corpus;
use crate::support::{eventually, for_each_engine, peers};

const PATIENCE: Duration = Duration::from_secs(600);
const TIMEOUT: [&str; 2] = ["--timeout", "4s"];

/// One of 20,001 files has its inode in a block that hangs.
struct OneStuck {
    local: Corpus,
    on_disk: Corpus,
}

impl OneStuck {
    fn new() -> Self {
        let (local, on_disk) = (Corpus::new(19_000), Corpus::new(1000));
        on_disk.scratch.file("stuck", "never read");
        OneStuck { local, on_disk }
    }

    /// The disk, its healthy files, and the list of all files.
    fn disk(&self) -> Option<(Disk, Healthy, Vec<String>)> {
        let disk = Disk::new(self.on_disk.dir())?;
        let healthy = Healthy::of(&self.local, self.local.dir());
        let healthy = healthy.mixed_with(Healthy::of(&self.on_disk, &disk.dir()));
        healthy.warm();
        disk.set_faults(&[(disk.inode("stuck"), "hang")]);
        let paths = healthy.list_with(&[disk.utf8_path("stuck")]);
        Some((disk, healthy, paths))
    }
}

#[test]
fn an_inode_that_hangs() {
    let files = OneStuck::new();
    for_each_engine(|engine| {
        let Some((disk, healthy, paths)) = files.disk() else {
            return;
        };
        let mill = rows_of(engine, &paths).args(TIMEOUT).arg("--unordered");
        let mill = mill.start();
        let output = finish_while_hanging(mill, paths.len(), disk.server(), PATIENCE).exits(1);
        let rows = healthy.rows_of_others(&paths, &output);
        assert_eq!(
            rows[0].error().2,
            "timed out after 4s",
            "{}",
            rows[0].show()
        );
    });
}

/// Everything else is printed and counted. The end has to wait for the kernel, and a message says so.
#[test]
fn a_signal_while_an_inode_hangs() {
    let files = OneStuck::new();
    for_each_engine(|engine| {
        let Some((disk, healthy, paths)) = files.disk() else {
            return;
        };
        let mut mill = rows_of(engine, &paths).arg("--unordered").start();
        while_hanging(disk.server(), PATIENCE, || {
            (1..paths.len()).for_each(|_| drop(mill.read_line()));
            mill.signal(Signal::TERM);
            let has_printed = |pieces: &[&str]| {
                let text = String::from_utf8_lossy(&mill.stderr_so_far()).into_owned();
                pieces.iter().all(|piece| text.contains(piece))
            };
            let counts = "interrupted: 20001 items pulled, 20000 emitted";
            eventually("it says what was done", PATIENCE, || has_printed(&[counts]));
            eventually("it says what it waits for", PATIENCE, || {
                has_printed(&["thread"])
            });
        });
        let output = mill.finish().killed_by(Signal::TERM);
        let paths: Vec<String> = healthy.paths().map(str::to_owned).collect();
        assert_eq!(output.lines().len(), paths.len());
    });
}

/// Nothing in the directory can be looked up.
#[test]
fn a_directory_that_hangs() {
    let (local, on_disk) = (Corpus::new(1000), Corpus::new(1000));
    fs::create_dir(on_disk.scratch.join("stuck")).unwrap();
    let names: Vec<String> = (0..20).map(|number| format!("stuck/{number}")).collect();
    for name in &names {
        on_disk.scratch.file(name, "never found");
    }
    for_each_engine(|engine| {
        let Some(disk) = Disk::new(on_disk.dir()) else {
            return;
        };
        let healthy = Healthy::of(&local, local.dir());
        let healthy = healthy.mixed_with(Healthy::of(&on_disk, &disk.dir()));
        healthy.warm();
        fs::metadata(disk.path("stuck")).unwrap();
        disk.set_faults(&[(disk.blocks("stuck")[0].clone(), "hang")]);
        let sick: Vec<String> = names.iter().map(|name| disk.utf8_path(name)).collect();
        let paths = healthy.list_with(&sick);
        let mill = rows_of(engine, &paths).args(TIMEOUT).arg("--unordered");
        let mill = mill.start();
        let output = finish_while_hanging(mill, paths.len(), disk.server(), PATIENCE).exits(1);
        for row in healthy.rows_of_others(&paths, &output) {
            assert_eq!(row.error().2, "timed out after 4s", "{}", row.show());
        }
    });
}

/// A signal would interrupt a call once or twice. A file system that returns EINTR each time is broken.
#[test]
fn calls_that_are_interrupted_without_end() {
    let (local, served) = (Corpus::new(500), Corpus::new(500));
    let sick = ["f00100", "f00200", "f00300"].map(str::to_owned);
    let rules = "open f00100 fail EINTR\nread f00200 fail EINTR\n\
                 open f00300 direct\nread f00300 fail EINTR\n";
    for_each_engine(|engine| {
        let Some(fuse) = Scripted::new(served.dir(), rules) else {
            return;
        };
        let good = Healthy::of(&served, &fuse.dir()).without(&sick);
        let healthy = Healthy::of(&local, local.dir()).mixed_with(good);
        let sick = sick
            .each_ref()
            .map(|name| format!("{}/{name}", fuse.dir().display()));
        let paths = healthy.list_with(&sick);
        let output = rows_of(engine, &paths).run().exits(1);
        let rows = healthy.rows_of_others(&paths, &output);
        let errors: Vec<(&str, &str)> = rows
            .iter()
            .map(|row| (row.error().0, row.error().1))
            .collect();
        assert_eq!(
            errors,
            [("open", "EINTR"), ("read", "EINTR"), ("read", "EINTR")]
        );
    });
}

/// The number of a file of a corpus, from its row.
fn number(row: &Row) -> usize {
    let name = row.path.rsplit(|&byte| byte == b'/').next().unwrap();
    let digits = std::str::from_utf8(&name[1..]).expect("a file of a corpus");
    digits.parse().expect("a file of a corpus")
}

/// More calls hang than there are workers, in 5 % of the files. A file of which only the close hangs
/// keeps its digest; the row of a file that could not be tried says so; another file system is not
/// affected.
#[test]
fn calls_that_hang() {
    const CALLS: [&str; 4] = ["open", "read", "getattr", "flush"];
    let (local, served) = (Corpus::new(1000), Corpus::new(1000));
    let sick: Vec<usize> = (5..1000).step_by(10).collect();
    let rules: String = sick
        .iter()
        .enumerate()
        .map(|(place, number)| format!("{} f{number:05} hang\n", CALLS[place % 4]))
        .collect();
    for_each_engine(|engine| {
        let Some(fuse) = Scripted::new(served.dir(), &rules) else {
            return;
        };
        let healthy = Healthy::of(&local, local.dir());
        let there = Healthy::of(&served, &fuse.dir());
        let mixed = Healthy::of(&local, local.dir()).mixed_with(there);
        let paths: Vec<String> = mixed.paths().map(str::to_owned).collect();
        let mill = rows_of(engine, &paths).args(["--timeout", "2s", "--unordered"]);
        let mill = mill.deadline(Duration::from_secs(120)).start();
        let patience = Duration::from_secs(60);
        let output = finish_while_hanging(mill, paths.len(), &fuse, patience).exits(1);
        let mut wrong = Vec::new();
        for row in healthy.rows_of_others(&paths, &output) {
            let number = number(&row);
            let call = sick
                .iter()
                .position(|&sick| sick == number)
                .map(|place| CALLS[place % 4]);
            let is_good = match &row.outcome {
                Outcome::Digest { digest, .. } => {
                    assert_eq!(digest, &served.digests[number], "{row:?}");
                    matches!(call, None | Some("flush"))
                }
                Outcome::Error { message, .. } => {
                    message.contains("not tried")
                        || message == "timed out after 2s" && !matches!(call, None | Some("flush"))
                }
            };
            if !is_good {
                wrong.push(format!(
                    "{} hangs: {}",
                    call.unwrap_or("nothing"),
                    row.show()
                ));
            }
        }
        assert!(
            wrong.is_empty(),
            "{} rows are not what became of the file, such as {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(3)]
        );
    });
}

/// A write lease that this process holds on a file. The signal that announces a request for it is
/// ignored.
struct Lease(File);

/// From `<fcntl.h>`: sets the signal that announces the request.
const F_SETSIG: i32 = 10;

impl Lease {
    fn take(path: &str) -> Self {
        let lease = Lease(File::open(path).expect("open"));
        assert_eq!(lease.control(F_SETSIG, libc::SIGURG), 0);
        assert_eq!(lease.control(libc::F_SETLEASE, libc::F_WRLCK), 0);
        lease
    }

    /// True if an open waits for the lease, or has failed because of it.
    fn is_asked_for(&self) -> bool {
        self.control(libc::F_GETLEASE, 0) != libc::F_WRLCK
    }

    fn release(self) {
        assert_eq!(self.control(libc::F_SETLEASE, libc::F_UNLCK), 0);
    }

    fn control(&self, command: i32, argument: i32) -> i32 {
        let file: RawFd = self.0.as_raw_fd();
        // SAFETY: these commands take a number, and the descriptor is open.
        unsafe { libc::fcntl(file, command, argument) }
    }
}

/// An open waits for the lease, as long as it takes; the other files do not wait.
#[test]
fn a_lease_is_waited_for() {
    for_each_engine(|engine| {
        let corpus = Corpus::new(2000);
        let healthy = Healthy::of(&corpus, corpus.dir());
        let leased = corpus.scratch.file("leased", "content");
        let leased = leased.to_str().expect("UTF-8").to_owned();
        let paths = healthy.list_with(std::slice::from_ref(&leased));
        let lease = Lease::take(&leased);
        let start = Instant::now();
        let mut mill = rows_of(engine, &paths).arg("--unordered").start();
        (0..healthy.paths().count()).for_each(|_| drop(mill.read_line()));
        eventually("it is asked for", Duration::from_secs(10), || {
            lease.is_asked_for()
        });
        sleep(Duration::from_secs(4).saturating_sub(start.elapsed()));
        assert!(!mill.has_ended());
        lease.release();
        let output = mill.finish().exits(0);
        let rows = healthy.rows_of_others(&paths, &output);
        let digest = peers::digest("sha256", b"content");
        assert_eq!(rows[0].digest(), digest);
    });
}
