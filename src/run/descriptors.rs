//! A descriptor table for each loop.
//!
//! The threads of a process share one table of open files. Every open and every close takes its
//! lock, and while it is shared, every use of a descriptor counts a reference: with two loops on a
//! warm cache that is 6 % of the time. A loop shares its files with nobody but the threads it
//! starts itself.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Gives the calling thread, and those it starts from now on, a descriptor table of its own: a copy
/// of the present one. Where that cannot be, the table stays shared, which is only slower.
///
/// From now on a descriptor made by a thread of one table means nothing, or another file, to a
/// thread of the other.
pub(super) fn separate() {
    // SAFETY: the call reads no memory. It is among the calling thread's first acts, when all it holds
    // of descriptors is shares of the loops' wake-ups. Those are in all tables under the same numbers
    // and are closed in none while a loop runs: the loops' owner made them before it started the
    // first, and keeps a share of each until the last has ended. What the loop opens later belongs to
    // its engine, which stays on this thread and those it starts.
    let _shared_if_it_fails = unsafe { libc::unshare(libc::CLONE_FILES) };
}

/// Makes room in the calling thread's table for so many descriptors more; `any` is one of those it has.
/// A table grows when it is full, and if it is shared, if only with threads of the kernel, then whoever
/// needs it to waits until all processors have taken note: up to 30 ms, each time it doubles. While it is
/// the thread's own, it grows at once.
pub(super) fn make_room(any: BorrowedFd<'_>, count: usize) {
    let dup = |least| rustix::io::fcntl_dupfd_cloexec(any, least);
    let first_free = dup(0).map(|lowest| lowest.as_raw_fd());
    let last = first_free.map(|first| first.saturating_add_unsigned(count as u32));
    // Where the limit on open files does not let that be, it grows later.
    let _closed_again = last.and_then(dup);
}

/// The same for a worker, but without the descriptors from this number on: those are files that its
/// loop has opened since, and must be able to close. False where that cannot be: the table stays shared.
pub(super) fn separate_below(first_of_loops: u32) -> bool {
    const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;
    // SAFETY: the call reads no memory. The kernel first gives the thread a table of its own
    // (close_range(2), Linux 5.9), so what is closed stays open for all others. On this thread, which
    // has just started, nothing refers to a descriptor of that range: the loops' wake-ups, the only
    // ones it will use that it does not open itself, were made earlier and have lower numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first_of_loops,
            u32::MAX,
            CLOSE_RANGE_UNSHARE,
        )
    };
    result == 0
}
