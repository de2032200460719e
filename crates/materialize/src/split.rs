//! The two halves of a split stream: one runs the futures, the other yields the results.

use crate::in_flight::{InFlight, Ledger, Output};
use crate::source::Source;
use crate::window::Window;
use futures_core::Stream;
use futures_core::future::FusedFuture;
use futures_core::stream::FusedStream;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::{fmt, mem};

#[derive(Clone, Copy, PartialEq, Eq)]
enum DriverState {
    Running,
    /// All futures have finished.
    Ended,
    /// It was dropped, or a panic unwound it, before the end.
    Broken,
}

struct State<T> {
    /// `None` after `Outputs` was dropped.
    window: Option<Window<T>>,
    driver: DriverState,
    /// The driver would start more futures if the window had room.
    driver_waits_for_room: bool,
    driver_waker: Option<Waker>,
    rows_waker: Option<Waker>,
}

/// No user code runs while the lock is held, because it might take the lock: results, windows and wakers
/// are dropped, and tasks are woken, after the lock is released.
struct Shared<T>(Mutex<State<T>>);

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_driver(&self, how: DriverState) {
        let mut state = self.lock();
        if state.driver == DriverState::Running {
            state.driver = how;
        }
        let (driver_waker, rows_waker) = (state.driver_waker.take(), state.rows_waker.take());
        drop(state);
        drop(driver_waker);
        wake(rows_waker);
    }
}

pub(crate) fn split<S: Source>(
    in_flight: InFlight<S>,
    window: Window<Output<S>>,
) -> (Driver<S>, Outputs<Output<S>>) {
    let shared = Arc::new(Shared(Mutex::new(State {
        window: Some(window),
        driver: DriverState::Running,
        driver_waits_for_room: false,
        driver_waker: None,
        rows_waker: None,
    })));
    let driver = Driver {
        in_flight: Some(in_flight),
        finished: Vec::new(),
        shared: Arc::clone(&shared),
    };
    (driver, Outputs { shared })
}

/// Runs the futures of a split [`Materialize`](crate::Materialize); made by
/// [`Materialize::split`](crate::Materialize::split).
///
/// It completes when all futures have finished, or after [`Outputs`] was dropped; in that case it drops
/// the futures in flight. It is `Send` if the source, the futures and their outputs are; otherwise it can
/// be spawned where `Send` is not required, such as on tokio's `LocalSet`, tokio-uring or compio.
///
/// # Panics
///
/// A panic of a future, or of the source, propagates to the caller that polls the driver. The driver can
/// then still be dropped, which drops the other futures.
///
/// ```
/// use ringmill_materialize::materialize;
///
/// # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
/// let (driver, rows) = materialize((0..10).map(async |n| n * 2), 4).split();
/// drop(rows);
/// driver.await; // completes at once
/// # });
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Driver<S: Source> {
    /// `None` after the end.
    in_flight: Option<InFlight<S>>,
    /// The results of one turn; empty between turns.
    finished: Vec<(u64, Output<S>)>,
    shared: Arc<Shared<Output<S>>>,
}

// Futures are pinned on the heap, and nothing else is ever pinned.
impl<S: Source> Unpin for Driver<S> {}

/// Records the changes that one turn of the driver makes to the window, so that the lock is not held while
/// futures are polled.
struct TurnLedger<'a, T> {
    room: usize,
    pulled: usize,
    finished: &'a mut Vec<(u64, T)>,
}

impl<T> Ledger<T> for TurnLedger<'_, T> {
    fn has_room(&self) -> bool {
        self.pulled < self.room
    }

    fn pull(&mut self) {
        self.pulled += 1;
    }

    fn finish(&mut self, index: u64, result: T) {
        self.finished.push((index, result));
    }
}

/// Marks a driver as broken if a panic unwinds its turn. (The driver itself may outlive the panic.)
struct BreakOnUnwind<'a, T>(&'a Shared<T>);

impl<T> Drop for BreakOnUnwind<'_, T> {
    fn drop(&mut self) {
        self.0.end_driver(DriverState::Broken);
    }
}

