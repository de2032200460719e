//! How items go on: what has ended is settled, and the job takes its steps.

use super::EventLoop;
use crate::engine::{BufferClass, Completion, Engine, Op, Token, Value};
use crate::error::{Errno, ItemError, Operation};
use crate::item::Item;
use crate::jobs::{Context, Event, Job, Service, Told};
use crate::mill::Finished;
use crate::run::slots::Occupant;
use crate::stats::Phase;

/// Steps an item takes in a row when nothing it does needs waiting. Then others have their turn.
const STEPS_AT_ONCE: usize = 8;

/// Operations of the service have this and their tag for a slot. There are never so many slots.
const SERVICE: u32 = 1 << 31;

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
    /// Advances what has completed.
    pub(super) fn advance_all(&mut self) {
        let arrived_at_ns = self.stopwatch.now_ns();
        // What this turn defers is for the next.
        let mut deferred = std::mem::take(&mut self.deferred);
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.activity.completions += 1;
            let submitted_at_ns = completion.token.submitted_at_ns;
            if let Some(phase) = phase_of(&completion.op) {
                self.stopwatch.record(phase, submitted_at_ns, arrived_at_ns);
            }
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
        if slot >= SERVICE {
            let now = self.stopwatch.now();
            self.service.completed(slot - SERVICE, op, result, now);
            return;
        }
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
    pub(super) fn step(&mut self, slot: u32, event: Event<Told<J>>) {
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
    fn attempt(&mut self, slot: u32, mut op: Op) -> Option<Event<Told<J>>> {
        let Some(result) = self.engine.try_now(&mut op) else {
            self.give_to_engine(slot, op);
            return None;
        };
        self.activity.at_once += 1;
        if let Some(phase) = phase_of(&op) {
            self.stopwatch.lap(phase, &self.engine);
        }
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
    fn step_once(&mut self, slot: u32, event: Event<Told<J>>) {
        let (in_flight, has_time) = (self.slots.alive(), self.has_time());
        let occupant = self.slots.get_mut(slot);
        let mut context = Context {
            slot,
            service: &mut self.service,
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
    pub(super) fn submit(&mut self, slot: u32, mut op: Op) {
        let Some(result) = self.engine.try_now(&mut op) else {
            self.give_to_engine(slot, op);
            return;
        };
        self.activity.at_once += 1;
        if let Some(phase) = phase_of(&op) {
            self.stopwatch.lap(phase, &self.engine);
        }
        let token = self.token(slot);
        self.deferred.push(Completion { token, op, result });
    }

    fn give_to_engine(&mut self, slot: u32, op: Op) {
        self.activity.submissions += 1;
        let token = self.token(slot);
        self.engine.submit(token, op);
        self.stopwatch.expire();
    }

    /// Lets the service do what is to be done, and items take steps for what it tells them.
    pub(super) fn attend(&mut self) {
        loop {
            let now = self.stopwatch.now();
            self.service.advance(now, &mut self.service_ops);
            let mut ops = std::mem::take(&mut self.service_ops);
            for (tag, op) in ops.drain(..) {
                self.submit(SERVICE + tag, op);
            }
            self.service_ops = ops;
            let Some((slot, message)) = self.service.tell() else {
                return;
            };
            self.step(slot, Event::Told(message));
            while let Some((slot, message)) = self.service.tell() {
                self.step(slot, Event::Told(message));
            }
        }
    }

    fn token(&self, slot: u32) -> Token {
        Token {
            slot,
            submitted_at_ns: self.stopwatch.now_ns(),
        }
    }

    fn finish(&mut self, slot: u32, result: Result<J::Value, ItemError>) {
        let Occupant {
            item,
            started_at_ns,
            due_at_ns,
            ..
        } = self.slots.remove(slot);
        self.deadlines.cancel(slot);
        self.hand_over(item, started_at_ns, due_at_ns, result);
        self.resubmit_after_finish();
    }

    pub(super) fn hand_over(
        &mut self,
        item: Item,
        started_at_ns: u64,
        due_at_ns: Option<u64>,
        result: Result<J::Value, ItemError>,
    ) {
        self.stopwatch.refresh(&self.engine);
        let finished_at_ns = self.stopwatch.now_ns();
        self.stopwatch
            .record(Phase::TOTAL, started_at_ns, finished_at_ns);
        if let Some(due_at_ns) = due_at_ns {
            self.stopwatch
                .record(Phase::SCHEDULED_TOTAL, due_at_ns, finished_at_ns);
        }
        let is_failure = result.as_ref().map_or(true, J::is_failure);
        self.finished.push(Finished {
            item,
            started_at_ns,
            finished_at_ns,
            result,
            is_failure,
        });
    }

    pub(super) fn resubmit_after_finish(&mut self) {
        if let Some((slot, op, _)) = self.pressure.item_finished() {
            self.activity.retries += 1;
            self.submit(slot, op);
        }
    }
}

fn operation_of(op: &Op) -> Operation {
    match op {
        Op::StatPath(_) | Op::Open { .. } => Operation::Open,
        Op::StatFile(_) => Operation::Stat,
        Op::Read { .. } => Operation::Read,
        Op::Close(_) => Operation::Close,
        Op::Socket(_) => Operation::Exchange,
    }
}

/// `None` for what is waited for without knowing whether it comes.
fn phase_of(op: &Op) -> Option<Phase> {
    Some(match op {
        Op::StatPath(_) => Phase::LOOK_UP,
        Op::Open { .. } => Phase::OPEN,
        Op::StatFile(_) => Phase::STAT,
        Op::Read { .. } => Phase::READ,
        Op::Close(_) => Phase::CLOSE,
        Op::Socket(_) => return None,
    })
}
