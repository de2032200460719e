//! Whether refusals (SERVFAIL, REFUSED) are due to the names or to the load.

use std::time::Duration;

/// This many names must have been asked again before anything is concluded.
const KNOWN_MIN: f64 = 32.0;

/// If at least this share of them is refused again, refusals are due to the names.
const REFUSED_AGAIN: f64 = 0.98;

/// With each name that is asked, the weight of earlier ones is multiplied by this: the load changes
/// quickly.
const WEIGHT: f64 = 0.98;

/// The same for names that are asked again: their reasons for refusal do not change.
const WEIGHT_AGAIN: f64 = 0.999;

/// If more than this share of names is refused at the first attempt, the load may be the cause after all:
/// refusals are then not limited to certain names.
const REFUSED_MAX: f64 = 0.3;

/// The back-off before a name that every server has refused is asked again: the first time, the second
/// time, and, as it then doubles each time, the maximum.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(1600);

/// The outcomes of names that were asked for the first time, and of names that were refused and asked
/// again.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    first: Share,
    again: Share,
    /// Any name has been answered so far.
    is_any_answered: bool,
}

/// The share of names that were refused.
#[derive(Debug, Default)]
struct Share {
    asked: f64,
    refused: f64,
}

impl Refusals {
    /// A name was answered or refused; perhaps it had been refused before.
    pub(super) fn replied(&mut self, was_refused_before: bool, is_refused: bool) {
        self.is_any_answered |= !is_refused;
        match was_refused_before {
            true => self.again.add(is_refused, WEIGHT_AGAIN),
            false => self.first.add(is_refused, WEIGHT),
        }
    }

    /// True if it is not known yet whether the load is the cause.
    pub(super) fn are_unexplained(&self) -> bool {
        self.again.asked < KNOWN_MIN && self.first.refused <= REFUSED_MAX * self.first.asked
    }

    /// True if a name that was refused is practically certain to be refused again.
    pub(super) fn are_due_to_names(&self) -> bool {
        self.again.asked >= KNOWN_MIN
            && self.again.refused >= REFUSED_AGAIN * self.again.asked
            && self.first.refused <= REFUSED_MAX * self.first.asked
    }

    /// True if the load is hardly the cause, as no name was ever answered: an overloaded server answers
    /// some names.
    pub(super) fn are_due_to_servers(&self) -> bool {
        self.again.asked >= KNOWN_MIN && !self.is_any_answered
    }

    /// The back-off of a name that was refused `refusals` times, at least once, by a server with this
    /// round-trip time. It lets the server do what it had to do then: a refusal by a server that has done
    /// nothing meanwhile says nothing new. If the load is not the cause, nothing is gained by waiting longer.
    pub(super) fn pause(&self, refusals: u32, round_trip: Duration) -> Duration {
        if self.are_due_to_names() {
            return PAUSE_FIRST;
        }
        let least = 2 * round_trip;
        let pause = match refusals.checked_sub(2) {
            None => PAUSE_FIRST.max(least),
            Some(before) => PAUSE
                .max(least)
                .saturating_mul(2_u32.saturating_pow(before)),
        };
        pause.min(PAUSE_MAX)
    }
}

impl Share {
    fn add(&mut self, is_refused: bool, weight: f64) {
        self.asked = self.asked * weight + 1.0;
        self.refused = self.refused * weight + f64::from(u8::from(is_refused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_overloaded_answers_some_the_second_time() {
        let mut refusals = Refusals::default();
        (0..30).for_each(|_| refusals.replied(true, true));
        assert!(!refusals.are_due_to_names());
        (0..200).for_each(|_| refusals.replied(true, true));
        assert!(refusals.are_due_to_names());
        (0..60).for_each(|_| refusals.replied(false, true));
        assert!(!refusals.are_due_to_names());
        (0..200).for_each(|_| refusals.replied(false, false));
        assert!(refusals.are_due_to_names());
        assert_eq!(refusals.pause(5, Duration::from_secs(1)), PAUSE_FIRST);
        (0..40).for_each(|at| refusals.replied(true, at % 2 == 0));
        assert!(!refusals.are_due_to_names());
    }

    #[test]
    fn pauses_suit_the_server() {
        let refusals = Refusals::default();
        let pauses = |round_trip_ms| {
            let round_trip = Duration::from_millis(round_trip_ms);
            [1, 2, 3, 9].map(|count| refusals.pause(count, round_trip).as_millis())
        };
        assert_eq!(pauses(1), [10, 50, 100, 1600]);
        assert_eq!(pauses(100), [200, 200, 400, 1600]);
        assert_eq!(pauses(5000), [1600; 4]);
    }
}
