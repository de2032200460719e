//! Which names in a directory are regular files, according to the directory.
//!
//! A file must be known to be regular before it is opened: opening a FIFO wakes its writer. A
//! look-up before each open finds this out, but costs as much as the open. Where many files of one
//! directory follow each other, the directory is listed instead: once for all loops, by a thread
//! that may wait for the device. A listing is valid while the directory's timestamps are those from
//! before it was listed: as long as they are, no name in it leads to another file.

use super::calls;
use super::metadata::Timestamp;
use super::mounts::MountId;
use crate::lock::lock;
use rustix::fs::{FileType, RawDir, Statx};
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum number of listings that are kept.
const LISTINGS_MAX: usize = 8;

/// Maximum number of names in a listing: 512 KiB of hashes.
const NAMES_MAX: usize = 64 * 1024;

/// A directory is listed when this many of its names in a row have been looked up, or a sixteenth
/// of those that it may hold, if that is more. Listing it takes a fiftieth of the time of hashing
/// small files.
const NAMES_ASKED_MIN: u64 = 16;
const BYTES_PER_NAME_ASKED: u64 = 16 * 36;

/// Before Linux 6.13, two changes within a tick of the clock may leave the same timestamp. A
/// directory that was changed less than this long before it was listed may have changed again
/// since.
const TICK: Duration = Duration::from_millis(20);

/// How long the end of a run waits for the thread, which may be stuck.
const GRACE: Duration = Duration::from_millis(100);

/// The listings of a run.
#[derive(Debug)]
pub struct Listings {
    shared: Arc<Shared>,
    /// The thread that makes them, started for the first one.
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    listings: VecDeque<Arc<Listing>>,
    /// The path of the directory to be listed next.
    wanted: Option<Vec<u8>>,
    /// A listing is being made.
    is_busy: bool,
    closed: bool,
}

/// The regular files of a directory.
#[derive(Debug)]
pub(super) struct Listing {
    directory: Directory,
    /// Hashes of their names, in ascending order. Another name with the same hash would be opened
    /// without a look-up before, but a stat of its descriptor still finds out what it is.
    names: Vec<u64>,
}

/// A directory in the state that it had at these times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    mount: MountId,
    inode: u64,
    size_bytes: u64,
    modified: Timestamp,
    changed: Timestamp,
}

impl Directory {
    pub(super) fn of(statx: &Statx) -> Self {
        Self {
            mount: MountId::of(statx),
            inode: statx.stx_ino,
            size_bytes: statx.stx_size,
            modified: calls::timestamp(&statx.stx_mtime),
            changed: calls::timestamp(&statx.stx_ctime),
        }
    }

    fn is(&self, other: &Self) -> bool {
        (self.mount, self.inode) == (other.mount, other.inode)
    }
}

impl Listing {
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.names.binary_search(&hash_of(name)).is_ok()
    }
}

fn hash_of(name: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(name)
}

impl Listings {
    /// No listings yet, and no thread.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::default(),
            thread: Mutex::new(None),
        })
    }

    /// The listing of the directory with this path, of which `asked` names have been looked up one
    /// after another. If there is none, but it would be worth while, one is requested.
    pub(super) fn of(
        &self,
        path: &[u8],
        directory: &Directory,
        asked: u64,
    ) -> Option<Arc<Listing>> {
        let mut state = lock(&self.shared.state);
        let listing = state.listings.iter();
        let listing = listing
            .rev()
            .find(|listing| listing.directory.is(directory));
        if let Some(listing) = listing
            && listing.directory == *directory
        {
            return Some(Arc::clone(listing));
        }
        let is_worth_it = asked >= NAMES_ASKED_MIN.max(directory.size_bytes / BYTES_PER_NAME_ASKED);
        if is_worth_it && state.wanted.is_none() && !state.is_busy {
            state.wanted = Some(path.to_vec());
            drop(state);
            self.shared.changed.notify_all();
            self.start_thread();
        }
        None
    }

    /// Starts the thread, unless it runs. If that fails there are no listings, which is only
    /// slower.
    fn start_thread(&self) {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let builder = thread::Builder::new().name("ringmill-list".to_owned());
            *thread = builder.spawn(move || shared.work()).ok();
        }
    }
}

