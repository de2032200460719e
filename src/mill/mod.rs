//! The mill: what the source, the loops and the emitter share. Pure state behind one lock; it does
//! no input or output and has no clock.

pub mod budget;
mod deadlines;
mod feed;
mod pressure;
mod window;

pub use deadlines::Deadlines;
pub use feed::Feed;
pub use pressure::{Pressure, Retry, Strain};
pub use window::{Order, Window};

use crate::engine::Wake;
use crate::error::ItemError;
use crate::item::{Batch, Item, Portion};
use crate::source::InputError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An item with its result.
#[derive(Debug)]
pub struct Finished<V> {
    /// The item.
    pub item: Item,
    /// From the item's first submission to its last completion, in nanoseconds.
    pub latency_ns: u64,
    /// Its value, or why it has none.
    pub result: Result<V, ItemError>,
}

/// What a loop is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Start what was pulled, go on with what is in flight.
    Continue,
    /// There is nothing left to pull, now or later.
    Finish,
    /// Give up what is in flight.
    Stop,
}

/// Shared by the source's thread, the loops and the emitter.
pub struct Mill<V> {
    state: Mutex<State<V>>,
    /// The emitter waits here for the head.
    head_ready: Condvar,
    /// The source's thread waits here for room in the feed.
    feed_has_room: Condvar,
}

struct State<V> {
    window: Window<Finished<V>>,
    feed: Feed,
    loops: Vec<LoopState>,
    stopped: bool,
    /// No more is pulled, but what is in flight goes on.
    pulls_ended: bool,
    fail_fast: bool,
    emitter_waits: bool,
}

struct LoopState {
    waker: Option<Arc<dyn Wake>>,
    /// It had room for items and got none.
    hungry: bool,
    strain: Strain,
    /// The progress of all loops when this one last asked what could free resources.
    progress_seen: u64,
    running: bool,
}

/// What the emitter finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Results were taken.
    Results,
    /// The head is not ready.
    Nothing,
    /// Every item that will ever be emitted has been.
    Ended,
}

/// Counters for people to watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Items taken from the input.
    pub pulled: u64,
    /// Results written out.
    pub emitted: u64,
    /// Items pulled and not finished.
    pub in_flight: u64,
}

impl<V> Mill<V> {
    /// A mill for so many loops. With `fail_fast`, nothing is pulled once an item has failed.
    #[must_use]
    pub fn new(order: Order, window: usize, loops: usize, fail_fast: bool) -> Self {
        let new_loop = || LoopState {
            waker: None,
            hungry: false,
            strain: Strain::default(),
            progress_seen: 0,
            running: true,
        };
        Self {
            state: Mutex::new(State {
                window: Window::new(order, window),
                feed: Feed::default(),
                loops: std::iter::repeat_with(new_loop).take(loops).collect(),
                stopped: false,
                pulls_ended: false,
                fail_fast,
                emitter_waits: false,
            }),
            head_ready: Condvar::new(),
            feed_has_room: Condvar::new(),
        }
    }

    // For the source's thread.

    /// Adds items once there is room for them; false if nobody wants them any more.
    pub fn add(&self, batch: Batch) -> bool {
        let mut state = self.lock();
        while !state.feed.has_room() && !state.stopped && !state.pulls_ended {
            state = self
                .feed_has_room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped || state.pulls_ended {
            return false;
        }
        state.feed.add(batch);
        state.wake_hungry();
        true
    }

    /// True if [`Mill::add`] would not wait.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let state = self.lock();
        state.feed.has_room() || state.stopped || state.pulls_ended
    }

    /// Says that the input has ended, and whether that is because it failed.
    pub fn end_input(&self, end: Result<(), InputError>) {
        let mut state = self.lock();
        state.feed.end(end);
        state.wake_hungry();
        self.notify_emitter(&mut state);
    }

    // For a loop.

    /// Registers what ends the loop's waits.
    pub fn set_waker(&self, loop_index: usize, waker: Arc<dyn Wake>) {
        self.lock().loops[loop_index].waker = Some(waker);
    }

