//! The slab of operations in flight, and where their outcomes go.

use super::op::{Completion, Op, Outcome};
use super::undelivered::Detached;
use slab::Slab;
use std::task::Waker;

/// The owner of operations that belong to no item.
pub(super) const BACKGROUND: u32 = u32::MAX;

/// Operations that are in flight, or whose outcomes have not been taken.
#[derive(Debug, Default)]
pub(super) struct OpSlab(Slab<OpEntry>);

#[derive(Debug)]
struct OpEntry {
    /// The slot of the item it belongs to.
    owner: u32,
    submitted_at_ns: u64,
    to: Recipient,
    /// It failed with an errno of exhaustion, but no resource was exhausted.
    is_unexplained: bool,
}

/// Where the outcome of an operation goes.
#[derive(Debug)]
pub(super) enum Recipient {
    /// To the future with this waker.
    Waiting(Waker),
    /// The outcome, until the future that was woken takes it.
    Ended(Op, Outcome),
    /// Nowhere: the future was dropped.
    Abandoned,
    /// Nowhere, unless the operation fails.
    Detached(Detached),
}

/// How an operation ended, with everything it owned, for the future that waited for it.
pub(super) struct Ended {
    pub(super) op: Op,
    pub(super) outcome: Outcome,
    /// It failed with an errno of exhaustion, but no resource was exhausted.
    pub(super) is_unexplained: bool,
}

/// An operation that has completed.
pub(super) struct Completed {
    pub(super) owner: u32,
    pub(super) submitted_at_ns: u64,
}

impl OpSlab {
    pub(super) fn insert(&mut self, owner: u32, submitted_at_ns: u64, to: Recipient) -> u32 {
        let key = self.0.insert(OpEntry {
            owner,
            submitted_at_ns,
            to,
            is_unexplained: false,
        });
        u32::try_from(key).expect("fewer than 2^32 operations")
    }

    /// Notes that an operation has failed with an errno of exhaustion, but no resource was
    /// exhausted.
    pub(super) fn note_unexplained(&mut self, key: u32) {
        self.0[key as usize].is_unexplained = true;
    }

    /// Delivers a completion. If the future was dropped, everything the operation owned is freed:
    /// buffers return to their pool, files that were opened late are closed.
    pub(super) fn complete(&mut self, completion: Completion) -> Completed {
        let Completion { key, op, outcome } = completion;
        let entry = &mut self.0[key as usize];
        let completed = Completed {
            owner: entry.owner,
            submitted_at_ns: entry.submitted_at_ns,
        };
        match std::mem::replace(&mut entry.to, Recipient::Abandoned) {
            Recipient::Waiting(waker) => {
                entry.to = Recipient::Ended(op, outcome);
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

    /// The outcome if the operation has ended. Otherwise the waker is called when it ends.
    pub(super) fn take(&mut self, key: u32, waker: &Waker) -> Option<Ended> {
        let entry = &mut self.0[key as usize];
        if let Recipient::Waiting(known) = &mut entry.to {
            known.clone_from(waker);
            return None;
        }
        let entry = self.0.remove(key as usize);
        match entry.to {
            Recipient::Ended(op, outcome) => Some(Ended {
                op,
                outcome,
                is_unexplained: entry.is_unexplained,
            }),
            _ => unreachable!("only a future that waits takes an outcome"),
        }
    }

    /// The future that waited for the operation was dropped. True if the operation is still in
    /// flight.
    pub(super) fn abandon(&mut self, key: u32) -> bool {
        let entry = &mut self.0[key as usize];
        let was = std::mem::replace(&mut entry.to, Recipient::Abandoned);
        let is_in_flight = matches!(was, Recipient::Waiting(_));
        if !is_in_flight {
            drop(self.0.remove(key as usize));
        }
        is_in_flight
    }
}
