//! The bars of a histogram.

use super::latency_axis::LatencyAxis;
use hdrhistogram::Histogram;

/// The share of values in each of `bins` equally wide bins of the axis.
///
/// A bucket may be wider than a bin: for short latencies, or if all values are close together. It is then one
/// bar over several bins, as high as its whole share: a single value is 100 %, however wide it is drawn.
pub(super) fn shares(histogram: &Histogram<u64>, axis: &LatencyAxis, bins: usize) -> Vec<f64> {
    let mut shares = vec![0.0; bins];
    for bucket in histogram.iter_recorded() {
        let high = bucket.value_iterated_to();
        let low = histogram.lowest_equivalent(high);
        let start = axis.position(low as f64) * bins as f64;
        let end = axis.position(high as f64 + 1.0) * bins as f64;
        let share = bucket.count_since_last_iteration() as f64 / histogram.len() as f64;
        if end - start >= 1.0 {
            // Rounded, so that neighbouring buckets do not overlap.
            let (first, end) = (start.round() as usize, (end.round() as usize).min(bins));
            shares[first.min(bins - 1)..end]
                .iter_mut()
                .for_each(|sum| *sum += share);
            continue;
        }
        let (first, last) = ((start as usize).min(bins - 1), (end as usize).min(bins - 1));
        if first == last {
            shares[first] += share;
            continue;
        }
        let in_first = (last as f64 - start) / (end - start);
        shares[first] += share * in_first;
        shares[last] += share * (1.0 - in_first);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_of_the_whole() {
        let mut histogram = Histogram::new(2).unwrap();
        for ns in [0, 1, 1, 5, 900, 1_000_000, u64::MAX] {
            histogram.record(ns).unwrap();
        }
        let axis = LatencyAxis::over([0, u64::MAX].into_iter());
        for bins in [1, 7, 30] {
            let shares = shares(&histogram, &axis, bins);
            assert!(
                (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9,
                "{shares:?}"
            );
        }
    }

    #[test]
    fn one_value_alone_is_all() {
        for ns in [0, 1, 5, 50, 1_000, 123_456, 3_600_000_000_000] {
            let mut histogram = Histogram::new(3).unwrap();
            histogram.record(ns).unwrap();
            let axis = LatencyAxis::over([ns].into_iter());
            let shares = shares(&histogram, &axis, 80);
            let filled: Vec<&f64> = shares.iter().filter(|share| **share > 0.0).collect();
            assert!(
                !filled.is_empty() && filled.iter().all(|share| **share == 1.0),
                "{shares:?}"
            );
        }
    }

    #[test]
    fn a_wide_bucket_is_as_high_as_its_share() {
        let mut histogram = Histogram::new(3).unwrap();
        histogram.record_n(1, 3).unwrap();
        histogram.record_n(2, 1).unwrap();
        let axis = LatencyAxis {
            low_ns: 1.0,
            high_ns: 3.0,
            logarithmic: false,
        };
        assert_eq!(shares(&histogram, &axis, 4), [0.75, 0.75, 0.25, 0.25]);
    }
}
