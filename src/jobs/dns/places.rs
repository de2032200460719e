//! The queries that a server is taken to be busy with.

use std::collections::VecDeque;
use std::time::Duration;

/// A place at a server, by the number of the query that has or had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlaceId(u64);

/// Places in the order in which they were taken. One that is not given back in time is taken away:
/// whatever became of the query, the server is not busy with it any more.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Those before the first one that is still held have left.
    queries: VecDeque<Query>,
    /// The number of the first of these.
    first: u64,
    held: usize,
}

#[derive(Debug)]
struct Query {
    sent_at: Duration,
    /// What becomes of it tells something about the server.
    is_sample: bool,
    is_held: bool,
}

impl Places {
    /// How many are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes a place.
    pub(super) fn take(&mut self, is_sample: bool, now: Duration) -> PlaceId {
        self.queries.push_back(Query {
            sent_at: now,
            is_sample,
            is_held: true,
        });
        self.held += 1;
        PlaceId(self.first + self.queries.len() as u64 - 1)
    }

    /// What becomes of this query tells nothing about the server.
    pub(super) fn is_no_sample(&mut self, place: PlaceId) {
        if let Some(query) = self.query(place) {
            query.is_sample = false;
        }
    }

    fn query(&mut self, PlaceId(number): PlaceId) -> Option<&mut Query> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.queries.get_mut(at)
    }

    /// Gives a place back. False if it has been taken away before.
    pub(super) fn give_back(&mut self, place: PlaceId) -> bool {
        let Some(query) = self.query(place) else {
            return false;
        };
        let was_held = std::mem::replace(&mut query.is_held, false);
        self.held -= usize::from(was_held);
        self.drop_free();
        was_held
    }

    /// Takes away the first place if it has been held for so long. Tells whether it was a sample.
    pub(super) fn expire(&mut self, place_time: Duration, now: Duration) -> Option<bool> {
        let query = self.queries.front()?;
        if query.sent_at + place_time > now {
            return None;
        }
        let is_sample = query.is_sample;
        self.queries.pop_front();
        self.first += 1;
        self.held -= 1;
        self.drop_free();
        Some(is_sample)
    }

    /// When the first place will have been held for so long.
    pub(super) fn next_expiry(&self, place_time: Duration) -> Option<Duration> {
        self.queries.front().map(|query| query.sent_at + place_time)
    }

    fn drop_free(&mut self) {
        while self.queries.front().is_some_and(|query| !query.is_held) {
            self.queries.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A place is held until it is given back or its time has passed, whichever comes first.
        #[test]
        fn places_are_held_for_a_while(
            steps in proptest::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..300),
        ) {
            let place_time = Duration::from_millis(10);
            let (mut places, mut now) = (Places::default(), Duration::ZERO);
            let mut held: Vec<(PlaceId, Duration)> = Vec::new();
            let mut expired: Vec<PlaceId> = Vec::new();
            for (choice, which) in steps {
                now += Duration::from_millis(1);
                match choice {
                    0 if !held.is_empty() => {
                        let (place, _) = held.remove(which.index(held.len()));
                        prop_assert!(places.give_back(place));
                    }
                    1 if !expired.is_empty() => {
                        prop_assert!(!places.give_back(expired[which.index(expired.len())]));
                    }
                    _ => held.push((places.take(true, now), now)),
                }
                while places.expire(place_time, now).is_some() {}
                let (over, left) = held.into_iter().partition(|&(_, at)| at + place_time <= now);
                let over: Vec<(PlaceId, Duration)> = over;
                expired.extend(over.into_iter().map(|(place, _)| place));
                held = left;
                prop_assert_eq!(places.held(), held.len());
                let first = held.first().map(|&(_, at)| at + place_time);
                prop_assert_eq!(places.next_expiry(place_time), first);
            }
        }
    }
}
