//! `ringmill merge`.

use super::Outcome;
use super::arguments::MergeArguments;
use super::forms::Forms;
use super::output::Output;
use super::setup_error::SetupError;
use crate::stats::hlog::{self, IntervalLog};
use crate::stats::{Series, document};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

pub(super) fn merge(arguments: &MergeArguments) -> Outcome {
    match try_merge(arguments) {
        Ok(()) => Outcome::AllWell,
        Err(error) => {
            error.tell();
            Outcome::Unusable
        }
    }
}

fn try_merge(arguments: &MergeArguments) -> Result<(), SetupError> {
    let (series, span) = read_all(&arguments.logs)?;
    let forms = &arguments.forms;
    // Only now: one of them may be among the logs.
    let mut written = Forms::open(forms)?;
    if forms.latency || !forms.need_phases() {
        print(&written.table(&series))?;
    }
    if let Some(path) = &forms.hlog {
        write_log(path, &series, span)?;
    }
    let names = arguments.logs.iter().map(|log| log.display().to_string());
    let names: Vec<String> = names.collect();
    written.write_stats(|form| document::of_merge(&names, &series, form))?;
    written.write_hgrm(&series)
}

/// The series of all logs, and the length of the longest: shards run side by side.
fn read_all(logs: &[impl AsRef<Path>]) -> Result<(Vec<Series>, Duration), SetupError> {
    let mut merged: Vec<Series> = Vec::new();
    let mut span = Duration::ZERO;
    for log in logs {
        let log = log.as_ref();
        let name = log.display().to_string();
        let bytes = fs::read(log).map_err(|error| SetupError::io(&name, "read", &error))?;
        let content = hlog::read(&bytes)
            .map_err(|error| SetupError::new(format!("{name}: cannot read: {error}")))?;
        span = span.max(content.span);
        for series in content.series {
            match merged.iter_mut().find(|one| one.name == series.name) {
                Some(known) => {
                    known.add(&series.histogram);
                    known.add_out_of_range(series.out_of_range);
                }
                None => merged.push(series),
            }
        }
    }
    Ok((merged, span))
}

fn write_log(path: &Path, series: &[Series], span: Duration) -> Result<(), SetupError> {
    let output = Output::open(Some(path))?;
    let name = output.name.clone();
    IntervalLog::begin(output, SystemTime::now())
        .and_then(|mut log| log.interval(series, span))
        .map_err(|error| SetupError::io(&name, "write", &error))
}

fn print(text: &str) -> Result<(), SetupError> {
    let mut output = Output::open(None)?;
    match output.write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(SetupError::io(&output.name, "write", &error))
        }
        _ => Ok(()),
    }
}
