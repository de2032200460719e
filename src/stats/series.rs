//! Histograms with names, for writing, reading and merging.

use super::{Latencies, new_histogram};
use hdrhistogram::Histogram;

/// The latencies of one phase, of a run or of several.
#[derive(Clone, Debug)]
pub struct Series {
    /// The phase's name.
    pub name: String,
    /// In nanoseconds.
    pub histogram: Histogram<u64>,
    /// Latencies beyond the histogram's range.
    pub out_of_range: u64,
}

impl Series {
    /// A series without latencies.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            histogram: new_histogram(),
            out_of_range: 0,
        }
    }

    /// The series of a run, in the order of its phases.
    #[must_use]
    pub fn of(latencies: Latencies) -> Vec<Self> {
        let series = latencies.into_phases().map(|(phase, counted)| Self {
            name: phase.name().to_owned(),
            out_of_range: counted.out_of_range(),
            histogram: counted.into_histogram(),
        });
        series.collect()
    }

    /// Adds a histogram, which may have a wider range than this one.
    pub fn add(&mut self, other: &Histogram<u64>) {
        if self.histogram.add(other).is_err() {
            for value in other.iter_recorded() {
                let count = value.count_at_value();
                if self
                    .histogram
                    .record_n(value.value_iterated_to(), count)
                    .is_err()
                {
                    self.add_out_of_range(count);
                }
            }
        }
    }

    /// Counts latencies beyond the range. (Saturating, because a file may contain any number.)
    pub fn add_out_of_range(&mut self, count: u64) {
        self.out_of_range = self.out_of_range.saturating_add(count);
    }

    /// The number of all latencies, within the range or not.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len().saturating_add(self.out_of_range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::LATENCY_NS_MAX;

    #[test]
    fn a_histogram_of_another_shape_is_added_value_by_value() {
        let mut wide = Histogram::<u64>::new_with_bounds(1, u64::MAX / 2, 2).unwrap();
        wide.record_n(100, 3).unwrap();
        wide.record(2 * LATENCY_NS_MAX).unwrap();
        let mut series = Series::new("open");
        series.add(&wide);
        assert_eq!((series.count(), series.out_of_range), (4, 1));
        assert_eq!(series.histogram.max(), 100);
    }
}
