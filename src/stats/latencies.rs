//! A histogram for each phase.

use super::Phase;
use hdrhistogram::Histogram;

/// The longest latency in the histograms: one hour, in nanoseconds.
pub const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// The precision of the histograms, in decimal digits.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies for each phase of a job's table: HDR histograms (Gil Tene,
/// <http://hdrhistogram.org>) of nanoseconds from 1 ns to 1 h with 3 significant digits.
#[derive(Clone, Debug)]
pub struct Latencies {
    phases: &'static [Phase],
    /// In the order of `phases`.
    counted: Vec<PhaseLatencies>,
}

/// The latencies of one phase.
#[derive(Clone, Debug, Default)]
pub struct PhaseLatencies {
    /// Allocated when it is first needed: it takes 264 KiB.
    histogram: Option<Histogram<u64>>,
    /// Latencies beyond the histogram's range.
    out_of_range: u64,
}

/// An empty histogram, with the range and precision of all histograms here.
#[must_use]
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS).expect("the bounds are valid")
}

impl Latencies {
    /// No latencies yet, for the phases of this table.
    #[must_use]
    pub fn new(phases: &'static [Phase]) -> Self {
        Self {
            phases,
            counted: vec![PhaseLatencies::default(); phases.len()],
        }
    }

    /// Counts a latency `count` times, if its phase is in the table.
    pub fn record(&mut self, phase: Phase, latency_ns: u64, count: u64) {
        if let Some(place) = self.place(phase) {
            self.record_at(place, latency_ns, count);
        }
    }

    /// Counts a latency of the phase at this place `count` times.
    pub(super) fn record_at(&mut self, place: usize, latency_ns: u64, count: u64) {
        self.counted[place].record(latency_ns, count);
    }

    /// Adds the latencies of another one.
    ///
    /// # Panics
    /// If the other one has another table.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(self.phases, other.phases, "the tables differ");
        for (own, other) in self.counted.iter_mut().zip(&other.counted) {
            own.add(other);
        }
    }

    /// Takes all latencies out and leaves none.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let empty = Self::new(self.phases);
        std::mem::replace(self, empty)
    }

    /// All phases with latencies, and their histograms, in the order of the table.
    pub fn into_phases(self) -> impl Iterator<Item = (Phase, PhaseLatencies)> {
        let all = self.phases.iter().copied().zip(self.counted);
        all.filter(|(_, latencies)| latencies.count() > 0)
    }

    /// Drops all latencies, but keeps the memory.
    pub fn clear(&mut self) {
        for phase in &mut self.counted {
            if let Some(histogram) = &mut phase.histogram
                && !histogram.is_empty()
            {
                histogram.reset();
            }
            phase.out_of_range = 0;
        }
    }

    /// True if there are no latencies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The phases with latencies, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, &PhaseLatencies)> {
        let all = self.phases.iter().copied().zip(&self.counted);
        all.filter(|(_, latencies)| latencies.count() > 0)
    }

    /// The latencies of a phase; none if it is not in the table.
    #[must_use]
    pub fn get(&self, phase: Phase) -> &PhaseLatencies {
        static EMPTY: PhaseLatencies = PhaseLatencies {
            histogram: None,
            out_of_range: 0,
        };
        self.place(phase)
            .map_or(&EMPTY, |place| &self.counted[place])
    }

    fn place(&self, phase: Phase) -> Option<usize> {
        self.phases.iter().position(|&known| known == phase)
    }
}

impl PhaseLatencies {
    fn record(&mut self, latency_ns: u64, count: u64) {
        if latency_ns > LATENCY_NS_MAX {
            self.out_of_range += count;
        } else {
            // A latency may be 0, because two clock readings may be the same.
            let recorded = self.histogram_mut().record_n(latency_ns.max(1), count);
            recorded.expect("it is within the bounds");
        }
    }

    fn histogram_mut(&mut self) -> &mut Histogram<u64> {
        self.histogram.get_or_insert_with(new_histogram)
    }

    fn add(&mut self, other: &Self) {
        if let Some(histogram) = other.histogram() {
            let added = self.histogram_mut().add(histogram);
            added.expect("they have the same bounds");
        }
        self.out_of_range += other.out_of_range;
    }

    /// The histogram, if there are latencies within its range.
    #[must_use]
    pub fn histogram(&self) -> Option<&Histogram<u64>> {
        self.histogram.as_ref().filter(|known| !known.is_empty())
    }

    /// The histogram itself, which may be empty.
    #[must_use]
    pub fn into_histogram(self) -> Histogram<u64> {
        self.histogram.unwrap_or_else(new_histogram)
    }

    /// The number of latencies longer than [`LATENCY_NS_MAX`], which the histogram does not contain.
    #[must_use]
    pub fn out_of_range(&self) -> u64 {
        self.out_of_range
    }

    /// The number of all latencies, within the range or not.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.out_of_range + self.histogram.as_ref().map_or(0, Histogram::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::phase_places::tests::longest_table;
    use proptest::prelude::*;
    use proptest::sample::Index;

    #[test]
    fn what_is_out_of_range_is_counted_apart() {
        let mut latencies = Latencies::new(Phase::COMMON);
        latencies.record(Phase::READ, 0, 1);
        latencies.record(Phase::READ, LATENCY_NS_MAX, 1);
        latencies.record(Phase::READ, LATENCY_NS_MAX + 1, 1);
        latencies.record(Phase::READ, u64::MAX, 1);
        let (phase, read) = latencies.iter().next().unwrap();
        assert_eq!(
            (phase, read.count(), read.out_of_range()),
            (Phase::READ, 4, 2)
        );
        let histogram = read.histogram().unwrap();
        assert_eq!((histogram.len(), histogram.min()), (2, 1));
        latencies.clear();
        assert!(latencies.is_empty());
    }

    #[test]
    fn phases_keep_the_order_of_the_table() {
        const OWN: Phase = Phase::of_job(7, "own");
        let mut latencies = Latencies::new(&[OWN, Phase::TOTAL, Phase::QUEUE]);
        for phase in [Phase::QUEUE, Phase::READ, OWN] {
            latencies.record(phase, 1, 1);
        }
        assert_eq!(latencies.get(Phase::READ).count(), 0);
        let taken = latencies.take();
        assert!(latencies.is_empty());
        let phases: Vec<Phase> = taken.into_phases().map(|(phase, _)| phase).collect();
        assert_eq!(phases, [OWN, Phase::QUEUE]);
    }

    proptest! {
        /// Adding parts gives the same as counting everything at once.
        #[test]
        fn parts_add_up(
            phases in prop_oneof![Just(Phase::COMMON), Just(longest_table())],
            values in proptest::collection::vec((any::<Index>(), 0_u64..2 * LATENCY_NS_MAX, any::<bool>()), 0..200)
        ) {
            let (mut whole, mut parts) = (Latencies::new(phases), [(); 2].map(|()| Latencies::new(phases)));
            for (place, ns, half) in values {
                let phase = *place.get(phases);
                whole.record(phase, ns, 1);
                parts[usize::from(half)].record(phase, ns, 1);
            }
            let mut sum = Latencies::new(phases);
            parts.iter().for_each(|part| sum.add(part));
            for &phase in phases {
                let (sum, whole) = (sum.get(phase), whole.get(phase));
                prop_assert_eq!(sum.out_of_range(), whole.out_of_range());
                prop_assert_eq!(sum.histogram(), whole.histogram());
            }
        }
    }
}
