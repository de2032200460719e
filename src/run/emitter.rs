//! The last stage: gives the results to the sink, in order, on the caller's thread.

use super::plan::Plan;
use super::report::End;
use super::sink::Sink;
use super::stop::Stop;
use crate::clock;
use crate::mill::{Mill, Output, Ready};
use crate::stats::{Phase, Recorder};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Results and parts taken from the mill at a time.
const OUTPUT_PER_TAKE: usize = 256;

/// Takes results from the mill and gives them to a sink.
pub(super) struct Emitter<V> {
    mill: Arc<Mill<V>>,
    fail_fast: bool,
    recorder: Recorder,
    output: Output<V>,
    /// Results that the sink has been given and that are not yet marked as emitted in the mill. They keep
    /// their places in the window until the sink has processed them, that is, until the next are taken.
    unmarked: Option<usize>,
    /// Failures among the results so far.
    pub(super) failed: u64,
}

/// In a single-threaded run: takes one step of the event loop, which may produce results.
pub(super) type Work<'a> = &'a mut dyn FnMut();

/// The outcome of a step.
#[derive(Debug)]
pub(crate) enum Step {
    /// The sink was given results.
    Emitted,
    /// Nothing was ready.
    Nothing,
    /// The run has ended, or must end now.
    Ended(End),
}

impl<V> Emitter<V> {
    pub(super) fn new(mill: &Arc<Mill<V>>, plan: &Plan) -> Self {
        let mut output = Output::default();
        output.results.reserve(OUTPUT_PER_TAKE);
        Self {
            mill: Arc::clone(mill),
            fail_fast: plan.fail_fast,
            recorder: Recorder::new(plan.latencies.clone()),
            output,
            unmarked: None,
            failed: 0,
        }
    }

    /// Emits until the run ends. `stop` ends it early.
    pub(super) fn run(
        &mut self,
        sink: &mut dyn Sink<V>,
        stop: &Stop,
        mut work: Option<Work<'_>>,
    ) -> End {
        let end = self.emit_all(sink, stop, &mut work);
        match end.and_then(|end| sink.flush().map(|()| end)) {
            Ok(end) => end,
            Err(error) => End::Output(error),
        }
    }

    /// Ends the run. If it is not complete, the loops cancel what is in flight. The sink gets nothing more.
    pub(super) fn end(&mut self, end: &End) {
        self.mark_emitted();
        if !matches!(end, End::Complete) {
            self.mill.stop();
        }
        self.mill.release_parts();
    }

    fn emit_all(
        &mut self,
        sink: &mut dyn Sink<V>,
        stop: &Stop,
        work: &mut Option<Work<'_>>,
    ) -> io::Result<End> {
        let mut timeout = Duration::ZERO;
        loop {
            match self.step(sink, stop, timeout, work)? {
                Step::Ended(end) => return Ok(end),
                // Flush only before a wait, so that there is one write for all results that were ready.
                Step::Nothing => {
                    if timeout.is_zero() {
                        sink.flush()?;
                    }
                    timeout = self.wait_max(sink.tick_interval());
                }
                Step::Emitted => timeout = Duration::ZERO,
            }
            sink.tick(self.mill.counters());
        }
    }

    /// Emits what is ready. If nothing is, waits for results no longer than `timeout`, or does some `work`.
    ///
    /// # Errors
    /// If the sink fails.
    pub(super) fn step(
        &mut self,
        sink: &mut dyn Sink<V>,
        stop: &Stop,
        timeout: Duration,
        work: &mut Option<Work<'_>>,
    ) -> io::Result<Step> {
        if stop.is_requested() {
            self.stop_and_drain(sink, work)?;
            return Ok(Step::Ended(End::Interrupted));
        }
        let step = match self.take(Some(timeout), work) {
            Ready::Ended => return Ok(Step::Ended(End::Complete)),
            Ready::Nothing => Step::Nothing,
            Ready::Results if self.emit(sink)? => return Ok(Step::Ended(End::FailFast)),
            Ready::Results => Step::Emitted,
        };
        self.recorder.publish_if_due(clock::now_ns());
        Ok(step)
    }

    /// How long to wait for results: until the next tick of the sink, or until latencies are due to be
    /// published.
    fn wait_max(&self, tick_interval: Option<Duration>) -> Duration {
        let publish_at_ns = self.recorder.publish_at_ns();
        let publish_in = publish_at_ns.map(|at_ns| at_ns.saturating_sub(clock::now_ns()));
        let publish_in = publish_in.map(Duration::from_nanos);
        let waits = [tick_interval, publish_in];
        waits.into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    /// Takes what is ready. If nothing is, waits no longer than `timeout`, or does some `work`.
    fn take(&mut self, timeout: Option<Duration>, work: &mut Option<Work<'_>>) -> Ready {
        self.mark_emitted();
        let output = &mut self.output;
        let Some(work) = work else {
            return self.mill.take_output(OUTPUT_PER_TAKE, timeout, output);
        };
        let mut may_work = timeout != Some(Duration::ZERO);
        loop {
            let ready = (self.mill).take_output(OUTPUT_PER_TAKE, Some(Duration::ZERO), output);
            if ready != Ready::Nothing || !may_work {
                return ready;
            }
            work();
            may_work = timeout.is_none();
        }
    }

    /// Marks the results that the sink has been given as emitted.
    fn mark_emitted(&mut self) {
        if let Some(emitted) = self.unmarked.take() {
            self.mill.mark_emitted(emitted);
        }
    }

    /// Gives the results to the sink, each after its parts; true if the run ends at one of them.
    fn emit(&mut self, sink: &mut dyn Sink<V>) -> io::Result<bool> {
        let mut emitted = 0;
        let mut ends = false;
        let now_ns = clock::now_ns();
        let mut parts = self.output.parts.drain(..).peekable();
        for finished in self.output.results.drain(..) {
            let index = finished.item.index();
            while let Some(part) = parts.next_if(|part| part.index == index) {
                sink.part(index, &part.bytes)?;
            }
            let is_failure = finished.is_failure;
            self.failed += u64::from(is_failure);
            let waited_ns = now_ns.saturating_sub(finished.finished_at_ns);
            self.recorder.record(Phase::REORDER, waited_ns);
            sink.result(finished)?;
            emitted += 1;
            if is_failure && self.fail_fast {
                ends = true;
                break;
            }
        }
        // Parts of an item that has not finished.
        for part in parts.filter(|_| !ends) {
            sink.part(part.index, &part.bytes)?;
        }
        self.unmarked = Some(emitted);
        Ok(ends)
    }

    /// Stops the loops, and emits the finished results that are next in order.
    fn stop_and_drain(
        &mut self,
        sink: &mut dyn Sink<V>,
        work: &mut Option<Work<'_>>,
    ) -> io::Result<()> {
        self.mill.stop();
        while self.take(None, work) == Ready::Results {
            if self.emit(sink)? {
                break;
            }
        }
        Ok(())
    }
}
