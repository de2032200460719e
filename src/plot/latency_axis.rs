//! The latency axis, shared by all runs of a phase.

use kuva::render::render_utils::{generate_ticks, generate_ticks_log};

/// The range and the scale of the axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatencyAxis {
    pub low_ns: f64,
    pub high_ns: f64,
    /// Logarithmic, not linear: used if the latencies differ by more than a factor of ten.
    pub logarithmic: bool,
}

impl LatencyAxis {
    /// An axis on which all of these values fit, with a margin.
    pub fn over(values_ns: impl Iterator<Item = u64>) -> Self {
        let (mut min, mut max) = (f64::INFINITY, 0f64);
        for ns in values_ns.map(|ns| ns as f64) {
            min = min.min(ns);
            max = max.max(ns);
        }
        if max / min.max(1.0) > 10.0 {
            let high_ns = max * 1.15;
            return Self {
                low_ns: logarithmic_low_ns(min.max(1.0), high_ns),
                high_ns,
                logarithmic: true,
            };
        }
        // At least 1 %, because a single value needs some room, too, and because labels of a narrower range
        // would have too many digits.
        let margin = ((max - min) * 0.06).max(max * 0.01).max(1.0);
        let low_ns = (min.min(max) - margin).max(0.0);
        Self {
            low_ns,
            high_ns: max + margin,
            logarithmic: false,
        }
    }

    /// The latency, limited to the range of the axis: a logarithmic axis has no 0.
    pub fn drawable(&self, ns: f64) -> f64 {
        ns.clamp(self.low_ns, self.high_ns)
    }

    /// The position of a latency, from 0 at the low end to 1 at the high end.
    pub fn position(&self, ns: f64) -> f64 {
        let (low, high, ns) = (self.low_ns, self.high_ns, self.drawable(ns));
        if self.logarithmic {
            (ns / low).ln() / (high / low).ln()
        } else {
            (ns - low) / (high - low)
        }
    }

    /// The latency at a position.
    pub fn at_ns(&self, position: f64) -> f64 {
        let (low, high) = (self.low_ns, self.high_ns);
        if self.logarithmic {
            low * (high / low).powf(position)
        } else {
            low + (high - low) * position
        }
    }

    /// About `count` round latencies.
    pub fn ticks_ns(&self, count: usize) -> Vec<f64> {
        if self.logarithmic {
            generate_ticks_log(self.low_ns, self.high_ns)
        } else {
            generate_ticks(self.low_ns, self.high_ns, count)
        }
    }

    /// The label of a tick. On a linear axis all labels have the same unit, and enough digits to differ.
    pub fn label(&self, ns: f64) -> String {
        let (unit_ns, unit) = unit(if self.logarithmic { ns } else { self.high_ns });
        let span = (self.high_ns - self.low_ns) / unit_ns;
        let decimals = if self.logarithmic {
            0.0
        } else {
            (1.5 - span.log10()).ceil()
        };
        let number = format!("{:.*}", decimals.clamp(0.0, 12.0) as usize, ns / unit_ns);
        let number = match number.contains('.') {
            true => number.trim_end_matches('0').trim_end_matches('.'),
            false => &number,
        };
        format!("{number} {unit}")
    }

    /// A label for axes with little room: if there are many decades, only every third has a label.
    pub fn sparse_label(&self, ns: f64) -> String {
        let decades = (self.high_ns / self.low_ns.max(1.0)).log10();
        let decade = ns.log10().round() as usize;
        let is_omitted = self.logarithmic && decades > 8.0 && !decade.is_multiple_of(3);
        if is_omitted {
            String::new()
        } else {
            self.label(ns)
        }
    }
}

/// The low end of a logarithmic axis: a margin below the smallest value, or lower, so that there is a tick at
/// or below that value. Most values of a fast phase are close to it; otherwise they would lie left of all
/// ticks.
fn logarithmic_low_ns(min_ns: f64, high_ns: f64) -> f64 {
    let with_margin = min_ns / 1.15;
    let decade = 10f64.powf(with_margin.log10().floor());
    let ticks = generate_ticks_log(decade, high_ns).into_iter();
    let last = ticks.take_while(|&tick| tick <= min_ns).last();
    last.map_or(with_margin, |tick| tick.min(with_margin))
}

/// The unit for a latency. A rounding error must not turn 1 ms into 1000 µs.
fn unit(ns: f64) -> (f64, &'static str) {
    match ns * (1.0 + 1e-9) {
        ns if ns < 1e3 => (1.0, "ns"),
        ns if ns < 1e6 => (1e3, "µs"),
        ns if ns < 1e9 => (1e6, "ms"),
        _ => (1e9, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values_ns: &[u64]) -> Vec<String> {
        let axis = LatencyAxis::over(values_ns.iter().copied());
        axis.ticks_ns(5)
            .into_iter()
            .map(|ns| axis.label(ns))
            .collect()
    }

    #[test]
    fn a_wide_range_is_logarithmic() {
        assert_eq!(
            labels(&[9_000, 150_000]),
            ["5 µs", "10 µs", "20 µs", "50 µs", "100 µs"]
        );
        let decades = labels(&[1, 3_600_000_000_000]);
        assert_eq!(decades.len(), 13);
        assert_eq!(
            (&*decades[0], &*decades[3], &*decades[12]),
            ("1 ns", "1 µs", "1000 s")
        );
    }

    #[test]
    fn no_value_lies_left_of_all_ticks() {
        for min in [1, 2, 9, 10, 11, 950, 1_000, 1_040, 1_200, 9_999, 47_000] {
            for max in [11 * min, 700 * min, 1_000_000 * min] {
                let axis = LatencyAxis::over([min, max].into_iter());
                let first = axis.ticks_ns(5)[0];
                assert!(first <= min as f64, "{min} to {max}: {first}");
                // Less than a decade is left empty.
                assert!(
                    axis.low_ns * 10.0 > min as f64 * 0.99,
                    "{min} to {max}: {axis:?}"
                );
            }
        }
    }

    #[test]
    fn a_narrow_range_is_linear_and_in_one_unit() {
        assert_eq!(labels(&[800_000, 1_200_000])[..2], ["0.8 ms", "0.9 ms"]);
        let close = labels(&[1_000_000_000, 1_000_000_004]);
        assert_eq!(close, ["0.99 s", "0.995 s", "1 s", "1.005 s", "1.01 s"]);
    }

    #[test]
    fn nothing_zero_and_one_value_have_an_axis() {
        for values in [&[][..], &[0], &[1], &[0, 0], &[1 << 40], &[u64::MAX]] {
            let axis = LatencyAxis::over(values.iter().copied());
            assert!(axis.low_ns < axis.high_ns, "{values:?}: {axis:?}");
            assert!(
                axis.ticks_ns(5).len() >= 2,
                "{values:?}: {:?}",
                axis.ticks_ns(5)
            );
        }
    }

    #[test]
    fn position_and_latency_are_inverse() {
        for values in [[0, 5], [0, 1 << 40], [900, 1_000]] {
            let axis = LatencyAxis::over(values.into_iter());
            for position in [0.0, 0.25, 1.0] {
                assert!((axis.position(axis.at_ns(position)) - position).abs() < 1e-9);
            }
        }
        let axis = LatencyAxis {
            low_ns: 1e3,
            high_ns: 1e9,
            logarithmic: true,
        };
        assert!((axis.position(1e6) - 0.5).abs() < 1e-9);
        assert_eq!(axis.position(0.0), 0.0);
    }
}
