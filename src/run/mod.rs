//! Runs a job: one thread for the source, one for each loop, and the caller's for the results.

mod credentials;
mod descriptors;
mod event_loop;

pub use event_loop::{EventLoop, LoopLimits, Turn};

use crate::engine::threads::ThreadsEngine;
use crate::engine::uring::{Refusal, UringEngine, WakeUp};
use crate::jobs::Job;
use crate::mill::{Counters, Finished, Mill, Order, Ready};
use crate::source::{InputError, Source};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Results taken from the mill at once.
const RESULTS_PER_TAKE: usize = 256;

/// How often the emitter looks up from waiting: for a signal, and to show progress.
const TICK: Duration = Duration::from_millis(100);

/// The memory for large buffers, all loops together.
const LARGE_BUFFERS: usize = 64;

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
    /// Event loops.
    pub loops: usize,
    /// Threads for calls that block, all loops together.
    pub io_workers: usize,
    /// Whether results leave in input order.
    pub order: Order,
    /// End the run at the first failure in the order of output.
    pub fail_fast: bool,
    /// Each item's deadline after its first submission.
    pub timeout: Option<Duration>,
    /// Give each loop a table of open files of its own, so that the loops do not contend for one.
    /// The job must then not use descriptors itself, and a descriptor that the program closes
    /// during the run is let go of only at its end.
    pub separate_descriptors: bool,
}

/// Takes results in order.
pub trait Sink<V> {
    /// Takes the next result.
    ///
    /// # Errors
    /// If it cannot be written. The run then ends.
    fn result(&mut self, finished: Finished<V>) -> io::Result<()>;

    /// Nothing more is ready: what has been taken should now be seen.
    ///
    /// # Errors
    /// If it cannot be written. The run then ends.
    fn flush(&mut self) -> io::Result<()>;

    /// Called now and then.
    fn tick(&mut self, _counters: Counters) {}
}

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    /// Items taken from the input, and results written out.
    pub counters: Counters,
    /// Results that were failures.
    pub failed: u64,
    /// Why it ended.
    pub end: End,
    /// The input's own error, after all earlier items.
    pub input_error: Option<InputError>,
    /// What the first loop's engine is made of.
    pub engine: String,
    /// Why a loop had to make do with threads, if one had to.
    pub fell_back: Option<Refusal>,
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
/// thread. Setting `interrupt` stops it.
///
/// The source's thread is left to itself when the run ends early: it may be blocked in a read.
///
/// # Errors
/// If the engine or a thread cannot be had, or the engine fails.
pub fn run<J: Job, S: Source>(
    plan: &Plan,
    job: J,
    source: S,
    sink: &mut dyn Sink<J::Value>,
    interrupt: &AtomicBool,
) -> Result<Report, RunError> {
    let mill = Arc::new(Mill::new(
        plan.order,
        plan.window,
        plan.loops,
        plan.fail_fast,
    ));
    let loops = Loops::start(plan, &Arc::new(job), &mill)?;
    if let Err(error) = start_source(source, Arc::clone(&mill)) {
        mill.stop();
        return loops.join().and(Err(error));
    }
    let mut emitter = Emitter {
        mill: &mill,
        sink,
        fail_fast: plan.fail_fast,
        failed: 0,
    };
    let end = emitter.run(interrupt);
    let failed = emitter.failed;
    if !matches!(end, End::Complete) {
        mill.stop();
    }
    let Told {
        engine, fell_back, ..
    } = loops.join()?;
    let input_error = if matches!(end, End::Complete) {
        mill.take_input_error()
    } else {
        None
    };
    Ok(Report {
        counters: mill.counters(),
        failed,
        end,
        input_error,
        engine,
        fell_back,
    })
}

fn start_source<V: Send + 'static>(
    mut source: impl Source,
    mill: Arc<Mill<V>>,
) -> Result<(), RunError> {
    let feed = move || {
        let guard = SourceGuard(&mill);
        loop {
            match source.next_batch() {
                Ok(Some(batch)) => {
                    if !mill.add(batch) {
                        return;
                    }
                }
                Ok(None) => return guard.0.end_input(Ok(())),
                Err(error) => return guard.0.end_input(Err(error)),
            }
        }
    };
    let thread = std::thread::Builder::new().name("ringmill-source".to_owned());
    thread.spawn(feed).map(drop).map_err(RunError::Thread)
}

/// Ends the input if the source panics: the run must not wait for what never comes.
struct SourceGuard<'a, V>(&'a Mill<V>);

impl<V> Drop for SourceGuard<'_, V> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (name, message) = ("the source".to_owned(), "it panicked".to_owned());
            self.0.end_input(Err(InputError {
                name,
                operation: "go on",
                message,
            }));
        }
    }
}

/// Says that a loop has ended, however it did. One that panics stops the others.
struct LoopGuard<'a, V>(&'a Mill<V>, usize);

