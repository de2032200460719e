//! `materialize` as a method of streams of futures.

use crate::materialize::Materialize;
use crate::source::FromStream;
use futures_core::Stream;

/// Adds the method [`materialize`](MaterializeExt::materialize) to streams of futures.
///
/// ```
/// use futures_core::Stream;
/// use ringmill_materialize::MaterializeExt;
///
/// async fn first<F: Future>(jobs: impl Stream<Item = F>) -> Option<F::Output> {
///     jobs.materialize(8).next().await
/// }
/// ```
pub trait MaterializeExt: Stream {
    /// Runs the futures of this stream, `in_flight` of them at a time, and yields their results in
    /// the order of the stream. See [`materialize`](crate::materialize()).
    ///
    /// # Panics
    ///
    /// If `in_flight` is 0.
    ///
    /// ```
    /// use futures_core::Stream;
    /// use ringmill_materialize::MaterializeExt;
    ///
    /// async fn sum(jobs: impl Stream<Item = impl Future<Output = u64>>) -> u64 {
    ///     let mut rows = jobs.materialize(8);
    ///     let mut sum = 0;
    ///     while let Some(row) = rows.next().await {
    ///         sum += row;
    ///     }
    ///     sum
    /// }
    /// ```
    #[track_caller]
    fn materialize(self, in_flight: usize) -> Materialize<FromStream<Self>>
    where
        Self: Sized,
        Self::Item: Future,
    {
        Materialize::new(FromStream::new(self), in_flight)
    }
}

impl<S: Stream> MaterializeExt for S {}
