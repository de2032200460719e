//! Remembers in which directories any call may block, and keeps the current directory open.
//!
//! A loop must not look a path up where it may have to wait for a server, and among the workers the
//! items of one file system must not delay those of another. So both need to know where a path's
//! directory is, as far as that is known or cached. Nothing here waits for a device or a server,
//! except [`PathCache::enter`], which is for workers.

use super::calls;
use super::listings::{self, Listing, Listings};
use super::mounts::{FileSystem, MountId, Mounts};
use super::open_file::OpenFile;
use crate::item::Item;
use rustix::fs::CWD;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

const DIRECTORIES: usize = 256;

/// A directory's listing is requested again after this many paths.
const LISTING_INTERVAL: u64 = 16;

/// What is known of the file system of a path's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locality {
    /// Calls block only for the file system's own disk.
    Local,
    /// Any call may block.
    Blocking,
    /// Not known, and it cannot be found out without blocking.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct PathCache {
    /// Each at the position that its hash selects.
    directories: Box<[Known; DIRECTORIES]>,
    /// The hash of the directory of the path looked up last.
    last: u64,
    /// Paths looked up in that directory one after another.
    asked: u64,
    /// The listings of directories; `None` where they are not used.
    listings: Option<Arc<Listings>>,
    /// A directory that is not cached, with the mount of its nearest cached ancestor. Its own mount
    /// is known when something in it has been looked up.
    presumed: Option<Known>,
    /// The directory in which paths are being looked up one after another, kept open, because a
    /// look-up that starts there is shorter.
    current: Option<Directory>,
}

/// A directory by the hash of its path.
#[derive(Clone, Copy, Debug)]
struct Known {
    hash: u64,
    locality: Locality,
    mount: MountId,
}

impl Known {
    fn nothing_of(hash: u64) -> Self {
        Self {
            hash,
            locality: Locality::Unknown,
            mount: MountId::default(),
        }
    }
}

#[derive(Debug)]
struct Directory {
    path: Vec<u8>,
    descriptor: OwnedFd,
    mount: MountId,
    file_system: FileSystem,
    /// Its state when it was opened; `None` where it is not to be listed.
    identity: Option<listings::Directory>,
    listing: Option<Arc<Listing>>,
}

impl PathCache {
    pub(crate) fn new(listings: Option<Arc<Listings>>) -> Self {
        Self {
            directories: Box::new([Known::nothing_of(0); DIRECTORIES]),
            last: 0,
            asked: 0,
            listings,
            presumed: None,
            current: None,
        }
    }

    /// The locality of the path's directory, as far as that is known or found without waiting.
    pub(crate) fn locality_of(&mut self, path: &[u8], mounts: &mut Mounts) -> Locality {
        let directory = directory_of(path);
        self.asked += 1;
        if self.current_for(directory).is_some() {
            if self.asked.is_multiple_of(LISTING_INTERVAL) {
                self.request_listing();
            }
            return Locality::Local;
        }
        let directory = directory.unwrap_or(b".");
        let hash = hash_of(directory);
        if let Some(presumed) = self.presumed
            && presumed.hash == hash
        {
            return presumed.locality;
        }
        let known = self.known(hash).locality;
        let is_repeated = std::mem::replace(&mut self.last, hash) == hash;
        if !is_repeated {
            self.asked = 1;
        }
        match known {
            Locality::Blocking => return known,
            Locality::Local if !is_repeated => return known,
            _ => {}
        }
        let Some((descriptor, statx)) = calls::open_path_cached(directory) else {
            return match known {
                Locality::Unknown => self.presume(hash, directory, mounts).locality,
                known => known,
            };
        };
        let mount = MountId::of(&statx);
        let file_system = mounts.file_system_of(&statx);
        if file_system == FileSystem::Blocking {
            self.remember(hash, Locality::Blocking, mount);
            return Locality::Blocking;
        }
        self.remember(hash, Locality::Local, mount);
        self.current = Some(Directory {
            path: directory.to_vec(),
            descriptor,
            mount,
            file_system,
            identity: Some(listings::Directory::of(&statx)),
            listing: None,
        });
        self.request_listing();
        Locality::Local
    }

    /// Presumes the mount of the nearest cached ancestor: a directory is most likely on the same
    /// file system.
    fn presume(&mut self, hash: u64, directory: &[u8], mounts: &mut Mounts) -> Known {
        let above = std::iter::successors(parent_of(directory), |path| parent_of(path));
        let found = above.filter_map(calls::open_path_cached).next();
        let mut presumed = Known::nothing_of(hash);
        if let Some((_, statx)) = found {
            presumed.mount = MountId::of(&statx);
            if mounts.file_system_of(&statx) == FileSystem::Blocking {
                presumed.locality = Locality::Blocking;
            }
        }
        self.presumed = Some(presumed);
        presumed
    }

    /// The mount that the path's directory is on, or most likely is on.
    pub(crate) fn mount_of(&mut self, path: &[u8], mounts: &mut Mounts) -> MountId {
        let directory = directory_of(path);
        if let Some(current) = self.current_for(directory) {
            return current.mount;
        }
        let directory = directory.unwrap_or(b".");
        let hash = hash_of(directory);
        let known = self.known(hash);
        match self.presumed {
            _ if known.locality != Locality::Unknown => known.mount,
            Some(presumed) if presumed.hash == hash => presumed.mount,
            _ => self.presume(hash, directory, mounts).mount,
        }
    }

