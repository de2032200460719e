//! Parts of results: chunks of bytes that items hand over before their results. Pure state; the
//! mill's lock is around it.
//!
//! # Order
//!
//! The parts of an item leave whole, in the order in which they were written, with nothing of
//! another item between them, and directly before the item's result. One item at a time may be at
//! the *front*: its parts leave while it is still in flight.
//!
//! - In input order the front is the item whose predecessors' results have all been taken.
//! - In completion order an item's parts normally wait until it has finished, and leave with its
//!   result. Only when the budget is spent, a writer waits and no finished result is left to take,
//!   the waiting item with the lowest index comes to the front. It stays there until its result has
//!   been taken; results that finish meanwhile are emitted after it.
//!
//! # Budget
//!
//! An item that is not at the front may hand over a part while fewer bytes than the budget are held,
//! so they exceed it by at most one part. A part counts until it has been written out. The front is
//! exempt, because everybody else may be waiting for it: it may always hand over a part when none of
//! its earlier parts is left to take. So the mill holds at most the budget, one part more, one part
//! of the front, and one that the emitter writes for it.
//!
//! # Waiting
//!
//! Whoever may not hand over a part leaves a waker. Wakers are called in the order of the items'
//! indexes: that of the front when its last part has been taken, or when it comes to the front; those
//! of others when the budget allows as many parts as they have to write. A waker that was called
//! reserves nothing: if another item is faster, its owner waits again, at its old place. Once the run
//! has stopped, whoever writes waits until it is dropped.

use super::Order;
use crate::io::Admission;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::Waker;

/// Bytes of parts after which the emitter takes no more at once, so that it looks up now and then.
const BYTES_PER_TAKE: usize = 1024 * 1024;

/// A part on its way to the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The item it belongs to.
    pub index: u64,
    /// What the item has written.
    pub bytes: Vec<u8>,
}

/// The parts that were handed over and not written out, and the writers that wait.
#[derive(Debug)]
pub(super) struct Parts {
    order: Order,
    budget: usize,
    /// Bytes of parts that count, those with the emitter included.
    held: usize,
    /// Of these, bytes that the emitter has taken.
    with_emitter: usize,
    /// In input order: the item at the front.
    head: u64,
    /// In completion order: the item at the front, if there is one.
    holder: Option<u64>,
    /// Items that have written, until their results are taken.
    items: BTreeMap<u64, Written>,
    /// Writers that wait, by item and ticket.
    waiting: BTreeMap<(u64, u64), Waiter>,
    next_ticket: u64,
    /// Items that were given up and may not know it yet.
    given_up: BTreeSet<u64>,
    stopped: bool,
    /// To be called when the lock is released: they may do anything.
    woken: Vec<Waker>,
}

/// What an item has written.
#[derive(Debug, Default)]
struct Written {
    /// Parts not taken yet.
    queue: VecDeque<Queued>,
    /// Some of it has been taken.
    has_left: bool,
}

#[derive(Debug)]
struct Queued {
    bytes: Vec<u8>,
    /// It was written before the item came to the front, so it counts.
    counts: bool,
}

#[derive(Debug)]
struct Waiter {
    len: usize,
    waker: Waker,
}

impl Parts {
    pub(super) fn new(order: Order, budget: usize) -> Self {
        Self {
            order,
            budget,
            held: 0,
            with_emitter: 0,
            head: 0,
            holder: None,
            items: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_ticket: 0,
            given_up: BTreeSet::new(),
            stopped: false,
            woken: Vec::new(),
        }
    }