impl<S: Source> Future for Driver<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(in_flight) = &mut this.in_flight else {
            panic!("`Driver` polled after its end");
        };
        let state = this.shared.lock();
        assert!(
            state.driver != DriverState::Broken,
            "`Driver` polled after a panic of one of its futures or of their source"
        );
        let Some(room) = state.window.as_ref().map(Window::room) else {
            drop(state);
            this.in_flight = None;
            return Poll::Ready(());
        };
        drop(state);

        let mut ledger = TurnLedger {
            room,
            pulled: 0,
            finished: &mut this.finished,
        };
        let guard = BreakOnUnwind(&this.shared);
        let mut more_to_start = in_flight.turn(cx, &mut ledger);
        mem::forget(guard);

        let pulled = ledger.pulled;
        let is_done = in_flight.is_done();
        let mut state = this.shared.lock();
        let Some(window) = &mut state.window else {
            drop(state);
            this.finished = Vec::new();
            this.in_flight = None;
            return Poll::Ready(());
        };
        window.pull(pulled);
        for (index, result) in this.finished.drain(..) {
            window.finish(index, result);
        }
        let has_row = window.head_is_ready();
        // The consumer may have made room during the turn.
        more_to_start |= in_flight.wants_more() && pulled == room && window.room() > 0;
        if is_done {
            drop(state);
            this.in_flight = None;
            this.shared.end_driver(DriverState::Ended);
            return Poll::Ready(());
        }
        state.driver_waits_for_room = in_flight.wants_more();
        let old_waker = register(&mut state.driver_waker, cx);
        let rows_waker = if has_row {
            state.rows_waker.take()
        } else {
            None
        };
        drop(state);
        drop(old_waker);
        wake(rows_waker);
        if more_to_start {
            cx.waker().wake_by_ref();
        } else {
            in_flight.sleep(cx);
        }
        Poll::Pending
    }
}

impl<S: Source> FusedFuture for Driver<S> {
    fn is_terminated(&self) -> bool {
        self.in_flight.is_none()
    }
}

impl<S: Source> Drop for Driver<S> {
    fn drop(&mut self) {
        if self.in_flight.is_some() {
            self.shared.end_driver(DriverState::Broken);
        }
    }
}

impl<S: Source> fmt::Debug for Driver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_flight = self.in_flight.as_ref().map_or(0, InFlight::len);
        f.debug_struct("Driver")
            .field("in_flight", &in_flight)
            .finish_non_exhaustive()
    }
}

/// The results of a split [`Materialize`](crate::Materialize); made by
/// [`Materialize::split`](crate::Materialize::split).
///
/// Dropping it ends the [`Driver`]. It is `Send` if the results are.
///
/// # Panics
///
/// If the driver is dropped before its end, or one of its futures panics, the results that are ready
/// by then are yielded, and the next poll panics: an incomplete run never looks like a complete one.
///
/// ```should_panic
/// use ringmill_materialize::materialize;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (driver, mut rows) = materialize((0..10).map(async |n| n * 2), 4).split();
/// drop(driver);
/// rows.next().await; // panics
/// # });
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct Outputs<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Outputs<T> {
    /// Returns the next result, or `None` when the source has ended and all results are emitted.
    ///
    /// It is cancel safe: if the returned future is dropped early, no result is lost.
    ///
    /// # Panics
    ///
    /// See [`Outputs`].
    ///
    /// ```
    /// # use ringmill_materialize::materialize;
    /// # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
    /// let (driver, mut rows) = materialize([async { 1 }], 1).split();
    /// tokio::spawn(driver);
    /// assert_eq!(rows.next().await, Some(1));
    /// assert_eq!(rows.next().await, None);
    /// # });
    /// ```
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<T> Stream for Outputs<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.shared.lock();
        let window = state
            .window
            .as_mut()
            .expect("the window is taken only on drop");
        if let Some(result) = window.take_one() {
            window.mark_emitted(1);
            let driver_waker = if mem::take(&mut state.driver_waits_for_room) {
                state.driver_waker.take()
            } else {
                None
            };
            drop(state);
            wake(driver_waker);
            return Poll::Ready(Some(result));
        }
        match state.driver {
            DriverState::Running => {
                let old_waker = register(&mut state.rows_waker, cx);
                drop(state);
                drop(old_waker);
                Poll::Pending
            }
            DriverState::Ended => Poll::Ready(None),
            DriverState::Broken => {
                drop(state);
                panic!("the driver of these rows was dropped, or panicked, before the end");
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let state = self.shared.lock();
        let left = match state.driver {
            DriverState::Ended => (0, Some(0)),
            DriverState::Running | DriverState::Broken => (0, None),
        };
        let window = state
            .window
            .as_ref()
            .expect("the window is taken only on drop");
        window.results_left(left)
    }
}

impl<T> FusedStream for Outputs<T> {
    fn is_terminated(&self) -> bool {
        let state = self.shared.lock();
        let window = state
            .window
            .as_ref()
            .expect("the window is taken only on drop");
        state.driver == DriverState::Ended && window.waiting() == 0
    }
}

impl<T> Drop for Outputs<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let window = state.window.take();
        let (driver_waker, rows_waker) = (state.driver_waker.take(), state.rows_waker.take());
        drop(state);
        drop((window, rows_waker));
        wake(driver_waker);
    }
}

impl<T> fmt::Debug for Outputs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        let waiting = state.window.as_ref().map_or(0, Window::waiting);
        f.debug_struct("Outputs")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

/// Puts the task's waker into `place` and returns the old one, which must be dropped after the lock is
/// released.
#[must_use]
fn register(place: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    match place {
        Some(waker) if waker.will_wake(cx.waker()) => None,
        _ => place.replace(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
