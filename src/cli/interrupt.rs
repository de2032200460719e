//! SIGINT and SIGTERM during a run: the first asks it to stop, the second ends the process at once.

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

/// Descriptors without which none are spent on being notified of a signal, which takes two.
const DESCRIPTORS_MIN: u64 = 64;

/// How often it is looked whether a signal has come, where no thread can be notified of it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Watches for the signals.
pub(super) struct Interrupt {
    /// Requested by either signal.
    pub(super) stop: Arc<Stop>,
    pub(super) signals: Signals,
    notifies: bool,
}

impl Interrupt {
    /// Until [`Interrupt::run_begins`], a signal ends the process at once: opening an output may wait
    /// for ever, and there is nothing to stop yet.
    pub(super) fn watch() -> Result<Self, SetupError> {
        let signals = Signals::register()?;
        let stop = Arc::<Stop>::default();
        // Last: when the thread hears of a signal, all else has been done.
        let notifies = notify(&stop).is_ok();
        Ok(Self {
            stop,
            signals,
            notifies,
        })
    }

    /// From now on the first signal asks the run to stop.
    pub(super) fn run_begins(&self) {
        self.signals.note_first();
    }

    /// How often [`Interrupt::look`] is to be called, if it has to be.
    pub(super) fn look_interval(&self) -> Option<Duration> {
        (!self.notifies).then_some(LOOK_INTERVAL)
    }

    /// Requests the stop if a signal has come and nobody was notified of it, or there is no memory.
    pub(super) fn look(&self) {
        if !self.notifies && self.signals.last().is_some() || memory::is_exhausted() {
            self.stop.request();
        }
    }

    /// The signal that came, if one did.
    pub(super) fn signal(&self) -> Option<i32> {
        self.signals.last()
    }
}

/// Has a thread request the stop when one of the signals comes.
fn notify(stop: &Arc<Stop>) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile).maximum;
    if limit.is_some_and(|limit| limit < DESCRIPTORS_MIN) {
        return Err(io::Error::other("there are few descriptors"));
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
