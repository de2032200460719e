//! The example of the proposal that this crate implements: coroutines that print when they start
//! and end, at most three of them at a time, and their results in input order, each as soon as it
//! and all earlier ones are available.
//!
//!     cargo run --example proposal

use ringmill_materialize::materialize;
use std::time::Duration;

const MAX_CONCURRENCY: usize = 3;

/// How long each coroutine takes; the pattern repeats after seven.
const DURATIONS_MS: [u64; 7] = [350, 100, 130, 160, 90, 310, 120];

fn duration(k: usize) -> Duration {
    Duration::from_millis(DURATIONS_MS[k % DURATIONS_MS.len()])
}

async fn coroutine(k: usize, print: impl Fn(String)) -> usize {
    print(format!("start {k}"));
    tokio::time::sleep(duration(k)).await;
    print(format!("end {k}"));
    k
}

/// Runs coroutines from an endless iterator and prints the first `results` results.
pub async fn run(results: usize, print: impl Fn(String) + Copy) {
    let coroutines = (0..).map(|k| coroutine(k, print));
    let mut rows = materialize(coroutines, MAX_CONCURRENCY);
    for _ in 0..results {
        let row = rows.next().await.expect("the input is endless");
        print(format!("  result {row}"));
    }
    // Dropping `rows` cancels what is in flight.
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    run(7, |line| println!("{line}")).await;
}
