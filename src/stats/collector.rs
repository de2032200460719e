//! Passes latencies from the threads that record them to a reader during the run.

use super::phase_places::Places;
use super::tally::Tally;
use super::{Detail, Latencies, Phase};
use crate::lock::lock;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Limit on published tallies that wait to be taken, per recorder. At the limit, recorders keep their
/// latencies: nothing is lost, and memory does not grow while nothing is taken.
const PARTS_PER_RECORDER: usize = 2;

/// Gathers latencies from all threads of a run.
#[derive(Debug)]
pub struct Collector {
    places: Places,
    detail: Detail,
    /// How often recorders publish; `None`: only at the end.
    interval: Option<Duration>,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    published: Vec<Tally>,
    /// Empty tallies, which recorders reuse.
    spare: Vec<Tally>,
    recorders: usize,
}

impl Collector {
    /// A collector of the phases in the job's table. Recorders publish to it every `interval`, and at the
    /// end.
    ///
    /// # Panics
    /// If two phases have the same number or name, or a phase measured from a schedule is not at the end.
    #[must_use]
    pub fn new(phases: &'static [Phase], detail: Detail, interval: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            places: Places::new(phases),
            detail,
            interval,
            shared: Mutex::default(),
        })
    }

    /// Moves all latencies that have been published since the last call to `into`.
    ///
    /// # Panics
    /// If `into` has another table of phases.
    pub fn take(&self, into: &mut Latencies) {
        let mut published = std::mem::take(&mut self.lock().published);
        for part in &mut published {
            part.empty_into(into);
        }
        self.lock().spare.append(&mut published);
    }

    /// Takes a recorder's latencies and leaves an empty tally. At the limit on published tallies, it does so
    /// only with `must_take`.
    fn publish(&self, tally: &mut Tally, must_take: bool) {
        let mut shared = self.lock();
        if shared.published.len() >= PARTS_PER_RECORDER * shared.recorders && !must_take {
            return;
        }
        let spare = shared.spare.pop();
        let empty = spare.unwrap_or_else(|| Tally::new(self.places.phases()));
        shared.published.push(std::mem::replace(tally, empty));
    }

    /// The lists are consistent between any two calls, so a poisoned lock does no harm.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

/// Records the latencies of one thread. When it is dropped, it publishes those not published yet.
#[derive(Debug)]
pub struct Recorder {
    collector: Option<Arc<Collector>>,
    detail: Option<Detail>,
    places: Places,
    tally: Tally,
    publish_at_ns: u64,
}

impl Recorder {
    /// A recorder for a collector; without one it records nothing.
    #[must_use]
    pub fn new(collector: Option<Arc<Collector>>) -> Self {
        let places = match &collector {
            Some(collector) => {
                collector.lock().recorders += 1;
                collector.places.clone()
            }
            None => Places::new(&[]),
        };
        Self {
            tally: Tally::new(places.phases()),
            places,
            detail: collector.as_ref().map(|known| known.detail),
            collector,
            publish_at_ns: 0,
        }
    }

    /// True if it records this level of detail.
    #[inline]
    #[must_use]
    pub fn records(&self, detail: Detail) -> bool {
        self.detail >= Some(detail)
    }

    /// Counts a latency, if its level of detail is recorded.
    ///
    /// A phase that is not in the collector's table is not counted. If it is one of
    /// [`Phase::of_job`], this is a bug of the job, and a debug assertion fails.
    #[inline]
    pub fn record(&mut self, phase: Phase, latency_ns: u64) {
        let detail = if phase.id() == Phase::TOTAL.id() {
            Detail::Totals
        } else {
            Detail::Phases
        };
        if self.records(detail)
            && let Some(place) = self.places.get(phase)
        {
            self.tally.record(place, latency_ns);
        }
    }

    /// When to call [`Recorder::publish_if_due`] next; `None` if there is nothing to publish.
    #[must_use]
    pub fn publish_at_ns(&self) -> Option<u64> {
        let interval = self.collector.as_ref()?.interval;
        (interval.is_some() && !self.tally.is_empty()).then_some(self.publish_at_ns)
    }

    /// Publishes its latencies if the interval has passed.
    #[inline]
    pub fn publish_if_due(&mut self, now_ns: u64) {
        if self.publish_at_ns().is_some_and(|at_ns| at_ns <= now_ns) {
            self.publish(now_ns);
        }
    }

