//! A pool of threads for calls that may block, and the outbox through which they answer.

use super::{Op, Token, Wake, direct};
use crate::error::Errno;
use rustix::fs::Statx;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// An operation for a thread of the pool, with the file it is about.
pub(super) struct Task {
    pub(super) token: Token,
    pub(super) op: Op,
    pub(super) file: Option<Arc<OwnedFd>>,
}

/// An operation a thread has ended.
pub(super) struct Finished {
    pub(super) token: Token,
    pub(super) op: Op,
    pub(super) result: Result<Answer, Errno>,
}

/// What the call gave.
pub(super) enum Answer {
    Stat(Box<Statx>),
    Descriptor(OwnedFd),
    Count(usize),
    Done,
}

impl Task {
    /// Makes the call. It may block for as long as the kernel likes.
    fn run(self) -> Finished {
        let Self {
            token,
            mut op,
            file,
        } = self;
        let result = match &mut op {
            Op::StatPath(path) => {
                direct::stat_path(direct::path(path)).map(|statx| Answer::Stat(Box::new(statx)))
            }
            Op::Open { path, wait, .. } => {
                direct::open(direct::path(path), *wait).map(Answer::Descriptor)
            }
            Op::StatFile(_) => {
                direct::stat_file_blocking(file.as_ref().expect("set by the engine").as_fd())
                    .map(|statx| Answer::Stat(Box::new(statx)))
            }
            Op::Read { offset, buffer, .. } => {
                let file = file.as_ref().expect("set by the engine");
                direct::read(file.as_fd(), *offset, buffer).map(Answer::Count)
            }
            Op::Close(_) => {
                // Reads that hang elsewhere may still share it; it is closed with the last.
                drop(file);
                Ok(Answer::Done)
            }
            Op::Socket(_) => unreachable!("sockets are not for the pool"),
        };
        Finished { token, op, result }
    }

    fn cancelled(self) -> Finished {
        Finished {
            token: self.token,
            op: self.op,
            result: Err(Errno::new(libc::ECANCELED)),
        }
    }
}

/// Threads that make the calls that may block.
pub(super) struct Pool {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    workers: usize,
    workers_max: usize,
    running: usize,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    idle: usize,
    closed: bool,
}

impl Pool {
    /// A pool of up to so many threads, started as they are needed. It wakes the loop when one has
    /// finished something.
    pub(super) fn new(workers_max: usize, wake: Arc<dyn Wake>) -> Self {
        Self {
            shared: Arc::default(),
            outbox: Arc::new(Outbox {
                finished: Mutex::default(),
                wake,
            }),
            workers: 0,
            workers_max: workers_max.max(1),
            running: 0,
        }
    }

    /// Tasks whose answers have not been collected.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Moves all answers to the end of `into`.
    pub(super) fn collect(&mut self, into: &mut VecDeque<Finished>) {
        if self.running > 0 {
            let mut finished = lock(&self.outbox.finished);
            self.running -= finished.len();
            into.append(&mut finished);
        }
    }

    pub(super) fn workers_max(&self) -> usize {
        self.workers_max
    }

    /// Queues a task, with one more thread if none is idle. Where not even a first thread can be
    /// had, the caller makes the call: slow progress is better than none.
    pub(super) fn run(&mut self, task: Task) {
        self.running += 1;
        let mut queue = lock(&self.shared.queue);
        let short_of_workers = queue.idle <= queue.tasks.len();
        queue.tasks.push_back(task);
        drop(queue);
        if short_of_workers && self.workers < self.workers_max && self.start_worker() {
            self.workers += 1;
        }
        if self.workers > 0 {
            self.shared.filled.notify_one();
        } else if let Some(task) = lock(&self.shared.queue).tasks.pop_front() {
            self.outbox.post(task.run());
        }
    }

    fn start_worker(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let outbox = Arc::clone(&self.outbox);
        std::thread::Builder::new()
            .name("ringmill-io".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || shared.work(&outbox))
            .is_ok()
    }

    /// Takes back the tasks that no thread has begun.
    pub(super) fn cancel(&self, slot: u32) {
        let mut queue = lock(&self.shared.queue);
        let (cancelled, kept) = queue.tasks.drain(..).partition(|task| {
            // A close must happen.
            !matches!(task.op, Op::Close(_)) && task.token.slot == slot
        });
        queue.tasks = kept;
        drop(queue);
        let cancelled: VecDeque<Task> = cancelled;
        cancelled
            .into_iter()
            .for_each(|task| self.outbox.post(task.cancelled()));
    }
}

impl Drop for Pool {
    /// Lets the threads end by themselves: one may be stuck in a call for ever.
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.filled.notify_all();
    }
}

impl Shared {
    fn work(&self, outbox: &Outbox) {
        while let Some(task) = self.next_task() {
            outbox.post(task.run());
        }
    }

    fn next_task(&self) -> Option<Task> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                return Some(task);
            }
            if queue.closed {
                return None;
            }
            queue.idle += 1;
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

/// Where threads leave what they have finished.
pub(super) struct Outbox {
    finished: Mutex<VecDeque<Finished>>,
    /// Tells the loop that there is something.
    wake: Arc<dyn Wake>,
}

impl Outbox {
    fn post(&self, finished: Finished) {
        let mut outbox = lock(&self.finished);
        let was_empty = outbox.is_empty();
        outbox.push_back(finished);
        drop(outbox);
        if was_empty {
            self.wake.wake();
        }
    }
}

/// The queues hold plain data: a panic elsewhere leaves nothing half done in them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
