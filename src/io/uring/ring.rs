//! The ring itself: what is queued, what is in the kernel, and what has come back.
//!
//! This module and `ops` contain the carrier's `unsafe`. One rule makes it sound: **an operation
//! stays in `slots`, and what it points to does not move, until its completion has been taken from
//! the ring**, even if the future that waits for it is dropped. Paths, buffers and results are on
//! the heap, so moving the slot itself does no harm.

use super::ops::{self, Entry};
use super::setup::{self, Refusal};
use crate::error::Errno;
use crate::io::carrier::{Wait, Wake};
use crate::io::op::Op;
use crate::io::wake_up::WakeUp;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::fs::Statx;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

/// Maximum entries submitted with one call. More would only delay the first.
const SQ_ENTRIES: u32 = 256;

/// User data of completions that belong to no operation: of the wake-up read and of cancellations.
const WAKE: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;

/// Room in the completion queue for these.
const CQ_RESERVE: usize = 64;

/// How many threads are added at a time because others may be stuck, and how many there may be in
/// total, as a multiple of the initial number.
const WORKERS_STEP: u32 = 8;
const WORKERS_FACTOR_MAX: u32 = 5;

pub(super) struct Ring {
    ring: IoUring,
    profile: &'static str,
    workers: KernelWorkers,
    /// Indexed by the keys of their operations.
    slots: Vec<Slot>,
    outstanding: usize,
    outstanding_max: usize,
    completed: VecDeque<cqueue::Entry>,
    wake: Arc<WakeUp>,
    /// Where the kernel writes the eventfd's counter.
    wake_count: Box<[u8; 8]>,
    wake_is_armed: bool,
    cancels_outstanding: usize,
    enters: u64,
    failure: Option<io::Error>,
}

/// A slot for an operation that is queued or in the kernel.
#[derive(Default)]
struct Slot {
    /// Counts the operations that this slot has held, so that a stray completion is noticed.
    generation: u32,
    entry: Option<Entry>,
    is_cancelled: bool,
}

/// How many kernel threads the ring may have for operations that block.
struct KernelWorkers {
    /// The initial number; 0 if the kernel does not let it be set.
    max: u32,
    /// The number registered now, including replacements for threads that may be stuck.
    registered: u32,
    /// Operations that were cancelled and have not ended. In each, a thread may be stuck.
    stuck: u32,
}

impl KernelWorkers {
    /// The number of threads to register, if it is higher than the registered one.
    fn wanted(&self) -> Option<u32> {
        let replaced = self.stuck.next_multiple_of(WORKERS_STEP);
        let wanted = (self.max + replaced).min(WORKERS_FACTOR_MAX * self.max);
        (wanted > self.registered).then_some(wanted)
    }
}

/// An operation taken back from the ring.
pub(super) struct Ended {
    pub(super) key: u32,
    pub(super) op: Op,
    /// The kernel's result: a count or a descriptor.
    pub(super) result: Result<i32, Errno>,
    pub(super) statx: Option<Box<Statx>>,
}

impl Ring {
    pub(super) fn new(
        outstanding_max: usize,
        workers_max: u32,
        wake_up: Arc<WakeUp>,
    ) -> Result<Self, Refusal> {
        let cq_entries = u32::try_from(outstanding_max + CQ_RESERVE).unwrap_or(u32::MAX);
        let (ring, profile) = setup::build(SQ_ENTRIES, cq_entries)?;
        // The kernel may have clamped the size. The queue never overflows, because no more
        // operations are accepted than it has entries.
        let outstanding_max = outstanding_max.min(ring.params().cq_entries() as usize - CQ_RESERVE);
        // Before Linux 5.15 the number of workers cannot be set; the kernel's default applies.
        let is_set = set_workers(&ring, workers_max);
        let max = if is_set { workers_max } else { 0 };
        let mut ring = Self {
            ring,
            profile,
            workers: KernelWorkers {
                max,
                registered: max,
                stuck: 0,
            },
            slots: Vec::new(),
            outstanding: 0,
            outstanding_max,
            completed: VecDeque::new(),
            wake: wake_up,
            wake_count: Box::new([0; 8]),
            wake_is_armed: false,
            cancels_outstanding: 0,
            enters: 0,
            failure: None,
        };
        ring.arm_wake().map_err(|error| Refusal {
            errno: error.raw_os_error().map(Errno::new),
            cause: format!("the ring took no operation: {error}"),
            hint: "",
        })?;
        Ok(ring)
    }