    /// Publishes its latencies before the interval has passed, because the thread may be idle for long.
    /// Without an interval, they are published at the end.
    pub fn publish_early(&mut self) {
        if let Some(collector) = &self.collector
            && collector.interval.is_some()
            && !self.tally.is_empty()
        {
            collector.publish(&mut self.tally, false);
        }
    }

    #[cold]
    fn publish(&mut self, now_ns: u64) {
        let Some(collector) = self.collector.clone() else {
            return;
        };
        let is_first = self.publish_at_ns == 0;
        if let Some(interval) = collector.interval {
            self.publish_at_ns = next_multiple(interval, now_ns);
        }
        if !is_first {
            collector.publish(&mut self.tally, false);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(collector) = &self.collector
            && !self.tally.is_empty()
        {
            collector.publish(&mut self.tally, true);
        }
    }
}

/// The first multiple of the interval after `now_ns`, so that all recorders publish at the same times.
fn next_multiple(interval: Duration, now_ns: u64) -> u64 {
    let interval_ns = u64::try_from(interval.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1);
    (now_ns / interval_ns + 1).saturating_mul(interval_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SECOND_NS: u64 = 1_000_000_000;

    fn count(latencies: &Latencies) -> u64 {
        latencies.iter().map(|(_, phase)| phase.count()).sum()
    }

    #[test]
    fn nothing_is_recorded_that_was_not_asked_for() {
        let mut off = Recorder::new(None);
        off.record(Phase::TOTAL, SECOND_NS);
        assert!(off.tally.is_empty());
        let collector = Collector::new(Phase::COMMON, Detail::Totals, None);
        let mut totals = Recorder::new(Some(Arc::clone(&collector)));
        totals.record(Phase::READ, SECOND_NS);
        totals.record(Phase::TOTAL, SECOND_NS);
        assert_eq!(totals.publish_at_ns(), None);
        drop(totals);
        let mut taken = Latencies::new(Phase::COMMON);
        collector.take(&mut taken);
        assert_eq!(count(&taken), 1);
    }

    #[test]
    fn common_phases_that_are_not_in_the_table_are_not_counted() {
        const OWN: Phase = Phase::of_job(200, "own");
        const PHASES: &[Phase] = &[OWN, Phase::TOTAL];
        let collector = Collector::new(PHASES, Detail::Phases, None);
        let mut recorder = Recorder::new(Some(Arc::clone(&collector)));
        for phase in [Phase::QUEUE, Phase::TOTAL, OWN, Phase::REORDER] {
            recorder.record(phase, SECOND_NS);
        }
        drop(recorder);
        let mut taken = Latencies::new(PHASES);
        collector.take(&mut taken);
        let phases: Vec<Phase> = taken.iter().map(|(phase, _)| phase).collect();
        assert_eq!(phases, PHASES);
    }

    #[test]
    fn all_is_published_once_and_at_the_end() {
        let collector = Collector::new(Phase::COMMON, Detail::Phases, Some(SECOND));
        let mut recorder = Recorder::new(Some(Arc::clone(&collector)));
        let mut taken = Latencies::new(Phase::COMMON);
        let mut recorded = 0;
        for step in 0..100 {
            let now_ns = SECOND_NS * 7 + SECOND_NS / 10 * step;
            recorder.record(Phase::READ, SECOND_NS);
            recorded += 1;
            recorder.publish_if_due(now_ns);
            if step == 25 {
                collector.take(&mut taken);
                // What was recorded up to second 9.0.
                assert_eq!(count(&taken), 21);
            }
        }
        drop(recorder);
        collector.take(&mut taken);
        assert_eq!(count(&taken), recorded);
    }

    #[test]
    fn untaken_latencies_are_kept_in_bounded_memory() {
        let collector = Collector::new(Phase::COMMON, Detail::Phases, Some(SECOND));
        let mut recorder = Recorder::new(Some(Arc::clone(&collector)));
        for second in 0..100 {
            recorder.record(Phase::READ, SECOND_NS);
            recorder.publish_if_due(SECOND_NS * second);
        }
        drop(recorder);
        assert!(collector.lock().published.len() <= PARTS_PER_RECORDER + 1);
        let mut taken = Latencies::new(Phase::COMMON);
        collector.take(&mut taken);
        assert_eq!(count(&taken), 100);
    }
}
