//! The part of [`Io`] that event loops and workers use; tasks use the rest.

use super::carrier::{Wait, Wake};
use super::core::{BackgroundTask, Io, ItemState, STEPS_PER_POLL};
use super::current::CurrentOperation;
use super::exhaustion::OpenFiles;
use super::mounts::MountId;
use super::op::Completion;
use super::op_slab::BACKGROUND;
use super::open_file::OpenFile;
use super::places::Parked;
use super::pressure::{Exhaustion, Retry};
use crate::error::{Errno, Operation};
use crate::item::Item;
use crate::stats::{Activity, Phase};
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

/// What a loop holds, to check that everything is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Items that hold a place, including those that have finished or were given up.
    pub in_flight: usize,
    /// Of these, items that have finished or were given up.
    pub given_up: usize,
    /// Items that are parked.
    pub parked: usize,
    /// Buffers lent to tasks and operations.
    pub buffers: usize,
    /// Large buffers lent, or granted to waiting tasks.
    pub large_buffers: usize,
    /// Operations in flight, or whose outcomes have not been taken.
    pub operations: usize,
    /// Operations and items that wait to be retried because a resource was exhausted.
    pub to_retry: usize,
    /// Sleeping futures.
    pub sleeping: usize,
    /// Digests that wait for their group, or that their futures have not taken.
    pub digests: usize,
}

impl Io {
    /// Begins a turn: reads the time, and wakes the tasks that wait for this turn or whose timers
    /// are due.
    pub(crate) fn begin_turn(&self) {
        let state = &mut *self.borrow();
        state.stopwatch.begin_turn(&*state.carrier);
        state.turn += 1;
        state.large_read_bytes = 0;
        state.next_turn.drain(..).for_each(|waker| waker.wake());
        let now = state.stopwatch.now();
        state.sleeps.wake_due(now);
    }

    /// Submits operations, waits as `wait` says, and appends what has completed to `completions`.
    ///
    /// # Errors
    /// If the carrier fails.
    pub(crate) fn wait(&self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let state = &mut *self.borrow();
        state.carrier.leave_directory();
        state.carrier.turn(wait, completions)?;
        state.note_unexplained_failures(completions);
        Ok(())
    }

    /// Records a completion and wakes the task that waits for it. Returns the slot of its item if
    /// that has no more operations outstanding.
    pub(crate) fn complete(&self, completion: Completion) -> Option<u32> {
        let state = &mut *self.borrow();
        state.activity.completions += 1;
        let phase = completion.op.phase();
        state.note_progress(completion.outcome.as_ref().err());
        let completed = state.op_slab.complete(completion);
        if let Some(phase) = phase {
            let now_ns = state.stopwatch.now_ns();
            let submitted_at_ns = completed.submitted_at_ns;
            state.stopwatch.record(phase, submitted_at_ns, now_ns);
        }
        let item = state.items.get_mut(completed.owner as usize)?;
        item.outstanding -= 1;
        (item.outstanding == 0).then_some(completed.owner)
    }

    /// Polls the task of the item in this slot, or with `None` a background task. The flag is false
    /// if the item is to be restarted on a worker, because a call may block.
    pub(crate) fn enter<T>(&self, slot: Option<u32>, poll: impl FnOnce() -> T) -> (T, bool) {
        self.core.current.set(slot.unwrap_or(BACKGROUND));
        self.core.steps.set(STEPS_PER_POLL);
        self.core.park_was_dropped.set(false);
        {
            // Other tasks were polled since the time was read.
            let state = &mut *self.borrow();
            state.stopwatch.expire();
            state.refresh();
        }
        let polled = poll();
        self.core.current.set(BACKGROUND);
        (polled, !self.core.moves_to_worker.replace(false))
    }

    /// The time as last read, or read now if items have times of their own.
    pub(crate) fn item_time_ns(&self) -> u64 {
        let state = &mut *self.borrow();
        state.refresh();
        state.stopwatch.now_ns()
    }

