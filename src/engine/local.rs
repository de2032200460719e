//! What both real engines do the same way: plain calls on the loop where they do not block, and
//! calls on the pool where nothing else is safe.

use super::credit::Credit;
use super::files::{Descriptor, FileTable};
use super::mounts::Mounts;
use super::pool::{Answer, Finished, Task};
use super::residency::Residency;
use super::sockets::{self, SocketOp, Transport};
use super::{Completion, FileId, FileKind, FileSystem, Op, Token, Value, direct};
use crate::error::Errno;
use crate::item::Item;
use rustix::fs::Statx;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The open files of an engine, and what it knows about where they lie.
pub(super) struct Local {
    /// What cannot be done on the loop goes to a ring, if it does not block; otherwise any file may
    /// be given to the pool.
    has_ring: bool,
    pub(super) files: FileTable<Descriptor>,
    mounts: Mounts,
    residency: Residency,
    /// In plain reads of cached content. One that fails has started a fetch of its own, which the
    /// block layer cannot merge with the neighbours' as it does with a batch from a ring.
    read_credit: Credit,
}

impl Local {
    pub(super) fn new(has_ring: bool) -> Self {
        Self {
            has_ring,
            files: FileTable::new(),
            mounts: Mounts::default(),
            residency: Residency::new(),
            read_credit: Credit::new(),
        }
    }

    /// Does the operation by a plain call if that does not block: everything about a file whose
    /// name and content are cached. On a warm cache nothing is quicker.
    pub(super) fn try_now(&mut self, op: &mut Op) -> Option<Result<Value, Errno>> {
        match op {
            Op::StatPath(path) => self.look_up_cached(path),
            Op::Open {
                path,
                file_system,
                wait: false,
            } if *file_system != FileSystem::Blocking => {
                let file_system = *file_system;
                let (directory, path) = self.residency.start_of(path);
                let descriptor = direct::open_cached(directory, path)?;
                Some(Ok(self.opened(descriptor, file_system)))
            }
            Op::Open { .. } => None,
            Op::StatFile(file) => {
                let open = self.files.get(*file);
                (open.file_system != FileSystem::Blocking).then(|| {
                    direct::stat_file(open.handle.as_fd(), open.file_system).map(Value::Stat)
                })
            }
            Op::Read {
                file,
                offset,
                buffer,
                parallel: false,
            } => {
                let open = self.files.get(*file);
                let descriptor = open.handle.as_fd();
                match open.file_system {
                    FileSystem::Memory => {
                        Some(direct::read(descriptor, *offset, buffer).map(Value::Count))
                    }
                    // Only part of it may be cached, but a part is better than the way to a worker and
                    // back.
                    FileSystem::Nowait => {
                        if !self.read_credit.try_it() {
                            return None;
                        }
                        let count = direct::read_cached(descriptor, *offset, buffer);
                        self.read_credit.record(count.is_some());
                        count.map(Value::Count).map(Ok)
                    }
                    FileSystem::Blocking => None,
                }
            }
            Op::Read { .. } => None,
            Op::Close(file) => {
                if self.files.get(*file).file_system == FileSystem::Blocking {
                    return None;
                }
                drop(self.files.remove(*file));
                Some(Ok(Value::Done))
            }
            Op::Socket(op) => self.try_socket_now(op),
        }
    }

