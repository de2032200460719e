//! Names that wait for a server with room.

use super::server::For;
use std::collections::{BTreeMap, VecDeque};

/// A lookup, with its serial number.
pub(super) type Ticket = (u32, u64);

/// What a lookup waits for: room of this kind, at a server other than this one, which has refused it.
pub(super) type Queue = (For, Option<usize>);

/// Queues, first in, first out. Those in one can all go to the same servers, so that none holds up
/// another that could be sent.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queues: BTreeMap<Queue, VecDeque<Ticket>>,
}

impl Waiting {
    /// A lookup waits.
    pub(super) fn push(&mut self, ticket: Ticket, queue: Queue) {
        self.queues.entry(queue).or_default().push_back(ticket);
    }

    /// True if none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Offers each queue's first to `take`, and the next as soon as that is taken.
    pub(super) fn serve(&mut self, mut take: impl FnMut(Ticket, Queue) -> bool) {
        self.queues.retain(|&of, queue| {
            while queue.front().is_some_and(|&ticket| take(ticket, of)) {
                queue.pop_front();
            }
            !queue.is_empty()
        });
    }
}
