//! The sleeping futures of a loop.

use super::timers::Timers;
use std::task::Waker;
use std::time::Duration;

/// The sleeping futures of a loop.
#[derive(Debug, Default)]
pub(super) struct Sleeps {
    timers: Timers,
    wakers: Vec<Option<Waker>>,
    free: Vec<u32>,
}

impl Sleeps {
    pub(super) fn set(&mut self, key: Option<u32>, at: Duration, waker: &Waker) -> u32 {
        let key = key.unwrap_or_else(|| {
            self.free.pop().unwrap_or_else(|| {
                self.wakers.push(None);
                u32::try_from(self.wakers.len() - 1).expect("fewer than 2^32 timers")
            })
        });
        self.wakers[key as usize] = Some(waker.clone());
        self.timers.set(key, at);
        key
    }

    pub(super) fn cancel(&mut self, key: u32) {
        self.timers.cancel(key);
        self.wakers[key as usize] = None;
        self.free.push(key);
    }

    /// Futures that sleep.
    pub(super) fn len(&self) -> usize {
        self.wakers.len() - self.free.len()
    }

    /// Wakes those whose time has come.
    pub(super) fn wake_due(&mut self, now: Duration) {
        while let Some(key) = self.timers.pop_due(now) {
            if let Some(waker) = &self.wakers[key as usize] {
                waker.wake_by_ref();
            }
        }
    }

    /// When the first of them is due.
    pub(super) fn next_due(&mut self) -> Option<Duration> {
        self.timers.next_due()
    }
}
