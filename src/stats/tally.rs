//! Fast counting of latencies.

use super::{LATENCY_NS_MAX, Latencies, Phase};

/// Latencies noted before they are counted: 64 KiB of notes. The more there are, the more are counted each
/// time the counts are loaded into the caches.
const NOTES_MAX: usize = 16384;

/// Limit on the latencies counted before they are moved to histograms, so that no count overflows.
const COUNTED_MAX: usize = u32::MAX as usize / 2;

/// The precision in binary digits, enough for 3 decimal digits.
const PRECISION_BITS: u32 = 11;
/// Buckets for each power of two from 2^11 on; they form a block.
const BLOCK_LEN: usize = 1 << (PRECISION_BITS - 1);

/// The number of buckets of a phase.
const BUCKETS: usize = bucket_of(LATENCY_NS_MAX) + 1;

// Each block of a phase has one bit of a `u64`.
const _: () = assert!(BUCKETS <= 64 * BLOCK_LEN);

/// Counts latencies until they are moved to histograms.
///
/// For a cached file the cost of this matters: there are nine latencies in 5 µs. Counted one by one, almost
/// each would miss the caches, since the other work for an item evicts the histograms from them. So
/// latencies are first noted in sequence, and then counted many at a time. They are counted in the same
/// buckets as in the histograms, but in numbers of half the size, without a histogram's further fields.
///
/// Phases are given by their places in the table for which the tally was made.
#[derive(Debug)]
pub(super) struct Tally {
    notes: Vec<Note>,
    counts: Counts,
    /// Latencies out of range, and counts moved here before they overflow.
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
    /// For each phase, in the order of the buckets; empty until something is counted. Pages without a count
    /// are never touched.
    counts: Vec<u32>,
    /// For each phase, which of its blocks of [`BLOCK_LEN`] buckets have one that is not empty.
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
            self.used[place] |= 1 << (bucket / BLOCK_LEN);
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
            let blocks = counts.chunks_mut(BLOCK_LEN).zip(0..);
            for (counts, block) in blocks.filter(|(_, block)| used & (1 << block) != 0) {
                for (count, at) in counts.iter_mut().zip(0..).filter(|(count, _)| **count > 0) {
                    let latency_ns = start_of(block * BLOCK_LEN + at);
                    latencies.record_at(place, latency_ns, u64::from(*count));
                    *count = 0;
                }
            }
        }
    }
}

/// The bucket of a latency in the layout of HDR histograms: below 2^11 each number has its own bucket;
/// from there on each power of two has 2^10 buckets.
const fn bucket_of(latency_ns: u64) -> usize {
    let digits = u64::BITS - (latency_ns | (2 * BLOCK_LEN as u64 - 1)).leading_zeros();
    let shift = digits - PRECISION_BITS;
    shift as usize * BLOCK_LEN + (latency_ns >> shift) as usize
}

/// The least latency in a bucket.
fn start_of(bucket: usize) -> u64 {
    let shift = (bucket / BLOCK_LEN).saturating_sub(1);
    ((bucket - shift * BLOCK_LEN) as u64) << shift
}

/// The place of a phase and the bucket of a latency, 16 bits each, in one number: small, so that notes do
/// not fill the caches.
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
        /// Whatever is recorded, and whenever it is moved, the histograms are the same as if it had been
        /// recorded in them directly.
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
