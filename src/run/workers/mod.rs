//! Threads that run whole items where any call may block.
//!
//! A loop hands over the items of a turn as one batch. Each worker polls the same tasks as the loop
//! would, over plain calls, so an item costs no hand-over per operation. As many workers are active
//! as there are processors, and more only while those are found blocked in calls.
//!
//! An item that waits until it may hand over a part of its result is suspended: its worker runs
//! others meanwhile, for one of those may be what it waits for.

use super::tasks::{ItemResult, Tasks, tasks_of};
use super::{credentials, descriptors};
use crate::error::Operation;
use crate::io::blocking::Blocking;
use crate::io::{BackgroundTask, Carrier, CurrentOperation, Io, PartWriter, Wake};
use crate::item::{Batch, Item};
use crate::jobs::Job;
use crate::stats::Recorder;
use std::any::Any;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// Results that a worker leaves for a busy loop before it wakes it.
const RESULTS_PER_WAKE: usize = 64;

/// How often it is looked whether the workers are blocked, while items wait for one.
const SUPERVISION_INTERVAL: Duration = Duration::from_millis(5);

const STACK_BYTES: usize = 256 * 1024;

/// An item for a worker. It comes back with the result: the counter of its batch stays with the
/// loop's processor.
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) item: Item,
    /// The hand-over it came with; set by [`Workers::add`].
    pub(super) batch: u64,
}

/// Names an item of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskId {
    /// The loop, by its index.
    pub(super) of_loop: usize,
    pub(super) slot: u32,
}

/// An item that a worker has ended.
pub(super) struct Done<V> {
    pub(super) id: TaskId,
    pub(super) item: Item,
    /// Its result, or the panic of its task.
    pub(super) outcome: thread::Result<ItemResult<V>>,
    pub(super) finished_at_ns: u64,
    /// Operations it took.
    pub(super) operations: u64,
    /// It has handed over parts of its result.
    pub(super) has_written: bool,
}

/// Where workers leave the results of one loop's items.
pub(super) struct Outbox<V> {
    posted: Mutex<Posted<V>>,
    /// Results after which the loop is woken even if more are to come.
    results_per_wake: usize,
    wake: Arc<dyn Wake>,
}

/// What a loop has to know.
struct Posted<V> {
    done: Vec<Done<V>>,
    /// The slots of items that were suspended for the first time.
    suspended: Vec<u32>,
}

impl<V> Outbox<V> {
    /// For a loop with so many items in flight.
    pub(super) fn new(in_flight: usize, wake: Arc<dyn Wake>) -> Self {
        Self {
            posted: Mutex::new(Posted {
                done: Vec::new(),
                suspended: Vec::new(),
            }),
            results_per_wake: RESULTS_PER_WAKE.min(in_flight / 4).max(1),
            wake,
        }
    }

    /// Leaves a result. True if the loop is still to be told of it.
    fn post(&self, done: Done<V>) -> bool {
        let mut posted = lock(&self.posted);
        posted.done.push(done);
        let count = posted.done.len();
        drop(posted);
        if count == self.results_per_wake {
            self.wake.wake();
        }
        count < self.results_per_wake
    }

    fn has_results(&self) -> bool {
        !lock(&self.posted).done.is_empty()
    }

    /// Says that an item was suspended for the first time.
    fn post_suspended(&self, slot: u32) {
        lock(&self.posted).suspended.push(slot);
        self.wake.wake();
    }
}

/// What a worker works with: the tasks of a job and the operations behind them.
pub struct Desk<V> {
    io: Io,
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
    suspended_changed: bool,
    /// Items that were suspended for the first time.
    newly_suspended: Vec<TaskId>,
    ended: Vec<Done<V>>,
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
    pub(super) fn woken_through(self, wake: Arc<dyn Wake>) -> Self {
        let _ = self.signal.wake.set(wake);
        self
    }

    /// Runs an item until it has ended or is suspended, however long that takes. `latest` is the last
    /// hand-over so far.
    fn run(&mut self, task: Task, latest: u64) {
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
        let place = &mut self.places[at];
        (place.task, place.was_suspended) = (Some(task), false);
        self.active.push(at);
        self.polled = at;
        self.go_on(|desk| desk.tasks.start(at, item));
    }

