//! SIGINT and SIGTERM during a run: the first signal stops the run, the second ends the process at once.

use super::memory;
use super::setup_error::SetupError;
use super::signals::Signals;
use crate::run::Stop;
use rustix::process::{Resource, getrlimit};
use signal_hook::iterator;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// With a lower limit on open files, signals are polled for: the notifying thread needs two descriptors.
const DESCRIPTORS_MIN: u64 = 64;

/// How often to poll for a signal if no thread can be notified of it.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Turns a signal into a request to stop the run.
pub(super) struct Interrupt {
    /// Requested when either signal arrives.
    pub(super) stop: Arc<Stop>,
    pub(super) signals: Signals,
    /// A thread requests the stop. Otherwise [`Interrupt::poll`] must.
    notifies: bool,
}

impl Interrupt {
    /// Until [`Interrupt::run_begins`], a signal ends the process at once: opening an output may block
    /// for ever, and there is no run to stop yet.
    pub(super) fn watch() -> Result<Self, SetupError> {
        let signals = Signals::register()?;
        let stop = Arc::<Stop>::default();
        // Last, so that the handlers in `signals` have run when the thread is notified of a signal.
        let notifies = notify(&stop).is_ok();
        Ok(Self {
            stop,
            signals,
            notifies,
        })
    }

    /// From now on the first signal requests the stop of the run.
    pub(super) fn run_begins(&self) {
        self.signals.note_first();
    }

    /// How often to call [`Interrupt::poll`]; `None` if a thread is notified of signals.
    pub(super) fn poll_interval(&self) -> Option<Duration> {
        (!self.notifies).then_some(POLL_INTERVAL)
    }

    /// Requests the stop if a signal has arrived that no thread is notified of, or if memory is exhausted.
    pub(super) fn poll(&self) {
        if !self.notifies && self.signals.last().is_some() || memory::is_exhausted() {
            self.stop.request();
        }
    }

    /// The signal that arrived last, if any.
    pub(super) fn signal(&self) -> Option<i32> {
        self.signals.last()
    }
}

/// Starts a thread that requests the stop when a signal arrives.
fn notify(stop: &Arc<Stop>) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile).maximum;
    if limit.is_some_and(|limit| limit < DESCRIPTORS_MIN) {
        return Err(io::Error::other("too few descriptors"));
    }
    let mut signals = iterator::Signals::new(Signals::watched())?;
    let stop = Arc::clone(stop);
    let thread = thread::Builder::new().name("ringmill-signal".to_owned());
    thread.stack_size(64 * 1024).spawn(move || {
        for _ in signals.forever() {
            stop.request();
        }
    })?;
    Ok(())
}