    /// Hands over what a loop has finished and pulls up to `max` items for it. Before the loop
    /// waits, it has to [`announce`](Mill::announce) what it handed over.
    ///
    /// A loop that asked for items and got none is woken when there may be some.
    pub fn exchange(
        &self,
        loop_index: usize,
        finished: &mut Vec<Finished<V>>,
        max: usize,
        strain: Strain,
        pulled: &mut Vec<Portion>,
    ) -> Directive {
        let mut state = self.lock();
        for done in finished.drain(..) {
            state.pulls_ended |= state.fail_fast && done.result.is_err();
            state.window.finish(done.item.index(), done);
        }
        if state.window.is_filling_up() && state.window.head_is_ready() {
            self.notify_emitter(&mut state);
        }
        state.loops[loop_index].strain = strain;
        state.loops[loop_index].hungry = false;
        if state.stopped {
            return Directive::Stop;
        }
        if state.pulls_ended {
            self.feed_has_room.notify_one();
            return Directive::Finish;
        }
        let room = max.min(state.window.room());
        let count = state.feed.pull(room, pulled);
        state.window.pull(count);
        if count > 0 {
            if state.feed.has_room() {
                self.feed_has_room.notify_one();
            }
            return Directive::Continue;
        }
        if state.feed.is_exhausted() {
            return Directive::Finish;
        }
        state.loops[loop_index].hungry = max > 0;
        Directive::Continue
    }

    /// Wakes the emitter if there is something for it. While the loops are busy they leave it asleep
    /// until there is much to emit: each time it wakes, it takes the processor from one of them.
    pub fn announce(&self) {
        let mut state = self.lock();
        if state.window.head_is_ready() {
            self.notify_emitter(&mut state);
        }
    }

    /// True if any loop has something in flight that does not itself wait for resources, or has made
    /// progress since this loop last asked.
    #[must_use]
    pub fn can_free_resources(&self, loop_index: usize) -> bool {
        let mut state = self.lock();
        let starved: usize = state.loops.iter().map(|l| l.strain.starved).sum();
        let progress = state.loops.iter().map(|l| l.strain.progress).sum();
        let seen = std::mem::replace(&mut state.loops[loop_index].progress_seen, progress);
        state.window.in_flight() > starved as u64 || progress != seen
    }

    /// True if this loop could pull an item now; for checking that no work is left lying.
    #[must_use]
    pub fn could_pull(&self) -> bool {
        let state = self.lock();
        !state.stopped && !state.pulls_ended && state.feed.has_items() && state.window.room() > 0
    }

    /// Says that a loop has ended and will hand over nothing more.
    pub fn loop_ended(&self, loop_index: usize) {
        let mut state = self.lock();
        state.loops[loop_index].running = false;
        state.loops[loop_index].waker = None;
        self.notify_emitter(&mut state);
    }

    // For the emitter.

    /// Takes up to `max` results whose turn it is, waiting no longer than `timeout` for the first.
    pub fn take_ready(
        &self,
        max: usize,
        timeout: Option<Duration>,
        into: &mut Vec<Finished<V>>,
    ) -> Ready {
        let mut state = self.lock();
        loop {
            if state.window.head_is_ready() {
                state.window.take_ready(max, into);
                return Ready::Results;
            }
            if state.has_ended() {
                return Ready::Ended;
            }
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                return Ready::Nothing;
            }
            state.emitter_waits = true;
            state = match timeout {
                None => self
                    .head_ready
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    let waited = self.head_ready.wait_timeout(state, timeout);
                    let (state, result) = waited.unwrap_or_else(PoisonError::into_inner);
                    if result.timed_out() && !state.window.head_is_ready() && !state.has_ended() {
                        return Ready::Nothing;
                    }
                    state
                }
            };
        }
    }

    /// Says that `count` results have been written out.
    pub fn mark_emitted(&self, count: usize) {
        let mut state = self.lock();
        state.window.mark_emitted(count);
        if state.feed.has_items() || state.feed.is_exhausted() {
            state.wake_hungry();
        }
    }

    /// Pulls nothing more and has the loops give up what is in flight.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state
            .loops
            .iter()
            .filter_map(|l| l.waker.as_ref())
            .for_each(|waker| waker.wake());
        self.feed_has_room.notify_one();
        self.notify_emitter(&mut state);
    }

    /// The input's own error, once.
    pub fn take_input_error(&self) -> Option<InputError> {
        self.lock().feed.take_error()
    }

    /// How far things are.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let state = self.lock();
        Counters {
            pulled: state.window.pulled(),
            emitted: state.window.emitted(),
            in_flight: state.window.in_flight(),
        }
    }

    fn notify_emitter(&self, state: &mut State<V>) {
        if std::mem::take(&mut state.emitter_waits) {
            self.head_ready.notify_one();
        }
    }

    /// The state is consistent between any two calls, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> State<V> {
    fn wake_hungry(&mut self) {
        for l in &mut self.loops {
            if std::mem::take(&mut l.hungry)
                && let Some(waker) = &l.waker
            {
                waker.wake();
            }
        }
    }

    /// True if no more results will come: everything is emitted, or the loops have ended.
    fn has_ended(&self) -> bool {
        let no_more_pulls = self.stopped || self.pulls_ended || self.feed.is_exhausted();
        no_more_pulls && (self.window.in_flight() == 0 || self.loops.iter().all(|l| !l.running))
    }
}
