//! The percentile distribution as text, the input format of HdrHistogram's plotters
//! (`AbstractHistogram.outputPercentileDistribution` of the Java implementation).

use super::table::mean_ns;
use hdrhistogram::Histogram;
use std::io::{self, Write};

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Nanoseconds per unit of the values, which are written with three decimals, so nothing is lost.
const NS_PER_UNIT: f64 = 1e3;

/// Writes the distribution, its values in microseconds.
///
/// # Errors
/// If it cannot be written.
#[allow(clippy::cast_precision_loss)]
pub fn write(out: &mut impl Write, histogram: &Histogram<u64>) -> io::Result<()> {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / NS_PER_UNIT;
        let quantile = step.quantile_iterated_to();
        write!(out, "{value:12.3} {quantile:14.12} {count:10}")?;
        if quantile < 1.0 {
            write!(out, " {:14.2}", 1.0 / (1.0 - quantile))?;
        }
        writeln!(out)?;
    }
    let (mean, deviation) = (mean_ns(histogram) as f64, histogram.stdev());
    writeln!(
        out,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        mean / NS_PER_UNIT,
        deviation / NS_PER_UNIT
    )?;
    writeln!(
        out,
        "#[Max     = {:12.3}, Total count    = {:12}]",
        histogram.max() as f64 / NS_PER_UNIT,
        histogram.len()
    )?;
    writeln!(
        out,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        // As many as the significant digits need: for 3, the next power of two from 2 · 10^3.
        (2 * 10_u32.pow(u32::from(histogram.sigfig()))).next_power_of_two()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::new_histogram;

    #[test]
    fn the_lines_are_those_of_the_java_implementation() {
        let mut histogram = new_histogram();
        for us in [1, 2, 3, 4] {
            histogram.record(us * 1000).unwrap();
        }
        let mut out = Vec::new();
        write(&mut out, &histogram).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "       Value     Percentile TotalCount 1/(1-Percentile)"
        );
        assert_eq!(lines[1], "");
        assert_eq!(
            lines[2],
            "       1.000 0.000000000000          1           1.00"
        );
        assert!(
            lines.contains(&"       4.001 1.000000000000          4"),
            "{text}"
        );
        assert!(
            text.ends_with(
                "#[Mean    =        2.501, StdDeviation   =        1.118]\n\
             #[Max     =        4.001, Total count    =            4]\n\
             #[Buckets =           32, SubBuckets     =         2048]\n"
            ),
            "{text}"
        );
    }
}
