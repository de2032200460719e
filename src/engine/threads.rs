//! The same operations on a pool of threads, where io_uring is forbidden. It never makes an
//! io_uring call: some sandboxes kill the process for one.

use super::local::Local;
use super::pool::{Finished, Pool};
use super::{Completion, Engine, Op, SocketOp, Token, Value, Wait, Wake};
use crate::clock::{self, Clock};
use crate::error::Errno;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// Completions handed over in one turn, at most.
const COMPLETIONS_PER_TURN: usize = 256;

/// Operations as plain calls: on the loop where they do not block, on the pool where they may.
pub struct ThreadsEngine {
    local: Local,
    pool: Pool,
    bell: Arc<Bell>,
    received: VecDeque<Finished>,
    /// Sockets that something is waited for at.
    sockets: Vec<(Token, Op)>,
    /// No longer waited for.
    cancelled: Vec<Completion>,
}

impl ThreadsEngine {
    /// An engine with up to `workers_max` threads, started as they are needed.
    #[must_use]
    pub fn new(workers_max: usize) -> Self {
        let bell = Arc::new(Bell::default());
        Self {
            local: Local::new(false),
            pool: Pool::new(workers_max, Arc::clone(&bell) as Arc<dyn Wake>),
            bell,
            received: VecDeque::new(),
            sockets: Vec::new(),
            cancelled: Vec::new(),
        }
    }

    /// Waits until one of the sockets is ready, or the bell is rung.
    fn wait_for_sockets(&self, wait: Wait) -> io::Result<()> {
        let bell = self.bell.descriptor()?;
        let wait = if self.bell.was_rung() { Wait::No } else { wait };
        let timeout = match wait {
            Wait::No => Some(Timespec::default()),
            Wait::Forever => None,
            // A time too long for the kernel's type is for ever.
            Wait::AtMost(duration) => Timespec::try_from(duration).ok(),
        };
        let mut descriptors = vec![PollFd::new(bell, PollFlags::IN)];
        descriptors.extend(self.sockets.iter().map(|(_, op)| {
            let Op::Socket(op) = op else {
                unreachable!("only sockets are waited for")
            };
            let (socket, flags) = match op {
                SocketOp::Make { .. } => unreachable!("done at once"),
                SocketOp::Connect { socket, .. } | SocketOp::Send { socket, .. } => {
                    (socket, PollFlags::OUT)
                }
                SocketOp::Receive { socket, .. } => (socket, PollFlags::IN),
            };
            let handle = &self.local.files.get(*socket).handle;
            PollFd::from_borrowed_fd(handle.as_fd(), flags)
        }));
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.bell.forget();
        Ok(())
    }

    /// Does what can be done at sockets now.
    fn serve_sockets(&mut self, completions: &mut Vec<Completion>) {
        for (token, mut op) in std::mem::take(&mut self.sockets) {
            match self.local.try_now(&mut op) {
                Some(result) => completions.push(Completion { token, op, result }),
                None => self.sockets.push((token, op)),
            }
        }
    }
}

impl Clock for ThreadsEngine {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

impl Engine for ThreadsEngine {
    fn try_now(&mut self, op: &mut Op) -> Option<Result<Value, Errno>> {
        self.local.try_now(op)
    }

    fn forget_names(&mut self) {
        self.local.forget_names();
    }

    fn submit(&mut self, token: Token, op: Op) {
        if let Op::Socket(_) = op {
            self.sockets.push((token, op));
        } else {
            let task = self.local.task(token, op);
            self.pool.run(task);
        }
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.pool.collect(&mut self.received);
        completions.append(&mut self.cancelled);
        if !self.sockets.is_empty() {
            let is_idle = self.received.is_empty() && completions.is_empty();
            self.wait_for_sockets(if is_idle { wait } else { Wait::No })?;
            self.serve_sockets(completions);
        } else if self.received.is_empty() && completions.is_empty() {
            self.bell.wait(wait);
        }
        self.pool.collect(&mut self.received);
        let count = self.received.len().min(COMPLETIONS_PER_TURN);
        let local = &mut self.local;
        completions.extend(
            self.received
                .drain(..count)
                .map(|finished| local.complete(finished)),
        );
        Ok(())
    }

