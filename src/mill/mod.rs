//! The mill: the state that the source, the loops and the emitter share, behind one lock. It does no
//! input or output and has no clock.

pub mod budget;
mod feed;
mod pace;
mod parts;
#[cfg(test)]
mod parts_tests;
#[cfg(test)]
mod window_tests;

pub use feed::Feed;
pub use pace::{Pace, RATES_PER_S, Schedule};
pub use parts::Part;
pub use ringmill_materialize::{Order, Window};

use crate::error::ItemError;
use crate::io::{Admission, Exhaustion, PartWriter, Wake};
use crate::item::{Batch, BatchSlice, Item};
use crate::lock::lock;
use crate::source::InputError;
use parts::Parts;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// The default limit on bytes of parts that wait for earlier items.
pub const PART_BYTES_DEFAULT: usize = 64 * 1024 * 1024;

/// How long a loop leaves items to other loops that have room for them, before it pulls them itself.
const YIELD_PAUSE: Duration = Duration::from_millis(1);

/// Where there are several loops, each fills its places in at least this many steps, and leaves items to
/// loops that are more than a step behind. Otherwise the loop that gets the first of a series of slow
/// items pulls all of them, since it takes no time to start them, and the other loops do all the rest.
const STEPS_PER_FILL: usize = 8;

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
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes_held as usize
    }

    /// From the item's first submission to its last completion.
    #[must_use]
    pub fn latency_ns(&self) -> u64 {
        self.finished_at_ns.saturating_sub(self.started_at_ns)
    }
}

/// What a loop reports to the mill when it asks for items.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// Items it could start now.
    pub room: usize,
    /// Items it has in flight.
    pub in_flight: usize,
    /// How many of them wait for resources, and its progress.
    pub exhaustion: Exhaustion,
}

/// The result of a loop's exchange with the mill.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// What the loop does next.
    pub directive: Directive,
    /// Why the loop got fewer items than it had room for.
    pub held_back: Option<HeldBack>,
    /// When the items it got were due, in the order of the items, if the run has a rate.
    pub schedule: Option<Schedule>,
    /// When it may get more, if the rate held it back or it left items to other loops.
    pub resume_at: Option<Duration>,
    /// How many items it got.
    pub pulled: usize,
    /// It may pull more as soon as it has started these items.
    pub goes_on: bool,
}

/// Why fewer items are in flight than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// No input is available at the moment, or the input has ended.
    Input,
    /// The window is full: results wait for an earlier one, or for the consumer.
    Window,
    /// The rate has been reached.
    Rate,
}

/// What a loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Start the items that were pulled, continue those in flight.
    Continue,
    /// No more items will be pulled; finish those in flight.
    Finish,
    /// Cancel the items in flight.
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
    /// Memory of the finished items that were not taken for output. Nothing is pulled while it is at the
    /// limit.
    window_bytes: usize,
    window_bytes_max: usize,
    parts: Parts,
    /// In completion order: results that finished while the parts of another item were being emitted.
    delayed: VecDeque<Finished<V>>,
    feed: Feed,
    loops: Vec<LoopState>,
    stopped: bool,
    /// Nothing more is pulled, but items in flight continue.
    pulls_ended: bool,
    fail_fast: bool,
    pace: Option<Pace>,
    /// How often more items became available to pull.
    offers: u64,
    emitter_waits: bool,
    /// Called once when there may be output, or when the emitter is to end its wait.
    output_waker: Option<Waker>,
    /// To be called after the lock is released, because a waker may run any code.
    waker_to_call: Option<Waker>,
    /// The emitter is to end its wait, even if there is no output.
    emitter_called: bool,
}

struct LoopState {
    waker: Option<Arc<dyn Wake>>,
    /// It is to be woken when there are items for it.
    wants_items: bool,
    /// It has room for more items, or has not asked for any yet.
    has_room: bool,
    in_flight: usize,
    /// Since when it has left items to other loops; `None` after a pull of its own. It does so for
    /// [`YIELD_PAUSE`], however many turns that is.
    yields_since: Option<Duration>,
    /// The value of `offers` at its last exchange that nothing held back.
    offers_seen: u64,
    exhaustion: Exhaustion,
    /// The progress of all loops when this one last called [`Mill::can_free_resources`].
    progress_seen: u64,
    running: bool,
}

