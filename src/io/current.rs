//! What a worker is doing, for other threads to see, and whether its item is still wanted.

use crate::error::Operation;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// What a worker does with the item it was given last.
#[derive(Debug, Default)]
pub struct CurrentOperation {
    operation: AtomicU8,
    /// The slot that the worker has it in.
    slot: AtomicU32,
    is_abandoned: AtomicBool,
}

impl CurrentOperation {
    /// Another item is begun.
    pub(crate) fn begin(&self) {
        self.is_abandoned.store(false, Ordering::Relaxed);
    }

    /// The worker has the item in this slot.
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

    /// Nobody waits for the item any more: its next operation is not to be made.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }

    /// True if nobody waits for the item in this slot any more.
    pub(super) fn is_abandoned(&self, slot: u32) -> bool {
        self.is_abandoned.load(Ordering::Relaxed) && self.slot.load(Ordering::Relaxed) == slot
    }
}
