//! One run of one contender, on a tokio runtime of one thread:
//!
//!     materialize-contenders CONTENDER WORKLOAD ITEMS IN_FLIGHT
//!
//! Prints `key=value` lines. Times are from before the first future to after the last row, without the
//! start of the process.

use materialize_contenders::workloads::Counts;
use materialize_contenders::{Contender, Workload};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a stuck head is watched.
const STUCK: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(600);

static COUNTS: Counts = Counts::new();

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((contender, workload, items, in_flight)) = parse(&arguments) else {
        eprintln!("usage: materialize-contenders CONTENDER WORKLOAD ITEMS IN_FLIGHT");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let is_stuck = workload == Workload::StuckHead;
    let limit = if is_stuck { STUCK } else { LIMIT };

    let (start, [user, system]) = (Instant::now(), processor_times());
    runtime.block_on(contender.run(workload, items, in_flight, limit, &COUNTS));
    let (wall, [user_end, system_end]) = (start.elapsed(), processor_times());

    println!("wall_s={:.6}", wall.as_secs_f64());
    println!("user_s={:.6}", user_end - user);
    println!("sys_s={:.6}", system_end - system);
    println!("started={}", COUNTS.started());
    println!("received={}", COUNTS.received());
    println!("held_max={}", COUNTS.held_max());
    if !COUNTS.in_order() || (!is_stuck && COUNTS.received() != items) {
        eprintln!("rows are missing or out of order");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parse(arguments: &[String]) -> Option<(Contender, Workload, u64, usize)> {
    let [contender, workload, items, in_flight] = arguments else {
        return None;
    };
    Some((
        Contender::from_name(contender)?,
        Workload::from_name(workload)?,
        items.parse().ok()?,
        in_flight.parse().ok().filter(|&n| n > 0)?,
    ))
}

/// Seconds of the process in user mode and in the kernel.
fn processor_times() -> [f64; 2] {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("it does not fail for this process");
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    [usage.user_time(), usage.system_time()].map(seconds)
}
