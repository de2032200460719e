//! What an event loop, or a worker, does with its [`Io`]: the other side of the handle.

use super::carrier::{Wait, Wake};
use super::core::{BackgroundTask, Io, ItemState, STEPS_PER_POLL};
use super::current::CurrentOperation;
use super::flights::BACKGROUND;
use super::mounts::MountId;
use super::op::Completion;
use super::open_file::OpenFile;
use super::places::Parked;
use super::pressure::{Exhaustion, Retry};
use super::shortages::OpenFiles;
use crate::error::{Errno, Operation};
use crate::item::Item;
use crate::stats::{Activity, Phase};
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

/// What a loop holds; for checking that all comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Items that hold a place, those given up included.
    pub in_flight: usize,
    /// Of these, items that were given up.
    pub given_up: usize,
    /// Items that are parked.
    pub parked: usize,
    /// Buffers lent to tasks and operations.
    pub buffers: usize,
    /// Large buffers lent or promised.
    pub large_buffers: usize,
    /// Operations in flight, or whose outcomes have not been taken.
    pub operations: usize,
    /// Operations and items that wait to be tried again because something was exhausted.
    pub to_retry: usize,
    /// Sleeping futures.
    pub sleeping: usize,
    /// Digests that wait for others, or that nobody has taken.
    pub digests: usize,
}

impl Io {
    /// Begins a turn: reads the time, and wakes what waited for the turn.
    pub(crate) fn begin_turn(&self) {
        let state = &mut *self.borrow();
        state.stopwatch.begin_turn(&*state.carrier);
        state.turn += 1;
        state.read_at_once = 0;
        state.next_turn.drain(..).for_each(|waker| waker.wake());
        let now = state.stopwatch.now();
        state.sleeps.wake_due(now);
    }

    /// Submits and waits as told, and appends what has completed to `completions`.
    ///
    /// # Errors
    /// If the carrier fails.
    pub(crate) fn wait(&self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let state = &mut *self.borrow();
        state.carrier.forget_names();
        state.carrier.turn(wait, completions)?;
        state.look_for_shortages(completions);
        Ok(())
    }

    /// Takes note of a completion and wakes the task that waits for it. Gives the slot of the item it
    /// belongs to, if nothing of that item is outstanding any more.
    pub(crate) fn complete(&self, completion: Completion) -> Option<u32> {
        let state = &mut *self.borrow();
        state.activity.completions += 1;
        let phase = completion.op.phase();
        state.note_progress(completion.outcome.as_ref().err());
        let completed = state.flights.complete(completion);
        if let Some(phase) = phase {
            let now_ns = state.stopwatch.now_ns();
            let submitted_at_ns = completed.submitted_at_ns;
            state.stopwatch.record(phase, submitted_at_ns, now_ns);
        }
        let item = state.items.get_mut(completed.owner as usize)?;
        item.outstanding -= 1;
        (item.outstanding == 0).then_some(completed.owner)
    }

    /// Polls the task of an item, or with `None` one of the loop. False if it has met with something
    /// that may block: then the item is to be begun anew on a worker.
    pub(crate) fn enter<T>(&self, slot: Option<u32>, poll: impl FnOnce() -> T) -> (T, bool) {
        self.core.current.set(slot.unwrap_or(BACKGROUND));
        self.core.steps.set(STEPS_PER_POLL);
        self.core.park_was_dropped.set(false);
        {
            // Others were polled since the time was read.
            let state = &mut *self.borrow();
            state.stopwatch.expire();
            state.refresh();
        }
        let polled = poll();
        self.core.current.set(BACKGROUND);
        (polled, !self.core.moves_to_worker.replace(false))
    }

    /// The time as it was last read, or now if items have times of their own.
    pub(crate) fn item_time_ns(&self) -> u64 {
        let state = &mut *self.borrow();
        state.refresh();
        state.stopwatch.now_ns()
    }

