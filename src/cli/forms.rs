//! The forms in which latencies are given: a table, JSON, an interval log, distributions.

use super::output::Output;
use super::setup_error::SetupError;
use crate::stats::document::Form;
use crate::stats::{PERCENTILES, Series, hgrm, table};
use clap::builder::TypedValueParser;
use clap::{ArgGroup, Args};
use serde_json::Value;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What is to be made of latencies; the same for runs and for logs of earlier runs.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("percentile_forms").args(["latency", "stats"]).multiple(true))]
pub(super) struct FormArguments {
    /// Print a table of percentiles, a line for each phase of the items' time.
    #[arg(long, help_heading = "Measurements")]
    pub(super) latency: bool,

    /// The percentiles of --latency and --stats
    /// [default: 50,90,95,99,99.9,99.99].
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = percentile(),
        requires = "percentile_forms",
        help_heading = "Measurements"
    )]
    pub(super) percentiles: Option<Vec<f64>>,

    /// Write everything that is known as one JSON document. `ringmill --generate stats-schema` prints
    /// its JSON Schema.
    #[arg(long, value_name = "FILE", help_heading = "Measurements")]
    pub(super) stats: Option<PathBuf>,

    /// Put the histograms' buckets into --stats.
    #[arg(long, requires = "stats", help_heading = "Measurements")]
    pub(super) bins: bool,

    /// Write an HdrHistogram interval log, with a tag for each phase.
    #[arg(long, value_name = "FILE", help_heading = "Measurements")]
    pub(super) hlog: Option<PathBuf>,

    /// Write percentile distributions for HdrHistogram's plotter, one file for each phase:
    /// `run.hgrm` becomes `run.read.hgrm` and so on. Values are in microseconds.
    #[arg(long, value_name = "FILE", help_heading = "Measurements")]
    pub(super) hgrm: Option<PathBuf>,

    /// Write only the distribution of this phase, into the very FILE of --hgrm.
    #[arg(
        long,
        value_name = "PHASE",
        requires = "hgrm",
        help_heading = "Measurements"
    )]
    pub(super) hgrm_phase: Option<String>,
}

/// From 0 to 100.
fn percentile() -> impl TypedValueParser<Value = f64> {
    clap::builder::StringValueParser::new().try_map(|text| match text.trim().parse() {
        Ok(percentile) if (0.0..=100.0).contains(&percentile) => Ok(percentile),
        _ => Err("a percentile is a number from 0 to 100"),
    })
}

impl FormArguments {
    /// True if anything is asked for that takes all phases.
    pub(super) fn need_phases(&self) -> bool {
        self.latency || self.stats.is_some() || self.hlog.is_some() || self.hgrm.is_some()
    }

    /// Descriptors that the files take during a run.
    pub(super) fn descriptors(&self) -> usize {
        usize::from(self.stats.is_some()) + usize::from(self.hlog.is_some())
    }
}

/// The forms that are written at the end.
pub(super) struct Forms {
    form: Form,
    stats: Option<Output>,
    hgrm: Option<PathBuf>,
    hgrm_phase: Option<String>,
}

impl Forms {
    /// Opens, and so empties, the files. A long run should not end with a file that cannot be
    /// written.
    pub(super) fn open(arguments: &FormArguments) -> Result<Self, SetupError> {
        let percentiles = arguments.percentiles.clone();
        let stats = arguments.stats.as_deref();
        Ok(Self {
            form: Form {
                percentiles: percentiles.unwrap_or_else(|| PERCENTILES.to_vec()),
                bins: arguments.bins,
            },
            stats: stats.map(|path| Output::open(Some(path))).transpose()?,
            hgrm: arguments.hgrm.clone(),
            hgrm_phase: arguments.hgrm_phase.clone(),
        })
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    pub(super) fn table(&self, series: &[Series]) -> String {
        table(series, &self.form.percentiles)
    }

    /// Writes the document, if it is asked for.
    pub(super) fn write_stats(
        &mut self,
        document: impl FnOnce(&Form) -> Value,
    ) -> Result<(), SetupError> {
        let Some(output) = &mut self.stats else {
            return Ok(());
        };
        let mut text = serde_json::to_vec_pretty(&document(&self.form)).expect("plain data");
        text.push(b'\n');
        let written = output.write_all(&text);
        written.map_err(|error| SetupError::io(&output.name, "write", &error))
    }

    /// Writes the distributions, if they are asked for.
    pub(super) fn write_hgrm(&self, series: &[Series]) -> Result<(), SetupError> {
        let Some(path) = &self.hgrm else {
            return Ok(());
        };
        let Some(phase) = &self.hgrm_phase else {
            return series
                .iter()
                .try_for_each(|one| write_one_hgrm(&with_phase(path, &one.name), one));
        };
        let Some(one) = series.iter().find(|one| one.name == *phase) else {
            return Err(SetupError {
                message: format!("--hgrm-phase {phase}: nothing was measured of that name"),
                hint: Some(format!("there is {}", names(series))),
            });
        };
        write_one_hgrm(path, one)
    }
}

fn names(series: &[Series]) -> String {
    let names: Vec<&str> = series.iter().map(|one| &*one.name).collect();
    match names.is_empty() {
        true => "none at all".to_owned(),
        false => names.join(", "),
    }
}

fn write_one_hgrm(path: &Path, series: &Series) -> Result<(), SetupError> {
    let mut output = Output::open(Some(path))?;
    let name = output.name.clone();
    let mut buffered = BufWriter::new(&mut output);
    let written: io::Result<()> =
        hgrm::write(&mut buffered, &series.histogram).and_then(|()| buffered.flush());
    written.map_err(|error| SetupError::io(&name, "write", &error))
}

/// `run.hgrm` and `read` make `run.read.hgrm`.
fn with_phase(path: &Path, phase: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(phase);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_goes_before_the_extension() {
        let named = |path: &str| with_phase(Path::new(path), "read");
        assert_eq!(named("a/run.hgrm"), Path::new("a/run.read.hgrm"));
        assert_eq!(named("a.b/run"), Path::new("a.b/run.read"));
    }
}
