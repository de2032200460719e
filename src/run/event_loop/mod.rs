//! One event loop: an engine, its slots and buffers, and the items in flight on them.

mod given_up;
mod steps;

use crate::engine::{BufferPool, Completion, Engine, Op, Wait};
use crate::error::{Errno, Operation};
use crate::item::{Item, Portion};
use crate::jobs::{Event, Job, Service, Submissions};
use crate::mill::{Directive, Exchange, Finished, Mill, Pressure, Retry, Timers};
use crate::run::shortfall::Shortfall;
use crate::run::slots::{Occupant, Slots};
use crate::stats::{Activity, Phase, Recorder, Stopwatch};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of large pieces read at once after which a turn begins no more of them: results that are
/// ready and new items do not wait while long files are hashed.
const READ_AT_ONCE_MAX: usize = 2 * 1024 * 1024;

/// What one loop may use.
#[derive(Clone, Copy, Debug)]
pub struct LoopLimits {
    /// Items in flight, at most.
    pub in_flight: usize,
    /// Large buffers, at most.
    pub large_buffers: usize,
    /// An item's deadline after its first submission.
    pub timeout: Option<Duration>,
}

/// What a turn of the loop calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Wait like this, then take another turn.
    Wait(Wait),
    /// Everything this loop will ever do is done.
    Ended,
}

/// An event loop. It belongs to one thread and never blocks but in [`EventLoop::wait`].
pub struct EventLoop<J: Job, E: Engine> {
    index: usize,
    mill: Arc<Mill<J::Value>>,
    job: Arc<J>,
    service: J::Service,
    engine: E,
    limits: LoopLimits,
    slots: Slots<J::State>,
    buffers: BufferPool,
    buffer_waiters: VecDeque<u32>,
    pressure: Pressure<(u32, Op, Errno)>,
    deadlines: Timers,
    /// Since when all slots have been held by items that were given up.
    stuck_since: Option<Duration>,
    stopwatch: Stopwatch,
    activity: Activity,
    shortfall: Shortfall,
    /// When the rate allows the next pull.
    resume_at: Option<Duration>,
    completions: Vec<Completion>,
    /// Done at once, to be advanced in the next turn.
    deferred: Vec<Completion>,
    /// Bytes of large pieces read at once in this turn.
    read_at_once: usize,
    finished: Vec<Finished<J::Value>>,
    pulled: Vec<Portion>,
    ops: Vec<Op>,
    service_ops: Submissions,
}

impl<J: Job, E: Engine> EventLoop<J, E> {
    /// A loop with nothing in flight.
    pub fn new(
        index: usize,
        mill: Arc<Mill<J::Value>>,
        job: Arc<J>,
        engine: E,
        limits: LoopLimits,
        recorder: Recorder,
    ) -> Self {
        mill.set_waker(index, engine.waker());
        Self {
            index,
            service: job.serve(),
            mill,
            job,
            engine,
            limits,
            slots: Slots::new(),
            buffers: BufferPool::new(limits.in_flight, limits.large_buffers),
            buffer_waiters: VecDeque::new(),
            pressure: Pressure::new(limits.in_flight),
            deadlines: Timers::default(),
            stuck_since: None,
            stopwatch: Stopwatch::new(recorder, limits.timeout.is_some()),
            activity: Activity::default(),
            shortfall: Shortfall::default(),
            resume_at: None,
            completions: Vec::new(),
            deferred: Vec::new(),
            read_at_once: 0,
            finished: Vec::new(),
            pulled: Vec::new(),
            ops: Vec::new(),
            service_ops: Submissions::new(),
        }
    }

    /// Runs until everything is done or the mill is stopped.
    ///
    /// # Errors
    /// If the engine fails; the items in flight are then lost.
    pub fn run(&mut self) -> io::Result<()> {
        while let Turn::Wait(wait) = self.turn() {
            self.wait(wait)?;
        }
        Ok(())
    }

