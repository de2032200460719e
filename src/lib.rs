//! ringmill takes a stream of items of any length, keeps as many operations in flight as it is
//! allowed to on io_uring, and gives one result per item **in the order the items came in**, in
//! memory that does not grow with the input.
//!
//! | you have | call |
//! |---|---|
//! | paths, and want digests | [`hash()`] |
//! | names, and want their DNS records | [`dns()`] |
//! | anything, and an async function over files or sockets | [`run()`] |
//! | futures, and an async runtime of your own | [`materialize`] |
//!
//! The first three give [`Rows`]: an iterator over one [`Row`] for each input.
//!
//! ```
//! use ringmill::Algorithm;
//!
//! let paths = ["Cargo.toml", "src/lib.rs", "no such file"];
//! for row in ringmill::hash(paths).algorithm(Algorithm::Sha256).in_flight(256).start()? {
//!     let row = row?; // Err: the run itself broke; a broken run never looks complete
//!     match row.result {
//!         Ok(hashed) => println!("{}  {}", hashed.digest, row.input.display()),
//!         Err(error) => eprintln!("{error}"),
//!     }
//! }
//! # Ok::<(), ringmill::Error>(())
//! ```
//!
//! A job of your own is an async closure, which may open and read files by [`Io`]:
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
//! - No more than [`in_flight`](Hash::in_flight) inputs are begun and not done, and no more than
//!   [`window`](Hash::window) lie between their pull and the taking of their rows.
//! - Open files stay within the process's limit (RLIMIT_NOFILE). A lack of descriptors or memory is
//!   waited out, and no input's error while others may free some.
//! - As long as inputs can be pulled and the window has room, none of the places in flight stays empty,
//!   whatever other inputs do.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `dns` | [`dns()`] |
//! | `stream` | [`Rows`] as a [`Stream`](https://docs.rs/futures-core/latest/futures_core/stream/trait.Stream.html) |
//! | `latency` | latencies of runs in [`Report`] |
//! | `cli` (default) | what the command needs, and all of the above |
#![deny(
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    missing_docs
)]

mod api;

// For the command, and for this project's own tests, benchmarks and fuzz targets, which look inside. What
// these modules have may change at any time.
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
pub use digest::{Algorithm, Digest};
pub use jobs::hash::Hashed;
pub use ringmill_materialize::{
    Driver, FromStream, Materialize, MaterializeExt, Outputs, materialize,
};
pub use run::Engine;