impl Drop for Listings {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.closed = true;
        self.shared.changed.notify_all();
        let is_busy = |state: &mut State| state.is_busy;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, GRACE, is_busy);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_stuck = state.is_busy;
        drop(state);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread.filter(|_| !is_stuck) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut state = lock(&self.state);
        while !state.closed {
            let Some(path) = state.wanted.take() else {
                let changed = self.changed.wait(state);
                state = changed.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.is_busy = true;
            drop(state);
            let listing = list(&path, buffer.spare_capacity_mut());
            state = lock(&self.state);
            state.is_busy = false;
            if let Some(listing) = listing {
                let is_older = |old: &Arc<Listing>| old.directory.is(&listing.directory);
                state.listings.retain(|old| !is_older(old));
                if state.listings.len() == LISTINGS_MAX {
                    state.listings.pop_front();
                }
                state.listings.push_back(Arc::new(listing));
            }
            self.changed.notify_all();
        }
    }
}

/// Lists a directory. May block. `None` if that fails or the result would not be reliable. If there
/// are too many names, the listing has none.
fn list(path: &[u8], buffer: &mut [MaybeUninit<u8>]) -> Option<Listing> {
    let open = calls::open_directory(path).ok()?;
    let before = calls::stat_descriptor(open.as_fd()).ok()?;
    let began_at = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let mut names = Vec::new();
    let mut entries = RawDir::new(&open, buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.ok()?;
        if entry.file_type() == FileType::RegularFile {
            names.push(hash_of(entry.file_name().to_bytes()));
        }
        if names.len() > NAMES_MAX {
            names.clear();
            break;
        }
    }
    let after = calls::stat_descriptor(open.as_fd()).ok()?;
    let directory = Directory::of(&before);
    let is_settled = |at: Timestamp| {
        let seconds = u64::try_from(at.seconds).unwrap_or(0);
        Duration::new(seconds, at.nanoseconds) + TICK < began_at
    };
    let is_settled = is_settled(directory.modified) && is_settled(directory.changed);
    if directory != Directory::of(&after) || !is_settled {
        return None;
    }
    names.sort_unstable();
    Some(Listing { directory, names })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// Asks until there is a listing.
    fn listing_of(listings: &Listings, path: &Path) -> Arc<Listing> {
        let path = path.to_str().unwrap().as_bytes();
        loop {
            let (_, statx) = calls::open_path_cached(path).expect("it is in use");
            let directory = Directory::of(&statx);
            if let Some(listing) = listings.of(path, &directory, 1000) {
                return listing;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn only_regular_files_are_listed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        fs::write(path("file"), "").unwrap();
        fs::create_dir(path("directory")).unwrap();
        symlink("file", path("link")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), fifo, 0o600.into(), 0).unwrap();
        let listings = Listings::new();
        let listing = listing_of(&listings, directory.path());
        assert!(listing.has(b"file"));
        for name in [&b"directory"[..], b"link", b"fifo", b"other", b".", b".."] {
            assert!(!listing.has(name), "{name:?}");
        }
    }

    #[test]
    fn a_directory_that_has_changed_is_listed_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, "").unwrap();
        let listings = Listings::new();
        assert!(listing_of(&listings, directory.path()).has(b"a"));
        fs::rename(&path, directory.path().join("b")).unwrap();
        let listing = listing_of(&listings, directory.path());
        assert!(listing.has(b"b") && !listing.has(b"a"));
    }

    #[test]
    fn a_directory_with_few_look_ups_is_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().as_bytes();
        let (_, statx) = calls::open_path_cached(path).unwrap();
        let listings = Listings::new();
        let directory = Directory::of(&statx);
        assert!(listings.of(path, &directory, NAMES_ASKED_MIN - 1).is_none());
        assert!(lock(&listings.thread).is_none());
    }
}
