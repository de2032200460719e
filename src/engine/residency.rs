//! Guesses whether looking up a path would block.
//!
//! There is no call that reads a path's metadata only if they are cached, and handing each look-up
//! to a worker thread costs several times what it takes on a warm cache. So the loop does it itself
//! where that is likely not to block: in a directory on a file system that only ever blocks for its
//! own disk, while such calls have lately been quick.

use super::credit::Credit;
use super::direct;
use super::mounts::{FileSystem, Mounts};
use crate::item::Item;
use rustix::fs::CWD;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A look-up that took longer than this went to the disk, or was unlucky.
const QUICK: Duration = Duration::from_micros(40);

/// While all timed ones are quick, so many are not timed: reading the clock twice takes longer than
/// 1 % of all that is done with a small file.
const UNTIMED_MAX: u32 = 7;

const DIRECTORIES: usize = 256;

#[derive(Debug)]
pub(crate) struct Residency {
    /// Hashes of directories on local file systems, each in the place its hash names.
    directories: Box<[u64; DIRECTORIES]>,
    /// The hash of the directory of the path looked up last.
    last: u64,
    /// The directory in which paths are being looked up one after another. From there, the way to
    /// each is shorter.
    current: Option<Directory>,
    /// In look-ups on the loop: trust that they will be quick.
    credit: Credit,
    /// Look-ups since the last one that was timed.
    untimed: u32,
}

#[derive(Debug)]
struct Directory {
    path: Vec<u8>,
    descriptor: OwnedFd,
}

impl Residency {
    pub(crate) fn new() -> Self {
        Self {
            directories: Box::new([0; DIRECTORIES]),
            last: 0,
            current: None,
            credit: Credit::new(),
            untimed: UNTIMED_MAX,
        }
    }

    /// True if look-ups on the loop have lately been quick, or it is time for another try.
    pub(crate) fn trusts_look_ups(&mut self) -> bool {
        self.credit.try_it()
    }

    /// True if the path's directory is known, or found at once, to be on a local file system.
    pub(crate) fn is_local(&mut self, path: &[u8], mounts: &mut Mounts) -> bool {
        let directory = directory_of(path);
        if self.current_for(directory).is_some() {
            return true;
        }
        let directory = directory.unwrap_or(b".");
        let hash = twox_hash::XxHash3_64::oneshot(directory);
        let is_known = self.directories[place(hash)] == hash;
        let is_repeated = std::mem::replace(&mut self.last, hash) == hash;
        if is_known && !is_repeated {
            return true;
        }
        let Some((descriptor, statx)) = direct::open_path_cached(directory) else {
            return is_known;
        };
        let is_local = mounts.file_system_of(&statx) != FileSystem::Blocking;
        self.directories[place(hash)] = if is_local { hash } else { 0 };
        if is_local {
            let path = directory.to_vec();
            self.current = Some(Directory { path, descriptor });
        }
        is_local
    }

    /// Where a look-up of the item's path begins, and what is looked up from there.
    pub(crate) fn start_of<'a>(&'a self, item: &'a Item) -> (BorrowedFd<'a>, &'a CStr) {
        match self.current_for(directory_of(item.bytes())) {
            Some(current) => {
                let name = direct::path_from(item, current.path.len());
                (current.descriptor.as_fd(), name)
            }
            None => (CWD, direct::path(item)),
        }
    }

    fn current_for(&self, directory: Option<&[u8]>) -> Option<&Directory> {
        let current = self.current.as_ref()?;
        (current.path == directory?).then_some(current)
    }

    /// Leaves the current directory. Its path may come to name another.
    pub(crate) fn leave(&mut self) {
        self.current = None;
    }

    /// Starts to time a look-up on the loop, unless this one is not to be timed.
    pub(crate) fn start_timing(&mut self) -> Option<Instant> {
        if self.credit.is_full() && self.untimed < UNTIMED_MAX {
            self.untimed += 1;
            return None;
        }
        self.untimed = 0;
        Some(Instant::now())
    }

    /// Remembers how long a timed look-up on the loop took.
    pub(crate) fn took(&mut self, elapsed: Duration) {
        self.credit.record(elapsed <= QUICK);
    }
}

/// The part of the path that names the directory in which the rest is looked up.
fn directory_of(path: &[u8]) -> Option<&[u8]> {
    let slash = memchr::memrchr(b'/', path)?;
    (slash + 1 < path.len()).then(|| &path[..=slash])
}

#[allow(clippy::cast_possible_truncation)]
fn place(hash: u64) -> usize {
    hash as usize % DIRECTORIES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Batch;
    use std::sync::Arc;

    fn item(path: &str) -> Item {
        Item::new(Arc::new(Batch::from_iter([path])), 0)
    }

    #[test]
    fn only_local_directories_are_looked_up_on_the_loop() {
        let (mut residency, mut mounts) = (Residency::new(), Mounts::default());
        assert!(residency.is_local(b"src/lib.rs", &mut mounts));
        assert!(residency.is_local(b"Cargo.toml", &mut mounts));
        assert!(!residency.is_local(b"/proc/self/comm", &mut mounts));
        assert!(!residency.is_local(b"no-such-directory/x", &mut mounts));
    }

    #[test]
    fn what_is_in_the_current_directory_is_looked_up_from_there() {
        let (mut residency, mut mounts) = (Residency::new(), Mounts::default());
        let (file, elsewhere) = (item("src/lib.rs"), item("srclib.rs"));
        assert!(residency.is_local(file.bytes(), &mut mounts));
        assert_eq!(residency.start_of(&file).1, c"lib.rs");
        assert_eq!(residency.start_of(&elsewhere).1, c"srclib.rs");
        residency.leave();
        assert_eq!(residency.start_of(&file).1, c"src/lib.rs");
    }

    #[test]
    fn names_without_a_directory_are_left_whole() {
        let (mut residency, mut mounts) = (Residency::new(), Mounts::default());
        for name in ["Cargo.toml", ".gitignore", ".", "src/", "/"] {
            let item = item(name);
            assert!(residency.is_local(item.bytes(), &mut mounts));
            assert!(residency.is_local(item.bytes(), &mut mounts));
            assert_eq!(residency.start_of(&item).1.to_bytes(), name.as_bytes());
        }
    }

    #[test]
    fn the_first_look_up_is_timed_and_all_after_a_slow_one() {
        let mut residency = Residency::new();
        assert!(residency.start_timing().is_some());
        residency.took(Duration::ZERO);
        let timed = (0..80).filter(|_| residency.start_timing().is_some());
        assert_eq!(timed.count(), 10);
        residency.took(Duration::from_millis(1));
        let timed = (0..80).filter(|_| residency.start_timing().is_some());
        assert_eq!(timed.count(), 80);
    }

    #[test]
    fn slow_look_ups_end_the_trust_in_others() {
        let mut residency = Residency::new();
        for _ in 0..10 {
            residency.took(Duration::from_millis(1));
        }
        assert!(!residency.trusts_look_ups());
    }
}