impl LoopState {
    /// Wakes it if it wants items.
    fn wake_for_items(&mut self) {
        if std::mem::take(&mut self.wants_items) {
            self.wake();
        }
    }

    /// Until when it leaves items to other loops.
    fn yields_until(&self) -> Option<Duration> {
        self.yields_since.map(|since| since + YIELD_PAUSE)
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}

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

    // For the source's thread.

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

    // For a loop.

    /// Registers the waker that ends the loop's waits.
    pub fn set_waker(&self, loop_index: usize, waker: Arc<dyn Wake>) {
        self.lock().loops[loop_index].waker = Some(waker);
    }

    /// Takes the results of a loop and pulls up to `ask.room` items for it. Before the loop waits, it has
    /// to call [`announce`](Mill::announce).
    ///
    /// A loop that got fewer items than it asked for is woken when there may be more.
    pub fn exchange(
        &self,
        loop_index: usize,
        finished: &mut Vec<Finished<V>>,
        ask: Ask,
        pulled: &mut Vec<BatchSlice>,
        now: Duration,
    ) -> Exchange {
        let mut state = self.lock();
        for done in finished.drain(..) {
            state.pulls_ended |= state.fail_fast && done.is_failure;
            state.window_bytes += done.bytes();
            state.window.finish(done.item.index(), done);
        }
        if state.window.is_filling_up() && state.window.head_is_ready() {
            self.notify_emitter(&mut state);
        }
        let asking = &mut state.loops[loop_index];
        asking.exhaustion = ask.exhaustion;
        asking.in_flight = ask.in_flight;
        asking.has_room = ask.room > 0;
        asking.wants_items = false;
        if state.stopped {
            return Exchange::nothing(Directive::Stop);
        }
        if state.pulls_ended {
            self.feed_has_room.notify_one();
            return Exchange::nothing(Directive::Finish);
        }
        let share = state.share_of(loop_index, ask.room, now);
        let step = state.step_of(loop_index, ask.room);
        let mut exchange = state.pull(ask.room, share.min(step), pulled, now);
        exchange.goes_on = exchange.pulled == step && step < share;
        if !pulled.is_empty() && state.feed.has_room() {
            self.feed_has_room.notify_one();
        }
        state.settle(loop_index, ask.room, &mut exchange, now);
        exchange
    }

    /// Wakes the emitter if there is output. While the loops are busy, it is woken only for much output:
    /// each time it wakes, it takes the processor from a loop.
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
        let to_retry: usize = state.loops.iter().map(|l| l.exhaustion.to_retry).sum();
        let progress = state.loops.iter().map(|l| l.exhaustion.progress).sum();
        let seen = std::mem::replace(&mut state.loops[loop_index].progress_seen, progress);
        // Writers that wait free their resources only after the item at the front has gone on.
        let stuck = if state.window.head_is_ready() {
            to_retry
        } else {
            to_retry + state.parts.blocked()
        };
        state.window.in_flight() > stuck as u64 || progress != seen
    }

    /// True if a loop could pull an item now; for checks that no loop is idle while there is work.
    #[must_use]
    pub fn could_pull(&self, now: Duration) -> bool {
        let state = self.lock();
        let goes_on = !state.stopped && !state.pulls_ended;
        goes_on && state.feed.has_items() && state.room() > 0 && state.allowance(now, 1) > 0
    }

    /// Records that a loop has ended and will hand over no more results.
    pub fn loop_ended(&self, loop_index: usize) {
        let mut state = self.lock();
        state.loops[loop_index].running = false;
        state.loops[loop_index].waker = None;
        self.notify_emitter(&mut state);
    }

    // For the emitter.

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

    fn notify_emitter(&self, state: &mut State<V>) {
        if std::mem::take(&mut state.emitter_waits) {
            self.head_ready.notify_one();
        }
        if let Some(waker) = state.output_waker.take() {
            state.waker_to_call = Some(waker);
        }
    }

    /// The state is consistent between any two calls, so a poisoned lock does no harm.
    fn lock(&self) -> Locked<'_, V> {
        Locked::new(lock(&self.state))
    }
}

