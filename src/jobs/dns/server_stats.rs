//! Statistics of each server.

use crate::clock;
use crate::lock::lock;
use crate::stats::LATENCY_NS_MAX;
use domain::base::iana::OptRcode;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Enough to compare servers, at a few kilobytes each; there may be thousands.
const SIGNIFICANT_DIGITS: u8 = 2;

/// Counts and round-trip times of the queries to one server.
#[derive(Clone, Debug)]
pub struct ServerStats {
    /// Queries sent.
    pub sent: u64,
    /// Accepted replies to them, except truncated ones.
    pub answered: u64,
    /// The same, by response code.
    pub rcodes: BTreeMap<OptRcode, u64>,
    /// Queries that timed out. A reply that comes afterwards is late.
    pub lost: u64,
    /// Truncated replies (TC).
    pub truncated: u64,
    /// Messages that match no query.
    pub mismatched: u64,
    /// Replies that came after their query had been given up.
    pub late: u64,
    /// Round-trip times in nanoseconds, to two significant digits. Empty unless
    /// [`Settings::measures_round_trips`](super::Settings::measures_round_trips) is set.
    pub round_trips_ns: Histogram<u32>,
    /// The smoothed round-trip time (RFC 6298); for several loops the mean, weighted by their replies.
    /// `None` if there was no reply.
    pub smoothed_round_trip: Option<Duration>,
    /// The latest limit on queries in flight at the server, all loops together.
    pub limit: usize,
}

impl Default for ServerStats {
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

impl ServerStats {
    /// Counts an accepted reply with this code.
    pub(super) fn answered(&mut self, rcode: OptRcode) {
        self.answered += 1;
        *self.rcodes.entry(rcode).or_default() += 1;
    }

    /// Accepted replies, including truncated ones.
    fn replies(&self) -> u64 {
        self.answered + self.truncated
    }

    /// Records the round-trip time of a reply.
    pub(super) fn record_round_trip(&mut self, time: Duration) {
        let time_ns = clock::to_ns(time).clamp(1, LATENCY_NS_MAX);
        let recorded = self.round_trips_ns.record(time_ns);
        recorded.expect("it grows as needed");
    }
}

impl AddAssign<&Self> for ServerStats {
    fn add_assign(&mut self, other: &Self) {
        self.smoothed_round_trip = mean_round_trip(self, other);
        // The loops share the limit, and the loop that ends last has its latest value.
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

fn mean_round_trip(one: &ServerStats, other: &ServerStats) -> Option<Duration> {
    let (Some(time), Some(other_time)) = (one.smoothed_round_trip, other.smoothed_round_trip)
    else {
        return one.smoothed_round_trip.or(other.smoothed_round_trip);
    };
    let [weight, other_weight] = [one, other].map(ServerStats::replies);
    #[allow(clippy::cast_precision_loss)]
    let share = weight as f64 / (weight + other_weight).max(1) as f64;
    Some(time.mul_f64(share) + other_time.mul_f64(1.0 - share))
}

/// The statistics of all servers, in their order, summed over all loops: each loop adds its own when it
/// ends.
#[derive(Clone, Debug, Default)]
pub struct SharedServerStats {
    stats: Arc<Mutex<Vec<ServerStats>>>,
    /// The index here of a resolver's first server.
    first: usize,
    has_replies: Arc<AtomicBool>,
}

impl SharedServerStats {
    /// The same, for a resolver whose only server has this index.
    pub(super) fn of_server(&self, first: usize) -> Self {
        Self {
            first,
            ..self.clone()
        }
    }

    /// A server has replied.
    pub(super) fn note_reply(&self) {
        if !self.has_replies() {
            self.has_replies.store(true, Ordering::Relaxed);
        }
    }

    /// True if any server has replied so far.
    #[must_use]
    pub fn has_replies(&self) -> bool {
        self.has_replies.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, stats: impl Iterator<Item = ServerStats>) {
        let mut known = lock(&self.stats);
        for (at, stats) in (self.first..).zip(stats) {
            if known.len() <= at {
                known.resize_with(at + 1, ServerStats::default);
            }
            known[at] += &stats;
        }
    }

    /// Takes the sums, which start again from zero.
    #[must_use]
    pub fn take(&self) -> Vec<ServerStats> {
        std::mem::take(&mut *lock(&self.stats))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stats_of_loops_add_up() {
        let (shared, mut stats) = (
            SharedServerStats::default(),
            [ServerStats::default(), ServerStats::default()],
        );
        stats[1].sent = 2;
        stats[1].answered(OptRcode::NOERROR);
        stats[1].answered(OptRcode::SERVFAIL);
        stats[1].record_round_trip(Duration::from_millis(5));
        stats[1].record_round_trip(Duration::MAX);
        shared.add(stats.iter().cloned());
        shared.add(stats.into_iter());
        let sum = shared.take();
        assert_eq!((sum.len(), sum[0].sent, sum[1].sent), (2, 0, 4));
        let rcodes = BTreeMap::from([(OptRcode::NOERROR, 2), (OptRcode::SERVFAIL, 2)]);
        assert_eq!(sum[1].rcodes, rcodes);
        assert_eq!(sum[1].round_trips_ns.len(), 4);
        assert!(shared.take().is_empty());
    }

    /// Resolvers of one server each may end in any order.
    #[test]
    fn the_stats_of_servers_are_kept_apart() {
        let shared = SharedServerStats::default();
        for server in [2, 0, 1, 2] {
            let stats = ServerStats {
                sent: 10 + server as u64,
                ..ServerStats::default()
            };
            shared.of_server(server).add(std::iter::once(stats));
        }
        let sent: Vec<u64> = shared.take().iter().map(|stats| stats.sent).collect();
        assert_eq!(sent, [10, 11, 24]);
    }

    /// Loops are weighted by their replies; a loop without replies does not count.
    #[test]
    fn the_time_of_replies_is_the_mean_of_the_loops() {
        let of_loop = |answered, time_ms: Option<u64>, limit| ServerStats {
            answered,
            smoothed_round_trip: time_ms.map(Duration::from_millis),
            limit,
            ..ServerStats::default()
        };
        let mut sum = ServerStats::default();
        for (stats, expected_ms) in [
            (of_loop(0, None, 384), None),
            (of_loop(30, Some(10), 400), Some(10)),
            (of_loop(10, Some(50), 420), Some(20)),
            (of_loop(0, None, 410), Some(20)),
        ] {
            sum += &stats;
            let expected = expected_ms.map(Duration::from_millis);
            assert_eq!(
                (sum.smoothed_round_trip, sum.limit),
                (expected, stats.limit)
            );
        }
    }
}
