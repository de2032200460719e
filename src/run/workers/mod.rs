//! Threads that run whole items whose calls may block.
//!
//! A loop hands over the items of a turn as one batch. A worker polls the same tasks as the loop would,
//! over plain calls, so there is one hand-over per item and not one per operation. As many workers are
//! active for a file system as there are processors, and more only while most of those are found blocked.
//!
//! An item that waits until it may hand over a part of its result is suspended: its worker runs other
//! items meanwhile, because the item may be waiting for one of them.

mod outbox;
mod pool;
mod status;
mod worker_context;

pub(super) use outbox::{Done, Outbox, Task, TaskId};
pub use worker_context::WorkerContext;

use super::credentials;
use super::descriptors::Common;
use super::tasks::ItemResult;
use crate::clock;
use crate::error::Operation;
use crate::io::{OpenFiles, Wake};
use crate::lock::lock;
use pool::{Next, Overdue, PoolState, Worker};
use status::WorkerStatus;
use std::any::Any;
use std::fs::File;
use std::io::Read;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

const STACK_BYTES: usize = 256 * 1024;

/// The workers of a run. All its loops share them.
pub struct Workers<V> {
    shared: Arc<Shared<V>>,
    /// Makes the worker_context of a new thread, on that thread. Its argument says whether the thread has its own
    /// descriptor table.
    new_context: Arc<dyn Fn(bool) -> WorkerContext<V> + Send + Sync>,
    /// The descriptors that all tables have, if each thread is to have its own table.
    common: Option<Common>,
}

struct Shared<V> {
    state: Mutex<State<V>>,
    /// One for each loop.
    outboxes: Vec<OnceLock<Outbox<V>>>,
    open_files: Arc<OpenFiles>,
    filled: Condvar,
    exited: Condvar,
}

struct State<V> {
    pool: PoolState,
    /// One for each thread in the pool.
    statuses: Vec<Arc<WorkerStatus<V>>>,
}

/// The state of an item whose deadline has come.
pub(super) enum Withdrawn<V> {
    /// The deadline is later, at this time: it counts from when a worker started the item, or the item has
    /// not been started. Or the item has ended, and the loop takes its result before that time.
    NotYet(Duration),
    /// No worker had started it; it was taken out of the queue.
    Unstarted,
    /// No worker can start it: `calls` calls on its file system do not return.
    NotTried { calls: usize },
    /// It has this result. The worker is still closing the files that the item left open, and reports when
    /// it has.
    Closing(ItemResult<V>),
    /// A worker runs it, in this operation if that is known, and reports when the item has ended.
    Running(Option<Operation>),
}

