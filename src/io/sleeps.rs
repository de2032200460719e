//! The sleeping futures of a loop.

use super::timers::Timers;
use slab::Slab;
use std::task::Waker;
use std::time::Duration;

/// The sleeping futures of a loop.
#[derive(Debug, Default)]
pub(super) struct Sleeps {
    timers: Timers,
    wakers: Slab<Waker>,
}

impl Sleeps {
    pub(super) fn set(&mut self, key: Option<u32>, at: Duration, waker: &Waker) -> u32 {
        let key = match key {
            Some(key) => {
                self.wakers[key as usize].clone_from(waker);
                key
            }
            None => {
                let key = self.wakers.insert(waker.clone());
                u32::try_from(key).expect("fewer than 2^32 timers")
            }
        };
        self.timers.set(key, at);
        key
    }

    pub(super) fn cancel(&mut self, key: u32) {
        self.timers.cancel(key);
        self.wakers.remove(key as usize);
    }

    /// Futures that sleep.
    pub(super) fn len(&self) -> usize {
        self.wakers.len()
    }

    /// Wakes those that are due.
    pub(super) fn wake_due(&mut self, now: Duration) {
        while let Some(key) = self.timers.pop_due(now) {
            self.wakers[key as usize].wake_by_ref();
        }
    }

    /// When the first of them is due.
    pub(super) fn next_due(&mut self) -> Option<Duration> {
        self.timers.next_due()
    }
}
