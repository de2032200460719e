//! Runs a job on a stream of items and writes its rows: the part that all jobs share.

use super::arguments::StreamArguments;
use super::closed::stdin_was_closed;
use super::forms::Forms;
use super::interrupt::Interrupt;
use super::lingering;
use super::memory;
use super::observer::{Details, Observer};
use super::outcome::Outcome;
use super::outputs::{self, Input, Output};
use super::plan;
use super::setup_error::SetupError;
use crate::error::{Errno, ItemError};
use crate::io::FileId;
use crate::item::Item;
use crate::jobs::Job;
use crate::mill::{Counters, Finished, Order};
use crate::run::{Descriptors, End, Plan, PlanRequest, Report, Sink, run, soft_limit};
use crate::sink::messages;
use crate::source::{Arguments, Expand, Expanded, Lists, Separator, Source};
use crate::stats::document::Form;
use crate::stats::{Total, noun};
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::iter;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The buffer is written when it is this long, even if more results are ready.
const OUTPUT_BUFFER_LEN: usize = 64 * 1024;

/// A job, with the options of its subcommand.
pub(super) struct Task<'a> {
    /// The name of the subcommand.
    pub(super) command: &'static str,
    /// The message if no items are given.
    pub(super) no_items: &'static str,
    /// The hint if no items are given: how to use the subcommand.
    pub(super) usage: &'static str,
    /// The items given as arguments. If empty, the items are read from lists.
    pub(super) items: Vec<OsString>,
    pub(super) arguments: &'a StreamArguments,
    /// The timeout of each item, if the loops must enforce it.
    pub(super) timeout: Option<Duration>,
    /// Each item holds a descriptor open.
    pub(super) items_hold_files: bool,
    /// The items are the paths of files that the run reads.
    pub(super) items_are_paths: bool,
    /// Descriptors that each loop needs besides those of its items.
    pub(super) service_descriptors: usize,
    /// The list of servers, which has already been read.
    pub(super) resolvers_from: Option<&'a Path>,
    /// Turns an item of a list or an argument into the items it stands for, if they can differ.
    pub(super) expand: Option<Box<dyn Expand>>,
    /// Options that only this job has, for the document of --stats.
    pub(super) options: Map<String, Value>,
}

/// Turns results into bytes.
pub(super) trait Rows<V> {
    /// Appends the output for an item, and passes its result to the observer.
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        item: &Item,
        result: Result<V, ItemError>,
        observer: &mut Observer,
    );

    /// What else to report when the run has ended.
    fn details(&self, _form: &Form) -> Details {
        Details::default()
    }
}

