//! The ids of the queries on one socket.

use super::random::Random;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

/// Ids of a socket that may be taken or quarantined at one time: half of all. The other half keeps the
/// search for a free id short, and ids hard to guess.
pub(super) const IDS_MAX: usize = 1 << 15;

/// Which query each id of a socket stands for.
///
/// An id whose query was given up is quarantined before it is used again: its reply may still come, and
/// must not be taken for the reply to another query.
#[derive(Debug, Default)]
pub(super) struct Ids {
    taken: HashMap<u16, Holder, BuildHasherDefault<IdHasher>>,
    /// The quarantined ids, each with the end of its quarantine. All quarantines are equally long.
    quarantined: VecDeque<(Duration, u16)>,
}

/// What an id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// This query.
    Query(u32),
    /// A query that was given up: the id is quarantined.
    Quarantined,
}

/// Hashes ids. We choose the ids in the map at random, so that an attacker cannot cause collisions.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u16(byte.into()));
    }

    fn write_u16(&mut self, id: u16) {
        // By Fibonacci hashing: the constant is 2^64 over the golden ratio. The map uses both the high
        // and the low bits.
        let spread = (self.0 << 16 | u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ spread >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Ids {
    /// A free id for this query, chosen at random; `None` while too many are taken.
    pub(super) fn take(&mut self, query: u32, random: &mut Random, now: Duration) -> Option<u16> {
        while let Some(&(until, id)) = self.quarantined.front()
            && until <= now
        {
            self.quarantined.pop_front();
            self.taken.remove(&id);
        }
        if self.taken.len() >= IDS_MAX {
            return None;
        }
        loop {
            let id = random.next_u16();
            if let Entry::Vacant(vacant) = self.taken.entry(id) {
                vacant.insert(Holder::Query(query));
                return Some(id);
            }
        }
    }

    /// When the first of the quarantined ids is free again.
    pub(super) fn next_free(&self) -> Option<Duration> {
        self.quarantined.front().map(|&(until, _)| until)
    }

    /// What this id stands for; `None` if it is free.
    pub(super) fn holder(&self, id: u16) -> Option<Holder> {
        self.taken.get(&id).copied()
    }

    /// The queries in flight.
    pub(super) fn queries(&self) -> impl Iterator<Item = u32> {
        self.taken.values().filter_map(|holder| match holder {
            Holder::Query(query) => Some(*query),
            Holder::Quarantined => None,
        })
    }

    /// Frees the id of a query that has been answered.
    pub(super) fn free(&mut self, id: u16) {
        let held = self.taken.remove(&id);
        debug_assert!(matches!(held, Some(Holder::Query(_))));
    }

    /// Quarantines the id of a query that was given up. `until` never decreases from call to call.
    pub(super) fn quarantine(&mut self, id: u16, until: Duration) {
        let held = self.taken.insert(id, Holder::Quarantined);
        debug_assert!(matches!(held, Some(Holder::Query(_))));
        self.quarantined.push_back((until, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUARANTINE: Duration = Duration::from_secs(5);

    proptest! {
        /// No id stands for two queries, and no quarantined id is used before its quarantine has ended.
        #[test]
        fn ids_are_never_shared(
            seed in any::<u64>(),
            steps in proptest::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..400),
        ) {
            let mut ids = Ids::default();
            let mut random = Random::seeded(seed);
            let mut now = Duration::ZERO;
            let mut held: Vec<(u16, u32)> = Vec::new();
            let mut quarantined: Vec<(u16, Duration)> = Vec::new();
            for (query, (choice, which)) in (0_u32..).zip(steps) {
                now += Duration::from_millis(100);
                quarantined.retain(|&(_, until)| until > now);
                match choice {
                    0 if !held.is_empty() => {
                        let (id, _) = held.swap_remove(which.index(held.len()));
                        ids.free(id);
                    }
                    1 if !held.is_empty() => {
                        let (id, _) = held.swap_remove(which.index(held.len()));
                        ids.quarantine(id, now + QUARANTINE);
                        quarantined.push((id, now + QUARANTINE));
                    }
                    _ => {
                        let id = ids.take(query, &mut random, now).unwrap();
                        prop_assert!(held.iter().all(|&(other, _)| other != id));
                        prop_assert!(quarantined.iter().all(|&(other, _)| other != id));
                        held.push((id, query));
                    }
                }
                for &(id, query) in &held {
                    prop_assert_eq!(ids.holder(id), Some(Holder::Query(query)));
                }
                for &(id, _) in &quarantined {
                    prop_assert_eq!(ids.holder(id), Some(Holder::Quarantined));
                }
            }
        }
    }

    #[test]
    fn at_most_half_of_the_ids_are_taken() {
        let (mut ids, mut random) = (Ids::default(), Random::seeded(1));
        let mut take = |ids: &mut Ids, now| ids.take(7, &mut random, now);
        let all: Vec<u16> = (0..IDS_MAX)
            .map(|_| take(&mut ids, Duration::ZERO).unwrap())
            .collect();
        assert_eq!(take(&mut ids, Duration::ZERO), None);
        ids.quarantine(all[0], QUARANTINE);
        assert_eq!(take(&mut ids, Duration::ZERO), None);
        assert!(take(&mut ids, QUARANTINE).is_some());
        ids.free(all[1]);
        assert!(take(&mut ids, QUARANTINE).is_some());
    }
}
