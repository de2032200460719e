//! The two diagrams of a phase.

use super::frame::{Axis, FormatTick, Frame, NOTE_SIZE, PLOT_WIDTH, TITLE_SIZE, message};
use super::text::label;
use crate::plot::phases::Phase;
use crate::plot::shares::shares;
use crate::plot::spectrum::{median_nines, percentile_label};
use crate::plot::{Distribution, Run};
use kuva::render::render::Scene;
use std::sync::Arc;

const NAME_WIDTH_MAX: f64 = 220.0;
const BINS: usize = 80;
/// The minimum distance of the median from the start of the axis that leaves room for the label of 0 %.
const MEDIAN_X_MIN: f64 = 28.0;

/// The percentile spectrum: latency on the vertical axis, percentiles on the horizontal axis.
pub(super) fn spectrum(phase: &Phase) -> Scene {
    let title = title(phase, "latency by percentile");
    if phase.series.is_empty() {
        return message(title, "no values");
    }
    let axis = phase.axis;
    let median_x = median_nines() / phase.nines_max * PLOT_WIDTH;
    let is_crowded = median_x < MEDIAN_X_MIN;
    let x = Axis {
        label: "percentile",
        low: 0.0,
        high: phase.nines_max,
        logarithmic: false,
        format_tick: Arc::new(move |nines: f64| match nines.round() as usize {
            0 if is_crowded => String::new(),
            nines => percentile_label(nines),
        }),
    };
    let y = latency_axis(phase, Arc::new(move |ns| axis.label(ns)));
    let mut frame = Frame::new(title, None, &x, &y, Some(1.0));
    frame.x_tick(median_nines(), "50 %");
    for series in &phase.series {
        let points = series.spectrum.iter();
        let points = points.map(|point| (point.nines, axis.drawable(point.ns as f64)));
        let points: Vec<(f64, f64)> = points.collect();
        frame.line(series.run, &points);
        if matches!(series.latencies, Distribution::Percentiles(_)) {
            // Only the values at the dots are known, not the line between them.
            frame.dots(series.run, &points);
        }
    }
    frame.scene
}

/// The histogram: share of values on the vertical axis, latency on the horizontal axis.
pub(super) fn histogram(phase: &Phase, runs: &[Run]) -> Scene {
    let axis = phase.axis;
    let mut outlines = Vec::new();
    let mut without_buckets = Vec::new();
    for series in &phase.series {
        match series.latencies {
            Distribution::Buckets(histogram) => {
                let outline = outline(&shares(histogram, &axis, BINS)).into_iter();
                let outline = outline.map(|(position, share)| (axis.at_ns(position), share));
                outlines.push((series.run, outline.collect::<Vec<_>>()));
            }
            Distribution::Percentiles(_) => without_buckets.push(runs[series.run].label.as_str()),
        }
    }
    let title = title(phase, "histogram");
    let lacking = "no buckets (hint: --bins)";
    match (outlines.is_empty(), without_buckets.is_empty()) {
        (true, true) => return message(title, "no values"),
        (true, false) => return message(title, lacking),
        (false, _) => (),
    }
    let note = format!("{lacking}: {}", without_buckets.join(", "));
    let note = (!without_buckets.is_empty()).then(|| label(&note, PLOT_WIDTH, NOTE_SIZE));
    let share_max = outlines
        .iter()
        .flat_map(|run| &run.1)
        .map(|corner| corner.1)
        .fold(0.0, f64::max);
    let x = latency_axis(phase, Arc::new(move |ns| axis.sparse_label(ns)));
    let y = Axis {
        label: "share of values",
        low: 0.0,
        high: share_max * 1.06,
        logarithmic: false,
        format_tick: Arc::new(|share| format!("{} %", (share * 1e4).round() / 1e2)),
    };
    let mut frame = Frame::new(title, note, &x, &y, None);
    let opacity = (0.5 / outlines.len() as f64).clamp(0.03, 0.18);
    for (run, outline) in &outlines {
        frame.area(*run, outline, opacity);
    }
    for (run, outline) in &outlines {
        frame.line(*run, outline);
    }
    frame.scene
}

fn title(phase: &Phase, what: &str) -> String {
    format!("{}: {what}", label(phase.name, NAME_WIDTH_MAX, TITLE_SIZE))
}

fn latency_axis(phase: &Phase, format_tick: FormatTick) -> Axis {
    let (low, high) = (phase.axis.low_ns, phase.axis.high_ns);
    Axis {
        label: "latency",
        low,
        high,
        logarithmic: phase.axis.logarithmic,
        format_tick,
    }
}

/// The corners of the bars by position on the axis, from the first to the last bar that is not empty.
/// Otherwise the baselines of all runs would be drawn over each other.
fn outline(shares: &[f64]) -> Vec<(f64, f64)> {
    let filled = |share: &f64| *share > 0.0;
    let first = shares.iter().position(filled).unwrap_or(0);
    let end = shares
        .iter()
        .rposition(filled)
        .map_or(first, |last| last + 1);
    let position = |bin: usize| bin as f64 / shares.len() as f64;
    let mut corners = vec![(position(first), 0.0)];
    for (bin, &share) in shares.iter().enumerate().take(end).skip(first) {
        corners.extend([(position(bin), share), (position(bin + 1), share)]);
    }
    corners.push((position(end), 0.0));
    corners
}
