//! A single-threaded run, on the calling thread: slow, but complete.

use super::emitter::Emitter;
use super::event_loop::Turn;
use super::loops::{event_loop, new_workers};
use super::plan::{Plan, new_mill};
use super::report::{Report, RunError};
use super::sink::Sink;
use super::source_thread::feed;
use super::stop::Stop;
use crate::io::epoll::EpollCarrier;
use crate::io::{Carrier, Listings, Wait, Wake, WakeUp};
use crate::jobs::Job;
use crate::source::Source;
use std::io;
use std::sync::Arc;

/// The same as [`run`](super::run), for a process in which no thread could be started, with the `reason`.
/// All operations are plain calls.
///
/// # Errors
/// If there is no descriptor for the loop's wake-up.
pub(super) fn run<J: Job, S: Source>(
    plan: &Plan,
    job: &Arc<J>,
    mut source: S,
    sink: &mut dyn Sink<J::Value>,
    stop: &Stop,
    reason: io::Error,
) -> Result<Report, RunError> {
    let plan = &Plan {
        loops: 1,
        ..plan.clone()
    };
    let mill = Arc::new(new_mill(plan, 1));
    stop.wakes(&(Arc::clone(&mill) as Arc<dyn Wake>));
    let wake_up = WakeUp::new().map_err(|errno| RunError::Engine(errno.into()))?;
    let carrier = EpollCarrier::new(wake_up, Listings::new());
    let description = carrier.describe();
    let workers = new_workers(plan, job, &mill, 0, None);
    let mut event_loop = event_loop(0, plan, &**job, &mill, &workers, Box::new(carrier));
    let mut has_more = true;
    let mut work = || match event_loop.turn() {
        Turn::Ended => mill.loop_ended(0),
        // Ready results are written out first.
        Turn::Wait(_) if mill.has_output() => {}
        // The source may block, so its next items are read only after its earlier ones are finished and
        // written out. (With a rate, some may still wait in the feed.)
        Turn::Wait(wait)
            if wait != Wait::No
                && has_more
                && mill.counters().in_flight == 0
                && !mill.has_input() =>
        {
            has_more = feed(&mut source, &mill);
        }
        Turn::Wait(wait) => event_loop
            .wait(wait)
            .expect("a wait with plain calls cannot fail"),
    };
    let mut emitter = Emitter::new(&mill, plan);
    let end = emitter.run(sink, stop, Some(&mut work));
    emitter.end(&end);
    let failed = emitter.failed;
    drop(emitter);
    Ok(Report {
        activity: event_loop.activity(),
        single_threaded: Some(reason),
        ..Report::new(&mill, end, failed, description)
    })
}
