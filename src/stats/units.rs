//! Times and counts for people.

use std::fmt;

/// A time in nanoseconds, shown with three digits in a suitable unit: `1.23 µs`, `45.6 ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanTime(pub u64);

impl fmt::Display for HumanTime {
    #[allow(clippy::cast_precision_loss)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0;
        // A value that would be rounded up to 1000 of a unit is shown as 1 of the next unit.
        let (value, unit) = match ns {
            0..1_000 => return f.pad(&format!("{ns} ns")),
            1_000..999_500 => (ns as f64 / 1e3, "µs"),
            999_500..999_500_000 => (ns as f64 / 1e6, "ms"),
            _ => (ns as f64 / 1e9, "s"),
        };
        let decimals = match value {
            value if value < 9.995 => 2,
            value if value < 99.95 => 1,
            _ => 0,
        };
        f.pad(&format!("{value:.decimals$} {unit}"))
    }
}

/// The noun in singular or plural for a count: `1 item`, `2 items`.
#[must_use]
pub fn noun(count: u64, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_in_the_unit_that_suits() {
        let shown = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_994, "9.99 µs"),
            (9_996, "10.0 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (45_600_000, "45.6 ms"),
            (999_600_000, "1.00 s"),
            (3_600_000_000_000, "3600 s"),
        ];
        for (ns, text) in shown {
            assert_eq!(HumanTime(ns).to_string(), text);
        }
        assert_eq!(format!("{:>9}", HumanTime(1_000)), "  1.00 µs");
    }
}
