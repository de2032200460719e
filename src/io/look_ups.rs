//! Look-ups and opens of a worker, with as few questions to a server as they take.
//!
//! A path is looked up before it is opened, and where the kernel keeps no names (FUSE with a timeout
//! of 0), the open asks the server for the name once more. So where that is found to be the case, what
//! the look-up finds is held by a descriptor that is not open for reading, and the open goes through
//! that: one question fewer, and what is opened is what was looked at, whatever the path has come to
//! name. Elsewhere that is slower: two calls more, and a way through /proc.

use super::calls;
use super::path_cache::PathCache;
use super::probe::AdaptiveProbe;
use crate::error::Errno;
use crate::item::Item;
use rustix::fs::Statx;
use std::os::fd::{AsFd, OwnedFd};

/// A thread's descriptors as links.
const LINKS: &[u8] = b"/proc/thread-self/fd";

pub(super) struct LookUps {
    path_cache: PathCache,
    /// Whether the kernel still knows a name when it has just been looked up.
    names_last: AdaptiveProbe,
    /// The thread's descriptors as links. `None` before it is needed, and where there is no room for
    /// two descriptors more than an item's own, or no /proc.
    links: Option<OwnedFd>,
    may_hold: bool,
    held: Option<Held>,
}

/// What a path was found to lead to.
struct Held {
    path: Item,
    descriptor: OwnedFd,
}

impl LookUps {
    /// `may_hold` says that there is room for two descriptors more than an item's own.
    pub(super) fn new(may_hold: bool) -> Self {
        Self {
            path_cache: PathCache::new(None),
            names_last: AdaptiveProbe::new(),
            links: None,
            may_hold,
            held: None,
        }
    }

    /// Metadata of what the path leads to.
    pub(super) fn stat(&mut self, path: &Item) -> Result<Statx, Errno> {
        self.held = None;
        self.path_cache.enter(path.bytes());
        let (directory, name) = self.path_cache.start_of(path);
        if !self.may_hold || self.names_last.is_due() {
            return calls::stat_path(directory, name);
        }
        let descriptor = match calls::hold(directory, name) {
            Err(errno) if errno.is_descriptor_shortage() => {
                return calls::stat_path(directory, name);
            }
            held => held?,
        };
        let statx = calls::stat_held(descriptor.as_fd())?;
        let path = path.clone();
        self.held = Some(Held { path, descriptor });
        Ok(statx)
    }

    /// Opens what the path was found to lead to, or leads to now. Waits for a FIFO's writer if `wait` is
    /// set, and always for the end of a lease.
    pub(super) fn open(&mut self, path: &Item, wait: bool) -> Result<OwnedFd, Errno> {
        match self.try_open(path, wait) {
            Err(errno) if errno.raw() == libc::EAGAIN && !wait => {
                self.open_leased(path).unwrap_or(Err(errno))
            }
            Err(errno) if errno.is_descriptor_shortage() && self.path_cache.leave() => {
                // What was taken to be quicker is what was lacking.
                self.try_open(path, wait)
            }
            opened => opened,
        }
    }

    fn try_open(&mut self, path: &Item, wait: bool) -> Result<OwnedFd, Errno> {
        if let Some(held) = self.held.take()
            && held.path.bytes() == path.bytes()
            && let Some(opened) = self.open_held(&held, wait)
        {
            return opened;
        }
        let (directory, name) = self.path_cache.start_of(path);
        if !self.may_hold || wait {
            return calls::open(directory, name, wait);
        }
        if let Some(descriptor) = calls::open_cached(directory, name) {
            self.names_last.record(true);
            return Ok(descriptor);
        }
        let descriptor = calls::open(directory, name, wait)?;
        self.names_last.record(false);
        Ok(descriptor)
    }

