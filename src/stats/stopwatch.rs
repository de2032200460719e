//! The time in a loop, and the phases on which it was spent.

use super::{Detail, Phase, Recorder};
use crate::clock::Clock;
use std::time::Duration;

/// Caches the time in a loop and measures phases. It reads the clock only as often as recording needs,
/// because even 20 ns matter if an item takes 5 µs: the end of one phase is the start of the next.
pub struct Stopwatch {
    recorder: Recorder,
    now_ns: u64,
    /// `now_ns` is out of date.
    is_stale: bool,
    /// Items have their own times, not those of the turn.
    times_items: bool,
}

impl Stopwatch {
    /// A stopwatch for a loop. Items have their own times if something is recorded or they have a
    /// deadline.
    #[must_use]
    pub fn new(recorder: Recorder, items_have_deadline: bool) -> Self {
        Self {
            times_items: items_have_deadline || recorder.records(Detail::Totals),
            recorder,
            now_ns: 0,
            is_stale: true,
        }
    }

    /// The time of the last reading, in nanoseconds.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The time of the last reading.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns)
    }

    /// Reads the time, and publishes recorded latencies if they are due.
    pub fn begin_turn(&mut self, clock: &dyn Clock) {
        self.now_ns = clock.now_ns();
        self.is_stale = false;
        self.recorder.publish_if_due(self.now_ns);
    }

    /// Marks the time as out of date, after work that belongs to no phase.
    #[inline]
    pub fn expire(&mut self) {
        self.is_stale = true;
    }

    /// Reads the time if it is out of date and an item that starts or ends now needs its own time.
    #[inline]
    pub fn refresh(&mut self, clock: &dyn Clock) {
        if self.times_items && self.is_stale {
            self.now_ns = clock.now_ns();
            self.is_stale = false;
        }
    }

    /// Records the time since the last reading as spent on `phase`.
    #[inline]
    pub fn lap(&mut self, phase: Phase, clock: &dyn Clock) {
        self.laps([phase], clock);
    }

    /// The same for several phases that ran together, each for the whole time.
    #[inline]
    pub fn laps(&mut self, phases: impl IntoIterator<Item = Phase>, clock: &dyn Clock) {
        if self.recorder.records(Detail::Phases) {
            let now_ns = clock.now_ns();
            let lap_ns = now_ns.saturating_sub(self.now_ns);
            for phase in phases {
                self.recorder.record(phase, lap_ns);
            }
            self.now_ns = now_ns;
            self.is_stale = false;
        } else {
            self.is_stale = true;
        }
    }

    /// Records a phase that took from `from_ns` to `to_ns`.
    #[inline]
    pub fn record(&mut self, phase: Phase, from_ns: u64, to_ns: u64) {
        self.recorder.record(phase, to_ns.saturating_sub(from_ns));
    }

    /// Publishes recorded latencies now, unless they are published only at the end.
    pub fn publish(&mut self) {
        self.recorder.publish_early();
    }

    /// When the next turn must begin, so that recorded latencies are published in time.
    #[must_use]
    pub fn publish_at(&self) -> Option<Duration> {
        self.recorder.publish_at_ns().map(Duration::from_nanos)
    }
}
