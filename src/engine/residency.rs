//! Guesses whether looking up a path would block.
//!
//! There is no call that reads a path's metadata only if it is cached, and handing each look-up to
//! a worker thread costs several times what it takes on a warm cache. So the loop does it itself
//! where that is likely not to block: on a file system that only ever blocks for its own disk, in
//! a directory some worker has already been to, while such calls have lately been quick.

use super::credit::Credit;
use super::mounts::FileSystem;
use std::time::Duration;

/// A look-up that took longer than this went to the disk, or was unlucky.
const QUICK: Duration = Duration::from_micros(40);

const DIRECTORIES: usize = 256;

#[derive(Debug)]
pub(crate) struct Residency {
    /// Hashes of directories on local file systems, each in the place its hash names.
    directories: Box<[u64; DIRECTORIES]>,
    /// In look-ups on the loop: trust that they will be quick.
    credit: Credit,
    /// Directories a worker has been asked about and has not answered.
    asked: Vec<u64>,
}

impl Residency {
    pub(crate) fn new() -> Self {
        Self {
            directories: Box::new([0; DIRECTORIES]),
            credit: Credit::new(),
            asked: Vec::new(),
        }
    }

    /// True if the look-up of this path may be done on the loop.
    pub(crate) fn is_likely(&mut self, path: &[u8]) -> bool {
        let hash = hash_directory(path);
        self.credit.try_it() && self.directories[place(hash)] == hash
    }

    /// Says that a worker is being asked about this path. False if one has been asked about its
    /// directory already and has not answered: its answer is worth waiting for, because it saves
    /// asking about all the others in that directory.
    pub(crate) fn may_ask(&mut self, path: &[u8]) -> bool {
        let hash = hash_directory(path);
        if !self.credit.is_good() || self.directories[place(hash)] == hash {
            return true;
        }
        let is_new = !self.asked.contains(&hash);
        if is_new {
            self.asked.push(hash);
        }
        is_new
    }

    /// Says that a worker has answered; true if others may have waited for that.
    pub(crate) fn answered(&mut self, path: &[u8]) -> bool {
        let hash = hash_directory(path);
        let before = self.asked.len();
        self.asked.retain(|&asked| asked != hash);
        self.asked.len() < before
    }

    /// Remembers what kind of file system a worker's look-up has found.
    pub(crate) fn learn(&mut self, path: &[u8], file_system: FileSystem) {
        let hash = hash_directory(path);
        self.directories[place(hash)] = if file_system == FileSystem::Blocking {
            0
        } else {
            hash
        };
    }

    /// Remembers how long a look-up on the loop took.
    pub(crate) fn took(&mut self, elapsed: Duration) {
        self.credit.record(elapsed <= QUICK);
    }
}

/// What stands for a path's directory. Two that share it are at worst looked up in the wrong place.
pub(crate) fn hash_directory(path: &[u8]) -> u64 {
    let directory = memchr::memrchr(b'/', path).map_or(&path[..0], |slash| &path[..slash]);
    twox_hash::XxHash3_64::oneshot(directory)
}

#[allow(clippy::cast_possible_truncation)]
fn place(hash: u64) -> usize {
    hash as usize % DIRECTORIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_local_directories_are_looked_up_on_the_loop() {
        let mut residency = Residency::new();
        assert!(!residency.is_likely(b"a/b"));
        residency.learn(b"a/b", FileSystem::Nowait);
        assert!(residency.is_likely(b"a/c"));
        assert!(!residency.is_likely(b"b/c"));
        residency.learn(b"a/d", FileSystem::Blocking);
        assert!(!residency.is_likely(b"a/c"));
    }

    #[test]
    fn slow_look_ups_end_the_trust_in_others() {
        let mut residency = Residency::new();
        residency.learn(b"a/b", FileSystem::Nowait);
        for _ in 0..10 {
            residency.took(Duration::from_millis(1));
        }
        assert!(!residency.is_likely(b"a/x"));
    }

    #[test]
    fn one_worker_is_asked_about_a_new_directory() {
        let mut residency = Residency::new();
        assert!(residency.may_ask(b"a/b"));
        assert!(!residency.may_ask(b"a/c"));
        assert!(residency.may_ask(b"b/c"));
        assert!(residency.answered(b"a/b"));
        assert!(!residency.answered(b"a/c"));
        assert!(residency.may_ask(b"a/c"));
    }
}
