//! One event loop: an engine, its slots and buffers, and the items in flight on them.

use super::shortfall::Shortfall;
use super::slots::{Occupant, Slots};
use crate::engine::{BufferClass, BufferPool, Completion, Engine, Op, Token, Value, Wait};
use crate::error::{Cause, Errno, ItemError, Operation};
use crate::item::{Item, Portion};
use crate::jobs::{Context, Event, Job};
use crate::mill::{Deadlines, Directive, Exchange, Finished, Mill, Pressure, Retry};
use crate::stats::{Activity, Phase, Recorder, Stopwatch};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Steps an item takes in a row when nothing it does needs waiting. Then others have their turn.
const STEPS_AT_ONCE: usize = 8;

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
    engine: E,
    limits: LoopLimits,
    slots: Slots<J::State>,
    buffers: BufferPool,
    buffer_waiters: VecDeque<u32>,
    pressure: Pressure<(u32, Op, Errno)>,
    deadlines: Deadlines,
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
}

/// What is to happen with an operation that has ended.
enum Fate {
    /// The job goes on.
    Step,
    /// It failed for a shortage, which may pass.
    WaitOut(Errno),
    /// It was interrupted by a signal.
    TryAgain,
    /// Its item was given up.
    LetGo,
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
            mill,
            job,
            engine,
            limits,
            slots: Slots::new(),
            buffers: BufferPool::new(limits.in_flight, limits.large_buffers),
            buffer_waiters: VecDeque::new(),
            pressure: Pressure::new(limits.in_flight),
            deadlines: Deadlines::new(limits.timeout),
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
        limit.saturating_sub(self.slots.alive()).min(free)
    }

    fn wait_for(&self) -> Wait {
        let now = self.stopwatch.now();
        let deadline = self.deadlines.next();
        let unstuck = self
            .stuck_since
            .zip(self.limits.timeout)
            .map(|(since, timeout)| since + timeout);
        let next = [
            deadline,
            unstuck,
            self.pressure.retry_at(),
            self.resume_at,
            self.stopwatch.publish_at(),
        ];
        let next = next.into_iter().flatten().min();
        next.map_or(Wait::Forever, |at| Wait::AtMost(at.saturating_sub(now)))
    }

    fn start(&mut self, item: Item, pulled_at_ns: u64, due_at_ns: Option<u64>) {
        self.stopwatch.refresh(&self.engine);
        let now_ns = self.stopwatch.now_ns();
        self.stopwatch.record(Phase::Queue, pulled_at_ns, now_ns);
        if let Some(due_at_ns) = due_at_ns {
            self.stopwatch
                .record(Phase::ScheduledQueue, due_at_ns, now_ns);
        }
        let index = item.index();
        let occupant = Occupant::new(item, self.job.begin(), now_ns, due_at_ns);
        let slot = self.slots.insert(occupant);
        let slots = &self.slots;
        let now = Duration::from_nanos(now_ns);
        self.deadlines
            .set(slot, index, now, slots.len(), |slot, index| {
                slots.holds(slot, index)
            });
        self.step(slot, Event::Start);
    }

    /// Advances what has completed.
    fn advance_all(&mut self) {
        let arrived_at_ns = self.stopwatch.now_ns();
        // What this turn defers is for the next.
        let mut deferred = std::mem::take(&mut self.deferred);
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.activity.completions += 1;
            let submitted_at_ns = completion.token.submitted_at_ns;
            self.stopwatch
                .record(phase_of(&completion.op), submitted_at_ns, arrived_at_ns);
            self.advance(completion);
        }
        self.completions = completions;
        for completion in deferred.drain(..) {
            self.advance(completion);
        }
        if self.deferred.is_empty() {
            self.deferred = deferred;
        }
    }

    fn advance(&mut self, completion: Completion) {
        let Completion { token, op, result } = completion;
        let slot = token.slot;
        // Others were advanced since the time was read.
        self.stopwatch.expire();
        match self.settle(slot, &op, &result) {
            Fate::Step => self.step(slot, Event::Completed(op, result)),
            fate => self.divert(slot, op, fate),
        }
    }

    /// Keeps account of an operation that has ended.
    fn settle(&mut self, slot: u32, op: &Op, result: &Result<Value, Errno>) -> Fate {
        let occupant = self.slots.get_mut(slot);
        match (op, result) {
            (Op::Open { .. }, Ok(Value::File(file))) => {
                let earlier = occupant.file.replace(*file);
                assert!(earlier.is_none(), "an item opened a second file");
            }
            (Op::Close(_), _) => occupant.file = None,
            (_, Err(errno)) if !occupant.is_abandoned() => {
                if errno.is_shortage() {
                    return Fate::WaitOut(*errno);
                }
                if errno.raw() == libc::EINTR {
                    return Fate::TryAgain;
                }
            }
            _ => {}
        }
        self.pressure.progressed();
        occupant.outstanding -= 1;
        if occupant.is_abandoned() {
            Fate::LetGo
        } else {
            Fate::Step
        }
    }

    /// Does with an ended operation what is not the job's business.
    fn divert(&mut self, slot: u32, op: Op, fate: Fate) {
        match fate {
            Fate::Step => unreachable!("that is the job's business"),
            Fate::WaitOut(errno) => {
                let alive = self.slots.alive();
                let holds_file = self.slots.get_mut(slot).file.is_some();
                let now = self.stopwatch.now();
                self.pressure
                    .shortage((slot, op, errno), holds_file, alive, now);
            }
            Fate::TryAgain => self.submit(slot, op),
            Fate::LetGo => {
                self.reclaim(op);
                self.let_go(slot);
            }
        }
    }

    /// Lets the job take a step, and further ones for as long as what it submits is done at once.
    fn step(&mut self, slot: u32, event: Event) {
        self.stopwatch.refresh(&self.engine);
        let mut event = event;
        for steps in 0.. {
            self.step_once(slot, event);
            if self.ops.len() > 1 || steps == STEPS_AT_ONCE {
                break;
            }
            let Some(op) = self.ops.pop() else { return };
            self.count_submission(slot, &op);
            let Some(next) = self.attempt(slot, op) else {
                return;
            };
            event = next;
        }
        let mut ops = std::mem::take(&mut self.ops);
        for op in ops.drain(..) {
            self.count_submission(slot, &op);
            self.submit(slot, op);
        }
        self.ops = ops;
    }

    /// Does the operation at once if that can be. Otherwise it goes its way.
    fn attempt(&mut self, slot: u32, mut op: Op) -> Option<Event> {
        let Some(result) = self.engine.try_now(&mut op) else {
            self.give_to_engine(slot, op);
            return None;
        };
        self.activity.at_once += 1;
        self.stopwatch.lap(phase_of(&op), &self.engine);
        if let Op::Read { buffer, .. } = &op
            && buffer.class() == BufferClass::Large
            && let Ok(Value::Count(count)) = result
        {
            self.read_at_once += count;
        }
        match self.settle(slot, &op, &result) {
            Fate::Step => Some(Event::Completed(op, result)),
            fate => {
                self.divert(slot, op, fate);
                None
            }
        }
    }

    fn count_submission(&mut self, slot: u32, op: &Op) {
        let occupant = self.slots.get_mut(slot);
        occupant.outstanding += 1;
        occupant.last_operation = operation_of(op);
    }

    /// One step of the job. Takes its result, and leaves what it submits in `ops`.
    fn step_once(&mut self, slot: u32, event: Event) {
        let (in_flight, has_time) = (self.slots.alive(), self.has_time());
        let occupant = self.slots.get_mut(slot);
        let mut context = Context {
            ops: &mut self.ops,
            buffers: &mut self.buffers,
            others_wait: !self.buffer_waiters.is_empty(),
            in_flight,
            has_time,
            waits_for_buffer: false,
            stopwatch: &mut self.stopwatch,
            clock: &self.engine,
        };
        let result = self
            .job
            .step(&mut occupant.state, &occupant.item, event, &mut context);
        if context.waits_for_buffer && !occupant.waits_for_buffer {
            occupant.waits_for_buffer = true;
            self.buffer_waiters.push_back(slot);
        }
        if let Some(result) = result {
            assert!(
                occupant.outstanding == 0 && self.ops.is_empty(),
                "an item is done with operations outstanding"
            );
            assert!(occupant.file.is_none(), "an item is done with a file open");
            self.finish(slot, result);
        }
    }

    /// Submits an operation that is not tried in the course of a step. If it is done at once, the
    /// next turn goes on with it.
    fn submit(&mut self, slot: u32, mut op: Op) {
        let Some(result) = self.engine.try_now(&mut op) else {
            self.give_to_engine(slot, op);
            return;
        };
        self.activity.at_once += 1;
        self.stopwatch.lap(phase_of(&op), &self.engine);
        let token = self.token(slot);
        self.deferred.push(Completion { token, op, result });
    }

    fn give_to_engine(&mut self, slot: u32, op: Op) {
        self.activity.submissions += 1;
        let token = self.token(slot);
        self.engine.submit(token, op);
        self.stopwatch.expire();
    }

    fn token(&self, slot: u32) -> Token {
        Token {
            slot,
            submitted_at_ns: self.stopwatch.now_ns(),
        }
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

    fn finish(&mut self, slot: u32, result: Result<J::Value, ItemError>) {
        let Occupant {
            item,
            started_at_ns,
            due_at_ns,
            ..
        } = self.slots.remove(slot);
        self.hand_over(item, started_at_ns, due_at_ns, result);
        self.resubmit_after_finish();
    }

    fn hand_over(
        &mut self,
        item: Item,
        started_at_ns: u64,
        due_at_ns: Option<u64>,
        result: Result<J::Value, ItemError>,
    ) {
        self.stopwatch.refresh(&self.engine);
        let finished_at_ns = self.stopwatch.now_ns();
        self.stopwatch
            .record(Phase::Total, started_at_ns, finished_at_ns);
        if let Some(due_at_ns) = due_at_ns {
            self.stopwatch
                .record(Phase::ScheduledTotal, due_at_ns, finished_at_ns);
        }
        self.finished.push(Finished {
            item,
            started_at_ns,
            finished_at_ns,
            result,
        });
    }

    fn resubmit_after_finish(&mut self) {
        if let Some((slot, op, _)) = self.pressure.item_finished() {
            self.activity.retries += 1;
            self.submit(slot, op);
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

    /// Gives up the items whose deadline has come. Their results go out now; their slots stay taken
    /// until the kernel has let go of everything.
    fn expire(&mut self) {
        while let Some((slot, index)) = self.deadlines.pop_due(self.stopwatch.now()) {
            if self.slots.holds(slot, index) {
                self.abandon(slot);
            }
        }
    }

    /// True if items must fail without having been started: every slot has been held by an item
    /// that was given up and still hangs, for as long as an item may take. Otherwise a list with
    /// that many hanging files would never end.
    fn is_stuck(&mut self) -> bool {
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

    fn timed_out(&self, operation: Operation) -> ItemError {
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
    fn let_go(&mut self, slot: u32) {
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
    fn reclaim(&mut self, op: Op) {
        if let Op::Read { buffer, .. } = op {
            self.buffers.give_back(buffer);
        }
    }
}

fn operation_of(op: &Op) -> Operation {
    match op {
        Op::StatPath(_) | Op::Open { .. } => Operation::Open,
        Op::StatFile(_) => Operation::Stat,
        Op::Read { .. } => Operation::Read,
        Op::Close(_) => Operation::Close,
    }
}

fn phase_of(op: &Op) -> Phase {
    match op {
        Op::StatPath(_) => Phase::LookUp,
        Op::Open { .. } => Phase::Open,
        Op::StatFile(_) => Phase::Stat,
        Op::Read { .. } => Phase::Read,
        Op::Close(_) => Phase::Close,
    }
}
