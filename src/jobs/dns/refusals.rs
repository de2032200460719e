//! Whether refusals (SERVFAIL, REFUSED) are due to the names or to the load.

use std::time::Duration;

/// This many names must have been asked again before anything is concluded.
const KNOWN_MIN: f64 = 32.0;

/// If at least this share of them is refused again, refusals are due to the names.
const REFUSED_AGAIN: f64 = 0.98;

/// They must have been refused again on this many occasions. Names that were refused at the same moment are
/// asked again at the same moment, and a server that is overloaded just then refuses them all.
const OCCASIONS_MIN: u32 = 8;

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
    occasions: Occasions,
}

/// How often names were refused again with answers in between.
#[derive(Debug, Default)]
struct Occasions {
    count: u32,
    /// When the last one was.
    last_at: Duration,
    /// When the query was sent that was sent last of all answered ones, if any name has been answered so far.
    answered_sent_at: Option<Duration>,
}

/// The share of names that were refused.
#[derive(Debug, Default)]
struct Share {
    asked: f64,
    refused: f64,
}

impl Refusals {
    /// A name that was asked at this time was answered or refused; perhaps it had been refused before.
    pub(super) fn replied(
        &mut self,
        was_refused_before: bool,
        is_refused: bool,
        sent_at: Duration,
        now: Duration,
    ) {
        match was_refused_before {
            true => self.again.add(is_refused, WEIGHT_AGAIN),
            false => self.first.add(is_refused, WEIGHT),
        }
        if !is_refused {
            self.occasions.answered(sent_at);
        } else if was_refused_before {
            self.occasions.refused_again(sent_at, now);
        }
        if !self.are_refused_again() {
            self.occasions.count = 0;
        }
    }

    /// True if it is not known yet whether the load is the cause.
    pub(super) fn are_unexplained(&self) -> bool {
        let is_known = self.again.asked >= KNOWN_MIN
            && (self.occasions.count >= OCCASIONS_MIN || !self.are_refused_again());
        !is_known && self.are_limited_to_some()
    }

    /// True if a name that was refused is practically certain to be refused again.
    pub(super) fn are_due_to_names(&self) -> bool {
        self.again.asked >= KNOWN_MIN
            && self.occasions.count >= OCCASIONS_MIN
            && self.are_refused_again()
            && self.are_limited_to_some()
    }

    fn are_refused_again(&self) -> bool {
        self.again.refused >= REFUSED_AGAIN * self.again.asked
    }

    fn are_limited_to_some(&self) -> bool {
        self.first.refused <= REFUSED_MAX * self.first.asked
    }

    /// True if the load is hardly the cause, as no name was ever answered: an overloaded server answers
    /// some names.
    pub(super) fn are_due_to_servers(&self) -> bool {
        self.again.asked >= KNOWN_MIN && self.occasions.answered_sent_at.is_none()
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

impl Occasions {
    fn answered(&mut self, sent_at: Duration) {
        self.answered_sent_at = self.answered_sent_at.max(Some(sent_at));
    }

    /// This is another occasion if this name and one that was answered were asked after the last one.
    fn refused_again(&mut self, sent_at: Duration, now: Duration) {
        if self.answered_sent_at.min(Some(sent_at)) > Some(self.last_at) {
            self.count += 1;
            self.last_at = now;
        }
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

    /// A resolver, one millisecond after another. A reply takes half of one.
    #[derive(Default)]
    struct Replies {
        refusals: Refusals,
        now: Duration,
    }

    impl Replies {
        /// The replies to so many names that are asked at this moment.
        fn at_once(&mut self, count: usize, was_refused_before: bool, is_refused: bool) {
            self.now += Duration::from_millis(1);
            let received_at = self.now + Duration::from_micros(500);
            for _ in 0..count {
                self.refusals
                    .replied(was_refused_before, is_refused, self.now, received_at);
            }
        }

        /// As many moments with a name that is answered and one that was refused before.
        fn one_by_one(&mut self, count: usize, is_refused: bool) {
            for _ in 0..count {
                self.at_once(1, false, false);
                self.at_once(1, true, is_refused);
            }
        }
    }

    #[test]
    fn a_server_that_is_overloaded_answers_some_the_second_time() {
        let mut replies = Replies::default();
        replies.one_by_one(30, true);
        assert!(replies.refusals.are_unexplained());
        assert!(!replies.refusals.are_due_to_names());
        replies.one_by_one(200, true);
        assert!(!replies.refusals.are_unexplained());
        assert!(replies.refusals.are_due_to_names());
        replies.at_once(60, false, true);
        assert!(!replies.refusals.are_due_to_names());
        replies.at_once(200, false, false);
        assert!(replies.refusals.are_due_to_names());
        let pause = replies.refusals.pause(5, Duration::from_secs(1));
        assert_eq!(pause, PAUSE_FIRST);
        replies.one_by_one(40, false);
        assert!(!replies.refusals.are_unexplained());
        assert!(!replies.refusals.are_due_to_names());
    }

    /// All of them at a few moments, each of which may be one at which the server is overloaded.
    #[test]
    fn names_refused_together_are_no_evidence_of_each_other() {
        let mut replies = Replies::default();
        for _ in 0..OCCASIONS_MIN - 1 {
            replies.at_once(200, false, false);
            (0..3).for_each(|_| replies.at_once(40, true, true));
            assert!(replies.refusals.are_unexplained());
            assert!(!replies.refusals.are_due_to_names());
        }
        replies.at_once(1, false, false);
        replies.at_once(1, true, true);
        assert!(replies.refusals.are_due_to_names());
        // What was concluded turns out to be wrong: it needs as many occasions again.
        replies.at_once(15, true, false);
        replies.at_once(500, true, true);
        assert!(!replies.refusals.are_due_to_names());
        replies.one_by_one(OCCASIONS_MIN as usize, true);
        assert!(replies.refusals.are_due_to_names());
    }

    /// The answers to queries that were sent earlier say nothing about the server at this moment.
    #[test]
    fn answers_to_earlier_queries_do_not_separate_occasions() {
        let mut replies = Replies::default();
        let earlier = replies.now;
        for _ in 0..100 {
            replies.at_once(1, true, true);
            replies.refusals.replied(false, false, earlier, replies.now);
        }
        assert!(replies.refusals.are_unexplained());
        assert!(!replies.refusals.are_due_to_names());
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
