//! The files an engine has open.

use super::mounts::FileSystem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Names an open file of one engine. Never reused for another file while the first is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    place: u32,
    generation: u32,
}

/// A descriptor, which the threads of a pool share only where they may be needed for it.
#[derive(Debug)]
pub(crate) enum Descriptor {
    Own(OwnedFd),
    Shared(Arc<OwnedFd>),
}

impl Descriptor {
    /// The descriptor for another thread, if it can be shared.
    pub(crate) fn share(&self) -> Option<Arc<OwnedFd>> {
        match self {
            Self::Own(_) => None,
            Self::Shared(descriptor) => Some(Arc::clone(descriptor)),
        }
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(descriptor) => descriptor.as_fd(),
            Self::Shared(descriptor) => descriptor.as_fd(),
        }
    }
}

/// Open files by [`FileId`]. Dropping the table closes what is left in it.
#[derive(Debug)]
pub(crate) struct FileTable<H> {
    places: Vec<Place<H>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<H> {
    generation: u32,
    file: Option<OpenFile<H>>,
}

/// An open file: its descriptor and what its file system can do.
#[derive(Debug)]
pub(crate) struct OpenFile<H> {
    pub(crate) handle: H,
    pub(crate) file_system: FileSystem,
}

impl<H> FileTable<H> {
    pub(crate) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, handle: H, file_system: FileSystem) -> FileId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                file: None,
            });
            u32::try_from(self.places.len() - 1).expect("fewer than 2^32 open files")
        });
        let entry = &mut self.places[place as usize];
        entry.file = Some(OpenFile {
            handle,
            file_system,
        });
        FileId {
            place,
            generation: entry.generation,
        }
    }

    /// The file; a job that uses one after closing it is a bug, and reading another item's file in
    /// its stead would be a wrong answer.
    pub(crate) fn get(&self, id: FileId) -> &OpenFile<H> {
        let entry = &self.places[id.place as usize];
        assert_eq!(
            entry.generation, id.generation,
            "a file was used after it was closed"
        );
        entry
            .file
            .as_ref()
            .expect("a file was used after it was closed")
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, id: FileId) -> &mut OpenFile<H> {
        let entry = &mut self.places[id.place as usize];
        assert_eq!(
            entry.generation, id.generation,
            "a file was used after it was closed"
        );
        entry
            .file
            .as_mut()
            .expect("a file was used after it was closed")
    }

    pub(crate) fn remove(&mut self, id: FileId) -> OpenFile<H> {
        let entry = &mut self.places[id.place as usize];
        assert_eq!(entry.generation, id.generation, "a file was closed twice");
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(id.place);
        entry.file.take().expect("a file was closed twice")
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "after it was closed")]
    fn a_stale_id_is_refused() {
        let mut files = FileTable::new();
        let first = files.insert('a', FileSystem::Blocking);
        assert_eq!(files.remove(first).handle, 'a');
        files.insert('b', FileSystem::Blocking);
        files.get(first);
    }
}
