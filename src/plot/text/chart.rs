//! The two diagrams of a phase.

use crate::plot::Distribution;
use crate::plot::phases::{Phase, Series};
use crate::plot::shares::shares;
use crate::plot::spectrum::{Point, median_nines, percentile_label};
use crate::plot::style::mark;
use unicode_width::UnicodeWidthStr;

const SPECTRUM_ROWS: usize = 12;
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Room for a mark and a share, such as "a  12.3 %".
const HISTOGRAM_GUTTER: usize = 9;
/// The height of each histogram for one run, for two runs and so on; for more runs it is 1.
const HISTOGRAM_ROWS: [usize; 4] = [6, 6, 3, 2];

/// The minimum distance of the median from the start of the axis that leaves room for the label of 0 %.
const MEDIAN_COLUMN_MIN: f64 = 7.0;

/// The marks of the runs that pass through a cell.
type Cell = String;

/// The percentile spectrum: latency on the vertical axis, percentiles on the horizontal axis. A run is drawn
/// with its mark.
pub(super) fn spectrum(phase: &Phase, width: usize) -> Vec<String> {
    let labels = latency_labels(phase);
    let label_width = labels
        .iter()
        .flatten()
        .map(|label| label.width())
        .max()
        .unwrap_or(0);
    let gutter = label_width + 1;
    let columns = width - gutter - 1;
    let mut cells = vec![vec![Cell::new(); columns]; SPECTRUM_ROWS];
    for series in &phase.series {
        draw_curve(phase, series, &mut cells);
    }
    let mut lines = Vec::new();
    for (row, label) in labels.iter().enumerate() {
        let tick = if label.is_some() { '┤' } else { '│' };
        let label = label.as_deref().unwrap_or("");
        let cells: String = cells[row].iter().enumerate().map(letter).collect();
        let indent = " ".repeat(label_width - label.width());
        lines.push(format!("{indent}{label} {tick}{cells}"));
    }
    lines.extend(axis(gutter, columns, percentile_ticks(phase, columns)));
    lines
}

/// Ticks at whole numbers of nines and at the median. If there is no room for both, 0 % has no label.
fn percentile_ticks(phase: &Phase, columns: usize) -> impl Iterator<Item = (f64, String)> {
    let tick = |nines: f64, label| (nines / phase.nines_max, label);
    let median = tick(median_nines(), "50 %".to_owned());
    let zero = match median.0 * columns as f64 {
        column if column < MEDIAN_COLUMN_MIN => String::new(),
        _ => percentile_label(0),
    };
    let last = phase.nines_max.floor() as usize;
    let nines = (1..=last).map(move |nines| tick(nines as f64, percentile_label(nines)));
    [tick(0.0, zero), median].into_iter().chain(nines)
}

/// If several runs pass through a cell, their marks alternate from column to column.
fn letter((column, cell): (usize, &Cell)) -> char {
    cell.chars().nth(column % cell.len().max(1)).unwrap_or(' ')
}

/// The labels to the left of the rows.
fn latency_labels(phase: &Phase) -> [Option<String>; SPECTRUM_ROWS] {
    let mut labels = [const { None }; SPECTRUM_ROWS];
    for ns in phase.axis.ticks_ns(4) {
        let label = phase.axis.sparse_label(ns);
        if !label.is_empty() {
            labels[row_of(phase.axis.position(ns))].get_or_insert(label);
        }
    }
    labels
}

fn row_of(position: f64) -> usize {
    ((1.0 - position) * (SPECTRUM_ROWS - 1) as f64).round() as usize
}

