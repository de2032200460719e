//! A run in progress.

use super::emitter::{Emitter, Step};
use super::loops::Loops;
use super::plan::{EngineKind, Plan, new_mill};
use super::report::{End, Report, RunError};
use super::single_threaded;
use super::sink::Sink;
use super::source_thread::{Panic, start_source_thread};
use super::stop::Stop;
use crate::io::Wake;
use crate::jobs::Job;
use crate::lock::lock;
use crate::mill::{Counters, Mill};
use crate::source::Source;
use std::io;
use std::panic;
use std::sync::Arc;
#[cfg(feature = "stream")]
use std::task::Waker;
use std::time::Duration;

/// Runs the job over every item of the source and gives the results to the sink, on the calling
/// thread. `stop` ends it early.
///
/// When the run ends early, it does not wait for the source's thread, which may be blocked in a read.
///
/// # Panics
/// If the job, the source or the sink panics, with that panic, once all threads have ended. If the source
/// panics, the results of its earlier items are emitted first.
///
/// # Errors
/// If the engine is not available or fails, or a thread that it needs cannot be started.
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
            single_threaded::run(plan, &job, source, sink, stop, error)
        }
        Err((_, error)) => Err(RunError::Thread(error)),
    }
}

/// A run in progress: its threads, and the emitter that takes their results. Dropping it stops the run
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
    /// If no thread can be started for the source or for a loop. The source is returned.
    pub(crate) fn start<J: Job<Value = V>, S: Source>(
        plan: &Plan,
        job: &Arc<J>,
        source: S,
        stop: &Stop,
    ) -> Result<Self, (S, io::Error)> {
        let mill = Arc::new(new_mill(plan, plan.loops));
        stop.wakes(&(Arc::clone(&mill) as Arc<dyn Wake>));
        // The source is sent to its thread only when all threads run: a value moved into a thread that
        // cannot be started is lost.
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
    /// [`Step::Ended`] says why the run ends; then call [`Running::finish`].
    ///
    /// # Errors
    /// If the sink fails.
    pub(crate) fn step(
        &mut self,
        sink: &mut dyn Sink<V>,
        stop: &Stop,
        timeout: Duration,
    ) -> io::Result<Step> {
        self.emitter.step(sink, stop, timeout, &mut None)
    }

    /// Calls this waker once, when another step may give results.
    #[cfg(feature = "stream")]
    pub(crate) fn set_waker(&self, waker: &Waker) {
        self.mill.set_output_waker(waker);
    }

    /// The progress so far.
    pub(crate) fn counters(&self) -> Counters {
        self.mill.counters()
    }

    /// Ends the run for this reason, and waits for its loops.
    ///
    /// # Panics
    /// If the job or the source has panicked, with that panic.
    ///
    /// # Errors
    /// If the engine was not available, or has failed.
    pub(crate) fn finish(mut self, end: End) -> Result<Report, RunError> {
        self.emitter.end(&end);
        let failed = self.emitter.failed;
        // Its drop publishes the latencies that it has recorded.
        drop(self.emitter);
        let facts = self.loops.join()?;
        let source_panic = lock(&self.source_panic).take();
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