/// The state while it is locked. When it is dropped, it releases the lock, then calls `waker_to_call`.
struct Locked<'a, V>(Option<MutexGuard<'a, State<V>>>);

impl<'a, V> Locked<'a, V> {
    fn new(guard: MutexGuard<'a, State<V>>) -> Self {
        Self(Some(guard))
    }

    /// The guard, for a wait on a condition variable, which releases the lock.
    fn into_guard(mut self) -> MutexGuard<'a, State<V>> {
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
        let waker = self
            .0
            .take()
            .and_then(|mut state| state.waker_to_call.take());
        if let Some(waker) = waker {
            waker.wake();
        }
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

impl Exchange {
    fn nothing(directive: Directive) -> Self {
        Self {
            directive,
            held_back: None,
            schedule: None,
            resume_at: None,
            pulled: 0,
            goes_on: false,
        }
    }
}

impl<V> State<V> {
    /// How many items the window allows to be pulled now.
    fn room(&self) -> usize {
        if self.is_full() {
            return 0;
        }
        self.window.room()
    }

    /// True if finished items take up all bytes of the window.
    fn is_full(&self) -> bool {
        self.window_bytes >= self.window_bytes_max
    }

    /// Pulls up to `share` items for a loop that has room for `room` of them.
    fn pull(
        &mut self,
        room: usize,
        share: usize,
        pulled: &mut Vec<BatchSlice>,
        now: Duration,
    ) -> Exchange {
        let window_room = self.room();
        let wanted = share.min(window_room);
        let allowed = self.allowance(now, wanted);
        let count = self.feed.pull(allowed, pulled);
        self.window.pull(count);
        let schedule = self.pace.as_mut().map(|pace| pace.start(count));
        let held_back = if count == room {
            None
        } else if count == window_room {
            Some(HeldBack::Window)
        } else if count < allowed || !self.feed.has_items() {
            Some(HeldBack::Input)
        } else if count < wanted {
            Some(HeldBack::Rate)
        } else {
            // It leaves the rest to other loops.
            None
        };
        let mut resume_at = None;
        if let Some(pace) = &mut self.pace {
            match held_back {
                Some(HeldBack::Input) => pace.wait_for_input(now),
                Some(HeldBack::Rate) => resume_at = Some(pace.next_due()),
                _ => {}
            }
        }
        let is_over = count == 0 && self.feed.is_exhausted();
        Exchange {
            directive: if is_over {
                Directive::Finish
            } else {
                Directive::Continue
            },
            held_back,
            schedule,
            resume_at,
            pulled: count,
            goes_on: false,
        }
    }

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

    /// How many items a loop with this much room pulls at a time.
    fn step_of(&self, loop_index: usize, room: usize) -> usize {
        match self.loops.len() {
            1 => room,
            _ => (self.loops[loop_index].in_flight + room).div_ceil(STEPS_PER_FILL),
        }
    }

    /// How many of `max` items a loop may pull while other loops have room, too. If there are few items,
    /// as many as give all loops the same number; if there are plenty, all, or none if it is far ahead of
    /// another loop. Without that, one loop would take all of a short list. It leaves items to the others
    /// only for [`YIELD_PAUSE`], because one of them may be blocked, and not if all of them have seen and
    /// left what there is.
    fn share_of(&self, loop_index: usize, max: usize, now: Duration) -> usize {
        let own = &self.loops[loop_index];
        let items = self.feed.items().min(self.room());
        let has_waited = own.yields_until().is_some_and(|until| until <= now);
        let with_room = || self.loops.iter().filter(|l| l.running && l.has_room);
        let least = || with_room().map(|l| l.in_flight).min().unwrap_or(0);
        let are_plenty = items >= 2 * max * self.loops.len();
        let is_ahead = || own.in_flight > least() + self.step_of(loop_index, max);
        if max == 0 || has_waited || (are_plenty && !is_ahead()) {
            return max;
        }
        let yields = own.yields_since.is_some();
        if yields && with_room().all(|l| l.offers_seen == self.offers) {
            return max;
        }
        if are_plenty {
            return 0;
        }
        let (count, in_flight) = with_room().fold((0, 0), |(count, in_flight), l| {
            (count + 1, in_flight + l.in_flight)
        });
        let level = (in_flight + items).div_ceil(count);
        max.min(level.saturating_sub(own.in_flight))
    }

