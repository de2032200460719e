//! Tests with seeded random schedules of scripted futures.

mod schedules;
mod script;
