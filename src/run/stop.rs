//! A request to end a run early.

use crate::io::Wake;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Ends runs early, from any thread. What waits in them is woken: nothing looks for it now and then.
#[derive(Default)]
pub struct Stop {
    is_requested: AtomicBool,
    runs: Mutex<Vec<Weak<dyn Wake>>>,
}

impl Stop {
    /// Runs that have this stop, now or later, end as soon as they can.
    pub fn request(&self) {
        self.is_requested.store(true, Ordering::SeqCst);
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter()
            .filter_map(Weak::upgrade)
            .for_each(|run| run.wake());
    }

    /// True once it was requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::SeqCst)
    }

    /// From now on, a request wakes this run. It has to look whether there was one before.
    pub(super) fn wakes(&self, run: &Arc<dyn Wake>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|run| run.strong_count() > 0);
        runs.push(Arc::downgrade(run));
    }
}
