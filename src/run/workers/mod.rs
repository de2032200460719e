//! Threads that run whole items where any call may block.
//!
//! A loop hands over the items of a turn as one batch. Each worker polls the same tasks as the loop
//! would, over plain calls, so an item costs no hand-over per operation. As many workers are active
//! for a file system as there are processors, and more only while those are found blocked in calls.
//!
//! An item that waits until it may hand over a part of its result is suspended: its worker runs
//! others meanwhile, for one of those may be what it waits for.

mod desk;
mod outbox;
mod roster;
mod seat;

pub use desk::Desk;
pub(super) use outbox::{Done, Outbox, Task, TaskId};

use super::credentials;
use super::descriptors::Common;
use super::tasks::ItemResult;
use crate::clock;
use crate::error::Operation;
use crate::io::{OpenFiles, Wake};
use roster::{Next, Overdue, Roster, Worker};
use seat::Seat;
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
    /// Makes what a new thread works with, on that thread. It is told whether the thread has a
    /// descriptor table of its own.
    new_desk: Arc<dyn Fn(bool) -> Desk<V> + Send + Sync>,
    /// What their descriptor tables have in common, if each thread is to have one of its own.
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
    roster: Roster,
    /// Of the threads in the roster.
    seats: Vec<Arc<Seat<V>>>,
}

/// What became of an item whose deadline has come.
pub(super) enum Withdrawn<V> {
    /// It is later: the item's time began when a worker began it, or has not begun.
    NotYet(Duration),
    /// No worker had begun it.
    Unstarted,
    /// No worker can begin it: so many calls on its file system do not return.
    NotTried { calls: usize },
    /// It has this result. The worker still closes what the item has left open, and says when it has.
    Closing(ItemResult<V>),
    /// A worker has it, and says when it has ended. This is what it does.
    Running(Operation),
}

