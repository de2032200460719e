//! The bars of a histogram.

use super::latency_axis::LatencyAxis;
use hdrhistogram::Histogram;

/// The share of values in each of `bins` equally wide parts of the axis.
///
/// A bucket that reaches over several bins is spread over them. Otherwise short latencies, where
/// a bin is narrower than a nanosecond, would show gaps that are not in the data.
pub(super) fn shares(histogram: &Histogram<u64>, axis: &LatencyAxis, bins: usize) -> Vec<f64> {
    let mut shares = vec![0.0; bins];
    for bucket in histogram.iter_recorded() {
        let high = bucket.value_iterated_to();
        let low = histogram.lowest_equivalent(high);
        let start = axis.position(low as f64) * bins as f64;
        let end = axis.position(high as f64 + 1.0) * bins as f64;
        let share = bucket.count_since_last_iteration() as f64 / histogram.len() as f64;
        let (first, last) = ((start as usize).min(bins - 1), (end as usize).min(bins - 1));
        if first == last {
            shares[first] += share;
            continue;
        }
        for (bin, sum) in shares.iter_mut().enumerate().take(last + 1).skip(first) {
            let overlap = end.min(bin as f64 + 1.0) - start.max(bin as f64);
            *sum += share * overlap / (end - start);
        }
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
        for bins in [1, 7, 80] {
            let shares = shares(&histogram, &axis, bins);
            assert!(
                (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9,
                "{shares:?}"
            );
        }
    }

    #[test]
    fn a_wide_bucket_is_spread() {
        let mut histogram = Histogram::new(3).unwrap();
        histogram.record_n(1, 4).unwrap();
        let axis = LatencyAxis {
            low_ns: 1.0,
            high_ns: 3.0,
            logarithmic: false,
        };
        assert_eq!(shares(&histogram, &axis, 4), [0.5, 0.5, 0.0, 0.0]);
    }
}
