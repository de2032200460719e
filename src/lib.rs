//! ringmill takes a stream of items of any length, keeps as many operations in flight as it is
//! allowed to on io_uring, and gives one result per item **in the order the items came in**, in
//! memory that does not grow with the input.
//!
//! ```no_run
//! use ringmill::digest::Algorithm;
//! use ringmill::jobs::hash::{HashJob, Hashed};
//! use ringmill::mill::{Finished, Order, PART_BYTES_DEFAULT};
//! use ringmill::run::{EngineKind, Plan, Sink, Stop, run};
//! use ringmill::source::{Lists, Separator};
//!
//! struct Print;
//!
//! impl Sink<Hashed> for Print {
//!     fn result(&mut self, finished: Finished<Hashed>) -> std::io::Result<()> {
//!         match finished.result {
//!             Ok(hashed) => println!("{} {}", finished.item.index(), hashed.digest),
//!             Err(error) => println!("{} {error}", finished.item.index()),
//!         }
//!         Ok(())
//!     }
//!
//!     fn flush(&mut self) -> std::io::Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! let plan = Plan {
//!     engine: EngineKind::Uring,
//!     may_fall_back: true,
//!     in_flight: 512,
//!     window: 8192,
//!     window_bytes: usize::MAX,
//!     loops: 2,
//!     io_workers: 64,
//!     part_bytes: PART_BYTES_DEFAULT,
//!     order: Order::Input,
//!     fail_fast: false,
//!     timeout: None,
//!     rate_per_s: None,
//!     latencies: None,
//!     separate_descriptors: true,
//! };
//! let job = HashJob { algorithm: Algorithm::Blake3, read_special: false, strict: false };
//! let list = Lists::new(vec!["list.txt".into()], Separator::Newline);
//! let report = run(&plan, job, list, &mut Print, &Stop::default())?;
//! assert_eq!(report.counters.pulled, report.counters.emitted);
//! # Ok::<(), ringmill::run::RunError>(())
//! ```
//!
//! [`materialize`] does the same for any futures, on any async runtime:
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
#![deny(
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    missing_docs
)]

pub mod cli;
pub mod clock;
pub mod digest;
pub mod error;
pub mod io;
pub mod item;
pub mod jobs;
pub mod mill;
pub mod plot;
pub mod run;
pub mod sink;
pub mod source;
pub mod stats;

pub use ringmill_materialize::{
    Driver, FromStream, Materialize, MaterializeExt, Rows, materialize,
};