    pub(super) fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
    }

    pub(super) fn order(&self) -> Order {
        self.order
    }

    // For writers.

    /// Takes the part, or remembers the waker. A writer that waits has a ticket.
    pub(super) fn write(
        &mut self,
        index: u64,
        part: &mut Vec<u8>,
        ticket: &mut Option<u64>,
        waker: &Waker,
    ) -> Admission {
        let is_over = self.order == Order::Input && index < self.head;
        if is_over || self.given_up.contains(&index) {
            self.leave(index, ticket);
            // It may have been woken in vain, and another could have gone on instead.
            self.wake_waiting();
            return Admission::Refused;
        }
        let is_front = self.front() == Some(index);
        let may_write = if self.stopped {
            false
        } else if is_front {
            self.queued(index) == 0
        } else {
            self.held < self.budget
        };
        if !may_write {
            let ticket = *ticket.get_or_insert_with(|| {
                self.next_ticket += 1;
                self.next_ticket
            });
            let (len, waker) = (part.len(), waker.clone());
            self.waiting.insert((index, ticket), Waiter { len, waker });
            return Admission::Waits { is_front };
        }
        self.leave(index, ticket);
        let (bytes, counts) = (std::mem::take(part), !is_front);
        if counts {
            self.held += bytes.len();
        }
        let written = self.items.entry(index).or_default();
        written.queue.push_back(Queued { bytes, counts });
        Admission::HandedOver { is_front }
    }

    fn leave(&mut self, index: u64, ticket: &mut Option<u64>) {
        if let Some(ticket) = ticket.take() {
            self.waiting.remove(&(index, ticket));
        }
    }

    /// A writer does not wait any more.
    pub(super) fn forget(&mut self, index: u64, ticket: u64) {
        self.waiting.remove(&(index, ticket));
        // The same.
        self.wake_waiting();
    }

    /// Takes back what an item has written, so that it can be begun anew. False if some of it has
    /// left.
    pub(super) fn take_back(&mut self, index: u64) -> bool {
        if self
            .items
            .get(&index)
            .is_some_and(|written| written.has_left)
        {
            return false;
        }
        self.discard(index);
        true
    }

    /// An item was given up: those of its parts that were not taken never leave. If it `lingers`, it
    /// may still try to write, until [`Parts::lingers_no_more`].
    pub(super) fn give_up(&mut self, index: u64, lingers: bool) {
        if lingers {
            self.given_up.insert(index);
            let all_of_it = (index, 0)..=(index, u64::MAX);
            let tickets = self.waiting.range(all_of_it).map(|(place, _)| *place);
            for place in tickets.collect::<Vec<_>>() {
                self.wake(place);
            }
        }
        self.discard(index);
    }

    /// Nothing of an item that was given up is left.
    pub(super) fn lingers_no_more(&mut self, index: u64) {
        self.given_up.remove(&index);
    }

    fn discard(&mut self, index: u64) {
        if let Some(written) = self.items.remove(&index) {
            let counted = written.queue.iter().filter(|part| part.counts);
            self.held -= counted.map(|part| part.bytes.len()).sum::<usize>();
        }
        self.wake_waiting();
    }

    // For the emitter.

    /// True if nothing was written and nobody waits to write.
    pub(super) fn is_idle(&self) -> bool {
        self.items.is_empty() && self.waiting.is_empty() && self.holder.is_none()
    }

    /// The item whose parts may leave while it is in flight.
    pub(super) fn front(&self) -> Option<u64> {
        match self.order {
            Order::Input => Some(self.head),
            Order::Completion => self.holder,
        }
    }

    /// Moves up to `max` parts of an item to the end of `into`, fewer if they are large. False if
    /// some are left.
    pub(super) fn take(&mut self, index: u64, max: usize, into: &mut Vec<Part>) -> bool {
        let Some(written) = self.items.get_mut(&index) else {
            return true;
        };
        let mut taken = 0;
        while taken < max
            && self.with_emitter < BYTES_PER_TAKE
            && let Some(Queued { bytes, counts }) = written.queue.pop_front()
        {
            taken += 1;
            if counts {
                self.with_emitter += bytes.len();
            }
            into.push(Part { index, bytes });
        }
        written.has_left |= taken > 0;
        let is_all = written.queue.is_empty();
        if taken > 0 && is_all {
            self.wake_waiting();
        }
        is_all
    }

    /// The results of so many items were taken that have written nothing, while nobody waited.
    pub(super) fn results_taken(&mut self, count: usize) {
        debug_assert!(self.is_idle());
        self.head += count as u64;
    }

    /// The result of an item was taken, after all its parts.
    pub(super) fn result_taken(&mut self, index: u64) {
        debug_assert_eq!(
            self.queued(index),
            0,
            "parts of item {index} were left behind"
        );
        self.items.remove(&index);
        self.head += 1;
        if self.holder == Some(index) {
            self.holder = None;
        }
        self.wake_waiting();
    }

    /// In completion order: brings an item to the front whose result is there.
    pub(super) fn set_front(&mut self, index: u64) -> u64 {
        self.holder = Some(index);
        index
    }

    /// In completion order: brings an item to the front if none is there, there is no result to take,
    /// and the budget keeps writers waiting.
    pub(super) fn elect_front(&mut self) -> Option<u64> {
        let needs_front = self.front().is_none() && self.held >= self.budget;
        let ((index, _), _) = self.waiting.first_key_value().filter(|_| needs_front)?;
        self.holder = Some(*index);
        self.wake_waiting();
        self.holder
    }

    /// True if there is a part to take, or an item is to be brought to the front.
    pub(super) fn wants_emitter(&self) -> bool {
        match self.front() {
            Some(front) => self.queued(front) > 0,
            None => self.held >= self.budget && !self.waiting.is_empty(),
        }
    }

    /// What was taken has been written out.
    pub(super) fn emitted(&mut self) {
        if self.with_emitter > 0 {
            self.held -= self.with_emitter;
            self.with_emitter = 0;
            self.wake_waiting();
        }
    }

    // For the run.

    /// Nothing more may be written: writers wait until they are dropped.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Drops all that has not been taken. Nothing will be.
    pub(super) fn release(&mut self) {
        self.items.clear();
        (self.held, self.with_emitter) = (0, 0);
    }

    /// Wakers to be called once the lock is released.
    pub(super) fn take_woken(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.woken)
    }

    pub(super) fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// Writers that wait and will not go on before an item at the front does.
    pub(super) fn blocked(&self) -> usize {
        let goes_on = self.with_emitter > 0 || self.front().is_some_and(|i| self.queued(i) > 0);
        if goes_on { 0 } else { self.waiting.len() }
    }

    /// Writers that wait and were not woken.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of all parts that were not taken.
    pub(super) fn bytes(&self) -> usize {
        let queues = self.items.values().map(|written| &written.queue);
        queues.flatten().map(|part| part.bytes.len()).sum()
    }

    fn queued(&self, index: u64) -> usize {
        self.items
            .get(&index)
            .map_or(0, |written| written.queue.len())
    }

    /// Wakes those who may go on.
    fn wake_waiting(&mut self) {
        if self.waiting.is_empty() || self.stopped {
            return;
        }
        let front = self.front();
        if let Some(front) = front
            && self.queued(front) == 0
            && let Some((place, _)) = self.waiting.range((front, 0)..=(front, u64::MAX)).next()
        {
            self.wake(*place);
        }
        let mut held = self.held;
        while held < self.budget {
            let mut waiting = self.waiting.iter();
            let Some((place, waiter)) = waiting.find(|((index, _), _)| Some(*index) != front)
            else {
                break;
            };
            let place = *place;
            held += waiter.len;
            self.wake(place);
        }
    }

    fn wake(&mut self, place: (u64, u64)) {
        if let Some(waiter) = self.waiting.remove(&place) {
            self.woken.push(waiter.waker);
        }
    }
}
