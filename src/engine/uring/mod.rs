//! The io_uring engine.

mod ops;
mod ring;
mod setup;

pub use setup::{Refusal, probe};

use super::direct;
use super::files::FileTable;
use super::mounts::Mounts;
use super::residency::Residency;
use super::{Completion, Done, Engine, FileSystem, Op, Token, Value, Wait, Wake};
use crate::error::Errno;
use ring::{Ended, Ring};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Completions handed over in one turn, at most, so that started items are advanced and results
/// leave before too many more have come.
const COMPLETIONS_PER_TURN: usize = 256;

/// How long the end of a run waits for operations that cannot be cancelled.
const GRACE: Duration = Duration::from_secs(2);

/// Operations on an io_uring instance, except those that a plain call does better.
pub struct UringEngine {
    ring: Ring,
    files: FileTable<OwnedFd>,
    mounts: Mounts,
    residency: Residency,
    /// Waiting for room in the ring.
    backlog: VecDeque<(Token, Op)>,
    origin: Instant,
}

impl UringEngine {
    /// Sets up a ring with room for `outstanding_max` operations and up to `workers_max` kernel
    /// threads for those that block. It belongs to the calling thread.
    ///
    /// # Errors
    /// Whatever the kernel refuses, with its likely cause.
    pub fn new(outstanding_max: usize, workers_max: u32) -> Result<Self, Refusal> {
        Ok(Self {
            ring: Ring::new(outstanding_max, workers_max)?,
            files: FileTable::new(),
            mounts: Mounts::default(),
            residency: Residency::new(),
            backlog: VecDeque::new(),
            origin: Instant::now(),
        })
    }

    /// Does the operation by a plain call where that is the better way and does not block.
    fn try_direct(&mut self, op: &mut Op) -> Option<Result<Value, Errno>> {
        match op {
            Op::StatPath(path) if self.residency.is_likely(path.bytes()) => {
                let start = Instant::now();
                let result = direct::stat_path(direct::path_of(op));
                self.residency.took(start.elapsed());
                Some(result.map(|statx| Value::Stat(direct::to_stat(&statx, &mut self.mounts))))
            }
            Op::StatFile(file) => {
                let file = self.files.get(*file);
                if file.file_system == FileSystem::Blocking {
                    return None;
                }
                let result = direct::stat_file(file.handle.as_fd());
                Some(result.map(|statx| Value::Stat(direct::to_stat(&statx, &mut self.mounts))))
            }
            Op::Read {
                file,
                offset,
                buffer,
            } => {
                let file = self.files.get(*file);
                if file.file_system != FileSystem::Memory {
                    return None;
                }
                Some(direct::read(file.handle.as_fd(), *offset, buffer).map(Value::Count))
            }
            _ => None,
        }
    }

    fn push(&mut self, token: Token, op: Op) -> io::Result<()> {
        if self.ring.has_room() {
            self.ring.push(token, op, &mut self.files)
        } else {
            self.backlog.push_back((token, op));
            Ok(())
        }
    }

    fn complete(&mut self, ended: Ended) -> Completion {
        let Ended {
            token,
            op,
            result,
            statx,
        } = ended;
        let result = result.map(|count| match &op {
            Op::StatPath(path) => {
                let statx = statx.expect("a look-up has room for its answer");
                let stat = direct::to_stat(&statx, &mut self.mounts);
                if stat.kind == super::FileKind::Regular {
                    self.residency.learn(path.bytes(), stat.file_system);
                }
                Value::Stat(stat)
            }
            Op::StatFile(_) => {
                let statx = statx.expect("a look-up has room for its answer");
                Value::Stat(direct::to_stat(&statx, &mut self.mounts))
            }
            Op::Open { file_system, .. } => {
                Value::File(self.files.insert(ring::own_descriptor(count), *file_system))
            }
            Op::Read { buffer, .. } => {
                let count = usize::try_from(count).expect("a count is not negative");
                assert!(
                    count <= buffer.len(),
                    "the kernel read more than there was room for"
                );
                Value::Count(count)
            }
            Op::Close(_) => Value::Done,
        });
        Completion { token, op, result }
    }
}

impl Engine for UringEngine {
    fn submit(&mut self, token: Token, mut op: Op) -> Option<Done> {
        if let Some(result) = self.try_direct(&mut op) {
            return Some((op, result));
        }
        if let Err(error) = self.push(token, op) {
            self.ring.fail(error);
        }
        None
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        while self.ring.has_room()
            && let Some((token, op)) = self.backlog.pop_front()
        {
            self.ring.push(token, op, &mut self.files)?;
        }
        self.ring.enter(wait)?;
        for _ in 0..COMPLETIONS_PER_TURN {
            let Some(ended) = self.ring.pop() else { break };
            let completion = self.complete(ended);
            completions.push(completion);
        }
        Ok(())
    }

    fn cancel(&mut self, token: Token) {
        self.ring.cancel(token);
    }

    fn outstanding(&self) -> usize {
        self.ring.outstanding() + self.backlog.len()
    }

    fn open_files(&self) -> usize {
        self.files.len()
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.ring.waker()
    }

    fn describe(&self) -> String {
        self.ring.describe()
    }
}

impl Drop for UringEngine {
    /// Waits for every completion, so that no buffer is freed under an operation and no late open
    /// leaks its descriptor.
    fn drop(&mut self) {
        self.backlog.clear();
        let deadline = Instant::now() + GRACE;
        self.ring.cancel_all();
        while self.ring.outstanding() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.ring.enter(Wait::AtMost(left)).is_err() {
                break;
            }
            while let Some(ended) = self.ring.pop() {
                self.complete(ended);
            }
        }
    }
}
