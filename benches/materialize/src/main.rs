//! One run of one contender, on a tokio runtime of one thread:
//!
//!     materialize-contenders CONTENDER WORKLOAD ITEMS IN_FLIGHT
//!
//! Prints `key=value` lines. The processor time is that of the whole process from before the first
//! future to after the last row; starting the process is not part of it.

use materialize_contenders::workloads::Counts;
use materialize_contenders::{Contender, Workload};
use rustix::time::{ClockId, clock_gettime};
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

    let (wall, cpu) = (Instant::now(), process_time());
    runtime.block_on(contender.run(workload, items, in_flight, limit, &COUNTS));
    let (wall, cpu) = (wall.elapsed(), process_time() - cpu);

    println!("wall_s={:.6}", wall.as_secs_f64());
    println!("cpu_s={:.6}", cpu.as_secs_f64());
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

fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("processor time is not negative")
}
