//! SIGINT and SIGTERM: the first asks the run to stop, the second ends the process at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Watches for the signals.
pub(super) struct Interrupt {
    /// Set by either signal.
    pub(super) flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    pub(super) fn watch() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM]
            .into_iter()
            .filter(|&number| !is_ignored(number))
        {
            // In this order: the first signal finds the flag not yet set.
            signal_hook::flag::register_conditional_default(number, Arc::clone(&flag))?;
            signal_hook::flag::register(number, Arc::clone(&flag))?;
            #[allow(clippy::cast_sign_loss)]
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize)?;
        }
        Ok(Self { flag, signal })
    }

    /// The signal that came, if one did.
    pub(super) fn signal(&self) -> Option<i32> {
        i32::try_from(self.signal.load(Ordering::Relaxed))
            .ok()
            .filter(|&number| number != 0)
    }
}

/// True for a signal that whoever started us wants ignored, as `nohup` and shells do for what runs
/// in the background. It stays ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}
