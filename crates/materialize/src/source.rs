//! Where futures come from: iterators and streams.

use futures_core::Stream;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

mod sealed {
    pub trait Sealed {}
}

/// What futures are pulled from: every iterator of futures, or [`FromStream`].
///
/// This trait is sealed: it has no methods to call and cannot be implemented outside this crate.
/// For another kind of source, implement [`Iterator`] or [`Stream`].
pub trait Source: sealed::Sealed {
    /// What is pulled.
    type Future: Future;

    /// The next future, or `None` at the end. Not called again after the end.
    #[doc(hidden)]
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::Future>>;

    /// Bounds of the number of futures left.
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
pub struct FromStream<S> {
    // Boxed, because a stream has to be pinned and pin projection needs unsafe code.
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
