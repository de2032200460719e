//! Runs a constant number of futures at a time and yields their results **in the order the futures
//! came in**, each as soon as it and all earlier ones are available, in bounded memory. It works on
//! any async runtime: the futures are polled in place, and need to be neither `Send` nor `'static`.
//!
//! ```
//! use ringmill_materialize::materialize;
//! use std::time::Duration;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! # .block_on(async {
//! async fn square(n: u64) -> u64 {
//!     // The earlier, the slower.
//!     tokio::time::sleep(Duration::from_millis(100 - n)).await;
//!     n * n
//! }
//!
//! let mut squares = materialize((1..100).map(square), 8);
//! let mut sum = 0;
//! while let Some(square) = squares.next().await {
//!     sum += square;
//! }
//! assert_eq!(sum, 328_350);
//! # });
//! ```
//!
//! # Two bounds
//!
//! *In flight* are the futures that are pulled from the source and not finished: at most
//! `in_flight`, N. The *window*, W, bounds how many are pulled and not emitted: those in flight, and
//! the finished ones that wait for an earlier one. It is 16 N by default; [`Materialize::window`]
//! sets it.
//!
//! N futures are in flight whenever the source has as many and the window has room, even if the
//! oldest takes a long time. `buffered(n)` has one bound for both: behind a slow future it runs
//! fewer and fewer. `buffered_ordered(n)` of futures-buffered has no second bound: behind a slow
//! future it collects results without limit.
//!
//! No future is pulled before there is a place for it, so the source may be endless. No memory is
//! allocated per item: slots and their wakers are reused.
//!
//! # Driving the futures
//!
//! The futures make progress while the stream is polled. [`Materialize::split`] gives a [`Driver`]
//! to spawn, so that they make progress while the consumer does something else:
//!
//! ```
//! # use ringmill_materialize::materialize;
//! # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
//! let (driver, mut rows) = materialize((0..10).map(async |n| n * 2), 4).split();
//! let driver = tokio::spawn(driver);
//! while let Some(row) = rows.next().await {
//!     println!("{row}");
//! }
//! driver.await.unwrap();
//! # });
//! ```
//!
//! Each poll of the stream or driver takes a bounded number of steps and then gives way to other
//! tasks.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod ext;
mod in_flight;
mod materialize;
mod ready;
mod source;
mod split;
#[cfg(test)]
mod tests;
pub mod window;

pub use ext::MaterializeExt;
pub use materialize::Materialize;
pub use source::{FromStream, Source};
pub use split::{Driver, Outputs};
pub use window::{Order, Window};

/// Runs futures, `in_flight` of them at a time, and yields their results in input order.
///
/// The futures come from any iterator, which may be endless; for a stream of futures there is
/// [`MaterializeExt::materialize`]. Each is polled for the first time as soon as it is pulled. The
/// [crate documentation](crate) describes what is bounded.
///
/// # Panics
///
/// If `in_flight` is 0.
#[track_caller]
pub fn materialize<I>(futures: I, in_flight: usize) -> Materialize<I::IntoIter>
where
    I: IntoIterator<Item: Future>,
{
    Materialize::new(futures.into_iter(), in_flight)
}
