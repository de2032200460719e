//! Timers by key.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// A set of timers, at most one for each key. Keys are small numbers, such as slots.
#[derive(Debug, Default)]
pub struct Timers {
    due: Vec<Option<Duration>>,
    running: usize,
    /// Timers that were set for a time no earlier than the last entry, as most are: they need no
    /// sorting. An entry here or in `others` is stale if its timer has been set again or cancelled
    /// since.
    in_order: VecDeque<(Duration, u32)>,
    others: BinaryHeap<Reverse<(Duration, u32)>>,
}

impl Timers {
    /// Sets the timer of this key, replacing the one it had.
    pub fn set(&mut self, key: u32, at: Duration) {
        let index = key as usize;
        if self.due.len() <= index {
            self.due.resize(index + 1, None);
        }
        if self.due[index] == Some(at) {
            return;
        }
        self.running += usize::from(self.due[index].is_none());
        self.due[index] = Some(at);
        if self.in_order.len() + self.others.len() > 2 * self.running + 16 {
            // Stale entries must not grow with the number of timers ever set.
            let due = &self.due;
            let is_running = |at, key| due[key as usize] == Some(at);
            self.in_order.retain(|&(at, key)| is_running(at, key));
            self.others
                .retain(|&Reverse((at, key))| is_running(at, key));
        }
        match self.in_order.back() {
            Some(&(last, _)) if at < last => self.others.push(Reverse((at, key))),
            _ => self.in_order.push_back((at, key)),
        }
    }

    /// Stops the timer of this key, if it has one.
    pub fn cancel(&mut self, key: u32) {
        let had = self.due.get_mut(key as usize).and_then(Option::take);
        self.running -= usize::from(had.is_some());
    }

    /// When the first of them is due.
    #[must_use]
    pub fn next_due(&mut self) -> Option<Duration> {
        self.first().map(|(at, _)| at)
    }

    /// Stops the first timer that is due, and returns its key.
    pub fn pop_due(&mut self, now: Duration) -> Option<u32> {
        let (_, key) = self.first().filter(|(at, _)| *at <= now)?;
        // Its entry in the queue is now stale.
        self.cancel(key);
        Some(key)
    }

    /// The first timer. Removes the stale entries before it.
    fn first(&mut self) -> Option<(Duration, u32)> {
        let due = &self.due;
        let is_stale = |(at, key): (Duration, u32)| due[key as usize] != Some(at);
        while self.in_order.front().is_some_and(|&timer| is_stale(timer)) {
            self.in_order.pop_front();
        }
        while (self.others.peek()).is_some_and(|&Reverse(timer)| is_stale(timer)) {
            self.others.pop();
        }
        let first = self.in_order.front().copied();
        let other = self.others.peek().map(|&Reverse(timer)| timer);
        match (first, other) {
            (Some(first), Some(other)) => Some(first.min(other)),
            (first, other) => first.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn kept(timers: &Timers) -> usize {
        timers.in_order.len() + timers.others.len()
    }

    #[test]
    fn timers_are_due_in_order() {
        let mut timers = Timers::default();
        assert_eq!(timers.next_due(), None);
        timers.set(0, ms(6));
        timers.set(1, ms(7));
        assert_eq!(timers.next_due(), Some(ms(6)));
        assert_eq!(timers.pop_due(ms(5)), None);
        assert_eq!(timers.pop_due(ms(7)), Some(0));
        assert_eq!(timers.pop_due(ms(7)), Some(1));
        assert_eq!(timers.pop_due(ms(7)), None);
    }

    #[test]
    fn cancelled_timers_take_no_room() {
        let mut timers = Timers::default();
        for at in 0..10_000 {
            timers.set(0, ms(3_600_000 + at));
            timers.cancel(0);
        }
        assert!(kept(&timers) <= 20, "{}", kept(&timers));
    }

    #[test]
    fn stale_entries_do_not_pile_up() {
        let mut timers = Timers::default();
        for at in 0..10_000 {
            timers.set((at % 4) as u32, ms(at));
        }
        assert!(kept(&timers) < 50, "{}", kept(&timers));
    }

    proptest! {
        /// Each key's last timer fires once, in the order of time.
        #[test]
        fn as_a_sorted_map_would(
            steps in proptest::collection::vec((0_u32..8, 0_u64..40, 0_u8..6), 0..200)
        ) {
            let (mut timers, mut model, mut now) = (Timers::default(), BTreeMap::new(), 0);
            for (key, delay, choice) in steps {
                match choice {
                    0 => {
                        timers.cancel(key);
                        model.remove(&key);
                    }
                    1 => {
                        now += delay;
                        while let Some(key) = timers.pop_due(ms(now)) {
                            let at = model.remove(&key);
                            prop_assert!(at.is_some_and(|at| at <= now));
                            prop_assert!(model.values().all(|&other| at <= Some(other)));
                        }
                        prop_assert!(model.values().all(|&at| at > now));
                    }
                    _ => {
                        timers.set(key, ms(now + delay));
                        model.insert(key, now + delay);
                    }
                }
                prop_assert_eq!(timers.next_due(), model.values().min().map(|&at| ms(at)));
            }
        }
    }
}
