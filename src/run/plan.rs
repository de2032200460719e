//! What a run may use.

use crate::mill::{Mill, Order, Pace};
use crate::stats::Collector;
use std::sync::Arc;
use std::time::Duration;

/// Which engine carries out the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// io_uring.
    Uring,
    /// A pool of threads. Makes no io_uring call.
    Threads,
}

/// What a run may use, after it has been fitted to the system's limits.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The engine.
    pub engine: EngineKind,
    /// Let a loop that cannot have a ring use threads.
    pub may_fall_back: bool,
    /// Items in flight, all loops together.
    pub in_flight: usize,
    /// Items between pull and emission.
    pub window: usize,
    /// Limit on the bytes of finished items, their places included, that wait for an earlier one or for the
    /// sink. At the limit nothing is pulled, and items in flight continue. `usize::MAX`: no limit in bytes.
    pub window_bytes: usize,
    /// Number of parked items, all loops together, from which on no item is started. They hold no place in flight.
    pub parked: usize,
    /// Event loops.
    pub loops: usize,
    /// Threads for calls that block, all loops together.
    pub io_workers: usize,
    /// Limit on the bytes of parts of results that wait for earlier items, all items together. One more
    /// part may be held, and two of the item at the front.
    pub part_bytes: usize,
    /// Whether results leave in input order.
    pub order: Order,
    /// End the run at the first failure in the order of output.
    pub fail_fast: bool,
    /// Each item's deadline after its first submission.
    pub timeout: Option<Duration>,
    /// Limit on items started per second: a positive number. `None`: no limit.
    pub rate_per_s: Option<f64>,
    /// Collects the latencies, if they are to be recorded; made for the job's
    /// [`Job::PHASES`](crate::jobs::Job::PHASES).
    pub latencies: Option<Arc<Collector>>,
    /// Give each loop its own table of open files, so that the loops do not contend for one.
    /// The job must then not use descriptors that the rest of the program has opened.
    pub separate_descriptors: bool,
}

impl Plan {
    /// Each loop's share of a rate that is for all loops together.
    #[cfg(feature = "dns")]
    pub(crate) fn share_of_rate(&self, rate_per_s: f64) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let loops = self.loops as f64;
        rate_per_s / loops
    }
}

pub(super) fn new_mill<V>(plan: &Plan, loops: usize) -> Mill<V> {
    Mill::new(plan.order, plan.window, loops, plan.fail_fast)
        .window_bytes(plan.window_bytes)
        .part_bytes(plan.part_bytes)
        .paced(plan.rate_per_s.map(Pace::new))
}
