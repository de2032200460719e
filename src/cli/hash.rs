//! `ringmill hash`.

use super::Outcome;
use super::arguments::{Format, HashArguments, Special};
use super::interrupt::Interrupt;
use super::limits::Descriptors;
use super::observer::Observer;
use super::output::Output;
use super::plan::{self, Wishes};
use super::setup_error::SetupError;
use crate::digest::Algorithm;
use crate::error::Errno;
use crate::jobs::hash::{HashJob, Hashed};
use crate::mill::{Counters, Finished, Order};
use crate::run::{End, Plan, Report, Sink, run};
use crate::sink::gnu::{self, Layout};
use crate::sink::{jsonl, messages};
use crate::source::{Arguments, Lists, Separator};
use crate::stats::Total;
use serde_json::{Map, Value};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Results gathered before they are written, even while more are ready.
const OUTPUT_BUFFER_LEN: usize = 64 * 1024;

pub(super) fn hash(arguments: HashArguments) -> Outcome {
    match try_hash(arguments) {
        Ok(outcome) => outcome,
        Err(error) => {
            error.tell();
            Outcome::Unusable
        }
    }
}

fn try_hash(arguments: HashArguments) -> Result<Outcome, SetupError> {
    let interrupt = Interrupt::watch()
        .map_err(|error| SetupError::new(format!("cannot watch for signals: {error}")))?;
    let lists = lists_of(&arguments)?;
    let mut descriptors = Descriptors::raise();
    descriptors.in_use += arguments.measure.forms.descriptors();
    let wishes = Wishes {
        order: if arguments.unordered {
            Order::Completion
        } else {
            Order::Input
        },
        fail_fast: arguments.fail_fast,
        timeout: arguments.timeout,
    };
    let mut plan = plan::plan(&arguments.resources, wishes, &descriptors)?;
    if arguments.verbose {
        plan::describe(&plan, &descriptors);
    }
    // Only now: it empties files.
    let output = Output::open(arguments.output.as_deref())?;
    let observer = Observer::new(&arguments.measure)?;
    plan.latencies = observer.collector();
    let options = options(&arguments, &plan);
    let job = HashJob {
        algorithm: arguments.algorithm,
        read_special: arguments.special == Special::Read,
        strict: arguments.strict,
    };
    let mut sink = HashSink::new(&arguments, output, observer);
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
        sink.observer.expect(total);
        run(&plan, job, source, &mut sink, flag)?
    } else {
        sink.observer
            .expect(Total::Items(arguments.paths.len() as u64));
        run(&plan, job, Arguments::new(arguments.paths), &mut sink, flag)?
    };
    if arguments.verbose {
        messages::about_run(&format_args!("engine: {} × {}", plan.loops, report.engine));
    }
    let measured = sink
        .observer
        .finish("hash", options, &plan, &descriptors, &report);
    let outcome = conclude(&report, &interrupt, &sink.output);
    match measured {
        Ok(()) => Ok(outcome),
        Err(error) => {
            error.tell();
            Ok(outcome.worst(Outcome::Unusable))
        }
    }
}

/// What was asked for, for a document.
fn options(arguments: &HashArguments, plan: &Plan) -> Map<String, Value> {
    let mut options = plan::options(plan);
    options.insert("algorithm".to_owned(), arguments.algorithm.name().into());
    let reads_special = arguments.special == Special::Read;
    options.insert("read_special".to_owned(), reads_special.into());
    options.insert("strict".to_owned(), arguments.strict.into());
    options
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
        list.metadata()
            .map_err(|error| SetupError::io(&list.display().to_string(), "open", &error))?;
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
fn conclude(report: &Report, interrupt: &Interrupt, output: &Output) -> Outcome {
    if let Some(refusal) = &report.fell_back {
        messages::about_run(&format_args!("{refusal}; used threads"));
    }
    if let Some(error) = &report.alone {
        let cause = Errno::from(error);
        messages::about_run(&format_args!(
            "cannot start a thread: {cause}; used one for everything, which is slow"
        ));
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
            messages::about_run(&format_args!("{}: cannot write: {cause}", output.name));
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

/// Prints results.
struct HashSink {
    output: Output,
    buffer: Vec<u8>,
    format: Format,
    layout: Layout,
    algorithm: Algorithm,
    observer: Observer,
}

impl HashSink {
    fn new(arguments: &HashArguments, output: Output, observer: Observer) -> Self {
        Self {
            output,
            buffer: Vec::with_capacity(2 * OUTPUT_BUFFER_LEN),
            format: arguments.format,
            layout: Layout {
                tag: arguments.tag,
                zero: arguments.zero,
            },
            algorithm: arguments.algorithm,
            observer,
        }
    }
}

impl Sink<Hashed> for HashSink {
    fn result(&mut self, finished: Finished<Hashed>) -> io::Result<()> {
        let Finished { item, result, .. } = finished;
        let name = item.bytes();
        let observer = &mut self.observer;
        observer.count(result.as_ref().map(|hashed| hashed.size_bytes));
        match &result {
            Err(error) => observer.say(name, error),
            Ok(hashed) => {
                observer.visited(Path::new(OsStr::from_bytes(name)));
                if hashed.changed {
                    observer.say(name, &"warning: changed while it was read");
                }
            }
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
        let written = self.output.write_all(&self.buffer);
        self.buffer.clear();
        written
    }

    fn tick(&mut self, counters: Counters) {
        self.observer.tick(counters);
    }
}
