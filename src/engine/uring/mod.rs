//! The io_uring engine.

mod ops;
mod ring;
mod setup;

pub use ring::WakeUp;
pub use setup::{Refusal, features, probe};

use super::local::Local;
use super::pool::{Finished, Pool};
use super::{Completion, Engine, FileSystem, Op, SocketOp, Token, Value, Wait, Wake};
use crate::clock::{self, Clock};
use crate::error::Errno;
use ring::{Ended, Ring};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Completions handed over in one turn, at most, so that started items are advanced and results
/// leave before too many more have come.
const COMPLETIONS_PER_TURN: usize = 256;

/// Bytes read after which a turn hands over no more. While those are hashed, the kernel fetches what
/// the turn before made room for.
const BYTES_PER_TURN: usize = 2 * 1024 * 1024;

/// How long the end of a run waits for operations that cannot be cancelled.
const GRACE: Duration = Duration::from_secs(2);

/// Operations on an io_uring instance, except those that a plain call does better.
///
/// Files whose reads may block for somebody else's sake (FUSE, NFS, procfs, devices) are read by a
/// pool of threads. The ring would give such reads to a kernel thread of its own anyway, and it
/// repeats a short read of a FUSE file in direct mode at the same offset (seen on Linux 6.18): the
/// result is content that the file does not have.
pub struct UringEngine {
    local: Local,
    ring: Ring,
    pool: Pool,
    received: VecDeque<Finished>,
    /// Waiting for room in the ring.
    backlog: VecDeque<(Token, Op)>,
}

impl UringEngine {
    /// Sets up a ring with room for `outstanding_max` operations. Up to `workers_max` kernel
    /// threads, and as many of our own, do what blocks. It belongs to the calling thread.
    ///
    /// # Errors
    /// Whatever the kernel refuses, with its likely cause.
    pub fn new(
        outstanding_max: usize,
        workers_max: usize,
        wake_up: Arc<WakeUp>,
    ) -> Result<Self, Refusal> {
        let kernel_workers_max = u32::try_from(workers_max).unwrap_or(u32::MAX);
        let ring = Ring::new(outstanding_max, kernel_workers_max, wake_up)?;
        Ok(Self {
            local: Local::new(true),
            pool: Pool::new(workers_max, ring.waker()),
            ring,
            received: VecDeque::new(),
            backlog: VecDeque::new(),
        })
    }

    /// True for what only the pool may do. Opens are among it: the ring would first try to open a
    /// cached name on the loop, which a user-space file system may keep waiting, and would not wait
    /// for the writer of a FIFO.
    fn belongs_to_pool(&self, op: &Op) -> bool {
        let file_system = match op {
            Op::StatPath(_) | Op::Socket(_) => return false,
            Op::Open { file_system, .. } => *file_system,
            Op::StatFile(file) | Op::Read { file, .. } | Op::Close(file) => {
                self.local.files.get(*file).file_system
            }
        };
        file_system == FileSystem::Blocking
    }

    fn complete(&mut self, ended: Ended) -> Completion {
        let Ended {
            token,
            op,
            result,
            statx,
        } = ended;
        let result = result.map(|count| match &op {
            Op::StatPath(_) => {
                let statx = statx.expect("a look-up has room for its answer");
                self.local.stat(&statx)
            }
            Op::Open { file_system, .. } => {
                self.local.opened(ring::own_descriptor(count), *file_system)
            }
            Op::Read { buffer, .. } => {
                let count = usize::try_from(count).expect("a count is not negative");
                assert!(
                    count <= buffer.len(),
                    "the kernel read more than there was room for"
                );
                Value::Count(count)
            }
            Op::Socket(SocketOp::Send { bytes, .. } | SocketOp::Receive { bytes, .. }) => {
                let count = usize::try_from(count).expect("a count is not negative");
                assert!(
                    count <= bytes.len(),
                    "more was received than there was room for"
                );
                Value::Count(count)
            }
            Op::Socket(SocketOp::Connect { .. }) => Value::Done,
            Op::StatFile(_) | Op::Close(_) | Op::Socket(SocketOp::Make { .. }) => {
                unreachable!("not done by the ring")
            }
        });
        Completion { token, op, result }
    }
}

impl Clock for UringEngine {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

impl Engine for UringEngine {
    fn try_now(&mut self, op: &mut Op) -> Option<Result<Value, Errno>> {
        self.local.try_now(op)
    }

    fn forget_names(&mut self) {
        self.local.forget_names();
    }

    fn submit(&mut self, token: Token, op: Op) {
        if self.belongs_to_pool(&op) {
            let task = self.local.task(token, op);
            self.pool.run(task);
        } else if !self.ring.has_room() {
            self.backlog.push_back((token, op));
        } else if let Err(error) = self.ring.push(token, op, &self.local.files) {
            self.ring.fail(error);
        }
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        while self.ring.has_room()
            && let Some((token, op)) = self.backlog.pop_front()
        {
            self.ring.push(token, op, &self.local.files)?;
        }
        self.pool.collect(&mut self.received);
        self.ring.enter(if self.received.is_empty() {
            wait
        } else {
            Wait::No
        })?;
        self.pool.collect(&mut self.received);
        let from_pool = self.received.len().min(COMPLETIONS_PER_TURN);
        let local = &mut self.local;
        completions.extend(
            self.received
                .drain(..from_pool)
                .map(|finished| local.complete(finished)),
        );
        let mut bytes_read = 0;
        for _ in from_pool..COMPLETIONS_PER_TURN {
            let Some(ended) = self.ring.pop() else { break };
            let completion = self.complete(ended);
            if let Ok(Value::Count(count)) = completion.result {
                bytes_read += count;
            }
            completions.push(completion);
            if bytes_read >= BYTES_PER_TURN {
                break;
            }
        }
        Ok(())
    }

    fn cancel(&mut self, slot: u32) {
        self.ring.cancel(slot);
        self.pool.cancel(slot);
    }

    fn outstanding(&self) -> usize {
        self.ring.outstanding() + self.pool.running() + self.received.len() + self.backlog.len()
    }

    fn open_files(&self) -> usize {
        self.local.files.len()
    }

    fn enters(&self) -> u64 {
        self.ring.enters()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.ring.waker()
    }

    fn describe(&self) -> String {
        self.ring.describe()
    }
}

impl Drop for UringEngine {
    /// Waits for every completion of the ring, so that no buffer is freed under an operation and no
    /// late open leaks its descriptor. Threads of the pool own what they work on; one that hangs
    /// is left to itself.
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
