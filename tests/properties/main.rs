//! The invariants of the mill and of its loops, over seeded schedules of the simulation: orders of
//! completion, short reads, shortages, errors, hanging files, stalls of the source, a slow consumer, a
//! stop at any step. The numbers I1 to I16 are those of ARCHITECTURE.md.
//!
//! Everything runs on one thread, whose scheduler picks at random which part moves next. A failure
//! prints the scenario with its seed.
//!
//! `RINGMILL_CASES=1000000 cargo test --release --test properties` tries that many schedules in each
//! of the tests, in place of the few hundred of an ordinary run.

mod files;
mod jobs;
mod loops;
#[path = "../simulated/mod.rs"]
mod simulated;
mod waits;
