//! The queries in the stream to a server, and those that wait for a place there.

use std::collections::VecDeque;
use std::time::Duration;

/// Queries under way in one stream, at most: a server may read the next only when it has answered.
const PIPELINE_MAX: usize = 128;

/// A connection that has been silent for so long while a query was under way is given up, for it may have
/// been forgotten on the way (by a firewall, for instance), which the system notices only much later.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// A stream, as far as it is known how much the server takes from one.
#[derive(Debug)]
pub(super) struct Stream {
    under_way: usize,
    /// How many may be under way in one connection.
    pipeline: usize,
    /// How many the present connection has answered.
    answered: usize,
    /// Since when something was asked and nothing has come.
    silent_since: Option<Duration>,
    /// Lookups, with their serial numbers.
    waiting: VecDeque<(u32, u64)>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            under_way: 0,
            pipeline: PIPELINE_MAX,
            answered: 0,
            silent_since: None,
            waiting: VecDeque::new(),
        }
    }
}

impl Stream {
    /// A lookup waits for a place.
    pub(super) fn wait(&mut self, lookup: (u32, u64)) {
        self.waiting.push_back(lookup);
    }

    /// Lookups whose query was not answered wait again, before the others.
    pub(super) fn wait_again(&mut self, lookups: impl DoubleEndedIterator<Item = (u32, u64)>) {
        lookups
            .rev()
            .for_each(|lookup| self.waiting.push_front(lookup));
    }

    /// The next lookup, if a query may be sent for it.
    pub(super) fn next(&mut self) -> Option<(u32, u64)> {
        if self.room() == 0 {
            return None;
        }
        self.waiting.pop_front()
    }

    /// How many more queries may be under way.
    pub(super) fn room(&self) -> usize {
        self.pipeline.saturating_sub(self.under_way)
    }

    /// A query was sent.
    pub(super) fn sent(&mut self, now: Duration) {
        self.under_way += 1;
        self.silent_since.get_or_insert(now);
    }

    /// A query was answered that was under way, or had been given up.
    pub(super) fn answered(&mut self, was_under_way: bool, now: Duration) {
        self.under_way -= usize::from(was_under_way);
        self.answered += 1;
        self.silent_since = (self.under_way > 0).then_some(now);
        if self.answered > self.pipeline {
            // It takes more than the last connection did.
            self.pipeline = (self.pipeline * 2).min(PIPELINE_MAX);
        }
    }

    /// A query was given up.
    pub(super) fn ended(&mut self) {
        self.under_way -= 1;
    }

    /// True if the connection is to be given up.
    pub(super) fn is_forgotten(&self, now: Duration) -> bool {
        self.silent_since
            .is_some_and(|since| now.saturating_sub(since) >= SILENT_MAX)
    }

    /// The connection was closed while queries were under way. Tells how many it had answered; a new one
    /// is asked no more than that at one time.
    pub(super) fn closed(&mut self) -> usize {
        let answered = std::mem::take(&mut self.answered);
        self.silent_since = None;
        if self.under_way > 0 {
            self.pipeline = answered.clamp(1, self.pipeline);
        }
        answered
    }
}
