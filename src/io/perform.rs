//! One operation as a future.

use super::carrier::Attempt;
use super::core::{Io, State};
use super::exhaustion::Failures;
use super::op::{Op, Outcome};
use super::retries::Verdict;
use crate::error::{Errno, Operation};
use crate::stats::Phase;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Maximum number of times that an operation is retried because a signal interrupted it.
const INTERRUPTIONS_MAX: u8 = 100;

impl Io {
    /// Makes the first attempt at an operation, before an [`Op`] is built for it. Returns the
    /// result if the attempt completes the operation.
    pub(super) fn try_first<T>(
        &self,
        operation: Operation,
        phase: Phase,
        attempt: impl FnOnce(&mut State) -> Attempt<T>,
    ) -> Result<Result<T, Errno>, First> {
        if !self.may_step() {
            return Err(First::NotMade);
        }
        match self.attempt(operation, Some(phase), attempt) {
            Attempt::Done(Err(errno)) if errno.is_transient() => Err(First::Failed(errno)),
            Attempt::Done(result) => Ok(result),
            Attempt::Submit => Err(First::Submit),
            Attempt::Block => Err(First::Block),
        }
    }
}

/// An operation, from its first attempt to its outcome. Handles resource exhaustion and
/// interruptions on the way. It is ready at its first poll if the operation needs no waiting.
///
/// Dropping it cancels the operation. The carrier keeps what the operation owns until its
/// completion.
#[derive(Debug)]
pub(super) struct Perform {
    io: Io,
    /// Moved out only when it must be submitted or retried: small files need neither, and moving it
    /// takes time.
    op: Option<Op>,
    stage: Stage,
    interruptions: u8,
    /// Failures because of exhaustion, counted on workers.
    failures: Failures,
    /// The slot of its item, from the first retry because of exhaustion until the end.
    retrying_owner: Option<u32>,
}

/// The result of a first attempt that did not complete the operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum First {
    /// Not made: the task has used up its steps for this poll.
    NotMade,
    Submit,
    Block,
    /// It failed with an errno that may be transient.
    Failed(Errno),
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// An attempt was made, or is to be made.
    New(First),
    /// Submitted to the carrier.
    InFlight(u32),
    /// Waits to be retried when the exhausted resource may be available.
    ToRetry(u32),
    Ended,
}

impl Perform {
    pub(super) fn new(io: &Io, op: Op) -> Self {
        Self::after(First::NotMade, io, op)
    }

    /// Continues after the first attempt.
    pub(super) fn after(first: First, io: &Io, op: Op) -> Self {
        Self {
            io: io.clone(),
            op: Some(op),
            stage: Stage::New(first),
            interruptions: 0,
            failures: Failures::default(),
            retrying_owner: None,
        }
    }

    /// Takes the operation out, with what it owns. Not possible while it is submitted or waits to
    /// be retried.
    pub(super) fn take_op(&mut self) -> Op {
        self.op.take().expect("the operation is not in flight")
    }
}

impl Future for Perform {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        loop {
            // Known for a completion only.
            let mut is_unexplained = None;
            let outcome = match this.stage {
                Stage::New(first) => match first {
                    First::NotMade if !this.io.may_step() => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    First::NotMade => {
                        let op = this.op.as_mut().expect("the operation is not in flight");
                        match this.io.attempt_op(op) {
                            Attempt::Done(outcome) => outcome,
                            Attempt::Submit => {
                                this.stage = Stage::New(First::Submit);
                                continue;
                            }
                            Attempt::Block => {
                                this.stage = Stage::New(First::Block);
                                continue;
                            }
                        }
                    }
                    First::Failed(errno) => Err(errno),
                    First::Submit => {
                        let op = this.take_op();
                        this.stage = Stage::InFlight(this.io.submit(op, context.waker()));
                        return Poll::Pending;
                    }
                    // This future will be dropped, and the item restarted on a worker.
                    First::Block if this.io.move_to_worker(this.op.as_ref()) => {
                        return Poll::Pending;
                    }
                    First::Block => Err(Errno::new(libc::EOPNOTSUPP)),
                },
                Stage::InFlight(key) => match this.io.take_completion(key, context.waker()) {
                    Some(ended) => {
                        this.op = Some(ended.op);
                        is_unexplained = Some(ended.is_unexplained);
                        ended.outcome
                    }
                    None => return Poll::Pending,
                },
                Stage::ToRetry(key) => match this.io.verdict(key, context.waker()) {
                    Verdict::Wait => return Poll::Pending,
                    Verdict::Retry(op) => {
                        this.op = Some(op);
                        this.stage = Stage::New(First::NotMade);
                        continue;
                    }
                    Verdict::GiveUp(op, errno) => {
                        this.op = Some(op);
                        return this.end(Err(errno));
                    }
                },
                Stage::Ended => panic!("an operation was polled after it had ended"),
            };
            match outcome {
                Err(errno) if this.is_exhaustion(errno) && this.io.core.is_worker => {
                    if !this.io.back_off(errno, &mut this.failures) {
                        return this.end(Err(errno));
                    }
                    this.stage = Stage::New(First::NotMade);
                }
                Err(errno) if this.is_exhaustion(errno) => {
                    if this.io.should_move_to_worker(errno, is_unexplained)
                        && this.io.move_to_worker(this.op.as_ref())
                    {
                        this.stage = Stage::New(First::Block);
                        return Poll::Pending;
                    }
                    this.retrying_owner
                        .get_or_insert_with(|| this.io.begin_retrying());
                    let op = this.take_op();
                    this.stage = Stage::ToRetry(this.io.retry_later(op, errno, context.waker()));
                    return Poll::Pending;
                }
                Err(errno) if errno.is_interruption() && this.interruptions < INTERRUPTIONS_MAX => {
                    this.interruptions += 1;
                    this.stage = Stage::New(First::NotMade);
                }
                outcome => return this.end(outcome),
            }
        }
    }
}

impl Perform {
    /// True if a resource that the operation needs seems to be exhausted. Exhaustion at a socket is
    /// left to the user of the socket: see [`Op::is_on_socket`].
    fn is_exhaustion(&self, errno: Errno) -> bool {
        let op = self.op.as_ref().expect("the operation is not in flight");
        let may_lack = op.takes_descriptor() || !errno.is_descriptor_exhaustion();
        errno.is_exhaustion() && may_lack && !op.is_on_socket()
    }

    fn end(&mut self, outcome: Outcome) -> Poll<Outcome> {
        self.stage = Stage::Ended;
        self.end_retrying();
        Poll::Ready(outcome)
    }

    fn end_retrying(&mut self) {
        if let Some(owner) = self.retrying_owner.take() {
            self.io.end_retrying(owner);
        }
    }
}

impl Drop for Perform {
    fn drop(&mut self) {
        self.end_retrying();
        match self.stage {
            Stage::InFlight(key) => self.io.abandon(key),
            Stage::ToRetry(key) => self.io.forget_retry(key),
            Stage::New(_) | Stage::Ended => {}
        }
    }
}
