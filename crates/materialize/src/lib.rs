//! Runs a constant number of futures at a time and yields their results **in input order**, each as
//! soon as it and all earlier ones are available, in bounded memory. It works on any async runtime:
//! the futures are polled in place, and need to be neither `Send` nor `'static`.
//!
//! ```
//! use ringmill_materialize::materialize;
//! use std::time::Duration;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! # .block_on(async {
//! async fn square(n: u64) -> u64 {
//!     // Earlier futures take longer.
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
//! A future is *in flight* from when it is pulled from the source until it has finished. At most
//! `in_flight` futures (N) are in flight. The *window* (W) bounds the futures that are pulled and whose
//! results are not emitted: those in flight, and those that have finished and wait for an earlier one.
//! It is 16 N by default; [`Materialize::window`] sets it.
//!
//! N futures are in flight whenever the source has as many and the window has room, even if the
//! oldest takes a long time. `buffered(n)` of futures-util has one bound for both: behind a slow future
//! it runs fewer and fewer. `buffered_ordered(n)` of futures-buffered has no second bound: behind a slow
//! future it collects results without limit.
//!
//! A future is pulled only when it can be in flight, so the source may be endless. No memory is
//! allocated per item: slots and their wakers are reused.
//!
//! # Driving the futures
//!
//! The futures make progress while the stream is polled. [`Materialize::split`] returns a [`Driver`]
//! to spawn as a task, so that they make progress while the consumer does something else:
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
//! Each poll of the stream or driver takes a bounded number of steps and then yields to other tasks.
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
/// The futures come from any iterator, which may be endless; for a stream of futures use
/// [`MaterializeExt::materialize`]. Each is polled for the first time as soon as it is pulled. The
/// [crate documentation](crate) describes what is bounded.
///
/// # Panics
///
/// If `in_flight` is 0.
///
/// ```
/// use ringmill_materialize::materialize;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let mut rows = materialize((1..).map(async |n: u64| n * n), 4);
/// assert_eq!(rows.next().await, Some(1));
/// assert_eq!(rows.next().await, Some(4));
/// # });
/// ```
#[track_caller]
pub fn materialize<I>(futures: I, in_flight: usize) -> Materialize<I::IntoIter>
where
    I: IntoIterator<Item: Future>,
{
    Materialize::new(futures.into_iter(), in_flight)
}
