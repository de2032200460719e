//! The mill: what the source, the loops and the emitter share. Pure state behind one lock; it does
//! no input or output and has no clock.

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
use crate::source::InputError;
use parts::Parts;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// Bytes of parts that may wait for earlier items, if nothing else was said.
pub const PART_BYTES_DEFAULT: usize = 64 * 1024 * 1024;

/// How long a loop leaves items to other loops that have room for them.
const YIELD_PAUSE: Duration = Duration::from_millis(1);

/// One of several loops fills its places in so many steps, at least, and leaves items to those that are
/// more than a step behind. Otherwise, of slow items that follow each other, the loop that happens to get
/// the first takes all, for starting them takes it no time, and the others do all the rest.
const STEPS_PER_FILL: usize = 8;

/// An item with its result.
#[derive(Debug)]
pub struct Finished<V> {
    /// The item.
    pub item: Item,
    /// When its first operation was submitted. Both times are exact only if latencies are recorded or
    /// items have a deadline; otherwise they are those of the turns of the loop.
    pub started_at_ns: u64,
    /// When its last operation had completed.
    pub finished_at_ns: u64,
    /// Its value, or why it has none.
    pub result: Result<V, ItemError>,
    /// It has no value, or one that the job calls a failure.
    pub is_failure: bool,
    /// Bytes that its value holds in other places than here.
    pub bytes_held: u32,
}

impl<V> Finished<V> {
    /// What it takes to keep it, in bytes.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes_held as usize
    }

    /// From the item's first submission to its last completion.
    #[must_use]
    pub fn latency_ns(&self) -> u64 {
        self.finished_at_ns.saturating_sub(self.started_at_ns)
    }
}

/// What a loop asks of the mill.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// Items it could start now.
    pub room: usize,
    /// Items it has.
    pub in_flight: usize,
    /// What it lacks.
    pub exhaustion: Exhaustion,
}

/// What came of a loop's exchange with the mill.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// What it is to do next.
    pub directive: Directive,
    /// Why it did not get all it had room for.
    pub held_back: Option<HeldBack>,
    /// When the items it got were due, in their order, if the run has a rate.
    pub schedule: Option<Schedule>,
    /// When it may get more, if the rate is what held it back, or other loops.
    pub resume_at: Option<Duration>,
    /// How many items it got.
    pub pulled: usize,
    /// It may get more as soon as it has started these.
    pub goes_on: bool,
}

/// What keeps fewer items in flight than there could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// There is no input, now or any more.
    Input,
    /// Too many results wait for an earlier one, or for the consumer.
    Window,
    /// The rate has been reached.
    Rate,
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
    /// What the finished items take that were not taken for output, and what they may take before no more
    /// are pulled.
    window_bytes: usize,
    window_bytes_max: usize,
    parts: Parts,
    /// In completion order: results that finished while the parts of another item were leaving.
    delayed: VecDeque<Finished<V>>,
    feed: Feed,
    loops: Vec<LoopState>,
    stopped: bool,
    /// No more is pulled, but what is in flight goes on.
    pulls_ended: bool,
    fail_fast: bool,
    pace: Option<Pace>,
    /// How often there came to be more that could be pulled.
    offers: u64,
    emitter_waits: bool,
    /// Called once when there may be something for the emitter, or it is called.
    output_waker: Option<Waker>,
    /// To be called when the lock is given up: it may do anything.
    waker_to_call: Option<Waker>,
    /// The emitter is to look up from its wait, even if there is nothing for it.
    emitter_called: bool,
}

struct LoopState {
    waker: Option<Arc<dyn Wake>>,
    /// It is to be woken when there are items for it.
    hungry: bool,
    /// It has room for more items than it has, or has not asked yet.
    has_room: bool,
    in_flight: usize,
    /// Since when it has left items to others, after it last pulled some itself. It does so for a moment,
    /// however many turns it has.
    yields_since: Option<Duration>,
    /// Offers there had been when it last asked for items and nothing held them back.
    offers_seen: u64,
    exhaustion: Exhaustion,
    /// The progress of all loops when this one last asked what could free resources.
    progress_seen: u64,
    running: bool,
}

impl LoopState {
    /// Wakes it if it waits for items.
    fn feed(&mut self) {
        if std::mem::take(&mut self.hungry) {
            self.wake();
        }
    }

