//! A request to end a run early.

use crate::io::Wake;
use crate::lock::lock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Ends runs early, from any thread. A request wakes whatever waits in them, so nothing has to poll for it.
#[derive(Default)]
pub struct Stop {
    is_requested: AtomicBool,
    runs: Mutex<Vec<Weak<dyn Wake>>>,
}

impl Stop {
    /// Ends the runs that have this stop, now or later, as soon as possible.
    pub fn request(&self) {
        self.is_requested.store(true, Ordering::SeqCst);
        let runs = lock(&self.runs);
        runs.iter()
            .filter_map(Weak::upgrade)
            .for_each(|run| run.wake());
    }

    /// True once a stop was requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::SeqCst)
    }

    /// From now on, a request wakes this run. The run has to check for an earlier request itself.
    pub(super) fn wakes(&self, run: &Arc<dyn Wake>) {
        let mut runs = lock(&self.runs);
        runs.retain(|run| run.strong_count() > 0);
        runs.push(Arc::downgrade(run));
    }
}
