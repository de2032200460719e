//! Places in flight, and who has none for now.

use std::collections::VecDeque;
use std::task::Waker;

/// The places of one loop.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    /// Items that hold a place, those given up included.
    taken: usize,
    /// Of these, items that were given up: the kernel still holds something of theirs.
    abandoned: usize,
    /// Items that wait without a place.
    parked: usize,
    /// Of these, items whose places only those may have that return, not new items.
    lent: usize,
    /// Items that were given up without one: the kernel still holds something of theirs.
    lingering: usize,
    /// Parked items whose wait is over, in the order in which they ended it, by their tickets.
    returning: VecDeque<(u64, Waker)>,
    next_ticket: u64,
    /// Tickets of those who have a place again and do not know it yet.
    granted: VecDeque<u64>,
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            taken: 0,
            abandoned: 0,
            parked: 0,
            lent: 0,
            lingering: 0,
            returning: VecDeque::new(),
            next_ticket: 0,
            granted: VecDeque::new(),
        }
    }

    /// Places there are.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Items that hold a place and go on.
    pub(super) fn alive(&self) -> usize {
        self.taken - self.abandoned
    }

    /// Items that hold a place.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    pub(super) fn abandoned(&self) -> usize {
        self.abandoned
    }

    pub(super) fn parked(&self) -> usize {
        self.parked
    }

    pub(super) fn lingering(&self) -> usize {
        self.lingering
    }

    /// Places for new items, if no more than `limit` are to go on. Those who return come first.
    pub(super) fn free(&self, limit: usize) -> usize {
        if !self.returning.is_empty() {
            return 0;
        }
        let free = self.max.saturating_sub(self.taken + self.lent);
        limit.saturating_sub(self.alive() + self.lent).min(free)
    }

    pub(super) fn take(&mut self) {
        self.taken += 1;
    }

    /// An item is given up.
    pub(super) fn abandon(&mut self, parking: Parked) {
        if parking == Parked::No {
            self.abandoned += 1;
        } else {
            self.parked -= 1;
            self.lingering += 1;
            self.stop_lending(parking);
        }
    }

    /// An item that was given up has left its slot.
    pub(super) fn end(&mut self, parking: Parked) {
        if parking == Parked::No {
            self.taken -= 1;
            self.abandoned -= 1;
            self.admit();
        } else {
            self.lingering -= 1;
        }
    }

    /// A parked item has a place again, even if there is none.
    pub(super) fn take_back(&mut self, parking: Parked) {
        self.parked -= 1;
        self.taken += 1;
        self.stop_lending(parking);
    }

    /// Gives free places to those who return.
    pub(super) fn admit(&mut self) {
        while self.taken < self.max
            && let Some((ticket, waker)) = self.returning.pop_front()
        {
            self.parked -= 1;
            self.taken += 1;
            self.granted.push_back(ticket);
            waker.wake();
        }
    }

    pub(super) fn park(&mut self) {
        self.taken -= 1;
        self.parked += 1;
        self.admit();
    }

    /// A parked item waits for others of the run, which may themselves wait for a place. New items do
    /// not get its own: there would be no end of items that have begun.
    pub(super) fn lend(&mut self) {
        self.lent += 1;
    }

    /// An item that was parked like this no longer is.
    pub(super) fn stop_lending(&mut self, parking: Parked) {
        self.lent -= usize::from(parking == Parked::Lending);
    }

    /// True if the item has its place back; otherwise its ticket is for when it asks again.
    pub(super) fn unpark(&mut self, ticket: &mut Option<u64>, waker: &Waker) -> bool {
        if let Some(known) = *ticket {
            if let Ok(at) = self.granted.binary_search(&known) {
                self.granted.remove(at);
                return true;
            }
            if let Ok(at) = self
                .returning
                .binary_search_by_key(&known, |(ticket, _)| *ticket)
            {
                self.returning[at].1.clone_from(waker);
            }
            return false;
        }
        if self.returning.is_empty() && self.taken < self.max {
            self.parked -= 1;
            self.taken += 1;
            return true;
        }
        self.returning.push_back((self.next_ticket, waker.clone()));
        *ticket = Some(self.next_ticket);
        self.next_ticket += 1;
        false
    }

    /// Whoever has the ticket does not wait any more. True if it has its place back.
    pub(super) fn leave(&mut self, ticket: Option<u64>) -> bool {
        let Some(ticket) = ticket else { return false };
        if let Ok(at) = self.granted.binary_search(&ticket) {
            self.granted.remove(at);
            return true;
        }
        if let Ok(at) = self
            .returning
            .binary_search_by_key(&ticket, |(other, _)| *other)
        {
            self.returning.remove(at);
        }
        false
    }
}

/// Whether an item holds a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parked {
    /// It holds one.
    No,
    /// It has given its place up.
    Yes,
    /// The same, but only for those who return: see [`Places::lend`].
    Lending,
    /// The same, and its wait is over: it waits for a place.
    Returning,
    /// It has none, and in the poll that goes on it has dropped what it was parked for.
    UntilPolled,
}
