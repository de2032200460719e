//! The statistics of a run, or of several, as one JSON document. `schema.json` describes it.

use super::phase_places::SCHEDULED;
use super::table::mean_ns;
use super::{Activity, Machine, Series, Summary, new_histogram};
use crate::clock::to_ns;
use crate::mill::Counters;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::SystemTime;

/// The JSON Schema (draft 2020-12) of the document.
pub const SCHEMA: &str = include_str!("schema.json");

/// Raised when the format changes so that readers have to change, too.
const SCHEMA_VERSION: u32 = 1;

/// The facts about a run at its end.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The subcommand.
    pub command: &'static str,
    /// When it began.
    pub started_at: SystemTime,
    /// The options in effect, by name; names of times end with their unit.
    pub options: Map<String, Value>,
    /// The machine.
    pub machine: Machine,
    /// The limit on open files.
    pub open_files_max: u64,
    /// A description of the first loop's engine.
    pub engine: &'a str,
    /// The features of the kernel's `io_uring`, if there was a ring.
    pub ring_features: Vec<&'static str>,
    /// How the run ended.
    pub end: &'static str,
    /// The counts of emitted results.
    pub summary: &'a Summary,
    /// The counts of items.
    pub counters: Counters,
    /// What the loops did.
    pub activity: Activity,
    /// Further facts of the job, by name.
    pub details: Map<String, Value>,
}

/// How series are written to the document.
#[derive(Clone, Debug)]
pub struct Form {
    /// The percentiles to write, from 0 to 100.
    pub percentiles: Vec<f64>,
    /// Write the buckets of the histograms, too.
    pub bins: bool,
}

/// The document of a run.
#[must_use]
pub fn of_run(facts: &Facts<'_>, series: &[Series], form: &Form) -> Value {
    let Activity {
        at_once,
        submissions,
        completions,
        enters,
        retries,
        held_back,
    } = facts.activity;
    let summary = facts.summary;
    let mut document = head("run");
    let run = json!({
        "command": facts.command,
        "started_at": humantime::format_rfc3339_millis(facts.started_at).to_string(),
        "elapsed_ns": to_ns(summary.elapsed()),
        "end": facts.end,
        "options": facts.options,
        "machine": facts.machine,
        "open_files_max": facts.open_files_max,
        "engine": facts.engine,
        "ring_features": facts.ring_features,
        "counters": {
            "pulled": facts.counters.pulled,
            "emitted": facts.counters.emitted,
            "failed": summary.failed,
            "failed_by_cause": summary.failed_by_cause,
            "bytes": summary.bytes,
            "operations_at_once": at_once,
            "submissions": submissions,
            "completions": completions,
            "enters": enters,
            "retries": retries,
            "held_back_ns": {
                "input": to_ns(held_back.input),
                "window": to_ns(held_back.window),
                "pressure": to_ns(held_back.pressure),
                "rate": to_ns(held_back.rate),
            },
        },
    });
    let Value::Object(run) = run else {
        unreachable!("it is an object")
    };
    document.extend(run);
    document.extend(facts.details.clone());
    document.extend(of_series(series, form));
    Value::Object(document)
}

/// The document of several runs, merged from these files.
#[must_use]
pub fn of_merge(sources: &[String], series: &[Series], form: &Form) -> Value {
    let mut document = head("merge");
    document.insert("sources".to_owned(), sources.into());
    document.extend(of_series(series, form));
    Value::Object(document)
}

