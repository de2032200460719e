//! Names that wait for a server with room.

use super::server::QueryKind;
use std::collections::{BTreeMap, VecDeque};

/// A lookup, with its serial number.
pub(super) type Ticket = (u32, u64);

/// What a lookup waits for: room for a query of this kind, at a server other than this one, which has
/// refused it.
pub(super) type QueueKey = (QueryKind, Option<usize>);

/// FIFO queues. All lookups in one queue can go to the same servers, so that none blocks another that
/// could be sent.
#[derive(Debug, Default)]
pub(super) struct WaitQueues {
    queues: BTreeMap<QueueKey, VecDeque<Ticket>>,
}

impl WaitQueues {
    /// A lookup waits.
    pub(super) fn push(&mut self, ticket: Ticket, queue: QueueKey) {
        self.queues.entry(queue).or_default().push_back(ticket);
    }

    /// True if no lookup waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Offers the first lookup of each queue to `take`, and the next one if that returns true.
    pub(super) fn serve(&mut self, mut take: impl FnMut(Ticket, QueueKey) -> bool) {
        self.queues.retain(|&of, queue| {
            while queue.front().is_some_and(|&ticket| take(ticket, of)) {
                queue.pop_front();
            }
            !queue.is_empty()
        });
    }
}
