//! The same operations on a pool of threads, where io_uring is forbidden. It never makes an
//! io_uring call: some sandboxes kill the process for one.

mod pool;

use super::files::FileTable;
use super::mounts::Mounts;
use super::residency::Residency;
use super::{Completion, Done, Engine, FileSystem, Op, Token, Value, Wait, Wake, direct};
use crate::error::Errno;
use pool::{Answer, Finished, Mailbox, Pool, Task};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Completions handed over in one turn, at most.
const COMPLETIONS_PER_TURN: usize = 256;

/// Operations as plain calls: on the loop where they do not block, on the pool where they may.
pub struct ThreadsEngine {
    pool: Pool,
    mailbox: Arc<Mailbox>,
    files: FileTable<Arc<OwnedFd>>,
    mounts: Mounts,
    residency: Residency,
    received: VecDeque<Finished>,
    on_pool: usize,
    origin: Instant,
}

impl ThreadsEngine {
    /// An engine with up to `workers_max` threads, started as they are needed.
    #[must_use]
    pub fn new(workers_max: usize) -> Self {
        let mailbox = Arc::new(Mailbox::default());
        Self {
            pool: Pool::new(workers_max, Arc::clone(&mailbox)),
            mailbox,
            files: FileTable::new(),
            mounts: Mounts::default(),
            residency: Residency::new(),
            received: VecDeque::new(),
            on_pool: 0,
            origin: Instant::now(),
        }
    }

    /// Does the operation on the loop if that is not going to block.
    fn try_direct(&mut self, op: &mut Op) -> Option<Result<Value, Errno>> {
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
                Some(Ok(Value::File(
                    self.files.insert(Arc::new(descriptor), file_system),
                )))
            }
            Op::Open { .. } => None,
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
                let descriptor = file.handle.as_fd();
                match file.file_system {
                    FileSystem::Memory => {
                        Some(direct::read(descriptor, *offset, buffer).map(Value::Count))
                    }
                    FileSystem::Nowait => direct::read_cached(descriptor, *offset, buffer)
                        .map(Value::Count)
                        .map(Ok),
                    FileSystem::Blocking => None,
                }
            }
            Op::Close(file) => {
                if self.files.get(*file).file_system == FileSystem::Blocking {
                    return None;
                }
                drop(self.files.remove(*file));
                Some(Ok(Value::Done))
            }
        }
    }

    fn task(&mut self, token: Token, op: Op) -> Task {
        let file = match &op {
            Op::StatFile(file) | Op::Read { file, .. } => {
                Some(Arc::clone(&self.files.get(*file).handle))
            }
            Op::Close(file) => Some(self.files.remove(*file).handle),
            Op::StatPath(_) | Op::Open { .. } => None,
        };
        Task { token, op, file }
    }

    fn complete(&mut self, finished: Finished) -> Completion {
        let Finished { token, op, result } = finished;
        let result = result.map(|answer| match (answer, &op) {
            (Answer::Stat(statx), op) => {
                let stat = direct::to_stat(&statx, &mut self.mounts);
                if let (Op::StatPath(path), super::FileKind::Regular) = (op, stat.kind) {
                    self.residency.learn(path.bytes(), stat.file_system);
                }
                Value::Stat(stat)
            }
            (Answer::Descriptor(descriptor), Op::Open { file_system, .. }) => {
                Value::File(self.files.insert(Arc::new(descriptor), *file_system))
            }
            (Answer::Descriptor(_), _) => unreachable!("only an open gives a descriptor"),
            (Answer::Count(count), _) => Value::Count(count),
            (Answer::Done, _) => Value::Done,
        });
        Completion { token, op, result }
    }
}

impl Engine for ThreadsEngine {
    fn submit(&mut self, token: Token, mut op: Op) -> Option<Done> {
        if let Some(result) = self.try_direct(&mut op) {
            return Some((op, result));
        }
        let task = self.task(token, op);
        self.on_pool += 1;
        self.pool.run(task);
        None
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let wait = if self.received.is_empty() {
            wait
        } else {
            Wait::No
        };
        self.mailbox.receive(wait, &mut self.received);
        for _ in 0..COMPLETIONS_PER_TURN {
            let Some(finished) = self.received.pop_front() else {
                break;
            };
            self.on_pool -= 1;
            let completion = self.complete(finished);
            completions.push(completion);
        }
        Ok(())
    }

    /// A plain call cannot be cancelled; only what no thread has begun is.
    fn cancel(&mut self, token: Token) {
        self.pool.cancel(|task| task.token == token);
    }

    fn outstanding(&self) -> usize {
        self.on_pool
    }

    fn open_files(&self) -> usize {
        self.files.len()
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.mailbox) as Arc<dyn Wake>
    }

    fn describe(&self) -> String {
        format!("threads (up to {})", self.pool.workers_max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Buffer, BufferClass, BufferPool};
    use crate::item::{Batch, Item};

    fn item(name: &str) -> Item {
        let mut batch = Batch::default();
        batch.push(name.as_bytes());
        Item::new(Arc::new(batch), 0)
    }

    fn one(engine: &mut ThreadsEngine, op: Op) -> Completion {
        let mut completions = Vec::new();
        if let Some((op, result)) = engine.submit(7, op) {
            return Completion {
                token: 7,
                op,
                result,
            };
        }
        while completions.is_empty() {
            engine.turn(Wait::Forever, &mut completions).unwrap();
        }
        assert_eq!(completions[0].token, 7);
        completions.pop().unwrap()
    }

    fn buffer() -> Buffer {
        BufferPool::new(1, 1).take(BufferClass::Small).unwrap()
    }

    #[test]
    fn a_file_is_looked_up_opened_read_and_closed() {
        let mut engine = ThreadsEngine::new(2);
        let path = item("/proc/self/comm");
        let Ok(Value::Stat(stat)) = one(&mut engine, Op::StatPath(path.clone())).result else {
            panic!("no metadata")
        };
        let open = Op::Open {
            path,
            wait: false,
            file_system: stat.file_system,
        };
        let Ok(Value::File(file)) = one(&mut engine, open).result else {
            panic!("no file")
        };
        assert_eq!(engine.open_files(), 1);
        let read = one(
            &mut engine,
            Op::Read {
                file,
                offset: Some(0),
                buffer: buffer(),
            },
        );
        assert!(matches!(read.result, Ok(Value::Count(1..))));
        assert!(one(&mut engine, Op::Close(file)).result.is_ok());
        assert_eq!((engine.open_files(), engine.outstanding()), (0, 0));
    }

    #[test]
    fn a_missing_path_gives_its_errno_and_its_op_back() {
        let mut engine = ThreadsEngine::new(1);
        let completion = one(&mut engine, Op::StatPath(item("/no/such/file")));
        assert_eq!(completion.result.err(), Some(Errno::new(libc::ENOENT)));
        assert!(matches!(completion.op, Op::StatPath(_)));
    }

    #[test]
    fn a_wake_up_ends_a_wait() {
        let mut engine = ThreadsEngine::new(1);
        engine.waker().wake();
        engine.turn(Wait::Forever, &mut Vec::new()).unwrap();
    }
}
