//! Which thread runs which item: pure state, without threads or clock.
//!
//! Items wait in a queue for each mounted file system, and each queue has threads of its own, so that
//! one whose calls do not return cannot take them all. A thread whose item was given up is stuck, as
//! far as anybody knows; another may take its place.

use super::outbox::{Task, TaskId};
use crate::error::Operation;
use crate::io::{CurrentOperation, MountId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Threads that a file system may have in all, the stuck ones included, for each that may run its
/// items.
const THREADS_PER_WORKER: usize = 5;

/// How often it is looked whether threads are blocked, while items wait for one.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Looks without an item having ended since the one before, after which the interval is doubled.
const IDLE_LOOKS: u32 = 20;

/// The interval is doubled so many times at most.
const DOUBLINGS_MAX: u32 = 8;

/// What the threads do, and what waits for them.
pub(super) struct Roster {
    /// One for each file system that items have been on. There are never many.
    queues: Vec<Queue>,
    /// Hand-overs so far.
    pub(super) batches: u64,
    /// The threads that were started.
    pub(super) threads: Vec<Worker>,
    /// Of these, threads that run an item.
    busy: usize,
    /// Threads that may run the items of a file system at a time, if none is blocked, and at most.
    processors: usize,
    workers_max: usize,
    /// Items that have ended.
    ended: u64,
    pub(super) closed: bool,
    looks: Looks,
    /// Which loops will look for results within the shortest interval, even if nobody wakes them.
    pub(super) looking: Vec<bool>,
}

/// The items of one file system.
struct Queue {
    mount: MountId,
    tasks: VecDeque<Task>,
    /// Threads that run one of them, stuck ones not included.
    running: usize,
    /// Threads that run one nobody waits for any more.
    stuck: usize,
    /// Threads that may run them now.
    active_max: usize,
    /// Since when no thread has been there that could run one.
    stuck_since: Option<Duration>,
}

/// When the threads were looked at.
#[derive(Default)]
struct Looks {
    at: Duration,
    /// Items that had ended by then.
    ended: u64,
    /// Looks since an item last ended.
    idle: u32,
}

/// A thread.
pub(super) struct Worker {
    /// `None` until it runs.
    pub(super) id: Option<rustix::thread::Pid>,
    pub(super) current: Arc<CurrentOperation>,
    runs: Runs,
    /// When it began that.
    began_at: Duration,
    /// The queue its last item was from.
    queue: usize,
    /// Suspended items, and what each did last.
    pub(super) suspended: Vec<(TaskId, Operation)>,
    /// Nobody waits for what it runs any more.
    pub(super) is_stuck: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    Nothing,
    Item(TaskId),
    /// It goes on with suspended items.
    Suspended,
}

/// What a thread does next.
pub(super) enum Next {
    /// Run an item.
    Run {
        task: Task,
        /// The last hand-over so far.
        latest: u64,
    },
    /// Go on with suspended items that were woken.
    Resume,
}

/// What is known of an item whose time has come.
pub(super) enum Overdue {
    /// No thread has begun it, but one may.
    Waits,
    /// It was begun at this time.
    Since(Duration),
    /// No thread has begun it, and since this time none has been there that could.
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

    /// True if it may be stuck in an item like this.
    fn may_run(&self, is_it: impl Fn(TaskId) -> bool) -> bool {
        match self.runs {
            Runs::Nothing => false,
            Runs::Item(own) => is_it(own),
            Runs::Suspended => self.suspended.iter().any(|(own, _)| is_it(*own)),
        }
    }

    fn runs(&self, id: TaskId) -> bool {
        self.runs == Runs::Item(id)
    }
}

impl Roster {
    /// No threads and no items, of so many loops.
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
            looks: Looks::default(),
            looking: vec![false; loops],
        }
    }

    /// Items that came in one hand-over.
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

    /// Takes all items out.
    pub(super) fn clear(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.tasks.clear());
    }

    /// True if a thread that runs nothing may begin an item.
    pub(super) fn has_work(&self) -> bool {
        self.queues.iter().any(|queue| self.may_begin(queue))
    }

    fn may_begin(&self, queue: &Queue) -> bool {
        !queue.tasks.is_empty() && self.places(queue) > 0
    }

    /// How many more threads may run the items of a queue now.
    fn places(&self, queue: &Queue) -> usize {
        let in_all = THREADS_PER_WORKER * self.workers_max;
        let active = queue.active_max.saturating_sub(queue.running);
        active.min(in_all.saturating_sub(queue.running + queue.stuck))
    }

    /// Threads that run nothing.
    pub(super) fn idle(&self) -> usize {
        self.threads.len() - self.busy
    }

    /// Threads that could begin an item now if there were as many idle ones.
    pub(super) fn wanted(&self) -> usize {
        let wanted = |queue: &Queue| queue.tasks.len().min(self.places(queue));
        self.queues.iter().map(wanted).sum()
    }

    /// The next item, for whoever asks.
    pub(super) fn pop(&mut self) -> Option<Task> {
        self.queues
            .iter_mut()
            .find_map(|queue| queue.tasks.pop_front())
    }

    // What a thread asks for.

    /// The thread that shows what it does there.
    pub(super) fn worker(&mut self, own: &Arc<CurrentOperation>) -> &mut Worker {
        let mut threads = self.threads.iter_mut();
        let own = threads.find(|worker| Arc::ptr_eq(&worker.current, own));
        own.expect("a thread is known until it ends")
    }

    /// Gives a thread the next item, if there is one and it may run. A thread of which suspended items
    /// were woken goes on with those: what has been begun does not wait for others that may be blocked.
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

    /// The queue from which a thread that had an item of the queue `last` takes the next: another that
    /// no thread serves, or the same, so that it keeps the directory it is in, or any other.
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

    /// A thread runs nothing any more.
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

    /// A thread has ended.
    pub(super) fn remove(&mut self, own: &Arc<CurrentOperation>) {
        self.end(own);
        self.threads
            .retain(|worker| !Arc::ptr_eq(&worker.current, own));
    }

    // What a loop asks for.

    /// What keeps an item whose time has come.
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
        let worker = self.threads.iter().find(|worker| worker.runs(id));
        // It may have been suspended, or its result may be there already.
        Overdue::Since(worker.map_or(Duration::ZERO, |worker| worker.began_at))
    }

    /// Takes an item out that no thread has begun. False if one has.
    pub(super) fn withdraw(&mut self, id: TaskId) -> bool {
        for queue in &mut self.queues {
            if let Some(at) = queue.tasks.iter().position(|task| task.id == id) {
                queue.tasks.remove(at);
                return true;
            }
        }
        false
    }

    /// Nobody waits for an item any more that a thread has begun. Gives what it does, as far as that is
    /// known.
    pub(super) fn abandon(&mut self, id: TaskId) -> Option<Operation> {
        self.give_up(|other| other == id);
        let running = self.threads.iter().find(|worker| worker.runs(id));
        let mut suspended = self.threads.iter().flat_map(|worker| &worker.suspended);
        let suspended = suspended.find(|(other, _)| *other == id);
        match running {
            Some(worker) => Some(worker.current.get()),
            None => suspended.map(|(_, operation)| *operation),
        }
    }

    /// Nobody waits for a loop's items any more.
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

    /// Takes note of the file systems that no thread is left for, or to be had.
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

    /// When the threads are to be looked at next; `None` if no item waits for one.
    pub(super) fn look_at(&self) -> Option<Duration> {
        (!self.is_empty()).then(|| self.looks.at.saturating_add(self.interval()))
    }

    /// True if the threads are looked at in the shortest interval.
    pub(super) fn looks_often(&self) -> bool {
        !self.is_empty() && self.interval() == LOOK_INTERVAL
    }

    fn interval(&self) -> Duration {
        let is_idle = self.ended == self.looks.ended;
        let doublings = if is_idle {
            self.looks.idle / IDLE_LOOKS
        } else {
            0
        };
        LOOK_INTERVAL * 2_u32.pow(doublings.min(DOUBLINGS_MAX))
    }

    /// Lets more threads run the items of a file system if some wait while most of its threads are
    /// blocked, and fewer while none is.
    pub(super) fn look(&mut self, now: Duration, is_blocked: impl Fn(&Worker) -> bool) {
        let has_ended = std::mem::replace(&mut self.looks.ended, self.ended) != self.ended;
        self.looks.idle = if has_ended {
            0
        } else {
            self.looks.idle.saturating_add(1)
        };
        self.looks.at = now;
        for (at, queue) in self.queues.iter_mut().enumerate() {
            if queue.tasks.is_empty() || queue.running == 0 {
                continue;
            }
            // Those that wait for a processor are not blocked: more of them would not help. To look at
            // one takes as long as a small file, so no more of them are than it takes to know.
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

    /// A roster with two processors, and threads that may run `workers_max` items of a file system.
    fn roster(workers_max: usize, items: &[(u32, u64)]) -> Roster {
        let mut roster = Roster::new(1, workers_max.min(2), workers_max);
        roster.add(items.iter().map(|&(slot, mount)| task(slot, mount)));
        roster
    }

    /// Starts threads as long as that lets items be begun. Gives the slots of those.
    fn begin_all(roster: &mut Roster, now: Duration) -> Vec<u32> {
        let mut begun = Vec::new();
        while roster.wanted() > 0 {
            let current = match roster.threads.iter().find(|w| w.runs == Runs::Nothing) {
                Some(worker) => Arc::clone(&worker.current),
                None => {
                    let current = Arc::default();
                    roster.threads.push(Worker::new(Arc::clone(&current)));
                    current
                }
            };
            match roster.begin(&current, false, now) {
                Some(Next::Run { task, .. }) => begun.push(task.id.slot),
                _ => panic!("an item may be begun"),
            }
        }
        begun
    }

    fn end(roster: &mut Roster, slot: u32) {
        let worker = roster.threads.iter().find(|worker| worker.runs(id(slot)));
        let current = Arc::clone(&worker.expect("it was begun").current);
        roster.end(&current);
    }

    #[test]
    fn a_file_system_that_hangs_takes_no_thread_of_another() {
        let mut roster = roster(2, &[(1, 7), (2, 7), (3, 7), (4, 8)]);
        assert_eq!(begin_all(&mut roster, S), [4, 1, 2]);
        assert!(!roster.has_work());
        end(&mut roster, 4);
        assert!(!roster.has_work(), "item 3 is not for that thread");
        roster.add([task(5, 8)].into_iter());
        assert_eq!(begin_all(&mut roster, S), [5]);
    }

    #[test]
    fn a_thread_keeps_to_a_file_system_unless_no_thread_serves_another() {
        let mut roster = roster(2, &[(1, 7), (2, 8), (3, 8), (4, 7), (5, 9)]);
        let current = Arc::default();
        roster.threads.push(Worker::new(Arc::clone(&current)));
        let mut begun = Vec::new();
        while let Some(Next::Run { task, .. }) = roster.begin(&current, false, S) {
            begun.push(task.id.slot);
            roster.end(&current);
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
        let mut roster = roster(2, &items);
        let mut begun = Vec::new();
        for round in 0..10 {
            for slot in begin_all(&mut roster, S * round) {
                begun.push(slot);
                assert!(roster.abandon(id(slot)).is_some());
            }
        }
        assert_eq!(begun.len(), 2 * THREADS_PER_WORKER);
        roster.note_stuck(S * 20);
        roster.note_stuck(S * 21);
        let overdue = roster.overdue(id(19));
        let Overdue::Never { since, stuck } = overdue else {
            panic!("no thread is left for it")
        };
        assert_eq!((since, stuck), (S * 20, 2 * THREADS_PER_WORKER));
        // One call returns after all.
        end(&mut roster, 0);
        assert_eq!(begin_all(&mut roster, S), [10]);
        assert!(matches!(roster.overdue(id(19)), Overdue::Waits));
    }

    #[test]
    fn where_no_thread_can_be_had_an_item_is_never_tried() {
        let mut roster = roster(2, &[(1, 7)]);
        roster.note_stuck(S);
        assert!(matches!(
            roster.overdue(id(1)),
            Overdue::Never { since: S, .. }
        ));
    }

    #[test]
    fn the_time_of_an_item_runs_from_when_it_was_begun() {
        let mut roster = roster(1, &[(1, 7), (2, 7)]);
        assert_eq!(begin_all(&mut roster, S), [1]);
        assert!(matches!(roster.overdue(id(1)), Overdue::Since(S)));
        assert!(matches!(roster.overdue(id(2)), Overdue::Waits));
        end(&mut roster, 1);
        assert_eq!(begin_all(&mut roster, 5 * S), [2]);
        assert!(matches!(roster.overdue(id(2)), Overdue::Since(at) if at == 5 * S));
    }

    #[test]
    fn more_threads_run_while_most_are_blocked_and_fewer_while_none_is() {
        let items: Vec<_> = (0..100).map(|slot| (slot, 7)).collect();
        let mut roster = roster(16, &items);
        assert_eq!(begin_all(&mut roster, S).len(), 2);
        roster.look(S, |_| true);
        assert_eq!(begin_all(&mut roster, S).len(), 6);
        roster.look(S, |_| true);
        assert_eq!(begin_all(&mut roster, S).len(), 8);
        roster.look(S, |_| false);
        assert_eq!(roster.queues[0].active_max, 15);
    }

    #[test]
    fn threads_that_end_nothing_are_looked_at_more_and_more_seldom() {
        let mut roster = roster(1, &[(1, 7), (2, 7)]);
        begin_all(&mut roster, S);
        let mut now = S;
        let mut looks = 0;
        while now < 101 * S {
            now = roster.look_at().expect("an item waits").max(now);
            roster.look(now, |_| true);
            looks += 1;
        }
        assert!(looks < 250, "{looks} looks in 100 s");
        assert!(!roster.looks_often());
        end(&mut roster, 1);
        assert!(roster.looks_often());
    }
}
