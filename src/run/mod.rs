//! Runs a job: one thread for the source, one for each loop, and the caller's for the results. Where
//! there can be no threads, the caller's does it all.

mod alone;
mod credentials;
mod descriptors;
mod emitter;
mod event_loop;
mod fit;
mod loops;
mod open_files;
mod ready;
mod scheduling;
mod shortfall;
mod stop;
mod tasks;
mod workers;

pub(crate) use emitter::Step;
pub use event_loop::{EventLoop, LoopLimits, Turn};
pub use fit::Engine;
pub(crate) use fit::{Unfit, Wishes};
pub(crate) use open_files::Descriptors;
#[cfg(feature = "cli")]
pub(crate) use open_files::soft_limit;
pub use stop::Stop;
pub use tasks::{Tasks, tasks_of};
pub use workers::{Desk, Workers};

pub use crate::io::Held;

use crate::clock;
use crate::io::Wake;
use crate::io::uring::Refusal;
use crate::jobs::Job;
use crate::mill::{Counters, Finished, Mill, Order, Pace};
use crate::source::{InputError, Source};
use crate::stats::{Activity, Collector};
use emitter::Emitter;
use loops::Loops;
use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
#[cfg(feature = "stream")]
use std::task::Waker;
use std::time::Duration;

/// The memory for large buffers, all loops together.
const LARGE_BUFFERS: usize = 32;

/// Which engine carries out the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// io_uring.
    Uring,
    /// A pool of threads. Makes no io_uring call.
    Threads,
}

/// What a run may use, after everything has been fitted to the system's limits.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The engine.
    pub engine: EngineKind,
    /// Let a loop that cannot have a ring use threads.
    pub may_fall_back: bool,
    /// Items in flight, all loops together.
    pub in_flight: usize,
    /// Items between pull and emission.
    pub window: usize,
    /// Bytes of finished items, their places included, that may wait for an earlier one or for the sink.
    /// Beyond that, only what is in flight is finished. `usize::MAX` leaves it to `window`.
    pub window_bytes: usize,
    /// Event loops.
    pub loops: usize,
    /// Threads for calls that block, all loops together.
    pub io_workers: usize,
    /// Bytes of parts of results that may wait for earlier items, all items together. One part more
    /// may be held, and two of the item whose turn it is.
    pub part_bytes: usize,
    /// Whether results leave in input order.
    pub order: Order,
    /// End the run at the first failure in the order of output.
    pub fail_fast: bool,
    /// Each item's deadline after its first submission.
    pub timeout: Option<Duration>,
    /// Items to start per second, at most: a positive number. Without it, as many as can be.
    pub rate_per_s: Option<f64>,
    /// Collects the latencies, if they are to be recorded; made for the job's [`Job::PHASES`].
    pub latencies: Option<Arc<Collector>>,
    /// Give each loop a table of open files of its own, so that the loops do not contend for one.
    /// The job must then not use descriptors of the program's.
    pub separate_descriptors: bool,
}

impl Plan {
    /// The share that each loop has of a rate for all of them.
    #[cfg(feature = "dns")]
    pub(crate) fn share_of_rate(&self, rate_per_s: f64) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let loops = self.loops as f64;
        rate_per_s / loops
    }
}

/// Takes results in order.
pub trait Sink<V> {
    /// Takes the next result.
    ///
    /// # Errors
    /// If it cannot be written. The run then ends.
    fn result(&mut self, finished: Finished<V>) -> io::Result<()>;