    /// Goes on with the suspended items that were woken, until each has ended or is suspended again.
    fn resume(&mut self) {
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
        self.ended.push(Done {
            id: task.id,
            item: task.item,
            outcome,
            finished_at_ns: self.io.item_time_ns(),
            operations: self.io.take_operations(),
            has_written: self.io.item_has_written(number(at)),
        });
        self.io.item_abandoned(number(at));
        self.io.item_ended(number(at));
        self.free.push(at);
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
    fn is_woken(&self) -> bool {
        self.suspended > 0 && self.signal.is_wanted.load(Ordering::SeqCst)
    }

    /// True if no item is suspended.
    pub(super) fn is_idle(&self) -> bool {
        self.suspended == 0
    }

    /// When a timer of a suspended item is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let due = || self.io.next_sleep_due();
        if self.is_idle() { None } else { due() }
    }

    /// Wakes the suspended items whose timers are due.
    fn wake_due(&self) {
        if self.next_due().is_some_and(|due| due <= self.io.now()) {
            self.io.begin_turn();
        }
    }

    /// The suspended items, and what each did last.
    fn suspended_items(&self) -> impl Iterator<Item = (TaskId, Operation)> {
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
    fn rest(&self) {
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

/// The workers of a run. All its loops share them.
pub struct Workers<V> {
    shared: Arc<Shared<V>>,
    /// Makes what a new thread works with, on that thread. It is told whether the thread has a
    /// descriptor table of its own.
    new_desk: Arc<dyn Fn(bool) -> Desk<V> + Send + Sync>,
    workers_max: usize,
    /// Give each thread a descriptor table of its own, without descriptors from this number on.
    separate_below: Option<u32>,
}

struct Shared<V> {
    state: Mutex<State>,
    /// One for each loop.
    outboxes: Vec<OnceLock<Outbox<V>>>,
    filled: Condvar,
    exited: Condvar,
    /// Workers that may run items at a time, if none is blocked.
    processors: usize,
}

struct State {
    tasks: VecDeque<Task>,
    /// Hand-overs so far.
    batches: u64,
    /// The threads that were started.
    threads: Vec<WorkerThread>,
    /// Of these, threads that run an item.
    running: usize,
    /// Threads that may run items now.
    active_max: usize,
    closed: bool,
    supervised_at: Duration,
    /// Which loops will look for results within the interval of supervision, even if nobody wakes them.
    looking: Vec<bool>,
}

struct WorkerThread {
    /// `None` until it runs.
    id: Option<rustix::thread::Pid>,
    current: Arc<CurrentOperation>,
    runs: Runs,
    /// Suspended items, and what each did last.
    suspended: Vec<(TaskId, Operation)>,
    /// Nobody waits for that any more: it may be stuck.
    is_abandoned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    Nothing,
    Item(TaskId),
    /// It goes on with suspended items.
    Suspended,
}

impl WorkerThread {
    /// True if it may be stuck in the item.
    fn may_run(&self, id: TaskId) -> bool {
        match self.runs {
            Runs::Nothing => false,
            Runs::Item(own) => own == id,
            Runs::Suspended => self.suspended.iter().any(|(own, _)| *own == id),
        }
    }

    /// True if it may be stuck in an item of the loop.
    fn may_run_for(&self, of_loop: usize) -> bool {
        match self.runs {
            Runs::Nothing => false,
            Runs::Item(own) => own.of_loop == of_loop,
            Runs::Suspended => self.suspended.iter().any(|(own, _)| own.of_loop == of_loop),
        }
    }
}

/// What became of an item that is not wanted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawn {
    /// No worker had begun it.
    Unstarted,
    /// A worker has it, and its result will come. This is what it does.
    Running(Operation),
}

impl<V: Send + 'static> Workers<V> {
    /// Up to so many threads for so many loops, started as they are needed. `new_desk` is called on
    /// each, and told whether it has a descriptor table of its own. With `separate_below`, each has a descriptor table of its own: a copy of that of the loop
    /// which starts it, without the descriptors from this number on.
    #[must_use]
    pub fn new(
        loops: usize,
        workers_max: usize,
        separate_below: Option<u32>,
        new_desk: impl Fn(bool) -> Desk<V> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let processors = processors.min(workers_max);
        Arc::new(Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    tasks: VecDeque::new(),
                    batches: 0,
                    threads: Vec::new(),
                    running: 0,
                    active_max: processors,
                    closed: false,
                    supervised_at: Duration::ZERO,
                    looking: vec![false; loops],
                }),
                outboxes: (0..loops).map(|_| OnceLock::new()).collect(),
                filled: Condvar::new(),
                exited: Condvar::new(),
                processors,
            }),
            new_desk: Arc::new(new_desk),
            workers_max,
            separate_below,
        })
    }

    /// Says where the results of a loop's items go.
    pub(super) fn set_outbox(&self, of_loop: usize, outbox: Outbox<V>) {
        let is_new = self.shared.outboxes[of_loop].set(outbox).is_ok();
        assert!(is_new, "a loop has one outbox");
    }

    /// Moves the results of a loop's items to the end of `into`, and gives the slots of items that
    /// were suspended for the first time.
    pub(super) fn take_done(&self, of_loop: usize, into: &mut Vec<Done<V>>) -> Vec<u32> {
        let posted = &mut *lock(&self.shared.outbox(of_loop).posted);
        into.append(&mut posted.done);
        std::mem::take(&mut posted.suspended)
    }

    /// Hands items over. False if not one thread is to be had for them: then somebody has to call
    /// [`Workers::run_one`].
    pub(super) fn add(&self, tasks: impl Iterator<Item = Task>) -> bool {
        let mut state = lock(&self.shared.state);
        state.batches += 1;
        let batch = state.batches;
        state.tasks.extend(tasks.map(|task| Task { batch, ..task }));
        self.let_run(state)
    }

    /// Lets as many threads run as there are items and places for, starting those that do not exist
    /// yet. False if there is none.
    fn let_run(&self, mut state: MutexGuard<'_, State>) -> bool {
        let wanted = state.tasks.len().min(state.free_places());
        let idle = state.threads.len() - state.running;
        let missing = wanted.saturating_sub(idle);
        for _ in 0..missing.min(self.workers_max - state.threads.len()) {
            if !self.start_thread(&mut state) {
                break;
            }
        }
        let has_threads = !state.threads.is_empty();
        let ready = wanted.min(state.threads.len() - state.running);
        drop(state);
        for _ in 0..ready {
            self.shared.filled.notify_one();
        }
        has_threads
    }

    fn start_thread(&self, state: &mut State) -> bool {
        let shared = Arc::clone(&self.shared);
        let new_desk = Arc::clone(&self.new_desk);
        let separate_below = self.separate_below;
        let current = Arc::<CurrentOperation>::default();
        let worker = WorkerThread {
            id: None,
            current: Arc::clone(&current),
            runs: Runs::Nothing,
            suspended: Vec::new(),
            is_abandoned: false,
        };
        let thread = thread::Builder::new().name("ringmill-io".to_owned());
        let thread = thread.stack_size(STACK_BYTES).spawn(move || {
            let guard = ThreadGuard(&shared, current);
            credentials::separate();
            let has_own_table = separate_below.is_some_and(descriptors::separate_below);
            // After a panic nothing of it is used.
            match panic::catch_unwind(AssertUnwindSafe(|| new_desk(has_own_table))) {
                Ok(desk) => {
                    let mut desk = desk.woken_through(Arc::clone(guard.0) as Arc<dyn Wake>);
                    desk.io.show_operations(&guard.1);
                    guard.0.work(&mut desk, &guard.1);
                }
                Err(panic) => guard.0.pass_on(panic),
            }
        });
        if thread.is_ok() {
            state.threads.push(worker);
        }
        thread.is_ok()
    }

    /// Goes on with the suspended items of the desk that were woken, and runs the next item, on the
    /// calling thread; false if there is nothing to do.
    pub fn run_one(&self, desk: &mut Desk<V>) -> bool {
        desk.wake_due();
        let is_woken = desk.is_woken();
        if is_woken {
            desk.resume();
        }
        let mut state = lock(&self.shared.state);
        let (task, latest) = (state.tasks.pop_front(), state.batches);
        drop(state);
        let has_task = task.is_some();
        if let Some(task) = task {
            desk.run(task, latest);
        }
        self.shared.tell_suspended(desk);
        for done in desk.ended.drain(..) {
            let outbox = self.shared.outbox(done.id.of_loop);
            outbox.post(done);
            outbox.wake.wake();
        }
        is_woken || has_task
    }

    /// What a thread would work with.
    pub(super) fn new_desk(&self) -> Desk<V> {
        (self.new_desk)(false)
    }

    /// Takes an item back.
    pub(super) fn withdraw(&self, id: TaskId) -> Withdrawn {
        let mut state = lock(&self.shared.state);
        if let Some(at) = state.tasks.iter().position(|task| task.id == id) {
            state.tasks.remove(at);
            return Withdrawn::Unstarted;
        }
        for worker in &mut state.threads {
            worker.is_abandoned |= worker.may_run(id);
        }
        let running = (state.threads.iter()).find(|worker| worker.runs == Runs::Item(id));
        let mut suspended = state.threads.iter().flat_map(|worker| &worker.suspended);
        let suspended = suspended.find(|(other, _)| *other == id);
        // Its result may be there already.
        let current = running.map(|worker| worker.current.get());
        let current = current.or(suspended.map(|(_, operation)| *operation));
        Withdrawn::Running(current.unwrap_or(Operation::Close))
    }

    /// Lets more workers run if items wait while most of the present ones are blocked, and fewer while
    /// none is. Gives the time of the next call and of the next look for results, if items wait.
    pub(super) fn supervise(&self, of_loop: usize, now: Duration) -> Option<Duration> {
        let mut state = lock(&self.shared.state);
        state.looking[of_loop] = !state.tasks.is_empty();
        if !state.looking[of_loop] {
            let has_threads = !state.threads.is_empty();
            drop(state);
            // A thread that has left a result until now may have counted on this look.
            let has_results = || self.shared.outbox(of_loop).has_results();
            return (has_threads && has_results()).then_some(now);
        }
        let due = state.supervised_at + SUPERVISION_INTERVAL;
        if now < due {
            return Some(due);
        }
        state.supervised_at = now;
        // Those that wait for a processor are not blocked: more of them would not help. To look at one
        // takes as long as a small file, so no more of them are than it takes to know.
        let may_grow = state.active_max < self.workers_max;
        let most = if may_grow { state.running / 2 + 1 } else { 1 };
        let threads = state.threads.iter();
        let running = threads.filter(|worker| worker.runs != Runs::Nothing);
        let blocked = running.filter(|worker| worker.id.is_some_and(is_blocked));
        let blocked = blocked.take(most).count();
        if may_grow && blocked == most {
            state.active_max = (4 * state.active_max).min(self.workers_max);
        } else if blocked == 0 && state.active_max > self.shared.processors {
            state.active_max -= 1;
        }
        self.let_run(state);
        Some(now + SUPERVISION_INTERVAL)
    }
}

