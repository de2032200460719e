//! The invariants for `connect` and `http`: event loops of a simulation, with servers that listen, refuse, say
//! nothing, break off, ask for pauses, close. The numbers are those of ARCHITECTURE.md.
//!
//! `RINGMILL_CASES=1000000 cargo test --release --test connections` tries that many schedules in each of the
//! tests, in place of the few hundred of an ordinary run.

mod endpoints;
mod name_server;
mod requests;
#[path = "../simulated/mod.rs"]
mod simulated;
mod tls;

use proptest::prelude::*;
use simulated::Schedule;

fn schedule() -> impl Strategy<Value = Schedule> {
    let schedule = simulated::schedule(1..80, 1_usize..20, 1..60, 0..4_000);
    let parked = prop_oneof![Just(usize::MAX), 1_usize..10];
    (schedule, parked).prop_map(|(schedule, parked_per_loop)| Schedule {
        parked_per_loop,
        ..schedule
    })
}
