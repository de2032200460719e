//! Notices that standard output was closed before the program began.
//!
//! Before `main`, Rust's runtime opens `/dev/null` in the place of a standard stream that is closed,
//! and what is written there is lost without an error. Only code that runs even earlier can tell.

use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// True if whoever started the program gave it no standard output.
pub(super) fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

extern "C" fn look() {
    // SAFETY: the call takes any number and reads no memory.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT_WAS_CLOSED.store(flags < 0, Ordering::Relaxed);
}

// SAFETY: the section holds pointers to functions of this type, which the loader calls before the
// runtime starts (System V ABI, "Initialization and Termination Functions"). The one here needs
// nothing of the runtime: it makes a system call and sets an atomic.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
