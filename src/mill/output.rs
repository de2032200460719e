//! What the emitter does with the mill: it takes results, and parts of results, whose turn it is.

use super::parts::Part;
use super::state::{Finished, Locked, Mill, State};
use crate::io::{Admission, PartWriter};
use ringmill_materialize::Order;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

/// Results and parts of results that the emitter has taken. Parts are written directly before the result
/// of their item. Parts of an item whose result is not among these come last.
#[derive(Debug)]
pub struct Output<V> {
    /// Results in the order of output.
    pub results: Vec<Finished<V>>,
    /// Parts in the order of output. Those of one item are adjacent.
    pub parts: Vec<Part>,
}

impl<V> Default for Output<V> {
    fn default() -> Self {
        Self {
            results: Vec::new(),
            parts: Vec::new(),
        }
    }
}

/// What the emitter got when it asked for output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Results or parts were taken.
    Results,
    /// The head is not ready.
    Nothing,
    /// Everything has been taken, and nothing more will come.
    Ended,
}

impl<V> Mill<V> {
    /// Takes up to `max` results and parts whose turn it is, waiting no longer than `timeout` for the
    /// first.
    pub fn take_output(
        &self,
        max: usize,
        timeout: Option<Duration>,
        into: &mut Output<V>,
    ) -> Ready {
        let mut state = self.lock();
        let mut timed_out = timeout.is_some_and(|timeout| timeout.is_zero());
        loop {
            // `Mill::wake` was called: return, so that the caller can look for a stop.
            timed_out |= std::mem::take(&mut state.emitter_called) && timeout.is_some();
            let ready = if state.take(max, into) {
                Some(Ready::Results)
            } else if state.has_ended() {
                Some(Ready::Ended)
            } else {
                timed_out.then_some(Ready::Nothing)
            };
            if state.parts.has_woken() {
                let woken = state.parts.take_woken();
                drop(state);
                woken.into_iter().for_each(Waker::wake);
                state = self.lock();
                if ready.is_none() {
                    continue;
                }
            }
            if let Some(ready) = ready {
                return ready;
            }
            state.emitter_waits = true;
            let guard = state.into_guard();
            state = Locked::new(match timeout {
                None => self
                    .head_ready
                    .wait(guard)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    let waited = self.head_ready.wait_timeout(guard, timeout);
                    let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
                    timed_out = result.timed_out();
                    guard
                }
            });
        }
    }

    /// Calls this waker once, when there may be new output. It is not called for output that is ready
    /// already.
    pub fn set_output_waker(&self, waker: &Waker) {
        self.lock().output_waker = Some(waker.clone());
    }

    /// [`Mill::take_output`] for a job whose results have no parts.
    pub fn take_ready(
        &self,
        max: usize,
        timeout: Option<Duration>,
        into: &mut Vec<Finished<V>>,
    ) -> Ready {
        let mut output = Output {
            results: std::mem::take(into),
            parts: Vec::new(),
        };
        let ready = self.take_output(max, timeout, &mut output);
        debug_assert!(output.parts.is_empty(), "parts were taken for results");
        *into = output.results;
        ready
    }

    /// Records that `count` results have been written out, and all parts that were taken.
    pub fn mark_emitted(&self, count: usize) {
        let mut state = self.lock();
        // Room for items that had to wait counts as an offer, like new items.
        state.offers += u64::from(state.room() < state.feed.items());
        state.window.mark_emitted(count);
        state.parts.emitted();
        if state.feed.has_items() || state.feed.is_exhausted() {
            state.wake_for_items();
        }
        call_woken(state);
    }

    /// Drops the parts that will not be written out, because the run is over.
    pub fn release_parts(&self) {
        self.lock().parts.release();
    }

    /// True if there is output. For an emitter that shares its thread with the loop; others are woken.
    #[must_use]
    pub fn has_output(&self) -> bool {
        let state = self.lock();
        state.window.head_is_ready() || state.parts.wants_emitter()
    }

    // For parts of results.

    /// An item was given up at its deadline: drops those of its parts that were not taken for output.
    /// If it `still_runs` on a worker, its writes are refused until [`Mill::given_up_ended`].
    pub fn give_up_parts(&self, index: u64, still_runs: bool) {
        let mut state = self.lock();
        state.parts.give_up(index, still_runs);
        call_woken(state);
    }

    /// A worker has ended an item that was given up.
    pub fn given_up_ended(&self, index: u64) {
        self.lock().parts.given_up_ended(index);
    }

    /// Bytes of parts that were handed over and not taken for output; for checks of the budget.
    #[must_use]
    pub fn part_bytes_held(&self) -> usize {
        self.lock().parts.bytes()
    }

    /// Writers of parts that wait and were not woken.
    #[cfg(test)]
    pub(crate) fn writers_waiting(&self) -> usize {
        self.lock().parts.waiting()
    }
}

