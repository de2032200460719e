//! The output forms of latencies: a table, JSON, an interval log, percentile distributions.

use super::outputs::{self, Output};
use super::setup_error::SetupError;
use super::signals::Signals;
use crate::stats::document::Form;
use crate::stats::{PERCENTILES, Series, hgrm, table};
use clap::builder::TypedValueParser;
use clap::{ArgGroup, Args};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The forms to write; the same options for runs and for logs of earlier runs.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("percentile_forms").args(["latency", "stats"]).multiple(true))]
pub(super) struct FormArguments {
    /// Print a table of latency percentiles, with one line for each phase of the work.
    #[arg(long, help_heading = "Measurements")]
    pub(super) latency: bool,

    /// The percentiles of --latency and --stats
    /// [default: 50,90,95,99,99.9,99.99].
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = percentile(),
        allow_hyphen_values = true,
        requires = "percentile_forms",
        help_heading = "Measurements"
    )]
    pub(super) percentiles: Option<Vec<f64>>,

    /// Write all measurements as one JSON document; `-` for standard output.
    ///
    /// `ringmill --generate stats-schema` prints its JSON Schema. An existing file is replaced only when the
    /// document is complete.
    #[arg(long, value_name = "FILE", help_heading = "Measurements")]
    pub(super) stats: Option<PathBuf>,

    /// Include the buckets of the histograms in --stats.
    #[arg(long, requires = "stats", help_heading = "Measurements")]
    pub(super) bins: bool,

    /// Write an HdrHistogram interval log; `-` for standard output.
    ///
    /// Each line is the latency histogram of one phase in one interval; its tag is the phase. `ringmill
    /// merge`, `ringmill plot` and HdrHistogram's tools read such logs.
    #[arg(long, value_name = "FILE", help_heading = "Measurements")]
    pub(super) hlog: Option<PathBuf>,

    /// Write percentile distributions for HdrHistogram's plotter, one file for each phase:
    /// `run.hgrm` becomes `run.read.hgrm` and so on. Values are in microseconds.
    #[arg(long, value_name = "FILE", help_heading = "Measurements")]
    pub(super) hgrm: Option<PathBuf>,

    /// Write one phase only, to exactly the file named by --hgrm, which may then be `-` for standard output.
    ///
    /// --latency prints the names of the phases.
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
    /// True if a requested form needs the latencies of all phases.
    pub(super) fn need_phases(&self) -> bool {
        self.latency || self.stats.is_some() || self.hlog.is_some() || self.hgrm.is_some()
    }

    /// Descriptors that the outputs may use during a run.
    pub(super) fn descriptors(&self) -> usize {
        [&self.stats, &self.hlog, &self.hgrm]
            .into_iter()
            .flatten()
            .count()
    }
}

/// The requested forms and their outputs.
pub(super) struct Forms {
    form: Form,
    stats: Option<Output>,
    /// The observer takes this one, to write it during the run.
    pub(super) hlog: Option<Output>,
    /// The distributions: a phase and its output each.
    hgrm: Vec<(String, Output)>,
    hgrm_phase: Option<String>,
}

impl Forms {
    /// The forms of a run whose items have these phases. Opens nothing.
    pub(super) fn of_run(
        arguments: &FormArguments,
        phases: &[&str],
        signals: &Signals,
    ) -> Result<Self, SetupError> {
        let forms = Self::of_merge(arguments, phases, signals)?;
        let hlog = arguments.hlog.as_deref();
        Ok(Self {
            // It is written as the run goes on.
            hlog: hlog.map(|path| Output::stream("--hlog", Some(path), "")),
            ..forms
        })
    }

    /// The forms of logs that have these phases. Opens nothing.
    pub(super) fn of_merge(
        arguments: &FormArguments,
        phases: &[&str],
        signals: &Signals,
    ) -> Result<Self, SetupError> {
        let percentiles = arguments.percentiles.clone();
        let document = |option, path: &Path| Output::document(option, Some(path), "", signals);
        let stats = arguments.stats.as_deref();
        let hlog = arguments.hlog.as_deref();
        let hgrm = hgrm_paths(arguments, phases)?.into_iter();
        Ok(Self {
            form: Form {
                percentiles: percentiles.unwrap_or_else(|| PERCENTILES.to_vec()),
                bins: arguments.bins,
            },
            stats: stats.map(|path| document("--stats", path)),
            hlog: hlog.map(|path| document("--hlog", path)),
            hgrm: hgrm
                .map(|(phase, path)| (phase, document("--hgrm", &path)))
                .collect(),
            hgrm_phase: arguments.hgrm_phase.clone(),
        })
    }

    /// All outputs.
    pub(super) fn outputs(&mut self) -> impl Iterator<Item = &mut Output> {
        let hgrm = self.hgrm.iter_mut().map(|(_, output)| output);
        self.hlog.iter_mut().chain(&mut self.stats).chain(hgrm)
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    pub(super) fn table(&self, series: &[Series]) -> String {
        table(series, &self.form.percentiles)
    }

    /// Writes the document of --stats, if requested.
    pub(super) fn write_stats(
        &mut self,
        document: impl FnOnce(&Form) -> Value,
    ) -> Result<(), SetupError> {
        let Some(output) = &mut self.stats else {
            return Ok(());
        };
        let mut text = serde_json::to_vec_pretty(&document(&self.form)).expect("plain data");
        text.push(b'\n');
        output.put(&text)
    }

    /// Writes the distributions of --hgrm, if requested.
    pub(super) fn write_hgrm(&mut self, series: &[Series]) -> Result<(), SetupError> {
        for (phase, output) in &mut self.hgrm {
            if let Some(one) = series.iter().find(|one| one.name == *phase) {
                let mut text = Vec::new();
                hgrm::write(&mut text, &one.histogram).expect("writing to memory cannot fail");
                output.put(&text)?;
            } else if self.hgrm_phase.is_some() {
                let message = format!("--hgrm-phase {phase}: no latencies of this phase");
                let measured: Vec<&str> = series.iter().map(|one| &*one.name).collect();
                return Err(
                    SetupError::new(message).hint(format!("the phases are: {}", listed(&measured)))
                );
            }
        }
        Ok(())
    }
}

/// The phases whose distributions are requested, each with its file.
fn hgrm_paths(
    arguments: &FormArguments,
    phases: &[&str],
) -> Result<Vec<(String, PathBuf)>, SetupError> {
    let Some(path) = &arguments.hgrm else {
        return Ok(Vec::new());
    };
    match &arguments.hgrm_phase {
        Some(phase) if phases.contains(&phase.as_str()) => Ok(vec![(phase.clone(), path.clone())]),
        Some(phase) => Err(
            SetupError::new(format!("--hgrm-phase {phase}: no such phase"))
                .hint(format!("the phases are: {}", listed(phases))),
        ),
        None if outputs::is_standard(path) => {
            let message = format!("--hgrm {}: the phases would mix", path.display());
            Err(SetupError::new(message).hint("choose one with --hgrm-phase"))
        }
        None => Ok(phases
            .iter()
            .map(|&phase| (phase.to_owned(), with_phase(path, phase)))
            .collect()),
    }
}

fn listed(names: &[&str]) -> String {
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

/// For `run.hgrm` and `read`, this is `run.read.hgrm`.
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
