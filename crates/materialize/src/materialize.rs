//! The stream of results.

use crate::in_flight::{InFlight, Output};
use crate::source::Source;
use crate::split::{self, Driver, Outputs};
use crate::window::{Order, Window};
use futures_core::Stream;
use futures_core::stream::FusedStream;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Places in the default window for each future in flight.
const WINDOW_FACTOR: usize = 16;

/// Results in input order of a constant number of futures in flight.
///
/// Made by [`materialize`](crate::materialize()) and
/// [`MaterializeExt::materialize`](crate::MaterializeExt::materialize). The futures make progress
/// while this stream is polled; [`Materialize::split`] separates the two.
///
/// # Panics
///
/// A panic of a future, or of the source, propagates to the caller that polls the stream. The stream can then
/// still be dropped, which drops the other futures; to poll it again panics.
#[must_use = "streams do nothing unless polled"]
pub struct Materialize<S: Source> {
    in_flight: InFlight<S>,
    window: Window<Output<S>>,
    order: Order,
    is_poisoned: bool,
}

// Futures are pinned on the heap, and nothing else is ever pinned.
impl<S: Source> Unpin for Materialize<S> {}

impl<S: Source> Materialize<S> {
    #[track_caller]
    pub(crate) fn new(source: S, in_flight: usize) -> Self {
        assert!(in_flight > 0, "`in_flight` must be at least 1");
        Self {
            in_flight: InFlight::new(source, in_flight),
            window: Window::new(Order::Input, in_flight.saturating_mul(WINDOW_FACTOR)),
            order: Order::Input,
            is_poisoned: false,
        }
    }

    /// Sets how many items may be between their pull and their emission: in flight, or finished and
    /// waiting for an earlier one. The default is 16 times the number in flight.
    ///
    /// # Panics
    ///
    /// If `n` is less than the number in flight, or if the stream was polled before.
    #[track_caller]
    pub fn window(mut self, n: usize) -> Self {
        let limit = self.in_flight.limit();
        assert!(
            n >= limit,
            "`window` ({n}) must be at least `in_flight` ({limit})"
        );
        self.set_window(self.order, n);
        self
    }

    /// Yields results as they become available, in whatever order that is. The window still bounds
    /// how many results wait for the consumer.
    ///
    /// # Panics
    ///
    /// If the stream was polled before.
    #[track_caller]
    pub fn unordered(mut self) -> Self {
        self.order = Order::Completion;
        let capacity = usize::try_from(self.window.capacity()).unwrap_or(usize::MAX);
        self.set_window(self.order, capacity);
        self
    }

    #[track_caller]
    fn set_window(&mut self, order: Order, capacity: usize) {
        assert!(
            self.window.pulled() == 0,
            "window and order must be set before the first poll"
        );
        self.window = Window::new(order, capacity);
    }

    /// Separates the running of the futures from the consumption of the results.
    ///
    /// The [`Driver`] is a future that runs them, to be spawned as a task of its own, or joined with
    /// the consumer. The futures then make progress while the consumer of [`Outputs`] does something
    /// else, until the window is full.
    ///
    /// # Panics
    ///
    /// If a future of this stream panicked before.
    pub fn split(self) -> (Driver<S>, Outputs<Output<S>>) {
        self.assert_not_poisoned();
        split::split(self.in_flight, self.window)
    }

    /// The next result, or `None` when all are emitted and the source has ended.
    ///
    /// Nothing is lost if the returned future is dropped early.
    pub async fn next(&mut self) -> Option<Output<S>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// How many futures are in flight: pulled and not finished.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many results wait: for an earlier one, or for the consumer.
    pub fn waiting(&self) -> usize {
        usize::try_from(self.window.waiting()).unwrap_or(usize::MAX)
    }

    fn assert_not_poisoned(&self) {
        assert!(
            !self.is_poisoned,
            "`Materialize` used after a panic of one of its futures or of their source"
        );
    }

    #[cfg(test)]
    pub(crate) fn set_steps_per_turn(&mut self, steps: usize) {
        self.in_flight.set_steps_per_turn(steps);
    }
}

impl<S: Source> Stream for Materialize<S> {
    type Item = Output<S>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Output<S>>> {
        let this = self.get_mut();
        this.assert_not_poisoned();
        this.is_poisoned = true;
        let more_to_start = this.in_flight.turn(cx, &mut this.window);
        this.is_poisoned = false;

        // Taken only after the turn, so that no more than the window's capacity exist at any moment.
        if let Some(result) = this.window.take_one() {
            this.window.mark_emitted(1);
            return Poll::Ready(Some(result));
        }
        if this.in_flight.is_done() {
            return Poll::Ready(None);
        }
        if more_to_start {
            cx.waker().wake_by_ref();
        } else {
            this.in_flight.sleep(cx);
        }
        Poll::Pending
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.window.rows_left(self.in_flight.left())
    }
}

impl<S: Source> FusedStream for Materialize<S> {
    fn is_terminated(&self) -> bool {
        self.in_flight.is_done() && self.window.waiting() == 0
    }
}

impl<S: Source> fmt::Debug for Materialize<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Materialize")
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
            .field("order", &self.order)
            .field("window", &self.window.capacity())
            .finish_non_exhaustive()
    }
}
