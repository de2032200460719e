//! Everything a run reports besides its results: messages, progress, latencies.

use super::arguments::{MeasureArguments, When};
use super::forms::Forms;
use super::outputs::Output;
use super::setup_error::SetupError;
use crate::clock;
use crate::error::ItemError;
use crate::io::uring;
use crate::item::Item;
use crate::mill::Counters;
use crate::run::{Descriptors, End, EngineKind, Plan, Report};
use crate::sink::messages;
use crate::stats::document::{self, Facts, Form};
use crate::stats::hlog::IntervalLog;
use crate::stats::{
    Collector, Detail, FileSystemFacts, Latencies, Machine, Phase, Progress, Series, Summary, Total,
};
use serde_json::{Map, Value};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often to check whether an interval is over, and to update the progress.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// The length of the intervals whose percentiles the progress shows.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A loop publishes its latencies in its first turn after the end of an interval, which is the same time
/// for all loops. After this delay, all of them have done so.
const GRACE: Duration = Duration::from_millis(50);

/// Observes a run and reports on it.
pub(super) struct Observer {
    summary: Summary,
    started_at: SystemTime,
    forms: Forms,
    shows_table: bool,
    shows_summary: bool,
    progress: Option<Progress>,
    latencies: Option<LiveLatencies>,
    wants_file_system: bool,
    /// The file system of the first item that succeeded.
    file_system: Option<FileSystemFacts>,
}

/// Latencies, taken from the loops while the run goes on.
struct LiveLatencies {
    collector: Arc<Collector>,
    /// The latencies of the whole run.
    total: Latencies,
    /// The latencies that were taken last.
    taken: Latencies,
    interval: Option<Duration>,
    take_at: Duration,
    log: Option<Log>,
}

/// An interval log that is being written.
struct Log {
    name: String,
    log: IntervalLog<Output>,
    /// When the log began.
    origin: Duration,
    interval: Duration,
    /// Latencies that are not written yet.
    pending: Latencies,
    failure: Option<io::Error>,
}

/// What a job reports on a run besides its results and latencies.
#[derive(Default)]
pub(super) struct Details {
    /// A line of text, printed after that of --summary.
    pub(super) counts: String,
    /// A table, printed after that of --latency.
    pub(super) table: String,
    /// The same table without latencies, for runs with --summary only.
    pub(super) table_without_latencies: String,
    /// Members of the document of --stats, by name.
    pub(super) document: Map<String, Value>,
}

impl Observer {
    /// Observes a run of a job that has these phases. The outputs of `forms` are open.
    pub(super) fn new(
        arguments: &MeasureArguments,
        mut forms: Forms,
        phases: &'static [Phase],
    ) -> Result<Self, SetupError> {
        let shows_progress = match arguments.progress {
            When::Auto => io::stderr().is_terminal(),
            When::Always => true,
            When::Never => false,
        };
        let detail = if arguments.forms.need_phases() {
            Some(Detail::Phases)
        } else if shows_progress || arguments.summary {
            Some(Detail::Totals)
        } else {
            None
        };
        if detail == Some(Detail::Phases) {
            clock::calibrate();
        }
        let wanted = &arguments.forms;
        let log_interval = wanted.hlog.as_ref().map(|_| arguments.interval);
        let progress_interval = shows_progress.then_some(PROGRESS_INTERVAL);
        let interval = [log_interval, progress_interval]
            .into_iter()
            .flatten()
            .min();
        let latencies = match detail {
            None => None,
            Some(detail) => Some(LiveLatencies {
                collector: Collector::new(phases, detail, interval),
                total: Latencies::new(phases),
                taken: Latencies::new(phases),
                interval,
                take_at: Duration::ZERO,
                log: match forms.hlog.take() {
                    None => None,
                    Some(output) => Some(Log::begin(output, phases, arguments.interval)?),
                },
            }),
        };
        Ok(Self {
            summary: Summary::new(),
            started_at: SystemTime::now(),
            forms,
            shows_table: wanted.latency,
            shows_summary: arguments.summary,
            progress: shows_progress.then(|| Progress::new(Total::Unknown)),
            latencies,
            wants_file_system: wanted.stats.is_some(),
            file_system: None,
        })
    }