    /// The time at which the turn began, or later.
    pub(crate) fn turn_time(&self) -> Duration {
        self.borrow().stopwatch.now()
    }

    /// Counts something that took from one time to another.
    pub(crate) fn record_between(&self, phase: Phase, from_ns: u64, to_ns: u64) {
        self.borrow().stopwatch.record(phase, from_ns, to_ns);
    }

    /// Names may stand for something else from now on.
    pub(crate) fn forget_names(&self) {
        self.borrow().carrier.forget_names();
    }

    /// Tasks that were spawned since the last call.
    pub(crate) fn take_spawned(&self) -> Vec<BackgroundTask> {
        mem::take(&mut self.borrow().spawned)
    }

    /// True if something wants a turn without anything happening first.
    pub(crate) fn wants_turn(&self) -> bool {
        let state = self.borrow();
        !state.next_turn.is_empty() || !state.spawned.is_empty() || self.digests_wait()
    }

    /// The next moment at which something here is due.
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

    /// The item with this index takes the slot, and a place.
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

    /// The item was polled and goes on. If it is no longer parked without having waited for a place,
    /// it takes one.
    pub(crate) fn item_goes_on(&self, slot: u32) {
        if self.core.park_was_dropped.get() {
            let state = &mut *self.borrow();
            let item = &mut state.items[slot as usize];
            if item.parked == Parked::UntilPolled {
                item.parked = Parked::No;
                state.places.take_back(Parked::UntilPolled);
            }
        }
    }

    /// The item is to be begun anew on a worker. If it has no place, it takes one.
    pub(crate) fn item_moves(&self, slot: u32) {
        let state = &mut *self.borrow();
        let item = &mut state.items[slot as usize];
        let parked = std::mem::replace(&mut item.parked, Parked::No);
        if parked != Parked::No {
            state.places.take_back(parked);
        }
    }

    /// An item is given up. Its place is given back when the kernel has let go of all it holds.
    pub(crate) fn item_abandoned(&self, slot: u32) {
        let state = &mut *self.borrow();
        let item = &mut state.items[slot as usize];
        if std::mem::take(&mut item.lacks_on_worker) {
            state.retries.count(slot, false);
        }
        state.places.abandon(item.parked);
    }

    /// An item has left its slot. One operation that waits to be tried again may need what that has
    /// freed: if it is an item that failed on a worker, its slot is given.
    pub(crate) fn item_ended(&self, slot: u32) -> Option<u32> {
        let state = &mut *self.borrow();
        let item = std::mem::replace(&mut state.items[slot as usize], ItemState::NEW);
        state.places.end(item.parked);
        let key = state.pressure.item_finished()?;
        state.activity.retries += 1;
        state.retries.decide(key, false)
    }

    /// An item on a worker waits for others of the run: until it ends, those who return may have its
    /// place.
    pub(crate) fn lend_place(&self, slot: u32) {
        let state = &mut *self.borrow();
        state.items[slot as usize].parked = Parked::Lending;
        state.places.park();
        state.places.lend();
    }

    /// Operations of the item that are with the carrier.
    pub(crate) fn outstanding(&self, slot: u32) -> u32 {
        self.borrow().items[slot as usize].outstanding
    }

    /// True if the item has handed over parts of its result.
    pub(crate) fn item_has_written(&self, slot: u32) -> bool {
        self.borrow().items[slot as usize].has_written
    }

    /// True if the item waits until it may hand over a part of its result.
    pub(crate) fn item_waits_to_write(&self, slot: u32) -> bool {
        self.borrow().items[slot as usize].writes_waiting > 0
    }

    /// True if the item, on this worker, lacked something that was really exhausted.
    pub(crate) fn item_lacks(&self, slot: u32) -> bool {
        self.borrow().items[slot as usize].lacks
    }

    /// What the item did last.
    pub(crate) fn last_operation(&self, slot: u32) -> Operation {
        self.borrow().items[slot as usize].last_operation
    }