    pub(super) fn has_room(&self) -> bool {
        self.outstanding() < self.outstanding_max
    }

    /// Operations queued or in the kernel.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    pub(super) fn push(&mut self, key: u32, op: Op) -> io::Result<()> {
        let index = key as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let slot = &mut self.slots[index];
        assert!(slot.entry.is_none(), "one operation for each key");
        let entry = slot.entry.insert(Entry::new(op));
        let user_data = u64::from(slot.generation) << 32 | u64::from(key);
        let sqe = ops::prepare(entry).user_data(user_data);
        self.outstanding += 1;
        self.push_sqe(&sqe)
    }

    fn push_sqe(&mut self, sqe: &squeue::Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.submit(Wait::No)?;
        }
        // SAFETY: every pointer in the entry is to heap memory owned by a slot (paths, buffers,
        // statx results) or by this ring (the wake-up counter). Slots keep theirs until the
        // completion has been taken, see `pop`; if it never comes, `drop` leaks them.
        unsafe { self.ring.submission().push(sqe) }
            .map_err(|_| io::Error::other("the submission queue is full after a submission"))
    }

    /// Submits queued entries to the kernel and waits as `wait` says, unless completions are ready.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        if !self.wake_is_armed {
            self.arm_wake()?;
        }
        let idle = self.completed.is_empty() && self.ring.completion().is_empty();
        self.submit(if idle { wait } else { Wait::No })?;
        self.reap();
        Ok(())
    }

    fn submit(&mut self, wait: Wait) -> io::Result<()> {
        loop {
            self.enters += 1;
            let submitter = self.ring.submitter();
            let result = match wait {
                Wait::No => submitter.submit(),
                Wait::Forever => submitter.submit_and_wait(1),
                Wait::AtMost(duration) => {
                    let timespec = types::Timespec::from(duration);
                    let arguments = types::SubmitArgs::new().timespec(&timespec);
                    submitter.submit_with_args(1, &arguments)
                }
            };
            let Err(error) = result else { return Ok(()) };
            match error.raw_os_error() {
                // A signal arrived and was handled. Repeated signals must not make a wait longer
                // than requested.
                Some(libc::EINTR) if wait == Wait::No => {}
                Some(libc::EINTR) => return Ok(()),
                // The timeout has expired. The entries were submitted all the same.
                Some(libc::ETIME) => return Ok(()),
                // The kernel needs completions to be taken first, or is short of memory.
                Some(libc::EAGAIN | libc::EBUSY) => {
                    if self.reap() == 0 {
                        std::thread::yield_now();
                    } else if wait != Wait::No {
                        return Ok(());
                    }
                }
                // Among them EBADR: a completion was lost, and with it an item.
                _ => return Err(error),
            }
        }
    }

    /// Moves completions out of the shared queue, so that the kernel has room for more.
    fn reap(&mut self) -> usize {
        let before = self.completed.len();
        let queue = self.ring.completion();
        debug_assert_eq!(queue.overflow(), 0, "the completion queue overflowed");
        self.completed.extend(queue);
        self.completed.len() - before
    }

    /// The next operation that has ended.
    pub(super) fn pop(&mut self) -> Option<Ended> {
        loop {
            let cqe = self.completed.pop_front()?;
            match cqe.user_data() {
                WAKE => self.wake_is_armed = false,
                CANCEL => self.cancels_outstanding -= 1,
                user_data => return Some(self.take(user_data, cqe.result())),
            }
        }
    }

    fn take(&mut self, user_data: u64, result: i32) -> Ended {
        #[allow(clippy::cast_possible_truncation)]
        let (key, generation) = (user_data as u32, (user_data >> 32) as u32);
        let slot = &mut self.slots[key as usize];
        assert_eq!(
            slot.generation, generation,
            "a completion came for an earlier operation"
        );
        let mut entry = slot
            .entry
            .take()
            .expect("one completion for each operation");
        slot.generation = slot.generation.wrapping_add(1);
        self.workers.stuck -= u32::from(std::mem::take(&mut slot.is_cancelled));
        self.outstanding -= 1;
        let result = if result < 0 {
            Err(Errno::new(-result))
        } else {
            Ok(result)
        };
        let statx = if result.is_ok() {
            entry.take_statx()
        } else {
            None
        };
        Ended {
            key,
            op: entry.op,
            result,
            statx,
        }
    }

    /// Keeps a read on the eventfd in the ring, whose completion ends any wait.
    fn arm_wake(&mut self) -> io::Result<()> {
        let descriptor = types::Fd(self.wake.as_fd().as_raw_fd());
        let counter = self.wake_count.as_mut_ptr();
        let sqe = opcode::Read::new(descriptor, counter, 8)
            .build()
            .user_data(WAKE);
        self.wake_is_armed = true;
        self.push_sqe(&sqe)
    }

    /// The number of calls of `io_uring_enter`.
    pub(super) fn enters(&self) -> u64 {
        self.enters
    }

    pub(super) fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.wake) as Arc<dyn Wake>
    }

    /// Remembers an error for the next [`Ring::enter`] to return.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    /// Asks the kernel to end an operation early, if it is in flight.
    pub(super) fn cancel(&mut self, key: u32) {
        let slot = self.slots.get_mut(key as usize);
        let Some(slot) = slot.filter(|slot| slot.entry.is_some()) else {
            return;
        };
        self.workers.stuck += u32::from(!std::mem::replace(&mut slot.is_cancelled, true));
        let user_data = u64::from(slot.generation) << 32 | u64::from(key);
        // A cancellation that cannot be submitted is skipped: the operation ends by itself.
        if self.cancels_outstanding + 1 >= CQ_RESERVE && self.enter_for_room().is_err() {
            return;
        }
        let sqe = opcode::AsyncCancel::new(user_data)
            .build()
            .user_data(CANCEL);
        if self.push_sqe(&sqe).is_ok() {
            self.cancels_outstanding += 1;
        }
    }

    /// Allows the ring more threads, to replace those that may be stuck in cancelled operations:
    /// one device that hangs must not occupy them all.
    pub(super) fn replace_stuck_workers(&mut self) {
        if let Some(wanted) = self.workers.wanted()
            && set_workers(&self.ring, wanted)
        {
            self.workers.registered = wanted;
        }
    }

    pub(super) fn cancel_all(&mut self) {
        let keys = 0..u32::try_from(self.slots.len()).expect("keys are 32 bits wide");
        keys.for_each(|key| self.cancel(key));
    }

    fn enter_for_room(&mut self) -> io::Result<()> {
        self.submit(Wait::No)?;
        self.reap();
        // Each cancellation completes at once. Removing their completions frees the reserve of the
        // queue.
        self.completed.retain(|cqe| {
            let is_cancel = cqe.user_data() == CANCEL;
            self.cancels_outstanding -= usize::from(is_cancel);
            !is_cancel
        });
        Ok(())
    }

    pub(super) fn describe(&self) -> String {
        let workers = match self.workers.max {
            0 => "the kernel's own number of".to_owned(),
            count => format!("up to {count}"),
        };
        format!(
            "io_uring ({}; {} + {} entries; {workers} workers)",
            self.profile,
            self.ring.params().sq_entries(),
            self.ring.params().cq_entries(),
        )
    }
}

