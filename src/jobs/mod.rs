//! Jobs: what is done with an item. Each is a state machine over the engines' operations and does
//! no input or output itself, so it runs unchanged on every engine.

pub mod dns;
pub mod hash;

use crate::clock::{self, Clock};
use crate::engine::{Buffer, BufferClass, BufferPool, Op, Value};
use crate::error::{Errno, ItemError};
use crate::item::Item;
use crate::stats::{Phase, Stopwatch};
use std::convert::Infallible;
use std::time::Duration;

/// What is done with each item.
pub trait Job: Send + Sync + 'static {
    /// What the job remembers about one item under way.
    type State;
    /// What a successful item gives.
    type Value: Send + 'static;
    /// What the items of one loop share; `()` if nothing.
    type Service: Service;

    /// The phases that its items can have, in the order of an item's life; those measured from a
    /// schedule last. Needed only for a job that has phases of its own.
    const PHASES: &'static [Phase] = Phase::COMMON;

    /// What the items of a loop are to share.
    fn serve(&self) -> Self::Service;

    /// The state of an item about to start.
    fn begin(&self) -> Self::State;

    /// Advances an item by one event. Returns its result when it is done; nothing the job has
    /// submitted for it may then be outstanding, and no file open.
    fn step(
        &self,
        state: &mut Self::State,
        item: &Item,
        event: Event<<Self::Service as Service>::Message>,
        context: &mut Context<'_, Self::Service>,
    ) -> Option<Result<Self::Value, ItemError>>;

    /// True for values that tell of a failure.
    fn is_failure(_: &Self::Value) -> bool {
        false
    }

    /// Gives back what the state of an item that was given up still holds. Nothing of it is
    /// outstanding any more.
    fn discard(&self, state: Self::State, context: &mut Context<'_, Self::Service>);
}

/// What the service of a job tells its items.
pub type Told<J> = <<J as Job>::Service as Service>::Message;

/// What the items of one loop share: the sockets to a server, say. It has operations of its own.
pub trait Service: 'static {
    /// What it tells an item.
    type Message;

    /// An operation of its own has ended, however.
    fn completed(&mut self, tag: u32, op: Op, result: Result<Value, Errno>, now: Duration);

    /// Does what is to be done, now that something has happened or time has passed.
    fn advance(&mut self, now: Duration, ops: &mut Submissions);

    /// How many more items it could serve at once. More need not be started before that grows.
    fn room(&self, now: Duration) -> usize;

    /// When it is next to be called if nothing happens.
    fn wake_at(&mut self, now: Duration) -> Option<Duration>;

    /// The next message for an item, and the slot of that item.
    fn tell(&mut self) -> Option<(u32, Self::Message)>;
}

/// Operations of a service, each with a tag that comes back with it; below 2^31.
pub type Submissions = Vec<(u32, Op)>;

/// For jobs whose items have nothing to do with each other.
impl Service for () {
    type Message = Infallible;

    fn completed(&mut self, _: u32, _: Op, _: Result<Value, Errno>, _: Duration) {}

    fn advance(&mut self, _: Duration, _: &mut Submissions) {}

    fn room(&self, _: Duration) -> usize {
        usize::MAX
    }

    fn wake_at(&mut self, _: Duration) -> Option<Duration> {
        None
    }

    fn tell(&mut self) -> Option<(u32, Infallible)> {
        None
    }
}

/// Why a job is called.
#[derive(Debug)]
pub enum Event<M = Infallible> {
    /// The item starts.
    Start,
    /// An operation has ended. It never failed for a shortage that could still be waited out.
    Completed(Op, Result<Value, Errno>),
    /// The item said it lacked a buffer, and one may be free now.
    BufferFree,
    /// The service has this to say.
    Told(M),
}

/// What a job may do during a step.
pub struct Context<'a, S = ()> {
    pub(crate) slot: u32,
    pub(crate) service: &'a mut S,
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

impl<S> Context<'_, S> {
    /// What the items of this loop share.
    pub fn service(&mut self) -> &mut S {
        self.service
    }

    /// The item's slot, by which the service knows it.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// The time.
    #[must_use]
    pub fn now(&mut self) -> Duration {
        // The next item begins later.
        self.stopwatch.expire();
        self.clock.now()
    }

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

    /// Counts something that took this long.
    pub fn record(&mut self, phase: Phase, time: Duration) {
        self.stopwatch.record(phase, 0, clock::to_ns(time));
    }

    /// Returns a buffer.
    pub fn give_back(&mut self, buffer: Buffer) {
        self.buffers.give_back(buffer);
    }
}
