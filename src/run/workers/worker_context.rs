//! The state of a worker: an executor for its items, over plain calls.

use super::outbox::{Done, Task, TaskId};
use super::status::WorkerStatus;
use crate::error::{Errno, ItemError, Operation};
use crate::io::blocking::Blocking;
use crate::io::{BackgroundTask, Carrier, Io, PartWriter, Wake};
use crate::item::Batch;
use crate::jobs::Job;
use crate::run::tasks::{ItemResult, Tasks, tasks_of};
use crate::stats::Recorder;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// The state of a worker: the tasks of a job and the operations that they use.
pub struct WorkerContext<V> {
    pub(super) io: Io,
    tasks: Box<dyn Tasks<V>>,
    /// Background tasks that items or the job have spawned. They are polled while an item waits.
    background: Vec<BackgroundTask>,
    signal: Arc<Signal>,
    places: Vec<Place>,
    free: Vec<usize>,
    /// Places of the items that are not suspended: the one that was started last, and those that were
    /// woken.
    active: Vec<usize>,
    /// The place of the item that is being polled.
    polled: usize,
    /// The number of suspended items.
    suspended: usize,
    /// Items have been suspended or resumed since the pool was updated.
    pub(super) suspended_changed: bool,
    /// Items that were suspended for the first time.
    pub(super) newly_suspended: Vec<TaskId>,
    pub(super) ended: Vec<Done<V>>,
    /// Shows the worker's current item to other threads.
    status: Option<Arc<WorkerStatus<V>>>,
    /// Cached directories are valid for items up to this hand-over. Items of a later one may have been named
    /// after a cached directory was replaced by another.
    names_hold_until: u64,
    /// A batch for one item, reused for each item.
    scratch: Arc<Batch>,
}

/// A slot of a worker_context. It has the same number as its slot of the [`Io`].
struct Place {
    waker: Waker,
    woken: Arc<PlaceWaker>,
    task: Option<Task>,
    /// It has been suspended before.
    was_suspended: bool,
}

impl<V> WorkerContext<V> {
    /// A worker_context for the calling thread, which may have its own descriptor table.
    #[must_use]
    pub fn new<J: Job<Value = V>>(
        job: &J,
        recorder: Recorder,
        times_items: bool,
        has_own_table: bool,
    ) -> Self {
        let carrier = Box::new(Blocking::new(has_own_table));
        Self::with(job, carrier, recorder, times_items)
    }

    /// A worker_context with another carrier, whose operations complete at once.
    #[must_use]
    pub fn with<J: Job<Value = V>>(
        job: &J,
        carrier: Box<dyn Carrier>,
        recorder: Recorder,
        times_items: bool,
    ) -> Self {
        let io = Io::for_worker(carrier, recorder, times_items);
        let signal = Arc::new(Signal {
            thread: thread::current(),
            is_wanted: AtomicBool::new(false),
            wake: OnceLock::new(),
        });
        Self {
            tasks: tasks_of(job, &io),
            background: Vec::new(),
            io,
            signal,
            places: Vec::new(),
            free: Vec::new(),
            active: Vec::new(),
            polled: 0,
            suspended: 0,
            suspended_changed: false,
            newly_suspended: Vec::new(),
            ended: Vec::new(),
            status: None,
            names_hold_until: 0,
            scratch: Arc::default(),
        }
    }

    /// Sets where parts of results are written.
    #[must_use]
    pub fn writing_to(self, writer: Arc<dyn PartWriter>) -> Self {
        self.io.write_parts_to(writer);
        self
    }

    /// Sets the waker that ends other waits of the thread than those for its active items.
    #[must_use]
    pub(crate) fn woken_through(self, wake: Arc<dyn Wake>) -> Self {
        let _ = self.signal.wake.set(wake);
        self
    }

    /// Shows the worker's current item in `status`, for other threads.
    #[must_use]
    pub(super) fn publishing_to(mut self, status: &Arc<WorkerStatus<V>>) -> Self {
        self.io.show_operations(&status.current);
        self.status = Some(Arc::clone(status));
        self
    }

