//! What a worker is doing, visible to other threads, and whether its item was given up.

use crate::error::Operation;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// The current operation of a worker on its latest item.
#[derive(Debug, Default)]
pub struct CurrentOperation {
    operation: AtomicU8,
    /// The slot of the item on the worker.
    slot: AtomicU32,
    is_abandoned: AtomicBool,
}

impl CurrentOperation {
    /// The worker begins another item.
    pub(crate) fn begin(&self) {
        self.is_abandoned.store(false, Ordering::Relaxed);
    }

    /// The item is in this slot of the worker.
    pub(crate) fn is_in(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    pub(super) fn set(&self, operation: Operation) {
        self.operation.store(operation as u8, Ordering::Relaxed);
    }

    /// The operation as it was set last.
    #[must_use]
    pub fn get(&self) -> Operation {
        let known = self.operation.load(Ordering::Relaxed);
        Operation::ALL
            .into_iter()
            .find(|operation| *operation as u8 == known)
            .unwrap_or(Operation::Open)
    }

    /// Gives the item up: its next operation is not to be made.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }

    /// True if the item in this slot was given up.
    pub(super) fn is_abandoned(&self, slot: u32) -> bool {
        self.is_abandoned.load(Ordering::Relaxed) && self.slot.load(Ordering::Relaxed) == slot
    }
}
