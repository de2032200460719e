//! `ringmill hash`.

use super::Outcome;
use super::arguments::{Format, HashArguments, Special, When};
use super::closed::stdout_was_closed;
use super::interrupt::Interrupt;
use super::limits::Descriptors;
use super::plan::{self, Wishes};
use crate::digest::Algorithm;
use crate::error::Errno;
use crate::jobs::hash::{HashJob, Hashed};
use crate::mill::{Counters, Finished, Order};
use crate::run::{End, Plan, Report, RunError, Sink, run};
use crate::sink::gnu::{self, Layout};
use crate::sink::{jsonl, messages};
use crate::source::{Arguments, Lists, Separator};
use crate::stats::{Progress, Summary, Total};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Results gathered before they are written, even while more are ready.
const OUTPUT_BUFFER_LEN: usize = 64 * 1024;

pub(super) fn hash(arguments: HashArguments) -> Outcome {
    match try_hash(arguments) {
        Ok(outcome) => outcome,
        Err(error) => {
            messages::about_run(&error.message);
            if let Some(hint) = error.hint {
                messages::hint(&hint);
            }
            Outcome::Unusable
        }
    }
}

/// Why there can be no run, or why it ended as a whole.
struct SetupError {
    message: String,
    hint: Option<String>,
}

impl SetupError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }
}

impl From<RunError> for SetupError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Refused(refusal) => refusal.into(),
            other => Self::new(other.to_string()),
        }
    }
}

impl From<crate::engine::uring::Refusal> for SetupError {
    fn from(refusal: crate::engine::uring::Refusal) -> Self {
        Self {
            message: refusal.to_string(),
            hint: Some(match refusal.hint {
                "" => "--engine threads does without io_uring".to_owned(),
                hint => format!("--engine threads does without io_uring; {hint}"),
            }),
        }
    }
}

fn try_hash(arguments: HashArguments) -> Result<Outcome, SetupError> {
    let interrupt = Interrupt::watch()
        .map_err(|error| SetupError::new(format!("cannot watch for signals: {error}")))?;
    let lists = lists_of(&arguments)?;
    let descriptors = Descriptors::raise();
    let wishes = Wishes {
        order: if arguments.unordered {
            Order::Completion
        } else {
            Order::Input
        },
        fail_fast: arguments.fail_fast,
        timeout: arguments.timeout,
    };
    let plan = plan::plan(&arguments.resources, wishes, &descriptors)?;
    if arguments.verbose {
        plan::describe(&plan, &descriptors);
    }
    // Only now: it empties the file.
    let output = Output::open(arguments.output.as_deref())?;
    let job = HashJob {
        algorithm: arguments.algorithm,
        read_special: arguments.special == Special::Read,
        strict: arguments.strict,
    };
    let mut sink = HashSink::new(&arguments, output);
    let flag = &interrupt.flag;
    let report = if let Some(lists) = lists {
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
        sink.show_progress(arguments.progress, total);
        run(&plan, job, source, &mut sink, flag)?
    } else {
        sink.show_progress(
            arguments.progress,
            Total::Items(arguments.paths.len() as u64),
        );
        run(&plan, job, Arguments::new(arguments.paths), &mut sink, flag)?
    };
    sink.finish();
    Ok(conclude(
        &report,
        &plan,
        arguments.verbose,
        &interrupt,
        &sink,
    ))
}

/// The lists to read; `None` if the items are the arguments themselves.
fn lists_of(arguments: &HashArguments) -> Result<Option<Vec<PathBuf>>, SetupError> {
    if !arguments.paths.is_empty() {
        return Ok(None);
    }
    if arguments.files_from.is_empty() {
        if io::stdin().is_terminal() {
            return Err(SetupError {
                message: "nothing to hash".to_owned(),
                hint: Some("ringmill hash FILE…, or find . -type f | ringmill hash".to_owned()),
            });
        }
        return Ok(Some(vec!["-".into()]));
    }
    for list in arguments
        .files_from
        .iter()
        .filter(|list| list.as_os_str() != "-")
    {
        // Only a look: opening a FIFO would take its first bytes away from the run.
        list.metadata().map_err(|error| {
            let cause = Errno::from(&error);
            SetupError::new(format!("{}: cannot open: {cause}", list.display()))
        })?;
    }
    Ok(Some(arguments.files_from.clone()))
}

/// The bytes in all lists, if all are regular files.
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

