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
pub(super) struct Perform {
    io: Io,
    stage: Stage,
    interruptions: u8,
    /// The slot of its item, once something was exhausted.
    lacks: Option<u32>,
}

#[derive(Debug)]
enum Stage {
    /// To be tried.
    New(Op),
    /// With the carrier.
    InFlight(u32),
    /// To be tried again when there may be enough of what was lacking.
    Starved(u32),
    Ended,
}

impl Perform {
    pub(super) fn new(io: Io, op: Op) -> Self {
        Self {
            io,
            stage: Stage::New(op),
            interruptions: 0,
            lacks: None,
        }
    }
}

impl Future for Perform {
    type Output = (Op, Outcome);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<(Op, Outcome)> {
        let this = self.get_mut();
        loop {
            let (op, outcome) = match std::mem::replace(&mut this.stage, Stage::Ended) {
                Stage::New(mut op) => {
                    if !this.io.may_step() {
                        this.stage = Stage::New(op);
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    match this.io.attempt(&mut op) {
                        Attempt::Done(outcome) => (op, outcome),
                        Attempt::Submit => {
                            this.stage = Stage::InFlight(this.io.submit(op, context.waker()));
                            return Poll::Pending;
                        }
                        Attempt::Block if this.io.move_to_worker() => {
                            // This future will be dropped, and the item begun anew on a worker.
                            this.stage = Stage::New(op);
                            return Poll::Pending;
                        }
                        Attempt::Block => (op, Err(Errno::new(libc::EOPNOTSUPP))),
                    }
                }
                Stage::InFlight(key) => match this.io.take_completion(key, context.waker()) {
                    Some(ended) => ended,
                    None => {
                        this.stage = Stage::InFlight(key);
                        return Poll::Pending;
                    }
                },
                Stage::Starved(key) => match this.io.verdict(key, context.waker()) {
                    Verdict::Wait => {
                        this.stage = Stage::Starved(key);
                        return Poll::Pending;
                    }
                    Verdict::Retry(op) => {
                        this.stage = Stage::New(op);
                        continue;
                    }
                    Verdict::GiveUp(op, errno) => {
                        this.lacks_no_more();
                        return Poll::Ready((op, Err(errno)));
                    }
                },
                Stage::Ended => panic!("an operation was polled after it had ended"),
            };
            match outcome {
                Err(errno) if errno.is_shortage() && this.io.waits_out(&op) => {
                    this.lacks.get_or_insert_with(|| this.io.begins_to_lack());
                    let key = this.io.starve(op, errno, context.waker());
                    this.stage = Stage::Starved(key);
                    return Poll::Pending;
                }
                Err(errno)
                    if errno.raw() == libc::EINTR && this.interruptions < INTERRUPTIONS_MAX =>
                {
                    this.interruptions += 1;
                    this.stage = Stage::New(op);
                }
                outcome => {
                    this.lacks_no_more();
                    return Poll::Ready((op, outcome));
                }
            }
        }
    }
}

impl Perform {
    fn lacks_no_more(&mut self) {
        if let Some(owner) = self.lacks.take() {
            self.io.lacks_no_more(owner);
        }
    }
}

impl Drop for Perform {
    fn drop(&mut self) {
        self.lacks_no_more();
        match self.stage {
            Stage::InFlight(key) => self.io.abandon(key),
            Stage::Starved(key) => self.io.forget_starved(key),
            Stage::New(_) | Stage::Ended => {}
        }
    }
}
