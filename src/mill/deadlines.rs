//! The items' deadlines.

use std::collections::VecDeque;
use std::time::Duration;

/// When which item's time is up. All items have the same time from their start, so the deadlines
/// come in the order in which they are set.
#[derive(Debug)]
pub struct Deadlines {
    timeout: Option<Duration>,
    /// When, in which slot, and the index of the item it was set for.
    queue: VecDeque<(Duration, u32, u64)>,
}

impl Deadlines {
    /// Deadlines so long after the start, or none.
    #[must_use]
    pub fn new(timeout: Option<Duration>) -> Self {
        Self {
            timeout,
            queue: VecDeque::new(),
        }
    }

    /// An item starts. `slots` is how many there are, and `is_in(slot, index)` tells whether the
    /// item is still in its slot: deadlines that were met are forgotten now and then, so that
    /// their list stays in proportion to the slots.
    pub fn set(
        &mut self,
        slot: u32,
        index: u64,
        now: Duration,
        slots: usize,
        is_in: impl Fn(u32, u64) -> bool,
    ) {
        let Some(timeout) = self.timeout else { return };
        if self.queue.len() > 2 * slots + 16 {
            self.queue.retain(|&(_, slot, index)| is_in(slot, index));
        }
        self.queue.push_back((now + timeout, slot, index));
    }

    /// When to look again.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.queue.front().map(|&(at, ..)| at)
    }

    /// The next slot whose time is up, and the item it was set for, which may have left it.
    pub fn pop_due(&mut self, now: Duration) -> Option<(u32, u64)> {
        let &(at, slot, index) = self.queue.front()?;
        (at <= now).then(|| {
            self.queue.pop_front();
            (slot, index)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn they_come_in_order() {
        let mut deadlines = Deadlines::new(Some(5 * S));
        deadlines.set(0, 10, S, 2, |_, _| true);
        deadlines.set(1, 11, 2 * S, 2, |_, _| true);
        assert_eq!(deadlines.next(), Some(6 * S));
        assert_eq!(deadlines.pop_due(5 * S), None);
        assert_eq!(deadlines.pop_due(7 * S), Some((0, 10)));
        assert_eq!(deadlines.pop_due(7 * S), Some((1, 11)));
        assert_eq!(deadlines.pop_due(7 * S), None);
    }

    #[test]
    fn those_that_were_met_take_no_room() {
        let mut deadlines = Deadlines::new(Some(3600 * S));
        for index in 0..10_000 {
            deadlines.set(0, index, S, 1, |_, old| old + 1 == index);
        }
        assert!(deadlines.queue.len() <= 20);
    }

    #[test]
    fn without_a_time_out_there_are_none() {
        let mut deadlines = Deadlines::new(None);
        deadlines.set(0, 0, S, 1, |_, _| true);
        assert_eq!(deadlines.next(), None);
    }
}
