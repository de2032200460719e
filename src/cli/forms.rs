//! The forms in which latencies are given: a table, JSON, an interval log, distributions.

use super::outputs::{self, Output};
use super::setup_error::SetupError;
use super::signals::Signals;
use crate::stats::document::Form;
use crate::stats::{PERCENTILES, Series, hgrm, table};
use clap::builder::TypedValueParser;
use clap::{ArgGroup, Args};
use serde_json::Value;
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
        allow_hyphen_values = true,
        requires = "percentile_forms",
        help_heading = "Measurements"
    )]
    pub(super) percentiles: Option<Vec<f64>>,

    /// Write everything that is known as one JSON document, `-` for standard output.
    ///
    /// `ringmill --generate stats-schema` prints its JSON Schema. A file is replaced when the document is
    /// complete.
    #[arg(long, value_name = "FILE", help_heading = "Measurements")]
    pub(super) stats: Option<PathBuf>,

    /// Put the histograms' buckets into --stats.
    #[arg(long, requires = "stats", help_heading = "Measurements")]
    pub(super) bins: bool,

    /// Write an HdrHistogram interval log, with a tag for each phase; `-` for standard output.
    #[arg(long, value_name = "FILE", help_heading = "Measurements")]
    pub(super) hlog: Option<PathBuf>,

    /// Write percentile distributions for HdrHistogram's plotter, one file for each phase:
    /// `run.hgrm` becomes `run.read.hgrm` and so on. Values are in microseconds.
    #[arg(long, value_name = "FILE", help_heading = "Measurements")]
    pub(super) hgrm: Option<PathBuf>,

    /// Write only the distribution of this phase, into the very FILE of --hgrm, `-` for standard output.
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

    /// Descriptors that the outputs may take during a run.
    pub(super) fn descriptors(&self) -> usize {
        [&self.stats, &self.hlog, &self.hgrm]
            .into_iter()
            .flatten()
            .count()
    }
}

/// What is made of latencies, and where it is written.
pub(super) struct Forms {
    form: Form,
    stats: Option<Output>,
    /// Until whoever writes it takes it.
    pub(super) hlog: Option<Output>,
    /// Each with its phase.
    hgrm: Vec<(String, Output)>,
    hgrm_phase: Option<String>,
}

impl Forms {
    /// Those of a run, whose items have these phases. Nothing is opened yet.
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

    /// Those of logs that have these phases. Nothing is opened yet.
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

    /// Everything that is written.
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
        output.put(&text)
    }

    /// Writes the distributions, if they are asked for.
    pub(super) fn write_hgrm(&mut self, series: &[Series]) -> Result<(), SetupError> {
        for (phase, output) in &mut self.hgrm {
            if let Some(one) = series.iter().find(|one| one.name == *phase) {
                let mut text = Vec::new();
                hgrm::write(&mut text, &one.histogram).expect("memory takes it");
                output.put(&text)?;
            } else if self.hgrm_phase.is_some() {
                let message = format!("--hgrm-phase {phase}: nothing was measured of that name");
                let measured: Vec<&str> = series.iter().map(|one| &*one.name).collect();
                return Err(
                    SetupError::new(message).hint(format!("there is {}", listed(&measured)))
                );
            }
        }
        Ok(())
    }
}

/// The phases whose distributions are wanted, and the file for each.
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
                .hint(format!("there is {}", listed(phases))),
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
        true => "none at all".to_owned(),
        false => names.join(", "),
    }
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
