//! Draws latencies: for each phase a percentile spectrum and a histogram, with several runs laid
//! over each other. [`svg()`] draws a picture, [`text()`] draws for a terminal.
//!
//! A spectrum shows the latency at each percentile, on an inverted logarithmic axis: 0 %, 90 %, 99 %, 99.9 %
//! and so on are equally far apart, so that the tail is as visible as the bulk.

mod labels;
mod latency_axis;
mod phases;
mod shares;
mod spectrum;
mod style;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use crate::stats::Phase;
use hdrhistogram::Histogram;
use indicatif::HumanCount;

pub use svg::svg;
pub use text::text;

/// One run's latencies.
#[derive(Clone, Debug)]
pub struct Run {
    /// The name shown in the legend.
    pub label: String,
    /// The phases by name (`open`, `read`, `total` and so on), in drawing order.
    pub phases: Vec<(String, Distribution)>,
}

/// The distribution of the latencies of a phase, in nanoseconds.
#[derive(Clone, Debug)]
pub enum Distribution {
    /// A histogram of all latencies.
    Buckets(Histogram<u64>),
    /// Some percentiles, from statistics that were written without buckets. They give a spectrum, but no
    /// histogram.
    Percentiles(Percentiles),
}

/// Some percentiles of a phase.
#[derive(Clone, Debug)]
pub struct Percentiles {
    /// How many values there were.
    pub count: u64,
    /// The shortest latency.
    pub min_ns: u64,
    /// The longest latency.
    pub max_ns: u64,
    /// Percentiles from 0 to 100, each with its latency in nanoseconds, in any order.
    pub points: Vec<(f64, u64)>,
}

impl Run {
    /// True if there is nothing to draw.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.phases.iter().all(|phase| phase.1.count() == 0)
    }

    /// The number of items, for the legend: the count of the phase `total`, as an item may have several
    /// reads. For logs of other programs, without this phase, the largest count of any phase.
    fn count_label(&self) -> String {
        let counts = self
            .phases
            .iter()
            .map(|(name, phase)| (name, phase.count()));
        let is_total = |(name, _): &(&String, u64)| *name == Phase::TOTAL.name();
        let total = counts.clone().find(is_total);
        let largest = counts.max_by_key(|(_, count)| *count);
        let count = total.or(largest).map_or(0, |(_, count)| count);
        format!("(n = {})", HumanCount(count))
    }
}

impl Distribution {
    fn count(&self) -> u64 {
        match self {
            Self::Buckets(histogram) => histogram.len(),
            Self::Percentiles(known) => known.count,
        }
    }

    fn min_ns(&self) -> u64 {
        match self {
            Self::Buckets(histogram) => histogram.min(),
            Self::Percentiles(known) => known.min_ns,
        }
    }

    fn max_ns(&self) -> u64 {
        match self {
            Self::Buckets(histogram) => histogram.max(),
            Self::Percentiles(known) => known.max_ns,
        }
    }

    /// The latency at a percentile, if it is known.
    fn at_percentile_ns(&self, percentile: f64) -> Option<u64> {
        match self {
            Self::Buckets(histogram) => Some(histogram.value_at_percentile(percentile)),
            Self::Percentiles(known) => {
                let mut points = known.points.iter();
                points
                    .find(|point| (point.0 - percentile).abs() < 1e-9)
                    .map(|point| point.1)
            }
        }
    }
}
