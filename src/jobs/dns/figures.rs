//! What is counted of each server.

use crate::clock;
use crate::stats::LATENCY_NS_MAX;
use domain::base::iana::OptRcode;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Enough to tell servers apart, in a few kilobytes for each of perhaps thousands.
const SIGNIFICANT_DIGITS: u8 = 2;

/// What went to one server and came from it.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Queries sent.
    pub sent: u64,
    /// Replies to them that were taken, those that did not fit into a packet excepted.
    pub answered: u64,
    /// The same, by what they said.
    pub rcodes: BTreeMap<OptRcode, u64>,
    /// Queries that were given up because no reply had come in their time. One that comes afterwards is
    /// late.
    pub lost: u64,
    /// Replies that did not fit into a packet.
    pub truncated: u64,
    /// Messages that belonged to no query.
    pub mismatched: u64,
    /// Replies that came when their query had been given up.
    pub late: u64,
    /// Times from a query to its reply, in nanoseconds, to two significant digits. Empty unless they
    /// are wanted.
    pub round_trips_ns: Histogram<u32>,
    /// The smoothed time from a query to its reply (RFC 6298); of several loops the mean, weighted by
    /// their replies. None if there was no reply.
    pub smoothed_round_trip: Option<Duration>,
    /// How many queries all loops together may have outstanding there, by what was known last.
    pub limit: usize,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            sent: 0,
            answered: 0,
            rcodes: BTreeMap::new(),
            lost: 0,
            truncated: 0,
            mismatched: 0,
            late: 0,
            round_trips_ns: Histogram::new(SIGNIFICANT_DIGITS).expect("the digits are valid"),
            smoothed_round_trip: None,
            limit: 0,
        }
    }
}

impl Figures {
    /// A reply with this code was taken.
    pub(super) fn answered(&mut self, rcode: OptRcode) {
        self.answered += 1;
        *self.rcodes.entry(rcode).or_default() += 1;
    }

    /// Replies that were taken.
    fn replies(&self) -> u64 {
        self.answered + self.truncated
    }

    /// A reply came after this time.
    pub(super) fn record_round_trip(&mut self, time: Duration) {
        let time_ns = clock::to_ns(time).clamp(1, LATENCY_NS_MAX);
        let recorded = self.round_trips_ns.record(time_ns);
        recorded.expect("it grows as needed");
    }
}

impl AddAssign<&Self> for Figures {
    fn add_assign(&mut self, other: &Self) {
        self.smoothed_round_trip = mean_round_trip(self, other);
        // The loops share it, and the one that ends last has the latest.
        self.limit = other.limit;
        self.sent += other.sent;
        self.answered += other.answered;
        for (&rcode, &count) in &other.rcodes {
            *self.rcodes.entry(rcode).or_default() += count;
        }
        self.lost += other.lost;
        self.truncated += other.truncated;
        self.mismatched += other.mismatched;
        self.late += other.late;
        let added = self.round_trips_ns.add(&other.round_trips_ns);
        added.expect("it grows as needed");
    }
}

fn mean_round_trip(one: &Figures, other: &Figures) -> Option<Duration> {
    let (Some(time), Some(other_time)) = (one.smoothed_round_trip, other.smoothed_round_trip)
    else {
        return one.smoothed_round_trip.or(other.smoothed_round_trip);
    };
    let [weight, other_weight] = [one, other].map(Figures::replies);
    #[allow(clippy::cast_precision_loss)]
    let share = weight as f64 / (weight + other_weight).max(1) as f64;
    Some(time.mul_f64(share) + other_time.mul_f64(1.0 - share))
}

/// The figures of all servers, in their order, of all loops together: each loop adds its own when it
/// ends.
#[derive(Clone, Debug, Default)]
pub struct SharedFigures {
    figures: Arc<Mutex<Vec<Figures>>>,
    /// The number that the first server of a resolver has here.
    first: usize,
    has_replies: Arc<AtomicBool>,
}

impl SharedFigures {
    /// The same, for a resolver whose only server is the one with this number.
    pub(super) fn of_server(&self, first: usize) -> Self {
        Self {
            first,
            ..self.clone()
        }
    }

    /// A server has said something.
    pub(super) fn note_reply(&self) {
        if !self.has_replies() {
            self.has_replies.store(true, Ordering::Relaxed);
        }
    }

    /// True if any server has said anything so far.
    #[must_use]
    pub fn has_replies(&self) -> bool {
        self.has_replies.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, figures: impl Iterator<Item = Figures>) {
        let mut known = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, figures) in (self.first..).zip(figures) {
            if known.len() <= at {
                known.resize_with(at + 1, Figures::default);
            }
            known[at] += &figures;
        }
    }

    /// Takes what has been added.
    #[must_use]
    pub fn take(&self) -> Vec<Figures> {
        std::mem::take(&mut *self.figures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loops_figures_add_up() {
        let (shared, mut figures) = (
            SharedFigures::default(),
            [Figures::default(), Figures::default()],
        );
        figures[1].sent = 2;
        figures[1].answered(OptRcode::NOERROR);
        figures[1].answered(OptRcode::SERVFAIL);
        figures[1].record_round_trip(Duration::from_millis(5));
        figures[1].record_round_trip(Duration::MAX);
        shared.add(figures.iter().cloned());
        shared.add(figures.into_iter());
        let sum = shared.take();
        assert_eq!((sum.len(), sum[0].sent, sum[1].sent), (2, 0, 4));
        let rcodes = BTreeMap::from([(OptRcode::NOERROR, 2), (OptRcode::SERVFAIL, 2)]);
        assert_eq!(sum[1].rcodes, rcodes);
        assert_eq!(sum[1].round_trips_ns.len(), 4);
        assert!(shared.take().is_empty());
    }

    /// Resolvers of one server each may end in any order.
    #[test]
    fn each_servers_figures_are_in_its_place() {
        let shared = SharedFigures::default();
        for server in [2, 0, 1, 2] {
            let figures = Figures {
                sent: 10 + server as u64,
                ..Figures::default()
            };
            shared.of_server(server).add(std::iter::once(figures));
        }
        let sent: Vec<u64> = shared.take().iter().map(|figures| figures.sent).collect();
        assert_eq!(sent, [10, 11, 24]);
    }

    /// A loop counts for as much as it has replies, and not at all without.
    #[test]
    fn the_time_of_replies_is_the_mean_of_the_loops() {
        let of_loop = |answered, time_ms: Option<u64>, limit| Figures {
            answered,
            smoothed_round_trip: time_ms.map(Duration::from_millis),
            limit,
            ..Figures::default()
        };
        let mut sum = Figures::default();
        for (figures, expected_ms) in [
            (of_loop(0, None, 384), None),
            (of_loop(30, Some(10), 400), Some(10)),
            (of_loop(10, Some(50), 420), Some(20)),
            (of_loop(0, None, 410), Some(20)),
        ] {
            sum += &figures;
            let expected = expected_ms.map(Duration::from_millis);
            assert_eq!(
                (sum.smoothed_round_trip, sum.limit),
                (expected, figures.limit)
            );
        }
    }
}
