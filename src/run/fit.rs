//! Turns the requested options into a plan within the system's limits.

use super::open_files::Descriptors;
use super::plan::{EngineKind, Plan};
use crate::io::uring::{self, Refusal};
use crate::mill::budget::{self, Budget};
use crate::mill::{Order, PART_BYTES_DEFAULT};
use std::time::Duration;

/// Files: enough to keep a fast disk busy, and few enough that their buffers stay in the caches.
const IN_FLIGHT_DEFAULT: usize = 512;
/// Items that wait for a network and hold no file: enough for 80,000 per second at 100 ms each. This is
/// only the limit: as many are in flight as prove useful.
const IN_FLIGHT_WITHOUT_FILES_DEFAULT: usize = 8192;
const WINDOW_PER_IN_FLIGHT: usize = 16;
/// For items that wait for a network: a name whose servers are silent takes seconds to fail, while others
/// finish at tens of thousands per second. Most rows take 150 bytes in all, but some have kilobytes, so the
/// number that wait is also limited by their bytes.
const WINDOW_FROM_NETWORK: usize = 192 * 1024;
const WINDOW_BYTES_FROM_NETWORK: usize = 30 * 1024 * 1024;
/// Less, because connections take memory, too.
const WINDOW_BYTES_WITH_CONNECTIONS: usize = 20 * 1024 * 1024;
/// Items of connections that wait for their turn at a server: each takes 6 KiB.
const PARKED_WITH_CONNECTIONS: usize = 2048;
/// Each open that is not cached blocks a worker; many workers keep the disk's queue full.
const IO_WORKERS_DEFAULT: usize = 64;

/// What carries out the operations.
///
/// ```
/// let rows = ringmill::hash(["Cargo.toml"]).engine(ringmill::Engine::Threads).start()?;
/// assert!(!rows.report().uses_uring);
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// io_uring, or threads where it is not available.
    #[default]
    Auto,
    /// io_uring; the run fails where it is not available.
    Uring,
    /// Threads. Makes no io_uring call, for sandboxes that kill a process for one.
    Threads,
}

/// The options requested for a run. Those that are `None` follow from the machine and its limits.
#[derive(Clone, Debug)]
pub(crate) struct PlanRequest {
    pub(crate) engine: Engine,
    pub(crate) in_flight: Option<usize>,
    pub(crate) window: Option<usize>,
    pub(crate) loops: Option<usize>,
    pub(crate) io_workers: Option<usize>,
    pub(crate) order: Order,
    pub(crate) fail_fast: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) rate_per_s: Option<f64>,
    /// Each item has a file open, so the limit on open files limits the items in flight.
    pub(crate) items_hold_files: bool,
    /// Items wait for servers.
    pub(crate) waits_for_replies: bool,
    /// The job uses only descriptors that it opens itself.
    pub(crate) separate_descriptors: bool,
}

/// A plan that fits the limits.
#[derive(Debug)]
pub(crate) struct Fitted {
    pub(crate) plan: Plan,
    /// The limit on open files, if because of it fewer items are in flight than requested, or than the default.
    pub(crate) limited_by_open_files: Option<u64>,
    /// Why there is no ring, if one was tried.
    pub(crate) refusal: Option<Refusal>,
}

/// Why no plan fits the limits.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// No file could be opened.
    #[error("no file could be opened: the limit on open files is {limit}")]
    TooFewDescriptors {
        limit: u64,
        /// A limit that would be enough.
        enough: usize,
    },
    /// The requested engine is not available.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl PlanRequest {
    /// No options requested.
    pub(crate) fn new(items_hold_files: bool) -> Self {
        Self {
            engine: Engine::default(),
            in_flight: None,
            window: None,
            loops: None,
            io_workers: None,
            order: Order::Input,
            fail_fast: false,
            timeout: None,
            rate_per_s: None,
            items_hold_files,
            waits_for_replies: !items_hold_files,
            separate_descriptors: false,
        }
    }

    /// Fits the request to the processors and the free descriptors.
    pub(crate) fn fit(&self, descriptors: &Descriptors) -> Result<Fitted, PlanError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let in_flight_default = match self.items_hold_files {
            true => IN_FLIGHT_DEFAULT,
            false => IN_FLIGHT_WITHOUT_FILES_DEFAULT,
        };
        let wanted = Budget {
            in_flight: self.in_flight.unwrap_or(in_flight_default),
            loops: self.loops.unwrap_or(processors),
        };
        if self.items_hold_files && descriptors.free < budget::DESCRIPTORS_MIN {
            return Err(PlanError::TooFewDescriptors {
                limit: descriptors.limit,
                enough: descriptors.in_use + budget::DESCRIPTORS_MIN,
            });
        }
        let limit = usize::try_from(descriptors.limit).unwrap_or(usize::MAX);
        let mut fitted = budget::fit(wanted, limit, descriptors.in_use);
        if !self.items_hold_files {
            fitted.in_flight = wanted.in_flight;
        }
        let is_limited = wanted.in_flight > fitted.in_flight;
        let from_network = WINDOW_FROM_NETWORK.max(fitted.in_flight);
        let (window, window_bytes, parked) = match self.window {
            Some(window) => (window, usize::MAX, usize::MAX),
            None if !self.waits_for_replies => (
                WINDOW_PER_IN_FLIGHT * fitted.in_flight,
                usize::MAX,
                usize::MAX,
            ),
            None if self.items_hold_files => (
                from_network,
                WINDOW_BYTES_WITH_CONNECTIONS,
                PARKED_WITH_CONNECTIONS,
            ),
            None => (from_network, WINDOW_BYTES_FROM_NETWORK, usize::MAX),
        };
        let (engine, refusal) = self.choose_engine()?;
        let plan = Plan {
            engine,
            may_fall_back: self.engine == Engine::Auto,
            // The window limits the items in flight, too.
            in_flight: fitted.in_flight.min(window),
            window,
            window_bytes,
            parked,
            loops: fitted.loops.min(window),
            io_workers: self.io_workers.unwrap_or(IO_WORKERS_DEFAULT),
            part_bytes: PART_BYTES_DEFAULT,
            order: self.order,
            fail_fast: self.fail_fast,
            timeout: self.timeout,
            rate_per_s: self.rate_per_s,
            latencies: None,
            separate_descriptors: self.separate_descriptors,
        };
        Ok(Fitted {
            plan,
            limited_by_open_files: is_limited.then_some(descriptors.limit),
            refusal,
        })
    }

    fn choose_engine(&self) -> Result<(EngineKind, Option<Refusal>), Refusal> {
        match (self.engine, uring_unless(self.engine == Engine::Threads)) {
            (_, Ok(engine)) => Ok((engine, None)),
            (Engine::Uring, Err(refusal)) => Err(refusal),
            (_, Err(refusal)) => Ok((EngineKind::Threads, Some(refusal))),
        }
    }
}

/// Probes for io_uring, except with `threads`: a sandbox may kill the process for the probe.
fn uring_unless(threads: bool) -> Result<EngineKind, Refusal> {
    match threads {
        true => Ok(EngineKind::Threads),
        false => uring::probe().map(|()| EngineKind::Uring),
    }
}
