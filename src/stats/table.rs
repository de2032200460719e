//! Percentiles as a table for people.

use super::Series;
use super::units::HumanTime;
use hdrhistogram::Histogram;
use indicatif::HumanCount;

/// The percentiles shown by default.
pub const PERCENTILES: [f64; 6] = [50.0, 90.0, 95.0, 99.0, 99.9, 99.99];

/// A line for each series: its count, mean, these percentiles (0 to 100) and its maximum.
#[must_use]
pub fn table(series: &[Series], percentiles: &[f64]) -> String {
    let mut rows = vec![header(percentiles)];
    rows.extend(series.iter().map(|one| row(one, percentiles)));
    let mut text = columns(&rows);
    for one in series.iter().filter(|one| one.out_of_range > 0) {
        text += &format!(
            "{}: {} of them longer than 1 h, which no percentile counts\n",
            one.name,
            HumanCount(one.out_of_range)
        );
    }
    text
}

/// Formats rows with equal numbers of cells: the first column aligned left, the others right.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> String {
    let columns = rows[0].len();
    let width_of = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width_of).collect();
    let mut text = String::new();
    for row in rows {
        let name = format!("{:<width$}", row[0], width = widths[0]);
        let cells = row.iter().zip(&widths).skip(1);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:>width$}"))
            .collect();
        text += &format!("{name}  {}\n", cells.join("  "));
    }
    text
}

fn header(percentiles: &[f64]) -> Vec<String> {
    let mut header = vec!["phase".to_owned(), "count".to_owned(), "mean".to_owned()];
    header.extend(
        percentiles
            .iter()
            .map(|percentile| format!("p{percentile}")),
    );
    header.push("max".to_owned());
    header
}

fn row(series: &Series, percentiles: &[f64]) -> Vec<String> {
    let histogram = &series.histogram;
    let mut row = vec![
        series.name.clone(),
        HumanCount(series.count()).to_string(),
        HumanTime(mean_ns(histogram)).to_string(),
    ];
    let values = percentiles
        .iter()
        .map(|&percentile| histogram.value_at_percentile(percentile));
    row.extend(values.map(|ns| HumanTime(ns).to_string()));
    row.push(HumanTime(histogram.max()).to_string());
    row
}

/// The mean, rounded to nanoseconds.
#[must_use]
pub fn mean_ns(histogram: &Histogram<u64>) -> u64 {
    // It is within the histogram's range.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let mean_ns = histogram.mean().round() as u64;
    mean_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut open = Series::new("open");
        for ns in 1..=1000 {
            open.histogram.record(ns).unwrap();
        }
        let mut read = Series::new("read");
        read.histogram.record(2_500_000_000).unwrap();
        read.out_of_range = 2;
        let expected = "\
phase  count    mean     p50   p99.5      max
open   1,000  501 ns  500 ns  995 ns  1.00 µs
read       3  2.50 s  2.50 s  2.50 s   2.50 s
read: 2 of them longer than 1 h, which no percentile counts
";
        assert_eq!(table(&[open, read], &[50.0, 99.5]), expected);
    }
}
