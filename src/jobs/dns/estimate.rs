//! The round-trip time of one server, and the timeouts that follow from it (RFC 6298).
//!
//! Each query has an id of its own, so that a reply always identifies its query: every sample is exact,
//! and Karn's rule never applies.

use std::time::Duration;

/// The timeout of an attempt at a server that has not replied yet.
const TIMEOUT_INITIAL: Duration = Duration::from_millis(500);

/// The bounds of the timeout of a first attempt. The lower one is the delay that an event loop or a
/// server may have on a busy machine.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// Each further attempt has twice the timeout of the one before, up to this, or up to the timeout of the
/// first if that is longer. Longer timeouts would save little traffic.
const DOUBLED_MAX: Duration = Duration::from_secs(1);

/// A query without a reply holds its permit at least this much longer than the usual round-trip time: a
/// reply that is a little late is not a loss.
const PERMIT_DELAY_MIN: Duration = Duration::from_millis(20);

/// The estimate for one server.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    known: Option<Smoothed>,
    /// The timeout of a first attempt, if it is not estimated.
    fixed: Option<Duration>,
}

/// The smoothed round-trip time and its mean deviation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Smoothed {
    time: Duration,
    deviation: Duration,
}

impl Estimate {
    /// `fixed` is the timeout of every first attempt; `None`: it is estimated.
    pub(super) fn new(fixed: Option<Duration>) -> Self {
        Self { known: None, fixed }
    }

    /// Adds the round-trip time of a reply.
    pub(super) fn sample(&mut self, time: Duration) {
        self.known = Some(match self.known {
            None => Smoothed {
                time,
                deviation: time / 2,
            },
            Some(known) => {
                // One slow name among thousands must not make all others wait: an outlier counts as twice
                // the estimated timeout at most.
                let time = time.min(2 * self.estimated());
                let error = known.time.abs_diff(time);
                Smoothed {
                    time: (known.time * 7 + time) / 8,
                    deviation: (known.deviation * 3 + error) / 4,
                }
            }
        });
    }

    /// The smoothed times, if there have been replies.
    pub(super) fn known(&self) -> Option<Smoothed> {
        self.known
    }

    /// Adopts what another loop knows.
    pub(super) fn learn(&mut self, known: Smoothed) {
        self.known = Some(known);
    }

    /// The timeout of an attempt after `attempts_before` others.
    pub(super) fn timeout(&self, attempts_before: u32) -> Duration {
        let first = self.fixed.unwrap_or_else(|| self.estimated());
        let doubled = first.saturating_mul(2_u32.saturating_pow(attempts_before));
        doubled.min(DOUBLED_MAX.max(first))
    }

    /// How long a query without a reply holds its permit. This is shorter than its timeout: lost queries
    /// and names without an answer must not keep others from being sent.
    pub(super) fn permit_time(&self) -> Duration {
        self.known.map_or(TIMEOUT_INITIAL, |known| {
            let delay = PERMIT_DELAY_MIN.max(4 * known.deviation);
            TIMEOUT_MAX.min(known.time + delay)
        })
    }

    /// The smoothed round-trip time, if there have been replies.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.known.map(|known| known.time)
    }

    /// True if there have been replies.
    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    fn estimated(&self) -> Duration {
        self.known.map_or(TIMEOUT_INITIAL, |known| {
            (known.time + 4 * known.deviation).clamp(TIMEOUT_MIN, TIMEOUT_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(samples: impl IntoIterator<Item = Duration>) -> Estimate {
        let mut estimate = Estimate::default();
        samples.into_iter().for_each(|time| estimate.sample(time));
        estimate
    }

    #[test]
    fn attempts_have_twice_the_time_of_the_one_before() {
        let quick = after([20 * MS; 50]);
        let times = [0, 1, 2, 3, 4, 99].map(|before| quick.timeout(before) / MS.as_nanos() as u32);
        assert_eq!(
            times,
            [100, 200, 400, 800, 1000, 1000].map(Duration::from_nanos)
        );
        let slow = after([3000 * MS; 50]);
        assert!(slow.timeout(0) >= 3000 * MS);
        assert_eq!(slow.timeout(3), slow.timeout(0));
        assert_eq!(after([]).timeout(0), TIMEOUT_INITIAL);
        let fixed = Estimate::new(Some(50 * MS));
        assert_eq!(
            [0, 1].map(|before| fixed.timeout(before)),
            [50 * MS, 100 * MS]
        );
    }

    #[test]
    fn a_slow_name_now_and_then_changes_little() {
        let times = (0..2_000).map(|number| {
            if number % 100 == 0 {
                3000 * MS
            } else {
                20 * MS
            }
        });
        let mut estimate = Estimate::default();
        let mut longest = Duration::ZERO;
        for (number, time) in times.enumerate() {
            estimate.sample(time);
            // The first names do not show yet what is usual.
            longest = longest.max(if number > 100 {
                estimate.timeout(0)
            } else {
                Duration::ZERO
            });
        }
        assert!(longest <= 250 * MS, "{longest:?}");
    }

    #[test]
    fn a_server_that_becomes_slow_is_known_after_a_few_replies() {
        let estimate = after([20 * MS; 50].into_iter().chain([3000 * MS; 12]));
        assert!(
            estimate.timeout(0) >= 3000 * MS,
            "{:?}",
            estimate.timeout(0)
        );
    }

    #[test]
    fn a_permit_expires_long_before_the_attempt_ends() {
        let quick = after([20 * MS; 50]);
        assert_eq!(quick.smoothed(), Some(20 * MS));
        assert!((40 * MS..50 * MS).contains(&quick.permit_time()));
        assert_eq!(after([]).permit_time(), TIMEOUT_INITIAL);
    }
}
