//! The rate limit on queries to one server.

use std::time::Duration;

/// The burst that the rate limit allows, as a time: all queries that are due within it may be sent at
/// once. An event loop may be late by this much.
const BURST: Duration = Duration::from_millis(10);

/// Limits the rate of queries by the generic cell rate algorithm (ITU-T I.371, annex A). Unlike the
/// schedule of a run, it does not catch up after a delay.
#[derive(Debug)]
pub(super) struct Throttle {
    interval: Duration,
    /// When the next query would be due if queries were evenly spread.
    due: Duration,
}

impl Throttle {
    /// For at most this many queries per second.
    pub(super) fn new(rate: f64) -> Self {
        // Rounded up: rather too few than too many.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let interval_ns = (1e9 / rate).ceil() as u64;
        Self {
            interval: Duration::from_nanos(interval_ns),
            due: Duration::ZERO,
        }
    }

    /// When the next query may be sent.
    pub(super) fn next(&self) -> Duration {
        self.due.saturating_sub(BURST)
    }

    /// How many may be sent now.
    pub(super) fn allowance(&self, now: Duration) -> usize {
        let Some(ahead) = (now + BURST).checked_sub(self.due.max(now)) else {
            return 0;
        };
        let more = ahead.as_nanos() / self.interval.as_nanos();
        usize::try_from(more).map_or(usize::MAX, |more| more.saturating_add(1))
    }

    /// A query is sent.
    pub(super) fn ask(&mut self, now: Duration) {
        self.due = self.due.max(now) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept() {
        for rate in [0.5, 20.0, 1_000.0, 300_000.0] {
            let (mut throttle, mut now, mut sent) = (Throttle::new(rate), Duration::ZERO, 0_u32);
            while now < Duration::from_secs(20) {
                let (allowed, before) = (throttle.allowance(now), sent);
                while throttle.next() <= now {
                    throttle.ask(now);
                    sent += 1;
                }
                assert_eq!(usize::try_from(sent - before).unwrap(), allowed);
                now = throttle.next().max(now + Duration::from_micros(333));
            }
            let due = rate * 20.0 + rate * BURST.as_secs_f64() + 1.0;
            assert!(f64::from(sent) <= due, "{sent} at {rate}");
            assert!(f64::from(sent) >= due * 0.99 - 2.0, "{sent} at {rate}");
        }
    }
}
