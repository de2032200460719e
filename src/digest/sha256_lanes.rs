//! SHA-256 of several messages, their rounds interleaved, with the SHA extensions of x86-64.
//!
//! `sha256rnds2` does two rounds and needs the result of the one before. On AMD's Zen 4 that takes four
//! cycles, but the processor can start another one after about two. Two messages in turn keep it busy; with
//! more, there is always one whose next instruction can start. The code must interleave them: within the
//! code for one block, the next message is some 200 instructions away, and the out-of-order window of a
//! processor is only a little larger.

use super::compress::{Block, Compress};
use core::arch::x86_64::*;

/// Proof that the processor has the instructions: only `detect` makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sha256Lanes(());

impl Sha256Lanes {
    /// The best number of messages to compute together. On Zen 4, a message of 4 KiB takes 2250 ns alone,
    /// 1160 in two lanes, 1100 in three or four, 1060 in five; a loop over cached files of that size takes
    /// 1.4 % less processor time with four lanes than with two.
    pub(super) const COUNT: usize = 4;

    /// `None` if the processor lacks an instruction.
    pub(super) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse2")
            && is_x86_feature_detected!("sse3")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        has_all.then_some(Self(()))
    }
}

impl Compress<8> for Sha256Lanes {
    fn compress<const L: usize>(
        self,
        states: [[u32; 8]; L],
        blocks: [&[Block]; L],
    ) -> [[u32; 8]; L] {
        // SAFETY: `compress` is safe except for its target features: the processor must have
        // them. Only `detect` makes a `Sha256Lanes` (the field is private to this module), and only
        // after it has found `sha`, `sse4.1`, and each feature that these two imply.
        unsafe { compress(states, blocks) }
    }
}

/// The constants of four rounds each (FIPS 180-4, section 4.2.2).
#[rustfmt::skip]
const ROUND_CONSTANTS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// The working variables a to h of one message, in the layout of `sha256rnds2`.
#[derive(Clone, Copy)]
struct Working {
    abef: __m128i,
    cdgh: __m128i,
}

/// Sixteen words of a message schedule (FIPS 180-4, section 6.2.2, step 1), four in a register: at first
/// the words of the block; each later word replaces the oldest.
type Schedule = [__m128i; 4];

/// The states of the messages after some blocks, the same number for each (FIPS 180-4, section 6.2.2).
///
/// The loops use an index because the compiler unrolls such loops early. It unrolls iterators only after it
/// has moved the rounds of each lane to where their result is used, which undoes the interleaving.
#[allow(clippy::needless_range_loop)]
#[target_feature(enable = "sha,sse4.1")]
fn compress<const L: usize>(mut states: [[u32; 8]; L], blocks: [&[Block]; L]) -> [[u32; 8]; L] {
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let mut lanes = states.map(|state| load_state(state));
    for at in 0..count {
        let before = lanes;
        let mut schedules = blocks.map(|blocks| load_block(&blocks[at]));
        // Written out, so that every index is a constant and the arrays become registers.
        rounds(0, &mut lanes, &mut schedules);
        rounds(1, &mut lanes, &mut schedules);
        rounds(2, &mut lanes, &mut schedules);
        rounds(3, &mut lanes, &mut schedules);
        rounds(4, &mut lanes, &mut schedules);
        rounds(5, &mut lanes, &mut schedules);
        rounds(6, &mut lanes, &mut schedules);
        rounds(7, &mut lanes, &mut schedules);
        rounds(8, &mut lanes, &mut schedules);
        rounds(9, &mut lanes, &mut schedules);
        rounds(10, &mut lanes, &mut schedules);
        rounds(11, &mut lanes, &mut schedules);
        rounds(12, &mut lanes, &mut schedules);
        rounds(13, &mut lanes, &mut schedules);
        rounds(14, &mut lanes, &mut schedules);
        rounds(15, &mut lanes, &mut schedules);
        for lane in 0..L {
            lanes[lane] = add(lanes[lane], before[lane]);
        }
    }
    for lane in 0..L {
        states[lane] = store_state(lanes[lane]);
    }
    states
}

/// Rounds 4 × `step` to 4 × `step` + 3 of each message.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn rounds<const L: usize>(step: usize, lanes: &mut [Working; L], schedules: &mut [Schedule; L]) {
    let [k0, k1, k2, k3] = ROUND_CONSTANTS[step].map(u32::cast_signed);
    let constants = _mm_set_epi32(k3, k2, k1, k0);
    for (lane, schedule) in lanes.iter_mut().zip(schedules) {
        let place = step % 4;
        if step >= 4 {
            schedule[place] = next_words(schedule, place);
        }
        let words = _mm_add_epi32(schedule[place], constants);
        // Two rounds later, the registers of c, d, g, h hold a, b, e, f, and the other way round.
        lane.cdgh = _mm_sha256rnds2_epu32(lane.cdgh, lane.abef, words);
        let words = _mm_shuffle_epi32::<0b11_10>(words);
        lane.abef = _mm_sha256rnds2_epu32(lane.abef, lane.cdgh, words);
    }
}

/// The four words of the schedule that follow these sixteen; those at `place` are the oldest.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn next_words(schedule: &Schedule, place: usize) -> __m128i {
    let [w0, w4, w8, w12] = [0, 1, 2, 3].map(|distance| schedule[(place + distance) % 4]);
    let w9 = _mm_alignr_epi8::<4>(w12, w8);
    _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w0, w4), w9), w12)
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn load_block(block: &Block) -> Schedule {
    // The words of a block are big-endian.
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let (halves, _) = block.as_chunks::<8>();
    [0, 2, 4, 6].map(|at| {
        let [low, high] = [0, 1].map(|next| i64::from_le_bytes(halves[at + next]));
        _mm_shuffle_epi8(_mm_set_epi64x(high, low), order)
    })
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn load_state(state: [u32; 8]) -> Working {
    let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
    Working {
        abef: _mm_set_epi32(a, b, e, f),
        cdgh: _mm_set_epi32(c, d, g, h),
    }
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn add(one: Working, other: Working) -> Working {
    Working {
        abef: _mm_add_epi32(one.abef, other.abef),
        cdgh: _mm_add_epi32(one.cdgh, other.cdgh),
    }
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn store_state(Working { abef, cdgh }: Working) -> [u32; 8] {
    [
        _mm_extract_epi32::<3>(abef),
        _mm_extract_epi32::<2>(abef),
        _mm_extract_epi32::<3>(cdgh),
        _mm_extract_epi32::<2>(cdgh),
        _mm_extract_epi32::<1>(abef),
        _mm_extract_epi32::<0>(abef),
        _mm_extract_epi32::<1>(cdgh),
        _mm_extract_epi32::<0>(cdgh),
    ]
    .map(i32::cast_unsigned)
}
