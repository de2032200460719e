//! What a worker works with.

use super::outbox::{Done, Task, TaskId};
use super::seat::Seat;
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

/// What a worker works with: the tasks of a job and the operations behind them.
pub struct Desk<V> {
    pub(super) io: Io,
    tasks: Box<dyn Tasks<V>>,
    /// Tasks that items or the job have spawned. They go on while an item waits.
    background: Vec<BackgroundTask>,
    signal: Arc<Signal>,
    places: Vec<Place>,
    free: Vec<usize>,
    /// Places of the items that are not suspended: the one that was begun last, and those that were
    /// woken.
    active: Vec<usize>,
    /// The place of the item that is polled.
    polled: usize,
    /// Items that are suspended.
    suspended: usize,
    /// Some have been suspended, or no longer are.
    pub(super) suspended_changed: bool,
    /// Items that were suspended for the first time.
    pub(super) newly_suspended: Vec<TaskId>,
    pub(super) ended: Vec<Done<V>>,
    /// Where others see what the thread does.
    seat: Option<Arc<Seat<V>>>,
    /// Directories were opened after this hand-over. An item of a later one may have been named after
    /// another directory took the place of one of them.
    names_hold_until: u64,
    /// A batch for one item, used again and again.
    scratch: Arc<Batch>,
}

/// Where a desk has an item. Its number is that of a slot of the [`Io`].
struct Place {
    waker: Waker,
    woken: Arc<PlaceWaker>,
    task: Option<Task>,
    /// It has been suspended before.
    was_suspended: bool,
}

impl<V> Desk<V> {
    /// For the calling thread, which may have a descriptor table of its own.
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

    /// The same with another carrier, which does everything at once.
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
            seat: None,
            names_hold_until: 0,
            scratch: Arc::default(),
        }
    }

    /// The same for a job that gives results in parts.
    #[must_use]
    pub fn writing_to(self, writer: Arc<dyn PartWriter>) -> Self {
        self.io.write_parts_to(writer);
        self
    }

    /// The same where the thread has other waits than those for its items: `wake` ends them.
    #[must_use]
    pub(crate) fn woken_through(self, wake: Arc<dyn Wake>) -> Self {
        let _ = self.signal.wake.set(wake);
        self
    }

    /// The same for a thread that others look at.
    #[must_use]
    pub(super) fn seen_at(mut self, seat: &Arc<Seat<V>>) -> Self {
        self.io.show_operations(&seat.current);
        self.seat = Some(Arc::clone(seat));
        self
    }

    /// Runs an item until it has ended or is suspended, however long that takes. `latest` is the last
    /// hand-over so far.
    pub(super) fn run(&mut self, task: Task, latest: u64) {
        if task.batch > self.names_hold_until {
            self.io.forget_names();
            self.names_hold_until = latest;
        }
        let item = task.item.copy_into(&mut self.scratch);
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::new(&self.signal));
            self.places.len() - 1
        });
        self.io.begin_turn();
        self.io.item_started(number(at), item.index());
        if let Some(seat) = &self.seat {
            seat.current.is_in(number(at));
        }
        let place = &mut self.places[at];
        (place.task, place.was_suspended) = (Some(task), false);
        self.active.push(at);
        self.polled = at;
        self.go_on(|desk| desk.tasks.start(at, item));
    }

    /// Goes on with the suspended items that were woken, until each has ended or is suspended again.
    pub(super) fn resume(&mut self) {
        self.io.begin_turn();
        self.go_on(|_| {});
    }

    fn go_on(&mut self, begin: impl FnOnce(&mut Self)) {
        // After a panic the worker ends, so nothing inconsistent is used again.
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
        self.io.item_goes_on(number(at));
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
            lacks: self.io.item_lacks(number(at)),
        });
        self.io.item_abandoned(number(at));
        self.io.item_ended(number(at));
        self.free.push(at);
    }

    /// Closes what an item has left open. Its result does not wait for that longer than its deadline.
    fn close_left(&self, at: usize, id: TaskId, result: ItemResult<V>) -> ItemResult<V> {
        if !self.io.has_left_open(number(at)) {
            return result;
        }
        let mut closed = Ok(());
        let mut close = || closed = self.io.close_left(number(at));
        let result = match &self.seat {
            Some(seat) => seat.close(id, result, close),
            None => {
                close();
                Some(result)
            }
        };
        let in_close = |errno| ItemError::errno(Operation::Close, errno);
        match (result, closed) {
            (Some(Ok(_)), Err(errno)) => Err(in_close(errno)),
            (Some(result), _) => result,
            // Nobody waits for this one.
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
        // Whoever has woken it before did not know.
        if place.woken.is_woken.load(Ordering::SeqCst) {
            self.signal.is_wanted.store(true, Ordering::SeqCst);
        }
    }

    /// Suspended items that were woken are active again.
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

    /// The suspended items, and what each did last.
    pub(super) fn suspended_items(&self) -> impl Iterator<Item = (TaskId, Operation)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(at, place)| {
            let task = place.task.as_ref()?;
            Some((task.id, self.io.last_operation(number(at))))
        })
    }

    /// The item at this place waits meanwhile.
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

    /// Publishes what was recorded, and keeps no directory in use while nothing is to do.
    pub(super) fn rest(&self) {
        self.io.forget_names();
        self.io.publish();
    }
}

impl<V> Drop for Desk<V> {
    /// Tasks that were never polled lead back to where they are kept.
    fn drop(&mut self) {
        drop(self.io.take_spawned());
    }
}

/// A place as a slot of the [`Io`].
fn number(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32 items")
}

/// Ends a wait of the thread that has the desk.
struct Signal {
    thread: Thread,
    /// A suspended item was woken.
    is_wanted: AtomicBool,
    /// Ends the waits that are not for active items alone.
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
