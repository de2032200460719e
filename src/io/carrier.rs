//! Carriers carry out the operations of one loop.

use super::op::{Completion, Op, Outcome};
use crate::clock::Clock;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long [`Carrier::turn`] may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until a completion or a wake-up.
    Forever,
    /// The same, but no longer than this.
    AtMost(Duration),
}

/// What came of an attempt to carry out an operation at once.
#[derive(Debug)]
pub enum Attempt {
    /// It is done.
    Done(Outcome),
    /// It has had no effect: it may have to wait, and is to be submitted.
    Submit,
    /// It has had no effect: it may block the thread, so the whole item belongs on a worker.
    Block,
}

/// Carries out operations for one loop. Operations end in any order.
pub trait Carrier: Clock {
    /// Does the operation now if it needs no waiting.
    fn try_now(&mut self, op: &mut Op) -> Attempt;

    /// Forgets which directory a name stands for: to be called when items have been pulled, which may
    /// have been named after a directory took another's place, and before a wait, during which no
    /// directory is to be kept in use.
    fn forget_names(&mut self);

    /// Takes an operation, which starts at the next [`Carrier::turn`] and completes in that or a
    /// later one. No other operation in flight has this key.
    fn submit(&mut self, key: u32, op: Op);

    /// Starts what was submitted, waits as told unless something is already there, and appends a
    /// bounded number of completions to `completions`.
    ///
    /// # Errors
    /// Only if the carrier itself no longer works; what was submitted is then lost.
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()>;

    /// Tries to end an operation early. It still completes, with an error if it could be cancelled.
    fn cancel(&mut self, key: u32);

    /// Operations submitted whose completions have not been handed over.
    fn outstanding(&self) -> usize;

    /// How often it has called `io_uring_enter`; 0 without a ring.
    fn enters(&self) -> u64 {
        0
    }

    /// Ends a wait of this carrier from another thread.
    fn waker(&self) -> Arc<dyn Wake>;

    /// One line on what it is made of, for people.
    fn describe(&self) -> String;
}

/// Ends the wait of a carrier.
pub trait Wake: Send + Sync {
    /// Makes the current or the next wait end at once.
    fn wake(&self);
}
