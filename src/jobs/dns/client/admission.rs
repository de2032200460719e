//! Admission of items to the resolver, first come, first served.

use std::collections::VecDeque;
use std::task::Waker;

/// The room of the resolver, and the items that wait for it.
pub(super) struct AdmissionQueue {
    pub(super) free: usize,
    /// How many of them are reserved for admitted items that have not asked yet.
    pub(super) reserved: usize,
    /// Items that wait for admission, by their tickets.
    pub(super) waiting: VecDeque<(u64, Waker)>,
    pub(super) next_ticket: u64,
}

impl AdmissionQueue {
    pub(super) fn new(free: usize) -> Self {
        Self {
            free,
            reserved: 0,
            waiting: VecDeque::new(),
            next_ticket: 0,
        }
    }

    pub(super) fn available(&self) -> usize {
        self.free.saturating_sub(self.reserved)
    }

    pub(super) fn find(&self, ticket: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
            .ok()
    }

    /// Wakes as many items as there is room for. They leave the queue when they are polled.
    pub(super) fn wake(&self) {
        let first = self.waiting.iter().take(self.available());
        first.for_each(|(_, waker)| waker.wake_by_ref());
    }
}