    /// When it need not leave items to others any more.
    fn yields_until(&self) -> Option<Duration> {
        self.yields_since.map(|since| since + YIELD_PAUSE)
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}

/// What the emitter has taken: results, and parts of results. A part leaves before the result of its
/// item, and after all results before that one; those of an item whose result is not here, last.
#[derive(Debug)]
pub struct Output<V> {
    /// Results in their order.
    pub results: Vec<Finished<V>>,
    /// Parts in their order. Those of one item are neighbours.
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

/// What the emitter finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Results or parts were taken.
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

    /// The same mill, pulling no more while finished items that wait take so many bytes. Those in flight
    /// go on, the head among them, so that what is beyond the limit is bounded, too.
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

    /// Adds items once there is room for them; false if nobody wants them any more. `now` is when they
    /// were there.
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
        state.wake_hungry();
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
    /// A loop that was not given all it asked for is woken when there may be more.
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
        asking.hungry = false;
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
        let to_retry: usize = state.loops.iter().map(|l| l.exhaustion.to_retry).sum();
        let progress = state.loops.iter().map(|l| l.exhaustion.progress).sum();
        let seen = std::mem::replace(&mut state.loops[loop_index].progress_seen, progress);
        // The resources of those who wait to write come back only after the item at the front.
        let stuck = if state.window.head_is_ready() {
            to_retry
        } else {
            to_retry + state.parts.blocked()
        };
        state.window.in_flight() > stuck as u64 || progress != seen
    }

    /// True if a loop could pull an item now; for checking that no work is left lying.
    #[must_use]
    pub fn could_pull(&self, now: Duration) -> bool {
        let state = self.lock();
        let goes_on = !state.stopped && !state.pulls_ended;
        goes_on && state.feed.has_items() && state.room() > 0 && state.allowance(now, 1) > 0
    }

    /// Says that a loop has ended and will hand over nothing more.
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
            // The call is for the caller to look into.
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

    /// Calls this waker when there may be something for the emitter, once. What is there already is not
    /// told.
    pub fn set_output_waker(&self, waker: &Waker) {
        self.lock().output_waker = Some(waker.clone());
    }

    /// The same for a job whose results have no parts.
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

    /// Says that `count` results have been written out, and all parts that were taken.
    pub fn mark_emitted(&self, count: usize) {
        let mut state = self.lock();
        // Room for what there was none for is as good as new items.
        state.offers += u64::from(state.room() < state.feed.items());
        state.window.mark_emitted(count);
        state.parts.emitted();
        if state.feed.has_items() || state.feed.is_exhausted() {
            state.wake_hungry();
        }
        call_woken(state);
    }

    /// Drops the parts that will not be written out, because the run is over.
    pub fn release_parts(&self) {
        self.lock().parts.release();
    }

    /// True if there is anything for the emitter. It is woken for that, unless it has no thread of its
    /// own.
    #[must_use]
    pub fn has_output(&self) -> bool {
        let state = self.lock();
        state.window.head_is_ready() || state.parts.wants_emitter()
    }

    // For parts of results.

    /// An item was given up at its deadline: its parts that were not taken for output never will be.
    /// If it `lingers`, because a worker runs it still, it can write nothing until
    /// [`Mill::lingers_no_more`].
    pub fn give_up_parts(&self, index: u64, lingers: bool) {
        let mut state = self.lock();
        state.parts.give_up(index, lingers);
        call_woken(state);
    }

    /// A worker has ended an item that was given up.
    pub fn lingers_no_more(&self, index: u64) {
        self.lock().parts.lingers_no_more(index);
    }

    /// Bytes of parts that were handed over and not taken for output; for checking the budget.
    #[must_use]
    pub fn part_bytes_held(&self) -> usize {
        self.lock().parts.bytes()
    }

    /// Writers of parts that wait and were not woken.
    #[cfg(test)]
    pub(crate) fn writers_waiting(&self) -> usize {
        self.lock().parts.waiting()
    }

