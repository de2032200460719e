//! Look-ups and opens on a worker, with as few requests to a server as possible.
//!
//! A path is looked up before it is opened. Where the kernel does not cache names (FUSE with a
//! timeout of 0), the open asks the server for the name once more. Where this is detected, the
//! look-up opens the path with O_PATH, and the open goes through that descriptor. This saves one
//! request, and opens what was looked up, even if the path leads elsewhere by then. Elsewhere it is
//! slower: two more calls, and a path through /proc.

use super::calls;
use super::path_cache::PathCache;
use super::probe::AdaptiveProbe;
use crate::error::Errno;
use crate::item::Item;
use rustix::fs::Statx;
use std::os::fd::{AsFd, OwnedFd};

/// The directory with a link for each descriptor of the thread.
const FD_LINKS: &[u8] = b"/proc/thread-self/fd";

pub(super) struct LookUps {
    path_cache: PathCache,
    /// Whether the kernel still has a name cached just after its look-up.
    names_stay_cached: AdaptiveProbe,
    /// The opened directory [`FD_LINKS`]. `None` before it is needed, and where there is no room
    /// for two descriptors more than an item's own, or no /proc.
    fd_links: Option<OwnedFd>,
    may_hold: bool,
    held: Option<Held>,
}

/// What a look-up found, opened with O_PATH.
struct Held {
    path: Item,
    descriptor: OwnedFd,
}

impl LookUps {
    /// `may_hold` says that there is room for two descriptors more than an item's own.
    pub(super) fn new(may_hold: bool) -> Self {
        Self {
            path_cache: PathCache::new(None),
            names_stay_cached: AdaptiveProbe::new(),
            fd_links: None,
            may_hold,
            held: None,
        }
    }

    /// Metadata of what the path leads to.
    pub(super) fn stat(&mut self, path: &Item) -> Result<Statx, Errno> {
        self.held = None;
        self.path_cache.enter(path.bytes());
        let (directory, name) = self.path_cache.start_of(path);
        if !self.may_hold || self.names_stay_cached.is_due() {
            return calls::stat_path(directory, name);
        }
        let descriptor = match calls::open_o_path(directory, name) {
            Err(errno) if errno.is_descriptor_exhaustion() => {
                return calls::stat_path(directory, name);
            }
            held => held?,
        };
        let statx = calls::stat_descriptor(descriptor.as_fd())?;
        let path = path.clone();
        self.held = Some(Held { path, descriptor });
        Ok(statx)
    }

    /// Opens what the look-up found, or what the path leads to now. Waits for a FIFO's writer if
    /// `wait` is set, and always until a lease is released.
    pub(super) fn open(&mut self, path: &Item, wait: bool) -> Result<OwnedFd, Errno> {
        match self.try_open(path, wait) {
            Err(errno) if errno.raw() == libc::EAGAIN && !wait => {
                self.open_leased(path).unwrap_or(Err(errno))
            }
            Err(errno) if errno.is_descriptor_exhaustion() && self.path_cache.leave() => {
                // The current directory, kept open only for speed, took the descriptor that was
                // needed.
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
            self.names_stay_cached.record(true);
            return Ok(descriptor);
        }
        let descriptor = calls::open(directory, name, wait)?;
        self.names_stay_cached.record(false);
        Ok(descriptor)
    }

    /// `None` if the file has to be opened by its path: there is no room for a second descriptor,
    /// or the server no longer knows the file, and the path may lead to its successor.
    fn open_held(&mut self, held: &Held, wait: bool) -> Option<Result<OwnedFd, Errno>> {
        if self.fd_links.is_none() {
            self.fd_links = calls::open_path(FD_LINKS).ok();
            self.may_hold = self.fd_links.is_some();
        }
        let fd_links = self.fd_links.as_ref()?.as_fd();
        match calls::reopen(fd_links, held.descriptor.as_fd(), wait) {
            Err(errno) if errno.is_descriptor_exhaustion() || errno.raw() == libc::ESTALE => None,
            opened => Some(opened),
        }
    }

    /// Opens a regular file that another process holds a lease on (fcntl(2), "Leases"). This waits
    /// until the lease is released, or until the kernel breaks it after a timeout. If something
    /// else has replaced the file meanwhile, that is not opened: the open of a FIFO could wait for
    /// ever. `None` if it cannot be done.
    fn open_leased(&mut self, path: &Item) -> Option<Result<OwnedFd, Errno>> {
        let (directory, name) = self.path_cache.start_of(path);
        let held = calls::open_o_path(directory, name).ok()?;
        if !calls::is_regular(&calls::stat_descriptor(held.as_fd()).ok()?) {
            return None;
        }
        let fd_links = calls::open_path(FD_LINKS).ok()?;
        Some(calls::reopen(fd_links.as_fd(), held.as_fd(), true))
    }

    /// See [`Carrier::leave_directory`](super::Carrier::leave_directory).
    pub(super) fn leave_directory(&mut self) {
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

    /// A directory with two files, `old` and `new`, and the item of `old`.
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
        while look_ups.names_stay_cached.is_due() {
            look_ups.names_stay_cached.record(false);
        }
        look_ups
    }

    #[test]
    fn where_names_are_not_cached_what_was_looked_up_is_opened() {
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
    fn where_names_are_cached_the_path_is_opened() {
        let (_directory, old) = two_files();
        let mut look_ups = LookUps::new(true);
        for _ in 0..100 {
            look_ups.stat(&old).unwrap();
            assert!(look_ups.held.is_none());
            look_ups.open(&old, false).unwrap();
        }
        assert!(look_ups.names_stay_cached.is_due());
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
        look_ups.leave_directory();
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
