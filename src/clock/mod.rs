//! The clock that everything is measured with.

mod counter;

use counter::Counter;
use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::Duration;

/// The processor's time stamp counter, after [`calibrate`] and if it is reliable.
static COUNTER: OnceLock<Option<Counter>> = OnceLock::new();

/// Tells the time.
pub trait Clock {
    /// Nanoseconds since a fixed moment, the same for all parts of a run. They are read several times for
    /// each item, hence a plain number.
    fn now_ns(&self) -> u64;

    /// The time since the same moment.
    fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns())
    }
}

/// Makes [`now_ns`] twice as fast, if the processor has a reliable counter. This takes a third of a
/// millisecond, in which the counter is compared with the system's clock. To be called before anything is
/// measured.
pub fn calibrate() {
    COUNTER.get_or_init(|| Counter::calibrate(system_now_ns));
}

/// Nanoseconds since the system was booted, not counting suspends (`CLOCK_MONOTONIC`).
#[must_use]
#[inline]
pub fn now_ns() -> u64 {
    match COUNTER.get() {
        Some(Some(counter)) => counter.now_ns(),
        _ => system_now_ns(),
    }
}

/// The time since the system was booted, as [`now_ns`].
#[must_use]
pub fn now() -> Duration {
    Duration::from_nanos(now_ns())
}

/// A time in nanoseconds, at most `u64::MAX` (584 years).
#[must_use]
pub fn to_ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn system_now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times from before and after the calibration can be compared, and the calibration stays right for
    /// longer than it took.
    #[test]
    fn the_counter_tells_the_system_s_time() {
        let Some(counter) = Counter::calibrate(system_now_ns) else {
            return;
        };
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(10));
            // An interrupt may come between two readings, so the best of many pairs counts.
            let differs_by_ns = (0..100).map(|_| system_now_ns().abs_diff(counter.now_ns()));
            let least_ns = differs_by_ns.min().unwrap();
            assert!(least_ns < 100_000, "{least_ns} ns");
        }
    }
}