    /// Runs an item until it has ended or is suspended, however long that takes. `latest` is the number of
    /// the last hand-over so far.
    pub(super) fn run(&mut self, task: Task, latest: u64) {
        if task.batch > self.names_hold_until {
            self.io.leave_directory();
            self.names_hold_until = latest;
        }
        let item = task.item.copy_into(&mut self.scratch);
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::new(&self.signal));
            self.places.len() - 1
        });
        self.io.begin_turn();
        self.io.item_started(number(at), item.index());
        if let Some(status) = &self.status {
            status.current.is_in(number(at));
        }
        let place = &mut self.places[at];
        (place.task, place.was_suspended) = (Some(task), false);
        self.active.push(at);
        self.polled = at;
        self.go_on(|worker_context| worker_context.tasks.start(at, item));
    }

    /// Resumes the suspended items that were woken, until each has ended or is suspended again.
    pub(super) fn resume(&mut self) {
        self.io.begin_turn();
        self.go_on(|_| {});
    }

    fn go_on(&mut self, begin: impl FnOnce(&mut Self)) {
        // After a panic the worker ends, so inconsistent state is not used again.
        let poll = panic::catch_unwind(AssertUnwindSafe(|| {
            begin(self);
            self.poll_active();
        }));
        if let Err(panic) = poll {
            self.end(self.polled, Err(panic));
        }
    }

    fn poll_active(&mut self) {
        loop {
            self.activate_woken();
            let mut next = 0;
            while let Some(&at) = self.active.get(next) {
                match self.poll(at) {
                    Poll::Ready(result) => {
                        self.active.swap_remove(next);
                        self.end(at, Ok(result));
                    }
                    Poll::Pending if self.io.item_waits_to_write(number(at)) => {
                        self.active.swap_remove(next);
                        self.suspend(at);
                    }
                    Poll::Pending => next += 1,
                }
            }
            let Some(&first) = self.active.first() else {
                return;
            };
            self.polled = first;
            self.poll_background(first);
            self.wait();
        }
    }

    fn poll(&mut self, at: usize) -> Poll<ItemResult<V>> {
        self.polled = at;
        let mut context = Context::from_waker(&self.places[at].waker);
        let poll = || self.tasks.poll(at, &mut context);
        let (poll, _) = self.io.enter(Some(number(at)), poll);
        self.io.item_polled(number(at));
        poll
    }

    fn end(&mut self, at: usize, outcome: thread::Result<ItemResult<V>>) {
        let task = self.places[at].task.take().expect("it was begun");
        let outcome = outcome.map(|result| self.close_left(at, task.id, result));
        self.ended.push(Done {
            id: task.id,
            item: task.item,
            outcome,
            finished_at_ns: self.io.item_time_ns(),
            operations: self.io.take_operations(),
            has_written: self.io.item_has_written(number(at)),
            is_exhausted: self.io.item_is_left_to_loop(number(at)),
        });
        self.io.item_abandoned(number(at));
        self.io.item_ended(number(at));
        self.free.push(at);
    }

    /// Closes the files that an item left open. Its result waits for that at most until its deadline.
    fn close_left(&self, at: usize, id: TaskId, result: ItemResult<V>) -> ItemResult<V> {
        if !self.io.has_left_open(number(at)) {
            return result;
        }
        let mut closed = Ok(());
        let mut close = || closed = self.io.close_left(number(at));
        let result = match &self.status {
            Some(status) => status.close(id, result, close),
            None => {
                close();
                Some(result)
            }
        };
        let in_close = |errno| ItemError::errno(Operation::Close, errno);
        match (result, closed) {
            (Some(Ok(_)), Err(errno)) => Err(in_close(errno)),
            (Some(result), _) => result,
            // The result was taken already; this one is dropped.
            (None, _) => Err(in_close(Errno::new(libc::ECANCELED))),
        }
    }

    // Suspended items.

    fn suspend(&mut self, at: usize) {
        self.suspended += 1;
        self.suspended_changed = true;
        let place = &mut self.places[at];
        if !std::mem::replace(&mut place.was_suspended, true) {
            let task = place.task.as_ref().expect("it was begun");
            self.newly_suspended.push(task.id);
        }
        place.woken.is_suspended.store(true, Ordering::SeqCst);
        // A waker that was called earlier did not know that the item is suspended.
        if place.woken.is_woken.load(Ordering::SeqCst) {
            self.signal.is_wanted.store(true, Ordering::SeqCst);
        }
    }

    /// Makes suspended items that were woken active again.
    fn activate_woken(&mut self) {
        if !self.is_woken() {
            return;
        }
        self.signal.is_wanted.store(false, Ordering::SeqCst);
        for (at, place) in self.places.iter().enumerate() {
            let is_suspended = || place.woken.is_suspended.load(Ordering::SeqCst);
            if is_suspended() && place.woken.is_woken.swap(false, Ordering::SeqCst) {
                place.woken.is_suspended.store(false, Ordering::SeqCst);
                self.active.push(at);
                self.suspended -= 1;
                self.suspended_changed = true;
            }
        }
    }

    /// True if a suspended item can go on.
    pub(super) fn is_woken(&self) -> bool {
        self.suspended > 0 && self.signal.is_wanted.load(Ordering::SeqCst)
    }

    /// True if no item is suspended.
    pub(crate) fn is_idle(&self) -> bool {
        self.suspended == 0
    }

    /// When a timer of a suspended item is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let due = || self.io.next_sleep_due();
        if self.is_idle() { None } else { due() }
    }

    /// Wakes the suspended items whose timers are due.
    pub(super) fn wake_due(&self) {
        if self.next_due().is_some_and(|due| due <= self.io.now()) {
            self.io.begin_turn();
        }
    }

    /// The suspended items, with the last operation of each.
    pub(super) fn suspended_items(&self) -> impl Iterator<Item = (TaskId, Operation)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(at, place)| {
            let task = place.task.as_ref()?;
            Some((task.id, self.io.last_operation(number(at))))
        })
    }

    /// Polls the background tasks, while the item at this place waits.
    fn poll_background(&mut self, at: usize) {
        self.background.append(&mut self.io.take_spawned());
        let mut context = Context::from_waker(&self.places[at].waker);
        let io = &self.io;
        let mut goes_on = |task: &mut BackgroundTask| {
            let (poll, _) = io.enter(None, || task.as_mut().poll(&mut context));
            poll.is_pending()
        };
        self.background.retain_mut(&mut goes_on);
    }

    /// Waits until a task is woken or a timer is due.
    fn wait(&mut self) {
        if !self.io.wants_turn() {
            match self.io.next_sleep_due() {
                None => thread::park(),
                Some(at) => thread::park_timeout(at.saturating_sub(self.io.now())),
            }
        }
        self.io.begin_turn();
    }

    /// Publishes recorded latencies and closes cached directories, because there is nothing to do.
    pub(super) fn rest(&self) {
        self.io.leave_directory();
        self.io.publish();
    }
}

