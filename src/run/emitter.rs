//! The last stage: results leave in order, on the caller's thread.

use super::{End, Plan, Sink, Stop};
use crate::clock;
use crate::mill::{Mill, Output, Ready};
use crate::stats::{Phase, Recorder};
use std::io;
use std::time::Duration;

/// Results and parts taken from the mill at once.
const OUTPUT_PER_TAKE: usize = 256;

/// Takes results out of the mill and gives them to the sink.
pub(super) struct Emitter<'a, V> {
    mill: &'a Mill<V>,
    sink: &'a mut dyn Sink<V>,
    fail_fast: bool,
    /// Where there is no other thread: a little of the work that makes results.
    work: Option<&'a mut dyn FnMut()>,
    recorder: Recorder,
    /// Results so far that were failures.
    pub(super) failed: u64,
}

impl<'a, V> Emitter<'a, V> {
    pub(super) fn new(
        mill: &'a Mill<V>,
        sink: &'a mut dyn Sink<V>,
        plan: &Plan,
        work: Option<&'a mut dyn FnMut()>,
    ) -> Self {
        Self {
            mill,
            sink,
            fail_fast: plan.fail_fast,
            work,
            recorder: Recorder::new(plan.latencies.clone()),
            failed: 0,
        }
    }

    /// Emits until the end, which `stop` brings about early. Then nothing is in flight any more,
    /// or the loops are told to give it up.
    pub(super) fn run(&mut self, stop: &Stop) -> End {
        let end = self.emit_all(stop);
        let end = match end.and_then(|end| self.sink.flush().map(|()| end)) {
            Ok(end) => end,
            Err(error) => End::Output(error),
        };
        if !matches!(end, End::Complete) {
            self.mill.stop();
        }
        self.mill.release_parts();
        end
    }

    fn emit_all(&mut self, stop: &Stop) -> io::Result<End> {
        let mut output = Output::default();
        output.results.reserve(OUTPUT_PER_TAKE);
        let mut timeout = Duration::ZERO;
        loop {
            if stop.is_requested() {
                self.stop_and_drain(&mut output)?;
                return Ok(End::Interrupted);
            }
            match self.take(Some(timeout), &mut output) {
                Ready::Ended => return Ok(End::Complete),
                // Flush before the wait, and only then: one write for all that was ready.
                Ready::Nothing if timeout.is_zero() => {
                    self.sink.flush()?;
                    timeout = self.wait_max();
                }
                Ready::Nothing => timeout = self.wait_max(),
                Ready::Results => {
                    timeout = Duration::ZERO;
                    if self.emit(&mut output)? {
                        return Ok(End::FailFast);
                    }
                }
            }
            self.recorder.publish_if_due(clock::now_ns());
            self.sink.tick(self.mill.counters());
        }
    }

    /// How long to wait for results: until the sink wants a tick, or what was recorded is to be published.
    fn wait_max(&self) -> Duration {
        let publish_at_ns = self.recorder.publish_at_ns();
        let publish_in = publish_at_ns.map(|at_ns| at_ns.saturating_sub(clock::now_ns()));
        let publish_in = publish_in.map(Duration::from_nanos);
        let waits = [self.sink.tick_interval(), publish_in];
        waits.into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    /// Takes what is ready, waiting for it no longer than `timeout`, or working for it.
    fn take(&mut self, timeout: Option<Duration>, output: &mut Output<V>) -> Ready {
        let Some(work) = &mut self.work else {
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

    /// Writes the results out, each after its parts; true if the run is to end at one of them.
    fn emit(&mut self, output: &mut Output<V>) -> io::Result<bool> {
        let mut emitted = 0;
        let mut ends = false;
        let now_ns = clock::now_ns();
        let mut parts = output.parts.drain(..).peekable();
        for finished in output.results.drain(..) {
            let index = finished.item.index();
            while let Some(part) = parts.next_if(|part| part.index == index) {
                self.sink.part(index, &part.bytes)?;
            }
            let is_failure = finished.is_failure;
            self.failed += u64::from(is_failure);
            let waited_ns = now_ns.saturating_sub(finished.finished_at_ns);
            self.recorder.record(Phase::REORDER, waited_ns);
            self.sink.result(finished)?;
            emitted += 1;
            if is_failure && self.fail_fast {
                ends = true;
                break;
            }
        }
        // Of an item that has not finished.
        for part in parts.filter(|_| !ends) {
            self.sink.part(part.index, &part.bytes)?;
        }
        self.mill.mark_emitted(emitted);
        Ok(ends)
    }

    /// Stops the loops, and emits what is finished and next in order.
    fn stop_and_drain(&mut self, output: &mut Output<V>) -> io::Result<()> {
        self.mill.stop();
        while self.take(None, output) == Ready::Results {
            if self.emit(output)? {
                break;
            }
        }
        Ok(())
    }
}
