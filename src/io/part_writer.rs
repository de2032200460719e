//! The receiver of parts of results.

use std::task::Waker;

/// Takes the parts of results. An `Io` uses nothing else of the mill.
pub trait PartWriter: Send + Sync {
    /// Takes a part out of `part`, or keeps the waker and calls it when another attempt is worth
    /// while. A waiting writer has a ticket.
    fn write(
        &self,
        item: u64,
        part: &mut Vec<u8>,
        ticket: &mut Option<u64>,
        waker: &Waker,
    ) -> Admission;

    /// The writer with this ticket no longer waits.
    fn forget(&self, item: u64, ticket: u64);

    /// Takes back all parts of an item that is to be restarted. False if some of them have been
    /// taken for output.
    fn take_back(&self, item: u64) -> bool;
}

/// The result of an attempt to hand over a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The part was taken.
    HandedOver {
        /// The item is at the front: the part may be emitted at once.
        is_front: bool,
    },
    /// The writer has to wait: at the front for the output, elsewhere for the byte budget.
    Waits {
        /// The item is at the front.
        is_front: bool,
    },
    /// The item was given up, so the part is not taken.
    Refused,
}
