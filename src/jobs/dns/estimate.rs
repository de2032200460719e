//! How long a reply of one server is waited for (RFC 6298).
//!
//! Each query has an id of its own, so that it is known which one a reply answers: every sample is
//! exact, and Karn's rule never applies.

use std::time::Duration;

/// The time for an attempt at a server that has not answered yet.
const TIMEOUT_AT_FIRST: Duration = Duration::from_millis(500);

/// The bounds of the time for a first attempt. The lower one is what an event loop or a server may be
/// late by on a busy machine.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// Each further attempt has twice the time of the one before, up to this, or the time of the first if
/// that is longer. To wait longer between attempts would spare little traffic.
const DOUBLED_MAX: Duration = Duration::from_secs(1);

/// A query without a reply keeps its place at a server for so much longer than usual, at least: a server
/// that is late for once has lost nothing.
const PLACE_DELAY_MIN: Duration = Duration::from_millis(20);

/// The smoothed time of replies and its mean deviation.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    known: Option<Smoothed>,
    /// The time for a first attempt, if it does not follow from the replies.
    fixed: Option<Duration>,
}

/// What follows from the times of replies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Smoothed {
    time: Duration,
    deviation: Duration,
}

impl Estimate {
    /// `fixed` is the time for every first attempt, if it is not to be estimated.
    pub(super) fn new(fixed: Option<Duration>) -> Self {
        Self { known: None, fixed }
    }

    /// A reply came after this time.
    pub(super) fn sample(&mut self, time: Duration) {
        self.known = Some(match self.known {
            None => Smoothed {
                time,
                deviation: time / 2,
            },
            Some(known) => {
                // One slow name among thousands must not make all others wait: what is far off counts
                // in steps, each as long as twice the time that would have been waited.
                let time = time.min(2 * self.estimated());
                let error = known.time.abs_diff(time);
                Smoothed {
                    time: (known.time * 7 + time) / 8,
                    deviation: (known.deviation * 3 + error) / 4,
                }
            }
        });
    }

    /// What follows from the replies so far, if there have been any.
    pub(super) fn known(&self) -> Option<Smoothed> {
        self.known
    }

    /// Nothing was known, and this is what another loop knows.
    pub(super) fn learn(&mut self, known: Smoothed) {
        self.known = Some(known);
    }

    /// How long the reply to an attempt is waited for, after so many attempts before it.
    pub(super) fn timeout(&self, attempts_before: u32) -> Duration {
        let first = self.fixed.unwrap_or_else(|| self.estimated());
        let doubled = first.saturating_mul(2_u32.saturating_pow(attempts_before));
        doubled.min(DOUBLED_MAX.max(first))
    }

    /// How long a query without a reply counts as one that the server is busy with. That is shorter than
    /// the reply is waited for: what is lost or has no answer must not keep others from being sent.
    pub(super) fn place_time(&self) -> Duration {
        self.known.map_or(TIMEOUT_AT_FIRST, |known| {
            let delay = PLACE_DELAY_MIN.max(4 * known.deviation);
            TIMEOUT_MAX.min(known.time + delay)
        })
    }

    /// The smoothed time of replies, if there have been any.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.known.map(|known| known.time)
    }

    /// True if it is no guess.
    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    fn estimated(&self) -> Duration {
        self.known.map_or(TIMEOUT_AT_FIRST, |known| {
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
        assert_eq!(after([]).timeout(0), TIMEOUT_AT_FIRST);
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
            // The first names tell nothing of what is usual.
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
    fn a_place_is_free_long_before_the_attempt_ends() {
        let quick = after([20 * MS; 50]);
        assert_eq!(quick.smoothed(), Some(20 * MS));
        assert!((40 * MS..50 * MS).contains(&quick.place_time()));
        assert_eq!(after([]).place_time(), TIMEOUT_AT_FIRST);
    }
}
