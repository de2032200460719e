//! The task that calls the resolver when it wants to be called.

use super::Client;
use crate::io::Sleep;
use crate::jobs::dns::resolver::Resolver;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// So often the tasks that receive may go on before the time that has passed is noticed, at most.
const TURNS_TO_RECEIVE: usize = 16;

#[derive(Default)]
pub(super) struct Timer {
    /// When the resolver is to be called, as far as the task of the timer knows.
    at: Option<Duration>,
    waker: Option<Waker>,
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

impl Client {
    /// Calls the resolver when it wants to be called.
    pub(super) async fn run_timer(self: Rc<Self>) {
        // For the time it was set to.
        let mut sleep: Option<(Duration, Sleep)> = None;
        loop {
            poll_fn(|context| self.poll_timer(&mut sleep, context)).await;
            self.let_receive().await;
            self.tell(Resolver::time_passed);
        }
    }

    /// Lets the tasks that receive take what has come: a loop that is late must not give up what has
    /// been answered meanwhile.
    async fn let_receive(&self) {
        for _ in 0..TURNS_TO_RECEIVE {
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
