//! One operation as a future.

use super::carrier::Attempt;
use super::core::Io;
use super::op::{Op, Outcome};
use super::resources::Verdict;
use crate::error::Errno;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Times an operation is tried again because a signal interrupted it.
const INTERRUPTIONS_MAX: u8 = 100;

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
    /// The slot of its item, once something was exhausted.
    lacks: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// To be tried.
    New,
    /// With the carrier.
    InFlight(u32),
    /// To be tried again when there may be enough of what was lacking.
    Starved(u32),
    Ended,
}

impl<'a> Perform<'a> {
    pub(super) fn new(io: &'a Io, op: Op) -> Self {
        Self {
            io,
            op: Some(op),
            stage: Stage::New,
            interruptions: 0,
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
            let outcome = match this.stage {
                Stage::New => {
                    if !this.io.may_step() {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    let op = this.op.as_mut().expect("it is here");
                    match this.io.attempt(op) {
                        Attempt::Done(outcome) => outcome,
                        Attempt::Submit => {
                            let op = this.take_op();
                            this.stage = Stage::InFlight(this.io.submit(op, context.waker()));
                            return Poll::Pending;
                        }
                        // This future will be dropped, and the item begun anew on a worker.
                        Attempt::Block if this.io.move_to_worker() => return Poll::Pending,
                        Attempt::Block => Err(Errno::new(libc::EOPNOTSUPP)),
                    }
                }
                Stage::InFlight(key) => match this.io.take_completion(key, context.waker()) {
                    Some((op, outcome)) => {
                        this.op = Some(op);
                        outcome
                    }
                    None => return Poll::Pending,
                },
                Stage::Starved(key) => match this.io.verdict(key, context.waker()) {
                    Verdict::Wait => return Poll::Pending,
                    Verdict::Retry(op) => {
                        this.op = Some(op);
                        this.stage = Stage::New;
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
                Err(errno) if this.is_to_starve(errno) => {
                    this.lacks.get_or_insert_with(|| this.io.begins_to_lack());
                    let op = this.take_op();
                    this.stage = Stage::Starved(this.io.starve(op, errno, context.waker()));
                    return Poll::Pending;
                }
                Err(errno)
                    if errno.raw() == libc::EINTR && this.interruptions < INTERRUPTIONS_MAX =>
                {
                    this.interruptions += 1;
                    this.stage = Stage::New;
                }
                outcome => return this.end(outcome),
            }
        }
    }
}

impl Perform<'_> {
    fn is_to_starve(&self, errno: Errno) -> bool {
        errno.is_shortage() && self.io.waits_out(self.op.as_ref().expect("it is here"))
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
            Stage::Starved(key) => self.io.forget_starved(key),
            Stage::New | Stage::Ended => {}
        }
    }
}