impl State {
    fn free_places(&self) -> usize {
        self.active_max.saturating_sub(self.running)
    }

    fn thread(&mut self, current: &Arc<CurrentOperation>) -> &mut WorkerThread {
        let mut threads = self.threads.iter_mut();
        let own = threads.find(|worker| Arc::ptr_eq(&worker.current, current));
        own.expect("a thread is known until it ends")
    }
}

impl<V> Workers<V> {
    /// Says that nobody waits for a loop's items any more.
    pub(super) fn abandon_all(&self, of_loop: usize) {
        let mut state = lock(&self.shared.state);
        state.tasks.retain(|task| task.id.of_loop != of_loop);
        for worker in &mut state.threads {
            worker.is_abandoned |= worker.may_run_for(of_loop);
        }
    }

    /// Ends the threads, so that all they have recorded is published. One whose item was abandoned may
    /// be stuck in a call, and ends by itself when the kernel lets it go.
    pub(super) fn close(&self) {
        let mut state = lock(&self.shared.state);
        state.closed = true;
        state.tasks.clear();
        self.shared.filled.notify_all();
        while state.threads.iter().any(|worker| !worker.is_abandoned) {
            let exited = &self.shared.exited;
            state = exited.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<V> Drop for Workers<V> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Counts a thread out when it ends.
struct ThreadGuard<'a, V>(&'a Arc<Shared<V>>, Arc<CurrentOperation>);

impl<V> Drop for ThreadGuard<'_, V> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.end(&self.1);
        let own = |worker: &WorkerThread| Arc::ptr_eq(&worker.current, &self.1);
        state.threads.retain(|worker| !own(worker));
        self.0.exited.notify_all();
    }
}

