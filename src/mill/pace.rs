//! The schedule of a run with a rate.
//!
//! It is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A) with
//! items for cells. An item is due one interval after the one before it, or when it arrives, if that
//! is later. It never starts before it is due. When it starts late, because no loop had room for it,
//! the due times of later items do not change: the run catches up with the schedule, and latencies
//! measured from the schedule include the delay.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The rates that are supported, per second: from one item in 17 minutes to one in a nanosecond.
pub const RATES_PER_S: RangeInclusive<f64> = 1e-3..=1e9;

/// When items may start.
#[derive(Clone, Debug)]
pub struct Pace {
    interval_ns: f64,
    /// When the first item was due. Time without input is added to it.
    origin: Duration,
    /// Items that have started.
    started: u64,
    /// Since when there has been room but no input.
    without_input_since: Option<Duration>,
}

/// When the items that were pulled together are due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    origin: Duration,
    interval_ns: f64,
    /// The number of the next item, counted from the origin.
    next: u64,
}

impl Pace {
    /// A schedule of `items_per_s`, which begins with the first input.
    ///
    /// # Panics
    /// If the rate is not a positive number.
    #[must_use]
    pub fn new(items_per_s: f64) -> Self {
        assert!(
            items_per_s > 0.0 && items_per_s.is_finite(),
            "a rate of {items_per_s}"
        );
        Self {
            interval_ns: 1e9 / items_per_s,
            origin: Duration::ZERO,
            started: 0,
            without_input_since: Some(Duration::ZERO),
        }
    }

    /// How many items may start now, at most `max`.
    #[must_use]
    pub fn allowance(&self, now: Duration, max: usize) -> usize {
        let Some(since_origin) = now.checked_sub(self.origin) else {
            return 0;
        };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let mut due = (since_origin.as_nanos() as f64 / self.interval_ns) as u64 + 1;
        // The quotient may be rounded up to the next integer.
        if self.due(due - 1) > now {
            due -= 1;
        }
        let allowed = due.saturating_sub(self.started);
        usize::try_from(allowed).unwrap_or(usize::MAX).min(max)
    }

    /// Counts items that start, and returns when they were due.
    pub fn start(&mut self, count: usize) -> Schedule {
        let schedule = Schedule {
            origin: self.origin,
            interval_ns: self.interval_ns,
            next: self.started,
        };
        self.started += count as u64;
        schedule
    }

    /// When the next item is due.
    #[must_use]
    pub fn next_due(&self) -> Duration {
        self.due(self.started)
    }

    /// Records that there is room for an item, but no input.
    pub fn wait_for_input(&mut self, now: Duration) {
        self.without_input_since.get_or_insert(now);
    }

    /// Records that there is input. The schedule moves by the time without input, counted from when the
    /// next item was due.
    pub fn feed(&mut self, now: Duration) {
        if let Some(since) = self.without_input_since.take() {
            self.origin += now.saturating_sub(since.max(self.next_due()));
        }
    }

    fn due(&self, place: u64) -> Duration {
        due(self.origin, self.interval_ns, place)
    }
}

impl Iterator for Schedule {
    type Item = u64;

    /// When the next item is due, in nanoseconds. The iterator is endless.
    fn next(&mut self) -> Option<u64> {
        self.next += 1;
        let due = due(self.origin, self.interval_ns, self.next - 1);
        Some(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Counted from the origin each time, so that rounding errors do not accumulate.
fn due(origin: Duration, interval_ns: f64, place: u64) -> Duration {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let after_ns = (place as f64 * interval_ns).ceil() as u64;
    origin.saturating_add(Duration::from_nanos(after_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn items_are_due_one_interval_apart_from_the_first_input_on() {
        let mut pace = Pace::new(100.0);
        pace.feed(ms(500));
        assert_eq!(pace.allowance(ms(499), 9), 0);
        assert_eq!(pace.allowance(ms(500), 9), 1);
        assert_eq!(pace.start(1).next(), Some(500_000_000));
        assert_eq!((pace.allowance(ms(509), 9), pace.next_due()), (0, ms(510)));
        // Late by 35 ms: the run catches up at once, and the schedule shows the delay.
        assert_eq!(pace.allowance(ms(545), 9), 4);
        assert_eq!(pace.allowance(ms(545), 2), 2);
        let due: Vec<u64> = pace.start(4).take(4).collect();
        assert_eq!(due, [510, 520, 530, 540].map(|ms| ms * 1_000_000));
    }

    #[test]
    fn time_without_input_is_no_delay() {
        let mut pace = Pace::new(100.0);
        pace.feed(ms(0));
        pace.start(1);
        // There is no input at 3 ms, when nothing is due yet, nor at 10 ms, when something would be.
        pace.wait_for_input(ms(3));
        pace.wait_for_input(ms(4));
        pace.feed(ms(50));
        assert_eq!(pace.next_due(), ms(50));
        // An arrival before the next item is due changes nothing.
        pace.start(1);
        pace.wait_for_input(ms(51));
        pace.feed(ms(52));
        assert_eq!(pace.next_due(), ms(60));
    }

    #[test]
    fn a_delay_of_our_own_is_kept_while_input_is_missing() {
        let mut pace = Pace::new(100.0);
        pace.feed(ms(0));
        // Late by 100 ms when there is no input for 5 ms.
        pace.start(1);
        pace.wait_for_input(ms(110));
        pace.feed(ms(115));
        assert_eq!(pace.next_due(), ms(15));
    }

    proptest! {
        /// Nothing starts before it is due, and while there is input, exactly as many items start as the
        /// rate allows.
        #[test]
        fn the_rate_is_kept(
            rate in 0.1_f64..2_000_000.0,
            steps in proptest::collection::vec((0_u64..50_000_000, 1_usize..2000), 1..200),
        ) {
            let mut pace = Pace::new(rate);
            let mut now = Duration::from_secs(1_000_000);
            pace.feed(now);
            let began = now;
            let mut started = 0_u64;
            for (pause_ns, max) in steps {
                now += Duration::from_nanos(pause_ns);
                let allowed = pace.allowance(now, max);
                for due in pace.start(allowed).take(allowed) {
                    prop_assert!(u128::from(due) <= now.as_nanos());
                }
                started += allowed as u64;
                if allowed < max {
                    prop_assert!(pace.next_due() > now);
                }
                let most = (now - began).as_secs_f64() * rate + 1.0;
                prop_assert!(started as f64 <= most + 1e-3, "{} of {}", started, most);
            }
        }
    }
}
