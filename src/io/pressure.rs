//! What to do when the system lacks something: shrink, retry, and grow back.

use std::collections::VecDeque;
use std::time::Duration;

/// The first and the longest pause between two tries while nothing of ours can free anything.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_LONGEST: Duration = Duration::from_millis(100);

/// Tries after which a shortage becomes the item's result, if all that time nothing was in flight
/// that could have freed something. With the pauses above this is about two seconds.
const TRIES_MAX: u32 = 25;

/// Operations of items with open files that are tried before one of another item is: these may lack
/// something else, and what they hold may be what the others wait for.
const HOLDERS_IN_A_ROW: u32 = 3;

/// Operations that failed for a shortage and wait to be tried again, and how many items the
/// shortage leaves room for.
#[derive(Debug)]
pub struct Pressure<O> {
    /// Of items that have a file open: these are tried first, for their end frees what the others
    /// lack.
    holders: VecDeque<O>,
    others: VecDeque<O>,
    /// Of the former, so many were tried since one of the latter was.
    holders_in_a_row: u32,
    in_flight_max: usize,
    limit: usize,
    /// Items finished since the limit last moved.
    calm: usize,
    /// Tries since an item last finished: each makes the next pause longer.
    pauses: u32,
    /// Tries while nothing was in flight that could have freed something.
    tries: u32,
    retry_at: Option<Duration>,
    /// Operations that ended otherwise than for a shortage.
    progress: u64,
}

/// How much a loop suffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exhaustion {
    /// Items that wait for something to be freed. What else is in flight may free it.
    pub to_retry: usize,
    /// Operations so far that ended otherwise than for a shortage.
    pub progress: u64,
}

/// What is to be done with the operation whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Retry<O> {
    /// Submit it again.
    Submit(O),
    /// It was tried long enough: its error is its result.
    GiveUp(O),
}

impl<O> Pressure<O> {
    /// No shortage so far; at most `in_flight_max` items at any time.
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

    /// Operations that wait to be tried again.
    #[must_use]
    pub fn to_retry(&self) -> usize {
        self.holders.len() + self.others.len()
    }

    /// For the other loops to see.
    #[must_use]
    pub fn exhaustion(&self) -> Exhaustion {
        Exhaustion {
            to_retry: self.to_retry(),
            progress: self.progress,
        }
    }

    /// An operation failed for a shortage while `in_flight` items were under way. `holds_file` says
    /// whether its own item has a file open.
    pub fn shortage(&mut self, op: O, holds_file: bool, in_flight: usize, now: Duration) {
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

    /// An item finished: it may have freed what an operation needs that is to be tried again.
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

    /// An operation ended otherwise than for a shortage, so what is lacking comes and goes.
    pub fn progressed(&mut self) {
        self.progress += 1;
        self.tries = 0;
    }

    /// Something is to be tried again at this time even if nothing of ours finishes until then.
    #[must_use]
    pub fn retry_at(&self) -> Option<Duration> {
        self.retry_at
    }

    /// The operation to try again now, if its time has come. `can_free` says whether anything
    /// else is in flight, here or in another loop, that could free what is lacking.
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
            // The one tried now may be under way for ever; the others do not wait for its end.
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

    /// Takes out the operations of an item that has been given up.
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
    fn a_shortage_shrinks_and_calm_grows_back() {
        let mut pressure = Pressure::new(10);
        pressure.shortage('a', false, 8, MS);
        assert_eq!(pressure.limit(), 7);
        assert_eq!(pressure.item_finished(), Some('a'));
        for _ in 0..100 {
            assert_eq!(pressure.item_finished(), None);
        }
        assert_eq!(pressure.limit(), 10);
    }

    #[test]
    fn the_others_do_not_wait_for_the_one_tried_again() {
        let mut pressure = Pressure::new(4);
        pressure.shortage('a', false, 2, MS);
        pressure.shortage('b', false, 2, MS);
        assert_eq!(pressure.due(MS * 200, true), Some(Retry::Submit('a')));
        let at = pressure.retry_at().expect("b is still to be tried");
        assert_eq!(pressure.due(at, true), Some(Retry::Submit('b')));
        assert_eq!(pressure.retry_at(), None);
    }

    #[test]
    fn those_of_an_item_that_was_given_up_are_not_tried_and_the_others_are() {
        let mut pressure = Pressure::new(4);
        pressure.shortage('a', true, 2, MS);
        pressure.shortage('b', false, 2, MS);
        assert_eq!(pressure.remove(|op| *op == 'a'), ['a']);
        let at = pressure.retry_at().expect("b is still to be tried");
        assert!(pressure.remove(|op| *op == 'c').is_empty());
        assert_eq!(pressure.due(at, true), Some(Retry::Submit('b')));
        pressure.shortage('a', true, 1, at);
        pressure.remove(|op| *op == 'a');
        assert_eq!(pressure.retry_at(), None);
    }

    #[test]
    fn who_holds_a_file_is_tried_first() {
        let mut pressure = Pressure::new(4);
        pressure.shortage('a', false, 2, MS);
        pressure.shortage('b', true, 2, MS);
        assert_eq!(pressure.due(MS * 200, false), Some(Retry::Submit('b')));
        pressure.shortage('b', true, 2, MS * 200);
        assert_eq!(pressure.due(MS * 400, false), Some(Retry::Submit('b')));
        assert_eq!(pressure.item_finished(), Some('a'));
    }

    /// They may hold what the one with the file lacks: a buffer, a permit.
    #[test]
    fn who_holds_a_file_does_not_keep_the_others_from_being_tried() {
        let mut pressure = Pressure::new(4);
        pressure.shortage('a', false, 2, MS);
        pressure.shortage('b', true, 2, MS);
        let mut now = MS;
        for _ in 0..10 {
            now += PAUSE_LONGEST;
            match pressure.due(now, true) {
                Some(Retry::Submit('b')) => pressure.shortage('b', true, 2, now),
                other => return assert_eq!(other, Some(Retry::Submit('a'))),
            }
        }
        panic!("the other was never tried");
    }

    #[test]
    fn shortages_that_pass_are_not_counted_together() {
        let mut pressure = Pressure::new(4);
        let mut now = MS;
        for _ in 0..10 * TRIES_MAX {
            pressure.shortage('a', false, 1, now);
            now += PAUSE_LONGEST;
            assert_eq!(pressure.due(now, false), Some(Retry::Submit('a')));
            pressure.progressed();
        }
    }

    #[test]
    fn an_operation_is_given_up_only_when_nothing_could_free_anything() {
        let mut pressure = Pressure::new(4);
        let mut now = MS;
        pressure.shortage('a', false, 1, now);
        for _ in 0..1000 {
            now += PAUSE_LONGEST;
            assert_eq!(pressure.due(now, true), Some(Retry::Submit('a')));
            pressure.shortage('a', false, 1, now);
        }
        let mut tries = 0;
        loop {
            now += PAUSE_LONGEST;
            match pressure.due(now, false).unwrap() {
                Retry::Submit(op) => pressure.shortage(op, false, 1, now),
                Retry::GiveUp(op) => break assert_eq!(op, 'a'),
            }
            tries += 1;
        }
        assert_eq!(tries, TRIES_MAX);
        assert_eq!(pressure.retry_at(), None);
    }
}
