//! Seeded schedules over scripted futures.

mod schedules;
mod script;