    /// Decides when a loop that got fewer items than it has room for asks again.
    fn settle(&mut self, loop_index: usize, room: usize, exchange: &mut Exchange, now: Duration) {
        let pulled = exchange.pulled;
        let offers = self.offers;
        let own = &mut self.loops[loop_index];
        let is_left = exchange.held_back.is_none() && !exchange.goes_on;
        if is_left {
            own.offers_seen = offers;
        }
        own.in_flight += pulled;
        own.has_room = pulled < room;
        let leaves_items = own.has_room && is_left;
        let since = own.yields_since.filter(|_| pulled == 0).unwrap_or(now);
        // A loop that goes on pulling after its pause does not pause again.
        if !exchange.goes_on {
            own.yields_since = leaves_items.then_some(since);
        }
        if leaves_items {
            exchange.resume_at = own.yields_until();
        }
        let rate_decides = exchange.held_back == Some(HeldBack::Rate);
        own.wants_items =
            exchange.directive == Directive::Continue && own.has_room && !rate_decides;
        if self.feed.has_items() && (leaves_items || exchange.goes_on || !own.has_room) {
            self.wake_others(loop_index);
        }
    }

    /// How many items the rate allows to be started now.
    fn allowance(&self, now: Duration, max: usize) -> usize {
        let pace = self.pace.as_ref();
        pace.map_or(max, |pace| pace.allowance(now, max))
    }

    fn wake_for_items(&mut self) {
        self.loops.iter_mut().for_each(LoopState::wake_for_items);
    }

    fn wake_others(&mut self, loop_index: usize) {
        let others = self.loops.iter_mut().enumerate();
        others
            .filter(|(index, _)| *index != loop_index)
            .for_each(|(_, l)| l.wake_for_items());
    }

    /// True if no more results will come: nothing more is pulled, and either nothing is in flight or the
    /// loops have ended.
    fn has_ended(&self) -> bool {
        let no_more_pulls = self.stopped || self.pulls_ended || self.feed.is_exhausted();
        no_more_pulls && (self.window.in_flight() == 0 || self.loops.iter().all(|l| !l.running))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(mill: &Mill<()>, loop_index: usize, room: usize, now: Duration) -> Exchange {
        let ask = Ask {
            room,
            ..Ask::default()
        };
        mill.exchange(loop_index, &mut Vec::new(), ask, &mut Vec::new(), now)
    }

    /// Time without input does not add to what the rate allows.
    #[test]
    fn a_list_that_stalls_does_not_catch_up_with_the_rate() {
        let second = Duration::from_secs(1);
        let mill = Mill::new(Order::Input, 100, 1, false).paced(Some(Pace::new(1.0)));
        mill.add(Batch::from_iter(["a"]), second);
        let got = exchange(&mill, 0, 10, second);
        assert_eq!((got.pulled, got.held_back), (1, Some(HeldBack::Input)));
        mill.add(Batch::from_iter(["b"; 10]), 20 * second);
        assert_eq!(exchange(&mill, 0, 10, 20 * second).pulled, 1);
    }

    #[test]
    fn a_full_window_is_reported_and_nothing_is_left_to_others() {
        let mill = Mill::new(Order::Input, 3, 2, false);
        mill.add(Batch::from_iter(["a"; 10]), Duration::ZERO);
        let first = exchange(&mill, 0, 10, Duration::ZERO);
        assert_eq!(first.pulled, 2);
        assert_eq!(first.resume_at, Some(YIELD_PAUSE));
        let second = exchange(&mill, 1, 10, Duration::ZERO);
        assert_eq!(
            (second.pulled, second.held_back),
            (1, Some(HeldBack::Window))
        );
        let third = exchange(&mill, 0, 8, Duration::ZERO);
        assert_eq!(
            (third.held_back, third.resume_at),
            (Some(HeldBack::Window), None)
        );
    }
}
