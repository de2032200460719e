//! Draws the runs for a terminal, with plain characters and without colour.

mod chart;
mod table;

use super::Run;
use super::labels::{printable, shorten};
use super::phases::{Phase, phases};
use super::style::mark;
use std::fmt::Write;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// With fewer columns, nothing is readable.
const WIDTH_MIN: usize = 40;

/// Draws the runs for a terminal of `width` columns (at least 40): a legend, and for each phase
/// its percentiles, the spectrum and the histogram. A letter stands for each run.
#[must_use]
pub fn text(runs: &[Run], width: usize) -> String {
    let width = width.max(WIDTH_MIN);
    let mut lines: Vec<String> = Vec::new();
    for (place, run) in runs.iter().enumerate() {
        let count = run.count_label();
        let label = fit(&run.label, width - 4 - count.width());
        lines.push(format!("{}  {label} {count}", mark(place)));
    }
    for phase in &phases(runs) {
        lines.push(String::new());
        draw(phase, width, &mut lines);
    }
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{}", line.trim_end()).expect("writing to a String cannot fail");
    }
    text
}

fn draw(phase: &Phase, width: usize, lines: &mut Vec<String>) {
    lines.push(fit(phase.name, width));
    if phase.series.is_empty() {
        lines.push("no values".to_owned());
        return;
    }
    lines.extend(table::percentiles(phase, width));
    lines.extend([String::new(), "latency by percentile".to_owned()]);
    lines.extend(chart::spectrum(phase, width));
    lines.extend([
        String::new(),
        "histogram, with its highest share".to_owned(),
    ]);
    lines.extend(chart::histograms(phase, width));
}

/// A label from a file, made printable and short enough for this many columns.
fn fit(label: &str, columns: usize) -> String {
    let width_of = |c: char| match c {
        // It turns the character before it into an emoji, which is wider.
        '\u{fe0f}' => 1,
        c => c.width().unwrap_or(0),
    };
    shorten(&printable(label), columns as f64, |c| width_of(c) as f64)
}