impl<V: Send + 'static> Workers<V> {
    /// Up to `workers_max` threads for each file system, shared by `loops` loops, started as they are needed.
    /// With `common`, each thread gets its own descriptor table with these descriptors, unless that fails.
    /// `new_context` is called on each thread, with `true` if it has its own table.
    #[must_use]
    pub fn new(
        loops: usize,
        workers_max: usize,
        common: Option<Common>,
        new_context: impl Fn(bool) -> WorkerContext<V> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let processors = processors.min(workers_max);
        Arc::new(Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    pool: PoolState::new(loops, processors, workers_max),
                    statuses: Vec::new(),
                }),
                outboxes: (0..loops).map(|_| OnceLock::new()).collect(),
                open_files: Arc::default(),
                filled: Condvar::new(),
                exited: Condvar::new(),
            }),
            new_context: Arc::new(new_context),
            common,
        })
    }

    /// Sets the outbox for the results of a loop's items.
    pub(super) fn set_outbox(&self, of_loop: usize, outbox: Outbox<V>) {
        let is_new = self.shared.outboxes[of_loop].set(outbox).is_ok();
        assert!(is_new, "a loop has one outbox");
    }

    /// Moves the results of a loop's items to the end of `into`, and returns the slots of items that
    /// were suspended for the first time.
    pub(super) fn take_done(&self, of_loop: usize, into: &mut Vec<Done<V>>) -> Vec<u32> {
        self.shared.outbox(of_loop).take(into)
    }

    /// Hands items over. False if there is no worker thread and none can be started: then the caller has to
    /// call [`Workers::run_one`].
    pub(super) fn add(&self, tasks: impl Iterator<Item = Task>) -> bool {
        let mut state = lock(&self.shared.state);
        state.pool.add(tasks);
        self.let_run(state)
    }

    /// Wakes as many threads as there are items that may be started, and starts missing ones. False if there
    /// is no thread.
    fn let_run(&self, mut state: MutexGuard<'_, State<V>>) -> bool {
        let wanted = state.pool.wanted();
        let missing = wanted.saturating_sub(state.pool.idle());
        for _ in 0..missing {
            if !self.start_thread(&mut state) {
                break;
            }
        }
        let has_threads = !state.statuses.is_empty();
        let ready = wanted.min(state.pool.idle());
        drop(state);
        for _ in 0..ready {
            self.shared.filled.notify_one();
        }
        has_threads
    }

    fn start_thread(&self, state: &mut State<V>) -> bool {
        let shared = Arc::clone(&self.shared);
        let new_context = Arc::clone(&self.new_context);
        let common = self.common.clone();
        let status = WorkerStatus::new();
        let own = Arc::clone(&status);
        let thread = thread::Builder::new().name("ringmill-io".to_owned());
        let thread = thread.stack_size(STACK_BYTES).spawn(move || {
            let guard = ThreadGuard(&shared, own);
            credentials::separate();
            let has_own_table = common.is_some_and(|common| common.separate());
            // After a panic nothing that the closure has changed is used.
            match panic::catch_unwind(AssertUnwindSafe(|| new_context(has_own_table))) {
                Ok(worker_context) => {
                    worker_context.io.count_open_files(&guard.0.open_files);
                    let worker_context =
                        worker_context.woken_through(Arc::clone(guard.0) as Arc<dyn Wake>);
                    guard
                        .0
                        .work(&mut worker_context.publishing_to(&guard.1), &guard.1);
                }
                Err(panic) => guard.0.report_panic(panic),
            }
        });
        if thread.is_ok() {
            let worker = Worker::new(Arc::clone(&status.current));
            state.pool.threads.push(worker);
            state.statuses.push(status);
        }
        thread.is_ok()
    }

    /// Resumes the suspended items of the worker_context that were woken, and runs the next item, on the calling
    /// thread; false if there is nothing to do.
    pub fn run_one(&self, worker_context: &mut WorkerContext<V>) -> bool {
        worker_context.wake_due();
        let is_woken = worker_context.is_woken();
        if is_woken {
            worker_context.resume();
        }
        let mut state = lock(&self.shared.state);
        let (task, latest) = (state.pool.pop(), state.pool.batches);
        drop(state);
        let has_task = task.is_some();
        if let Some(task) = task {
            worker_context.run(task, latest);
        }
        self.shared.post_suspended(worker_context);
        for done in worker_context.ended.drain(..) {
            let outbox = self.shared.outbox(done.id.of_loop);
            outbox.post(done);
            outbox.wake.wake();
        }
        is_woken || has_task
    }

    /// A worker_context for a thread that shares its descriptor table.
    pub(super) fn new_context(&self) -> WorkerContext<V> {
        (self.new_context)(false)
    }

    /// Takes back an item whose deadline has come, if `timeout` has passed since a worker started it. With
    /// `was_begun`, it had been started before it was handed over, so it gets no more time.
    pub(super) fn withdraw(
        &self,
        id: TaskId,
        timeout: Duration,
        was_begun: bool,
        now: Duration,
    ) -> Withdrawn<V> {
        let mut state = lock(&self.shared.state);
        state.pool.note_stuck(now);
        // A worker posts a result before the pool forgets the item, so it is seen in one of the two.
        if self.shared.outbox(id.of_loop).has_result_of(id.slot) {
            return Withdrawn::NotYet(now.saturating_add(Duration::from_nanos(1)));
        }
        if !was_begun {
            let overdue = state.pool.overdue(id);
            let since = match overdue {
                Overdue::Waits => now,
                Overdue::Since(at) | Overdue::Never { since: at, .. } => at,
            };
            let deadline = since.saturating_add(timeout);
            match overdue {
                _ if now < deadline => return Withdrawn::NotYet(deadline),
                Overdue::Never { stuck: calls, .. } => {
                    state.pool.withdraw(id);
                    return Withdrawn::NotTried { calls };
                }
                _ => {}
            }
        }
        if state.pool.withdraw(id) {
            return Withdrawn::Unstarted;
        }
        let running = state.pool.abandon(id);
        let result = state.statuses.iter().find_map(|status| status.take(id));
        // Another thread may replace one that is stuck.
        self.let_run(state);
        match result {
            Some(result) => Withdrawn::Closing(result),
            None => Withdrawn::Running(running),
        }
    }

    /// Activates more workers if items wait while most of the active ones are blocked, and fewer while none
    /// is. Returns when to call this again and look for results, if items wait.
    pub(super) fn supervise(&self, of_loop: usize, now: Duration) -> Option<Duration> {
        let mut state = lock(&self.shared.state);
        let pool = &mut state.pool;
        let is_due = pool.next_check_at().is_some_and(|due| due <= now);
        if is_due {
            pool.check_threads(now, |worker| worker.id.is_some_and(is_blocked));
        }
        pool.looking[of_loop] = pool.checks_often();
        let counts_on_look = pool.looking[of_loop] || pool.threads.is_empty();
        let next = pool.next_check_at();
        if is_due {
            self.let_run(state);
        } else {
            drop(state);
        }
        // A worker may have left a result without waking the loop, because it counted on this look.
        if !counts_on_look && self.shared.outbox(of_loop).has_results() {
            return Some(now);
        }
        next
    }
}

