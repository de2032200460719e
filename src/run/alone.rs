//! A run on the calling thread alone. It is slow, but all is done.

use super::emitter::Emitter;
use super::{EventLoop, LARGE_BUFFERS, LoopLimits, Plan, Report, Sink, Turn, feed, new_mill};
use crate::engine::threads::ThreadsEngine;
use crate::engine::{Engine, Wait};
use crate::jobs::Job;
use crate::source::Source;
use crate::stats::Recorder;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The same as [`run`](super::run) where no thread could be started, for the reason given. Without
/// threads, the engine makes all its calls at once.
pub(super) fn run<J: Job, S: Source>(
    plan: &Plan,
    job: Arc<J>,
    mut source: S,
    sink: &mut dyn Sink<J::Value>,
    interrupt: &AtomicBool,
    reason: io::Error,
) -> Report {
    let mill = Arc::new(new_mill(plan, 1));
    let engine = ThreadsEngine::new(1);
    let description = engine.describe();
    let limits = LoopLimits {
        in_flight: plan.in_flight,
        large_buffers: LARGE_BUFFERS,
        timeout: plan.timeout,
    };
    let recorder = Recorder::new(plan.latencies.clone());
    let mut event_loop = EventLoop::new(0, Arc::clone(&mill), job, engine, limits, recorder);
    let mut has_more = true;
    let mut work = || match event_loop.turn() {
        Turn::Ended => mill.loop_ended(0),
        // The source may block, so it is not asked before all it gave is done and written out. (A rate
        // may keep some of that waiting.)
        Turn::Wait(wait)
            if wait != Wait::No && has_more && event_loop.in_flight() == 0 && !mill.has_input() =>
        {
            has_more = feed(&mut source, &mill);
        }
        Turn::Wait(wait) => event_loop
            .wait(wait)
            .expect("plain calls always can be made"),
    };
    let mut emitter = Emitter::new(&mill, sink, plan, Some(&mut work));
    let end = emitter.run(interrupt);
    let failed = emitter.failed;
    drop(emitter);
    Report {
        activity: event_loop.activity(),
        alone: Some(reason),
        ..Report::new(&mill, end, failed, description)
    }
}