    /// A plain call cannot be cancelled; only what no thread has begun is.
    fn cancel(&mut self, slot: u32) {
        self.pool.cancel(slot);
        let ended = self.sockets.extract_if(.., |(token, _)| token.slot == slot);
        self.cancelled.extend(ended.map(|(token, op)| Completion {
            token,
            op,
            result: Err(Errno::new(libc::ECANCELED)),
        }));
    }

    fn outstanding(&self) -> usize {
        self.pool.running() + self.received.len() + self.sockets.len() + self.cancelled.len()
    }

    fn open_files(&self) -> usize {
        self.local.files.len()
    }

    fn enters(&self) -> u64 {
        0
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.bell) as Arc<dyn Wake>
    }

    fn describe(&self) -> String {
        format!("threads (up to {})", self.pool.workers_max())
    }
}

/// What the loop waits for: rung by the pool, and by whoever wakes the loop.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
    /// An eventfd, once the loop waits for sockets as well.
    descriptor: OnceLock<OwnedFd>,
}

impl Bell {
    /// Waits as told until it has been rung, which it then forgets.
    fn wait(&self, wait: Wait) {
        let mut rung = self.lock();
        let deadline = match wait {
            Wait::No => return *rung = false,
            Wait::Forever => None,
            Wait::AtMost(duration) => Some(Instant::now() + duration),
        };
        while !*rung {
            let Some(deadline) = deadline else {
                rung = self.ring.wait(rung).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.ring.wait_timeout(rung, left);
            rung = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *rung = false;
    }

    /// A descriptor that becomes readable when it is rung from now on.
    fn descriptor(&self) -> io::Result<&OwnedFd> {
        if self.descriptor.get().is_none() {
            let made = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            // Only the loop's own thread comes here.
            let _ = self.descriptor.set(made);
        }
        Ok(self.descriptor.get().expect("just made"))
    }

    /// True if it has been rung since it was last forgotten.
    fn was_rung(&self) -> bool {
        *self.lock()
    }

    /// Forgets that it has been rung.
    fn forget(&self) {
        let mut rung = self.lock();
        if let Some(descriptor) = self.descriptor.get() {
            // It fails if there is nothing to take away.
            let _ = rustix::io::read(descriptor, &mut [0; 8]);
        }
        *rung = false;
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(&self) {
        let mut rung = self.lock();
        *rung = true;
        self.ring.notify_one();
        if let Some(descriptor) = self.descriptor.get() {
            // It can only fail when the counter is full, and then the loop is awake.
            let _ = rustix::io::write(descriptor, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Buffer, BufferClass, BufferPool};
    use crate::item::{Batch, Item};

    fn item(name: &str) -> Item {
        Item::new(Arc::new(Batch::from_iter([name])), 0)
    }

    fn one(engine: &mut ThreadsEngine, mut op: Op) -> Completion {
        let token = Token {
            slot: 7,
            submitted_at_ns: engine.now_ns(),
        };
        let mut completions = Vec::new();
        if let Some(result) = engine.try_now(&mut op) {
            return Completion { token, op, result };
        }
        engine.submit(token, op);
        while completions.is_empty() {
            engine.turn(Wait::Forever, &mut completions).unwrap();
        }
        assert_eq!(completions[0].token, token);
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
                parallel: false,
            },
        );
        assert!(matches!(read.result, Ok(Value::Count(1..))));
        assert!(one(&mut engine, Op::Close(file)).result.is_ok());
        assert_eq!((engine.open_files(), engine.outstanding()), (0, 0));
    }

    /// What is found under a name once it has been forgotten is what is there then.
    #[test]
    fn a_forgotten_directory_is_looked_up_anew() {
        let root = std::env::temp_dir().join(format!("ringmill-names-{}", std::process::id()));
        let directory = root.join("a");
        let path = item(directory.join("x").to_str().unwrap());
        let mut engine = ThreadsEngine::new(1);
        let size = |engine: &mut ThreadsEngine| {
            let Ok(Value::Stat(stat)) = one(engine, Op::StatPath(path.clone())).result else {
                panic!("no metadata")
            };
            stat.size_bytes
        };
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("x"), "1").unwrap();
        assert_eq!([size(&mut engine), size(&mut engine)], [1, 1]);
        std::fs::rename(&directory, root.join("b")).unwrap();
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("x"), "22").unwrap();
        engine.forget_names();
        assert_eq!(size(&mut engine), 2);
        std::fs::remove_dir_all(root).unwrap();
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