    /// The collector that the run must record its latencies with, if they are needed.
    pub(super) fn collector(&self) -> Option<Arc<Collector>> {
        let latencies = self.latencies.as_ref();
        latencies.map(|latencies| Arc::clone(&latencies.collector))
    }

    /// Sets how much input there is, if that is known.
    pub(super) fn expect(&mut self, total: Total) {
        if let Some(progress) = &mut self.progress {
            *progress = Progress::new(total);
        }
    }

    /// Counts a result: its size in bytes, or the key of its cause of failure.
    pub(super) fn count(&mut self, result: Result<u64, String>) {
        self.summary.count(result);
    }

    /// The value of an item. Counts and reports a failure.
    pub(super) fn value_of<V>(&mut self, item: &Item, result: Result<V, ItemError>) -> Option<V> {
        result
            .inspect_err(|error| {
                self.count(Err(error.cause.key()));
                self.about_item(item.bytes(), error);
            })
            .ok()
    }

    /// The number of failed results.
    pub(super) fn failed(&self) -> u64 {
        self.summary.failed
    }

    /// Records the file system of an item that succeeded, if none is known yet.
    pub(super) fn visited(&mut self, path: &Path) {
        if self.wants_file_system {
            self.wants_file_system = false;
            self.file_system = FileSystemFacts::of(path);
        }
    }

    /// Prints a message about an item.
    pub(super) fn about_item(&self, name: &[u8], message: &dyn std::fmt::Display) {
        self.without_progress(|| messages::about_item(name, message));
    }

    /// Prints a message about the run while it goes on.
    pub(super) fn about_run(&self, message: &dyn std::fmt::Display) {
        self.without_progress(|| messages::about_run(message));
    }

    /// Prints a hint, if there is one.
    pub(super) fn hint(&self, hint: Option<&str>) {
        if let Some(hint) = hint {
            self.without_progress(|| messages::hint(&hint));
        }
    }

    /// Hides the progress line while a message is written.
    fn without_progress(&self, write: impl FnOnce()) {
        match &self.progress {
            Some(progress) => progress.suspend(write),
            None => write(),
        }
    }

    /// Updates intervals and progress; called often.
    pub(super) fn tick(&mut self, counters: Counters) {
        let Self {
            latencies,
            progress,
            summary,
            ..
        } = self;
        if let Some(latencies) = latencies
            && latencies.tick(clock::now())
            && let Some(progress) = progress
        {
            progress.add_latencies(&latencies.taken);
        }
        if let Some(progress) = progress {
            progress.tick(summary, counters);
        }
    }

    /// How often [`Observer::tick`] must be called while there are no results, if at all.
    pub(super) fn tick_interval(&self) -> Option<Duration> {
        let latencies = self.latencies.as_ref();
        let has_intervals = latencies.is_some_and(|latencies| latencies.interval.is_some());
        (has_intervals || self.progress.is_some()).then_some(TICK_INTERVAL)
    }

