//! What the loops of a run did.

use std::ops::AddAssign;
use std::time::Duration;

/// Counts of what loops did, and how long fewer items were in flight than they had room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Operations done by a plain call that does not block.
    pub at_once: u64,
    /// Operations submitted to the ring or to threads.
    pub submissions: u64,
    /// Submitted operations that have completed.
    pub completions: u64,
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Operations retried after resource exhaustion.
    pub retries: u64,
    /// Time with fewer items in flight than the loops had room for.
    pub held_back: HeldBackTimes,
}

/// Time with fewer items in flight than there was room for, by cause; the times of all loops added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldBackTimes {
    /// There was no input at the time, or the input had ended.
    pub input: Duration,
    /// The window was full: results waited for an earlier one, or for the consumer.
    pub window: Duration,
    /// Descriptors or memory were exhausted.
    pub pressure: Duration,
    /// The rate had been reached.
    pub rate: Duration,
}

impl AddAssign for Activity {
    fn add_assign(&mut self, other: Self) {
        self.at_once += other.at_once;
        self.submissions += other.submissions;
        self.completions += other.completions;
        self.enters += other.enters;
        self.retries += other.retries;
        self.held_back.input += other.held_back.input;
        self.held_back.window += other.held_back.window;
        self.held_back.pressure += other.held_back.pressure;
        self.held_back.rate += other.held_back.rate;
    }
}
