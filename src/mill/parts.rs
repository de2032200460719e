//! Parts of results: chunks of bytes that items hand over before their results. Pure state, under the
//! mill's lock.
//!
//! # Order
//!
//! The parts of an item are emitted complete, in the order in which they were written, with nothing of
//! another item between them, and directly before the item's result. One item at a time may be at
//! the *front*: its parts are emitted while it is still in flight.
//!
//! - In input order the front is the item whose predecessors' results have all been taken.
//! - In completion order an item's parts normally wait until it has finished, and are emitted with its
//!   result. Only when the budget is spent, a writer waits and there is no finished result to take,
//!   the waiting item with the lowest index comes to the front. It stays there until its result has
//!   been taken; results that finish meanwhile are emitted after it.
//!
//! # Budget
//!
//! An item that is not at the front may hand over a part while fewer bytes than the budget are held,
//! so they exceed it by at most one part. A part counts until it has been written out. The item at the
//! front is exempt, because all others may be waiting for it: it may always hand over a part when all
//! its earlier parts have been taken. So the mill holds at most the budget, one part more, one part of
//! the item at the front, and one more part of it that the emitter is writing.
//!
//! # Waiting
//!
//! A writer that may not hand over a part leaves a waker. Wakers are called in the order of the items'
//! indexes: that of the item at the front when its last part has been taken, or when it comes to the
//! front; those of others as far as the budget has room for the parts that they want to write. A call of
//! a waker reserves nothing: if another item is faster, the woken writer waits again, at its old place in
//! the queue. Once the run has stopped, writers wait until they are dropped.

use crate::io::Admission;
use ringmill_materialize::Order;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::Waker;

/// The emitter stops taking parts once it has this many bytes, so that it notices a stop in time.
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
    /// Bytes of parts that count against the budget, including those that the emitter has taken.
    held: usize,
    /// The bytes of `held` that the emitter has taken.
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
    /// Items that were given up but still run on a worker.
    given_up: BTreeSet<u64>,
    stopped: bool,
    /// To be called after the lock is released, because a waker may run any code.
    woken: Vec<Waker>,
}

/// What an item has written.
#[derive(Debug, Default)]
struct Written {
    /// Parts not taken yet.
    queue: VecDeque<Queued>,
    /// At least one part has been taken.
    has_left: bool,
}

#[derive(Debug)]
struct Queued {
    bytes: Vec<u8>,
    /// It counts against the budget: it was written before the item came to the front.
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

    /// Takes the part, or stores the waker. A writer that waits has a ticket.
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
            // It may have been woken although another writer could have gone on instead.
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
        // Another writer may take its turn, as in `write`.
        self.wake_waiting();
    }

    /// Drops what an item has written, so that it can be started again. False if some of it has been
    /// taken for output.
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

    /// An item was given up: drops those of its parts that were not taken. If it `still_runs` on a
    /// worker, its writes are refused until [`Parts::given_up_ended`].
    pub(super) fn give_up(&mut self, index: u64, still_runs: bool) {
        if still_runs {
            self.given_up.insert(index);
            let of_item = (index, 0)..=(index, u64::MAX);
            let tickets = self.waiting.range(of_item).map(|(place, _)| *place);
            for place in tickets.collect::<Vec<_>>() {
                self.wake(place);
            }
        }
        self.discard(index);
    }

    /// An item that was given up has ended on its worker.
    pub(super) fn given_up_ended(&mut self, index: u64) {
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

    /// True if there are no parts and no writer waits.
    pub(super) fn is_idle(&self) -> bool {
        self.items.is_empty() && self.waiting.is_empty() && self.holder.is_none()
    }

    /// The item whose parts may be emitted while it is in flight.
    pub(super) fn front(&self) -> Option<u64> {
        match self.order {
            Order::Input => Some(self.head),
            Order::Completion => self.holder,
        }
    }

    /// Moves up to `max` parts of an item to the end of `into`, fewer if they are large. False if some
    /// parts of it remain.
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

    /// The results of `count` items without parts were taken, while no writer waited.
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

    /// In completion order: brings an item to the front that has a result.
    pub(super) fn set_front(&mut self, index: u64) -> u64 {
        self.holder = Some(index);
        index
    }

    /// In completion order, when there is no result to take: brings an item to the front if there is none
    /// yet and writers wait for the budget.
    pub(super) fn elect_front(&mut self) -> Option<u64> {
        let needs_front = self.front().is_none() && self.held >= self.budget;
        let ((index, _), _) = self.waiting.first_key_value().filter(|_| needs_front)?;
        self.holder = Some(*index);
        self.wake_waiting();
        self.holder
    }

    /// True if there is a part to take, or an item has to be brought to the front.
    pub(super) fn wants_emitter(&self) -> bool {
        match self.front() {
            Some(front) => self.queued(front) > 0,
            None => self.held >= self.budget && !self.waiting.is_empty(),
        }
    }

    /// All parts that were taken have been written out.
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

    /// Drops all parts that have not been taken; no more will be taken.
    pub(super) fn release(&mut self) {
        self.items.clear();
        (self.held, self.with_emitter) = (0, 0);
    }

    /// Wakers to be called after the lock is released.
    pub(super) fn take_woken(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.woken)
    }

    pub(super) fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    /// The number of writers that wait and cannot go on before the item at the front does.
    pub(super) fn blocked(&self) -> usize {
        let goes_on = self.with_emitter > 0 || self.front().is_some_and(|i| self.queued(i) > 0);
        if goes_on { 0 } else { self.waiting.len() }
    }

    /// Writers that wait and were not woken.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes of all parts that have not been taken.
    pub(super) fn bytes(&self) -> usize {
        let queues = self.items.values().map(|written| &written.queue);
        queues.flatten().map(|part| part.bytes.len()).sum()
    }

    fn queued(&self, index: u64) -> usize {
        self.items
            .get(&index)
            .map_or(0, |written| written.queue.len())
    }

    /// Wakes the writers that may go on.
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
