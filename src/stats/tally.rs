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
#[derive(Debug, Default)]
pub(super) struct Tally {
    notes: Vec<Note>,
    /// For each phase, in the order of the buckets. Pages into which no latency falls are never
    /// touched.
    counts: Vec<u32>,
    /// For each phase, which of its blocks of [`HALF`] buckets have one that is not empty.
    used: [u64; Phase::ALL.len()],
    counted: usize,
    /// What is out of range, and what would have overflowed.
    rest: Latencies,
}

impl Tally {
    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.counted == 0 && self.rest.is_empty()
    }

    /// Counts a latency.
    #[inline]
    pub(super) fn record(&mut self, phase: Phase, latency_ns: u64) {
        if self.notes.len() == NOTES_MAX {
            self.count_notes();
        }
        match Note::new(phase, latency_ns) {
            Some(note) => self.notes.push(note),
            None => self.count_long(phase, latency_ns),
        }
    }

    #[cold]
    fn count_notes(&mut self) {
        let mut notes = std::mem::take(&mut self.notes);
        self.make_room(notes.len());
        for note in notes.drain(..) {
            self.count(note.phase(), note.latency_ns());
        }
        self.notes = notes;
    }

    /// What is too long, or too long for a note.
    #[cold]
    fn count_long(&mut self, phase: Phase, latency_ns: u64) {
        if latency_ns > LATENCY_NS_MAX {
            return self.rest.record(phase, latency_ns, 1);
        }
        self.make_room(1);
        self.count(phase as usize, latency_ns);
    }

    /// Makes sure that so many more latencies can be counted.
    fn make_room(&mut self, latencies: usize) {
        if self.counts.is_empty() {
            self.counts = vec![0; Phase::ALL.len() * BUCKETS];
        }
        if self.counted + latencies > COUNTED_MAX {
            let mut rest = std::mem::take(&mut self.rest);
            self.move_counts(&mut rest);
            self.rest = rest;
        }
        self.counted += latencies;
    }

    #[inline]
    fn count(&mut self, phase: usize, latency_ns: u64) {
        let bucket = bucket_of(latency_ns);
        self.counts[phase * BUCKETS + bucket] += 1;
        self.used[phase] |= 1 << (bucket / HALF);
    }

    /// Moves everything to histograms.
    pub(super) fn empty_into(&mut self, latencies: &mut Latencies) {
        self.count_notes();
        self.move_counts(latencies);
        latencies.add(&self.rest);
        self.rest.clear();
    }

    fn move_counts(&mut self, latencies: &mut Latencies) {
        if self.counted == 0 {
            return;
        }
        self.counted = 0;
        for phase in Phase::ALL {
            let used = std::mem::take(&mut self.used[phase as usize]);
            let counts = &mut self.counts[phase as usize * BUCKETS..][..BUCKETS];
            let blocks = counts.chunks_mut(HALF).zip(0..);
            for (counts, block) in blocks.filter(|(_, block)| used & (1 << block) != 0) {
                for (count, at) in counts.iter_mut().zip(0..).filter(|(count, _)| **count > 0) {
                    latencies.record(phase, start_of(block * HALF + at), u64::from(*count));
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

/// A latency and its phase in one number, a small one: notes must not fill the caches either.
#[derive(Clone, Copy, Debug)]
struct Note(u32);

impl Note {
    /// The binary digits of the latency: 2^28 ns are 268 ms. What takes longer is rare, or so slow that
    /// it does not matter how it is counted.
    const LATENCY_BITS: u32 = 28;
    const LATENCY_MASK: u32 = (1 << Self::LATENCY_BITS) - 1;

    #[inline]
    fn new(phase: Phase, latency_ns: u64) -> Option<Self> {
        let latency_ns = u32::try_from(latency_ns).ok()?;
        // There are fewer than 2^4 phases.
        let phase = (phase as u32) << Self::LATENCY_BITS;
        (latency_ns <= Self::LATENCY_MASK).then_some(Self(phase | latency_ns))
    }

    /// The place of the phase among all.
    fn phase(self) -> usize {
        (self.0 >> Self::LATENCY_BITS) as usize
    }

    fn latency_ns(self) -> u64 {
        u64::from(self.0 & Self::LATENCY_MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            latencies in proptest::collection::vec((0..Phase::ALL.len(), latency_ns(), 0_u8..20), 0..400)
        ) {
            let (mut tally, mut moved, mut direct) =
                (Tally::default(), Latencies::default(), Latencies::default());
            for (phase, latency_ns, choice) in latencies {
                let phase = Phase::ALL[phase];
                direct.record(phase, latency_ns, 1);
                tally.record(phase, latency_ns);
                match choice {
                    0 => tally.empty_into(&mut moved),
                    1 => tally.count_notes(),
                    _ => {}
                }
            }
            tally.empty_into(&mut moved);
            prop_assert!(tally.is_empty());
            for phase in Phase::ALL {
                let (moved, direct) = (moved.get(phase), direct.get(phase));
                prop_assert_eq!(moved.out_of_range(), direct.out_of_range());
                prop_assert_eq!(moved.histogram(), direct.histogram());
            }
        }
    }
}