/// Sets how many kernel threads there may be for operations that block. False if they cannot be
/// set.
fn set_workers(ring: &IoUring, max: u32) -> bool {
    let submitter = ring.submitter();
    submitter.register_iowq_max_workers(&mut [max, 0]).is_ok()
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.outstanding() > 0 {
            // The kernel may still write to these. Leaking them is the only sound thing to do.
            std::mem::forget(std::mem::take(&mut self.slots));
        }
        if self.wake_is_armed {
            // Completes the read on the eventfd before its counter is freed.
            self.wake.wake();
            let timeout = std::time::Duration::from_millis(100);
            let _ = self.submit(Wait::AtMost(timeout));
            self.reap();
            if !self.completed.iter().any(|cqe| cqe.user_data() == WAKE) {
                std::mem::forget(std::mem::take(&mut self.wake_count));
            }
        }
    }
}

/// Takes ownership of a descriptor that an open has just returned.
pub(super) fn own_descriptor(descriptor: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us and nothing else owns it: this is
    // called once for each successful open, with that open's own result.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_may_be_stuck_are_replaced_up_to_a_bound() {
        let mut workers = KernelWorkers {
            max: 32,
            registered: 32,
            stuck: 0,
        };
        assert_eq!(workers.wanted(), None);
        workers.stuck = 3;
        assert_eq!(workers.wanted(), Some(40));
        workers.registered = 40;
        assert_eq!(workers.wanted(), None);
        workers.stuck = 1000;
        assert_eq!(workers.wanted(), Some(160));
        workers.max = 0;
        assert_eq!(
            workers.wanted(),
            None,
            "the kernel does not let them be set"
        );
    }
}
