//! Ends the wait of a loop from another thread.

use super::carrier::Wake;
use crate::error::Errno;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// An eventfd, on which a carrier waits among other things.
///
/// It is made before the loops start, so each loop's descriptor table has it under the same number.
#[derive(Debug)]
pub struct WakeUp(OwnedFd);

impl WakeUp {
    /// One for a new carrier.
    ///
    /// # Errors
    /// If no descriptor is to be had.
    pub fn new() -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self(eventfd(0, EventfdFlags::CLOEXEC)?)))
    }

    /// Takes the notifications away. Waits for one if there is none.
    pub(super) fn reset(&self) {
        // Whatever fails here, the carrier looks at everything anyway.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for WakeUp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Wake for WakeUp {
    fn wake(&self) {
        // It can only fail when the counter is full, and then the loop is awake.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}
