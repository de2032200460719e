//! Jobs whose tasks are woken for no reason.

use super::ledger::{Ledger, Maker};
use ringmill::error::{Errno, ItemError};
use ringmill::io::Io;
use ringmill::io::sim::Random;
use ringmill::item::Item;
use ringmill::jobs::Job;
use ringmill::stats::Phase;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

/// Wakers of the tasks that a [`Spurious`] job has polled recently.
#[derive(Clone, Debug, Default)]
pub struct Wakers(Arc<Mutex<Vec<Waker>>>);

impl Wakers {
    const KEPT: usize = 32;

    fn keep(&self, context: &Context<'_>) {
        let mut wakers = self.0.lock().unwrap();
        if wakers.len() == Self::KEPT {
            wakers.remove(0);
        }
        wakers.push(context.waker().clone());
    }

    /// Wakes one of the tasks for no reason.
    pub fn wake_one(&self, random: &mut Random) {
        let wakers = self.0.lock().unwrap();
        if !wakers.is_empty() {
            wakers[random.below(wakers.len())].wake_by_ref();
        }
    }
}

/// A job whose tasks may be woken for no reason, and which keeps the ledger.
pub struct Spurious<J> {
    pub job: J,
    pub wakers: Wakers,
    pub ledger: Ledger,
}

impl<J> Spurious<J> {
    pub fn new(job: J) -> Self {
        Self {
            job,
            wakers: Wakers::default(),
            ledger: Ledger::default(),
        }
    }
}

impl<J: Job> Job for Spurious<J> {
    type Value = J::Value;
    type Local = (Rc<J::Local>, Wakers, Maker);

    const PHASES: &'static [Phase] = J::PHASES;

    fn local(&self, io: &Io) -> Self::Local {
        let local = Rc::new(self.job.local(io));
        (local, self.wakers.clone(), self.ledger.maker())
    }

    async fn run(local: Rc<Self::Local>, io: Io, item: Item) -> Result<J::Value, ItemError> {
        let (inner, wakers, maker) = &*local;
        let mut entry = maker.begun(item.index(), io.now());
        let mut task = pin!(J::run(Rc::clone(inner), io, item));
        let result = poll_fn(|context| {
            wakers.keep(context);
            task.as_mut().poll(context)
        })
        .await;
        let errno = result.as_ref().err().and_then(ItemError::as_errno);
        entry.ended(errno.is_some_and(Errno::is_exhaustion));
        result
    }

    fn is_failure(value: &J::Value) -> bool {
        J::is_failure(value)
    }
}
