//! A descriptor table for each loop.
//!
//! The threads of a process share one table of open files. Every open and every close takes its
//! lock, and while it is shared, every use of a descriptor counts a reference: with two loops on a
//! warm cache that is 6 % of the time. A loop shares its files only with the threads that it starts
//! itself.

use nix::sys::signal::{SigSet, Signal};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

/// Descriptors that the tables of loops and workers have in common with that of the process: the standard
/// streams, for panic messages, and the loops' wake-ups.
#[derive(Clone, Debug)]
pub struct Common(Arc<[u32]>);

impl Common {
    pub(super) fn new<'a>(wake_ups: impl Iterator<Item = BorrowedFd<'a>>) -> Self {
        let wake_ups = wake_ups.map(|wake_up| wake_up.as_raw_fd().unsigned_abs());
        let mut common: Vec<u32> = STANDARD_STREAMS.chain(wake_ups).collect();
        common.sort_unstable();
        common.dedup();
        Self(common.into())
    }

    /// Gives the calling thread, and those it starts from now on, its own descriptor table with only these
    /// descriptors. So a loop does not keep files open that the rest of the process closes, nor a worker
    /// those that a loop closes. False if that fails: then the table stays shared, which is only slower.
    ///
    /// From now on a descriptor that a thread opens in one table is invalid, or another file, in the other.
    pub(super) fn separate(&self) -> bool {
        block_signals();
        let last = self.0.last().expect("there are standard streams");
        if !close_range(last + 1..=u32::MAX, CLOSE_RANGE_UNSHARE) {
            return false;
        }
        // The thread has its own table now; if this fails, it only keeps more descriptors.
        for pair in self.0.windows(2).filter(|pair| pair[0] + 1 < pair[1]) {
            let _only_kept_open = close_range(pair[0] + 1..=pair[1] - 1, 0);
        }
        true
    }
}

/// Leaves signals to other threads: descriptors that signal handlers use, of a pipe for instance, are not in
/// this table. Signals for errors of this thread itself are still delivered.
fn block_signals() {
    let mut others = SigSet::all();
    for own in [
        Signal::SIGABRT,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGSEGV,
        Signal::SIGSYS,
        Signal::SIGTRAP,
    ] {
        others.remove(own);
    }
    others.thread_block().expect("the set is valid");
}

const STANDARD_STREAMS: RangeInclusive<u32> = 0..=2;

/// The thread gets its own table first (close_range(2), Linux 5.9), so that other threads keep the
/// descriptors that it closes.
const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;

/// Closes descriptors in the calling thread's table. False if that fails.
fn close_range(range: RangeInclusive<u32>, flags: u32) -> bool {
    let (first, last) = range.into_inner();
    // SAFETY: the call reads no memory. It is one of the first things that a thread of a loop or worker does,
    // in its own table: the first call makes that table, and further calls follow only if it did. The only
    // descriptors that the thread holds by then are the loops' wake-ups (shared ownership), which are not in
    // the ranges. The wake-ups have the same numbers in all tables and are closed in none while a loop runs:
    // the owner of the loops made them before it started the first, and keeps a reference to each until the
    // last has ended. Descriptors that the thread opens later are used only by it and by the threads it
    // starts.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    result == 0
}

/// Makes room in the calling thread's table for `count` more descriptors; `any` is one that it has.
/// A full table doubles in size. If it is shared, even only with kernel threads, the thread that makes it
/// grow waits until all processors have noticed: up to 30 ms each time. While only this thread uses the
/// table, it grows without a wait.
pub(super) fn make_room(any: BorrowedFd<'_>, count: usize) {
    let dup = |least| rustix::io::fcntl_dupfd_cloexec(any, least);
    let first_free = dup(0).map(|lowest| lowest.as_raw_fd());
    let last = first_free.map(|first| first.saturating_add_unsigned(count as u32));
    // If the limit on open files forbids that, the table grows later.
    let _closed_again = last.and_then(dup);
}
