//! ringmill takes a stream of items of any length, keeps up to a given number of them in flight on
//! io_uring, and gives one result per item **in the order of the items**, in memory that does not grow
//! with the input.
//!
//! | you have | call |
//! |---|---|
//! | paths, and want digests | [`hash()`] |
//! | names, and want their DNS records | [`dns()`] |
//! | any inputs, and an async function that uses files or sockets | [`run()`] |
//! | futures, and your own async runtime | [`materialize`] |
//!
//! The first three give [`Rows`]: an iterator over one [`Row`] for each input.
//!
//! ```
//! use ringmill::Algorithm;
//!
//! let paths = ["Cargo.toml", "src/lib.rs", "no such file"];
//! for row in ringmill::hash(paths).algorithm(Algorithm::Sha256).in_flight(256).start()? {
//!     let row = row?; // Err: the run itself failed; a failed run never looks complete
//!     match row.result {
//!         Ok(hashed) => println!("{}  {}", hashed.digest, row.input.display()),
//!         Err(error) => eprintln!("{error}"),
//!     }
//! }
//! # Ok::<(), ringmill::Error>(())
//! ```
//!
//! Your own job is an async closure, which may open and read files through [`Io`]:
//!
//! ```
//! use ringmill::{Error, Io};
//! use std::path::PathBuf;
//!
//! let paths = ["Cargo.toml", "src/lib.rs"].map(PathBuf::from);
//! let lengths = ringmill::run(paths, |io: Io, path: PathBuf| async move {
//!     Ok::<_, Error>(io.read(&path).await?.len())
//! });
//! for row in lengths.start()? {
//!     let row = row?;
//!     println!("{}: {} bytes", row.input.display(), row.result?);
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! [`materialize`] is the same for any futures, on any async runtime:
//!
//! ```
//! use ringmill::materialize;
//!
//! # async fn example() {
//! let mut squares = materialize((0..).map(async |n: u64| n * n), 100);
//! assert_eq!(squares.next().await, Some(0));
//! assert_eq!(squares.next().await, Some(1));
//! # }
//! ```
//!
//! # What is promised
//!
//! - Every input has exactly one row, errors included, and rows come in the order of the inputs.
//! - At most [`in_flight`](Hash::in_flight) inputs are started and not finished, and at most
//!   [`window`](Hash::window) are started while their rows have not been taken. Besides these, up to 1,024 inputs
//!   may have been pulled from the iterator.
//! - Open files stay within the process's limit (RLIMIT_NOFILE). When descriptors or memory are exhausted,
//!   an input waits and is retried; it fails only if no other input can free any.
//! - While inputs can be pulled and the window has room, the number of inputs in flight stays at its limit,
//!   whatever other inputs do.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `dns` | [`dns()`] |
//! | `stream` | [`Rows`] as a [`Stream`](https://docs.rs/futures-core/latest/futures_core/stream/trait.Stream.html) |
//! | `latency` | [`Rows::latencies`]: latency histograms of a run |
//! | `cli` (default) | the command, and all of the above |
#![deny(
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    missing_docs
)]

mod api;

// Public for the command, and for this project's own tests, benchmarks and fuzz targets. The content of
// these modules may change at any time.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod digest;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod escape;
#[doc(hidden)]
pub mod io;
#[doc(hidden)]
pub mod item;
#[doc(hidden)]
pub mod jobs;
mod lock;
#[doc(hidden)]
pub mod mill;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod plot;
#[doc(hidden)]
pub mod run;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod sink;
#[doc(hidden)]
pub mod source;
mod split_mix;
#[doc(hidden)]
pub mod stats;

#[cfg(feature = "latency")]
pub use api::Latency;
#[cfg(feature = "dns")]
pub use api::{Dns, DnsRecord, DnsStatus, RecordType, Resolved, UnknownRecordType, dns};
pub use api::{
    Error, ErrorKind, File, Hash, Io, Metadata, NotReady, Report, Row, Rows, Run, RunEnd, Stopper,
    hash, run,
};
pub use digest::{Algorithm, Digest, UnknownAlgorithm};
pub use jobs::hash::Hashed;
pub use ringmill_materialize::{
    Driver, FromStream, Materialize, MaterializeExt, Outputs, materialize,
};
pub use run::Engine;
