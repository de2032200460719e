//! Guesses whether looking up a path would block.
//!
//! There is no call that reads a path's metadata only if they are cached, and handing each look-up
//! to a worker thread costs several times what it takes on a warm cache. So the loop does it itself
//! where that is likely not to block: in a directory on a file system that only ever blocks for its
//! own disk, while such calls have lately been quick.

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
}

impl Residency {
    pub(crate) fn new() -> Self {
        Self {
            directories: Box::new([0; DIRECTORIES]),
            credit: Credit::new(),
        }
    }

    /// True if look-ups on the loop have lately been quick, or it is time for another try.
    pub(crate) fn trusts_look_ups(&mut self) -> bool {
        self.credit.try_it()
    }

    /// True if the path's directory is known to be on a local file system.
    pub(crate) fn knows(&self, path: &[u8]) -> bool {
        let hash = hash_directory(path);
        self.directories[place(hash)] == hash
    }

    /// Remembers what kind of file system the path's directory is on.
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
fn hash_directory(path: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(directory_of(path))
}

/// The path of the directory in which the path's last part is looked up.
pub(crate) fn directory_of(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(b".", |slash| &path[..=slash])
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
        assert!(!residency.knows(b"a/b"));
        residency.learn(b"a/b", FileSystem::Nowait);
        assert!(residency.knows(b"a/c"));
        assert!(!residency.knows(b"b/c"));
        residency.learn(b"a/d", FileSystem::Blocking);
        assert!(!residency.knows(b"a/c"));
    }

    #[test]
    fn slow_look_ups_end_the_trust_in_others() {
        let mut residency = Residency::new();
        residency.learn(b"a/b", FileSystem::Nowait);
        for _ in 0..10 {
            residency.took(Duration::from_millis(1));
        }
        assert!(!residency.trusts_look_ups());
    }
}