    /// Remembers that any call in the path's directory may block.
    pub(crate) fn blocks(&mut self, path: &[u8], mount: MountId) {
        let hash = hash_of(directory_of(path).unwrap_or(b"."));
        self.remember(hash, Locality::Blocking, mount);
    }

    /// Opens the path's directory for the paths that follow, if the previous path was in it, too.
    /// May block.
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
            self.current = Some(Directory {
                path: directory.to_vec(),
                descriptor,
                mount: MountId::default(),
                file_system: FileSystem::Blocking,
                identity: None,
                listing: None,
            });
        }
    }

    fn remember(&mut self, hash: u64, locality: Locality, mount: MountId) {
        self.directories[slot_of(hash)] = Known {
            hash,
            locality,
            mount,
        };
    }

    fn known(&self, hash: u64) -> Known {
        let known = self.directories[slot_of(hash)];
        if known.hash == hash {
            known
        } else {
            Known::nothing_of(hash)
        }
    }

    /// The directory in which the look-up of the item's path begins, and the rest of the path.
    pub(crate) fn start_of<'a>(&'a self, item: &'a Item) -> (BorrowedFd<'a>, &'a CStr) {
        match self.current_for(directory_of(item.bytes())) {
            Some(current) => {
                let name = calls::path_from(item, current.path.len());
                (current.descriptor.as_fd(), name)
            }
            None => (CWD, calls::path(item)),
        }
    }

    /// Requests the listing of the current directory, if it has none.
    fn request_listing(&mut self) {
        if let Some(current) = &mut self.current
            && let (Some(identity), None) = (&current.identity, &current.listing)
            && let Some(listings) = &self.listings
        {
            current.listing = listings.of(&current.path, identity, self.asked);
        }
    }

    /// Opens the item's path if its directory lists it as a regular file and everything needed is
    /// cached. `None` says nothing about the path.
    pub(crate) fn open_listed(&self, item: &Item) -> Option<OpenFile> {
        let current = self.current_for(directory_of(item.bytes()))?;
        let listing = current.listing.as_ref()?;
        let name = calls::path_from(item, current.path.len());
        if !listing.has(name.to_bytes()) {
            return None;
        }
        let opened = calls::open_listed_cached(current.descriptor.as_fd(), name)?;
        Some(OpenFile::new(opened, current.file_system))
    }

    fn current_for(&self, directory: Option<&[u8]>) -> Option<&Directory> {
        let current = self.current.as_ref()?;
        (current.path == directory?).then_some(current)
    }

    /// Closes the current directory, because its path may lead elsewhere later. False if there was
    /// none.
    pub(crate) fn leave(&mut self) -> bool {
        self.presumed = None;
        self.current.take().is_some()
    }
}

/// The part of the path that names the directory in which the rest is looked up.
fn directory_of(path: &[u8]) -> Option<&[u8]> {
    let slash = memchr::memrchr(b'/', path)?;
    (slash + 1 < path.len()).then(|| &path[..=slash])
}

/// The parent in a directory's path, which ends with a slash.
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
        let (mut path_cache, mut mounts) = (PathCache::new(None), Mounts::default());
        let mut locality = |path| path_cache.locality_of(path, &mut mounts);
        assert_eq!(locality(b"src/lib.rs"), Locality::Local);
        assert_eq!(locality(b"Cargo.toml"), Locality::Local);
        assert_eq!(locality(b"/proc/self/comm"), Locality::Blocking);
        assert_eq!(locality(b"/proc/self/stat"), Locality::Blocking);
        assert_eq!(locality(b"no-such-directory/x"), Locality::Unknown);
        assert_eq!(locality(b"/proc/no-such-directory/a/x"), Locality::Blocking);
    }

    #[test]
    fn ancestors_are_asked_once_until_names_are_forgotten() {
        let (mut path_cache, mut mounts) = (PathCache::new(None), Mounts::default());
        let path = b"/proc/no-such-directory/x";
        assert_eq!(
            path_cache.locality_of(path, &mut mounts),
            Locality::Blocking
        );
        assert!(path_cache.presumed.is_some());
        assert_eq!(
            path_cache.locality_of(path, &mut mounts),
            Locality::Blocking
        );
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
        let (mut path_cache, mut mounts) = (PathCache::new(None), Mounts::default());
        let (file, elsewhere) = (item("src/lib.rs"), item("srclib.rs"));
        path_cache.locality_of(file.bytes(), &mut mounts);
        assert_eq!(path_cache.start_of(&file).1, c"lib.rs");
        assert_eq!(path_cache.start_of(&elsewhere).1, c"srclib.rs");
        path_cache.leave();
        assert_eq!(path_cache.start_of(&file).1, c"src/lib.rs");
    }

    #[test]
    fn names_without_a_directory_are_left_whole() {
        let (mut path_cache, mut mounts) = (PathCache::new(None), Mounts::default());
        for name in ["Cargo.toml", ".gitignore", ".", "src/", "/"] {
            let item = item(name);
            path_cache.locality_of(item.bytes(), &mut mounts);
            path_cache.locality_of(item.bytes(), &mut mounts);
            assert_eq!(path_cache.start_of(&item).1.to_bytes(), name.as_bytes());
        }
    }
}