/// Says how it went, and decides the exit code.
fn conclude(
    report: &Report,
    plan: &Plan,
    verbose: bool,
    interrupt: &Interrupt,
    sink: &HashSink,
) -> Outcome {
    if verbose {
        messages::about_run(&format_args!("engine: {} × {}", plan.loops, report.engine));
    }
    if let Some(refusal) = &report.fell_back {
        messages::about_run(&format_args!("{refusal}; used threads"));
    }
    if let Some(error) = &report.alone {
        let cause = Errno::from(error);
        messages::about_run(&format_args!(
            "cannot start a thread: {cause}; used one for everything, which is slow"
        ));
    }
    if sink.shows_summary {
        messages::about_run(&sink.summary);
    }
    if let Some(error) = &report.input_error {
        messages::about_run(error);
        return Outcome::Unusable;
    }
    match &report.end {
        End::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // Whoever read the results has seen enough. That is how `| head` works.
            Outcome::AllWell
        }
        End::Output(error) => {
            let cause = Errno::from(error);
            messages::about_run(&format_args!("{}: cannot write: {cause}", sink.output.name));
            Outcome::Unusable
        }
        End::Interrupted => {
            let Counters {
                pulled, emitted, ..
            } = report.counters;
            messages::about_run(&format_args!(
                "interrupted: {pulled} items pulled, {emitted} emitted"
            ));
            interrupt
                .signal()
                .map_or(Outcome::Unusable, Outcome::Signal)
        }
        End::Complete | End::FailFast if report.failed > 0 => Outcome::SomeFailed,
        End::Complete | End::FailFast => Outcome::AllWell,
    }
}

/// Where results are written.
struct Output {
    name: String,
    file: File,
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self, SetupError> {
        let (name, file) = match path {
            Some(path) => (path.display().to_string(), File::create(path)),
            None if stdout_was_closed() => {
                let closed = io::Error::from_raw_os_error(libc::EBADF);
                ("standard output".to_owned(), Err(closed))
            }
            // Not `io::stdout`, which would write line by line.
            None => {
                let stdout = io::stdout().as_fd().try_clone_to_owned();
                ("standard output".to_owned(), stdout.map(File::from))
            }
        };
        let file = file.map_err(|error| {
            let cause = Errno::from(&error);
            SetupError::new(format!("{name}: cannot open for writing: {cause}"))
        })?;
        Ok(Self { name, file })
    }
}

/// Prints results, and keeps count of them.
struct HashSink {
    output: Output,
    buffer: Vec<u8>,
    format: Format,
    layout: Layout,
    algorithm: Algorithm,
    summary: Summary,
    shows_summary: bool,
    progress: Option<Progress>,
}

impl HashSink {
    fn new(arguments: &HashArguments, output: Output) -> Self {
        Self {
            output,
            buffer: Vec::with_capacity(2 * OUTPUT_BUFFER_LEN),
            format: arguments.format,
            layout: Layout {
                tag: arguments.tag,
                zero: arguments.zero,
            },
            algorithm: arguments.algorithm,
            summary: Summary::new(),
            shows_summary: arguments.summary,
            progress: None,
        }
    }

    fn show_progress(&mut self, when: When, total: Total) {
        let shown = match when {
            When::Auto => io::stderr().is_terminal(),
            When::Always => true,
            When::Never => false,
        };
        self.progress = shown.then(|| Progress::new(total));
    }

    fn say(&self, name: &[u8], message: &dyn std::fmt::Display) {
        match &self.progress {
            Some(progress) => progress.suspend(|| messages::about_item(name, message)),
            None => messages::about_item(name, message),
        }
    }

    fn finish(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.clear();
        }
    }
}

impl Sink<Hashed> for HashSink {
    fn result(&mut self, finished: Finished<Hashed>) -> io::Result<()> {
        let Finished {
            item,
            latency_ns,
            result,
        } = finished;
        let name = item.bytes();
        let bytes = result.as_ref().ok().map(|hashed| hashed.size_bytes);
        self.summary.record(latency_ns, bytes);
        match &result {
            Err(error) => self.say(name, error),
            Ok(hashed) if hashed.changed => {
                self.say(name, &"warning: changed while it was read");
            }
            Ok(_) => {}
        }
        match (self.format, &result) {
            (Format::Gnu, Ok(hashed)) => {
                let Self {
                    layout, algorithm, ..
                } = *self;
                gnu::write_line(&mut self.buffer, layout, algorithm, &hashed.digest, name);
            }
            (Format::Gnu, Err(_)) => {}
            (Format::Jsonl, result) => {
                let algorithm = self.algorithm;
                jsonl::write_hash_row(&mut self.buffer, item.index(), name, algorithm, result);
            }
        }
        if self.buffer.len() >= OUTPUT_BUFFER_LEN {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.output.file.write_all(&self.buffer);
        self.buffer.clear();
        written
    }

    fn tick(&mut self, counters: Counters) {
        if let Some(progress) = &mut self.progress {
            progress.tick(&self.summary, counters);
        }
    }
}
