//! What a run was like: counts and latencies, and the forms in which they are shown.

mod activity;
mod collector;
pub mod document;
pub mod hgrm;
pub mod hlog;
mod latencies;
mod machine;
mod phase;
mod progress;
mod series;
mod stopwatch;
mod summary;
mod table;
mod tally;
mod units;

pub use activity::{Activity, HeldBackTimes};
pub use collector::{Collector, Detail, Recorder};
pub use latencies::{LATENCY_NS_MAX, Latencies, PhaseLatencies, new_histogram};
pub use machine::{FileSystemFacts, Machine};
pub use phase::Phase;
pub use progress::{Progress, Total};
pub use series::Series;
pub use stopwatch::Stopwatch;
pub use summary::Summary;
pub use table::{PERCENTILES, columns, table};
pub use units::{HumanTime, noun};
