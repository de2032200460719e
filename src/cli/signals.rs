//! The handlers of SIGINT and SIGTERM.

use super::setup_error::SetupError;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Decides whether a signal ends the process at once, which is the default. During a run the first signal
/// only stops the run, and while a file is being replaced the signal is deferred.
#[derive(Clone)]
pub(super) struct Signals {
    /// The next signal ends the process. Set by each signal, in its handler.
    end_process: Arc<AtomicBool>,
    /// The signal that arrived last; 0 if none did. Set in its handler.
    last: Arc<AtomicUsize>,
}

impl Signals {
    /// Installs the handlers. Until [`Signals::note_first`], a signal ends the process.
    pub(super) fn register() -> Result<Self, SetupError> {
        Self::try_register()
            .map_err(|error| SetupError::new(format!("cannot watch for signals: {error}")))
    }

    fn try_register() -> io::Result<Self> {
        let signals = Self {
            end_process: Arc::new(AtomicBool::new(true)),
            last: Arc::default(),
        };
        for number in Self::watched() {
            // Handlers run in this order, so the first signal of a run finds the flag not yet set.
            flag::register_conditional_default(number, Arc::clone(&signals.end_process))?;
            flag::register(number, Arc::clone(&signals.end_process))?;
            #[allow(clippy::cast_sign_loss)]
            flag::register_usize(number, Arc::clone(&signals.last), number as usize)?;
        }
        Ok(signals)
    }

    /// The numbers of the signals that are not ignored.
    pub(super) fn watched() -> impl Iterator<Item = i32> {
        [SIGINT, SIGTERM]
            .into_iter()
            .filter(|&number| !is_ignored(number))
    }

    /// From now on a first signal is only noted, and a second one ends the process.
    pub(super) fn note_first(&self) {
        self.end_process.store(false, Ordering::Relaxed);
    }

    /// The signal that arrived last, if any. It has not ended the process.
    pub(super) fn last(&self) -> Option<i32> {
        i32::try_from(self.last.load(Ordering::Relaxed))
            .ok()
            .filter(|&number| number != 0)
    }

    /// Runs `act`, which should not be interrupted. A signal that would have ended the process in the
    /// meantime ends it afterwards; a second signal ends it at once.
    pub(super) fn defer<T>(&self, act: impl FnOnce() -> T) -> T {
        let would_end = self.end_process.swap(false, Ordering::Relaxed);
        let result = act();
        let came = would_end && self.end_process.swap(true, Ordering::Relaxed);
        if came && let Some(signal) = self.last() {
            let _ = emulate_default_handler(signal);
        }
        result
    }
}

/// True if the signal was ignored when the process started: `nohup` does so, and shells do so for commands
/// in the background. Such a signal stays ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}
