//! Permits for queries in flight at a server.

use std::collections::VecDeque;
use std::time::Duration;

/// A permit, identified by the number of the query that holds or held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PermitId(u64);

/// Permits in the order in which they were acquired. A permit that is not released in time expires:
/// whatever happened to the query, the server is no longer busy with it.
#[derive(Debug, Default)]
pub(super) struct Permits {
    /// Starts with the first query whose permit is still held.
    queries: VecDeque<Query>,
    /// The number of the first of these queries.
    first: u64,
    held: usize,
}

#[derive(Debug)]
struct Query {
    sent_at: Duration,
    /// Its outcome counts for the limit.
    is_sample: bool,
    is_held: bool,
}

impl Permits {
    /// How many are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Acquires a permit.
    pub(super) fn acquire(&mut self, is_sample: bool, now: Duration) -> PermitId {
        self.queries.push_back(Query {
            sent_at: now,
            is_sample,
            is_held: true,
        });
        self.held += 1;
        PermitId(self.first + self.queries.len() as u64 - 1)
    }

    /// The outcome of this query does not count for the limit.
    pub(super) fn exclude_from_sample(&mut self, permit: PermitId) {
        if let Some(query) = self.query(permit) {
            query.is_sample = false;
        }
    }

    fn query(&mut self, PermitId(number): PermitId) -> Option<&mut Query> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.queries.get_mut(at)
    }

    /// Releases a permit. False if it has expired before.
    pub(super) fn release(&mut self, permit: PermitId) -> bool {
        let Some(query) = self.query(permit) else {
            return false;
        };
        let was_held = std::mem::replace(&mut query.is_held, false);
        self.held -= usize::from(was_held);
        self.drop_released();
        was_held
    }

    /// Expires the first permit if it has been held for `permit_time`. Returns whether its query is a
    /// sample.
    pub(super) fn expire(&mut self, permit_time: Duration, now: Duration) -> Option<bool> {
        let query = self.queries.front()?;
        if query.sent_at + permit_time > now {
            return None;
        }
        let is_sample = query.is_sample;
        self.queries.pop_front();
        self.first += 1;
        self.held -= 1;
        self.drop_released();
        Some(is_sample)
    }

    /// When the first permit expires.
    pub(super) fn next_expiry(&self, permit_time: Duration) -> Option<Duration> {
        self.queries
            .front()
            .map(|query| query.sent_at + permit_time)
    }

    fn drop_released(&mut self) {
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
        /// A permit is held until it is released or expires, whichever comes first.
        #[test]
        fn permits_are_held_for_a_while(
            steps in proptest::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..300),
        ) {
            let permit_time = Duration::from_millis(10);
            let (mut permits, mut now) = (Permits::default(), Duration::ZERO);
            let mut held: Vec<(PermitId, Duration)> = Vec::new();
            let mut expired: Vec<PermitId> = Vec::new();
            for (choice, which) in steps {
                now += Duration::from_millis(1);
                match choice {
                    0 if !held.is_empty() => {
                        let (permit, _) = held.remove(which.index(held.len()));
                        prop_assert!(permits.release(permit));
                    }
                    1 if !expired.is_empty() => {
                        prop_assert!(!permits.release(expired[which.index(expired.len())]));
                    }
                    _ => held.push((permits.acquire(true, now), now)),
                }
                while permits.expire(permit_time, now).is_some() {}
                let (over, left) = held.into_iter().partition(|&(_, at)| at + permit_time <= now);
                let over: Vec<(PermitId, Duration)> = over;
                expired.extend(over.into_iter().map(|(permit, _)| permit));
                held = left;
                prop_assert_eq!(permits.held(), held.len());
                let first = held.first().map(|&(_, at)| at + permit_time);
                prop_assert_eq!(permits.next_expiry(permit_time), first);
            }
        }
    }
}
