//! The time in a loop, and what it was spent on.

use super::{Detail, Phase, Recorder};
use crate::clock::Clock;
use std::time::Duration;

/// Knows the time in a loop, which it reads no more often than what is recorded needs: even 20 ns
/// count where an item takes 5 µs. The end of one thing is the beginning of the next.
pub struct Stopwatch {
    recorder: Recorder,
    now_ns: u64,
    /// Time has passed since it was read.
    is_stale: bool,
    /// Items have times of their own, not those of the turn.
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

    /// The time as it was last read.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The same.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns)
    }

    /// Reads the time, and publishes what has been recorded when it is time to.
    pub fn begin_turn(&mut self, clock: &dyn Clock) {
        self.now_ns = clock.now_ns();
        self.is_stale = false;
        self.recorder.publish_if_due(self.now_ns);
    }

    /// Says that something was done that is no lap.
    #[inline]
    pub fn expire(&mut self) {
        self.is_stale = true;
    }

    /// Makes sure that an item that starts or ends now gets its own time.
    #[inline]
    pub fn refresh(&mut self, clock: &dyn Clock) {
        if self.times_items && self.is_stale {
            self.now_ns = clock.now_ns();
            self.is_stale = false;
        }
    }

    /// Says what the time since it was last read was spent on.
    #[inline]
    pub fn lap(&mut self, phase: Phase, clock: &dyn Clock) {
        self.laps([phase], clock);
    }

    /// The same for several things that were done together, each of which took all that time.
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

    /// Counts something that took from one time to another.
    #[inline]
    pub fn record(&mut self, phase: Phase, from_ns: u64, to_ns: u64) {
        self.recorder.record(phase, to_ns.saturating_sub(from_ns));
    }

    /// Publishes what has been recorded, if that is to happen before the end.
    pub fn publish(&mut self) {
        self.recorder.publish_early();
    }

    /// When the next turn must begin for what has been recorded to be published in time.
    #[must_use]
    pub fn publish_at(&self) -> Option<Duration> {
        self.recorder.publish_at_ns().map(Duration::from_nanos)
    }
}
