//! Ends the wait of a loop from another thread.

use super::carrier::Wake;
use crate::error::Errno;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// An eventfd that a carrier waits for, together with its operations.
///
/// It is made before the loops start, so that it has the same number in each loop's descriptor
/// table.
#[derive(Debug)]
pub struct WakeUp(OwnedFd);

impl WakeUp {
    /// A wake-up for a new carrier.
    ///
    /// # Errors
    /// If no descriptor is available.
    pub fn new() -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self(eventfd(0, EventfdFlags::CLOEXEC)?)))
    }

    /// Consumes the notifications. Blocks if there is none.
    pub(super) fn reset(&self) {
        // If this fails, the carrier checks everything anyway.
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
        // This can fail only when the counter is full, and then the loop is awake.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}