    /// Writes all requested reports after the run. `details` are those of the job.
    pub(super) fn finish(
        &mut self,
        command: &'static str,
        options: Map<String, Value>,
        plan: &Plan,
        descriptors: &Descriptors,
        report: &Report,
        details: impl Fn(&Form) -> Details,
    ) -> Result<(), SetupError> {
        if let Some(progress) = self.progress.take() {
            progress.clear();
        }
        let Some(mut latencies) = self.latencies.take() else {
            return Ok(());
        };
        latencies.take();
        let details = details(self.forms.form());
        if self.shows_summary {
            messages::about_run(&self.summary.line(&latencies.total));
            if !details.counts.is_empty() {
                messages::about_run(&details.counts);
            }
        }
        let series = Series::of(latencies.total);
        if self.shows_table {
            messages::text(&self.forms.table(&series));
            messages::text(&details.table);
        } else if self.shows_summary {
            messages::text(&details.table_without_latencies);
        }
        let file_system = self.file_system.take();
        let summary = &self.summary;
        let started_at = self.started_at;
        let facts = || Facts {
            command,
            started_at,
            options,
            machine: Machine::here(file_system),
            open_files_max: descriptors.limit,
            engine: &report.engine,
            ring_features: match plan.engine {
                EngineKind::Uring => uring::features(),
                EngineKind::Threads => Vec::new(),
            },
            end: match report.end {
                End::Complete if report.input_error.is_some() => "input-failed",
                End::Complete => "complete",
                End::FailFast => "fail-fast",
                End::Interrupted => "interrupted",
                End::Output(_) => "output-failed",
            },
            summary,
            counters: report.counters,
            activity: report.activity,
            details: details.document,
        };
        // An output that cannot be written must not prevent the others.
        let log = latencies.log.map_or(Ok(()), Log::finish);
        let stats = self
            .forms
            .write_stats(|form| document::of_run(&facts(), &series, form));
        let hgrm = self.forms.write_hgrm(&series);
        log.and(stats).and(hgrm)
    }
}

impl LiveLatencies {
    /// Takes the published latencies if an interval is over. True if it did.
    fn tick(&mut self, now: Duration) -> bool {
        let Some(interval) = self.interval else {
            return false;
        };
        if now < self.take_at {
            return false;
        }
        self.take();
        if let Some(log) = &mut self.log {
            log.write_if_due(now);
        }
        self.take_at = last_multiple(interval, now) + interval + GRACE;
        true
    }

    fn take(&mut self) {
        if self.interval.is_none() {
            // The new latencies are not needed separately.
            self.collector.take(&mut self.total);
            return;
        }
        self.taken.clear();
        self.collector.take(&mut self.taken);
        self.total.add(&self.taken);
        if let Some(log) = &mut self.log {
            log.pending.add(&self.taken);
        }
    }
}

impl Log {
    /// Empties the file and writes the header.
    fn begin(
        mut output: Output,
        phases: &'static [Phase],
        interval: Duration,
    ) -> Result<Self, SetupError> {
        output.begin()?;
        let name = output.name.clone();
        let origin = clock::now();
        let log = IntervalLog::begin(output, SystemTime::now())
            .map_err(|error| SetupError::io(&name, "write", &error))?;
        Ok(Self {
            name,
            log,
            origin,
            interval,
            pending: Latencies::new(phases),
            failure: None,
        })
    }

    /// Writes the intervals that are over.
    fn write_if_due(&mut self, now: Duration) {
        let end = last_multiple(self.interval, now).saturating_sub(self.origin);
        if end > self.log.position() {
            self.write(end);
        }
    }

    /// A failure to write is reported at the end: the log must not stop the run.
    fn write(&mut self, end: Duration) {
        if self.failure.is_none() {
            let series = Series::of(self.pending.take());
            self.failure = self.log.interval(&series, end).err();
        }
    }

    fn finish(mut self) -> Result<(), SetupError> {
        let end = clock::now().saturating_sub(self.origin);
        self.write(end);
        match self.failure {
            None => Ok(()),
            Some(error) => Err(SetupError::io(&self.name, "write", &error)),
        }
    }
}

/// The last multiple of the interval up to `now`. Loops publish at multiples of the interval.
fn last_multiple(interval: Duration, now: Duration) -> Duration {
    let interval_ns = interval.as_nanos().max(1);
    let last_ns = now.as_nanos() / interval_ns * interval_ns;
    Duration::from_nanos(u64::try_from(last_ns).unwrap_or(u64::MAX))
}
