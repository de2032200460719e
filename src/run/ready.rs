//! Tasks that are to be polled, and the wakers that put them there.

use crate::io::Wake as EndWait;
use crate::lock::lock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Wake, Waker};

/// The tasks of one loop that were woken. Wakers may be called on any thread.
pub(super) struct ReadyQueue {
    state: Mutex<State>,
    /// Ends a wait of the loop.
    end_wait: Arc<dyn EndWait>,
}

#[derive(Default)]
struct State {
    tasks: Vec<u32>,
    /// The loop waits, or is about to: adding a task ends its wait.
    waits: bool,
}

impl ReadyQueue {
    pub(super) fn new(end_wait: Arc<dyn EndWait>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            end_wait,
        })
    }

    /// A waker for the task with this number.
    pub(super) fn waker(self: &Arc<Self>, task: u32) -> TaskWaker {
        let inner = Arc::new(Inner {
            task,
            is_queued: AtomicBool::new(false),
            queue: Arc::clone(self),
        });
        TaskWaker {
            waker: Waker::from(Arc::clone(&inner)),
            inner,
        }
    }

    /// Moves the woken tasks to the end of `into`, in the order in which they were woken.
    pub(super) fn take(&self, into: &mut Vec<u32>) {
        into.append(&mut self.lock().tasks);
    }

    /// Records that the loop is about to wait. False if it must not wait, because tasks were woken.
    pub(super) fn may_wait(&self) -> bool {
        let mut state = self.lock();
        state.waits = state.tasks.is_empty();
        state.waits
    }

    /// Records that the loop does not wait any more.
    pub(super) fn ends_wait(&self) {
        self.lock().waits = false;
    }

    fn add(&self, task: u32) {
        let mut state = self.lock();
        state.tasks.push(task);
        let waits = std::mem::take(&mut state.waits);
        drop(state);
        if waits {
            self.end_wait.wake();
        }
    }

    /// The list is consistent between any two calls, so a poisoned lock does no harm.
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Wakes one task. Made once for each slot, and used for all tasks of the slot in turn: a late wake-up for
/// an earlier task polls the current one once more than needed, which does no harm.
pub(super) struct TaskWaker {
    waker: Waker,
    inner: Arc<Inner>,
}

struct Inner {
    task: u32,
    is_queued: AtomicBool,
    queue: Arc<ReadyQueue>,
}

impl TaskWaker {
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// To be called before the task is polled: from then on it may be queued again.
    pub(super) fn begin_poll(&self) {
        self.inner.is_queued.store(false, Ordering::Release);
    }
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.queue.add(self.task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl EndWait for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_is_queued_once_until_it_is_polled() {
        let queue = ReadyQueue::new(Arc::<Count>::default());
        let (one, two) = (queue.waker(1), queue.waker(2));
        two.waker().wake_by_ref();
        one.waker().wake_by_ref();
        two.waker().wake_by_ref();
        let mut woken = Vec::new();
        queue.take(&mut woken);
        assert_eq!(woken, [2, 1]);
        two.begin_poll();
        two.waker().wake_by_ref();
        one.waker().wake_by_ref();
        woken.clear();
        queue.take(&mut woken);
        assert_eq!(woken, [2], "the other was not polled yet");
    }

    #[test]
    fn only_a_loop_that_waits_is_notified() {
        let count = Arc::<Count>::default();
        let queue = ReadyQueue::new(Arc::clone(&count) as Arc<dyn EndWait>);
        let (one, two) = (queue.waker(1), queue.waker(2));
        assert!(queue.may_wait());
        one.waker().wake_by_ref();
        two.waker().wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(!queue.may_wait(), "there are tasks to be polled");
    }
}
