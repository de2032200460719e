//! The event loop: an executor for the tasks of one thread.
//!
//! A turn: take completions and poll the tasks that they woke; hand over results and pull new items;
//! poll the new items for the first time; submit and wait.

use super::ready::{ReadyQueue, TaskWaker};
use super::shortfall::Shortfall;
use super::tasks::{ItemResult, Tasks};
use super::workers::{Done, Outbox, Task, TaskId, Withdrawn, WorkerContext, Workers};
use crate::error::{Cause, Errno, ItemError, Operation};
use crate::io::{BackgroundTask, Completion, Held, Io, MountId, PartWriter, Timers, Wait};
use crate::item::{BatchSlice, Item};
use crate::mill::{Ask, Directive, Exchange, Finished, Mill};
use crate::stats::{Activity, Phase};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Background tasks have this bit in their numbers. The numbers of slots are always smaller.
const BACKGROUND: u32 = 1 << 31;

/// How often one turn polls the tasks that were woken during the turn: most are woken by other tasks, and
/// need not wait for the next turn.
const POLL_ROUNDS: usize = 4;

/// What one loop may use.
#[derive(Clone, Copy, Debug)]
pub struct LoopLimits {
    /// Items in flight, at most.
    pub in_flight: usize,
    /// An item's deadline after its first operation.
    pub timeout: Option<Duration>,
}

/// What follows a turn of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Wait in this way, then take another turn.
    Wait(Wait),
    /// The loop has nothing left to do.
    Ended,
}

/// An event loop. It belongs to one thread and blocks only in [`EventLoop::wait`].
pub struct EventLoop<V> {
    index: usize,
    mill: Arc<Mill<V>>,
    io: Io,
    limits: LoopLimits,
    tasks: Box<dyn Tasks<V>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    background: Vec<(TaskWaker, Option<BackgroundTask>)>,
    ready: Arc<ReadyQueue>,
    deadlines: Timers,
    /// Since when all places in flight have been held by items that were given up.
    stuck_since: Option<Duration>,
    shortfall: Shortfall,
    /// When the rate allows the next pull.
    resume_at: Option<Duration>,
    workers: Arc<Workers<V>>,
    /// Items to hand over to workers at the end of this turn.
    for_workers: Vec<Task>,
    /// The number of items that were handed over to workers and have not come back.
    at_workers: usize,
    /// When to supervise the workers next, while items wait for one.
    supervise_at: Option<Duration>,
    /// If no worker thread can be started: the loop's own worker, which runs on the loop's thread.
    worker_context: Option<WorkerContext<V>>,
    completions: Vec<Completion>,
    woken: Vec<u32>,
    done: Vec<Done<V>>,
    finished: Vec<Finished<V>>,
    pulled: Vec<BatchSlice>,
}

/// A slot for an item in flight.
struct Slot {
    waker: TaskWaker,
    item: Option<InFlight>,
}

/// An item in flight.
struct InFlight {
    item: Item,
    started_at_ns: u64,
    /// When it was due to start, if the run has a rate.
    due_at_ns: Option<u64>,
    /// The mount where its calls may block, once one was found to block.
    mount: Option<MountId>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has a task in this loop.
    Task,
    /// It is at a worker, or will be handed over to one. `Some`: the resource exhaustion that made its last
    /// attempt there fail.
    AtWorker(Option<Exhausted>),
    /// It failed on a worker because of resource exhaustion, with this error, and waits to be retried.
    ToRetry(Exhausted),
    /// Its result has been handed over. The slot only waits for its last completions.
    Abandoned,
    /// Its result has been handed over. The slot only waits for the worker that still runs it.
    AbandonedAtWorker,
}

/// The operation of an item that failed because of resource exhaustion, and its error.
type Exhausted = (Operation, Errno);

