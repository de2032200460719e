//! `ringmill plot`.

use super::arguments::PlotArguments;
use super::outcome::Outcome;
use super::outputs::{self, Input, Output};
use super::setup_error::SetupError;
use super::signals::Signals;
use crate::plot::{self, Distribution, Percentiles, Run};
use crate::sink::messages;
use crate::stats::document::Content;
use crate::stats::{document, hlog};
use rustix::termios::tcgetwinsize;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The width if standard output is not a terminal.
const WIDTH_DEFAULT: usize = 100;

pub(super) fn plot(arguments: &PlotArguments) -> Outcome {
    match try_plot(arguments) {
        Ok(()) => Outcome::AllWell,
        Err(error) => {
            error.report();
            Outcome::RunFailed
        }
    }
}

fn try_plot(arguments: &PlotArguments) -> Result<(), SetupError> {
    let labels = labels(&arguments.files);
    let runs = arguments.files.iter().zip(labels);
    let runs = runs.map(|(file, label)| read(file, label));
    let runs = runs.collect::<Result<Vec<Run>, SetupError>>()?;
    report_empty(&arguments.files, &runs)?;
    let drawn = if arguments.text {
        plot::text(&runs, width())
    } else {
        plot::svg(&runs)
    };
    let signals = Signals::register()?;
    let mut output = Output::document("-o", arguments.output.as_deref(), "the picture", &signals);
    let files = arguments.files.iter();
    let inputs: Vec<Input> = files.map(|file| Input::Measurements(file)).collect();
    outputs::open(&mut [&mut output], &inputs)?;
    output.put(drawn.as_bytes())
}

/// Reports files without latencies. Fails if all files are, since there is nothing to draw then.
fn report_empty(files: &[PathBuf], runs: &[Run]) -> Result<(), SetupError> {
    let files = files.iter().zip(runs).filter(|(_, run)| run.is_empty());
    let empty: Vec<String> = files.map(|(file, _)| file.display().to_string()).collect();
    if empty.len() == runs.len() {
        let message = format!("nothing to draw: no latencies in {}", empty.join(", "));
        return Err(SetupError::new(message));
    }
    for file in empty {
        messages::about_run(&format_args!("{file}: no latencies in it"));
    }
    Ok(())
}

/// The labels of the runs: the names of their files without extensions or, if these are not all
/// different, their paths.
fn labels(files: &[PathBuf]) -> Vec<String> {
    let stem = |file: &PathBuf| file.file_stem().unwrap_or_default().to_owned();
    let stems: HashSet<OsString> = files.iter().map(stem).collect();
    let all_differ = stems.len() == files.len();
    let label = |file: &PathBuf| match all_differ {
        true => stem(file).to_string_lossy().into_owned(),
        false => file.display().to_string(),
    };
    files.iter().map(label).collect()
}

/// Reads a file of either kind: a JSON document begins with a brace, an interval log never does.
fn read(path: &Path, label: String) -> Result<Run, SetupError> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| SetupError::io(&name, "read", &error))?;
    let unreadable = |cause: String| SetupError::new(format!("{name}: cannot read: {cause}"));
    let phases = if bytes.trim_ascii_start().starts_with(b"{") {
        let phases = document::read(&bytes).map_err(|error| unreadable(error.to_string()))?;
        phases.into_iter().map(of_document).collect()
    } else {
        let content = hlog::read(&bytes).map_err(|error| unreadable(error.to_string()))?;
        let series = content.series.into_iter();
        series
            .map(|one| (one.name, Distribution::Buckets(one.histogram)))
            .collect()
    };
    Ok(Run { label, phases })
}

fn of_document(phase: Content) -> (String, Distribution) {
    let latencies = match phase.histogram {
        Some(histogram) => Distribution::Buckets(histogram),
        None => Distribution::Percentiles(Percentiles {
            count: phase.count,
            min_ns: phase.min_ns,
            max_ns: phase.max_ns,
            points: phase.percentiles_ns,
        }),
    };
    (phase.name, latencies)
}

fn width() -> usize {
    let size = tcgetwinsize(io::stdout()).ok();
    let columns = size.map(|size| usize::from(size.ws_col));
    columns
        .filter(|&columns| columns > 0)
        .unwrap_or(WIDTH_DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tell_the_runs_apart() {
        let of = |files: &[&str]| labels(&files.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["a/one.hlog", "two.json"]), ["one", "two"]);
        assert_eq!(
            of(&["a/run.hlog", "b/run.hlog"]),
            ["a/run.hlog", "b/run.hlog"]
        );
    }
}