    /// Takes a part of the result of the item with this index. All parts of an item come one after
    /// the other, and then its result, unless the run ends before.
    ///
    /// # Errors
    /// If it cannot be written. The run then ends. So it does if the sink expects no parts.
    fn part(&mut self, _index: u64, _bytes: &[u8]) -> io::Result<()> {
        let message = "the job gives results in parts, and the output takes none";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    /// Nothing more is ready: what has been taken should now be seen.
    ///
    /// # Errors
    /// If it cannot be written. The run then ends.
    fn flush(&mut self) -> io::Result<()>;

    /// Called whenever there were results, or nothing has happened for a [`Sink::tick_interval`].
    fn tick(&mut self, _counters: Counters) {}

    /// How often [`Sink::tick`] is to be called while nothing happens. With `None`, it is not, and a run
    /// that waits does nothing at all.
    fn tick_interval(&self) -> Option<Duration> {
        None
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    /// Items taken from the input, and results written out.
    pub counters: Counters,
    /// Results that were failures.
    pub failed: u64,
    /// What the loops did.
    pub activity: Activity,
    /// Why it ended.
    pub end: End,
    /// The input's own error, after all earlier items.
    pub input_error: Option<InputError>,
    /// What the first loop's engine is made of.
    pub engine: String,
    /// Why a loop had to make do with threads, if one had to.
    pub fell_back: Option<Refusal>,
    /// Why everything was done on the calling thread, if no other could be started.
    pub alone: Option<io::Error>,
}

/// Why a run ended.
#[derive(Debug)]
pub enum End {
    /// Every item has its result.
    Complete,
    /// An item failed, and the run was told to end at that.
    FailFast,
    /// It was told to stop.
    Interrupted,
    /// The results could not be written.
    Output(io::Error),
}

/// A run that could not be, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The engine is not to be had here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The engine failed under way.
    #[error("the engine failed: {0}")]
    Engine(io::Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Runs the job over every item of the source and gives the results to the sink, on the calling
/// thread. `stop` ends it early.
///
/// The source's thread is left to itself when the run ends early: it may be blocked in a read.
///
/// # Panics
/// If the job, the source or the sink does, with their panic, once all threads have ended. Results of
/// items before a panic of the source come first.
///
/// # Errors
/// If the engine cannot be had or fails, or no thread can be started that it needs.
pub fn run<J: Job, S: Source>(
    plan: &Plan,
    job: J,
    source: S,
    sink: &mut dyn Sink<J::Value>,
    stop: &Stop,
) -> Result<Report, RunError> {
    let job = Arc::new(job);
    match Running::start(plan, &job, source, stop) {
        Ok(mut running) => {
            let end = running.emitter.run(sink, stop, None);
            running.finish(end)
        }
        Err((source, error)) if plan.engine == EngineKind::Threads || plan.may_fall_back => {
            alone::run(plan, &job, source, sink, stop, error)
        }
        Err((_, error)) => Err(RunError::Thread(error)),
    }
}

/// A run under way: the threads that make results, for whoever takes these. Dropping it stops the run
/// and waits for its loops.
pub(crate) struct Running<V: Send + 'static> {
    emitter: Emitter<V>,
    mill: Arc<Mill<V>>,
    loops: Loops<V>,
    source_panic: Arc<Panic>,
}

impl<V: Send + 'static> Running<V> {
    /// Starts the threads.
    ///
    /// # Errors
    /// If no thread can be started for the source or for a loop. The source comes back.
    pub(crate) fn start<J: Job<Value = V>, S: Source>(
        plan: &Plan,
        job: &Arc<J>,
        source: S,
        stop: &Stop,
    ) -> Result<Self, (S, io::Error)> {
        let mill = Arc::new(new_mill(plan, plan.loops));
        stop.wakes(&(Arc::clone(&mill) as Arc<dyn Wake>));
        // The source's thread comes first and without the source: what is given to a thread that cannot
        // be started is lost.
        let source_panic = Arc::<Panic>::default();
        let started = start_source_thread(&mill, &source_panic)
            .and_then(|source_thread| Ok((source_thread, Loops::start(plan, job, &mill)?)));
        let (source_thread, loops) = match started {
            Ok(started) => started,
            Err(error) => return Err((source, error)),
        };
        source_thread
            .send(source)
            .unwrap_or_else(|_| unreachable!("the thread waits for its source"));
        Ok(Self {
            emitter: Emitter::new(&mill, plan),
            mill,
            loops,
            source_panic,
        })
    }

    /// Gives results to the sink as soon as some are ready, but waits for them no longer than `timeout`.
    /// Once the run has ended or is to end, it says why, and [`Running::finish`] is to be called.
    ///
    /// # Errors
    /// If the sink has one.
    pub(crate) fn step(
        &mut self,
        sink: &mut dyn Sink<V>,
        stop: &Stop,
        timeout: Duration,
    ) -> io::Result<Step> {
        self.emitter.step(sink, stop, timeout, &mut None)
    }

    /// Has this waker called when another step may come to something, once.
    #[cfg(feature = "stream")]
    pub(crate) fn set_waker(&self, waker: &Waker) {
        self.mill.set_output_waker(waker);
    }

    /// How far things are.
    pub(crate) fn counters(&self) -> Counters {
        self.mill.counters()
    }

    /// Ends the run for this reason, and waits for its loops.
    ///
    /// # Panics
    /// If the job or the source has, with their panic.
    ///
    /// # Errors
    /// If the engine could not be had, or has failed.
    pub(crate) fn finish(mut self, end: End) -> Result<Report, RunError> {
        self.emitter.end(&end);
        let failed = self.emitter.failed;
        // What it has recorded is published when it is dropped.
        drop(self.emitter);
        let facts = self.loops.join()?;
        let source_panic = self.source_panic.lock();
        let source_panic = source_panic.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = source_panic {
            panic::resume_unwind(panic);
        }
        Ok(Report {
            fell_back: facts.fell_back,
            activity: facts.activity,
            ..Report::new(&self.mill, end, failed, facts.engine)
        })
    }
}

fn new_mill<V>(plan: &Plan, loops: usize) -> Mill<V> {
    Mill::new(plan.order, plan.window, loops, plan.fail_fast)
        .window_bytes(plan.window_bytes)
        .part_bytes(plan.part_bytes)
        .paced(plan.rate_per_s.map(Pace::new))
}

impl Report {
    /// What is to be said of every run that has ended.
    fn new<V>(mill: &Mill<V>, end: End, failed: u64, engine: String) -> Self {
        Self {
            counters: mill.counters(),
            failed,
            activity: Activity::default(),
            // It comes after all items, so only a complete run has come to it.
            input_error: match end {
                End::Complete => mill.take_input_error(),
                _ => None,
            },
            end,
            engine,
            fell_back: None,
            alone: None,
        }
    }
}

/// The panic of a source, until it is passed on.
type Panic = Mutex<Option<Box<dyn Any + Send>>>;

/// Starts the thread that reads the source it is sent.
fn start_source_thread<S: Source, V: Send + 'static>(
    mill: &Arc<Mill<V>>,
    source_panic: &Arc<Panic>,
) -> io::Result<mpsc::Sender<S>> {
    let (sender, receiver) = mpsc::channel();
    let (mill, source_panic) = (Arc::clone(mill), Arc::clone(source_panic));
    let thread = std::thread::Builder::new().name("ringmill-source".to_owned());
    thread.spawn(move || {
        // Where no loop can be started, none is sent.
        let Ok(mut source) = receiver.recv() else {
            return;
        };
        // Nothing of the source is used after a panic.
        let read = panic::catch_unwind(AssertUnwindSafe(|| while feed(&mut source, &mill) {}));
        if let Err(panic) = read {
            *source_panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            // The run must not wait for what never comes.
            mill.end_input(Ok(()));
        }
    })?;
    Ok(sender)
}

/// Adds the source's next items to the mill. False if there will be no more, or nobody wants them.
fn feed<V>(source: &mut impl Source, mill: &Mill<V>) -> bool {
    match source.next_batch() {
        Ok(Some(batch)) => return mill.add(batch, clock::now()),
        Ok(None) => mill.end_input(Ok(())),
        Err(error) => mill.end_input(Err(error)),
    }
    false
}

#[cfg(test)]
mod parts_tests;
#[cfg(test)]
mod tests;
