//! When the resolver is to be called.

use std::task::Waker;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Timer {
    /// The time that the timer task waits for.
    pub(super) at: Option<Duration>,
    pub(super) waker: Option<Waker>,
}

impl Timer {
    pub(super) fn set(&mut self, at: Option<Duration>) {
        let is_earlier = at.is_some_and(|at| self.at.is_none_or(|known| at < known));
        if is_earlier {
            self.at = at;
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }
}
