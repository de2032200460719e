//! Guesses whether looking up a path would block.
//!
//! There is no call that reads a path's metadata only if they are cached, and handing each look-up
//! to a worker thread costs several times what it takes on a warm cache. So the loop does it itself
//! where that is likely not to block: in a directory on a file system that only ever blocks for its
//! own disk, while such calls have lately been quick.

use super::calls;
use super::mounts::{FileSystem, Mounts};
use super::probe::AdaptiveProbe;
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

/// What is known of where a path's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a file system that only ever blocks for its own disk.
    Local,
    /// Where any call may block.
    Blocking,
    /// Not known, and it cannot be found out without blocking.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct PathCache {
    /// Hashes of directories, each in the place its hash names, with their place in the lowest bit.
    directories: Box<[u64; DIRECTORIES]>,
    /// The hash of the directory of the path looked up last.
    last: u64,
    /// The hash of a directory that was taken to be on the file system of one above it. What it is on
    /// is known when something in it has been looked up.
    presumed: Option<u64>,
    /// The directory in which paths are being looked up one after another. From there, the way to
    /// each is shorter.
    current: Option<Directory>,
    /// Of look-ups on the loop: they are made while they are quick.
    probe: AdaptiveProbe,
    /// Look-ups since the last one that was timed.
    untimed: u32,
}

#[derive(Debug)]
struct Directory {
    path: Vec<u8>,
    descriptor: OwnedFd,
}

impl PathCache {
    pub(crate) fn new() -> Self {
        Self {
            directories: Box::new([0; DIRECTORIES]),
            last: 0,
            presumed: None,
            current: None,
            probe: AdaptiveProbe::new(),
            untimed: UNTIMED_MAX,
        }
    }

    /// True if look-ups on the loop have lately been quick, or it is time for another try.
    pub(crate) fn is_trusted(&mut self) -> bool {
        self.probe.is_due()
    }

    /// Where the path's directory is, as far as that is known or found at once.
    pub(crate) fn place_of(&mut self, path: &[u8], mounts: &mut Mounts) -> Place {
        let directory = directory_of(path);
        if self.current_for(directory).is_some() {
            return Place::Local;
        }
        let directory = directory.unwrap_or(b".");
        let hash = hash_of(directory);
        if self.presumed == Some(hash) {
            return Place::Blocking;
        }
        let known = self.known(hash);
        let is_repeated = std::mem::replace(&mut self.last, hash) == hash;
        match known {
            Place::Blocking => return known,
            Place::Local if !is_repeated => return known,
            _ => {}
        }
        let Some((descriptor, statx)) = calls::open_path_cached(directory) else {
            if known == Place::Unknown && blocks_above(directory, mounts) {
                self.presumed = Some(hash);
                return Place::Blocking;
            }
            return known;
        };
        if mounts.file_system_of(&statx) == FileSystem::Blocking {
            self.directories[slot_of(hash)] = hash | 1;
            return Place::Blocking;
        }
        self.directories[slot_of(hash)] = hash & !1;
        let path = directory.to_vec();
        self.current = Some(Directory { path, descriptor });
        Place::Local
    }

    /// Remembers that the path's directory is where any call may block.
    pub(crate) fn blocks(&mut self, path: &[u8]) {
        let hash = hash_of(directory_of(path).unwrap_or(b"."));
        self.directories[slot_of(hash)] = hash | 1;
    }

    /// Opens the path's directory, for the paths that follow, if the one before was in it, too. This
    /// may block.
    pub(crate) fn enter(&mut self, path: &[u8]) {
        let Some(directory) = directory_of(path) else {
            return;
        };
        if self.current_for(Some(directory)).is_some() {
            return;
        }
        let hash = hash_of(directory);
        if std::mem::replace(&mut self.last, hash) == hash
            && let Ok(descriptor) = calls::open_path(directory)
        {
            let path = directory.to_vec();
            self.current = Some(Directory { path, descriptor });
        }
    }

    fn known(&self, hash: u64) -> Place {
        let known = self.directories[slot_of(hash)];
        match (known ^ hash) >> 1 {
            0 if known & 1 == 1 => Place::Blocking,
            0 => Place::Local,
            _ => Place::Unknown,
        }
    }

    /// Where a look-up of the item's path begins, and what is looked up from there.
    pub(crate) fn start_of<'a>(&'a self, item: &'a Item) -> (BorrowedFd<'a>, &'a CStr) {
        match self.current_for(directory_of(item.bytes())) {
            Some(current) => {
                let name = calls::path_from(item, current.path.len());
                (current.descriptor.as_fd(), name)
            }
            None => (CWD, calls::path(item)),
        }
    }

    fn current_for(&self, directory: Option<&[u8]>) -> Option<&Directory> {
        let current = self.current.as_ref()?;
        (current.path == directory?).then_some(current)
    }

    /// Leaves the current directory. Its path may come to name another.
    pub(crate) fn leave(&mut self) {
        self.current = None;
        self.presumed = None;
    }

    /// Starts to time a look-up on the loop, unless this one is not to be timed.
    pub(crate) fn start_timing(&mut self) -> Option<Instant> {
        if self.probe.is_full() && self.untimed < UNTIMED_MAX {
            self.untimed += 1;
            return None;
        }
        self.untimed = 0;
        Some(Instant::now())
    }

    /// Remembers how long a timed look-up on the loop took.
    pub(crate) fn took(&mut self, elapsed: Duration) {
        self.probe.record(elapsed <= QUICK);
    }
}

