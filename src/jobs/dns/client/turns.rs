//! Items that wait until the resolver has a place for them, first come, first served.

use super::Client;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// Questions that the resolver could take at once.
pub(super) struct Places {
    pub(super) free: usize,
    /// Of these, so many belong to items that have not asked yet.
    promised: usize,
    /// Items that wait for a place, by their tickets.
    waiting: VecDeque<(u64, Waker)>,
    next_ticket: u64,
}

impl Places {
    pub(super) fn new(free: usize) -> Self {
        Self {
            free,
            promised: 0,
            waiting: VecDeque::new(),
            next_ticket: 0,
        }
    }

    pub(super) fn available(&self) -> usize {
        self.free.saturating_sub(self.promised)
    }

    fn find(&self, ticket: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
            .ok()
    }

    /// Wakes as many as there are places for. They leave the queue when they take theirs.
    pub(super) fn wake(&self) {
        let first = self.waiting.iter().take(self.available());
        first.for_each(|(_, waker)| waker.wake_by_ref());
    }
}

/// An item's place at the resolver: it waits for it, and then has it until it has asked.
pub(super) struct Place<'a> {
    client: &'a Client,
    ticket: Option<u64>,
    is_promised: bool,
}

impl<'a> Place<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self {
            client,
            ticket: None,
            is_promised: false,
        }
    }

    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let places = &mut *self.client.places.borrow_mut();
        let at = self.ticket.and_then(|ticket| places.find(ticket));
        if at.unwrap_or(places.waiting.len()) < places.available() {
            if let Some(at) = at {
                places.waiting.remove(at);
            }
            places.promised += 1;
            self.ticket = None;
            self.is_promised = true;
            return Poll::Ready(());
        }
        match at {
            Some(at) => places.waiting[at].1.clone_from(context.waker()),
            None => {
                self.ticket = Some(places.next_ticket);
                places.next_ticket += 1;
                let waker = context.waker().clone();
                places
                    .waiting
                    .extend(self.ticket.map(|ticket| (ticket, waker)));
            }
        }
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let places = &mut *self.client.places.borrow_mut();
        places.promised -= usize::from(self.is_promised);
        if let Some(at) = self.ticket.and_then(|ticket| places.find(ticket)) {
            places.waiting.remove(at);
        }
        // What it leaves is for the next.
        places.wake();
    }
}
