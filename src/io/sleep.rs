//! Futures that wait until a time.

use super::core::Io;
use std::future::poll_fn;
use std::pin::{Pin, pin};
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

    /// Waits for `future` until a time. `None` if it is not ready by then; it is dropped.
    pub async fn until<F: Future>(&self, at: Duration, future: F) -> Option<F::Output> {
        let (mut future, mut sleep) = (pin!(future), pin!(self.sleep_until(at)));
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
        })
        .await
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
