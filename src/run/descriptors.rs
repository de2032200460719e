//! A descriptor table for each loop.
//!
//! The threads of a process share one table of open files. Every open and every close takes its
//! lock, and while it is shared, every use of a descriptor counts a reference: with two loops on a
//! warm cache that is 6 % of the time. A loop shares its files with nobody but the threads it
//! starts itself.

use nix::sys::signal::{SigSet, Signal};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

/// Descriptors that the tables of loops and workers have in common with that of the process: standard streams,
/// for what is said in a panic, and the loops' wake-ups.
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

    /// Gives the calling thread, and those it starts from now on, a descriptor table of its own, which has
    /// only these: what the process closes is not kept open by a loop, nor what a loop closes by its worker.
    /// False where that cannot be: then the table stays shared, which is only slower.
    ///
    /// From now on a descriptor made by a thread of one table means nothing, or another file, to a
    /// thread of the other.
    pub(super) fn separate(&self) -> bool {
        block_signals();
        let last = self.0.last().expect("there are standard streams");
        if !close_range(last + 1..=u32::MAX, CLOSE_RANGE_UNSHARE) {
            return false;
        }
        // The table is its own, and has at least the others.
        for pair in self.0.windows(2).filter(|pair| pair[0] + 1 < pair[1]) {
            let _only_kept_open = close_range(pair[0] + 1..=pair[1] - 1, 0);
        }
        true
    }
}

/// Leaves signals to other threads: what their handlers write to, a pipe for instance, is not in this table.
/// Those of an error of the thread's own still come.
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

/// The thread gets a table of its own first (close_range(2), Linux 5.9), so that what is closed stays open
/// for all others.
const CLOSE_RANGE_UNSHARE: u32 = 1 << 1;

/// Closes descriptors of the calling thread's table. False if it cannot.
fn close_range(range: RangeInclusive<u32>, flags: u32) -> bool {
    let (first, last) = range.into_inner();
    // SAFETY: the call reads no memory. It is among the first acts of a thread of a loop or worker, in a
    // table of its own: the first call makes one, and others follow only if it did. All that the thread
    // holds of descriptors by then is shares of the loops' wake-ups, which are not in the ranges. Those are
    // in all tables under the same numbers and are closed in none while a loop runs: the loops' owner made
    // them before it started the first, and keeps a share of each until the last has ended. What the thread
    // opens later stays with it and those it starts.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    result == 0
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
