//! Event loops on simulated carriers; the test moves them one turn at a time, or a [`Drive`] does.

#![allow(dead_code, unused_imports, reason = "not used in all tests")]

mod drive;
mod ledger;
mod sim_loop;
mod spurious;

pub use drive::{Drive, Ended, Oracle, Schedule, Turned, schedule};
pub use ledger::{Ledger, Timer};
pub use sim_loop::{
    Demand, Parts, SimLoop, YIELD_PAUSE, check_liveness, check_share, check_wait, workers,
};
pub use spurious::Spurious;

use proptest::prelude::ProptestConfig;

/// How a property is tested: on this number of schedules, unless RINGMILL_CASES is set.
pub fn config(cases: u32, max_shrink_iters: u32) -> ProptestConfig {
    let wanted = std::env::var("RINGMILL_CASES");
    let parse = |wanted: String| wanted.parse().expect("RINGMILL_CASES is a number");
    ProptestConfig {
        cases: wanted.map_or(cases, parse),
        max_shrink_iters,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