impl<V: Send + 'static> Workers<V> {
    /// Up to so many threads for each file system, for so many loops, started as they are needed.
    /// `new_desk` is called on each, and told whether it has a descriptor table of its own: it is to have
    /// one if it is said what that has in `common` with others.
    #[must_use]
    pub fn new(
        loops: usize,
        workers_max: usize,
        common: Option<Common>,
        new_desk: impl Fn(bool) -> Desk<V> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let processors = processors.min(workers_max);
        Arc::new(Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    roster: Roster::new(loops, processors, workers_max),
                    seats: Vec::new(),
                }),
                outboxes: (0..loops).map(|_| OnceLock::new()).collect(),
                open_files: Arc::default(),
                filled: Condvar::new(),
                exited: Condvar::new(),
            }),
            new_desk: Arc::new(new_desk),
            common,
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
        self.shared.outbox(of_loop).take(into)
    }

    /// Hands items over. False if not one thread is to be had for them: then somebody has to call
    /// [`Workers::run_one`].
    pub(super) fn add(&self, tasks: impl Iterator<Item = Task>) -> bool {
        let mut state = lock(&self.shared.state);
        state.roster.add(tasks);
        self.let_run(state)
    }

    /// Lets as many threads run as there are items and places for, starting those that do not exist
    /// yet. False if there is none.
    fn let_run(&self, mut state: MutexGuard<'_, State<V>>) -> bool {
        let wanted = state.roster.wanted();
        let missing = wanted.saturating_sub(state.roster.idle());
        for _ in 0..missing {
            if !self.start_thread(&mut state) {
                break;
            }
        }
        let has_threads = !state.seats.is_empty();
        let ready = wanted.min(state.roster.idle());
        drop(state);
        for _ in 0..ready {
            self.shared.filled.notify_one();
        }
        has_threads
    }

    fn start_thread(&self, state: &mut State<V>) -> bool {
        let shared = Arc::clone(&self.shared);
        let new_desk = Arc::clone(&self.new_desk);
        let common = self.common.clone();
        let seat = Seat::new();
        let own = Arc::clone(&seat);
        let thread = thread::Builder::new().name("ringmill-io".to_owned());
        let thread = thread.stack_size(STACK_BYTES).spawn(move || {
            let guard = ThreadGuard(&shared, own);
            credentials::separate();
            let has_own_table = common.is_some_and(|common| common.separate());
            // After a panic nothing of it is used.
            match panic::catch_unwind(AssertUnwindSafe(|| new_desk(has_own_table))) {
                Ok(desk) => {
                    desk.io.count_open_files(&guard.0.open_files);
                    let desk = desk.woken_through(Arc::clone(guard.0) as Arc<dyn Wake>);
                    guard.0.work(&mut desk.seen_at(&guard.1), &guard.1);
                }
                Err(panic) => guard.0.pass_on(panic),
            }
        });
        if thread.is_ok() {
            let worker = Worker::new(Arc::clone(&seat.current));
            state.roster.threads.push(worker);
            state.seats.push(seat);
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
        let (task, latest) = (state.roster.pop(), state.roster.batches);
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

    /// Takes an item back whose time is up, of which it has had `timeout` since it was begun. With
    /// `was_begun`, it had been begun before it was handed over.
    pub(super) fn withdraw(
        &self,
        id: TaskId,
        timeout: Duration,
        was_begun: bool,
        now: Duration,
    ) -> Withdrawn<V> {
        let mut state = lock(&self.shared.state);
        state.roster.note_stuck(now);
        if !was_begun {
            let overdue = state.roster.overdue(id);
            let since = match overdue {
                Overdue::Waits => now,
                Overdue::Since(at) | Overdue::Never { since: at, .. } => at,
            };
            let deadline = since.saturating_add(timeout);
            match overdue {
                _ if now < deadline => return Withdrawn::NotYet(deadline),
                Overdue::Never { stuck: calls, .. } => {
                    state.roster.withdraw(id);
                    return Withdrawn::NotTried { calls };
                }
                _ => {}
            }
        }
        if state.roster.withdraw(id) {
            return Withdrawn::Unstarted;
        }
        let running = state.roster.abandon(id);
        let result = state.seats.iter().find_map(|seat| seat.take(id));
        // Another thread may take the place of one that is stuck.
        self.let_run(state);
        match result {
            Some(result) => Withdrawn::Closing(result),
            // Its result may be there already.
            None => Withdrawn::Running(running.unwrap_or(Operation::Close)),
        }
    }

    /// Lets more workers run if items wait while most of the present ones are blocked, and fewer while
    /// none is. Gives the time of the next call and of the next look for results, if items wait.
    pub(super) fn supervise(&self, of_loop: usize, now: Duration) -> Option<Duration> {
        let mut state = lock(&self.shared.state);
        let roster = &mut state.roster;
        let is_due = roster.look_at().is_some_and(|due| due <= now);
        if is_due {
            roster.look(now, |worker| worker.id.is_some_and(is_blocked));
        }
        roster.looking[of_loop] = roster.looks_often();
        let counts_on_look = roster.looking[of_loop] || roster.threads.is_empty();
        let next = roster.look_at();
        if is_due {
            self.let_run(state);
        } else {
            drop(state);
        }
        // A thread that has left a result until now may have counted on this look.
        if !counts_on_look && self.shared.outbox(of_loop).has_results() {
            return Some(now);
        }
        next
    }
}

impl<V> Workers<V> {
    /// Says that nobody waits for a loop's items any more.
    pub(super) fn abandon_all(&self, of_loop: usize) {
        lock(&self.shared.state).roster.abandon_all(of_loop);
    }

    /// Ends the threads, so that all they have recorded is published. One whose item was given up may
    /// be stuck in a call, and ends by itself when the kernel lets it go.
    pub(super) fn close(&self) {
        let mut state = lock(&self.shared.state);
        state.roster.closed = true;
        state.roster.clear();
        self.shared.filled.notify_all();
        while state.roster.threads.iter().any(|worker| !worker.is_stuck) {
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
struct ThreadGuard<'a, V>(&'a Arc<Shared<V>>, Arc<Seat<V>>);

impl<V> Drop for ThreadGuard<'_, V> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.roster.remove(&self.1.current);
        state.seats.retain(|seat| !Arc::ptr_eq(seat, &self.1));
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
        let Some(task) = lock(&self.state).roster.pop() else {
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
            lacks: false,
        });
        outbox.wake.wake();
    }

    fn work(&self, desk: &mut Desk<V>, own: &Seat<V>) {
        let id = rustix::thread::gettid();
        lock(&self.state).roster.worker(&own.current).id = Some(id);
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
    fn next(&self, desk: &mut Desk<V>, own: &Seat<V>, untold: &mut Vec<usize>) -> Option<Next> {
        let own = &own.current;
        let mut state = lock(&self.state);
        state.roster.end(own);
        if std::mem::take(&mut desk.suspended_changed) {
            state.roster.worker(own).suspended = desk.suspended_items().collect();
        }
        loop {
            let roster = &mut state.roster;
            let next = roster.begin(own, desk.is_woken(), clock::now());
            // What is next may take long, and not all loops will look by themselves. And where no more
            // items wait, loops have to bring some.
            let all = next.is_none() || roster.is_empty();
            let told = |of_loop: &mut usize| all || !roster.looking[*of_loop];
            let told: Vec<_> = untold.extract_if(.., told).collect();
            drop(state);
            self.tell(told);
            if next.is_some() {
                return next;
            }
            desk.rest();
            state = lock(&self.state);
            while !state.roster.has_work() && !desk.is_woken() {
                if state.roster.closed {
                    return None;
                }
                state = self.wait(state, desk);
            }
        }
    }

    /// Waits for items, for a suspended item to be woken, or for one of its timers.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State<V>>,
        desk: &Desk<V>,
    ) -> MutexGuard<'a, State<V>> {
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
