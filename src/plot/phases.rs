//! Groups the latencies of all runs by phase, as they are drawn.

use super::latency_axis::LatencyAxis;
use super::spectrum::{self, Point};
use super::{Distribution, Run};

/// A phase, with all runs that have latencies in it.
pub(super) struct Phase<'a> {
    pub name: &'a str,
    pub series: Vec<Series<'a>>,
    /// The latency axis, on which the latencies of all runs fit.
    pub axis: LatencyAxis,
    /// The end of the percentile axis, in nines (see [`spectrum`]).
    pub nines_max: f64,
}

/// The latencies of one run in a phase.
pub(super) struct Series<'a> {
    /// The index of the run, which decides its colour and mark.
    pub run: usize,
    pub latencies: &'a Distribution,
    pub spectrum: Vec<Point>,
}

/// All phases, in the order in which they first occur in the runs.
pub(super) fn phases(runs: &[Run]) -> Vec<Phase<'_>> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in runs.iter().flat_map(|run| &run.phases) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| phase(name, runs)).collect()
}

fn phase<'a>(name: &'a str, runs: &'a [Run]) -> Phase<'a> {
    let mut series = Vec::new();
    for (run, phases) in runs.iter().map(|run| &run.phases).enumerate() {
        let latencies = phases
            .iter()
            .find(|phase| phase.0 == name)
            .map(|phase| &phase.1);
        if let Some(latencies) = latencies.filter(|latencies| latencies.count() > 0) {
            series.push(Series {
                run,
                latencies,
                spectrum: spectrum::of(latencies),
            });
        }
    }
    let points = || series.iter().flat_map(|series| &series.spectrum);
    Phase {
        name,
        axis: LatencyAxis::over(points().map(|point| point.ns)),
        nines_max: points().map(|point| point.nines).fold(1.0, f64::max),
        series,
    }
}