impl<V> Workers<V> {
    /// Abandons all items of a loop.
    pub(super) fn abandon_all(&self, of_loop: usize) {
        lock(&self.shared.state).pool.abandon_all(of_loop);
    }

    /// Ends the threads, so that all latencies they have recorded are published. Does not wait for a thread
    /// whose item was given up: it may be stuck in a call, and ends when that call returns.
    pub(super) fn close(&self) {
        let mut state = lock(&self.shared.state);
        state.pool.closed = true;
        state.pool.clear();
        self.shared.filled.notify_all();
        while state.pool.threads.iter().any(|worker| !worker.is_stuck) {
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

/// Removes a thread from the pool when it ends.
struct ThreadGuard<'a, V>(&'a Arc<Shared<V>>, Arc<WorkerStatus<V>>);

impl<V> Drop for ThreadGuard<'_, V> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.pool.remove(&self.1.current);
        state
            .statuses
            .retain(|status| !Arc::ptr_eq(status, &self.1));
        self.0.exited.notify_all();
    }
}

impl<V> Shared<V> {
    fn outbox(&self, of_loop: usize) -> &Outbox<V> {
        let outbox = self.outboxes[of_loop].get();
        outbox.expect("a loop has an outbox before it has items")
    }

    /// The thread's worker_context could not be made. Reports the panic to the loop of the next item.
    fn report_panic(&self, panic: Box<dyn Any + Send>) {
        let Some(task) = lock(&self.state).pool.pop() else {
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
            is_exhausted: false,
        });
        outbox.wake.wake();
    }

    fn work(&self, worker_context: &mut WorkerContext<V>, own: &WorkerStatus<V>) {
        let id = rustix::thread::gettid();
        lock(&self.state).pool.worker(&own.current).id = Some(id);
        // Loops that have results and were not woken for them.
        let mut unwoken = Vec::new();
        while let Some(next) = self.next(worker_context, own, &mut unwoken) {
            match next {
                Next::Run { task, latest } => worker_context.run(task, latest),
                Next::Resume => worker_context.resume(),
            }
            self.post_suspended(worker_context);
            let mut panicked = false;
            for done in worker_context.ended.drain(..) {
                let of_loop = done.id.of_loop;
                panicked |= done.outcome.is_err();
                unwoken.retain(|other| *other != of_loop);
                if self.outbox(of_loop).post(done) {
                    unwoken.push(of_loop);
                }
            }
            if panicked {
                return self.wake_loops(unwoken);
            }
        }
    }

    /// Records the end of the last work and waits for the next; `None` if the run is over.
    fn next(
        &self,
        worker_context: &mut WorkerContext<V>,
        own: &WorkerStatus<V>,
        unwoken: &mut Vec<usize>,
    ) -> Option<Next> {
        let own = &own.current;
        let mut state = lock(&self.state);
        state.pool.end(own);
        if std::mem::take(&mut worker_context.suspended_changed) {
            state
                .pool
                .set_suspended(own, worker_context.suspended_items());
        }
        loop {
            let pool = &mut state.pool;
            let next = pool.begin(own, worker_context.is_woken(), clock::now());
            // Wakes loops that have results, unless they will look soon by themselves: the next work may take
            // long. If no more items wait, wakes all of them, so that they hand over more.
            let all = next.is_none() || pool.is_empty();
            let is_due = |of_loop: &mut usize| all || !pool.looking[*of_loop];
            let to_wake: Vec<_> = unwoken.extract_if(.., is_due).collect();
            drop(state);
            self.wake_loops(to_wake);
            if next.is_some() {
                return next;
            }
            worker_context.rest();
            state = lock(&self.state);
            while !state.pool.has_work() && !worker_context.is_woken() {
                if state.pool.closed {
                    return None;
                }
                state = self.wait(state, worker_context);
            }
        }
    }

    /// Waits for items, for a suspended item to be woken, or for one of its timers.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State<V>>,
        worker_context: &WorkerContext<V>,
    ) -> MutexGuard<'a, State<V>> {
        let filled = &self.filled;
        let Some(due) = worker_context.next_due() else {
            return filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let timeout = due.saturating_sub(worker_context.io.now());
        let waited = filled.wait_timeout(state, timeout);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        worker_context.wake_due();
        lock(&self.state)
    }

    /// Posts the items that were suspended for the first time to their loops.
    fn post_suspended(&self, worker_context: &mut WorkerContext<V>) {
        for id in worker_context.newly_suspended.drain(..) {
            self.outbox(id.of_loop).post_suspended(id.slot);
        }
    }

    fn wake_loops(&self, loops: Vec<usize>) {
        for of_loop in loops {
            self.outbox(of_loop).wake.wake();
        }
    }
}

