//! Names that wait for a server with room.

use std::collections::{BTreeMap, VecDeque};

/// A lookup, with its serial number.
pub(super) type Ticket = (u32, u64);

/// Queues, first in, first out: one for names that any server may have, and one for each server for
/// those that it has refused and another is to have.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queues: BTreeMap<Option<usize>, VecDeque<Ticket>>,
}

impl Waiting {
    /// A lookup waits for a server, but not for `avoided`.
    pub(super) fn push(&mut self, ticket: Ticket, avoided: Option<usize>) {
        self.queues.entry(avoided).or_default().push_back(ticket);
    }

    /// True if none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Offers each queue's first to `take`, and the next as soon as that is taken.
    pub(super) fn serve(&mut self, mut take: impl FnMut(Ticket) -> bool) {
        self.queues.retain(|_, queue| {
            while queue.front().is_some_and(|&ticket| take(ticket)) {
                queue.pop_front();
            }
            !queue.is_empty()
        });
    }
}
