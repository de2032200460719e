//! What both real engines do the same way: plain calls on the loop where they do not block, and
//! calls on the pool where nothing else is safe.

use super::credit::Credit;
use super::files::{Descriptor, FileTable};
use super::mounts::Mounts;
use super::pool::{Answer, Finished, Task};
use super::residency::{Residency, hash_directory};
use super::{
    BufferClass, Completion, FileId, FileKind, FileSystem, Op, Token, Value, Wait, direct,
};
use crate::error::Errno;
use rustix::fs::Statx;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a look-up waits for a worker's answer about its directory. It is there at once where
/// waiting for it pays.
const PATIENCE: Duration = Duration::from_millis(2);

/// The open files of an engine, and what it knows about where they lie.
pub(super) struct Local {
    /// The pool may be given any file, not only those that block.
    shares_all: bool,
    pub(super) files: FileTable<Descriptor>,
    mounts: Mounts,
    residency: Residency,
    /// In plain reads of cached content. One that fails has started a fetch of its own, which the
    /// block layer cannot merge with the neighbours' as it does with a batch from a ring.
    read_credit: Credit,
    /// Look-ups that wait for a worker's answer about their directory.
    held: Vec<(Token, Op)>,
    /// Since when the first of them has waited.
    held_since: Option<Instant>,
    /// Held until now.
    released: Vec<(Token, Op)>,
}

impl Local {
    pub(super) fn new(shares_all: bool) -> Self {
        Self {
            shares_all,
            files: FileTable::new(),
            mounts: Mounts::default(),
            residency: Residency::new(),
            read_credit: Credit::new(),
            held: Vec::new(),
            held_since: None,
            released: Vec::new(),
        }
    }

    /// Does the operation by a plain call if that does not block: everything about a file whose
    /// name and content are cached. On a warm cache nothing is quicker.
    pub(super) fn try_direct(&mut self, op: &mut Op) -> Option<Result<Value, Errno>> {
        match op {
            Op::StatPath(path) if self.residency.is_likely(path.bytes()) => {
                let start = Instant::now();
                let result = direct::stat_path(direct::path_of(op));
                self.residency.took(start.elapsed());
                Some(result.map(|statx| Value::Stat(direct::to_stat(&statx, &mut self.mounts))))
            }
            Op::StatPath(_) => None,
            Op::Open {
                file_system,
                wait: false,
                ..
            } if *file_system != FileSystem::Blocking => {
                let file_system = *file_system;
                let descriptor = direct::open_cached(direct::path_of(op))?;
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
                ahead: false,
            } => {
                let open = self.files.get(*file);
                let descriptor = open.handle.as_fd();
                match open.file_system {
                    FileSystem::Memory => {
                        Some(direct::read(descriptor, *offset, buffer).map(Value::Count))
                    }
                    // Of a larger piece, parts may be missing: whoever waits for those may as well
                    // fetch the whole.
                    FileSystem::Nowait
                        if buffer.class() == BufferClass::Small && self.read_credit.try_it() =>
                    {
                        let count = direct::read_cached(descriptor, *offset, buffer);
                        self.read_credit.record(count.is_some());
                        count.map(Value::Count).map(Ok)
                    }
                    FileSystem::Nowait | FileSystem::Blocking => None,
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
        }
    }

    /// Passes an operation on, or holds a look-up back until [`Local::take_released`] gives it out.
    pub(super) fn pass_or_hold(&mut self, token: Token, op: Op) -> Option<Op> {
        if let Op::StatPath(path) = &op
            && !self.residency.may_ask(path.bytes())
        {
            self.held.push((token, op));
            self.held_since.get_or_insert_with(Instant::now);
            return None;
        }
        Some(op)
    }

    /// Operations held back.
    pub(super) fn held(&self) -> usize {
        self.held.len() + self.released.len()
    }

    /// Lets go of what is held for an item.
    pub(super) fn release_item(&mut self, token: Token) {
        self.released
            .extend(self.held.extract_if(.., |(owner, _)| *owner == token));
    }

    /// A wait that does not outlast the patience of what is held.
    pub(super) fn limit_wait(&self, wait: Wait) -> Wait {
        match (self.held_since, wait) {
            (None, wait) | (_, wait @ Wait::No) => wait,
            (Some(since), Wait::Forever) => Wait::AtMost(PATIENCE.saturating_sub(since.elapsed())),
            (Some(since), Wait::AtMost(most)) => {
                Wait::AtMost(most.min(PATIENCE.saturating_sub(since.elapsed())))
            }
        }
    }

    /// What is no longer to be held: to be done at once if that has become possible, or by whoever
    /// else can.
    pub(super) fn take_released(&mut self) -> Vec<(Token, Op)> {
        if self
            .held_since
            .is_some_and(|since| since.elapsed() >= PATIENCE)
        {
            self.released.append(&mut self.held);
        }
        if self.held.is_empty() {
            self.held_since = None;
        }
        std::mem::take(&mut self.released)
    }

    /// Notices that a worker has answered, and releases those that waited for it.
    pub(super) fn answered(&mut self, path: &[u8]) {
        if self.residency.answered(path) && !self.held.is_empty() {
            let directory = hash_directory(path);
            let is_in_it = |(_, op): &mut (Token, Op)| matches!(op, Op::StatPath(path) if hash_directory(path.bytes()) == directory);
            self.released.extend(self.held.extract_if(.., is_in_it));
        }
    }

    /// Keeps a file that has just been opened.
    pub(super) fn opened(&mut self, descriptor: OwnedFd, file_system: FileSystem) -> Value {
        let is_shared = self.shares_all || file_system == FileSystem::Blocking;
        let descriptor = if is_shared {
            Descriptor::Shared(Arc::new(descriptor))
        } else {
            Descriptor::Own(descriptor)
        };
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
        if let Op::StatPath(path) = &op {
            self.answered(path.bytes());
        }
        let result = result.map(|answer| match (answer, &op) {
            (Answer::Stat(statx), Op::StatPath(path)) => self.looked_up(path.bytes(), &statx),
            (Answer::Stat(statx), _) => Value::Stat(direct::to_stat(&statx, &mut self.mounts)),
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
