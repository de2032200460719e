//! The quick way to count latencies.

use super::{LATENCY_NS_MAX, Latencies, Phase};

/// Latencies noted before they are counted: 64 KiB of them. The more there are, the more are counted
/// for each time that the counts have to be fetched into the caches.
const NOTES_MAX: usize = 16384;

/// Latencies counted before they are moved to histograms, so that no count overflows.
const COUNTED_MAX: usize = u32::MAX as usize / 2;

/// Binary digits to which latencies are told apart: what 3 decimal digits take.
const PRECISION_BITS: u32 = 11;
const HALF: usize = 1 << (PRECISION_BITS - 1);

/// Buckets of a phase.
const BUCKETS: usize = bucket_of(LATENCY_NS_MAX) + 1;

// The blocks of a phase have a bit each.
const _: () = assert!(BUCKETS <= 64 * HALF);

/// Counts latencies until they are wanted as histograms.
///
/// For a file in the cache even this matters: there are nine latencies in 5 µs. Counting them one by
/// one misses the caches almost each time, since what else is done for an item drives the histograms
/// out of them. So latencies are noted first, one after the other, and counted many at a time; and
/// they are counted in the buckets of the histograms, but in numbers of half the size, with nothing
/// else to keep up to date.
///
/// Phases are given by their places in the table for which the tally was made.
#[derive(Debug)]
pub(super) struct Tally {
    notes: Vec<Note>,
    counts: Counts,
    /// What is out of range, and what would have overflowed.
    rest: Latencies,
}

impl Tally {
    pub(super) fn new(phases: &'static [Phase]) -> Self {
        Self {
            notes: Vec::new(),
            counts: Counts {
                counts: Vec::new(),
                used: vec![0; phases.len()],
                counted: 0,
            },
            rest: Latencies::new(phases),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.counts.counted == 0 && self.rest.is_empty()
    }

    /// Counts a latency of the phase at this place.
    #[inline]
    pub(super) fn record(&mut self, place: usize, latency_ns: u64) {
        if latency_ns > LATENCY_NS_MAX {
            return self.record_out_of_range(place, latency_ns);
        }
        if self.notes.len() == NOTES_MAX {
            self.count_notes();
        }
        self.notes.push(Note::new(place, bucket_of(latency_ns)));
    }

    #[cold]
    fn record_out_of_range(&mut self, place: usize, latency_ns: u64) {
        self.rest.record_at(place, latency_ns, 1);
    }

    #[cold]
    fn count_notes(&mut self) {
        if self.counts.counted + self.notes.len() > COUNTED_MAX {
            self.counts.empty_into(&mut self.rest);
        }
        self.counts.add(&self.notes);
        self.notes.clear();
    }

    /// Moves everything to histograms.
    pub(super) fn empty_into(&mut self, latencies: &mut Latencies) {
        self.count_notes();
        self.counts.empty_into(latencies);
        latencies.add(&self.rest);
        self.rest.clear();
    }
}

/// How many latencies fell into each bucket.
#[derive(Debug)]
struct Counts {
    /// For each phase, in the order of the buckets; empty until something is counted. Pages into
    /// which no latency falls are never touched.
    counts: Vec<u32>,
    /// For each phase, which of its blocks of [`HALF`] buckets have one that is not empty.
    used: Vec<u64>,
    counted: usize,
}

impl Counts {
    fn add(&mut self, notes: &[Note]) {
        if self.counts.is_empty() {
            self.counts = vec![0; self.used.len() * BUCKETS];
        }
        self.counted += notes.len();
        for note in notes {
            let (place, bucket) = (note.place(), note.bucket());
            self.counts[place * BUCKETS + bucket] += 1;
            self.used[place] |= 1 << (bucket / HALF);
        }
    }

    fn empty_into(&mut self, latencies: &mut Latencies) {
        if self.counted == 0 {
            return;
        }
        self.counted = 0;
        let phases = self.used.iter_mut().zip(self.counts.chunks_mut(BUCKETS));
        for (place, (used, counts)) in phases.enumerate() {
            let used = std::mem::take(used);
            let blocks = counts.chunks_mut(HALF).zip(0..);
            for (counts, block) in blocks.filter(|(_, block)| used & (1 << block) != 0) {
                for (count, at) in counts.iter_mut().zip(0..).filter(|(count, _)| **count > 0) {
                    let latency_ns = start_of(block * HALF + at);
                    latencies.record_at(place, latency_ns, u64::from(*count));
                    *count = 0;
                }
            }
        }
    }
}

/// The place of a latency in the layout of HDR histograms: up to 2^11 each number has a bucket of its
/// own, from then on each power of two has 2^10 of them.
const fn bucket_of(latency_ns: u64) -> usize {
    let digits = u64::BITS - (latency_ns | (2 * HALF as u64 - 1)).leading_zeros();
    let shift = digits - PRECISION_BITS;
    shift as usize * HALF + (latency_ns >> shift) as usize
}

/// The least latency in a bucket.
fn start_of(bucket: usize) -> u64 {
    let shift = (bucket / HALF).saturating_sub(1);
    ((bucket - shift * HALF) as u64) << shift
}

/// The place of a phase and the bucket of a latency in one number, a small one: notes must not fill
/// the caches either. Each takes 16 bits.
#[derive(Clone, Copy, Debug)]
struct Note(u32);

const _: () = assert!(BUCKETS <= 1 << u16::BITS);

impl Note {
    /// There are fewer places than 2^8.
    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    fn new(place: usize, bucket: usize) -> Self {
        Self((place as u32) << u16::BITS | bucket as u32)
    }

    fn place(self) -> usize {
        (self.0 >> u16::BITS) as usize
    }

    fn bucket(self) -> usize {
        (self.0 & u32::from(u16::MAX)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::phase_places::tests::longest_table;
    use proptest::prelude::*;
    use proptest::sample::Index;

    #[test]
    fn the_buckets_are_those_of_the_histograms() {
        let histogram = crate::stats::new_histogram();
        let mut start = 0;
        for bucket in 0..BUCKETS {
            assert_eq!((start_of(bucket), bucket_of(start)), (start, bucket));
            start = histogram.next_non_equivalent(start);
            assert_eq!(bucket_of(start - 1), bucket);
        }
    }

    /// Any latency of the range, the short ones as likely as the long ones.
    fn latency_ns() -> impl Strategy<Value = u64> {
        (0_u32..44, any::<u64>()).prop_map(|(digits, random)| random & ((1 << digits) - 1))
    }

    proptest! {
        /// Whatever is recorded, whenever it is moved, the histograms are as if it had been recorded
        /// in them.
        #[test]
        fn nothing_is_lost_on_the_way(
            phases in prop_oneof![Just(Phase::COMMON), Just(longest_table())],
            latencies in proptest::collection::vec((any::<Index>(), latency_ns(), 0_u8..20), 0..400)
        ) {
            let (mut tally, mut moved, mut direct) =
                (Tally::new(phases), Latencies::new(phases), Latencies::new(phases));
            for (place, latency_ns, choice) in latencies {
                let place = place.index(phases.len());
                direct.record(phases[place], latency_ns, 1);
                tally.record(place, latency_ns);
                match choice {
                    0 => tally.empty_into(&mut moved),
                    1 => tally.count_notes(),
                    _ => {}
                }
            }
            tally.empty_into(&mut moved);
            prop_assert!(tally.is_empty());
            for &phase in phases {
                let (moved, direct) = (moved.get(phase), direct.get(phase));
                prop_assert_eq!(moved.out_of_range(), direct.out_of_range());
                prop_assert_eq!(moved.histogram(), direct.histogram());
            }
        }
    }
}
