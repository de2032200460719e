//! What a run was like: counts and latencies, and how they are shown.

mod progress;
mod summary;

pub use progress::{Progress, Total};
pub use summary::Summary;
