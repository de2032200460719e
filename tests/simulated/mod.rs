//! Event loops on simulated engines, moved one turn at a time by whoever tests them.

use ringmill::clock::Clock;
use ringmill::engine::sim::SimHandle;
use ringmill::engine::{Engine, Wait};
use ringmill::jobs::Job;
use ringmill::run::{EventLoop, Turn};
use std::sync::Arc;
use std::time::Duration;

/// A loop, and what it waits for.
pub struct SimLoop<J: Job, E: Engine> {
    pub event_loop: Option<EventLoop<J, E>>,
    pub handle: Arc<SimHandle>,
    wait: Wait,
    /// When that wait ends by itself.
    waits_until: Option<Duration>,
}

impl<J: Job, E: Engine> SimLoop<J, E> {
    pub fn new(event_loop: EventLoop<J, E>, handle: Arc<SimHandle>) -> Self {
        Self {
            event_loop: Some(event_loop),
            handle,
            wait: Wait::No,
            waits_until: None,
        }
    }

    /// Waits as the last turn said, but time does not pass by `next_timer`, and takes a turn. `None` if
    /// nothing ends its wait.
    pub fn turn(&mut self, next_timer: Option<Duration>, clock: &impl Clock) -> Option<Turn> {
        let event_loop = self.event_loop.as_mut()?;
        if !self.handle.would_return(self.wait) {
            return None;
        }
        let wait = match (self.wait, next_timer) {
            (Wait::No, _) | (_, None) => self.wait,
            (_, Some(at)) => Wait::AtMost(at.saturating_sub(clock.now())),
        };
        event_loop.wait(wait).unwrap();
        let turn = event_loop.turn();
        self.waits_until = None;
        if let Turn::Wait(wait) = turn {
            self.wait = wait;
            self.waits_until = match wait {
                Wait::No => Some(clock.now()),
                Wait::AtMost(duration) => Some(clock.now() + duration),
                Wait::Forever => None,
            };
        }
        Some(turn)
    }
}

/// The first moment that one of the loops waits for: time must not pass by it.
pub fn next_timer<J: Job, E: Engine>(loops: &[SimLoop<J, E>]) -> Option<Duration> {
    loops.iter().filter_map(|one| one.waits_until).min()
}
