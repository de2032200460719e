//! Which thread runs which item: pure state, without threads or clock.
//!
//! Each mounted file system has a queue of items and its own threads, so that a file system whose calls
//! do not return cannot block all threads. A thread whose item was given up counts as stuck; another may
//! replace it.

use super::outbox::{Task, TaskId};
use crate::error::Operation;
use crate::io::{CurrentOperation, MountId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Limit on the threads of a file system, including stuck ones, as a multiple of the limit on workers.
const THREADS_PER_WORKER: usize = 5;

/// How often to check whether threads are blocked, while items wait for one.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// After this many checks in a row without an item having ended, the interval is doubled.
const IDLE_CHECKS: u32 = 20;

/// The interval is doubled at most this many times.
const DOUBLINGS_MAX: u32 = 8;

/// The threads with what they run, and the queues of items.
pub(super) struct PoolState {
    /// One for each file system that had items. There are never many.
    queues: Vec<Queue>,
    /// The number of hand-overs so far.
    pub(super) batches: u64,
    /// The threads that were started.
    pub(super) threads: Vec<Worker>,
    /// The number of threads that run an item.
    busy: usize,
    /// How many threads may run the items of one file system at a time: while none is blocked, and at most.
    processors: usize,
    workers_max: usize,
    /// The number of items that have ended.
    ended: u64,
    pub(super) closed: bool,
    checks: Checks,
    /// By loop: whether it will look for results within the shortest interval without being woken.
    pub(super) looking: Vec<bool>,
}

/// The items of one file system.
struct Queue {
    mount: MountId,
    tasks: VecDeque<Task>,
    /// Threads that run one of them, stuck ones not included.
    running: usize,
    /// Threads that run one that was given up.
    stuck: usize,
    /// Limit on `running`, adapted to how many threads are blocked.
    active_max: usize,
    /// Since when there has been no thread that could run one.
    stuck_since: Option<Duration>,
}

/// The checks of the threads.
#[derive(Default)]
struct Checks {
    /// When the last one was.
    at: Duration,
    /// Items that had ended by then.
    ended: u64,
    /// Checks since an item last ended.
    idle: u32,
}

/// A worker thread.
pub(super) struct Worker {
    /// `None` until it runs.
    pub(super) id: Option<rustix::thread::Pid>,
    pub(super) current: Arc<CurrentOperation>,
    runs: Runs,
    /// When it started that.
    began_at: Duration,
    /// The queue its last item was from.
    queue: usize,
    suspended: Vec<Suspended>,
    /// The item that it runs was given up.
    pub(super) is_stuck: bool,
}

/// A suspended item.
struct Suspended {
    id: TaskId,
    last_operation: Operation,
    /// When a thread started it.
    began_at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    Nothing,
    Item(TaskId),
    /// It resumes suspended items.
    Suspended,
}

/// The next work of a thread.
pub(super) enum Next {
    /// Run an item.
    Run {
        task: Task,
        /// The number of the last hand-over so far.
        latest: u64,
    },
    /// Resume the suspended items that were woken.
    Resume,
}

/// The state of an item whose deadline has come.
pub(super) enum Overdue {
    /// No thread has started it, but one may.
    Waits,
    /// It was started at this time.
    Since(Duration),
    /// No thread has started it, and since this time there has been none that could.
    Never {
        since: Duration,
        /// Threads that are stuck on its file system.
        stuck: usize,
    },
}

impl Worker {
    pub(super) fn new(current: Arc<CurrentOperation>) -> Self {
        Self {
            id: None,
            current,
            runs: Runs::Nothing,
            began_at: Duration::ZERO,
            queue: 0,
            suspended: Vec::new(),
            is_stuck: false,
        }
    }

    /// True if it may be running an item of which `is_it` is true.
    fn may_run(&self, is_it: impl Fn(TaskId) -> bool) -> bool {
        match self.runs {
            Runs::Nothing => false,
            Runs::Item(own) => is_it(own),
            Runs::Suspended => self.suspended.iter().any(|own| is_it(own.id)),
        }
    }

    fn runs(&self, id: TaskId) -> bool {
        self.runs == Runs::Item(id)
    }

    fn suspended(&self, id: TaskId) -> Option<&Suspended> {
        self.suspended.iter().find(|own| own.id == id)
    }
}

impl PoolState {
    /// No threads and no items yet.
    pub(super) fn new(loops: usize, processors: usize, workers_max: usize) -> Self {
        Self {
            queues: Vec::new(),
            batches: 0,
            threads: Vec::new(),
            busy: 0,
            processors,
            workers_max,
            ended: 0,
            closed: false,
            checks: Checks::default(),
            looking: vec![false; loops],
        }
    }

    /// Adds the items of one hand-over.
    pub(super) fn add(&mut self, tasks: impl Iterator<Item = Task>) {
        self.batches += 1;
        for task in tasks {
            let queue = self.queue_of(task.mount);
            let batch = self.batches;
            self.queues[queue].tasks.push_back(Task { batch, ..task });
        }
    }

    fn queue_of(&mut self, mount: MountId) -> usize {
        let known = self.queues.iter().position(|queue| queue.mount == mount);
        known.unwrap_or_else(|| {
            self.queues.push(Queue {
                mount,
                tasks: VecDeque::new(),
                running: 0,
                stuck: 0,
                active_max: self.processors,
                stuck_since: None,
            });
            self.queues.len() - 1
        })
    }

    /// True if no item waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.tasks.is_empty())
    }

    /// Empties the queues.
    pub(super) fn clear(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.tasks.clear());
    }

    /// True if an idle thread may start an item.
    pub(super) fn has_work(&self) -> bool {
        self.queues.iter().any(|queue| self.may_begin(queue))
    }

    fn may_begin(&self, queue: &Queue) -> bool {
        !queue.tasks.is_empty() && self.places(queue) > 0
    }

    /// How many more threads may run items of a queue now.
    fn places(&self, queue: &Queue) -> usize {
        let in_all = THREADS_PER_WORKER * self.workers_max;
        let active = queue.active_max.saturating_sub(queue.running);
        active.min(in_all.saturating_sub(queue.running + queue.stuck))
    }

    /// The number of idle threads.
    pub(super) fn idle(&self) -> usize {
        self.threads.len() - self.busy
    }

    /// The number of idle threads that could start an item now, if there were enough of them.
    pub(super) fn wanted(&self) -> usize {
        let wanted = |queue: &Queue| queue.tasks.len().min(self.places(queue));
        self.queues.iter().map(wanted).sum()
    }

    /// Takes the next item of any queue, regardless of limits.
    pub(super) fn pop(&mut self) -> Option<Task> {
        self.queues
            .iter_mut()
            .find_map(|queue| queue.tasks.pop_front())
    }

    // Called by a worker.

    /// The thread that publishes its current operation in `own`.
    pub(super) fn worker(&mut self, own: &Arc<CurrentOperation>) -> &mut Worker {
        let mut threads = self.threads.iter_mut();
        let own = threads.find(|worker| Arc::ptr_eq(&worker.current, own));
        own.expect("a thread is in the pool until it ends")
    }

    /// Gives a thread the next item, if there is one that may run. A thread with suspended items that were
    /// woken resumes those: a started item does not wait for others, which may block.
    pub(super) fn begin(
        &mut self,
        own: &Arc<CurrentOperation>,
        is_woken: bool,
        now: Duration,
    ) -> Option<Next> {
        let last = self.worker(own).queue;
        let (runs, queue, next) = if is_woken {
            (Runs::Suspended, last, Next::Resume)
        } else {
            let queue = self.next_queue(last)?;
            let task = self.queues[queue].tasks.pop_front()?;
            let (id, latest) = (task.id, self.batches);
            (Runs::Item(id), queue, Next::Run { task, latest })
        };
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.running += 1;
            queue.stuck_since = None;
        }
        self.busy += 1;
        let worker = self.worker(own);
        (worker.runs, worker.queue, worker.began_at) = (runs, queue, now);
        worker.current.begin();
        Some(next)
    }

    /// The queue from which a thread takes its next item, if its last one was of the queue `last`: another
    /// queue that no thread serves, or else the same, so that it keeps its cached directory, or else any.
    fn next_queue(&self, last: usize) -> Option<usize> {
        let count = self.queues.len();
        let others = || (1..count).map(|ahead| (last + ahead) % count);
        let ready = |at: &usize| self.may_begin(&self.queues[*at]);
        let unserved = |at: &usize| self.queues[*at].running == 0 && ready(at);
        let own = || Some(last).filter(|last| *last < count && ready(last));
        others()
            .find(unserved)
            .or_else(own)
            .or_else(|| others().find(ready))
    }

    /// A thread has become idle.
    pub(super) fn end(&mut self, own: &Arc<CurrentOperation>) {
        let worker = self.worker(own);
        if std::mem::replace(&mut worker.runs, Runs::Nothing) == Runs::Nothing {
            return;
        }
        let was_stuck = std::mem::take(&mut worker.is_stuck);
        let queue = worker.queue;
        self.busy -= 1;
        self.ended += 1;
        if let Some(queue) = self.queues.get_mut(queue) {
            let count = if was_stuck {
                &mut queue.stuck
            } else {
                &mut queue.running
            };
            *count -= 1;
            queue.stuck_since = None;
        }
    }

    /// The suspended items of an idle thread, with the last operation of each.
    pub(super) fn set_suspended(
        &mut self,
        own: &Arc<CurrentOperation>,
        items: impl Iterator<Item = (TaskId, Operation)>,
    ) {
        let worker = self.worker(own);
        let suspend = |(id, last_operation)| Suspended {
            id,
            last_operation,
            // One that was not suspended before is the one that the thread started last.
            began_at: worker
                .suspended(id)
                .map_or(worker.began_at, |before| before.began_at),
        };
        worker.suspended = items.map(suspend).collect();
    }

    /// A thread has ended.
    pub(super) fn remove(&mut self, own: &Arc<CurrentOperation>) {
        self.end(own);
        self.threads
            .retain(|worker| !Arc::ptr_eq(&worker.current, own));
    }

    // Called by a loop.

    /// The state of an item whose deadline has come.
    pub(super) fn overdue(&self, id: TaskId) -> Overdue {
        let waits = |queue: &&Queue| queue.tasks.iter().any(|task| task.id == id);
        if let Some(queue) = self.queues.iter().find(waits) {
            return match queue.stuck_since {
                Some(since) => Overdue::Never {
                    since,
                    stuck: queue.stuck,
                },
                None => Overdue::Waits,
            };
        }
        let began_at = self.threads.iter().find_map(|worker| {
            let suspended = worker.suspended(id).map(|suspended| suspended.began_at);
            suspended.or(worker.runs(id).then_some(worker.began_at))
        });
        // Without a thread, a loop runs it itself.
        Overdue::Since(began_at.unwrap_or(Duration::ZERO))
    }

    /// Removes an item from its queue. False if a thread has started it.
    pub(super) fn withdraw(&mut self, id: TaskId) -> bool {
        for queue in &mut self.queues {
            if let Some(at) = queue.tasks.iter().position(|task| task.id == id) {
                queue.tasks.remove(at);
                return true;
            }
        }
        false
    }

    /// Gives up an item that a thread has started. Returns its current operation, as far as that is known.
    pub(super) fn abandon(&mut self, id: TaskId) -> Option<Operation> {
        self.give_up(|other| other == id);
        let running = self.threads.iter().find(|worker| worker.runs(id));
        let mut suspended = self
            .threads
            .iter()
            .filter_map(|worker| worker.suspended(id));
        match running {
            Some(worker) => Some(worker.current.get()),
            None => suspended.next().map(|suspended| suspended.last_operation),
        }
    }

    /// Gives up all items of a loop.
    pub(super) fn abandon_all(&mut self, of_loop: usize) {
        for queue in &mut self.queues {
            queue.tasks.retain(|task| task.id.of_loop != of_loop);
        }
        self.give_up(|other| other.of_loop == of_loop);
    }

    fn give_up(&mut self, is_it: impl Fn(TaskId) -> bool + Copy) {
        for worker in &mut self.threads {
            if worker.is_stuck || !worker.may_run(is_it) {
                continue;
            }
            worker.is_stuck = true;
            if matches!(worker.runs, Runs::Item(_)) {
                worker.current.abandon();
            }
            if let Some(queue) = self.queues.get_mut(worker.queue) {
                queue.running -= 1;
                queue.stuck += 1;
            }
        }
    }

    /// Records which file systems have items but no thread that could run one.
    pub(super) fn note_stuck(&mut self, now: Duration) {
        let has_idle = self.idle() > 0;
        for at in 0..self.queues.len() {
            let queue = &self.queues[at];
            let will_begin = has_idle && self.places(queue) > 0;
            let is_stuck = !queue.tasks.is_empty() && queue.running == 0 && !will_begin;
            let queue = &mut self.queues[at];
            queue.stuck_since = is_stuck.then(|| queue.stuck_since.unwrap_or(now));
        }
    }

    // Supervision.

    /// When to check the threads next; `None` if no item waits for one.
    pub(super) fn next_check_at(&self) -> Option<Duration> {
        (!self.is_empty()).then(|| self.checks.at.saturating_add(self.interval()))
    }

    /// True if the threads are checked at the shortest interval.
    pub(super) fn checks_often(&self) -> bool {
        !self.is_empty() && self.interval() == CHECK_INTERVAL
    }

    fn interval(&self) -> Duration {
        let is_idle = self.ended == self.checks.ended;
        let doublings = if is_idle {
            self.checks.idle / IDLE_CHECKS
        } else {
            0
        };
        CHECK_INTERVAL * 2_u32.pow(doublings.min(DOUBLINGS_MAX))
    }

    /// Raises the limit on the active threads of a file system if items wait while most of its threads are
    /// blocked, and lowers it while none is.
    pub(super) fn check_threads(&mut self, now: Duration, is_blocked: impl Fn(&Worker) -> bool) {
        let has_ended = std::mem::replace(&mut self.checks.ended, self.ended) != self.ended;
        self.checks.idle = if has_ended {
            0
        } else {
            self.checks.idle.saturating_add(1)
        };
        self.checks.at = now;
        for (at, queue) in self.queues.iter_mut().enumerate() {
            if queue.tasks.is_empty() || queue.running == 0 {
                continue;
            }
            // Threads that wait for a processor are not blocked: more of them would not help. A check of one
            // thread takes as long as a small file, so only as many are checked as the decision needs.
            let may_grow = queue.active_max < self.workers_max;
            let most = if may_grow { queue.running / 2 + 1 } else { 1 };
            let threads = self.threads.iter();
            let running = threads.filter(|worker| {
                worker.queue == at && worker.runs != Runs::Nothing && !worker.is_stuck
            });
            let blocked = running.filter(|worker| is_blocked(worker));
            let blocked = blocked.take(most).count();
            if may_grow && blocked == most {
                queue.active_max = (4 * queue.active_max).min(self.workers_max);
            } else if blocked == 0 && queue.active_max > self.processors {
                queue.active_max -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Batch, Item};

    const S: Duration = Duration::from_secs(1);

    fn task(slot: u32, mount: u64) -> Task {
        Task {
            id: id(slot),
            item: Item::new(Arc::new(Batch::from_iter(["x"])), 0),
            mount: MountId::number(mount),
            batch: 0,
        }
    }

    fn id(slot: u32) -> TaskId {
        TaskId { of_loop: 0, slot }
    }

    /// A pool for two processors and up to `workers_max` threads for each file system.
    fn pool(workers_max: usize, items: &[(u32, u64)]) -> PoolState {
        let mut pool = PoolState::new(1, workers_max.min(2), workers_max);
        pool.add(items.iter().map(|&(slot, mount)| task(slot, mount)));
        pool
    }

    /// Starts threads and items as long as items may be started. Returns the slots of the items.
    fn begin_all(pool: &mut PoolState, now: Duration) -> Vec<u32> {
        let mut begun = Vec::new();
        while pool.wanted() > 0 {
            let current = match pool.threads.iter().find(|w| w.runs == Runs::Nothing) {
                Some(worker) => Arc::clone(&worker.current),
                None => {
                    let current = Arc::default();
                    pool.threads.push(Worker::new(Arc::clone(&current)));
                    current
                }
            };
            match pool.begin(&current, false, now) {
                Some(Next::Run { task, .. }) => begun.push(task.id.slot),
                _ => panic!("an item may be begun"),
            }
        }
        begun
    }

    fn end(pool: &mut PoolState, slot: u32) {
        let worker = pool.threads.iter().find(|worker| worker.runs(id(slot)));
        let current = Arc::clone(&worker.expect("it was begun").current);
        pool.end(&current);
    }

    #[test]
    fn a_file_system_that_hangs_takes_no_thread_of_another() {
        let mut pool = pool(2, &[(1, 7), (2, 7), (3, 7), (4, 8)]);
        assert_eq!(begin_all(&mut pool, S), [4, 1, 2]);
        assert!(!pool.has_work());
        end(&mut pool, 4);
        assert!(!pool.has_work(), "item 3 is not for that thread");
        pool.add([task(5, 8)].into_iter());
        assert_eq!(begin_all(&mut pool, S), [5]);
    }

    #[test]
    fn a_thread_keeps_to_a_file_system_unless_no_thread_serves_another() {
        let mut pool = pool(2, &[(1, 7), (2, 8), (3, 8), (4, 7), (5, 9)]);
        let current = Arc::default();
        pool.threads.push(Worker::new(Arc::clone(&current)));
        let mut begun = Vec::new();
        while let Some(Next::Run { task, .. }) = pool.begin(&current, false, S) {
            begun.push(task.id.slot);
            pool.end(&current);
        }
        assert_eq!(begun.len(), 5);
        let at = |slot| begun.iter().position(|other| *other == slot).unwrap();
        assert!(
            at(5) < 4,
            "the last one's file system had no thread: {begun:?}"
        );
    }

    #[test]
    fn threads_that_are_stuck_are_replaced_to_a_bound() {
        let items: Vec<_> = (0..20).map(|slot| (slot, 7)).collect();
        let mut pool = pool(2, &items);
        let mut begun = Vec::new();
        for round in 0..10 {
            for slot in begin_all(&mut pool, S * round) {
                begun.push(slot);
                assert!(pool.abandon(id(slot)).is_some());
            }
        }
        assert_eq!(begun.len(), 2 * THREADS_PER_WORKER);
        pool.note_stuck(S * 20);
        pool.note_stuck(S * 21);
        let overdue = pool.overdue(id(19));
        let Overdue::Never { since, stuck } = overdue else {
            panic!("no thread is left for it")
        };
        assert_eq!((since, stuck), (S * 20, 2 * THREADS_PER_WORKER));
        // One call returns after all.
        end(&mut pool, 0);
        assert_eq!(begin_all(&mut pool, S), [10]);
        assert!(matches!(pool.overdue(id(19)), Overdue::Waits));
    }

    #[test]
    fn an_item_is_never_tried_if_no_thread_can_be_started() {
        let mut pool = pool(2, &[(1, 7)]);
        pool.note_stuck(S);
        assert!(matches!(
            pool.overdue(id(1)),
            Overdue::Never { since: S, .. }
        ));
    }

    #[test]
    fn the_time_of_an_item_runs_from_when_it_was_begun() {
        let mut pool = pool(1, &[(1, 7), (2, 7)]);
        assert_eq!(begin_all(&mut pool, S), [1]);
        assert!(matches!(pool.overdue(id(1)), Overdue::Since(S)));
        assert!(matches!(pool.overdue(id(2)), Overdue::Waits));
        end(&mut pool, 1);
        assert_eq!(begin_all(&mut pool, 5 * S), [2]);
        assert!(matches!(pool.overdue(id(2)), Overdue::Since(at) if at == 5 * S));
    }

    #[test]
    fn the_time_of_a_suspended_item_runs_from_when_it_was_begun() {
        let mut pool = pool(1, &[(1, 7), (2, 7)]);
        let current = Arc::default();
        pool.threads.push(Worker::new(Arc::clone(&current)));
        for (slot, at) in [(1, S), (2, 5 * S)] {
            pool.begin(&current, false, at);
            pool.end(&current);
            let suspended = (1..=slot).map(|slot| (id(slot), Operation::Read));
            pool.set_suspended(&current, suspended);
        }
        pool.begin(&current, true, 9 * S);
        assert!(matches!(pool.overdue(id(1)), Overdue::Since(S)));
        assert!(matches!(pool.overdue(id(2)), Overdue::Since(at) if at == 5 * S));
    }

    #[test]
    fn more_threads_run_while_most_are_blocked_and_fewer_while_none_is() {
        let items: Vec<_> = (0..100).map(|slot| (slot, 7)).collect();
        let mut pool = pool(16, &items);
        assert_eq!(begin_all(&mut pool, S).len(), 2);
        pool.check_threads(S, |_| true);
        assert_eq!(begin_all(&mut pool, S).len(), 6);
        pool.check_threads(S, |_| true);
        assert_eq!(begin_all(&mut pool, S).len(), 8);
        pool.check_threads(S, |_| false);
        assert_eq!(pool.queues[0].active_max, 15);
    }

    #[test]
    fn threads_without_progress_are_checked_less_and_less_often() {
        let mut pool = pool(1, &[(1, 7), (2, 7)]);
        begin_all(&mut pool, S);
        let mut now = S;
        let mut checks = 0;
        while now < 101 * S {
            now = pool.next_check_at().expect("an item waits").max(now);
            pool.check_threads(now, |_| true);
            checks += 1;
        }
        assert!(checks < 250, "{checks} checks in 100 s");
        assert!(!pool.checks_often());
        end(&mut pool, 1);
        assert!(pool.checks_often());
    }
}
