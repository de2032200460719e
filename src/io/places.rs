//! Places in flight, and the parked items that have none.

use std::collections::VecDeque;
use std::task::Waker;

/// The places of one loop. Each item in flight holds one.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    /// Items that hold a place, including those that have finished or were given up.
    taken: usize,
    /// Of these, items that have finished or were given up, but the kernel or a worker still holds
    /// something of theirs.
    abandoned: usize,
    /// Parked items, which wait without a place.
    parked: usize,
    /// Of these, items whose places may be used by returning items only, not by new ones.
    lent: usize,
    /// Items that were given up while parked, but the kernel still holds something of theirs.
    lingering: usize,
    /// Returning items: parked items whose wait is over, in the order in which it ended, by ticket.
    returning: VecDeque<(u64, Waker)>,
    next_ticket: u64,
    /// Tickets of items that were granted a place and have not been polled since.
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

    /// The number of places.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Items that hold a place and have neither finished nor been given up.
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

    /// Places for new items, if at most `limit` items may run. Returning items come first.
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

    /// An item has finished or is given up.
    pub(super) fn abandon(&mut self, parking: Parked) {
        if parking == Parked::No {
            self.abandoned += 1;
        } else {
            self.parked -= 1;
            self.lingering += 1;
            self.stop_lending(parking);
        }
    }

    /// An item that has finished or was given up has left its slot.
    pub(super) fn end(&mut self, parking: Parked) {
        if parking == Parked::No {
            self.taken -= 1;
            self.abandoned -= 1;
            self.admit();
        } else {
            self.lingering -= 1;
        }
    }

    /// A parked item takes a place, even if none is free.
    pub(super) fn take_back(&mut self, parking: Parked) {
        self.parked -= 1;
        self.taken += 1;
        self.stop_lending(parking);
    }

    /// Grants free places to returning items.
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

    /// A parked item waits for other items of the run, which may themselves wait for a place. New
    /// items do not get its place: otherwise the number of items that have begun would have no
    /// bound.
    pub(super) fn lend(&mut self) {
        self.lent += 1;
    }

    /// Ends the loan of a place, if the item that was parked like this lent one.
    pub(super) fn stop_lending(&mut self, parking: Parked) {
        self.lent -= usize::from(parking == Parked::Lending);
    }

    /// True if the item has a place again. Otherwise it has a ticket, for the next call.
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

    /// The item with this ticket no longer waits. True if it has a place again.
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
    /// It holds a place.
    No,
    /// It has given its place up.
    Yes,
    /// It has given its place up, but only to returning items: see [`Places::lend`].
    Lending,
    /// Its wait is over, and it waits for a place.
    Returning,
    /// It has no place, and in the current poll it has dropped what it was parked for.
    UntilPolled,
}
