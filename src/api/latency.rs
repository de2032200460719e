//! How long the inputs of a run took.

use crate::stats::Latencies;
use hdrhistogram::Histogram;
use std::time::Duration;

/// How long one phase took, over all inputs: an HDR histogram of nanoseconds up to one hour, to three
/// decimal digits.
///
/// ```
/// let mut rows = ringmill::hash(["Cargo.toml"; 10]).record_latencies().start()?;
/// rows.by_ref().for_each(drop);
/// let total = rows.latencies().into_iter().find(|it| it.phase() == "total").unwrap();
/// assert_eq!(total.count(), 10);
/// println!("half of them in {:?}", total.percentile(50.0));
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Latency {
    phase: &'static str,
    histogram: Histogram<u64>,
    out_of_range: u64,
}

impl Latency {
    /// Those that have values, in the order of an input's life.
    pub(super) fn all(latencies: &Latencies) -> Vec<Self> {
        let measured = latencies.iter().filter_map(|(phase, latencies)| {
            Some(Self {
                phase: phase.name(),
                histogram: latencies.histogram()?.clone(),
                out_of_range: latencies.out_of_range(),
            })
        });
        measured.collect()
    }

    /// The name of the phase: `total` is the whole time from an input's first operation to its last.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        self.phase
    }

    /// How many were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len() + self.out_of_range
    }

    /// Those of more than an hour, which are in no percentile.
    #[must_use]
    pub fn out_of_range(&self) -> u64 {
        self.out_of_range
    }

    /// The shortest.
    #[must_use]
    pub fn min(&self) -> Duration {
        Duration::from_nanos(self.histogram.min())
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.histogram.max())
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.histogram.mean() / 1e9)
    }

    /// The time within which so many percent of them were done, from 0 to 100.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(
            self.histogram
                .value_at_percentile(percent.clamp(0.0, 100.0)),
        )
    }
}
