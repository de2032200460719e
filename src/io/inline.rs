//! Operations on what is cached, by plain calls on the loop's own thread.

use super::buffer::Buffer;
use super::calls;
use super::carrier::Attempt;
use super::listings::Listings;
use super::metadata::{FileKind, Stat};
use super::mounts::{FileSystem, MountId, Mounts};
use super::op::{Op, Value};
use super::open_file::OpenFile;
use super::path_cache::{Locality, PathCache};
use super::probe::AdaptiveProbe;
use super::socket_calls::{self, Transport};
use crate::item::Item;
use rustix::fs::Statx;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Makes plain calls where they do not block: on files whose names and content are cached. Keeps
/// track of where that is. On a warm cache nothing is faster.
pub(super) struct Inline {
    mounts: Mounts,
    path_cache: PathCache,
    /// The file that the last look-up opened: a name that its directory lists as a regular file is
    /// opened without a look-up before.
    opened: Option<Opened>,
    /// For look-ups of cached names, by mount: on one disk they may all fail, while those on
    /// another succeed.
    look_up_probes: Vec<(MountId, AdaptiveProbe)>,
    /// For plain reads of cached content. One that fails has started a fetch of its own, which the
    /// block layer cannot merge with its neighbours, as it does for a batch from a ring.
    read_probe: AdaptiveProbe,
}

/// A file that was opened by the look-up of its path.
struct Opened {
    path: PathId,
    file: OpenFile,
}

/// Identifies an item's path by the item's index and the address of its bytes.
type PathId = (u64, *const u8);

fn id_of(path: &Item) -> PathId {
    (path.index(), path.bytes().as_ptr())
}

impl Inline {
    pub(super) fn new(listings: Arc<Listings>) -> Self {
        Self {
            mounts: Mounts::default(),
            path_cache: PathCache::new(Some(listings)),
            opened: None,
            look_up_probes: Vec::new(),
            read_probe: AdaptiveProbe::new(),
        }
    }

    /// Looks a path up if everything needed is cached.
    pub(super) fn look_up(&mut self, item: &Item) -> Attempt<Stat> {
        if self.path_cache.locality_of(item.bytes(), &mut self.mounts) == Locality::Blocking {
            return Attempt::Block;
        }
        self.opened = None;
        let mount = self.mount_of(item);
        if !self.look_up_probe(mount).is_due() {
            return Attempt::Submit;
        }
        if let Some(file) = self.path_cache.open_listed(item)
            && let Ok(stat) = calls::stat_file(file.as_fd(), file.file_system)
            && stat.kind == FileKind::Regular
        {
            let path = id_of(item);
            self.opened = Some(Opened { path, file });
            return Attempt::Done(Ok(stat));
        }
        let (directory, path) = self.path_cache.start_of(item);
        let found = calls::stat_cached(directory, path);
        self.look_up_probe(mount).record(found.is_some());
        match found {
            None => Attempt::Submit,
            Some(Err(errno)) => Attempt::Done(Err(errno)),
            Some(Ok(statx)) => match self.found(item, &statx) {
                stat if blocks(&stat) => Attempt::Block,
                stat => Attempt::Done(Ok(stat)),
            },
        }
    }

    fn look_up_probe(&mut self, mount: MountId) -> &mut AdaptiveProbe {
        let known = |(other, _): &(MountId, _)| *other == mount;
        let at = self.look_up_probes.iter().position(known);
        let at = at.unwrap_or_else(|| {
            self.look_up_probes.push((mount, AdaptiveProbe::new()));
            self.look_up_probes.len() - 1
        });
        &mut self.look_up_probes[at].1
    }

    /// See [`Carrier::mount_of`](super::Carrier::mount_of).
    pub(super) fn mount_of(&mut self, item: &Item) -> MountId {
        self.path_cache.mount_of(item.bytes(), &mut self.mounts)
    }

    /// Opens a path if everything needed is cached.
    pub(super) fn open(&mut self, path: &Item, file_system: FileSystem) -> Attempt<OpenFile> {
        if file_system == FileSystem::Blocking {
            return Attempt::Block;
        }
        if let Some(opened) = self.opened.take()
            && opened.path == id_of(path)
        {
            return Attempt::Done(Ok(opened.file));
        }
        let (directory, path) = self.path_cache.start_of(path);
        match calls::open_cached(directory, path) {
            Some(descriptor) => Attempt::Done(Ok(OpenFile::new(descriptor, file_system))),
            None => Attempt::Submit,
        }
    }

    /// Reads content that is cached.
    pub(super) fn read(
        &mut self,
        file: &OpenFile,
        offset: Option<u64>,
        buffer: &mut Buffer,
    ) -> Attempt<usize> {
        if file.file_system == FileSystem::Memory {
            return Attempt::Done(calls::read(file.as_fd(), offset, buffer));
        }
        if !self.read_probe.is_due() {
            return Attempt::Submit;
        }
        // Possibly only a part is cached, but a short read is better than a hand-over to a worker.
        let count = calls::read_cached(file.as_fd(), offset, buffer);
        self.read_probe.record(count.is_some());
        cached_read_result(count)
    }

