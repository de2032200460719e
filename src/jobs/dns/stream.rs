//! The queries in the stream to a server, and those that wait for room in it.

use std::collections::VecDeque;
use std::time::Duration;

/// Queries in flight in one stream, at most: a server may read the next query only after it has answered.
const PIPELINE_MAX: usize = 128;

/// A connection that has been silent for this long while a query was in flight is given up: it may have
/// been dropped on the path (by a firewall, for instance), which the system notices only much later.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// The stream to one server, and how many queries the server accepts in one.
#[derive(Debug)]
pub(super) struct Stream {
    in_flight: usize,
    /// How many may be in flight in one connection.
    pipeline: usize,
    /// How many queries the current connection has answered.
    answered: usize,
    /// Since when queries have been in flight without a reply.
    silent_since: Option<Duration>,
    /// When a reply came last, in any connection.
    answered_at: Option<Duration>,
    /// Lookups, with their serial numbers.
    waiting: VecDeque<(u32, u64)>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            in_flight: 0,
            pipeline: PIPELINE_MAX,
            answered: 0,
            silent_since: None,
            answered_at: None,
            waiting: VecDeque::new(),
        }
    }
}

impl Stream {
    /// A lookup waits for room.
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

    /// How many more queries may be in flight.
    pub(super) fn room(&self) -> usize {
        self.pipeline.saturating_sub(self.in_flight)
    }

    /// A query was sent.
    pub(super) fn sent(&mut self, now: Duration) {
        self.in_flight += 1;
        self.silent_since.get_or_insert(now);
    }

    /// A query was answered that was in flight, or had been given up.
    pub(super) fn answered(&mut self, was_in_flight: bool, now: Duration) {
        self.in_flight -= usize::from(was_in_flight);
        self.answered += 1;
        self.answered_at = Some(now);
        self.silent_since = (self.in_flight > 0).then_some(now);
        if self.answered > self.pipeline {
            // This connection accepts more than the last one did.
            self.pipeline = (self.pipeline * 2).min(PIPELINE_MAX);
        }
    }

    /// A query was given up.
    pub(super) fn ended(&mut self) {
        self.in_flight -= 1;
    }

    /// True if a reply has come since this time.
    pub(super) fn has_answered_since(&self, time: Duration) -> bool {
        self.answered_at.is_some_and(|at| at >= time)
    }

    /// True if the connection is to be given up.
    pub(super) fn is_stalled(&self, now: Duration) -> bool {
        self.silent_since
            .is_some_and(|since| now.saturating_sub(since) >= SILENT_MAX)
    }

    /// The connection was closed. Returns how many queries it had answered; if others were in flight, the
    /// next connection gets no more than that at one time.
    pub(super) fn closed(&mut self) -> usize {
        let answered = std::mem::take(&mut self.answered);
        self.silent_since = None;
        if self.in_flight > 0 {
            self.pipeline = answered.clamp(1, self.pipeline);
        }
        answered
    }
}
