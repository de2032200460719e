//! Replies that wait until they are due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::behaviour::Behaviour;

/// How long after the query a reply is sent.
#[derive(Clone, Copy)]
pub enum Speed {
    Usual,
    Slow,
}

/// There are only two delays, so replies with the same delay are due in the order in which they came.
pub struct Schedule<T> {
    usual: Delayed<T>,
    slow: Delayed<T>,
}

struct Delayed<T> {
    delay: Duration,
    waiting: VecDeque<(Instant, T)>,
}

impl<T> Schedule<T> {
    pub fn new(behaviour: &Behaviour) -> Self {
        let delayed = |delay| Delayed {
            delay,
            waiting: VecDeque::new(),
        };
        Self {
            usual: delayed(behaviour.delay),
            slow: delayed(behaviour.slow),
        }
    }

    pub fn push(&mut self, now: Instant, speed: Speed, reply: T) {
        let delayed = match speed {
            Speed::Usual => &mut self.usual,
            Speed::Slow => &mut self.slow,
        };
        delayed.waiting.push_back((now + delayed.delay, reply));
    }

    /// A reply that is due.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        self.usual.pop(now).or_else(|| self.slow.pop(now))
    }

    /// The time until the next reply is due, but no longer than `most`.
    pub fn time_to_next(&self, now: Instant, most: Duration) -> Duration {
        let fronts = [&self.usual, &self.slow].map(|delayed| delayed.waiting.front());
        let dues = fronts.into_iter().flatten();
        let times = dues.map(|(due, _)| due.saturating_duration_since(now));
        times.min().map_or(most, |time| time.min(most))
    }

    pub fn len(&self) -> usize {
        self.usual.waiting.len() + self.slow.waiting.len()
    }
}

impl<T> Delayed<T> {
    fn pop(&mut self, now: Instant) -> Option<T> {
        let (due, _) = self.waiting.front()?;
        if *due > now {
            return None;
        }
        self.waiting.pop_front().map(|(_, reply)| reply)
    }
}
