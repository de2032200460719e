//! Statistics of a run: counts and latencies, and the formats in which they are written.

mod activity;
#[cfg(feature = "latency")]
mod collector;
#[cfg(not(feature = "latency"))]
#[path = "no_collector.rs"]
mod collector;
mod detail;
#[cfg(feature = "cli")]
pub mod document;
#[cfg(feature = "cli")]
pub mod hgrm;
#[cfg(feature = "cli")]
pub mod hlog;
#[cfg(feature = "latency")]
mod latencies;
#[cfg(feature = "cli")]
mod machine;
mod phase;
#[cfg(feature = "latency")]
mod phase_places;
#[cfg(feature = "cli")]
mod progress;
#[cfg(feature = "cli")]
mod series;
mod stopwatch;
#[cfg(feature = "cli")]
mod summary;
#[cfg(feature = "cli")]
mod table;
#[cfg(feature = "latency")]
mod tally;
#[cfg(feature = "cli")]
mod units;

pub use activity::{Activity, HeldBackTimes};
pub use collector::{Collector, Recorder};
pub use detail::Detail;
#[cfg(feature = "latency")]
pub use latencies::{LATENCY_NS_MAX, Latencies, PhaseLatencies, new_histogram};
#[cfg(feature = "cli")]
pub use machine::{FileSystemFacts, Machine};
pub use phase::Phase;
#[cfg(feature = "cli")]
pub use progress::{Progress, Total};
#[cfg(feature = "cli")]
pub use series::Series;
pub use stopwatch::Stopwatch;
#[cfg(feature = "cli")]
pub use summary::Summary;
#[cfg(feature = "cli")]
pub use table::{PERCENTILES, columns, table};
#[cfg(feature = "cli")]
pub use units::{HumanTime, noun};
