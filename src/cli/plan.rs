//! Options and the system's limits to a plan.

use super::arguments::{EngineChoice, ResourceArguments};
use super::limits::Descriptors;
use super::setup_error::SetupError;
use crate::io::uring::{self, Refusal};
use crate::mill::budget::{self, Budget};
use crate::mill::{Order, PART_BYTES_DEFAULT};
use crate::run::{EngineKind, Plan};
use crate::sink::messages;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Files: enough to keep a fast disk busy, and few enough that their buffers stay in the caches.
const IN_FLIGHT_DEFAULT: usize = 512;
/// What waits for a network and holds no file: enough for 80,000 in a second at 100 ms each. As few of
/// them as do well are in flight.
const IN_FLIGHT_WITHOUT_FILES_DEFAULT: usize = 8192;
const WINDOW_PER_IN_FLIGHT: usize = 16;
/// What holds no file but waits for a network: a name whose servers are silent takes seconds to fail, in
/// which others go on at tens of thousands per second. Their rows are short, most take 150 bytes in all;
/// but one may have kilobytes, so that it is bytes that limit how many wait.
const WINDOW_WITHOUT_FILES: usize = 192 * 1024;
const WINDOW_BYTES_WITHOUT_FILES: usize = 30 * 1024 * 1024;
/// Cold opens block a worker each; more of them keep the disk's queue filled.
const IO_WORKERS_DEFAULT: usize = 64;

/// What a job asks for besides resources.
pub(super) struct Wishes {
    pub(super) order: Order,
    pub(super) fail_fast: bool,
    pub(super) timeout: Option<Duration>,
    /// Each item has a file open, so that their number is limited.
    pub(super) items_hold_files: bool,
}

/// Fits what was asked for into what there is.
pub(super) fn plan(
    arguments: &ResourceArguments,
    wishes: Wishes,
    descriptors: &Descriptors,
) -> Result<Plan, SetupError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let in_flight_default = match wishes.items_hold_files {
        true => IN_FLIGHT_DEFAULT,
        false => IN_FLIGHT_WITHOUT_FILES_DEFAULT,
    };
    let wanted = Budget {
        in_flight: arguments.in_flight.unwrap_or(in_flight_default),
        loops: arguments.loops.unwrap_or(processors),
    };
    let limit = usize::try_from(descriptors.limit).unwrap_or(usize::MAX);
    if wishes.items_hold_files && descriptors.free < budget::LEAST {
        let enough = descriptors.in_use + budget::LEAST;
        let message = format!("no file could be opened: the limit on open files is {limit}");
        let hint = format!("ulimit -n {enough} is enough; with more it is faster");
        return Err(SetupError::new(message).hint(hint));
    }
    let mut fitted = budget::fit(wanted, limit, descriptors.in_use);
    if !wishes.items_hold_files {
        fitted.in_flight = wanted.in_flight;
    }
    if arguments
        .in_flight
        .is_some_and(|asked| asked > fitted.in_flight)
    {
        messages::about_run(&format_args!(
            "{} items in flight instead of {}: the limit on open files is {limit}",
            fitted.in_flight, wanted.in_flight,
        ));
    }
    let (window, window_bytes) = match arguments.window {
        Some(window) => (window, usize::MAX),
        None if wishes.items_hold_files => (WINDOW_PER_IN_FLIGHT * fitted.in_flight, usize::MAX),
        None => {
            let window = WINDOW_WITHOUT_FILES.max(fitted.in_flight);
            (window, WINDOW_BYTES_WITHOUT_FILES)
        }
    };
    Ok(Plan {
        engine: choose_engine(arguments.engine)?,
        may_fall_back: arguments.engine == EngineChoice::Auto,
        // More in flight than the window holds can never be.
        in_flight: fitted.in_flight.min(window),
        window,
        window_bytes,
        loops: fitted.loops.min(window),
        io_workers: arguments.io_workers.unwrap_or(IO_WORKERS_DEFAULT),
        part_bytes: PART_BYTES_DEFAULT,
        order: wishes.order,
        fail_fast: wishes.fail_fast,
        timeout: wishes.timeout,
        rate_per_s: arguments.rate,
        latencies: None,
        separate_descriptors: wishes.items_hold_files,
    })
}

fn choose_engine(choice: EngineChoice) -> Result<EngineKind, Refusal> {
    match choice {
        EngineChoice::Threads => Ok(EngineKind::Threads),
        EngineChoice::Uring => uring::probe().map(|()| EngineKind::Uring),
        EngineChoice::Auto => Ok(match uring::probe() {
            Ok(()) => EngineKind::Uring,
            Err(refusal) => {
                messages::about_run(&format_args!("{refusal}; using threads"));
                EngineKind::Threads
            }
        }),
    }
}

/// The plan for a document.
pub(super) fn options(plan: &Plan) -> Map<String, Value> {
    let timeout_ns = plan.timeout.map(|timeout| timeout.as_nanos());
    let options = json!({
        "engine": engine_name(plan.engine),
        "in_flight": plan.in_flight,
        "window": plan.window,
        "window_bytes": (plan.window_bytes < usize::MAX).then_some(plan.window_bytes),
        "loops": plan.loops,
        "io_workers": plan.io_workers,
        "order": match plan.order {
            Order::Input => "input",
            Order::Completion => "completion",
        },
        "fail_fast": plan.fail_fast,
        "timeout_ns": timeout_ns.and_then(|ns| u64::try_from(ns).ok()),
        "rate_per_s": plan.rate_per_s,
    });
    let Value::Object(options) = options else {
        unreachable!("it is an object")
    };
    options
}

fn engine_name(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Uring => "uring",
        EngineKind::Threads => "threads",
    }
}

/// Says what came of it.
pub(super) fn describe(plan: &Plan, descriptors: &Descriptors) {
    let engine = engine_name(plan.engine);
    messages::about_run(&format_args!(
        "plan: engine {engine}, in flight {}, window {}, loops {}, io workers {}, \
         limit on open files {} (was {}), {} in use",
        plan.in_flight,
        plan.window,
        plan.loops,
        plan.io_workers,
        descriptors.limit,
        descriptors.soft_before,
        descriptors.in_use,
    ));
}