impl Task<'_> {
    /// Runs the job. `job` makes it when the plan and the ids of the output files are known.
    pub(super) fn perform<J: Job>(
        self,
        job: impl FnOnce(&Plan, &Descriptors, Vec<FileId>) -> Result<J, SetupError>,
        rows: impl Rows<J::Value>,
    ) -> Outcome {
        self.try_perform(job, rows).unwrap_or_else(|error| {
            error.report();
            Outcome::RunFailed
        })
    }

    fn try_perform<J: Job>(
        self,
        job: impl FnOnce(&Plan, &Descriptors, Vec<FileId>) -> Result<J, SetupError>,
        rows: impl Rows<J::Value>,
    ) -> Result<Outcome, SetupError> {
        let interrupt = Interrupt::watch()?;
        let arguments = self.arguments;
        let lists = self.lists()?;
        let limit_before = soft_limit();
        let phases: Vec<&str> = J::PHASES.iter().map(|phase| phase.name()).collect();
        let mut forms = Forms::of_run(&arguments.measure.forms, &phases, &interrupt.signals)?;
        let mut descriptors = Descriptors::raise();
        descriptors.in_use += arguments.measure.forms.descriptors() + self.service_descriptors;
        let request = PlanRequest {
            order: if arguments.unordered {
                Order::Completion
            } else {
                Order::Input
            },
            fail_fast: arguments.fail_fast,
            timeout: self.timeout,
            // DNS lookups gain nothing from it: they open their sockets once.
            separate_descriptors: self.items_hold_files,
            waits_for_replies: J::WAITS_FOR_REPLIES,
            ..PlanRequest::new(self.items_hold_files)
        };
        let mut plan = plan::plan(&arguments.resources, request, &descriptors)?;
        if arguments.verbose {
            plan::describe(&plan, &descriptors, limit_before);
        }
        let mut output = Output::stream("-o", arguments.output.as_deref(), "the rows");
        let mut written: Vec<_> = iter::once(&mut output).chain(forms.outputs()).collect();
        outputs::open(&mut written, &self.inputs(lists.as_deref()))?;
        let job = job(&plan, &descriptors, outputs::file_ids(written))?;
        // Last, when no other check can fail, because it empties files.
        let observer = Observer::new(&arguments.measure, forms, J::PHASES)?;
        output.begin()?;
        plan.latencies = observer.collector();
        let mut options = plan::options(&plan);
        options.extend(self.options);
        let mut sink = RowSink {
            output,
            buffer: Vec::with_capacity(2 * OUTPUT_BUFFER_LEN),
            row_ends: Vec::new(),
            rows_written: 0,
            rows,
            observer,
            interrupt: &interrupt,
        };
        let (source, total): (Box<dyn Source>, Total) = if let Some(lists) = lists {
            let total = total_of_lists(&lists);
            let separator = if arguments.null {
                Separator::Nul
            } else {
                Separator::Newline
            };
            let source = Lists::new(lists, separator);
            let total = total.map_or(Total::Unknown, |len| {
                Total::ListBytes(len, source.bytes_read())
            });
            (Box::new(source), total)
        } else {
            let stands_for_others = |item: &OsString| {
                let expand = self.expand.as_ref();
                expand.is_some_and(|expand| expand.expand(item.as_bytes()).is_some())
            };
            let total = match self.items.iter().any(stands_for_others) {
                false => Total::Items(self.items.len() as u64),
                true => Total::Unknown,
            };
            (Box::new(Arguments::new(self.items)), total)
        };
        let source = match self.expand {
            None => source,
            Some(expand) => Box::new(Expanded::new(source, expand)),
        };
        sink.observer.expect(total);
        memory::reserve();
        interrupt.run_begins();
        let report = run(&plan, job, source, &mut sink, &interrupt.stop)?;
        if arguments.verbose {
            let engine = format_args!("engine: {} × {}", plan.loops, report.engine);
            sink.observer.about_run(&engine);
        }
        let rows = &sink.rows;
        let details = |form: &Form| rows.details(form);
        let measured =
            sink.observer
                .finish(self.command, options, &plan, &descriptors, &report, details);
        let failed = sink.observer.failed();
        let outcome = conclude(&report, failed, &interrupt, &sink.output, sink.rows_written);
        match measured {
            Ok(()) => Ok(outcome),
            Err(error) => {
                error.report();
                Ok(outcome.worst(Outcome::RunFailed))
            }
        }
    }

    /// The lists to read; `None` if the items are the arguments themselves.
    fn lists(&self) -> Result<Option<Vec<PathBuf>>, SetupError> {
        let lists = &self.arguments.files_from;
        if !self.items.is_empty() {
            return Ok(None);
        }
        let reads_stdin = lists.is_empty() || lists.iter().any(|list| list.as_os_str() == "-");
        if reads_stdin && stdin_was_closed() {
            return Err(SetupError::new("standard input is closed").hint(self.usage));
        }
        if lists.is_empty() {
            if io::stdin().is_terminal() {
                return Err(SetupError::new(self.no_items).hint(self.usage));
            }
            return Ok(Some(vec!["-".into()]));
        }
        for list in lists.iter().filter(|list| list.as_os_str() != "-") {
            // Do not open it: opening and closing a FIFO would lose its first bytes.
            list.metadata()
                .map_err(|error| SetupError::io(&list.display().to_string(), "open", &error))?;
        }
        Ok(Some(lists.clone()))
    }

    /// The files that the run reads, as far as they are known before it starts.
    fn inputs<'b>(&'b self, lists: Option<&'b [PathBuf]>) -> Vec<Input<'b>> {
        let lists = lists.unwrap_or_default().iter();
        let lists = lists.map(|list| match list.as_os_str() == "-" {
            true => Input::Stdin,
            false => Input::List(list),
        });
        let items = self.items.iter().filter(|_| self.items_are_paths);
        let items = items.map(|item| Input::Item(Path::new(item)));
        let resolvers = self.resolvers_from.map(Input::Resolvers);
        lists.chain(items).chain(resolvers).collect()
    }
}