impl<V: Send> PartWriter for Mill<V> {
    fn write(
        &self,
        item: u64,
        part: &mut Vec<u8>,
        ticket: &mut Option<u64>,
        waker: &Waker,
    ) -> Admission {
        let mut state = self.lock();
        let admission = state.parts.write(item, part, ticket, waker);
        match admission {
            Admission::HandedOver { is_front: true } => self.notify_emitter(&mut state),
            // The emitter may have to bring an item to the front.
            Admission::Waits { is_front: false } if state.parts.front().is_none() => {
                self.notify_emitter(&mut state);
            }
            _ => {}
        }
        call_woken(state);
        admission
    }

    fn forget(&self, item: u64, ticket: u64) {
        let mut state = self.lock();
        state.parts.forget(item, ticket);
        call_woken(state);
    }

    fn take_back(&self, item: u64) -> bool {
        let mut state = self.lock();
        let taken_back = state.parts.take_back(item);
        call_woken(state);
        taken_back
    }
}

impl<V> State<V> {
    /// Takes the output that is ready. False if there is none.
    fn take(&mut self, max: usize, into: &mut Output<V>) -> bool {
        let before = (into.results.len(), into.parts.len());
        if self.parts.is_idle() && self.delayed.is_empty() {
            self.window.take_ready(max, &mut into.results);
            self.parts.results_taken(into.results.len() - before.0);
        } else {
            let count = |into: &Output<V>| into.results.len() + into.parts.len();
            let end = count(into) + max;
            while count(into) < end && self.take_next(end - count(into), into) {}
        }
        self.release_bytes(&into.results[before.0..]);
        before != (into.results.len(), into.parts.len())
    }

    /// Results were taken: their bytes do not count against the window any more.
    fn release_bytes(&mut self, taken: &[Finished<V>]) {
        let was_full = self.is_full();
        self.window_bytes -= taken.iter().map(Finished::bytes).sum::<usize>();
        if was_full && !self.is_full() {
            self.offers += 1;
            self.wake_for_items();
        }
    }

    /// Takes up to `max` parts of the item at the front, and its result. False if nothing more can be
    /// taken now.
    fn take_next(&mut self, max: usize, into: &mut Output<V>) -> bool {
        let Some(front) = self.parts.front().or_else(|| self.next_front()) else {
            return false;
        };
        let parts_max = into.parts.len() + max;
        let is_all = self.parts.take(front, max, &mut into.parts);
        if !is_all || into.parts.len() == parts_max {
            return false;
        }
        let finished = match self.parts.order() {
            Order::Input => {
                self.window.take_ready(1, &mut into.results);
                into.results
                    .last()
                    .is_some_and(|last| last.item.index() == front)
            }
            Order::Completion => self.take_delayed(front, &mut into.results),
        };
        if finished {
            self.parts.result_taken(front);
        }
        finished
    }

    /// In completion order: brings an item to the front that has a result, or else one that has to write
    /// before any other item can continue.
    fn next_front(&mut self) -> Option<u64> {
        self.delay_results();
        let next = self.delayed.front().map(|next| next.item.index());
        next.map(|next| self.parts.set_front(next))
            .or_else(|| self.parts.elect_front())
    }

    /// Takes the result of the item at the front, if there is one: the first delayed result, or one that
    /// has finished since.
    fn take_delayed(&mut self, front: u64, into: &mut Vec<Finished<V>>) -> bool {
        let is_it = |delayed: &Finished<V>| delayed.item.index() == front;
        let known = self.delayed.len();
        let at = if self.delayed.front().is_some_and(is_it) {
            Some(0)
        } else {
            self.delay_results();
            let new = self.delayed.iter().skip(known).position(is_it);
            new.map(|at| known + at)
        };
        let finished = at.and_then(|at| self.delayed.remove(at));
        let is_there = finished.is_some();
        into.extend(finished);
        is_there
    }

    fn delay_results(&mut self) {
        let mut results = Vec::new();
        self.window.take_ready(usize::MAX, &mut results);
        self.delayed.extend(results);
    }

    /// True if no more results will come: nothing more is pulled, and either nothing is in flight or the
    /// loops have ended.
    fn has_ended(&self) -> bool {
        let no_more_pulls = self.stopped || self.pulls_ended || self.feed.is_exhausted();
        no_more_pulls && (self.window.in_flight() == 0 || self.loops.iter().all(|l| !l.running))
    }
}

/// Releases the lock, then calls the wakers of writers that may go on.
fn call_woken<V>(mut state: Locked<'_, V>) {
    if state.parts.has_woken() {
        let woken = state.parts.take_woken();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}
