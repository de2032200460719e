//! Jobs: what is done with an item. Each is a state machine over the engines' operations and does
//! no input or output itself, so it runs unchanged on every engine.

pub mod hash;

use crate::clock::Clock;
use crate::engine::{Buffer, BufferClass, BufferPool, Op, Value};
use crate::error::{Errno, ItemError};
use crate::item::Item;
use crate::stats::{Phase, Stopwatch};

/// What is done with each item.
pub trait Job: Send + Sync + 'static {
    /// What the job remembers about one item under way.
    type State;
    /// What a successful item gives.
    type Value: Send + 'static;

    /// The state of an item about to start.
    fn begin(&self) -> Self::State;

    /// Advances an item by one event. Returns its result when it is done; nothing the job has
    /// submitted for it may then be outstanding, and no file open.
    fn step(
        &self,
        state: &mut Self::State,
        item: &Item,
        event: Event,
        context: &mut Context<'_>,
    ) -> Option<Result<Self::Value, ItemError>>;

    /// Gives back what the state of an item that was given up still holds. Nothing of it is
    /// outstanding any more.
    fn discard(&self, state: Self::State, context: &mut Context<'_>);
}

/// Why a job is called.
#[derive(Debug)]
pub enum Event {
    /// The item starts.
    Start,
    /// An operation has ended. It never failed for a shortage that could still be waited out.
    Completed(Op, Result<Value, Errno>),
    /// The item said it lacked a buffer, and one may be free now.
    BufferFree,
}

/// What a job may do during a step.
pub struct Context<'a> {
    pub(crate) ops: &'a mut Vec<Op>,
    pub(crate) buffers: &'a mut BufferPool,
    pub(crate) others_wait: bool,
    pub(crate) in_flight: usize,
    /// Large pieces may still be begun in this turn.
    pub(crate) has_time: bool,
    pub(crate) waits_for_buffer: bool,
    pub(crate) stopwatch: &'a mut Stopwatch,
    pub(crate) clock: &'a dyn Clock,
}

impl Context<'_> {
    /// Submits an operation; its completion comes back as an event.
    pub fn submit(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// A buffer without which the item cannot go on. If there is none, or this turn has no time for
    /// another large piece, the item gets [`Event::BufferFree`] later.
    pub fn need_buffer(&mut self, class: BufferClass) -> Option<Buffer> {
        let is_for_now = class == BufferClass::Small || self.has_time;
        let buffer = is_for_now.then(|| self.buffers.take(class)).flatten();
        self.waits_for_buffer |= buffer.is_none();
        buffer
    }

    /// A buffer that would make the item faster, if no other item is waiting for one.
    pub fn spare_buffer(&mut self, class: BufferClass) -> Option<Buffer> {
        if self.others_wait {
            None
        } else {
            self.buffers.take(class)
        }
    }

    /// One item's share of so many operations, if each in flight in this loop is to have the same;
    /// at least 1.
    #[must_use]
    pub fn share_of(&self, operations: usize) -> usize {
        (operations / self.in_flight.max(1)).max(1)
    }

    /// Says what the time since the step began, or since the last such call, was spent on.
    pub fn lap(&mut self, phase: Phase) {
        self.stopwatch.lap(phase, self.clock);
    }

    /// Returns a buffer.
    pub fn give_back(&mut self, buffer: Buffer) {
        self.buffers.give_back(buffer);
    }
}
