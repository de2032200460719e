//! What a worker is doing, for other threads to see.

use crate::error::Operation;
use std::sync::atomic::{AtomicU8, Ordering};

/// What the item of a worker is doing, for other threads to see.
#[derive(Debug, Default)]
pub struct CurrentOperation(AtomicU8);

impl CurrentOperation {
    pub(super) fn set(&self, operation: Operation) {
        self.0.store(operation as u8, Ordering::Relaxed);
    }

    /// The operation as it was set last.
    #[must_use]
    pub fn get(&self) -> Operation {
        let known = self.0.load(Ordering::Relaxed);
        Operation::ALL
            .into_iter()
            .find(|operation| *operation as u8 == known)
            .unwrap_or(Operation::Open)
    }
}
