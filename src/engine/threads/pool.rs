//! The pool of threads behind the engine, and the mailbox through which they answer.

use crate::engine::{Op, Token, Wait, Wake, direct};
use crate::error::Errno;
use rustix::fs::Statx;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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
            Op::StatPath(_) => {
                direct::stat_path(direct::path_of(&op)).map(|statx| Answer::Stat(Box::new(statx)))
            }
            Op::Open { wait, .. } => {
                let wait = *wait;
                direct::open(direct::path_of(&op), wait).map(Answer::Descriptor)
            }
            Op::StatFile(_) => direct::stat_file(file.as_ref().expect("set by the engine").as_fd())
                .map(|statx| Answer::Stat(Box::new(statx))),
            Op::Read { offset, buffer, .. } => {
                let file = file.as_ref().expect("set by the engine");
                direct::read(file.as_fd(), *offset, buffer).map(Answer::Count)
            }
            Op::Close(_) => {
                drop(file);
                Ok(Answer::Done)
            }
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
    mailbox: Arc<Mailbox>,
    workers: usize,
    workers_max: usize,
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
    pub(super) fn new(workers_max: usize, mailbox: Arc<Mailbox>) -> Self {
        Self {
            shared: Arc::default(),
            mailbox,
            workers: 0,
            workers_max: workers_max.max(1),
        }
    }

    pub(super) fn workers_max(&self) -> usize {
        self.workers_max
    }

    /// Queues a task, with one more thread if none is idle. Where not even a first thread can be
    /// had, the caller makes the call: slow progress is better than none.
    pub(super) fn run(&mut self, task: Task) {
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
            self.mailbox.post(task.run());
        }
    }

    fn start_worker(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mailbox = Arc::clone(&self.mailbox);
        std::thread::Builder::new()
            .name("ringmill-io".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || shared.work(&mailbox))
            .is_ok()
    }

    /// Takes back the tasks that no thread has begun.
    pub(super) fn cancel(&self, wanted: impl Fn(&Task) -> bool) {
        let mut queue = lock(&self.shared.queue);
        let (cancelled, kept) = queue.tasks.drain(..).partition(|task| {
            // A close must happen.
            !matches!(task.op, Op::Close(_)) && wanted(task)
        });
        queue.tasks = kept;
        drop(queue);
        let cancelled: VecDeque<Task> = cancelled;
        cancelled
            .into_iter()
            .for_each(|task| self.mailbox.post(task.cancelled()));
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
    fn work(&self, mailbox: &Mailbox) {
        while let Some(task) = self.next_task() {
            mailbox.post(task.run());
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

/// Where threads leave what they have finished, and where the loop waits for it.
#[derive(Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inbox>,
    filled: Condvar,
}

#[derive(Default)]
struct Inbox {
    finished: VecDeque<Finished>,
    woken: bool,
}

impl Mailbox {
    fn post(&self, finished: Finished) {
        lock(&self.inner).finished.push_back(finished);
        self.filled.notify_one();
    }

    /// Moves everything finished to the end of `into`; waits as told while there is nothing.
    pub(super) fn receive(&self, wait: Wait, into: &mut VecDeque<Finished>) {
        let deadline = match wait {
            Wait::AtMost(duration) => Some(Instant::now() + duration),
            Wait::No | Wait::Forever => None,
        };
        let mut inbox = lock(&self.inner);
        while wait != Wait::No && inbox.finished.is_empty() && !inbox.woken {
            match deadline {
                None => {
                    inbox = self
                        .filled
                        .wait(inbox)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.filled.wait_timeout(inbox, left);
                    inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        inbox.woken = false;
        into.append(&mut inbox.finished);
    }
}

impl Wake for Mailbox {
    fn wake(&self) {
        lock(&self.inner).woken = true;
        self.filled.notify_one();
    }
}

/// The queues hold plain data: a panic elsewhere leaves nothing half done in them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