/// Each segment between two vertices fills, in each column it crosses, all rows it crosses there, so that a
/// steep rise stays connected.
fn draw_curve(phase: &Phase, series: &Series, cells: &mut [Vec<Cell>]) {
    let columns = cells[0].len();
    let mark = mark(series.run);
    let place = |point: &Point| {
        let x = point.nines / phase.nines_max * columns as f64;
        (x, phase.axis.position(point.ns as f64))
    };
    for pair in series.spectrum.windows(2) {
        let ((x0, y0), (x1, y1)) = (place(&pair[0]), place(&pair[1]));
        let slope = if x1 > x0 { (y1 - y0) / (x1 - x0) } else { 0.0 };
        let last = (x1 as usize).min(columns - 1);
        for column in (x0 as usize).min(last)..=last {
            let (left, right) = (column as f64, column as f64 + 1.0);
            let enters = if left <= x0 {
                y0
            } else {
                y0 + slope * (left - x0)
            };
            let leaves = if right >= x1 {
                y1
            } else {
                y0 + slope * (right - x0)
            };
            let (a, b) = (row_of(enters), row_of(leaves));
            for row in &mut cells[a.min(b)..=a.max(b)] {
                if !row[column].ends_with(mark) {
                    row[column].push(mark);
                }
            }
        }
    }
}

/// The histograms of all runs over one latency axis, each scaled to its own peak.
pub(super) fn histograms(phase: &Phase, width: usize) -> Vec<String> {
    let columns = width - HISTOGRAM_GUTTER - 1;
    let height = HISTOGRAM_ROWS
        .get(phase.series.len() - 1)
        .copied()
        .unwrap_or(1);
    let mut lines = Vec::new();
    let mut any_drawn = false;
    for series in &phase.series {
        let mark = mark(series.run);
        if let Distribution::Buckets(histogram) = series.latencies {
            let shares = shares(histogram, &phase.axis, columns);
            lines.extend(bars(mark, &shares, height));
            any_drawn = true;
        } else {
            lines.push(format!("{mark} no buckets (hint: --bins)"));
        }
    }
    if any_drawn {
        let ticks = phase.axis.ticks_ns(5).into_iter();
        let ticks = ticks.map(|ns| (phase.axis.position(ns), phase.axis.sparse_label(ns)));
        lines.extend(axis(HISTOGRAM_GUTTER, columns, ticks));
    }
    lines
}

/// One run's histogram, with its mark at the foot and its highest share at the top.
fn bars(mark: char, shares: &[f64], height: usize) -> Vec<String> {
    let peak = shares.iter().copied().fold(0.0, f64::max);
    let row = |row: usize| {
        let mark = if row == 0 { mark } else { ' ' };
        let percent = format!("{:.1} %", peak * 100.0);
        let percent = if row == height - 1 { &percent } else { "" };
        let bars: String = shares
            .iter()
            .map(|share| bar(share / peak, row, height))
            .collect();
        format!("{mark}{percent:>8}│{bars}")
    };
    (0..height).rev().map(row).collect()
}

/// The part of a bar that is in a row. Even the smallest share is visible.
fn bar(share_of_peak: f64, row: usize, height: usize) -> char {
    let steps = BARS.len() - 1;
    let filled = (share_of_peak * (height * steps) as f64).round() as usize;
    let filled = filled.max(usize::from(share_of_peak > 0.0));
    BARS[filled.saturating_sub(row * steps).min(steps)]
}

/// A horizontal axis, and a line with the labels that fit.
fn axis(gutter: usize, columns: usize, ticks: impl Iterator<Item = (f64, String)>) -> [String; 2] {
    let mut line = vec!['─'; columns];
    let mut labels = String::new();
    for (position, label) in ticks {
        let column = ((position * columns as f64) as usize).min(columns - 1);
        line[column] = '┬';
        let (start, end) = (gutter + 1 + column, gutter + 1 + columns);
        let start = start.saturating_sub(label.width() / 2).max(gutter + 1);
        let start = start.min(end.saturating_sub(label.width()));
        let taken = labels.width();
        if !label.is_empty() && (taken == 0 || start > taken + 1) {
            labels += &" ".repeat(start - taken);
            labels += &label;
        }
    }
    let line: String = line.into_iter().collect();
    [format!("{}└{line}", " ".repeat(gutter)), labels]
}
