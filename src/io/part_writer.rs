//! Where parts of results go.

use std::task::Waker;

/// Takes the parts of results. An `Io` knows nothing else of the mill.
pub trait PartWriter: Send + Sync {
    /// Takes a part out of `part`, or remembers the waker, which is called when it is worth another
    /// try. A writer that waits has a ticket.
    fn write(
        &self,
        item: u64,
        part: &mut Vec<u8>,
        ticket: &mut Option<u64>,
        waker: &Waker,
    ) -> Admission;

    /// A writer does not wait any more.
    fn forget(&self, item: u64, ticket: u64);

    /// Takes back all parts of an item, which is to be begun anew. False if some of them have been
    /// taken for output.
    fn take_back(&self, item: u64) -> bool;
}

/// What came of an attempt to hand over a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It was taken.
    HandedOver {
        /// The item is at the front: the part may leave at once.
        is_front: bool,
    },
    /// The writer has to wait: at the front for the output, elsewhere for the byte budget.
    Waits {
        /// The item is at the front.
        is_front: bool,
    },
    /// The item was given up: nobody wants the part.
    Refused,
}
