//! Futures that wait until a time.

use super::core::Io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Waits until a time. Made by [`Io::sleep_until`].
#[derive(Debug)]
#[must_use = "the wait begins when this is polled"]
pub struct Sleep {
    io: Io,
    at: Duration,
    key: Option<u32>,
}

impl Io {
    /// Waits until this time.
    pub fn sleep_until(&self, at: Duration) -> Sleep {
        Sleep::new(self.clone(), at)
    }
}

impl Sleep {
    pub(super) fn new(io: Io, at: Duration) -> Self {
        Self { io, at, key: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        let key = self.key;
        let key = {
            let state = &mut *self.io.borrow();
            if state.stopwatch.now() >= at || state.carrier.now() >= at {
                None
            } else {
                Some(state.sleeps.set(key, at, context.waker()))
            }
        };
        match key {
            Some(key) => {
                self.key = Some(key);
                Poll::Pending
            }
            None => {
                self.end();
                Poll::Ready(())
            }
        }
    }
}

impl Sleep {
    fn end(&mut self) {
        if let Some(key) = self.key.take() {
            self.io.borrow().sleeps.cancel(key);
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.end();
    }
}