    /// The time at which the turn began, or later.
    pub(crate) fn turn_time(&self) -> Duration {
        self.borrow().stopwatch.now()
    }

    /// Records that a phase lasted from one time to another.
    pub(crate) fn record_between(&self, phase: Phase, from_ns: u64, to_ns: u64) {
        self.borrow().stopwatch.record(phase, from_ns, to_ns);
    }

    /// Paths may lead elsewhere from now on: see
    /// [`Carrier::leave_directory`](super::Carrier::leave_directory).
    pub(crate) fn leave_directory(&self) {
        self.borrow().carrier.leave_directory();
    }

    /// Tasks that were spawned since the last call.
    pub(crate) fn take_spawned(&self) -> Vec<BackgroundTask> {
        mem::take(&mut self.borrow().spawned)
    }

    /// True if tasks or digests wait for the next turn, so that it must begin without waiting for
    /// an event.
    pub(crate) fn wants_turn(&self) -> bool {
        let state = self.borrow();
        !state.next_turn.is_empty() || !state.spawned.is_empty() || self.digests_wait()
    }

    /// When the next timer, retry or publication of latencies is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let state = &mut *self.borrow();
        let due = [
            state.sleeps.next_due(),
            state.pressure.retry_at(),
            state.stopwatch.publish_at(),
        ];
        due.into_iter().flatten().min()
    }

    // Items.

    /// The item with this index starts in this slot and takes a place.
    pub(crate) fn item_started(&self, slot: u32, index: u64) {
        let state = &mut *self.borrow();
        let slot = slot as usize;
        if state.items.len() <= slot {
            state.items.resize(slot + 1, ItemState::NEW);
        }
        state.items[slot] = ItemState {
            index,
            ..ItemState::NEW
        };
        state.places.take();
    }

    /// The item was polled and is not finished. If it dropped what it was parked for, it is no
    /// longer parked and takes a place without waiting for one.
    pub(crate) fn item_polled(&self, slot: u32) {
        if self.core.park_was_dropped.get() {
            let state = &mut *self.borrow();
            let item = &mut state.items[slot as usize];
            if item.parked == Parked::UntilPolled {
                item.parked = Parked::No;
                state.places.take_back(Parked::UntilPolled);
            }
        }
    }

    /// The item is to be restarted on a worker. If it has no place, it takes one.
    pub(crate) fn item_restarts_on_worker(&self, slot: u32) {
        let state = &mut *self.borrow();
        let item = &mut state.items[slot as usize];
        let parked = std::mem::replace(&mut item.parked, Parked::No);
        if parked != Parked::No {
            state.places.take_back(parked);
        }
    }

    /// An item has finished or is given up. It keeps its place until [`Io::item_ended`], when the
    /// kernel has released everything it holds.
    pub(crate) fn item_abandoned(&self, slot: u32) {
        let state = &mut *self.borrow();
        let item = &mut state.items[slot as usize];
        if std::mem::take(&mut item.is_retried_on_worker) {
            state.retries.count(slot, false);
        }
        state.places.abandon(item.parked);
    }

    /// An item has left its slot. That may have freed what the next operation to be retried needs,
    /// so this is retried now. If it is an item that failed on a worker, returns its slot.
    pub(crate) fn item_ended(&self, slot: u32) -> Option<u32> {
        let state = &mut *self.borrow();
        let item = std::mem::replace(&mut state.items[slot as usize], ItemState::NEW);
        state.places.end(item.parked);
        let key = state.pressure.item_finished()?;
        state.activity.retries += 1;
        state.retries.decide(key, false)
    }

    /// An item on a worker waits for other items of the run. Until it ends, returning items may use
    /// its place.
    pub(crate) fn lend_place(&self, slot: u32) {
        let state = &mut *self.borrow();
        state.items[slot as usize].parked = Parked::Lending;
        state.places.park();
        state.places.lend();
    }

    /// Operations of the item that were submitted and have not completed.
    pub(crate) fn outstanding(&self, slot: u32) -> u32 {
        self.borrow().items[slot as usize].outstanding
    }

    /// True if parts of the item's result were handed over.
    pub(crate) fn item_has_written(&self, slot: u32) -> bool {
        self.borrow().items[slot as usize].has_written
    }

    /// True if the item waits until it may hand over a part of its result.
    pub(crate) fn item_waits_to_write(&self, slot: u32) -> bool {
        self.borrow().items[slot as usize].writes_waiting > 0
    }

    /// True if the item failed on this worker because a resource was exhausted, and the loop is to
    /// retry it.
    pub(crate) fn item_is_left_to_loop(&self, slot: u32) -> bool {
        self.borrow().items[slot as usize].is_left_to_loop
    }

    /// The item's last operation.
    pub(crate) fn last_operation(&self, slot: u32) -> Operation {
        self.borrow().items[slot as usize].last_operation
    }

    /// Items that may be started now.
    pub(crate) fn room(&self) -> usize {
        let state = self.borrow();
        let room = state.places.free(state.pressure.limit());
        let may_park = state.parked_max.saturating_sub(state.places.parked());
        room.min(state.intake).min(may_park)
    }

    /// Items in flight: those that hold a place.
    pub(crate) fn in_flight(&self) -> usize {
        self.borrow().places.taken()
    }

    /// Items in flight that have finished or were given up.
    pub(crate) fn abandoned(&self) -> usize {
        self.borrow().places.abandoned()
    }

    /// Items that have neither finished nor been given up, including parked ones.
    pub(crate) fn unfinished(&self) -> usize {
        let places = &self.borrow().places;
        places.alive() + places.parked()
    }

    /// The mount that an item's path is on, as far as that is known without waiting.
    pub(crate) fn mount_of(&self, item: &Item) -> MountId {
        self.borrow().carrier.mount_of(item)
    }

    /// Takes the mount of the path because of which an item is to be restarted on a worker.
    pub(crate) fn take_blocked_at(&self) -> Option<MountId> {
        self.core.blocked_at.take()
    }

    // Resource exhaustion.

    /// The exhaustion of this loop, for other loops to read.
    pub(crate) fn exhaustion(&self) -> Exhaustion {
        let state = self.borrow();
        let to_retry = state.retries.items();
        let idle = match to_retry {
            0 => 0,
            _ => state.parked_that_free_nothing(),
        };
        Exhaustion {
            to_retry: to_retry + idle,
            ..state.pressure.exhaustion()
        }
    }

    /// True if exhaustion has reduced the number of places that may be used.
    pub(crate) fn is_under_pressure(&self) -> bool {
        let state = self.borrow();
        state.pressure.limit() < state.places.max()
    }

    /// An item failed on a worker because a resource was exhausted: schedules its retry.
    pub(crate) fn retry_item_later(&self, slot: u32) {
        let state = &mut *self.borrow();
        let item = &mut state.items[slot as usize];
        if !std::mem::replace(&mut item.is_retried_on_worker, true) {
            state.retries.count(slot, true);
        }
        let key = state.retries.insert_item(slot);
        let (alive, now) = (state.places.alive(), state.stopwatch.now());
        state.pressure.exhausted(key, false, alive, now);
    }

    /// Cancels the retry of an item that is no longer wanted.
    pub(crate) fn forget_item_to_retry(&self, slot: u32) {
        let state = &mut *self.borrow();
        if let Some(key) = state.retries.key_of_item(slot) {
            state.retries.take_item(key);
            state.pressure.remove(|other| *other == key);
        }
    }

    /// Decides about the retry that is due, if any. If it is that of an item on a worker, returns
    /// the item's slot, and whether the item is to fail. `others_can_free` says whether other loops
    /// could free the exhausted resource.
    pub(crate) fn retry(&self, others_can_free: impl FnOnce() -> bool) -> Option<(u32, bool)> {
        let state = &mut *self.borrow();
        let now = state.stopwatch.now();
        if state.pressure.retry_at().is_none_or(|at| now < at) {
            return None;
        }
        let holders = state.places.taken() + state.places.lingering();
        let own_can_free = holders > state.retries.items();
        let can_free = others_can_free() || own_can_free;
        let (key, give_up) = match state.pressure.due(now, can_free)? {
            Retry::Submit(key) => (key, false),
            Retry::GiveUp(key) => (key, true),
        };
        state.activity.retries += u64::from(!give_up);
        let slot = state.retries.decide(key, give_up)?;
        Some((slot, give_up))
    }

    // For the run.

    /// Ends all operations: see [`Carrier::close`](super::Carrier::close).
    pub(crate) fn close(&self) -> bool {
        self.borrow().carrier.close()
    }

    /// Counts of what was done so far.
    pub(crate) fn activity(&self) -> Activity {
        let state = self.borrow();
        Activity {
            enters: state.carrier.enters(),
            ..state.activity
        }
    }

    /// Operations done without waiting since the last call, for a worker to report.
    pub(crate) fn take_operations(&self) -> u64 {
        mem::take(&mut self.borrow().activity.at_once)
    }

    /// A worker has ended an item: adds the operations it took.
    pub(crate) fn worker_ended(&self, operations: u64, is_progress: bool) {
        let state = &mut *self.borrow();
        state.activity.at_once += operations;
        if is_progress {
            state.pressure.progressed();
        }
    }

    /// True if the item in this slot has left files open. On a worker, files are closed after the
    /// item has ended.
    pub(crate) fn has_left_open(&self, slot: u32) -> bool {
        let left = self.core.left_open.borrow();
        left.iter().any(|(owner, _)| *owner == slot)
    }

    /// Closes the files that the item in this slot has left open. May block.
    ///
    /// # Errors
    /// The first error of a close.
    pub(crate) fn close_left(&self, slot: u32) -> Result<(), Errno> {
        let mut left_open = self.core.left_open.borrow_mut();
        let left: Vec<_> = left_open
            .extract_if(.., |(owner, _)| *owner == slot)
            .collect();
        drop(left_open);
        let mut closed = Ok(());
        for (_, file) in left {
            self.show(Operation::Close);
            closed = closed.and(file.map_or(Ok(()), OpenFile::close));
            self.core.open_files.borrow().closed();
            self.note_close();
        }
        closed
    }

    /// From now on, publishes every operation there before it is tried.
    pub(crate) fn show_operations(&self, current: &Arc<CurrentOperation>) {
        self.core.shown.replace(Some(Arc::clone(current)));
    }

    /// From now on, counts the files that this worker opens together with those of other workers.
    pub(crate) fn count_open_files(&self, of_all: &Arc<OpenFiles>) {
        self.core.open_files.replace(Arc::clone(of_all));
    }

    /// When the first sleeping task is due.
    pub(crate) fn next_sleep_due(&self) -> Option<Duration> {
        self.borrow().sleeps.next_due()
    }

    /// Publishes all latencies recorded so far.
    pub(crate) fn publish(&self) {
        self.borrow().stopwatch.publish();
    }

    /// What is held now.
    pub(crate) fn held(&self) -> Held {
        let state = self.borrow();
        Held {
            in_flight: state.places.taken(),
            given_up: state.places.abandoned(),
            parked: state.places.parked() + state.places.lingering(),
            buffers: self.core.buffers.lent(),
            large_buffers: self.core.buffers.large_taken(),
            operations: state.op_slab.len(),
            to_retry: state.retries.len(),
            sleeping: state.sleeps.len(),
            digests: self.core.digests.borrow().len(),
        }
    }

    /// Returns a waker that ends a wait of the carrier from another thread.
    pub(crate) fn waker(&self) -> Arc<dyn Wake> {
        self.borrow().carrier.waker()
    }
}
