//! Operations in flight, by key, and who gets their outcomes.

use super::op::{Completion, Op, Outcome};
use super::undelivered::Detached;
use slab::Slab;
use std::task::Waker;

/// The owner of operations that belong to no item.
pub(super) const BACKGROUND: u32 = u32::MAX;

/// Operations that are with the carrier, or whose outcomes have not been taken.
#[derive(Debug, Default)]
pub(super) struct Flights(Slab<Flight>);

#[derive(Debug)]
struct Flight {
    /// The slot of the item it belongs to.
    owner: u32,
    submitted_at_ns: u64,
    to: Recipient,
    /// It failed as if something was exhausted, but nothing was.
    is_unexplained: bool,
}

/// Who gets the outcome of an operation.
#[derive(Debug)]
pub(super) enum Recipient {
    /// A future, which is woken.
    Waiting(Waker),
    /// The future that was woken, when it asks.
    Ended(Op, Outcome),
    /// Nobody any more.
    Abandoned,
    /// Nobody, unless it fails.
    Detached(Detached),
}

/// How an operation ended, with everything it owned, for the future that waited for it.
pub(super) struct Ended {
    pub(super) op: Op,
    pub(super) outcome: Outcome,
    /// It failed as if something was exhausted, but nothing was.
    pub(super) is_unexplained: bool,
}

/// An operation that has completed.
pub(super) struct Completed {
    pub(super) owner: u32,
    pub(super) submitted_at_ns: u64,
}

impl Flights {
    pub(super) fn insert(&mut self, owner: u32, submitted_at_ns: u64, to: Recipient) -> u32 {
        let key = self.0.insert(Flight {
            owner,
            submitted_at_ns,
            to,
            is_unexplained: false,
        });
        u32::try_from(key).expect("fewer than 2^32 operations")
    }

    /// Notes that an operation has failed as if something was exhausted, but nothing was.
    pub(super) fn note_unexplained(&mut self, key: u32) {
        self.0[key as usize].is_unexplained = true;
    }

    /// Gives a completion to whoever waits for it. What nobody waits for any more is freed: buffers
    /// go back, files that a late open has brought are closed.
    pub(super) fn complete(&mut self, completion: Completion) -> Completed {
        let Completion { key, op, outcome } = completion;
        let flight = &mut self.0[key as usize];
        let completed = Completed {
            owner: flight.owner,
            submitted_at_ns: flight.submitted_at_ns,
        };
        match std::mem::replace(&mut flight.to, Recipient::Abandoned) {
            Recipient::Waiting(waker) => {
                flight.to = Recipient::Ended(op, outcome);
                waker.wake();
            }
            Recipient::Abandoned => drop(self.0.remove(key as usize)),
            Recipient::Detached(to) => {
                drop(self.0.remove(key as usize));
                to.completed(op, &outcome);
            }
            Recipient::Ended(..) => unreachable!("one completion for each operation"),
        }
        completed
    }

    /// Operations in flight, or whose outcomes have not been taken.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The outcome if it is there. Otherwise the waker is called when it is.
    pub(super) fn take(&mut self, key: u32, waker: &Waker) -> Option<Ended> {
        let flight = &mut self.0[key as usize];
        if let Recipient::Waiting(known) = &mut flight.to {
            known.clone_from(waker);
            return None;
        }
        let flight = self.0.remove(key as usize);
        match flight.to {
            Recipient::Ended(op, outcome) => Some(Ended {
                op,
                outcome,
                is_unexplained: flight.is_unexplained,
            }),
            _ => unreachable!("whoever asks waits for it"),
        }
    }

    /// Nobody waits for the operation any more. True if it is still in flight.
    pub(super) fn abandon(&mut self, key: u32) -> bool {
        let flight = &mut self.0[key as usize];
        let was = std::mem::replace(&mut flight.to, Recipient::Abandoned);
        let is_in_flight = matches!(was, Recipient::Waiting(_));
        if !is_in_flight {
            drop(self.0.remove(key as usize));
        }
        is_in_flight
    }
}