impl<V> Drop for LoopGuard<'_, V> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
        self.0.loop_ended(self.1);
    }
}

/// The threads of the event loops.
struct Loops {
    threads: Vec<JoinHandle<()>>,
    /// One for each loop that is to have a ring. All are made before the first loop starts, so that
    /// each loop's descriptor table has them: a loop that fails wakes the others. They are kept until
    /// the last has ended: closed by one of them, they would stay open in everybody else's table.
    wake_ups: Vec<Result<Arc<WakeUp>, Refusal>>,
    told: Arc<Mutex<Told>>,
}

/// What the loops tell about themselves.
#[derive(Default)]
struct Told {
    engine: String,
    fell_back: Option<Refusal>,
    failure: Option<RunError>,
}

impl Loops {
    fn start<J: Job>(
        plan: &Plan,
        job: &Arc<J>,
        mill: &Arc<Mill<J::Value>>,
    ) -> Result<Self, RunError> {
        let rings = match plan.engine {
            EngineKind::Uring => plan.loops,
            EngineKind::Threads => 0,
        };
        let mut loops = Self {
            threads: Vec::new(),
            wake_ups: std::iter::repeat_with(WakeUp::new).take(rings).collect(),
            told: Arc::default(),
        };
        for index in 0..plan.loops {
            match loops.start_one(index, plan.clone(), Arc::clone(job), Arc::clone(mill)) {
                Ok(()) => {}
                // One loop is enough to do everything, if more slowly.
                Err(_) if index > 0 => mill.loop_ended(index),
                Err(error) => return Err(RunError::Thread(error)),
            }
        }
        Ok(loops)
    }

    fn start_one<J: Job>(
        &mut self,
        index: usize,
        plan: Plan,
        job: Arc<J>,
        mill: Arc<Mill<J::Value>>,
    ) -> io::Result<()> {
        let told = Arc::clone(&self.told);
        let wake_up = self.wake_ups.get(index).cloned();
        let thread = std::thread::Builder::new().name(format!("ringmill-loop{index}"));
        let thread = thread.spawn(move || {
            let _guard = LoopGuard(&mill, index);
            credentials::separate();
            if plan.separate_descriptors {
                descriptors::separate();
            }
            if let Err(error) = run_loop(index, &plan, wake_up, job, &mill, &told) {
                lock(&told).failure.get_or_insert(error);
                mill.stop();
            }
        })?;
        self.threads.push(thread);
        Ok(())
    }

    fn join(self) -> Result<Told, RunError> {
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        let mut told = std::mem::take(&mut *lock(&self.told));
        match told.failure.take() {
            Some(error) => Err(error),
            None => Ok(told),
        }
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of `total` that falls to one of `shares`.
fn share(total: usize, shares: usize, index: usize) -> usize {
    (total / shares + usize::from(index < total % shares)).max(1)
}

fn run_loop<J: Job>(
    index: usize,
    plan: &Plan,
    wake_up: Option<Result<Arc<WakeUp>, Refusal>>,
    job: Arc<J>,
    mill: &Arc<Mill<J::Value>>,
    told: &Mutex<Told>,
) -> Result<(), RunError> {
    use crate::engine::Engine;
    let limits = LoopLimits {
        in_flight: share(plan.in_flight, plan.loops, index),
        large_buffers: share(LARGE_BUFFERS, plan.loops, index),
        timeout: plan.timeout,
    };
    let workers = share(plan.io_workers, plan.loops, index);
    let describe = |text: String| {
        if index == 0 {
            lock(told).engine = text;
        }
    };
    let mill = Arc::clone(mill);
    // Each item has one operation outstanding, or some reads, which the buffers limit.
    let outstanding_max = limits.in_flight + limits.large_buffers;
    let uring = wake_up.map(|wake_up| UringEngine::new(outstanding_max, workers, wake_up?));
    let uring = match uring {
        Some(Err(refusal)) if plan.may_fall_back => {
            lock(told).fell_back.get_or_insert(refusal);
            None
        }
        other => other.transpose()?,
    };
    if let Some(engine) = uring {
        describe(engine.describe());
        return EventLoop::new(index, mill, job, engine, limits)
            .run()
            .map_err(RunError::Engine);
    }
    let engine = ThreadsEngine::new(workers);
    describe(engine.describe());
    EventLoop::new(index, mill, job, engine, limits)
        .run()
        .map_err(RunError::Engine)
}

/// Takes results out of the mill and gives them to the sink.
struct Emitter<'a, V> {
    mill: &'a Mill<V>,
    sink: &'a mut dyn Sink<V>,
    fail_fast: bool,
    failed: u64,
}

impl<V> Emitter<'_, V> {
    fn run(&mut self, interrupt: &AtomicBool) -> End {
        match self.emit_all(interrupt) {
            Ok(end) => match self.sink.flush() {
                Ok(()) => end,
                Err(error) => End::Output(error),
            },
            Err(error) => End::Output(error),
        }
    }

