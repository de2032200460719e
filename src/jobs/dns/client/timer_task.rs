//! The task that calls the resolver when a timer is due.

use super::Client;
use crate::io::Sleep;
use crate::jobs::dns::resolver::Resolver;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How often, at most, the receiving tasks run before timers that are due take effect.
const RECEIVER_TURNS_MAX: usize = 16;

impl Client {
    /// Calls the resolver at the time it asked for.
    pub(super) async fn run_timer(self: Rc<Self>) {
        // With the time it was set to.
        let mut sleep: Option<(Duration, Sleep)> = None;
        loop {
            poll_fn(|context| self.poll_timer(&mut sleep, context)).await;
            self.let_receivers_run().await;
            self.update(Resolver::time_passed);
        }
    }

    /// Lets the receiving tasks process the messages that have arrived: when the loop is late, an attempt
    /// must not time out although its answer has arrived.
    async fn let_receivers_run(&self) {
        for _ in 0..RECEIVER_TURNS_MAX {
            let before = self.received.get();
            yield_now().await;
            if self.received.get() == before {
                return;
            }
        }
    }

    fn poll_timer(
        &self,
        sleep: &mut Option<(Duration, Sleep)>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let mut timer = self.timer.borrow_mut();
        let Some(at) = timer.at else {
            timer.waker = Some(context.waker().clone());
            *sleep = None;
            return Poll::Pending;
        };
        if sleep.as_ref().is_none_or(|(known, _)| *known != at) {
            *sleep = Some((at, self.io.sleep_until(at)));
        }
        let (_, running) = sleep.as_mut().expect("just set");
        if Pin::new(running).poll(context).is_ready() {
            timer.at = None;
            *sleep = None;
            return Poll::Ready(());
        }
        timer.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
