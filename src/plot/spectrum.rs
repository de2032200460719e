//! The percentile spectrum and its axis.
//!
//! A position on the axis is a number of nines: the negated decimal logarithm of the share of values that
//! are larger. 0 % is at 0, 90 % at 1, 99 % at 2, 99.9 % at 3. It is computed from counts, because a
//! floating-point quantile close to 1 has too few digits.

use super::{Distribution, Percentiles};
use hdrhistogram::Histogram;

/// Values closer together than this, a pixel or two, are drawn as one.
const NINES_RESOLUTION: f64 = 0.02;

/// A vertex of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub nines: f64,
    pub ns: u64,
}

/// The curve of a phase; empty if it has no values.
pub(super) fn of(latencies: &Distribution) -> Vec<Point> {
    match latencies {
        Distribution::Buckets(histogram) => of_buckets(histogram),
        Distribution::Percentiles(known) => of_percentiles(known),
    }
}

/// The position of a percentile from 0 to 100.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile.clamp(0.0, 100.0) / 100.0).log10()
}

/// The end of the curve of `count` values. The largest value would extend to infinity, so the curve ends at
/// the middle of its share.
fn nines_max(count: u64) -> f64 {
    (count as f64 * 2.0).log10()
}

/// Each value is a step as wide as its share.
fn of_buckets(histogram: &Histogram<u64>) -> Vec<Point> {
    let count = histogram.len();
    let mut points: Vec<Point> = Vec::new();
    let mut below = 0u64;
    let (mut group_start, mut step_end) = (f64::NEG_INFINITY, 0.0);
    for bucket in histogram.iter_recorded() {
        let ns = bucket.value_iterated_to();
        below = below.saturating_add(bucket.count_since_last_iteration());
        let beyond = count.saturating_sub(below) as f64 / count as f64;
        let start = step_end;
        // The limits exclude -0.0 and, at 100 %, infinity.
        step_end = (-beyond.log10()).clamp(start, nines_max(count));
        if step_end - group_start < NINES_RESOLUTION {
            points.pop();
        } else {
            group_start = start;
            points.push(Point { nines: start, ns });
        }
        points.push(Point {
            nines: step_end,
            ns,
        });
    }
    points
}

/// The known percentiles, connected by straight lines.
fn of_percentiles(known: &Percentiles) -> Vec<Point> {
    if known.count == 0 {
        return Vec::new();
    }
    let end = nines_max(known.count);
    let mut points = vec![
        Point {
            nines: 0.0,
            ns: known.min_ns,
        },
        Point {
            nines: end,
            ns: known.max_ns,
        },
    ];
    for &(percentile, ns) in known.points.iter().filter(|point| point.0.is_finite()) {
        points.push(Point {
            nines: nines(percentile).min(end),
            ns,
        });
    }
    points.sort_by(|a, b| a.nines.total_cmp(&b.nines).then(a.ns.cmp(&b.ns)));
    points
}

/// The position of the median.
pub(super) fn median_nines() -> f64 {
    nines(50.0)
}

/// The label of the percentile at a whole number of nines.
pub(super) fn percentile_label(nines: usize) -> String {
    match nines {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        _ => format!("99.{} %", "9".repeat(nines - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn nines_are_evenly_spaced() {
        let percentiles = [0.0, 90.0, 99.0, 99.9, 99.99, 99.999];
        for (place, percentile) in percentiles.into_iter().enumerate() {
            assert!(near(nines(percentile), place as f64), "{percentile}");
        }
        assert!(near(nines(50.0), 2f64.log10()));
    }

    #[test]
    fn labels_have_that_many_nines() {
        let labels: Vec<_> = (0..5).map(percentile_label).collect();
        assert_eq!(labels, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    /// 1 to 1000: the value at a percentile is known.
    #[test]
    fn a_curve_passes_through_the_percentiles() {
        let mut histogram = Histogram::new(3).unwrap();
        for ns in 1..=1000 {
            histogram.record(ns).unwrap();
        }
        let points = of_buckets(&histogram);
        assert_eq!(points[0], Point { nines: 0.0, ns: 1 });
        assert_eq!(
            points.last(),
            Some(&Point {
                nines: 2000f64.log10(),
                ns: 1000
            })
        );
        for (at, ns) in [
            (2f64.log10(), 500),
            (1.0, 900),
            (2.0, 990),
            (2.9999999, 999),
        ] {
            let right = points.iter().position(|point| point.nines >= at).unwrap();
            let reached = points[right].ns;
            assert!(reached.abs_diff(ns) <= 20, "{ns} ns: {reached}");
        }
        assert!(points.is_sorted_by(|a, b| a.nines <= b.nines && a.ns <= b.ns));
    }

    #[test]
    fn percentiles_end_where_the_count_allows() {
        let points = vec![
            (100.0, 900),
            (f64::NAN, 7),
            (90.0, 500),
            (99.9999, 900),
            (-3.0, 100),
        ];
        let known = Percentiles {
            count: 50,
            min_ns: 100,
            max_ns: 900,
            points,
        };
        let curve = of_percentiles(&known);
        assert_eq!(
            curve[0],
            Point {
                nines: 0.0,
                ns: 100
            }
        );
        assert!(curve.iter().all(|point| point.nines <= 2.0));
        assert!(
            curve
                .iter()
                .any(|point| near(point.nines, 1.0) && point.ns == 500)
        );
    }
}