    /// Items that may be started now.
    pub(crate) fn room(&self) -> usize {
        let state = self.borrow();
        let room = state.places.free(state.pressure.limit());
        room.min(state.intake)
    }

    /// Items in flight: those that hold a place.
    pub(crate) fn in_flight(&self) -> usize {
        self.borrow().places.taken()
    }

    /// Items in flight that were given up.
    pub(crate) fn abandoned(&self) -> usize {
        self.borrow().places.abandoned()
    }

    /// Items that go on, those that are parked included.
    pub(crate) fn going_on(&self) -> usize {
        let places = &self.borrow().places;
        places.alive() + places.parked()
    }

    /// The file system that an item is on, as far as that is known without waiting.
    pub(crate) fn mount_of(&self, item: &Item) -> MountId {
        self.borrow().carrier.mount_of(item)
    }

    /// Where the path is on whose account an item is to be begun anew on a worker, once.
    pub(crate) fn take_blocked_at(&self) -> Option<MountId> {
        self.core.blocked_at.take()
    }

    // Resource exhaustion.

    /// What other loops are to know of it.
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

    /// True if fewer items go on than there are places for.
    pub(crate) fn is_under_pressure(&self) -> bool {
        let state = self.borrow();
        state.pressure.limit() < state.places.max()
    }

    /// An item failed on a worker because something was exhausted, and is to be begun again.
    pub(crate) fn retry_item_later(&self, slot: u32) {
        let state = &mut *self.borrow();
        let item = &mut state.items[slot as usize];
        if !std::mem::replace(&mut item.lacks_on_worker, true) {
            state.retries.count(slot, true);
        }
        let key = state.retries.insert_item(slot);
        let (alive, now) = (state.places.alive(), state.stopwatch.now());
        state.pressure.shortage(key, false, alive, now);
    }

    /// The item that waits to be begun again is not wanted any more.
    pub(crate) fn forget_item_to_retry(&self, slot: u32) {
        let state = &mut *self.borrow();
        if let Some(key) = state.retries.key_of_item(slot) {
            state.retries.take_item(key);
            state.pressure.remove(|other| *other == key);
        }
    }

    /// Decides about the operation to be tried again whose time has come, if any. If that is an item
    /// on a worker, gives its slot, and whether it is to fail. `others_can_free` says whether other
    /// loops could free what is lacking.
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

    /// What was done so far.
    pub(crate) fn activity(&self) -> Activity {
        let state = self.borrow();
        Activity {
            enters: state.carrier.enters(),
            ..state.activity
        }
    }

    /// Operations done at once since the last call, for a worker to report.
    pub(crate) fn take_operations(&self) -> u64 {
        mem::take(&mut self.borrow().activity.at_once)
    }

    /// A worker has ended an item after so many operations.
    pub(crate) fn worker_ended(&self, operations: u64, is_progress: bool) {
        let state = &mut *self.borrow();
        state.activity.at_once += operations;
        if is_progress {
            state.pressure.progressed();
        }
    }

    /// True if the item in this slot has left files open: those of a worker are closed when it is over.
    pub(crate) fn has_left_open(&self, slot: u32) -> bool {
        let left = self.core.left_open.borrow();
        left.iter().any(|(owner, _)| *owner == slot)
    }

    /// Closes them, however long that takes.
    ///
    /// # Errors
    /// What the kernel said first.
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

    /// From now on, every operation is shown there before it is tried.
    pub(crate) fn show_operations(&self, current: &Arc<CurrentOperation>) {
        self.core.shown.replace(Some(Arc::clone(current)));
    }

    /// From now on, the files it opens are counted with those of other workers.
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
            operations: state.flights.len(),
            to_retry: state.retries.len(),
            sleeping: state.sleeps.len(),
            digests: self.core.digests.borrow().len(),
        }
    }

    /// Ends a wait of the carrier from another thread.
    pub(crate) fn waker(&self) -> Arc<dyn Wake> {
        self.borrow().carrier.waker()
    }
}