impl<V> Shared<V> {
    fn outbox(&self, of_loop: usize) -> &Outbox<V> {
        let outbox = self.outboxes[of_loop].get();
        outbox.expect("a loop has an outbox before it has items")
    }

    /// The thread cannot work. The loop of the next item has to know.
    fn pass_on(&self, panic: Box<dyn Any + Send>) {
        let Some(task) = lock(&self.state).tasks.pop_front() else {
            return;
        };
        let outbox = self.outbox(task.id.of_loop);
        outbox.post(Done {
            id: task.id,
            item: task.item,
            outcome: Err(panic),
            finished_at_ns: 0,
            operations: 0,
            has_written: false,
        });
        outbox.wake.wake();
    }

    fn work(&self, desk: &mut Desk<V>, own: &Arc<CurrentOperation>) {
        lock(&self.state).thread(own).id = Some(rustix::thread::gettid());
        // Loops that have results and were not told.
        let mut untold = Vec::new();
        while let Some(next) = self.next(desk, own, &mut untold) {
            match next {
                Next::Run { task, latest } => desk.run(task, latest),
                Next::Resume => desk.resume(),
            }
            self.tell_suspended(desk);
            let mut panicked = false;
            for done in desk.ended.drain(..) {
                let of_loop = done.id.of_loop;
                panicked |= done.outcome.is_err();
                untold.retain(|other| *other != of_loop);
                if self.outbox(of_loop).post(done) {
                    untold.push(of_loop);
                }
            }
            if panicked {
                return self.tell(untold);
            }
        }
    }

