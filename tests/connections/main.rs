//! The invariants for `connect` and `http`: event loops of a simulation, with servers that listen, refuse, say
//! nothing, break off, ask for pauses, close. The numbers are those of ARCHITECTURE.md.
//!
//! `RINGMILL_CASES=1000000 cargo test --release --test connections` tries that many schedules in each of the
//! tests, in place of the few hundred of an ordinary run.

mod drive;
mod endpoints;
mod name_server;
mod requests;
#[path = "../simulated/mod.rs"]
mod simulated;

/// The number of schedules to try: `usually`, unless RINGMILL_CASES is set.
fn cases(usually: u32) -> u32 {
    let wanted = std::env::var("RINGMILL_CASES");
    wanted.map_or(usually, |wanted| {
        wanted.parse().expect("RINGMILL_CASES is a number")
    })
}