    /// Pulls nothing more and has the loops give up what is in flight.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.loops.iter().for_each(LoopState::wake);
        state.parts.stop();
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
        if let Some(waker) = state.output_waker.take() {
            state.waker_to_call = Some(waker);
        }
    }

    /// The state is consistent between any two calls, so a panic elsewhere does not spoil it.
    fn lock(&self) -> Locked<'_, V> {
        Locked::new(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The state while it is locked. Whoever is to be called is called when it is not locked any more.
struct Locked<'a, V>(Option<MutexGuard<'a, State<V>>>);

impl<'a, V> Locked<'a, V> {
    fn new(guard: MutexGuard<'a, State<V>>) -> Self {
        Self(Some(guard))
    }

    /// For a wait, in which it is not locked.
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

/// Calls the wakers of writers that may go on, without the lock.
fn call_woken<V>(mut state: Locked<'_, V>) {
    if state.parts.has_woken() {
        let woken = state.parts.take_woken();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl<V: Send> Wake for Mill<V> {
    /// Ends the present wait of the emitter, or else its next one, for it to look whether it is to stop.
    /// Where it has no thread of its own, it may be a loop that waits.
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
    /// How many items may be pulled now, as far as those matter that were pulled before.
    fn room(&self) -> usize {
        if self.is_full() {
            return 0;
        }
        self.window.room()
    }

    /// True if what waits takes all the bytes it may.
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
            // The rest is left to other loops.
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

    /// Takes what is to leave next. False if that is nothing.
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
        self.let_go_of(&into.results[before.0..]);
        before != (into.results.len(), into.parts.len())
    }

    /// Results were taken: what they took does not keep others from being pulled any more.
    fn let_go_of(&mut self, taken: &[Finished<V>]) {
        let was_full = self.is_full();
        self.window_bytes -= taken.iter().map(Finished::bytes).sum::<usize>();
        if was_full && !self.is_full() {
            self.offers += 1;
            self.wake_hungry();
        }
    }

    /// Takes the parts of the item at the front, up to `max`, and its result. False if no more is to
    /// be taken now.
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

    /// In completion order: brings an item to the front whose result is there, or else one that has
    /// to write before any other can.
    fn next_front(&mut self) -> Option<u64> {
        self.delay_results();
        let next = self.delayed.front().map(|next| next.item.index());
        next.map(|next| self.parts.set_front(next))
            .or_else(|| self.parts.elect_front())
    }

    /// Takes the result of the item at the front, if it is there: the first of those that are delayed,
    /// or one of those that have come since.
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

    /// How many items a loop with so much room pulls at a time.
    fn step_of(&self, loop_index: usize, room: usize) -> usize {
        match self.loops.len() {
            1 => room,
            _ => (self.loops[loop_index].in_flight + room).div_ceil(STEPS_PER_FILL),
        }
    }

    /// How many of `max` items a loop may pull while others have room, too: as many as leave all with
    /// the same number, or where there are plenty, none if it is far ahead of another. Without that, one
    /// loop would take all of a short list. It is only asked to wait for the others for a moment, for one
    /// of them may be blocked, and not for those that have left what there is.
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

    /// Decides when a loop that got less than it has room for is to come again.
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
        // One that goes on after it has waited does not wait again.
        if !exchange.goes_on {
            own.yields_since = leaves_items.then_some(since);
        }
        if leaves_items {
            exchange.resume_at = own.yields_until();
        }
        let rate_decides = exchange.held_back == Some(HeldBack::Rate);
        own.hungry = exchange.directive == Directive::Continue && own.has_room && !rate_decides;
        if self.feed.has_items() && (leaves_items || exchange.goes_on || !own.has_room) {
            self.wake_others(loop_index);
        }
    }

    /// How many items the rate allows to be started now.
    fn allowance(&self, now: Duration, max: usize) -> usize {
        let pace = self.pace.as_ref();
        pace.map_or(max, |pace| pace.allowance(now, max))
    }

    fn wake_hungry(&mut self) {
        self.loops.iter_mut().for_each(LoopState::feed);
    }

    fn wake_others(&mut self, loop_index: usize) {
        let others = self.loops.iter_mut().enumerate();
        others
            .filter(|(index, _)| *index != loop_index)
            .for_each(|(_, l)| l.feed());
    }

    /// True if no more results will come: everything is emitted, or the loops have ended.
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

    /// What there was no input for is not made up for.
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
    fn a_full_window_is_told_and_nothing_is_left_to_others() {
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
