//! Makes a plan from the options and the system's limits.

use super::arguments::ResourceArguments;
use super::setup_error::SetupError;
use crate::mill::Order;
use crate::run::{Descriptors, EngineKind, Plan, PlanError, PlanRequest};
use crate::sink::messages;
use crate::stats::noun;
use serde_json::{Map, Value, json};

/// Makes a plan that fits the system's limits, and reports the options that had to be reduced.
pub(super) fn plan(
    arguments: &ResourceArguments,
    request: PlanRequest,
    descriptors: &Descriptors,
) -> Result<Plan, SetupError> {
    let request = PlanRequest {
        engine: arguments.engine,
        in_flight: arguments.in_flight,
        window: arguments.window,
        loops: arguments.loops,
        io_workers: arguments.io_workers,
        rate_per_s: arguments.rate,
        ..request
    };
    let fitted = request.fit(descriptors)?;
    let plan = fitted.plan;
    if let (Some(limit), Some(wanted)) = (fitted.limited_by_open_files, request.in_flight) {
        let items = noun(plan.in_flight as u64, "item", "items");
        messages::about_run(&format_args!(
            "{} {items} in flight instead of {wanted}: the limit on open files is {limit}",
            plan.in_flight,
        ));
    }
    if let Some(refusal) = fitted.refusal {
        messages::about_run(&format_args!("{refusal}; using threads"));
    }
    Ok(plan)
}

impl From<PlanError> for SetupError {
    fn from(error: PlanError) -> Self {
        let message = error.to_string();
        match error {
            PlanError::TooFewDescriptors { enough, .. } => Self::new(message).hint(format!(
                "ulimit -n {enough} is enough; with more it is faster"
            )),
            PlanError::Refused(refusal) => refusal.into(),
        }
    }
}

/// The plan, for the document of --stats.
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

/// Prints the plan.
pub(super) fn describe(plan: &Plan, descriptors: &Descriptors, limit_before: u64) {
    let engine = engine_name(plan.engine);
    messages::about_run(&format_args!(
        "plan: engine {engine}, in flight {}, window {}, loops {}, io workers {}, \
         limit on open files {} (was {}), {} in use",
        plan.in_flight,
        plan.window,
        plan.loops,
        plan.io_workers,
        descriptors.limit,
        limit_before,
        descriptors.in_use,
    ));
}
