//! Sources of futures: iterators and streams.

use futures_core::Stream;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

mod sealed {
    pub trait Sealed {}
}

/// A source of futures: every iterator of futures, or [`FromStream`].
///
/// This trait is sealed: it has no methods to call and cannot be implemented outside this crate.
/// For another kind of source, implement [`Iterator`] or [`Stream`].
///
/// ```
/// use ringmill_materialize::{Materialize, Source};
///
/// async fn last<S: Source>(mut rows: Materialize<S>) -> Option<<S::Future as Future>::Output> {
///     let mut last = None;
///     while let Some(row) = rows.next().await {
///         last = Some(row);
///     }
///     last
/// }
/// ```
pub trait Source: sealed::Sealed {
    /// The type of the futures.
    type Future: Future;

    /// Pulls the next future; `None` at the end. Not called again after the end.
    #[doc(hidden)]
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::Future>>;

    /// Bounds on the number of futures left, as from [`Iterator::size_hint`].
    #[doc(hidden)]
    fn left(&self) -> (usize, Option<usize>);
}

impl<I: Iterator<Item: Future>> sealed::Sealed for I {}

impl<I: Iterator<Item: Future>> Source for I {
    type Future = I::Item;

    fn poll_pull(&mut self, _cx: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.next())
    }

    fn left(&self) -> (usize, Option<usize>) {
        self.size_hint()
    }
}

/// A stream of futures as a [`Source`]; made by
/// [`MaterializeExt::materialize`](crate::MaterializeExt::materialize).
///
/// ```
/// use futures_core::Stream;
/// use ringmill_materialize::{FromStream, Materialize, MaterializeExt};
///
/// fn eight_at_a_time<S: Stream<Item: Future>>(jobs: S) -> Materialize<FromStream<S>> {
///     jobs.materialize(8)
/// }
/// ```
pub struct FromStream<S> {
    // Boxed, because a stream must be pinned, and pin projection needs unsafe code.
    stream: Pin<Box<S>>,
}

impl<S> FromStream<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream: Box::pin(stream),
        }
    }
}

impl<S> fmt::Debug for FromStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromStream").finish_non_exhaustive()
    }
}

impl<S: Stream<Item: Future>> sealed::Sealed for FromStream<S> {}

impl<S: Stream<Item: Future>> Source for FromStream<S> {
    type Future = S::Item;

    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.stream.as_mut().poll_next(cx)
    }

    fn left(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}
