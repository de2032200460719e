//! `materialize` as a method of streams of futures.

use crate::materialize::Materialize;
use crate::source::FromStream;
use futures_core::Stream;

/// Adds [`materialize`](MaterializeExt::materialize) to streams of futures.
pub trait MaterializeExt: Stream {
    /// Runs the futures of this stream, `in_flight` of them at a time, and yields their results in
    /// the order of the stream. See [`materialize`](crate::materialize()).
    ///
    /// # Panics
    ///
    /// If `in_flight` is 0.
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
