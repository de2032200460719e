//! What loops and workers exchange: items, and their results.

use crate::io::{MountId, Wake};
use crate::item::Item;
use crate::lock::lock;
use crate::run::tasks::ItemResult;
use std::sync::{Arc, Mutex};
use std::thread;

/// The number of results for which a busy loop is woken.
const RESULTS_PER_WAKE: usize = 64;

/// An item for a worker. It comes back with the result, so that the reference count of its batch is only
/// changed on the loop's processor.
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) item: Item,
    /// The mounted file system of the item, as far as that is known.
    pub(crate) mount: MountId,
    /// The number of its hand-over; set by [`Workers::add`](super::Workers::add).
    pub(crate) batch: u64,
}

/// Identifies an item of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    /// The loop, by its index.
    pub(crate) of_loop: usize,
    pub(crate) slot: u32,
}

/// An item that a worker has ended.
pub(crate) struct Done<V> {
    pub(crate) id: TaskId,
    pub(crate) item: Item,
    /// Its result, or the panic of its task.
    pub(crate) outcome: thread::Result<ItemResult<V>>,
    pub(crate) finished_at_ns: u64,
    /// The number of operations it took.
    pub(crate) operations: u64,
    /// It has handed over parts of its result.
    pub(crate) has_written: bool,
    /// A check has confirmed that its error is due to resource exhaustion.
    pub(crate) is_exhausted: bool,
}

/// Where workers leave the results of one loop's items.
pub(crate) struct Outbox<V> {
    posted: Mutex<Posted<V>>,
    /// The number of results for which the loop is woken even if more will follow.
    results_per_wake: usize,
    pub(super) wake: Arc<dyn Wake>,
}

/// What workers have posted for a loop.
struct Posted<V> {
    done: Vec<Done<V>>,
    /// The slots of items that were suspended for the first time.
    suspended: Vec<u32>,
}

impl<V> Outbox<V> {
    /// For a loop with this limit on items in flight.
    pub(crate) fn new(in_flight: usize, wake: Arc<dyn Wake>) -> Self {
        Self {
            posted: Mutex::new(Posted {
                done: Vec::new(),
                suspended: Vec::new(),
            }),
            results_per_wake: RESULTS_PER_WAKE.min(in_flight / 4).max(1),
            wake,
        }
    }

    /// Posts a result. True if the loop is still to be woken for it.
    pub(super) fn post(&self, done: Done<V>) -> bool {
        let mut posted = lock(&self.posted);
        posted.done.push(done);
        let count = posted.done.len();
        drop(posted);
        if count == self.results_per_wake {
            self.wake.wake();
        }
        count < self.results_per_wake
    }

    /// Moves the results to the end of `into`; returns the slots of items that were suspended for the
    /// first time.
    pub(super) fn take(&self, into: &mut Vec<Done<V>>) -> Vec<u32> {
        let posted = &mut *lock(&self.posted);
        into.append(&mut posted.done);
        std::mem::take(&mut posted.suspended)
    }

    pub(super) fn has_results(&self) -> bool {
        !lock(&self.posted).done.is_empty()
    }

    /// True if the result of the item in this slot waits to be taken.
    pub(super) fn has_result_of(&self, slot: u32) -> bool {
        let posted = lock(&self.posted);
        posted.done.iter().any(|done| done.id.slot == slot)
    }

    /// Posts that an item was suspended for the first time, and wakes the loop.
    pub(super) fn post_suspended(&self, slot: u32) {
        lock(&self.posted).suspended.push(slot);
        self.wake.wake();
    }
}
