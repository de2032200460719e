//! Notices that a standard stream was closed before the program began.
//!
//! Before `main`, Rust's runtime opens `/dev/null` in the place of a standard stream that is closed:
//! what is written there is lost without an error, and what is read there is an empty list. Only code
//! that runs even earlier can tell.

use std::sync::atomic::{AtomicBool, Ordering};

static STDIN_WAS_CLOSED: AtomicBool = AtomicBool::new(false);
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// True if whoever started the program gave it no standard input.
pub(super) fn stdin_was_closed() -> bool {
    STDIN_WAS_CLOSED.load(Ordering::Relaxed)
}

/// True if whoever started the program gave it no standard output.
pub(super) fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

extern "C" fn look() {
    for (stream, was_closed) in [
        (libc::STDIN_FILENO, &STDIN_WAS_CLOSED),
        (libc::STDOUT_FILENO, &STDOUT_WAS_CLOSED),
    ] {
        // SAFETY: the call takes any number and reads no memory.
        let flags = unsafe { libc::fcntl(stream, libc::F_GETFD) };
        was_closed.store(flags < 0, Ordering::Relaxed);
    }
}

// SAFETY: the section holds pointers to functions of this type, which the loader calls before the
// runtime starts (System V ABI, "Initialization and Termination Functions"). The one here needs
// nothing of the runtime: it makes system calls and sets atomics.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
