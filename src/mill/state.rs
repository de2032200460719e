//! The state behind the lock, and the parts of the mill that all threads use.

use super::feed::Feed;
use super::pace::Pace;
use super::parts::Parts;
use crate::error::ItemError;
use crate::io::{Exhaustion, Wake};
use crate::item::{Batch, Item};
use crate::lock::lock;
use crate::source::InputError;
use ringmill_materialize::{Order, Window};
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// The default limit on the bytes of parts that wait for earlier items.
pub const PART_BYTES_DEFAULT: usize = 64 * 1024 * 1024;

/// An item with its result.
#[derive(Debug)]
pub struct Finished<V> {
    /// The item.
    pub item: Item,
    /// When its first operation was submitted. Both times are exact only if latencies are recorded or
    /// items have a deadline; otherwise they are the times at which the loop's turns began.
    pub started_at_ns: u64,
    /// When its last operation had completed.
    pub finished_at_ns: u64,
    /// Its value, or why it has none.
    pub result: Result<V, ItemError>,
    /// It has no value, or a value that the job counts as a failure.
    pub is_failure: bool,
    /// Bytes that its value owns outside this struct.
    pub bytes_held: u32,
}

impl<V> Finished<V> {
    /// The memory it occupies, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes_held as usize
    }

    /// From the item's first submission to its last completion.
    #[must_use]
    pub fn latency_ns(&self) -> u64 {
        self.finished_at_ns.saturating_sub(self.started_at_ns)
    }
}

/// Counters that show the progress of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Items taken from the input.
    pub pulled: u64,
    /// Results written out.
    pub emitted: u64,
    /// Items pulled and not finished.
    pub in_flight: u64,
}

/// Shared by the source's thread, the loops and the emitter.
pub struct Mill<V> {
    state: Mutex<State<V>>,
    /// The emitter waits here for the head.
    pub(super) head_ready: Condvar,
    /// The source's thread waits here for room in the feed.
    pub(super) feed_has_room: Condvar,
}

/// What is behind the lock.
pub(super) struct State<V> {
    pub(super) window: Window<Finished<V>>,
    /// Memory of the finished items that were not taken for output. Nothing is pulled while it is at the
    /// limit.
    pub(super) window_bytes: usize,
    pub(super) window_bytes_max: usize,
    pub(super) parts: Parts,
    /// In completion order: results that finished while the parts of another item were being emitted.
    pub(super) delayed: VecDeque<Finished<V>>,
    pub(super) feed: Feed,
    pub(super) loops: Vec<LoopState>,
    pub(super) stopped: bool,
    /// Nothing more is pulled, but items in flight continue.
    pub(super) pulls_ended: bool,
    pub(super) fail_fast: bool,
    pub(super) pace: Option<Pace>,
    /// How often more items became available to pull.
    pub(super) offers: u64,
    pub(super) emitter_waits: bool,
    /// Called once when there may be output, or when the emitter is to end its wait.
    pub(super) output_waker: Option<Waker>,
    /// To be called after the lock is released, because a waker may run any code.
    pub(super) waker_to_call: Option<Waker>,
    /// The emitter is to end its wait, even if there is no output.
    pub(super) emitter_called: bool,
}

/// What the mill knows of a loop.
pub(super) struct LoopState {
    pub(super) waker: Option<Arc<dyn Wake>>,
    /// It is to be woken when there are items for it.
    pub(super) wants_items: bool,
    /// It has room for more items, or has not asked for any yet.
    pub(super) has_room: bool,
    pub(super) in_flight: usize,
    /// Since when it has left items to other loops; `None` after a pull of its own. It does so for
    /// a fixed time, however many turns that is.
    pub(super) yields_since: Option<Duration>,
    /// The value of `offers` at its last exchange that nothing held back.
    pub(super) offers_seen: u64,
    pub(super) exhaustion: Exhaustion,
    /// The progress of all loops when this one last called [`Mill::can_free_resources`].
    pub(super) progress_seen: u64,
    pub(super) running: bool,
}

impl LoopState {
    /// Wakes it if it wants items.
    pub(super) fn wake_for_items(&mut self) {
        if std::mem::take(&mut self.wants_items) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}

impl<V> Mill<V> {
    /// A mill for this number of loops. With `fail_fast`, nothing is pulled once an item has failed.
    #[must_use]
    pub fn new(order: Order, window: usize, loops: usize, fail_fast: bool) -> Self {
        let new_loop = || LoopState {
            waker: None,
            wants_items: false,
            has_room: true,
            in_flight: 0,
            yields_since: None,
            offers_seen: 0,
            exhaustion: Exhaustion::default(),
            progress_seen: 0,
            running: true,
        };
        Self {
            state: Mutex::new(State {
                window: Window::new(order, window),
                window_bytes: 0,
                window_bytes_max: usize::MAX,
                parts: Parts::new(order, PART_BYTES_DEFAULT),
                delayed: VecDeque::new(),
                feed: Feed::default(),
                loops: std::iter::repeat_with(new_loop).take(loops).collect(),
                stopped: false,
                pulls_ended: false,
                fail_fast,
                pace: None,
                offers: 0,
                emitter_waits: false,
                output_waker: None,
                waker_to_call: None,
                emitter_called: false,
            }),
            head_ready: Condvar::new(),
            feed_has_room: Condvar::new(),
        }
    }

