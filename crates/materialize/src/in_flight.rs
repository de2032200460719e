//! The futures in flight: they are pulled, polled in place, and finished.

use crate::ready::ReadySet;
use crate::source::Source;
use crate::window::Window;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The limit on woken futures polled in one turn, and on new ones started: the runtime regains control
/// after a bounded time, even if every future is always ready.
const STEPS_PER_TURN: usize = 128;

/// The output of a source's futures.
pub(crate) type Output<S> = <<S as Source>::Future as Future>::Output;

/// Counts the items that are pulled, and receives the results.
pub(crate) trait Ledger<T> {
    /// Whether one more item may be pulled.
    fn has_room(&self) -> bool;
    /// Counts one more item as pulled.
    fn pull(&mut self);
    /// Receives the result of the item with this index.
    fn finish(&mut self, index: u64, result: T);
}

impl<T> Ledger<T> for Window<T> {
    fn has_room(&self) -> bool {
        self.room() > 0
    }

    fn pull(&mut self) {
        Window::pull(self, 1);
    }

    fn finish(&mut self, index: u64, result: T) {
        Window::finish(self, index, result);
    }
}

/// A place for one future at a time.
struct Slot<F> {
    // Boxed once, because a pinned place in a growing vector needs unsafe code.
    future: Pin<Box<Option<F>>>,
    index: u64,
    waker: Waker,
}

/// The source, and up to `limit` of its futures.
pub(crate) struct InFlight<S: Source> {
    source: S,
    source_ended: bool,
    /// The index of the next item.
    next_index: u64,
    limit: usize,
    steps_per_turn: usize,
    /// Grows as needed, up to `limit`.
    slots: Vec<Slot<S::Future>>,
    /// The free list: empty slots. The last one used is reused first, because it is still in the cache.
    free: Vec<usize>,
    ready: ReadySet,
}

impl<S: Source> InFlight<S> {
    pub(crate) fn new(source: S, limit: usize) -> Self {
        Self {
            source,
            source_ended: false,
            next_index: 0,
            limit,
            steps_per_turn: STEPS_PER_TURN,
            slots: Vec::new(),
            free: Vec::new(),
            ready: ReadySet::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn set_steps_per_turn(&mut self, steps: usize) {
        self.steps_per_turn = steps;
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Futures in flight now.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True if nothing is in flight and the source has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.source_ended && self.len() == 0
    }

    /// True if the source has not ended and fewer than `limit` futures are in flight.
    pub(crate) fn wants_more(&self) -> bool {
        !self.source_ended && self.len() < self.limit
    }

    /// Bounds on the number of items not pulled yet.
    pub(crate) fn left(&self) -> (usize, Option<usize>) {
        if self.source_ended {
            (0, Some(0))
        } else {
            self.source.left()
        }
    }

    /// Alternates between polling woken futures and starting new ones, until nothing more can be done or
    /// the limit of a turn is reached. Returns true if more futures could be started at once.
    /// ([`InFlight::sleep`] notices if woken ones are left.)
    ///
    /// Polls and starts have separate limits, so that futures which are always woken do not prevent new
    /// ones from being started, and futures that are ready at once do not prevent woken ones from being
    /// polled.
    pub(crate) fn turn(
        &mut self,
        cx: &mut Context<'_>,
        ledger: &mut impl Ledger<Output<S>>,
    ) -> bool {
        self.ready.stay_awake();
        let (mut polls, mut starts) = (self.steps_per_turn, self.steps_per_turn);
        let mut source_is_pending = false;
        loop {
            let before = (polls, starts);
            while polls > 0
                && let Some(slot) = self.ready.take()
            {
                polls -= 1;
                self.poll(slot, ledger);
            }
            while !source_is_pending && self.wants_more() && ledger.has_room() {
                if starts == 0 {
                    return true;
                }
                starts -= 1;
                match self.source.poll_pull(cx) {
                    Poll::Ready(Some(future)) => self.start(future, ledger),
                    Poll::Ready(None) => self.source_ended = true,
                    // The source will wake the task.
                    Poll::Pending => source_is_pending = true,
                }
            }
            if polls == 0 || (polls, starts) == before {
                return false;
            }
        }
    }

    fn start(&mut self, future: S::Future, ledger: &mut impl Ledger<Output<S>>) {
        ledger.pull();
        let number = self.free.pop().unwrap_or_else(|| {
            let number = self.slots.len();
            self.slots.push(Slot {
                future: Box::pin(None),
                index: 0,
                waker: self.ready.waker(number),
            });
            number
        });
        let slot = &mut self.slots[number];
        slot.index = self.next_index;
        slot.future.set(Some(future));
        self.next_index += 1;
        self.poll(number, ledger);
    }

    fn poll(&mut self, number: usize, ledger: &mut impl Ledger<Output<S>>) {
        let slot = &mut self.slots[number];
        // The slot is empty if the waker of an earlier future woke it.
        let Some(future) = slot.future.as_mut().as_pin_mut() else {
            return;
        };
        if let Poll::Ready(result) = future.poll(&mut Context::from_waker(&slot.waker)) {
            slot.future.set(None);
            self.free.push(number);
            ledger.finish(slot.index, result);
        }
    }

    /// Must be called before the task waits. From then on the wake of any future wakes the task. If a woken
    /// future is left, the task is woken at once.
    pub(crate) fn sleep(&mut self, cx: &Context<'_>) {
        self.ready.sleep(cx);
    }
}