    /// The same for sockets. What a ring does it does many at a time, which is better than a call for
    /// each; but what has come already is best taken at once.
    fn try_socket_now(&mut self, op: &mut SocketOp) -> Option<Result<Value, Errno>> {
        match op {
            SocketOp::Make { address, transport } => {
                let socket = sockets::make(*address, *transport, self.has_ring);
                // Nothing about a socket blocks the loop.
                Some(socket.map(|socket| self.opened(socket, FileSystem::Nowait)))
            }
            SocketOp::Connect {
                transport: Transport::Stream,
                ..
            } if self.has_ring => None,
            SocketOp::Connect {
                socket, address, ..
            } => {
                let socket = self.files.get(*socket).handle.as_fd();
                sockets::connect_now(socket, *address).map(|done| done.map(|()| Value::Done))
            }
            SocketOp::Send { .. } if self.has_ring => None,
            SocketOp::Send { socket, bytes } => {
                let socket = self.files.get(*socket).handle.as_fd();
                sockets::send_now(socket, bytes).map(|count| count.map(Value::Count))
            }
            SocketOp::Receive { socket, bytes } => {
                let socket = self.files.get(*socket).handle.as_fd();
                sockets::receive_now(socket, bytes).map(|count| count.map(Value::Count))
            }
        }
    }

    /// Looks a path up by a plain call if that is not going to block: see [`Residency`].
    fn look_up_cached(&mut self, item: &Item) -> Option<Result<Value, Errno>> {
        let may_look = self.residency.trusts_look_ups()
            && self.residency.is_local(item.bytes(), &mut self.mounts);
        if !may_look {
            return None;
        }
        let start = self.residency.start_timing();
        let (directory, path) = self.residency.start_of(item);
        let result = direct::stat_link(directory, path);
        if let Some(start) = start {
            self.residency.took(start.elapsed());
        }
        let statx = match result {
            // It may lead to where a look-up blocks.
            Ok(statx) if direct::is_link(&statx) => direct::open_path_cached(item.bytes())?.1,
            Ok(statx) => statx,
            Err(errno) => return Some(Err(errno)),
        };
        let stat = direct::to_stat(&statx, &mut self.mounts);
        (stat.kind != FileKind::Regular || stat.file_system != FileSystem::Blocking)
            .then_some(Ok(Value::Stat(stat)))
    }

    /// See [`Engine::forget_names`](super::Engine::forget_names).
    pub(super) fn forget_names(&mut self) {
        self.residency.leave();
    }

    /// Keeps a file that has just been opened.
    pub(super) fn opened(&mut self, descriptor: OwnedFd, file_system: FileSystem) -> Value {
        let is_shared = !self.has_ring || file_system == FileSystem::Blocking;
        let descriptor = if is_shared {
            Descriptor::Shared(Arc::new(descriptor))
        } else {
            Descriptor::Own(descriptor)
        };
        Value::File(self.files.insert(descriptor, file_system))
    }

    /// Metadata as the kernel gave them.
    pub(super) fn stat(&mut self, statx: &Statx) -> Value {
        Value::Stat(direct::to_stat(statx, &mut self.mounts))
    }

    /// The operation as a task for the pool.
    pub(super) fn task(&mut self, token: Token, op: Op) -> Task {
        let file = match &op {
            Op::StatFile(file) | Op::Read { file, .. } => Some(self.share(*file)),
            // Whoever holds the last share closes it.
            Op::Close(file) => self.files.remove(*file).handle.share(),
            Op::StatPath(_) | Op::Open { .. } => None,
            Op::Socket(_) => unreachable!("sockets are not for the pool"),
        };
        Task { token, op, file }
    }

    fn share(&self, file: FileId) -> Arc<OwnedFd> {
        let shared = self.files.get(file).handle.share();
        shared.expect("only files whose descriptors are shared go to the pool")
    }

    /// What a thread of the pool has finished, as a completion.
    pub(super) fn complete(&mut self, finished: Finished) -> Completion {
        let Finished { token, op, result } = finished;
        let result = result.map(|answer| match (answer, &op) {
            (Answer::Stat(statx), _) => self.stat(&statx),
            (Answer::Descriptor(descriptor), Op::Open { file_system, .. }) => {
                self.opened(descriptor, *file_system)
            }
            (Answer::Descriptor(_), _) => unreachable!("only an open gives a descriptor"),
            (Answer::Count(count), _) => Value::Count(count),
            (Answer::Done, _) => Value::Done,
        });
        Completion { token, op, result }
    }
}