    /// See [`Carrier::leave_directory`](super::Carrier::leave_directory).
    pub(super) fn leave_directory(&mut self) {
        self.opened = None;
        self.path_cache.leave();
    }

    /// Metadata that a look-up has found.
    pub(super) fn found(&mut self, path: &Item, statx: &Statx) -> Stat {
        let stat = calls::to_stat(statx, &mut self.mounts);
        if blocks(&stat) {
            self.path_cache.blocks(path.bytes(), MountId::of(statx));
        }
        stat
    }
}

/// True for a file whose reads may block.
fn blocks(stat: &Stat) -> bool {
    stat.kind == FileKind::Regular && stat.file_system == FileSystem::Blocking
}

/// The result of a read of cached content. 0 bytes do not prove the end of the file: Linux 5.9 and
/// 5.10 may return them where content is not cached (preadv2(2), "Bugs").
fn cached_read_result(count: Option<usize>) -> Attempt<usize> {
    match count {
        Some(count) if count > 0 => Attempt::Done(Ok(count)),
        _ => Attempt::Submit,
    }
}

/// Metadata of an open file.
pub(super) fn stat(file: &OpenFile) -> Attempt<Stat> {
    Attempt::Done(calls::stat_file(file.as_fd(), file.file_system))
}

/// Does an operation on a socket by a plain call if that does not block. With a ring, stream
/// connects and sends are submitted instead, because it does many of them with one call; but what
/// has already arrived is best received at once.
pub(super) fn try_socket(op: &mut Op, has_ring: bool) -> Attempt<Value> {
    let done = match op {
        Op::MakeSocket {
            address,
            transport,
            source,
        } => {
            let socket = socket_calls::make(*address, *transport, *source, has_ring);
            Some(socket.map(|socket: OwnedFd| {
                // No operation on a socket blocks the loop.
                Value::File(OpenFile::new(socket, FileSystem::Nowait))
            }))
        }
        Op::Connect {
            transport: Transport::Stream,
            ..
        }
        | Op::Send { .. }
            if has_ring =>
        {
            None
        }
        Op::Connect {
            socket, address, ..
        } => {
            let connected = socket_calls::connect_now(socket.as_fd(), *address);
            connected.map(|done| done.map(|()| Value::Done))
        }
        Op::Send { socket, bytes } => {
            let sent = socket_calls::send_now(socket.as_fd(), bytes);
            sent.map(|count| count.map(Value::Count))
        }
        Op::Receive { socket, bytes } => {
            let received = socket_calls::receive_now(socket.as_fd(), bytes);
            received.map(|count| count.map(Value::Count))
        }
        _ => unreachable!("files have calls of their own"),
    };
    done.map_or(Attempt::Submit, Attempt::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::SpecialKind;
    use crate::item::Batch;
    use rustix::fs::{CWD, FileType};
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    #[test]
    fn an_empty_cached_read_is_not_the_end_of_the_file() {
        assert!(matches!(cached_read_result(Some(0)), Attempt::Submit));
        assert!(matches!(cached_read_result(None), Attempt::Submit));
        assert!(matches!(cached_read_result(Some(3)), Attempt::Done(Ok(3))));
    }

    /// A new file, looked up until its directory has been listed.
    fn listed(directory: &Path) -> (Inline, Item) {
        let path = directory.join("file");
        fs::write(&path, "content").unwrap();
        let batch = Batch::from_iter([path.to_str().unwrap()]);
        let item = Item::new(Arc::new(batch), 0);
        let mut inline = Inline::new(Listings::new());
        while inline.opened.is_none() {
            for _ in 0..32 {
                let found = inline.look_up(&item);
                assert!(matches!(found, Attempt::Done(Ok(_))), "{found:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
            if inline.opened.is_none() {
                inline.leave_directory();
            }
        }
        (inline, item)
    }

    #[test]
    fn a_file_of_a_listed_directory_is_opened_by_its_look_up() {
        let directory = tempfile::tempdir().unwrap();
        let (mut inline, item) = listed(directory.path());
        let Attempt::Done(Ok(stat)) = inline.look_up(&item) else {
            panic!("it is cached")
        };
        let Attempt::Done(Ok(file)) = inline.open(&item, stat.file_system) else {
            panic!("it is open")
        };
        assert!(inline.opened.is_none());
        let mut content = [0; 16];
        let count = calls::read(file.as_fd(), Some(0), &mut content).unwrap();
        assert_eq!(&content[..count], b"content");
    }

    #[test]
    fn what_replaced_a_listed_file_is_recognized_by_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let (mut inline, item) = listed(directory.path());
        fs::remove_file(directory.path().join("file")).unwrap();
        let found = inline.look_up(&item);
        assert!(!matches!(found, Attempt::Done(Ok(_))), "{found:?}");
        let path = directory.path().join("file");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).unwrap();
        let Attempt::Done(Ok(stat)) = inline.look_up(&item) else {
            panic!("it is cached")
        };
        assert_eq!(stat.kind, FileKind::Special(SpecialKind::Fifo));
        assert!(inline.opened.is_none());
    }
}
