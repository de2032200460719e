//! The table of percentiles.

use crate::plot::Distribution;
use crate::plot::phases::Phase;
use crate::plot::style::mark;
use crate::stats::HumanTime;
use unicode_width::UnicodeWidthStr;

/// Selects a latency in nanoseconds from a distribution, if it is known.
type Pick = fn(&Distribution) -> Option<u64>;

/// A column: its heading, its priority (the column with 0 is dropped last), and its content.
const COLUMNS: [(&str, usize, Pick); 7] = [
    ("min", 6, |latencies| Some(latencies.min_ns())),
    ("50 %", 0, |latencies| latencies.at_percentile_ns(50.0)),
    ("90 %", 3, |latencies| latencies.at_percentile_ns(90.0)),
    ("99 %", 1, |latencies| latencies.at_percentile_ns(99.0)),
    ("99.9 %", 4, |latencies| latencies.at_percentile_ns(99.9)),
    ("99.99 %", 5, |latencies| latencies.at_percentile_ns(99.99)),
    ("max", 2, |latencies| Some(latencies.max_ns())),
];

/// A line for each run, with as many columns as fit.
pub(super) fn percentiles(phase: &Phase, width: usize) -> Vec<String> {
    let columns = COLUMNS.map(|(heading, _, pick)| {
        let values = phase.series.iter().map(|series| pick(series.latencies));
        let values = values.map(|ns| ns.map_or("-".to_owned(), |ns| HumanTime(ns).to_string()));
        [heading.to_owned()]
            .into_iter()
            .chain(values)
            .collect::<Vec<_>>()
    });
    let widths = columns
        .each_ref()
        .map(|cells| 2 + cells.iter().map(|cell| cell.width()).max().unwrap_or(0));
    let mut shown = [false; COLUMNS.len()];
    let mut room = width - 1;
    for turn in 0..COLUMNS.len() {
        let column = COLUMNS
            .iter()
            .position(|column| column.1 == turn)
            .expect("a permutation");
        let Some(rest) = room.checked_sub(widths[column]) else {
            break;
        };
        (shown[column], room) = (true, rest);
    }
    let marks = [' ']
        .into_iter()
        .chain(phase.series.iter().map(|series| mark(series.run)));
    marks
        .enumerate()
        .map(|(row, mark)| {
            let mut line = mark.to_string();
            for column in (0..COLUMNS.len()).filter(|&column| shown[column]) {
                line += &format!("{:>1$}", columns[column][row], widths[column]);
            }
            line
        })
        .collect()
}