/// The size of all lists in bytes, if all are regular files.
fn total_of_lists(lists: &[PathBuf]) -> Option<u64> {
    lists
        .iter()
        .map(|list| {
            let metadata = if list.as_os_str() == "-" {
                let stdin = io::stdin().as_fd().try_clone_to_owned().ok()?;
                File::from(stdin).metadata().ok()?
            } else {
                list.metadata().ok()?
            };
            metadata.is_file().then_some(metadata.len())
        })
        .sum()
}

/// Reports how the run ended, and decides the exit code.
fn conclude(
    report: &Report,
    failed: u64,
    interrupt: &Interrupt,
    output: &Output,
    rows_written: u64,
) -> Outcome {
    if let Some(refusal) = &report.fell_back {
        messages::about_run(&format_args!("{refusal}; used threads"));
    }
    if let Some(error) = &report.single_threaded {
        let cause = Errno::from(error);
        messages::about_run(&format_args!(
            "cannot start a thread: {cause}; ran single-threaded, which is slow"
        ));
    }
    if let Some(error) = &report.input_error {
        messages::about_run(error);
        return Outcome::RunFailed;
    }
    match &report.end {
        End::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // The reader has closed the pipe, as `| head` does. This is not an error.
            Outcome::AllWell
        }
        End::Output(error) => {
            let mut failure = output.cannot_write(error);
            failure.message += &format!("; {}", written_lines(rows_written));
            failure.report();
            Outcome::RunFailed
        }
        End::Interrupted if interrupt.signal().is_none() && memory::is_exhausted() => {
            memory::report(&written_lines(rows_written));
            Outcome::RunFailed
        }
        End::Interrupted => {
            let Counters {
                pulled, emitted, ..
            } = report.counters;
            let items = noun(pulled, "item", "items");
            messages::about_run(&format_args!(
                "interrupted: {pulled} {items} pulled, {emitted} emitted"
            ));
            lingering::report();
            interrupt
                .signal()
                .map_or(Outcome::RunFailed, Outcome::Signal)
        }
        End::Complete | End::FailFast if failed > 0 => Outcome::SomeFailed,
        End::Complete | End::FailFast => Outcome::AllWell,
    }
}

fn written_lines(rows_written: u64) -> String {
    let lines = noun(rows_written, "line was", "lines were");
    format!("{rows_written} whole {lines} written")
}

/// Writes all bytes. Returns how many were written, which is fewer after an error.
fn write_counted(output: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Writes rows to the output.
struct RowSink<'a, R> {
    output: Output,
    buffer: Vec<u8>,
    /// The ends of the rows in the buffer. A row that is not printed has no bytes and no entry.
    row_ends: Vec<usize>,
    /// Rows whose bytes have all been written.
    rows_written: u64,
    rows: R,
    observer: Observer,
    interrupt: &'a Interrupt,
}

impl<V, R: Rows<V>> Sink<V> for RowSink<'_, R> {
    fn result(&mut self, finished: Finished<V>) -> io::Result<()> {
        let Finished { item, result, .. } = finished;
        let Self {
            buffer,
            rows,
            observer,
            ..
        } = self;
        let start = buffer.len();
        rows.write(buffer, &item, result, observer);
        if buffer.len() > start {
            self.row_ends.push(buffer.len());
        }
        if self.buffer.len() >= OUTPUT_BUFFER_LEN {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let (written, result) = write_counted(&mut self.output, &self.buffer);
        let whole = self.row_ends.partition_point(|&end| end <= written);
        self.rows_written += whole as u64;
        self.row_ends.clear();
        self.buffer.clear();
        result
    }

    fn tick(&mut self, counters: Counters) {
        self.interrupt.poll();
        self.observer.tick(counters);
    }

    fn tick_interval(&self) -> Option<Duration> {
        let intervals = [
            self.observer.tick_interval(),
            self.interrupt.poll_interval(),
        ];
        intervals.into_iter().flatten().min()
    }
}
