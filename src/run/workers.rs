//! Threads that run whole items where any call may block.
//!
//! A loop hands over the items of a turn as one batch. Each worker polls the same tasks as the loop
//! would, over plain calls, so an item costs no hand-over per operation. As many workers are active
//! as there are processors, and more only while those are found blocked in calls.

use super::tasks::{ItemResult, Tasks, tasks_of};
use super::{credentials, descriptors};
use crate::error::Operation;
use crate::io::blocking::Blocking;
use crate::io::{BackgroundTask, Carrier, CurrentOperation, Io, Wake};
use crate::item::{Batch, Item};
use crate::jobs::Job;
use crate::stats::Recorder;
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
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
    pub(super) slot: u32,
    pub(super) item: Item,
    /// Its result, or the panic of its task.
    pub(super) outcome: thread::Result<ItemResult<V>>,
    pub(super) finished_at_ns: u64,
    /// Operations it took.
    pub(super) operations: u64,
}

/// Where workers leave the results of one loop's items.
pub(super) struct Outbox<V> {
    done: Mutex<Vec<Done<V>>>,
    /// Results after which the loop is woken even if more are to come.
    results_per_wake: usize,
    wake: Arc<dyn Wake>,
}

impl<V> Outbox<V> {
    /// For a loop with so many items in flight.
    pub(super) fn new(in_flight: usize, wake: Arc<dyn Wake>) -> Self {
        Self {
            done: Mutex::default(),
            results_per_wake: RESULTS_PER_WAKE.min(in_flight / 4).max(1),
            wake,
        }
    }

    /// Leaves a result. True if the loop is still to be told of it.
    fn post(&self, done: Done<V>) -> bool {
        let mut results = lock(&self.done);
        results.push(done);
        let count = results.len();
        drop(results);
        if count == self.results_per_wake {
            self.wake.wake();
        }
        count < self.results_per_wake
    }
}

/// What a worker works with: the tasks of a job and the operations behind them.
pub struct Desk<V> {
    io: Io,
    tasks: Box<dyn Tasks<V>>,
    /// Tasks that items or the job have spawned. They go on while an item waits.
    background: Vec<BackgroundTask>,
    waker: Waker,
    /// Directories were opened after this hand-over. An item of a later one may have been named after
    /// another directory took the place of one of them.
    names_hold_until: u64,
    /// A batch for one item, used again and again.
    scratch: Arc<Batch>,
}

impl<V> Desk<V> {
    /// For the calling thread.
    #[must_use]
    pub fn new<J: Job<Value = V>>(job: &J, recorder: Recorder, times_items: bool) -> Self {
        Self::with(job, Box::new(Blocking::new()), recorder, times_items)
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
        io.item_started(0);
        Self {
            tasks: tasks_of(job, &io),
            background: Vec::new(),
            io,
            waker: Waker::from(Arc::new(Unpark(thread::current()))),
            names_hold_until: 0,
            scratch: Arc::default(),
        }
    }

    /// Runs an item to its end, however long that takes. `latest` is the last hand-over so far.
    fn run(&mut self, task: Task, latest: u64) -> Done<V> {
        if task.batch > self.names_hold_until {
            self.io.forget_names();
            self.names_hold_until = latest;
        }
        let item = task.item.copy_into(&mut self.scratch);
        // After a panic the worker ends, so nothing inconsistent is used again.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| self.run_task(item)));
        Done {
            slot: task.id.slot,
            item: task.item,
            outcome,
            finished_at_ns: self.io.item_time_ns(),
            operations: self.io.take_operations(),
        }
    }

    fn run_task(&mut self, item: Item) -> ItemResult<V> {
        self.io.begin_turn();
        self.tasks.start(0, item);
        loop {
            let mut context = Context::from_waker(&self.waker);
            let poll = || self.tasks.poll(0, &mut context);
            let (poll, _) = self.io.enter(Some(0), poll);
            self.io.item_goes_on(0);
            if let Poll::Ready(result) = poll {
                return result;
            }
            self.poll_background();
            self.wait();
        }
    }

