//! How a run ended.

use crate::io::uring::Refusal;
use crate::mill::{Counters, Mill};
use crate::source::InputError;
use crate::stats::Activity;
use std::io;

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    /// Items taken from the input, and results written out.
    pub counters: Counters,
    /// Results that were failures.
    pub failed: u64,
    /// What the loops did.
    pub activity: Activity,
    /// Why it ended.
    pub end: End,
    /// The input's own error, after all earlier items.
    pub input_error: Option<InputError>,
    /// A description of the first loop's engine.
    pub engine: String,
    /// Why a loop fell back to threads, if one did.
    pub fell_back: Option<Refusal>,
    /// Why the run was single-threaded, if no other thread could be started.
    pub single_threaded: Option<io::Error>,
}

/// Why a run ended.
#[derive(Debug)]
pub enum End {
    /// Every item has its result.
    Complete,
    /// An item failed, and the run was to end at the first failure.
    FailFast,
    /// A stop was requested.
    Interrupted,
    /// The results could not be written.
    Output(io::Error),
}

/// Why a run could not start or continue.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The engine is not available here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The engine failed during the run.
    #[error("the engine failed: {0}")]
    Engine(io::Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl Report {
    /// The part of a report that is the same for all runs.
    pub(super) fn new<V>(mill: &Mill<V>, end: End, failed: u64, engine: String) -> Self {
        Self {
            counters: mill.counters(),
            failed,
            activity: Activity::default(),
            // It comes after all items, so only a complete run has reached it.
            input_error: match end {
                End::Complete => mill.take_input_error(),
                _ => None,
            },
            end,
            engine,
            fell_back: None,
            single_threaded: None,
        }
    }
}