impl<V> Drop for WorkerContext<V> {
    /// Spawned tasks that were never polled may own the [`Io`] that holds them: drop them to break the cycle.
    fn drop(&mut self) {
        drop(self.io.take_spawned());
    }
}

/// The number of a place as a slot of the [`Io`].
fn number(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32 items")
}

/// Ends a wait of the worker_context's thread.
struct Signal {
    thread: Thread,
    /// A suspended item was woken.
    is_wanted: AtomicBool,
    /// Ends the waits of the thread that `unpark` does not end: those outside the worker_context.
    wake: OnceLock<Arc<dyn Wake>>,
}

struct PlaceWaker {
    is_woken: AtomicBool,
    is_suspended: AtomicBool,
    signal: Arc<Signal>,
}

impl Place {
    fn new(signal: &Arc<Signal>) -> Self {
        let woken = Arc::new(PlaceWaker {
            is_woken: AtomicBool::new(false),
            is_suspended: AtomicBool::new(false),
            signal: Arc::clone(signal),
        });
        Self {
            waker: Waker::from(Arc::clone(&woken)),
            woken,
            task: None,
            was_suspended: false,
        }
    }
}

impl std::task::Wake for PlaceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if self.is_suspended.load(Ordering::SeqCst) {
            self.signal.is_wanted.store(true, Ordering::SeqCst);
            if let Some(wake) = self.signal.wake.get() {
                wake.wake();
            }
        }
        self.signal.thread.unpark();
    }
}
