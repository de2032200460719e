//! SIGINT and SIGTERM: the first asks the run to stop, the second ends the process at once.

use crate::run::Stop;
use rustix::process::{Resource, getrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// Set by either signal, in its handler.
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
    notifies: bool,
}

impl Interrupt {
    pub(super) fn watch() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let signal = Arc::new(AtomicUsize::new(0));
        let watched: Vec<i32> = [SIGINT, SIGTERM]
            .into_iter()
            .filter(|&number| !is_ignored(number))
            .collect();
        for &number in &watched {
            // In this order: the first signal finds the flag not yet set.
            signal_hook::flag::register_conditional_default(number, Arc::clone(&flag))?;
            signal_hook::flag::register(number, Arc::clone(&flag))?;
            #[allow(clippy::cast_sign_loss)]
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize)?;
        }
        let stop = Arc::<Stop>::default();
        // Last: when the thread hears of a signal, all else has been done.
        let notifies = notify(&stop, &watched).is_ok();
        Ok(Self {
            stop,
            flag,
            signal,
            notifies,
        })
    }

    /// How often [`Interrupt::look`] is to be called, if it has to be.
    pub(super) fn look_interval(&self) -> Option<Duration> {
        (!self.notifies).then_some(LOOK_INTERVAL)
    }

    /// Requests the stop if a signal has come and nobody was notified of it.
    pub(super) fn look(&self) {
        if !self.notifies && self.flag.load(Ordering::Relaxed) {
            self.stop.request();
        }
    }

    /// The signal that came, if one did.
    pub(super) fn signal(&self) -> Option<i32> {
        i32::try_from(self.signal.load(Ordering::Relaxed))
            .ok()
            .filter(|&number| number != 0)
    }
}

/// Has a thread request the stop when one of the signals comes.
fn notify(stop: &Arc<Stop>, signals: &[i32]) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile).maximum;
    if limit.is_some_and(|limit| limit < DESCRIPTORS_MIN) {
        return Err(io::Error::other("there are few descriptors"));
    }
    let mut signals = Signals::new(signals)?;
    let stop = Arc::clone(stop);
    let thread = thread::Builder::new().name("ringmill-signal".to_owned());
    thread.stack_size(64 * 1024).spawn(move || {
        for _ in signals.forever() {
            stop.request();
        }
    })?;
    Ok(())
}

/// True for a signal that whoever started us wants ignored, as `nohup` and shells do for what runs
/// in the background. It stays ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}