    fn emit_all(&mut self, interrupt: &AtomicBool) -> io::Result<End> {
        let mut results = Vec::with_capacity(RESULTS_PER_TAKE);
        let mut timeout = Duration::ZERO;
        loop {
            if interrupt.load(Ordering::Relaxed) {
                self.stop_and_drain(&mut results)?;
                return Ok(End::Interrupted);
            }
            match self
                .mill
                .take_ready(RESULTS_PER_TAKE, Some(timeout), &mut results)
            {
                Ready::Ended => return Ok(End::Complete),
                // Flush before the wait, and only then: one write for all that was ready.
                Ready::Nothing if timeout.is_zero() => {
                    self.sink.flush()?;
                    timeout = TICK;
                }
                Ready::Nothing => {}
                Ready::Results => {
                    timeout = Duration::ZERO;
                    if self.emit(&mut results)? {
                        return Ok(End::FailFast);
                    }
                }
            }
            self.sink.tick(self.mill.counters());
        }
    }

    /// Writes the results out; true if the run is to end at one of them.
    fn emit(&mut self, results: &mut Vec<Finished<V>>) -> io::Result<bool> {
        let mut emitted = 0;
        let mut ends = false;
        for finished in results.drain(..) {
            let is_failure = finished.result.is_err();
            self.failed += u64::from(is_failure);
            self.sink.result(finished)?;
            emitted += 1;
            if is_failure && self.fail_fast {
                ends = true;
                break;
            }
        }
        self.mill.mark_emitted(emitted);
        Ok(ends)
    }

    /// Stops the loops, and emits what is finished and next in order.
    fn stop_and_drain(&mut self, results: &mut Vec<Finished<V>>) -> io::Result<()> {
        self.mill.stop();
        while self.mill.take_ready(RESULTS_PER_TAKE, None, results) == Ready::Results {
            if self.emit(results)? {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ItemError;
    use crate::item::{Batch, Item};
    use crate::jobs::{Context, Event};
    use crate::source::Arguments;

    struct PanickingJob;

    impl Job for PanickingJob {
        type State = ();
        type Value = ();

        fn begin(&self) {}

        fn step(
            &self,
            (): &mut (),
            _: &Item,
            _: Event,
            _: &mut Context<'_>,
        ) -> Option<Result<(), ItemError>> {
            panic!("a job with a bug")
        }

        fn discard(&self, (): (), _: &mut Context<'_>) {}
    }

    struct Ignore;

    impl Sink<()> for Ignore {
        fn result(&mut self, _: Finished<()>) -> io::Result<()> {
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    #[should_panic(expected = "a job with a bug")]
    fn a_panic_in_a_loop_ends_the_run() {
        let plan = Plan {
            engine: EngineKind::Threads,
            may_fall_back: false,
            in_flight: 4,
            window: 8,
            loops: 2,
            io_workers: 1,
            order: Order::Input,
            fail_fast: false,
            timeout: None,
            separate_descriptors: true,
        };
        let names = vec!["a".into(), "b".into()];
        let interrupt = AtomicBool::new(false);
        let _ = run(
            &plan,
            PanickingJob,
            Arguments::new(names),
            &mut Ignore,
            &interrupt,
        );
    }

    /// Panics in the first loop, and lets go of its end of a channel when no loop has it any more.
    struct WatchedJob {
        _sender: std::sync::mpsc::Sender<()>,
    }

    impl Job for WatchedJob {
        type State = ();
        type Value = ();

        fn begin(&self) {}

        fn step(
            &self,
            (): &mut (),
            _: &Item,
            _: Event,
            _: &mut Context<'_>,
        ) -> Option<Result<(), ItemError>> {
            let thread = std::thread::current();
            assert_ne!(thread.name(), Some("ringmill-loop0"), "a job with a bug");
            Some(Ok(()))
        }

        fn discard(&self, (): (), _: &mut Context<'_>) {}
    }

    /// An item now and then, for ever.
    struct Trickle;

    impl Source for Trickle {
        fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
            std::thread::sleep(Duration::from_millis(5));
            let mut batch = Batch::default();
            batch.push(b"a");
            Ok(Some(batch))
        }
    }

    #[test]
    fn a_panic_in_a_loop_ends_the_waits_of_all_others() {
        let plan = Plan {
            engine: EngineKind::Uring,
            may_fall_back: true,
            in_flight: 64,
            window: 64,
            loops: 16,
            io_workers: 1,
            order: Order::Input,
            fail_fast: false,
            timeout: None,
            separate_descriptors: true,
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        let job = WatchedJob { _sender: sender };
        std::thread::spawn(move || {
            let _ = run(&plan, job, Trickle, &mut Ignore, &AtomicBool::new(false));
        });
        let all_ended = receiver.recv_timeout(Duration::from_secs(10));
        assert_eq!(
            all_ended,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
