//! `ringmill merge`.

use super::arguments::MergeArguments;
use super::forms::Forms;
use super::outcome::Outcome;
use super::outputs::{self, Input, Output};
use super::setup_error::SetupError;
use super::signals::Signals;
use crate::stats::hlog::{self, IntervalLog};
use crate::stats::{Series, document};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

pub(super) fn merge(arguments: &MergeArguments) -> Outcome {
    match try_merge(arguments) {
        Ok(()) => Outcome::AllWell,
        Err(error) => {
            error.report();
            Outcome::RunFailed
        }
    }
}

fn try_merge(arguments: &MergeArguments) -> Result<(), SetupError> {
    let (series, span) = read_all(&arguments.logs)?;
    let wanted = &arguments.forms;
    let signals = Signals::register()?;
    let phases: Vec<&str> = series.iter().map(|one| &*one.name).collect();
    let mut forms = Forms::of_merge(wanted, &phases, &signals)?;
    let shows_table = wanted.latency || !wanted.need_phases();
    let mut table = shows_table.then(|| Output::stream("", None, "the table"));
    let mut written: Vec<_> = table.iter_mut().chain(forms.outputs()).collect();
    let logs = arguments.logs.iter();
    let inputs: Vec<Input> = logs.map(|log| Input::Measurements(log)).collect();
    outputs::open(&mut written, &inputs)?;
    if let Some(table) = &mut table {
        table.put(forms.table(&series).as_bytes())?;
    }
    if let Some(output) = &mut forms.hlog {
        output.put(&log_of(&series, span))?;
    }
    let names = arguments.logs.iter().map(|log| log.display().to_string());
    let names: Vec<String> = names.collect();
    forms.write_stats(|form| document::of_merge(&names, &series, form))?;
    forms.write_hgrm(&series)
}

/// The merged series of all logs, and the time span of the longest log: shards run in parallel.
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

fn log_of(series: &[Series], span: Duration) -> Vec<u8> {
    let mut bytes = Vec::new();
    IntervalLog::begin(&mut bytes, SystemTime::now())
        .and_then(|mut log| log.interval(series, span))
        .expect("writing to memory cannot fail");
    bytes
}
