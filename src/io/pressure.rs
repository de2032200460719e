//! The reaction to resource exhaustion: fewer items in flight, retries with back-off, then a slow
//! return to the normal limit.

use std::collections::VecDeque;
use std::time::Duration;

/// The first and the longest pause between two retries while no item finishes.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_LONGEST: Duration = Duration::from_millis(100);

/// Retries after which exhaustion becomes the item's result, if in all that time nothing was in
/// flight that could have freed something. With the pauses above this is about two seconds.
const TRIES_MAX: u32 = 25;

/// Retries of items with open files before one of another item has its turn: that item may hold
/// what they lack, such as a buffer or a permit.
const HOLDERS_IN_A_ROW: u32 = 3;

/// Operations that failed because a resource was exhausted and wait to be retried, and the limit on
/// items in flight that results from it.
#[derive(Debug)]
pub struct Pressure<O> {
    /// Operations of items that have a file open. They are retried first, because the end of these
    /// items frees what the others lack.
    holders: VecDeque<O>,
    others: VecDeque<O>,
    /// Retries from `holders` since the last one from `others`.
    holders_in_a_row: u32,
    in_flight_max: usize,
    limit: usize,
    /// Items finished since the limit last moved.
    calm: usize,
    /// Retries since an item last finished; each makes the next pause longer.
    pauses: u32,
    /// Retries while nothing was in flight that could have freed something.
    tries: u32,
    retry_at: Option<Duration>,
    /// Operations that ended with any other result than exhaustion.
    progress: u64,
}

/// The resource exhaustion of a loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exhaustion {
    /// Items that wait until a resource is freed. Other items in flight may free it.
    pub to_retry: usize,
    /// Operations so far that ended with any other result than exhaustion.
    pub progress: u64,
}

/// What to do with the operation whose retry is due.
#[derive(Debug, PartialEq, Eq)]
pub enum Retry<O> {
    /// Submit it again.
    Submit(O),
    /// Retry no more: its error is its result.
    GiveUp(O),
}

impl<O> Pressure<O> {
    /// No exhaustion so far; at most `in_flight_max` items in flight.
    #[must_use]
    pub fn new(in_flight_max: usize) -> Self {
        Self {
            holders: VecDeque::new(),
            others: VecDeque::new(),
            holders_in_a_row: 0,
            in_flight_max,
            limit: in_flight_max,
            calm: 0,
            pauses: 0,
            tries: 0,
            retry_at: None,
            progress: 0,
        }
    }

    /// How many items may be in flight now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Operations that wait to be retried.
    #[must_use]
    pub fn to_retry(&self) -> usize {
        self.holders.len() + self.others.len()
    }

    /// The exhaustion of this loop, for other loops to read.
    #[must_use]
    pub fn exhaustion(&self) -> Exhaustion {
        Exhaustion {
            to_retry: self.to_retry(),
            progress: self.progress,
        }
    }

    /// Adds an operation that failed because a resource was exhausted, while `in_flight` items were
    /// in flight. `holds_file` says whether its item has a file open.
    pub fn exhausted(&mut self, op: O, holds_file: bool, in_flight: usize, now: Duration) {
        if holds_file {
            self.holders.push_back(op);
        } else {
            self.others.push_back(op);
        }
        self.limit = in_flight
            .saturating_sub(self.to_retry())
            .clamp(1, self.in_flight_max);
        self.calm = 0;
        self.retry_at.get_or_insert(now + self.pause());
    }

    fn pause(&self) -> Duration {
        let pause = PAUSE_FIRST * 2_u32.saturating_pow(self.pauses.min(16));
        pause.min(PAUSE_LONGEST)
    }

    /// An item finished. It may have freed what a waiting operation needs: returns that, to be
    /// retried now.
    pub fn item_finished(&mut self) -> Option<O> {
        self.pauses = 0;
        self.tries = 0;
        self.calm += 1;
        if self.limit < self.in_flight_max && self.calm > self.limit {
            self.limit += 1;
            self.calm = 0;
        }
        self.pop()
    }

    /// An operation ended with any other result than exhaustion, so the resource is available at
    /// times.
    pub fn progressed(&mut self) {
        self.progress += 1;
        self.tries = 0;
    }

    /// When the next retry is due even if no item finishes until then.
    #[must_use]
    pub fn retry_at(&self) -> Option<Duration> {
        self.retry_at
    }

    /// The operation to retry now, if its time has come. `can_free` says whether anything else is
    /// in flight, here or in another loop, that could free the resource.
    pub fn due(&mut self, now: Duration, can_free: bool) -> Option<Retry<O>> {
        if self.retry_at.is_none_or(|at| now < at) {
            return None;
        }
        self.retry_at = None;
        self.pauses += 1;
        self.tries = if can_free { 0 } else { self.tries + 1 };
        let give_up = self.tries > TRIES_MAX;
        let op = self.pop_for_retry()?;
        if self.to_retry() > 0 {
            // The operation retried now may never complete; the others do not wait for it.
            self.retry_at = Some(now + self.pause());
        }
        Some(if give_up {
            Retry::GiveUp(op)
        } else {
            Retry::Submit(op)
        })
    }

