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

/// The default window, for each future in flight.
const WINDOW_FACTOR: usize = 16;

/// A stream of the results of futures in input order, with a constant number of futures in flight.
///
/// Made by [`materialize`](crate::materialize()) and
/// [`MaterializeExt::materialize`](crate::MaterializeExt::materialize). The futures make progress
/// while this stream is polled; [`Materialize::split`] separates the two.
///
/// # Panics
///
/// A panic of a future, or of the source, propagates to the caller that polls the stream. The stream can
/// then still be dropped, which drops the other futures; polling it again panics.
///
/// ```
/// use ringmill_materialize::materialize;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut rows = materialize((0..3).map(async |n: u64| n * n), 2);
/// while let Some(square) = rows.next().await {
///     println!("{square}");
/// }
/// # });
/// ```
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

    /// Sets the window: how many items may be pulled and not emitted, because they are in flight, or
    /// finished and waiting for an earlier one. The default is 16 times `in_flight`.
    ///
    /// # Panics
    ///
    /// If `n` is less than `in_flight`, or if the stream was polled before.
    ///
    /// ```
    /// use ringmill_materialize::materialize;
    /// use std::future::pending;
    /// # use futures_core::Stream;
    /// # use std::{pin::Pin, task::{Context, Waker}};
    ///
    /// // The first future never finishes, so that the others wait for it.
    /// let futures = (0..).map(async |n| if n == 0 { pending().await } else { n });
    /// let mut rows = materialize(futures, 4).window(10);
    /// # let mut cx = Context::from_waker(Waker::noop());
    /// # assert!(Pin::new(&mut rows).poll_next(&mut cx).is_pending());
    /// // After a poll:
    /// assert_eq!((rows.in_flight(), rows.waiting()), (1, 9));
    /// ```
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

    /// Yields results in the order in which the futures finish. The window still bounds how many results
    /// wait for the consumer.
    ///
    /// # Panics
    ///
    /// If the stream was polled before.
    ///
    /// ```
    /// use ringmill_materialize::materialize;
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    /// # .block_on(async {
    /// let sleep = async |ms| {
    ///     tokio::time::sleep(Duration::from_millis(ms)).await;
    ///     ms
    /// };
    /// let mut rows = materialize([30, 10, 20].map(sleep), 3).unordered();
    /// assert_eq!(rows.next().await, Some(10));
    /// assert_eq!(rows.next().await, Some(20));
    /// # });
    /// ```
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

    /// Splits the stream into a driver, which runs the futures, and their results.
    ///
    /// The [`Driver`] is a future to be spawned as a task of its own, or joined with the consumer. The
    /// futures then make progress while the consumer of [`Outputs`] does something else, until the window
    /// is full.
    ///
    /// # Panics
    ///
    /// If a future of this stream, or its source, panicked before.
    ///
    /// ```
    /// use ringmill_materialize::materialize;
    ///
    /// # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
    /// let (driver, mut rows) = materialize((0..10).map(async |n| n * 2), 4).split();
    /// tokio::spawn(driver);
    /// assert_eq!(rows.next().await, Some(0));
    /// # });
    /// ```
    pub fn split(self) -> (Driver<S>, Outputs<Output<S>>) {
        self.assert_not_poisoned();
        split::split(self.in_flight, self.window)
    }

    /// Returns the next result, or `None` when the source has ended and all results are emitted.
    ///
    /// It is cancel safe: if the returned future is dropped early, no result is lost.
    ///
    /// # Panics
    ///
    /// See [`Materialize`].
    ///
    /// ```
    /// # use ringmill_materialize::materialize;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let mut rows = materialize([async { 1 }], 1);
    /// assert_eq!(rows.next().await, Some(1));
    /// assert_eq!(rows.next().await, None);
    /// # });
    /// ```
    pub async fn next(&mut self) -> Option<Output<S>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The number of futures in flight: pulled and not finished. It is at most `in_flight`.
    ///
    /// ```
    /// # use ringmill_materialize::materialize;
    /// let rows = materialize((0..).map(async |n: u64| n), 4);
    /// assert_eq!(rows.in_flight(), 0); // not polled yet
    /// ```
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The number of results that wait for an earlier one or for the consumer. Together with those in
    /// flight they are at most the window.
    ///
    /// ```
    /// # use ringmill_materialize::materialize;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let mut rows = materialize((0..3).map(async |n: u64| n), 4);
    /// rows.next().await;
    /// assert_eq!(rows.waiting(), 2);
    /// # });
    /// ```
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

        // Taken only after the turn, so that at no time more results exist than the window allows.
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
        self.window.results_left(self.in_flight.left())
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