    /// `None` if it has to be opened by its path: there is no room for a second descriptor, or the
    /// server no longer knows the file, and the path may lead to its successor.
    fn open_held(&mut self, held: &Held, wait: bool) -> Option<Result<OwnedFd, Errno>> {
        if self.links.is_none() {
            self.links = calls::open_path(LINKS).ok();
            self.may_hold = self.links.is_some();
        }
        let links = self.links.as_ref()?.as_fd();
        match calls::open_held(links, held.descriptor.as_fd(), wait) {
            Err(errno) if errno.is_descriptor_shortage() || errno.raw() == libc::ESTALE => None,
            opened => Some(opened),
        }
    }

    /// Opens a regular file that another process holds a lease on (fcntl(2), "Leases"), which takes until
    /// that lets go of it, or for as long as the kernel leaves it the time. Whatever has taken the path
    /// meanwhile, nothing else is opened: a FIFO could be waited for without end. `None` if it cannot be
    /// done.
    fn open_leased(&mut self, path: &Item) -> Option<Result<OwnedFd, Errno>> {
        let (directory, name) = self.path_cache.start_of(path);
        let held = calls::hold(directory, name).ok()?;
        if !calls::is_regular(&calls::stat_held(held.as_fd()).ok()?) {
            return None;
        }
        let links = calls::open_path(LINKS).ok()?;
        Some(calls::open_held(links.as_fd(), held.as_fd(), true))
    }

    /// See [`Carrier::forget_names`](super::Carrier::forget_names).
    pub(super) fn forget_names(&mut self) {
        self.path_cache.leave();
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Batch;
    use std::fs::{self, File};
    use std::io::Read;
    use std::sync::Arc;

    /// Two files, `old` and `new`, the item of the former, and its path.
    fn two_files() -> (tempfile::TempDir, Item) {
        let directory = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let path = directory.path().join("old");
        let batch = Batch::from_iter([path.to_str().unwrap()]);
        (directory, Item::new(Arc::new(batch), 0))
    }

    fn content(descriptor: OwnedFd) -> String {
        let mut content = String::new();
        File::from(descriptor).read_to_string(&mut content).unwrap();
        content
    }

    fn forgetful(may_hold: bool) -> LookUps {
        let mut look_ups = LookUps::new(may_hold);
        while look_ups.names_last.is_due() {
            look_ups.names_last.record(false);
        }
        look_ups
    }

    #[test]
    fn where_names_do_not_last_what_was_looked_at_is_opened() {
        let (directory, old) = two_files();
        let mut look_ups = forgetful(true);
        let before = look_ups.stat(&old).unwrap();
        let path = |name| directory.path().join(name);
        fs::rename(path("new"), path("old")).unwrap();
        let opened = look_ups.open(&old, false).unwrap();
        assert_eq!(rustix::fs::fstat(&opened).unwrap().st_ino, before.stx_ino);
        assert_eq!(content(opened), "old");
        assert_eq!(content(look_ups.open(&old, false).unwrap()), "new");
    }

    #[test]
    fn where_names_last_the_path_is_opened() {
        let (_directory, old) = two_files();
        let mut look_ups = LookUps::new(true);
        for _ in 0..100 {
            look_ups.stat(&old).unwrap();
            assert!(look_ups.held.is_none());
            look_ups.open(&old, false).unwrap();
        }
        assert!(look_ups.names_last.is_due());
    }

    #[test]
    fn nothing_is_held_without_room_for_it_or_when_names_are_forgotten() {
        let (_directory, old) = two_files();
        let mut look_ups = forgetful(false);
        look_ups.stat(&old).unwrap();
        assert!(look_ups.held.is_none());
        let mut look_ups = forgetful(true);
        look_ups.stat(&old).unwrap();
        assert!(look_ups.held.is_some());
        look_ups.forget_names();
        assert!(look_ups.held.is_none());
    }

    #[test]
    fn another_item_does_not_get_what_is_held() {
        let (directory, old) = two_files();
        let new = directory.path().join("new");
        let new = Batch::from_iter([new.to_str().unwrap()]);
        let new = Item::new(Arc::new(new), 0);
        let mut look_ups = forgetful(true);
        look_ups.stat(&old).unwrap();
        assert_eq!(content(look_ups.open(&new, false).unwrap()), "new");
    }
}
