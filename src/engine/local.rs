//! What both real engines do the same way: plain calls on the loop where they do not block, and
//! calls on the pool where nothing else is safe.

use super::files::{Descriptor, FileTable};
use super::mounts::Mounts;
use super::pool::{Answer, Finished, Task};
use super::residency::Residency;
use super::{Completion, FileId, FileKind, FileSystem, Op, Stat, Token, Value, direct};
use crate::error::Errno;
use rustix::fs::Statx;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// The open files of an engine, and what it knows about where they lie.
pub(super) struct Local {
    pub(super) files: FileTable<Descriptor>,
    mounts: Mounts,
    residency: Residency,
}

impl Local {
    pub(super) fn new() -> Self {
        Self {
            files: FileTable::new(),
            mounts: Mounts::default(),
            residency: Residency::new(),
        }
    }

    /// Does the operation by a plain call if that does not block and nothing is quicker.
    pub(super) fn try_direct(&mut self, op: &mut Op) -> Option<Result<Value, Errno>> {
        match op {
            Op::StatPath(path) if self.residency.is_likely(path.bytes()) => {
                let start = Instant::now();
                let result = direct::stat_path(direct::path_of(op));
                self.residency.took(start.elapsed());
                Some(result.map(|statx| Value::Stat(direct::to_stat(&statx, &mut self.mounts))))
            }
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
            } => {
                let open = self.files.get(*file);
                (open.file_system == FileSystem::Memory)
                    .then(|| direct::read(open.handle.as_fd(), *offset, buffer).map(Value::Count))
            }
            Op::Close(file) if self.files.get(*file).file_system != FileSystem::Blocking => {
                drop(self.files.remove(*file));
                Some(Ok(Value::Done))
            }
            _ => None,
        }
    }

    /// Keeps a file that has just been opened.
    pub(super) fn opened(&mut self, descriptor: Descriptor, file_system: FileSystem) -> Value {
        Value::File(self.files.insert(descriptor, file_system))
    }

    /// The answer to a look-up of a path that did not happen on the loop.
    pub(super) fn looked_up(&mut self, path: &[u8], statx: &Statx) -> Value {
        let stat = direct::to_stat(statx, &mut self.mounts);
        if stat.kind == FileKind::Regular {
            self.residency.learn(path, stat.file_system);
        }
        Value::Stat(stat)
    }

    fn stat(&mut self, statx: &Statx) -> Stat {
        direct::to_stat(statx, &mut self.mounts)
    }

    /// The operation as a task for the pool.
    pub(super) fn task(&mut self, token: Token, op: Op) -> Task {
        let file = match &op {
            Op::StatFile(file) | Op::Read { file, .. } => Some(self.share(*file)),
            // Whoever holds the last share closes it.
            Op::Close(file) => self.files.remove(*file).handle.share(),
            Op::StatPath(_) | Op::Open { .. } => None,
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
            (Answer::Stat(statx), Op::StatPath(path)) => self.looked_up(path.bytes(), &statx),
            (Answer::Stat(statx), _) => Value::Stat(self.stat(&statx)),
            (Answer::Descriptor(descriptor), Op::Open { file_system, .. }) => {
                self.opened(Descriptor::Shared(Arc::new(descriptor)), *file_system)
            }
            (Answer::Descriptor(_), _) => unreachable!("only an open gives a descriptor"),
            (Answer::Count(count), _) => Value::Count(count),
            (Answer::Done, _) => Value::Done,
        });
        Completion { token, op, result }
    }
}
