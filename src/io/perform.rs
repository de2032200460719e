//! One operation as a future.

use super::carrier::Attempt;
use super::core::{Io, State};
use super::op::{Op, Outcome};
use super::retries::Verdict;
use super::shortages::Failures;
use crate::error::{Errno, Operation};
use crate::stats::Phase;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Times an operation is tried again because a signal interrupted it.
const INTERRUPTIONS_MAX: u8 = 100;

impl Io {
    /// Makes the first attempt at an operation, before anything is put where it could wait. Gives its
    /// result if it ends there.
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
            Attempt::Done(Err(errno)) if may_pass(errno) => Err(First::Failed(errno)),
            Attempt::Done(result) => Ok(result),
            Attempt::Submit => Err(First::Submit),
            Attempt::Block => Err(First::Block),
        }
    }
}

fn may_pass(errno: Errno) -> bool {
    errno.is_shortage() || is_interruption(errno)
}

fn is_interruption(errno: Errno) -> bool {
    errno.raw() == libc::EINTR
}

/// An operation, from its first attempt to its outcome. Resource exhaustion and interruptions are
/// dealt with on the way. It is ready when first polled if the operation needs no waiting.
///
/// Dropping it cancels the operation. What the operation owns stays with the carrier until its
/// completion.
#[derive(Debug)]
pub(super) struct Perform<'a> {
    io: &'a Io,
    /// It stays in its place until it must leave: small files are done without that, and moving it
    /// takes time.
    op: Option<Op>,
    stage: Stage,
    interruptions: u8,
    /// On a worker.
    failures: Failures,
    /// The slot of its item, once something was exhausted.
    lacks: Option<u32>,
}

/// What has become of the first attempt at an operation, if it did not end there.
#[derive(Clone, Copy, Debug)]
pub(super) enum First {
    /// The task has had its turn; it is still to be made.
    NotMade,
    Submit,
    Block,
    /// It failed for a reason that may pass.
    Failed(Errno),
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// An attempt was made, or is to be made.
    New(First),
    /// With the carrier.
    InFlight(u32),
    /// To be tried again when there may be enough of what was lacking.
    ToRetry(u32),
    Ended,
}

impl<'a> Perform<'a> {
    pub(super) fn new(io: &'a Io, op: Op) -> Self {
        Self::after(First::NotMade, io, op)
    }

    /// The same after the first attempt.
    pub(super) fn after(first: First, io: &'a Io, op: Op) -> Self {
        Self {
            io,
            op: Some(op),
            stage: Stage::New(first),
            interruptions: 0,
            failures: Failures::default(),
            lacks: None,
        }
    }

    /// The operation, with what it owns, unless it is with the carrier or waits to be tried again.
    pub(super) fn take_op(&mut self) -> Op {
        self.op.take().expect("it is here")
    }
}

impl Future for Perform<'_> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        loop {
            // Of a completion.
            let mut is_unexplained = None;
            let outcome = match this.stage {
                Stage::New(first) => match first {
                    First::NotMade if !this.io.may_step() => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    First::NotMade => {
                        let op = this.op.as_mut().expect("it is here");
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
                    // This future will be dropped, and the item begun anew on a worker.
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
                Err(errno) if this.is_shortage(errno) && this.io.core.is_worker => {
                    if !this.io.waits_out(errno, &mut this.failures) {
                        return this.end(Err(errno));
                    }
                    this.stage = Stage::New(First::NotMade);
                }
                Err(errno) if this.is_shortage(errno) => {
                    if this.io.moves_to_judge(errno, is_unexplained)
                        && this.io.move_to_worker(this.op.as_ref())
                    {
                        this.stage = Stage::New(First::Block);
                        return Poll::Pending;
                    }
                    this.lacks.get_or_insert_with(|| this.io.begins_to_lack());
                    let op = this.take_op();
                    this.stage = Stage::ToRetry(this.io.retry_later(op, errno, context.waker()));
                    return Poll::Pending;
                }
                Err(errno) if is_interruption(errno) && this.interruptions < INTERRUPTIONS_MAX => {
                    this.interruptions += 1;
                    this.stage = Stage::New(First::NotMade);
                }
                outcome => return this.end(outcome),
            }
        }
    }
}

impl Perform<'_> {
    /// True if something seems to be exhausted that the operation needs. A shortage at a socket is one
    /// peer's or one address family's, and left to whoever uses the socket.
    fn is_shortage(&self, errno: Errno) -> bool {
        let op = self.op.as_ref().expect("it is here");
        let may_lack = op.takes_descriptor() || !errno.is_descriptor_shortage();
        errno.is_shortage() && may_lack && !op.is_at_socket()
    }

    fn end(&mut self, outcome: Outcome) -> Poll<Outcome> {
        self.stage = Stage::Ended;
        self.lacks_no_more();
        Poll::Ready(outcome)
    }

    fn lacks_no_more(&mut self) {
        if let Some(owner) = self.lacks.take() {
            self.io.lacks_no_more(owner);
        }
    }
}

impl Drop for Perform<'_> {
    fn drop(&mut self) {
        self.lacks_no_more();
        match self.stage {
            Stage::InFlight(key) => self.io.abandon(key),
            Stage::ToRetry(key) => self.io.forget_retry(key),
            Stage::New(_) | Stage::Ended => {}
        }
    }
}