    /// Advances what has completed, hands over what is finished, starts new items.
    pub fn turn(&mut self) -> Turn {
        self.stopwatch.begin_turn(&self.engine);
        self.advance_all();
        self.attend();
        // What waits for a buffer has its time in each turn, however much completions took.
        self.read_at_once = 0;
        self.expire();
        self.retry();
        self.serve_buffer_waiters();
        let is_stuck = self.is_stuck();
        let room = if is_stuck {
            self.limits.in_flight
        } else {
            self.room()
        };
        self.stopwatch.refresh(&self.engine);
        let pulled_at_ns = self.stopwatch.now_ns();
        let now = self.stopwatch.now();
        let exchange = self.mill.exchange(
            self.index,
            &mut self.finished,
            room,
            self.pressure.strain(),
            &mut self.pulled,
            now,
        );
        let Exchange {
            directive,
            mut schedule,
            resume_at,
            ..
        } = exchange;
        let under_pressure = self.pressure.limit() < self.limits.in_flight;
        self.shortfall.note(exchange.held_back, under_pressure, now);
        self.resume_at = resume_at;
        if directive == Directive::Stop {
            return Turn::Ended;
        }
        self.engine.forget_names();
        let mut pulled = std::mem::take(&mut self.pulled);
        for item in pulled.drain(..).flat_map(|portion| portion.items()) {
            let due_at_ns = schedule.as_mut().and_then(Iterator::next);
            if is_stuck {
                self.hand_over(
                    item,
                    pulled_at_ns,
                    due_at_ns,
                    Err(self.timed_out(Operation::Open)),
                );
            } else {
                self.start(item, pulled_at_ns, due_at_ns);
            }
        }
        self.pulled = pulled;
        self.attend();
        let goes_on = !self.deferred.is_empty() || self.can_serve_buffer_waiters();
        if goes_on || !self.finished.is_empty() {
            // Done at once. Another turn hands over results, fills places and goes on.
            return Turn::Wait(Wait::No);
        }
        self.mill.announce();
        if directive == Directive::Finish && self.slots.alive() == 0 {
            // What was given up and still hangs is not waited for.
            return Turn::Ended;
        }
        Turn::Wait(self.wait_for())
    }

    /// Submits and waits as the last turn said.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn wait(&mut self, wait: Wait) -> io::Result<()> {
        self.engine.forget_names();
        self.engine.turn(wait, &mut self.completions)
    }

    /// What it has done so far.
    #[must_use]
    pub fn activity(&self) -> Activity {
        Activity {
            enters: self.engine.enters(),
            held_back: self.shortfall.times(),
            ..self.activity
        }
    }

    /// Items in flight in this loop, those given up but not yet let go by the kernel included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.taken()
    }

    /// Buffers lent to items in flight; for checking that all come back.
    #[must_use]
    pub fn buffers_lent(&self) -> usize {
        self.buffers.lent()
    }

    /// How many items may start now. What was given up and hangs takes slots, but nothing that
    /// pressure is about: those that are alive must go on under it.
    fn room(&self) -> usize {
        let free = self.limits.in_flight - self.slots.taken();
        let limit = self.pressure.limit();
        let room = limit.saturating_sub(self.slots.alive()).min(free);
        room.min(self.service.room(self.stopwatch.now()))
    }

    fn wait_for(&mut self) -> Wait {
        let now = self.stopwatch.now();
        let unstuck = self
            .stuck_since
            .zip(self.limits.timeout)
            .map(|(since, timeout)| since + timeout);
        let next = [
            self.deadlines.next_due(),
            unstuck,
            self.pressure.retry_at(),
            self.resume_at,
            self.stopwatch.publish_at(),
            self.service.wake_at(now),
        ];
        let next = next.into_iter().flatten().min();
        next.map_or(Wait::Forever, |at| Wait::AtMost(at.saturating_sub(now)))
    }

    fn start(&mut self, item: Item, pulled_at_ns: u64, due_at_ns: Option<u64>) {
        self.stopwatch.refresh(&self.engine);
        let now_ns = self.stopwatch.now_ns();
        self.stopwatch.record(Phase::QUEUE, pulled_at_ns, now_ns);
        if let Some(due_at_ns) = due_at_ns {
            self.stopwatch
                .record(Phase::SCHEDULED_QUEUE, due_at_ns, now_ns);
        }
        let occupant = Occupant::new(item, self.job.begin(), now_ns, due_at_ns);
        let slot = self.slots.insert(occupant);
        if let Some(timeout) = self.limits.timeout {
            let deadline = Duration::from_nanos(now_ns) + timeout;
            self.deadlines.set(slot, deadline);
        }
        self.step(slot, Event::Start);
    }

    /// True if this turn may begin another large piece.
    fn has_time(&self) -> bool {
        self.read_at_once < READ_AT_ONCE_MAX
    }

    fn can_serve_buffer_waiters(&self) -> bool {
        self.buffers.has_free() && !self.buffer_waiters.is_empty()
    }

    fn serve_buffer_waiters(&mut self) {
        while self.buffers.has_free()
            && self.has_time()
            && let Some(slot) = self.buffer_waiters.pop_front()
        {
            self.slots.get_mut(slot).waits_for_buffer = false;
            self.step(slot, Event::BufferFree);
        }
    }

    fn retry(&mut self) {
        let now = self.stopwatch.now();
        if self.pressure.retry_at().is_none_or(|at| now < at) {
            return;
        }
        let own_can_free = self.in_flight() > self.pressure.starved();
        let can_free = self.mill.can_free_resources(self.index) || own_can_free;
        match self.pressure.due(now, can_free) {
            Some(Retry::Submit((slot, op, _))) => {
                self.activity.retries += 1;
                self.submit(slot, op);
            }
            Some(Retry::GiveUp((slot, op, errno))) => {
                self.slots.get_mut(slot).outstanding -= 1;
                self.step(slot, Event::Completed(op, Err(errno)));
            }
            None => {}
        }
    }
}