    /// The same mill with a schedule for its items.
    #[must_use]
    pub fn paced(self, pace: Option<Pace>) -> Self {
        self.lock().pace = pace;
        self
    }

    /// The same mill with a limit on the bytes of finished items that wait. At the limit nothing is pulled.
    /// Items in flight continue, since the head is among them, so only their results can exceed the limit.
    #[must_use]
    pub fn window_bytes(self, bytes: usize) -> Self {
        self.lock().window_bytes_max = bytes;
        self
    }

    /// The same mill with another budget for parts of results that wait for earlier items.
    #[must_use]
    pub fn part_bytes(self, part_bytes: usize) -> Self {
        self.lock().parts.set_budget(part_bytes);
        self
    }

    /// Adds items, after a wait until there is room for them; false if no more items will be pulled. `now`
    /// is when the items arrived.
    pub fn add(&self, batch: Batch, now: Duration) -> bool {
        let mut state = self.lock();
        while !state.feed.has_room() && !state.stopped && !state.pulls_ended {
            let waited = self.feed_has_room.wait(state.into_guard());
            state = Locked::new(waited.unwrap_or_else(PoisonError::into_inner));
        }
        if state.stopped || state.pulls_ended {
            return false;
        }
        state.feed.add(batch);
        state.offers += 1;
        if let Some(pace) = &mut state.pace {
            pace.feed(now);
        }
        state.wake_for_items();
        true
    }

    /// True if [`Mill::add`] would not wait.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let state = self.lock();
        state.feed.has_room() || state.stopped || state.pulls_ended
    }

    /// True if anything that was added has not been pulled.
    #[must_use]
    pub fn has_input(&self) -> bool {
        self.lock().feed.has_items()
    }

    /// Records that the input has ended, with its error if it failed.
    pub fn end_input(&self, end: Result<(), InputError>) {
        let mut state = self.lock();
        state.feed.end(end);
        state.wake_for_items();
        self.notify_emitter(&mut state);
    }

    /// Stops the run: nothing more is pulled, and the loops cancel what is in flight.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.loops.iter().for_each(LoopState::wake);
        state.parts.stop();
        self.feed_has_room.notify_one();
        self.notify_emitter(&mut state);
    }

    /// The error of the input itself; only the first call returns it.
    pub fn take_input_error(&self) -> Option<InputError> {
        self.lock().feed.take_error()
    }

    /// The progress so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let state = self.lock();
        Counters {
            pulled: state.window.pulled(),
            emitted: state.window.emitted(),
            in_flight: state.window.in_flight(),
        }
    }

    pub(super) fn notify_emitter(&self, state: &mut State<V>) {
        if std::mem::take(&mut state.emitter_waits) {
            self.head_ready.notify_one();
        }
        if let Some(waker) = state.output_waker.take() {
            state.waker_to_call = Some(waker);
        }
    }

    /// The state is consistent between any two calls, so a poisoned lock does no harm.
    pub(super) fn lock(&self) -> Locked<'_, V> {
        Locked::new(lock(&self.state))
    }
}

impl<V> State<V> {
    /// How many items the window allows to be pulled now.
    pub(super) fn room(&self) -> usize {
        if self.is_full() {
            return 0;
        }
        self.window.room()
    }

    /// True if finished items take up all bytes of the window.
    pub(super) fn is_full(&self) -> bool {
        self.window_bytes >= self.window_bytes_max
    }

    pub(super) fn wake_for_items(&mut self) {
        self.loops.iter_mut().for_each(LoopState::wake_for_items);
    }
}

/// The state while it is locked. When it is dropped, it releases the lock, then calls `waker_to_call`.
pub(super) struct Locked<'a, V>(Option<MutexGuard<'a, State<V>>>);

impl<'a, V> Locked<'a, V> {
    pub(super) fn new(guard: MutexGuard<'a, State<V>>) -> Self {
        Self(Some(guard))
    }

    /// The guard, for a wait on a condition variable, which releases the lock.
    pub(super) fn into_guard(mut self) -> MutexGuard<'a, State<V>> {
        self.0.take().expect("it is locked until it is dropped")
    }
}

impl<V> Deref for Locked<'_, V> {
    type Target = State<V>;

    fn deref(&self) -> &State<V> {
        self.0.as_deref().expect("it is locked until it is dropped")
    }
}

impl<V> DerefMut for Locked<'_, V> {
    fn deref_mut(&mut self) -> &mut State<V> {
        let state = self.0.as_deref_mut();
        state.expect("it is locked until it is dropped")
    }
}

impl<V> Drop for Locked<'_, V> {
    fn drop(&mut self) {
        let state = self.0.take();
        let waker = state.and_then(|mut state| state.waker_to_call.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<V: Send> Wake for Mill<V> {
    /// Ends the current wait of the emitter, or else its next one, so that it looks for a stop. The loops
    /// are woken as well, because the emitter may share its thread with one.
    fn wake(&self) {
        let mut state = self.lock();
        state.emitter_called = true;
        self.notify_emitter(&mut state);
        state.loops.iter().for_each(LoopState::wake);
    }
}