    /// What is to be done next, after what was done last; nothing if the run is over.
    fn next(
        &self,
        desk: &mut Desk<V>,
        own: &Arc<CurrentOperation>,
        untold: &mut Vec<usize>,
    ) -> Option<Next> {
        let mut state = lock(&self.state);
        state.end(own);
        if std::mem::take(&mut desk.suspended_changed) {
            state.thread(own).suspended = desk.suspended_items().collect();
        }
        loop {
            let next = state.begin(own, desk.is_woken());
            // What is next may take long, and not all loops will look by themselves. And where no more
            // items wait, loops have to bring some.
            let all = next.is_none() || state.tasks.is_empty();
            let told = |of_loop: &mut usize| all || !state.looking[*of_loop];
            let told: Vec<_> = untold.extract_if(.., told).collect();
            drop(state);
            self.tell(told);
            if next.is_some() {
                return next;
            }
            desk.rest();
            state = lock(&self.state);
            while (state.tasks.is_empty() || state.free_places() == 0) && !desk.is_woken() {
                if state.closed {
                    return None;
                }
                state = self.wait(state, desk);
            }
        }
    }

    /// Waits for items, for a suspended item to be woken, or for one of its timers.
    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, desk: &Desk<V>) -> MutexGuard<'a, State> {
        let filled = &self.filled;
        let Some(due) = desk.next_due() else {
            return filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let timeout = due.saturating_sub(desk.io.now());
        let waited = filled.wait_timeout(state, timeout);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        desk.wake_due();
        lock(&self.state)
    }

    /// Says which items were suspended for the first time.
    fn tell_suspended(&self, desk: &mut Desk<V>) {
        for id in desk.newly_suspended.drain(..) {
            self.outbox(id.of_loop).post_suspended(id.slot);
        }
    }

    fn tell(&self, loops: Vec<usize>) {
        for of_loop in loops {
            self.outbox(of_loop).wake.wake();
        }
    }
}

/// Wakes a worker that waits for items, among others: one of those it has can go on.
impl<V: Send> Wake for Shared<V> {
    fn wake(&self) {
        // It either waits already, or has yet to look whether it can.
        drop(lock(&self.state));
        self.filled.notify_all();
    }
}

/// What a thread does next.
enum Next {
    /// Run an item.
    Run {
        task: Task,
        /// The last hand-over so far.
        latest: u64,
    },
    /// Go on with suspended items that were woken.
    Resume,
}

impl State {
    /// Gives a thread the next item, if there is one and it may run. A thread of which suspended items
    /// were woken goes on with those: what has been begun does not wait for others that may be blocked.
    fn begin(&mut self, own: &Arc<CurrentOperation>, is_woken: bool) -> Option<Next> {
        let (runs, next) = if is_woken {
            (Runs::Suspended, Next::Resume)
        } else if self.free_places() > 0 {
            let task = self.tasks.pop_front()?;
            let id = task.id;
            let next = Next::Run {
                latest: self.batches,
                task,
            };
            (Runs::Item(id), next)
        } else {
            return None;
        };
        self.running += 1;
        self.thread(own).runs = runs;
        Some(next)
    }

    /// A thread runs nothing any more.
    fn end(&mut self, own: &Arc<CurrentOperation>) {
        let worker = self.thread(own);
        worker.is_abandoned = false;
        let ended = std::mem::replace(&mut worker.runs, Runs::Nothing) != Runs::Nothing;
        self.running -= usize::from(ended);
    }
}

/// True if the thread waits in a call, and not for a processor (proc_pid_stat(5)).
fn is_blocked(thread: rustix::thread::Pid) -> bool {
    let path = format!("/proc/self/task/{thread}/stat");
    // Number, name and state.
    let mut stat = [0; 64];
    let read = File::open(path).and_then(|mut file| file.read(&mut stat));
    if read.is_err() {
        return false;
    }
    // The state follows the name, which may hold anything.
    let end_of_name = memchr::memrchr(b')', &stat);
    end_of_name.is_some_and(|at| matches!(stat.get(at + 2), Some(b'S' | b'D')))
}

/// The queues hold plain data: a panic elsewhere leaves nothing half done in them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