/// The part of the path that names the directory in which the rest is looked up.
fn directory_of(path: &[u8]) -> Option<&[u8]> {
    let slash = memchr::memrchr(b'/', path)?;
    (slash + 1 < path.len()).then(|| &path[..=slash])
}

/// True if the first directory above that is cached lies where any call may block: what is below it is
/// then most likely on the same file system.
fn blocks_above(directory: &[u8], mounts: &mut Mounts) -> bool {
    let above = std::iter::successors(parent_of(directory), |path| parent_of(path));
    let mut cached = above.filter_map(calls::open_path_cached);
    let found = cached.next();
    found.is_some_and(|(_, statx)| mounts.file_system_of(&statx) == FileSystem::Blocking)
}

/// The directory that a directory's path, which ends with a slash, goes through last.
fn parent_of(directory: &[u8]) -> Option<&[u8]> {
    let path = directory.strip_suffix(b"/")?;
    match memchr::memrchr(b'/', path) {
        Some(slash) => Some(&path[..=slash]),
        None if path.is_empty() => None,
        None => Some(b"."),
    }
}

fn hash_of(directory: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(directory)
}

#[allow(clippy::cast_possible_truncation)]
fn slot_of(hash: u64) -> usize {
    (hash >> 1) as usize % DIRECTORIES
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
        let (mut path_cache, mut mounts) = (PathCache::new(), Mounts::default());
        let mut place = |path| path_cache.place_of(path, &mut mounts);
        assert_eq!(place(b"src/lib.rs"), Place::Local);
        assert_eq!(place(b"Cargo.toml"), Place::Local);
        assert_eq!(place(b"/proc/self/comm"), Place::Blocking);
        assert_eq!(place(b"/proc/self/stat"), Place::Blocking);
        assert_eq!(place(b"no-such-directory/x"), Place::Unknown);
        assert_eq!(place(b"/proc/no-such-directory/a/x"), Place::Blocking);
    }

    #[test]
    fn what_lies_above_is_asked_once_until_names_are_forgotten() {
        let (mut path_cache, mut mounts) = (PathCache::new(), Mounts::default());
        let path = b"/proc/no-such-directory/x";
        assert_eq!(path_cache.place_of(path, &mut mounts), Place::Blocking);
        assert!(path_cache.presumed.is_some());
        assert_eq!(path_cache.place_of(path, &mut mounts), Place::Blocking);
        path_cache.leave();
        assert!(path_cache.presumed.is_none());
    }

    #[test]
    fn directories_have_parents_up_to_the_root_or_the_working_directory() {
        assert_eq!(parent_of(b"/a//b/"), Some(&b"/a//"[..]));
        assert_eq!(parent_of(b"/a/"), Some(&b"/"[..]));
        assert_eq!(parent_of(b"/"), None);
        assert_eq!(parent_of(b"a/"), Some(&b"."[..]));
        assert_eq!(parent_of(b"."), None);
    }

    #[test]
    fn what_is_in_the_current_directory_is_looked_up_from_there() {
        let (mut path_cache, mut mounts) = (PathCache::new(), Mounts::default());
        let (file, elsewhere) = (item("src/lib.rs"), item("srclib.rs"));
        path_cache.place_of(file.bytes(), &mut mounts);
        assert_eq!(path_cache.start_of(&file).1, c"lib.rs");
        assert_eq!(path_cache.start_of(&elsewhere).1, c"srclib.rs");
        path_cache.leave();
        assert_eq!(path_cache.start_of(&file).1, c"src/lib.rs");
    }

    #[test]
    fn names_without_a_directory_are_left_whole() {
        let (mut path_cache, mut mounts) = (PathCache::new(), Mounts::default());
        for name in ["Cargo.toml", ".gitignore", ".", "src/", "/"] {
            let item = item(name);
            path_cache.place_of(item.bytes(), &mut mounts);
            path_cache.place_of(item.bytes(), &mut mounts);
            assert_eq!(path_cache.start_of(&item).1.to_bytes(), name.as_bytes());
        }
    }

    #[test]
    fn the_first_look_up_is_timed_and_all_after_a_slow_one() {
        let mut path_cache = PathCache::new();
        assert!(path_cache.start_timing().is_some());
        path_cache.took(Duration::ZERO);
        let timed = (0..80).filter(|_| path_cache.start_timing().is_some());
        assert_eq!(timed.count(), 10);
        path_cache.took(Duration::from_millis(1));
        let timed = (0..80).filter(|_| path_cache.start_timing().is_some());
        assert_eq!(timed.count(), 80);
    }

    #[test]
    fn slow_look_ups_end_the_trust_in_others() {
        let mut path_cache = PathCache::new();
        for _ in 0..10 {
            path_cache.took(Duration::from_millis(1));
        }
        assert!(!path_cache.is_trusted());
    }
}