    fn pop_for_retry(&mut self) -> Option<O> {
        if self.holders_in_a_row >= HOLDERS_IN_A_ROW || self.holders.is_empty() {
            self.holders_in_a_row = 0;
            let op = self.others.pop_front();
            return op.or_else(|| self.pop());
        }
        self.holders_in_a_row += 1;
        self.pop()
    }

    fn pop(&mut self) -> Option<O> {
        let op = self.holders.pop_front();
        let op = op.or_else(|| self.others.pop_front());
        if self.to_retry() == 0 {
            self.retry_at = None;
        }
        op
    }

    /// Removes the operations of an item that was given up.
    pub fn remove(&mut self, is_of_item: impl Fn(&O) -> bool) -> Vec<O> {
        let mut removed = Vec::new();
        for ops in [&mut self.holders, &mut self.others] {
            let all = std::mem::take(ops).into_iter();
            let (of_item, kept): (Vec<O>, Vec<O>) = all.partition(&is_of_item);
            removed.extend(of_item);
            *ops = kept.into();
        }
        if self.to_retry() == 0 {
            self.retry_at = None;
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn exhaustion_lowers_the_limit_and_finished_items_raise_it() {
        let mut pressure = Pressure::new(10);
        pressure.exhausted('a', false, 8, MS);
        assert_eq!(pressure.limit(), 7);
        assert_eq!(pressure.item_finished(), Some('a'));
        for _ in 0..100 {
            assert_eq!(pressure.item_finished(), None);
        }
        assert_eq!(pressure.limit(), 10);
    }

    #[test]
    fn other_operations_do_not_wait_for_the_retried_one() {
        let mut pressure = Pressure::new(4);
        pressure.exhausted('a', false, 2, MS);
        pressure.exhausted('b', false, 2, MS);
        assert_eq!(pressure.due(MS * 200, true), Some(Retry::Submit('a')));
        let at = pressure.retry_at().expect("b is still to be tried");
        assert_eq!(pressure.due(at, true), Some(Retry::Submit('b')));
        assert_eq!(pressure.retry_at(), None);
    }

    #[test]
    fn only_operations_of_an_item_that_was_given_up_are_not_retried() {
        let mut pressure = Pressure::new(4);
        pressure.exhausted('a', true, 2, MS);
        pressure.exhausted('b', false, 2, MS);
        assert_eq!(pressure.remove(|op| *op == 'a'), ['a']);
        let at = pressure.retry_at().expect("b is still to be tried");
        assert!(pressure.remove(|op| *op == 'c').is_empty());
        assert_eq!(pressure.due(at, true), Some(Retry::Submit('b')));
        pressure.exhausted('a', true, 1, at);
        pressure.remove(|op| *op == 'a');
        assert_eq!(pressure.retry_at(), None);
    }

    #[test]
    fn an_item_with_an_open_file_is_retried_first() {
        let mut pressure = Pressure::new(4);
        pressure.exhausted('a', false, 2, MS);
        pressure.exhausted('b', true, 2, MS);
        assert_eq!(pressure.due(MS * 200, false), Some(Retry::Submit('b')));
        pressure.exhausted('b', true, 2, MS * 200);
        assert_eq!(pressure.due(MS * 400, false), Some(Retry::Submit('b')));
        assert_eq!(pressure.item_finished(), Some('a'));
    }

    /// The other items may hold what the item with the file lacks: a buffer, a permit.
    #[test]
    fn an_item_with_an_open_file_does_not_block_the_others() {
        let mut pressure = Pressure::new(4);
        pressure.exhausted('a', false, 2, MS);
        pressure.exhausted('b', true, 2, MS);
        let mut now = MS;
        for _ in 0..10 {
            now += PAUSE_LONGEST;
            match pressure.due(now, true) {
                Some(Retry::Submit('b')) => pressure.exhausted('b', true, 2, now),
                other => return assert_eq!(other, Some(Retry::Submit('a'))),
            }
        }
        panic!("the other was never tried");
    }

    #[test]
    fn separate_exhaustions_are_not_counted_together() {
        let mut pressure = Pressure::new(4);
        let mut now = MS;
        for _ in 0..10 * TRIES_MAX {
            pressure.exhausted('a', false, 1, now);
            now += PAUSE_LONGEST;
            assert_eq!(pressure.due(now, false), Some(Retry::Submit('a')));
            pressure.progressed();
        }
    }

    #[test]
    fn an_operation_is_given_up_only_when_nothing_could_free_anything() {
        let mut pressure = Pressure::new(4);
        let mut now = MS;
        pressure.exhausted('a', false, 1, now);
        for _ in 0..1000 {
            now += PAUSE_LONGEST;
            assert_eq!(pressure.due(now, true), Some(Retry::Submit('a')));
            pressure.exhausted('a', false, 1, now);
        }
        let mut tries = 0;
        loop {
            now += PAUSE_LONGEST;
            match pressure.due(now, false).unwrap() {
                Retry::Submit(op) => pressure.exhausted(op, false, 1, now),
                Retry::GiveUp(op) => break assert_eq!(op, 'a'),
            }
            tries += 1;
        }
        assert_eq!(tries, TRIES_MAX);
        assert_eq!(pressure.retry_at(), None);
    }
}