impl<V: Send + 'static> EventLoop<V> {
    /// A loop with nothing in flight.
    pub fn new(
        index: usize,
        mill: Arc<Mill<V>>,
        io: Io,
        tasks: Box<dyn Tasks<V>>,
        workers: Arc<Workers<V>>,
        limits: LoopLimits,
    ) -> Self {
        mill.set_waker(index, io.waker());
        workers.set_outbox(index, Outbox::new(limits.in_flight, io.waker()));
        io.write_parts_to(Arc::clone(&mill) as Arc<dyn PartWriter>);
        Self {
            index,
            mill,
            ready: ReadyQueue::new(io.waker()),
            io,
            limits,
            tasks,
            slots: Vec::new(),
            free: Vec::new(),
            background: Vec::new(),
            deadlines: Timers::default(),
            stuck_since: None,
            shortfall: Shortfall::default(),
            resume_at: None,
            workers,
            for_workers: Vec::new(),
            at_workers: 0,
            supervise_at: None,
            worker_context: None,
            completions: Vec::new(),
            woken: Vec::new(),
            done: Vec::new(),
            finished: Vec::new(),
            pulled: Vec::new(),
        }
    }

    /// Runs until there is nothing left to do or the mill is stopped.
    ///
    /// # Errors
    /// If the carrier fails; the items in flight are then lost.
    pub fn run(&mut self) -> io::Result<()> {
        while let Turn::Wait(wait) = self.turn() {
            self.wait(wait)?;
        }
        Ok(())
    }

    /// Polls the tasks that were woken, hands over results, starts new items.
    pub fn turn(&mut self) -> Turn {
        self.ready.ends_wait();
        self.io.begin_turn();
        self.take_completions();
        self.take_from_workers();
        self.poll_woken();
        self.expire();
        self.retry();
        let is_stuck = self.is_stuck();
        let room = if is_stuck {
            self.limits.in_flight
        } else {
            self.io.room()
        };
        let pulled_at_ns = self.io.item_time_ns();
        let now = self.io.turn_time();
        let exchange = self.mill.exchange(
            self.index,
            &mut self.finished,
            Ask {
                room,
                in_flight: self.io.unfinished(),
                exhaustion: self.io.exhaustion(),
            },
            &mut self.pulled,
            now,
        );
        let Exchange {
            directive,
            mut schedule,
            resume_at,
            pulled: count,
            ..
        } = exchange;
        let under_pressure = self.io.is_under_pressure();
        self.shortfall.note(exchange.held_back, under_pressure, now);
        self.resume_at = resume_at;
        if directive == Directive::Stop {
            return Turn::Ended;
        }
        self.io.leave_directory();
        let mut pulled = std::mem::take(&mut self.pulled);
        for item in pulled.drain(..).flat_map(|slice| slice.items()) {
            let due_at_ns = schedule.as_mut().and_then(Iterator::next);
            if is_stuck {
                let error = Err(not_tried(self.limits.in_flight, None));
                self.hand_over(item, pulled_at_ns, due_at_ns, error);
            } else {
                self.start(item, pulled_at_ns, due_at_ns);
            }
        }
        self.pulled = pulled;
        self.poll_woken();
        if self.io.compute_digests() {
            self.poll_woken();
        }
        self.send_to_workers();
        // Items that parked have freed places, and items that returned have taken some.
        let is_filled = !exchange.goes_on && self.io.room() == room - count;
        let mill_knows_room = directive == Directive::Finish || is_filled;
        let is_over = self.finished.is_empty() && mill_knows_room && !self.io.wants_turn();
        if !is_over || !self.ready.may_wait() {
            // Another turn is needed, to hand over results, fill places or poll tasks.
            return Turn::Wait(Wait::No);
        }
        self.mill.announce();
        let context_is_idle = self
            .worker_context
            .as_ref()
            .is_none_or(WorkerContext::is_idle);
        if directive == Directive::Finish && self.io.unfinished() == 0 && context_is_idle {
            // Items that were given up and still hang are not waited for.
            return Turn::Ended;
        }
        Turn::Wait(self.wait_for())
    }

    /// Submits operations, and waits as the last turn requested.
    ///
    /// # Errors
    /// If the carrier fails.
    pub fn wait(&mut self, wait: Wait) -> io::Result<()> {
        self.io.wait(wait, &mut self.completions)
    }

    /// Counts of what the loop has done so far.
    #[must_use]
    pub fn activity(&self) -> Activity {
        Activity {
            held_back: self.shortfall.times(),
            ..self.io.activity()
        }
    }

    /// Items in flight in this loop, including those given up whose operations have not completed yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.io.in_flight()
    }

    /// The resources it holds; for checks that all are given back.
    #[must_use]
    pub fn held(&self) -> Held {
        self.io.held()
    }

    fn wait_for(&mut self) -> Wait {
        let stuck_until = self.stuck_since.zip(self.limits.timeout);
        let stuck_until = stuck_until.map(|(since, timeout)| since.saturating_add(timeout));
        if self.at_workers > 0 {
            self.supervise_at = self.workers.supervise(self.index, self.io.now());
        } else {
            self.supervise_at = None;
        }
        let next = [
            self.deadlines.next_due(),
            stuck_until,
            self.io.next_due(),
            self.resume_at,
            self.supervise_at,
            self.worker_context
                .as_ref()
                .and_then(WorkerContext::next_due),
        ];
        let next = next.into_iter().flatten().min();
        // Read the time again: the turn has taken some.
        next.map_or(Wait::Forever, |at| {
            Wait::AtMost(at.saturating_sub(self.io.now()))
        })
    }

    // Tasks.

    fn start(&mut self, item: Item, pulled_at_ns: u64, due_at_ns: Option<u64>) {
        let now_ns = self.io.item_time_ns();
        self.io.record_between(Phase::QUEUE, pulled_at_ns, now_ns);
        if let Some(due_at_ns) = due_at_ns {
            self.io
                .record_between(Phase::SCHEDULED_QUEUE, due_at_ns, now_ns);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.slots.len()).expect("fewer than 2^31 slots");
            let waker = self.ready.waker(slot);
            self.slots.push(Slot { waker, item: None });
            slot
        });
        let index = item.index();
        self.tasks.start(slot as usize, item.clone());
        self.slots[slot as usize].item = Some(InFlight {
            item,
            started_at_ns: now_ns,
            due_at_ns,
            mount: None,
            stage: Stage::Task,
        });
        self.io.item_started(slot, index);
        if let Some(timeout) = self.limits.timeout {
            let deadline = Duration::from_nanos(now_ns).saturating_add(timeout);
            self.deadlines.set(slot, deadline);
        }
        self.poll_item(slot);
    }

    /// Polls the tasks that were woken.
    fn poll_woken(&mut self) {
        let mut woken = std::mem::take(&mut self.woken);
        for _ in 0..POLL_ROUNDS {
            self.add_spawned();
            self.ready.take(&mut woken);
            if woken.is_empty() {
                break;
            }
            for task in woken.drain(..) {
                if task & BACKGROUND == 0 {
                    self.poll_item(task);
                } else {
                    self.poll_background(task & !BACKGROUND);
                }
            }
        }
        self.woken = woken;
    }

    fn poll_item(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        place.waker.begin_poll();
        let has_task = place.item.as_ref().is_some_and(|i| i.stage == Stage::Task);
        if !has_task {
            // The wake-up was for an earlier task of this slot.
            return;
        }
        let mut context = Context::from_waker(place.waker.waker());
        let poll = || self.tasks.poll(slot as usize, &mut context);
        let (poll, stays) = self.io.enter(Some(slot), poll);
        match poll {
            Poll::Ready(result) => self.finish(slot, result),
            Poll::Pending if stays => self.io.item_polled(slot),
            Poll::Pending => {
                self.tasks.clear(slot as usize);
                self.io.item_restarts_on_worker(slot);
                self.give_to_workers(slot);
            }
        }
    }

    fn add_spawned(&mut self) {
        for task in self.io.take_spawned() {
            let number = u32::try_from(self.background.len()).expect("fewer than 2^31 tasks");
            let waker = self.ready.waker(BACKGROUND | number);
            waker.waker().wake_by_ref();
            self.background.push((waker, Some(task)));
        }
    }

    fn poll_background(&mut self, number: u32) {
        let (waker, task) = &mut self.background[number as usize];
        waker.begin_poll();
        let Some(future) = task else { return };
        let mut context = Context::from_waker(waker.waker());
        let (poll, _) = self.io.enter(None, || future.as_mut().poll(&mut context));
        if poll.is_ready() {
            *task = None;
        }
    }

    fn take_completions(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            if let Some(slot) = self.io.complete(completion) {
                self.free_if_done(slot);
            }
        }
        self.completions = completions;
    }

    fn finish(&mut self, slot: u32, result: ItemResult<V>) {
        self.deadlines.cancel(slot);
        self.io.item_abandoned(slot);
        if self.io.outstanding(slot) == 0 {
            let ended = self.slots[slot as usize].item.take();
            let ended = ended.expect("the slot is in use");
            self.hand_over(ended.item, ended.started_at_ns, ended.due_at_ns, result);
            return self.free_slot(slot);
        }
        // Operations of the task are still outstanding.
        let flight = self.flight(slot);
        flight.stage = Stage::Abandoned;
        let (started_at_ns, due_at_ns) = (flight.started_at_ns, flight.due_at_ns);
        let item = flight.item.clone();
        self.hand_over(item, started_at_ns, due_at_ns, result);
    }

    #[inline]
    fn hand_over(
        &mut self,
        item: Item,
        started_at_ns: u64,
        due_at_ns: Option<u64>,
        result: ItemResult<V>,
    ) {
        let finished_at_ns = self.io.item_time_ns();
        self.hand_over_at(item, started_at_ns, due_at_ns, finished_at_ns, result);
    }

    // Inlined, as are its callers, because it moves large values.
    #[inline]
    fn hand_over_at(
        &mut self,
        item: Item,
        started_at_ns: u64,
        due_at_ns: Option<u64>,
        finished_at_ns: u64,
        result: ItemResult<V>,
    ) {
        self.io
            .record_between(Phase::TOTAL, started_at_ns, finished_at_ns);
        if let Some(due_at_ns) = due_at_ns {
            self.io
                .record_between(Phase::SCHEDULED_TOTAL, due_at_ns, finished_at_ns);
        }
        let is_failure = self.tasks.is_failure(&result);
        let bytes_held = u32::try_from(self.tasks.bytes_held(&result)).unwrap_or(u32::MAX);
        self.finished.push(Finished {
            item,
            started_at_ns,
            finished_at_ns,
            result,
            is_failure,
            bytes_held,
        });
    }

    fn flight(&mut self, slot: u32) -> &mut InFlight {
        let flight = self.slots[slot as usize].item.as_mut();
        flight.expect("the slot is in use")
    }

    // Items whose results have been handed over.

    /// Gives up the items whose deadline has come. Their results are handed over now; their slots stay in
    /// use until all their operations have completed.
    fn expire(&mut self) {
        while let Some(slot) = self.deadlines.pop_due(self.io.turn_time()) {
            self.abandon(slot);
        }
    }

    fn abandon(&mut self, slot: u32) {
        let stage = std::mem::replace(&mut self.flight(slot).stage, Stage::Abandoned);
        let mut operation = self.io.last_operation(slot);
        let mut result = None;
        match stage {
            Stage::Task => {
                self.tasks.clear(slot as usize);
                if self.io.item_has_written(slot) {
                    let index = self.flight(slot).item.index();
                    self.mill.give_up_parts(index, false);
                }
            }
            Stage::ToRetry((of, _)) => {
                operation = of;
                self.io.forget_item_to_retry(slot);
            }
            Stage::AtWorker(_) if self.for_workers.iter().any(|task| task.id.slot == slot) => {
                self.for_workers.retain(|task| task.id.slot != slot);
            }
            Stage::AtWorker(exhausted) => match self.withdraw(slot, exhausted.is_some()) {
                Withdrawn::NotYet(at) => {
                    self.flight(slot).stage = stage;
                    return self.deadlines.set(slot, at);
                }
                Withdrawn::Unstarted => self.at_workers -= 1,
                Withdrawn::NotTried { calls } => {
                    self.at_workers -= 1;
                    let mount = self.mount_of(slot);
                    result = Some(Err(not_tried(calls, mount.mount_point())));
                }
                Withdrawn::Closing(closing) => {
                    self.stays_at_worker(slot);
                    let lacks = |result: &ItemResult<V>| {
                        let error = result.as_ref().err();
                        error.and_then(exhaustion_of).is_some()
                    };
                    result = Some(closing).filter(|closing| !lacks(closing));
                }
                Withdrawn::Running(of) => {
                    operation = of.unwrap_or(operation);
                    self.stays_at_worker(slot);
                }
            },
            Stage::Abandoned | Stage::AbandonedAtWorker => unreachable!("given up once"),
        }
        self.io.item_abandoned(slot);
        let flight = self.flight(slot);
        let (started_at_ns, due_at_ns) = (flight.started_at_ns, flight.due_at_ns);
        let item = flight.item.clone();
        let result = result.unwrap_or_else(|| Err(self.timed_out(operation)));
        self.hand_over(item, started_at_ns, due_at_ns, result);
        self.free_if_done(slot);
    }

    fn withdraw(&self, slot: u32, was_begun: bool) -> Withdrawn<V> {
        let timeout = self.limits.timeout.expect("it has a deadline");
        let of_loop = self.index;
        let (id, now) = (TaskId { of_loop, slot }, self.io.turn_time());
        self.workers.withdraw(id, timeout, was_begun, now)
    }

    /// The item was given up while a worker runs it: its slot is in use until the worker has ended it.
    fn stays_at_worker(&mut self, slot: u32) {
        let flight = self.flight(slot);
        flight.stage = Stage::AbandonedAtWorker;
        let index = flight.item.index();
        self.mill.give_up_parts(index, true);
    }

    /// Frees the slot if its item's result has been handed over and none of its operations is outstanding.
    fn free_if_done(&mut self, slot: u32) {
        let place = &mut self.slots[slot as usize];
        let is_over = place
            .item
            .as_ref()
            .is_some_and(|i| i.stage == Stage::Abandoned);
        if !is_over || self.io.outstanding(slot) > 0 {
            return;
        }
        place.item = None;
        self.free_slot(slot);
    }

    fn free_slot(&mut self, slot: u32) {
        self.free.push(slot);
        if let Some(to_retry) = self.io.item_ended(slot) {
            self.begin_again(to_retry);
        }
    }

    /// True if new items must fail without being started, because all places in flight have been held, for
    /// one whole timeout, by items that were given up and still hang. Otherwise a list with that many
    /// hanging files would never end.
    fn is_stuck(&mut self) -> bool {
        let Some(timeout) = self.limits.timeout else {
            return false;
        };
        if self.io.abandoned() < self.limits.in_flight {
            self.stuck_since = None;
            return false;
        }
        let now = self.io.turn_time();
        let since = *self.stuck_since.get_or_insert(now);
        let is_stuck = now >= since.saturating_add(timeout);
        if is_stuck {
            // The next items wait for another timeout.
            self.stuck_since = Some(now);
        }
        is_stuck
    }

    fn timed_out(&self, operation: Operation) -> ItemError {
        let timeout = self.limits.timeout.unwrap_or_default();
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        ItemError {
            operation,
            cause: Cause::TimedOut { timeout_ms },
        }
    }

    // Workers.

    fn give_to_workers(&mut self, slot: u32) {
        let of_loop = self.index;
        if let Some(mount) = self.io.take_blocked_at() {
            self.flight(slot).mount = Some(mount);
        }
        let mount = self.mount_of(slot);
        let flight = self.flight(slot);
        flight.stage = match flight.stage {
            Stage::ToRetry(exhausted) => Stage::AtWorker(Some(exhausted)),
            _ => Stage::AtWorker(None),
        };
        let (id, item) = (TaskId { of_loop, slot }, flight.item.clone());
        self.for_workers.push(Task {
            id,
            item,
            mount,
            batch: 0,
        });
    }

    /// The file system of the item in this slot, as far as that is known without waiting.
    fn mount_of(&mut self, slot: u32) -> MountId {
        let flight = self.slots[slot as usize].item.as_ref();
        let flight = flight.expect("the slot is in use");
        // Its job may have found the mount; the item itself need not be a path.
        (flight.mount).unwrap_or_else(|| self.io.mount_of(&flight.item))
    }

    fn send_to_workers(&mut self) {
        if !self.for_workers.is_empty() {
            self.at_workers += self.for_workers.len();
            if !self.workers.add(self.for_workers.drain(..)) {
                let (workers, wake) = (&self.workers, self.io.waker());
                self.worker_context
                    .get_or_insert_with(|| workers.new_context().woken_through(wake));
            }
        }
        // Without worker threads, one item per turn runs here: slow progress is better than none.
        if let Some(worker_context) = &mut self.worker_context {
            self.workers.run_one(worker_context);
        }
    }

    fn take_from_workers(&mut self) {
        if self.at_workers == 0 {
            return;
        }
        let mut done = std::mem::take(&mut self.done);
        for slot in self.workers.take_done(self.index, &mut done) {
            if matches!(self.flight(slot).stage, Stage::AtWorker(_)) {
                self.io.lend_place(slot);
            }
        }
        for done in done.drain(..) {
            self.at_workers -= 1;
            let slot = done.id.slot;
            let result = match done.outcome {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            let exhausted = result.as_ref().err().and_then(exhaustion_of);
            let exhausted = exhausted.filter(|_| done.is_exhausted);
            // The same resource exhaustion as before is no progress.
            let is_progress = match (exhausted, self.flight(slot).stage) {
                (Some(now), Stage::AtWorker(Some(before))) => !is_the_same(now, before),
                _ => true,
            };
            self.io.worker_ended(done.operations, is_progress);
            let index = done.item.index();
            // An item whose parts have been emitted cannot be started again.
            let may_begin_again = || !done.has_written || self.mill.take_back(index);
            let exhausted = exhausted.filter(|_| may_begin_again());
            if self.flight(slot).stage == Stage::AbandonedAtWorker {
                self.mill.given_up_ended(index);
                self.flight(slot).stage = Stage::Abandoned;
                self.free_if_done(slot);
            } else if let Some(exhausted) = exhausted {
                self.flight(slot).stage = Stage::ToRetry(exhausted);
                self.io.item_restarts_on_worker(slot);
                self.io.retry_item_later(slot);
            } else {
                self.finish_from_worker(slot, done.item, done.finished_at_ns, result);
            }
        }
        self.done = done;
    }

    fn finish_from_worker(
        &mut self,
        slot: u32,
        item: Item,
        finished_at_ns: u64,
        result: ItemResult<V>,
    ) {
        self.deadlines.cancel(slot);
        let flight = self.flight(slot);
        flight.stage = Stage::Abandoned;
        let (started_at_ns, due_at_ns) = (flight.started_at_ns, flight.due_at_ns);
        self.hand_over_at(item, started_at_ns, due_at_ns, finished_at_ns, result);
        self.io.item_abandoned(slot);
        self.free_if_done(slot);
    }

    // Resource exhaustion.

    fn retry(&mut self) {
        let (mill, index) = (&self.mill, self.index);
        match self.io.retry(|| mill.can_free_resources(index)) {
            None => {}
            Some((slot, false)) => self.begin_again(slot),
            Some((slot, true)) => {
                let Stage::ToRetry((operation, errno)) = self.flight(slot).stage else {
                    unreachable!("it waits to be begun again")
                };
                self.finish(slot, Err(ItemError::errno(operation, errno)));
            }
        }
    }

    fn begin_again(&mut self, slot: u32) {
        self.give_to_workers(slot);
    }
}

fn not_tried(calls: usize, mount_point: Option<String>) -> ItemError {
    ItemError {
        operation: Operation::Open,
        cause: Cause::NotTried { calls, mount_point },
    }
}

fn is_the_same(one: Exhausted, other: Exhausted) -> bool {
    let lacks_descriptor = |(_, errno): Exhausted| errno.is_descriptor_exhaustion();
    one == other || (one.0 == other.0 && lacks_descriptor(one) && lacks_descriptor(other))
}

fn exhaustion_of(error: &ItemError) -> Option<Exhausted> {
    match error.cause {
        Cause::Errno(errno) if errno.is_exhaustion() => Some((error.operation, errno)),
        _ => None,
    }
}

impl<V> EventLoop<V> {
    /// Drops the tasks, then closes the carrier, which waits for operations that are still outstanding. False
    /// if one does not complete: then the thread cannot end before the kernel has completed it.
    pub fn close(&mut self) -> bool {
        for slot in 0..self.slots.len() {
            self.tasks.clear(slot);
        }
        self.background.clear();
        drop(self.io.take_spawned());
        self.workers.abandon_all(self.index);
        self.io.close()
    }
}

impl<V> Drop for EventLoop<V> {
    fn drop(&mut self) {
        self.close();
    }
}
