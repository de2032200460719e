//! Items that are given up at their deadline. Their results go out at once; what they hold stays
//! taken until the kernel has let go of it.

use super::EventLoop;
use crate::engine::{Engine, Op};
use crate::error::{Cause, ItemError, Operation};
use crate::jobs::{Context, Job};

impl<J: Job, E: Engine> EventLoop<J, E> {
    /// Gives up the items whose deadline has come. Their results go out now; their slots stay taken
    /// until the kernel has let go of everything.
    pub(super) fn expire(&mut self) {
        while let Some(slot) = self.deadlines.pop_due(self.stopwatch.now()) {
            self.abandon(slot);
        }
    }

    /// True if items must fail without having been started: every slot has been held by an item
    /// that was given up and still hangs, for as long as an item may take. Otherwise a list with
    /// that many hanging files would never end.
    pub(super) fn is_stuck(&mut self) -> bool {
        let Some(timeout) = self.limits.timeout else {
            return false;
        };
        if self.slots.abandoned() < self.limits.in_flight {
            self.stuck_since = None;
            return false;
        }
        let now = self.stopwatch.now();
        let since = *self.stuck_since.get_or_insert(now);
        let is_stuck = now >= since + timeout;
        if is_stuck {
            // As many again may wait as long again.
            self.stuck_since = Some(now);
        }
        is_stuck
    }

    pub(super) fn timed_out(&self, operation: Operation) -> ItemError {
        let timeout = self.limits.timeout.unwrap_or_default();
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        ItemError {
            operation,
            cause: Cause::TimedOut { timeout_ms },
        }
    }

    fn abandon(&mut self, slot: u32) {
        let occupant = self.slots.abandon(slot);
        let (started_at_ns, due_at_ns) = (occupant.started_at_ns, occupant.due_at_ns);
        let item = occupant.item.clone();
        let operation = occupant.last_operation;
        let error = self.timed_out(operation);
        self.buffer_waiters.retain(|&waiter| waiter != slot);
        let starved = self.pressure.remove(|(of, ..)| *of == slot);
        for (_, op, _) in starved {
            self.slots.get_mut(slot).outstanding -= 1;
            self.reclaim(op);
        }
        self.engine.cancel(slot);
        self.hand_over(item, started_at_ns, due_at_ns, Err(error));
        self.let_go(slot);
    }

    /// Frees the slot of an abandoned item once nothing is outstanding and its files are closed.
    pub(super) fn let_go(&mut self, slot: u32) {
        let occupant = self.slots.get_mut(slot);
        if occupant.outstanding > 0 {
            return;
        }
        if let Some(file) = occupant.file {
            occupant.outstanding += 1;
            self.submit(slot, Op::Close(file));
            return;
        }
        let occupant = self.slots.remove(slot);
        let mut context = Context {
            slot,
            service: &mut self.service,
            ops: &mut self.ops,
            buffers: &mut self.buffers,
            others_wait: false,
            in_flight: 0,
            has_time: false,
            waits_for_buffer: false,
            stopwatch: &mut self.stopwatch,
            clock: &self.engine,
        };
        self.job.discard(occupant.state, &mut context);
        self.resubmit_after_finish();
    }

    /// Takes back what an operation owned.
    pub(super) fn reclaim(&mut self, op: Op) {
        if let Op::Read { buffer, .. } = op {
            self.buffers.give_back(buffer);
        }
    }
}