/// Wakes all waiting workers, because a suspended item of one of them can go on.
impl<V: Send> Wake for Shared<V> {
    fn wake(&self) {
        // Once the lock was taken, a worker either waits already, or has yet to check for woken items.
        drop(lock(&self.state));
        self.filled.notify_all();
    }
}

/// True if the thread is blocked in a call, and does not just wait for a processor (proc_pid_stat(5)).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::MountId;
    use crate::item::{Batch, Item};
    use crate::jobs::hash::HashJob;
    use crate::stats::Recorder;

    const TIMEOUT: Duration = Duration::from_secs(1);
    const ID: TaskId = TaskId {
        of_loop: 0,
        slot: 3,
    };

    struct Unused;

    impl Wake for Unused {
        fn wake(&self) {}
    }

    /// One item, ended by a worker. The loop has not looked at its result yet.
    #[test]
    fn a_result_that_waits_to_be_taken_is_not_timed_out() {
        let workers = Workers::new(1, 1, None, |has_own_table| {
            let recorder = Recorder::new(None);
            WorkerContext::new(&HashJob::default(), recorder, true, has_own_table)
        });
        workers.set_outbox(0, Outbox::new(8, Arc::new(Unused)));
        let task = Task {
            id: ID,
            item: Item::new(Arc::new(Batch::from_iter(["/dev/null"])), 0),
            mount: MountId::number(7),
            batch: 0,
        };
        assert!(workers.add(std::iter::once(task)));
        while !workers.shared.outbox(0).has_results() {
            thread::yield_now();
        }
        // Before and after the worker has recorded the end of the item.
        for was_begun in [false, true] {
            let now = clock::now() + 2 * TIMEOUT;
            let withdrawn = workers.withdraw(ID, TIMEOUT, was_begun, now);
            assert!(matches!(withdrawn, Withdrawn::NotYet(at) if at > now));
            workers.close();
        }
        let mut done = Vec::new();
        workers.take_done(0, &mut done);
        assert_eq!(done.len(), 1);
    }
}
