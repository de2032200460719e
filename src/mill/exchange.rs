//! What the loops do with the mill: they hand over results and pull items, each its share.

use super::pace::Schedule;
use super::state::{Finished, LoopState, Mill, State};
use crate::io::{Exhaustion, Wake};
use crate::item::BatchSlice;
use std::sync::Arc;
use std::time::Duration;

/// How long a loop leaves items to other loops that have room for them, before it pulls them itself.
const YIELD_PAUSE: Duration = Duration::from_millis(1);

/// Where there are several loops, each fills its places in at least this many steps, and leaves items to
/// loops that are more than a step behind. Otherwise the loop that gets the first of a series of slow
/// items pulls all of them, since it takes no time to start them, and the other loops do all the rest.
const STEPS_PER_FILL: usize = 8;

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

impl<V> Mill<V> {
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
}

impl LoopState {
    /// Until when it leaves items to other loops.
    fn yields_until(&self) -> Option<Duration> {
        self.yields_since.map(|since| since + YIELD_PAUSE)
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

    fn wake_others(&mut self, loop_index: usize) {
        let others = self.loops.iter_mut().enumerate();
        others
            .filter(|(index, _)| *index != loop_index)
            .for_each(|(_, l)| l.wake_for_items());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Batch;
    use crate::mill::{Order, Pace};

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