    fn poll_background(&mut self) {
        self.background.append(&mut self.io.take_spawned());
        let mut context = Context::from_waker(&self.waker);
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

struct Unpark(Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The workers of a run. All its loops share them.
pub struct Workers<V> {
    shared: Arc<Shared<V>>,
    /// Makes what a new thread works with, on that thread.
    new_desk: Arc<dyn Fn() -> Desk<V> + Send + Sync>,
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
}

struct WorkerThread {
    /// `None` until it runs.
    id: Option<rustix::thread::Pid>,
    current: Arc<CurrentOperation>,
    /// The item it runs.
    task: Option<TaskId>,
    /// Nobody waits for that any more: it may be stuck.
    is_abandoned: bool,
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
    /// each. With `separate_below`, each has a descriptor table of its own: a copy of that of the loop
    /// which starts it, without the descriptors from this number on.
    #[must_use]
    pub fn new(
        loops: usize,
        workers_max: usize,
        separate_below: Option<u32>,
        new_desk: impl Fn() -> Desk<V> + Send + Sync + 'static,
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

    /// Moves the results of a loop's items to the end of `into`.
    pub(super) fn take_done(&self, of_loop: usize, into: &mut Vec<Done<V>>) {
        into.append(&mut lock(&self.shared.outbox(of_loop).done));
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
            task: None,
            is_abandoned: false,
        };
        let thread = thread::Builder::new().name("ringmill-io".to_owned());
        let thread = thread.stack_size(STACK_BYTES).spawn(move || {
            let guard = ThreadGuard(&shared, current);
            credentials::separate();
            if let Some(first_of_loops) = separate_below {
                descriptors::separate_below(first_of_loops);
            }
            // After a panic nothing of it is used.
            match panic::catch_unwind(AssertUnwindSafe(|| new_desk())) {
                Ok(mut desk) => {
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

    /// Runs the next item on the calling thread; false if there is none.
    pub fn run_one(&self, desk: &mut Desk<V>) -> bool {
        let mut state = lock(&self.shared.state);
        let (task, latest) = (state.tasks.pop_front(), state.batches);
        drop(state);
        let Some(task) = task else { return false };
        let outbox = self.shared.outbox(task.id.of_loop);
        outbox.post(desk.run(task, latest));
        outbox.wake.wake();
        true
    }

    /// What a thread would work with.
    pub(super) fn new_desk(&self) -> Desk<V> {
        (self.new_desk)()
    }

    /// Takes an item back.
    pub(super) fn withdraw(&self, id: TaskId) -> Withdrawn {
        let mut state = lock(&self.shared.state);
        if let Some(at) = state.tasks.iter().position(|task| task.id == id) {
            state.tasks.remove(at);
            return Withdrawn::Unstarted;
        }
        let mut threads = state.threads.iter_mut();
        let worker = threads.find(|worker| worker.task == Some(id));
        // Its result may be there already.
        let current = worker.map(|worker| {
            worker.is_abandoned = true;
            worker.current.get()
        });
        Withdrawn::Running(current.unwrap_or(Operation::Close))
    }

    /// Lets more workers run if items wait while most of the present ones are blocked, and fewer while
    /// none is. Gives the time of the next call, if items wait.
    pub(super) fn supervise(&self, now: Duration) -> Option<Duration> {
        let mut state = lock(&self.shared.state);
        if state.tasks.is_empty() {
            return None;
        }
        let due = state.supervised_at + SUPERVISION_INTERVAL;
        if now < due {
            return Some(due);
        }
        state.supervised_at = now;
        let running = state.threads.iter().filter(|worker| worker.task.is_some());
        let blocked = running
            .filter(|worker| worker.id.is_some_and(is_blocked))
            .count();
        // Those that wait for a processor are not blocked: more of them would not help.
        if 2 * blocked > state.running && state.active_max < self.workers_max {
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
            worker.is_abandoned |= worker.task.is_some_and(|task| task.of_loop == of_loop);
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
struct ThreadGuard<'a, V>(&'a Shared<V>, Arc<CurrentOperation>);

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
            slot: task.id.slot,
            item: task.item,
            outcome: Err(panic),
            finished_at_ns: 0,
            operations: 0,
        });
        outbox.wake.wake();
    }

    fn work(&self, desk: &mut Desk<V>, own: &Arc<CurrentOperation>) {
        lock(&self.state).thread(own).id = Some(rustix::thread::gettid());
        // A loop that has results and was not told.
        let mut untold: Option<usize> = None;
        while let Some(next) = self.next_task(desk, own, &mut untold) {
            let of_loop = next.task.id.of_loop;
            if next.is_last || untold.is_some_and(|other| other != of_loop) {
                self.tell(&mut untold);
            }
            let done = desk.run(next.task, next.latest);
            let panicked = done.outcome.is_err();
            untold = self.outbox(of_loop).post(done).then_some(of_loop);
            if panicked {
                return self.tell(&mut untold);
            }
        }
    }

    /// Ends the last item and takes the next.
    fn next_task(
        &self,
        desk: &Desk<V>,
        own: &Arc<CurrentOperation>,
        untold: &mut Option<usize>,
    ) -> Option<Next> {
        let mut state = lock(&self.state);
        state.end(own);
        loop {
            if let Some(next) = state.begin(own) {
                return Some(next);
            }
            drop(state);
            self.tell(untold);
            desk.rest();
            state = lock(&self.state);
            while state.tasks.is_empty() || state.free_places() == 0 {
                if state.closed {
                    return None;
                }
                state = self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn tell(&self, untold: &mut Option<usize>) {
        if let Some(of_loop) = untold.take() {
            self.outbox(of_loop).wake.wake();
        }
    }
}

/// An item for a thread.
struct Next {
    task: Task,
    /// No other waits for a thread.
    is_last: bool,
    /// The last hand-over so far.
    latest: u64,
}

impl State {
    /// Gives a thread the next item, if there is one and it may run.
    fn begin(&mut self, own: &Arc<CurrentOperation>) -> Option<Next> {
        if self.free_places() == 0 {
            return None;
        }
        let task = self.tasks.pop_front()?;
        self.running += 1;
        self.thread(own).task = Some(task.id);
        Some(Next {
            task,
            is_last: self.tasks.is_empty(),
            latest: self.batches,
        })
    }

    /// A thread runs no item any more.
    fn end(&mut self, own: &Arc<CurrentOperation>) {
        let worker = self.thread(own);
        worker.is_abandoned = false;
        let ended = worker.task.take().is_some();
        self.running -= usize::from(ended);
    }
}

/// True if the thread waits in a call, and not for a processor (proc_pid_stat(5)).
fn is_blocked(thread: rustix::thread::Pid) -> bool {
    let path = format!("/proc/self/task/{thread}/stat");
    let Ok(stat) = std::fs::read(path) else {
        return false;
    };
    // The state follows the name, which may hold anything.
    let end_of_name = memchr::memrchr(b')', &stat);
    end_of_name.is_some_and(|at| matches!(stat.get(at + 2), Some(b'S' | b'D')))
}

/// The queues hold plain data: a panic elsewhere leaves nothing half done in them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