fn head(kind: &str) -> Map<String, Value> {
    let head = [
        ("schema_version", SCHEMA_VERSION.into()),
        ("ringmill_version", env!("CARGO_PKG_VERSION").into()),
        ("kind", kind.into()),
    ];
    let head = head.into_iter();
    head.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn of_series(series: &[Series], form: &Form) -> Map<String, Value> {
    let (scheduled, phases): (Vec<&Series>, _) = series
        .iter()
        .partition(|one| one.name.starts_with(SCHEDULED));
    let mut document = Map::new();
    document.insert("phases".to_owned(), phases_of(&phases, form));
    if !scheduled.is_empty() {
        document.insert("scheduled_phases".to_owned(), phases_of(&scheduled, form));
    }
    document
}

fn phases_of(series: &[&Series], form: &Form) -> Value {
    let name = |one: &Series| {
        one.name
            .strip_prefix(SCHEDULED)
            .unwrap_or(&one.name)
            .to_owned()
    };
    let phases = series.iter().map(|one| (name(one), phase(one, form)));
    Value::Object(phases.collect())
}

/// One phase. Keys of times end with their unit.
#[derive(Serialize, Deserialize)]
struct PhaseFacts {
    count: u64,
    out_of_range: u64,
    min_ns: u64,
    mean_ns: u64,
    stdev_ns: u64,
    max_ns: u64,
    percentiles_ns: Map<String, Value>,
    /// First and last value (both included) and count of each bucket that is not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    buckets_ns: Option<Vec<[u64; 3]>>,
}

/// A series in the form of the document.
#[must_use]
pub fn phase(series: &Series, form: &Form) -> Value {
    let histogram = &series.histogram;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let stdev_ns = histogram.stdev().round() as u64;
    let percentiles = form.percentiles.iter().map(|&percentile| {
        let value_ns = histogram.value_at_percentile(percentile);
        (percentile.to_string(), value_ns.into())
    });
    let buckets = || {
        let buckets = histogram.iter_recorded().map(|bucket| {
            let to = bucket.value_iterated_to();
            [histogram.lowest_equivalent(to), to, bucket.count_at_value()]
        });
        buckets.collect()
    };
    let facts = PhaseFacts {
        count: series.count(),
        out_of_range: series.out_of_range,
        min_ns: histogram.min(),
        mean_ns: mean_ns(histogram),
        stdev_ns,
        max_ns: histogram.max(),
        percentiles_ns: percentiles.collect(),
        buckets_ns: form.bins.then(buckets),
    };
    serde_json::to_value(facts).expect("plain data")
}

/// The latencies of one phase that a document contains.
#[derive(Clone, Debug)]
pub struct Content {
    /// The phase, with `scheduled-` before its name if it was measured from a schedule.
    pub name: String,
    /// The number of latencies.
    pub count: u64,
    /// The shortest latency.
    pub min_ns: u64,
    /// The longest latency.
    pub max_ns: u64,
    /// Percentiles, from 0 to 100, and their latencies.
    pub percentiles_ns: Vec<(f64, u64)>,
    /// The histogram, if the document has its buckets.
    pub histogram: Option<Histogram<u64>>,
}

/// Why a document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It does not have the form of such a document.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// It has another schema version.
    #[error("it has schema version {0}, and only 1 is known here")]
    Version(u64),
    /// A number in it is not valid.
    #[error("{0} of phase {1} makes no sense")]
    Value(&'static str, String),
}

/// The part of a document that is read.
#[derive(Deserialize)]
struct Document {
    schema_version: u64,
    phases: IndexedPhases,
    #[serde(default)]
    scheduled_phases: IndexedPhases,
}

/// Phases by name, in the order of the document.
type IndexedPhases = Map<String, Value>;

/// Reads the latencies from a document.
///
/// # Errors
/// If it is not such a document, or has an unknown version.
pub fn read(bytes: &[u8]) -> Result<Vec<Content>, ReadError> {
    let document: Document = serde_json::from_slice(bytes)?;
    if document.schema_version != u64::from(SCHEMA_VERSION) {
        return Err(ReadError::Version(document.schema_version));
    }
    let scheduled = document.scheduled_phases.into_iter();
    let scheduled = scheduled.map(|(name, facts)| (format!("{SCHEDULED}{name}"), facts));
    let phases = document.phases.into_iter().chain(scheduled);
    phases
        .map(|(name, facts)| read_phase(name, facts))
        .collect()
}

fn read_phase(name: String, facts: Value) -> Result<Content, ReadError> {
    let facts: PhaseFacts = serde_json::from_value(facts)?;
    let mut percentiles_ns = Vec::new();
    for (percentile, value) in facts.percentiles_ns {
        let percentile = percentile.parse().ok();
        let percentile = percentile.filter(|known| (0.0..=100.0).contains(known));
        match percentile.zip(value.as_u64()) {
            Some(point) => percentiles_ns.push(point),
            None => return Err(ReadError::Value("a percentile", name)),
        }
    }
    let mut histogram = facts.buckets_ns.as_ref().map(|_| new_histogram());
    for [_, to_ns, count] in facts.buckets_ns.into_iter().flatten() {
        let counted = histogram.as_mut().map(|known| known.record_n(to_ns, count));
        if counted.is_some_and(|counted| counted.is_err()) {
            return Err(ReadError::Value("a bucket", name));
        }
    }
    Ok(Content {
        name,
        count: facts.count,
        min_ns: facts.min_ns,
        max_ns: facts.max_ns,
        percentiles_ns,
        histogram,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> Series {
        let mut series = Series::new(name);
        for ns in [1, 1_000, 2_000_000, 3_000_000_000] {
            series.histogram.record_n(ns, 5).unwrap();
        }
        series
    }

    fn written(bins: bool) -> Vec<u8> {
        let form = Form {
            percentiles: vec![0.0, 50.0, 99.99],
            bins,
        };
        let series = [series("open"), series("scheduled-total"), series("close")];
        let document = of_merge(&["a.hlog".to_owned()], &series, &form);
        serde_json::to_vec(&document).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let content = read(&written(true)).unwrap();
        let names: Vec<&str> = content.iter().map(|phase| &*phase.name).collect();
        assert_eq!(names, ["open", "close", "scheduled-total"]);
        for phase in content {
            assert_eq!(phase.histogram, Some(series("any").histogram));
            assert_eq!((phase.count, phase.min_ns), (20, 1));
            assert_eq!(phase.percentiles_ns[1], (50.0, 1_000));
        }
        let content = read(&written(false)).unwrap();
        assert!(content.iter().all(|phase| phase.histogram.is_none()));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let error = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert!(error("{}").starts_with("missing field `schema_version`"));
        let later = r#"{"schema_version": 2, "phases": {}}"#;
        assert_eq!(
            error(later),
            "it has schema version 2, and only 1 is known here"
        );
        let phase = r#"{"count":1,"out_of_range":0,"min_ns":1,"mean_ns":1,"stdev_ns":0,"max_ns":1,
            "percentiles_ns":{"P":1},"buckets_ns":[[1,B,1]]}"#;
        let with = |percentile: &str, bucket: &str| {
            let phase = phase.replace('P', percentile).replace('B', bucket);
            format!(r#"{{"schema_version": 1, "phases": {{"open": {phase}}}}}"#)
        };
        assert_eq!(
            error(&with("x", "1")),
            "a percentile of phase open makes no sense"
        );
        assert_eq!(
            error(&with("101", "1")),
            "a percentile of phase open makes no sense"
        );
        let far = u64::MAX.to_string();
        assert_eq!(
            error(&with("50", &far)),
            "a bucket of phase open makes no sense"
        );
        assert!(read(with("50", "7").as_bytes()).is_ok());
    }
}
