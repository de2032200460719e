//! Detects a standard stream that was closed before the program started.
//!
//! Before `main`, Rust's runtime opens `/dev/null` in place of a standard stream that is closed: output
//! is then lost without an error, and a list on standard input is empty. Only code that runs before the
//! runtime starts can detect this.

use std::sync::atomic::{AtomicBool, Ordering};

static STDIN_WAS_CLOSED: AtomicBool = AtomicBool::new(false);
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// True if standard input was closed when the program started.
pub(super) fn stdin_was_closed() -> bool {
    STDIN_WAS_CLOSED.load(Ordering::Relaxed)
}

/// True if standard output was closed when the program started.
pub(super) fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

extern "C" fn check_streams() {
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
// runtime starts (System V ABI, "Initialization and Termination Functions"). This one does not need
// the runtime: it only makes system calls and sets atomics.
#[used]
#[unsafe(link_section = ".init_array")]
static CHECK_STREAMS: extern "C" fn() = check_streams;
