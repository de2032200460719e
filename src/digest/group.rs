//! Digests of several messages, computed together.
//!
//! Each round of SHA-1 and SHA-256 needs the result of the one before, so one message leaves most of a
//! core idle: the processor's instructions for a round have a latency of several cycles, but could start
//! more often. Several messages side by side fill these gaps: their blocks are hashed together, in lanes,
//! as long as all of them have blocks left; when one ends, the others go on together.

use super::compress::{Block, Compress};
#[cfg(target_arch = "x86_64")]
use super::sha256_lanes::Sha256Lanes;
use super::{Algorithm, Digest};
use sha1::block_api::compress as compress_sha1;
use sha2::block_api::compress256 as compress_sha256;
use std::ops::Range;

/// The initial state of SHA-1 (FIPS 180-4, section 5.3.1).
const SHA1_INITIAL: [u32; 5] = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];

/// The initial state of SHA-256 (FIPS 180-4, section 5.3.3).
const SHA256_INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A compression function for one message, called for one block of each message in turn. The core's
/// out-of-order window is a few hundred instructions, which is more than one block, so it works on two
/// messages at once. More than two gain nothing.
#[derive(Clone, Copy)]
struct InTurn<F>(F);

impl<F, const WORDS: usize> Compress<WORDS> for InTurn<F>
where
    F: Fn(&mut [u32; WORDS], &[Block]) + Copy,
{
    fn compress<const L: usize>(
        self,
        mut states: [[u32; WORDS]; L],
        blocks: [&[Block]; L],
    ) -> [[u32; WORDS]; L] {
        if let ([state], [blocks]) = (&mut states[..], &blocks[..]) {
            (self.0)(state, blocks);
            return states;
        }
        let count = blocks.first().map_or(0, |blocks| blocks.len());
        for at in 0..count {
            for (state, blocks) in states.iter_mut().zip(blocks) {
                (self.0)(state, &blocks[at..=at]);
            }
        }
        states
    }
}

impl Algorithm {
    /// The best number of messages to compute together: 1 if that gains nothing. Depends on the
    /// processor.
    #[must_use]
    pub fn group_len(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Sha256 if Sha256Lanes::detect().is_some() => Sha256Lanes::COUNT,
            Self::Sha256 | Self::Sha1 => 2,
            _ => 1,
        }
    }

    /// The digests of several messages. For [`Algorithm::group_len`] messages of about the same length, this
    /// takes clearly less time than one message after the other.
    #[must_use]
    pub fn digest_group<const N: usize>(self, messages: [&[u8]; N]) -> [Digest; N] {
        match self {
            Self::Sha256 => {
                #[cfg(target_arch = "x86_64")]
                if let Some(lanes) = Sha256Lanes::detect() {
                    return sha256(lanes, messages);
                }
                sha256(InTurn(compress_sha256), messages)
            }
            Self::Sha1 => sha1(InTurn(compress_sha1), messages),
            _ => messages.map(|message| self.digest(message)),
        }
    }
}

fn sha256<const N: usize>(compress: impl Compress<8>, messages: [&[u8]; N]) -> [Digest; N] {
    hash(SHA256_INITIAL, compress, messages).map(|state| Digest::new(bytes::<32>(&state)))
}

fn sha1<const N: usize>(compress: impl Compress<5>, messages: [&[u8]; N]) -> [Digest; N] {
    hash(SHA1_INITIAL, compress, messages).map(|state| Digest::new(bytes::<20>(&state)))
}

/// The final states of the messages.
fn hash<const WORDS: usize, const N: usize>(
    initial: [u32; WORDS],
    compress: impl Compress<WORDS>,
    messages: [&[u8]; N],
) -> [[u32; WORDS]; N] {
    let mut lanes = messages.map(|message| Lane::new(initial, message));
    loop {
        let mut unfinished = lanes.iter_mut().filter(|lane| !lane.blocks().is_empty());
        match std::array::from_fn(|_| unfinished.next()) {
            [Some(a), Some(b), Some(c), Some(d)] => advance([a, b, c, d], compress),
            [Some(a), Some(b), Some(c), None] => advance([a, b, c], compress),
            [Some(a), Some(b), None, _] => advance([a, b], compress),
            [Some(a), None, ..] => advance([a], compress),
            [None, ..] => return lanes.map(|lane| lane.state),
        }
    }
}

/// Hashes the next blocks of each message, as many as the shortest of them has.
fn advance<const WORDS: usize, const L: usize>(
    lanes: [&mut Lane<WORDS>; L],
    compress: impl Compress<WORDS>,
) {
    let blocks = lanes.each_ref().map(|lane| lane.blocks());
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let states = lanes.each_ref().map(|lane| lane.state);
    let states = compress.compress(states, blocks.map(|blocks| &blocks[..count]));
    for (lane, state) in lanes.into_iter().zip(states) {
        lane.state = state;
        lane.take(count);
    }
}

/// A message and how far it has been hashed.
struct Lane<'m, const WORDS: usize> {
    state: [u32; WORDS],
    /// The whole blocks of the message that are left.
    whole: &'m [Block],
    /// The rest of the message, padded to one or two blocks (FIPS 180-4, section 5.1.1).
    end: [Block; 2],
    /// The blocks of `end` that are left.
    end_left: Range<usize>,
}

impl<'m, const WORDS: usize> Lane<'m, WORDS> {
    fn new(initial: [u32; WORDS], message: &'m [u8]) -> Self {
        let (whole, rest) = message.as_chunks();
        let mut end = [[0; 64]; 2];
        end[0][..rest.len()].copy_from_slice(rest);
        end[0][rest.len()] = 0x80;
        let count = if rest.len() < 64 - size_of::<u64>() {
            1
        } else {
            2
        };
        let len_bits = message.len() as u64 * 8;
        end[count - 1][64 - size_of::<u64>()..].copy_from_slice(&len_bits.to_be_bytes());
        Self {
            state: initial,
            whole,
            end,
            end_left: 0..count,
        }
    }

    /// The blocks that come next; none at the end.
    fn blocks(&self) -> &[Block] {
        match self.whole {
            [] => &self.end[self.end_left.clone()],
            whole => whole,
        }
    }

    /// Removes blocks that have been hashed.
    fn take(&mut self, count: usize) {
        match self.whole {
            [] => self.end_left.start += count,
            whole => self.whole = &whole[count..],
        }
    }
}

/// The words of a state, big-endian.
fn bytes<const LEN: usize>(words: &[u32]) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Checks groups of one to four messages, with every implementation that this processor supports.
    fn check(algorithm: Algorithm, messages: [&[u8]; 4]) {
        let alone = messages.map(|message| algorithm.digest(message));
        let lens = messages.map(<[u8]>::len);
        let [a, b, c, d] = messages;
        let assert = |way: &str, group: &[Digest]| {
            let len = group.len();
            assert_eq!(group, &alone[..len], "{algorithm} {way}, {len} of {lens:?}");
        };
        assert("best", &algorithm.digest_group([a]));
        assert("best", &algorithm.digest_group([a, b]));
        assert("best", &algorithm.digest_group([a, b, c]));
        assert("best", &algorithm.digest_group([a, b, c, d]));
        if algorithm == Algorithm::Sha256 {
            let in_turn = InTurn(compress_sha256);
            assert("in turn", &sha256(in_turn, [a]));
            assert("in turn", &sha256(in_turn, [a, b]));
            assert("in turn", &sha256(in_turn, [a, b, c]));
            assert("in turn", &sha256(in_turn, [a, b, c, d]));
        }
    }

    #[test]
    fn every_length_is_padded_as_the_standard_says() {
        let bytes: Vec<u8> = (0_u8..=250).cycle().take(600).collect();
        for algorithm in Algorithm::ALL {
            for len in 0..300 {
                let (forth, back) = (&bytes[..len], &bytes[len..300]);
                check(algorithm, [forth; 4]);
                check(algorithm, [forth, back, &bytes[..(7 * len) % 300], &[]]);
                check(algorithm, [back, &bytes[len..], &bytes[..64], forth]);
            }
        }
    }

    #[test]
    fn examples_of_the_standard() {
        // FIPS 180-4 refers to these examples of NIST: messages of one and two blocks, and a long one.
        let long = [b'a'; 1_000_000];
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        let messages = [b"abc", &two_blocks[..], &long, b""];
        let answers = [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ];
        let best = Algorithm::Sha256.digest_group(messages);
        assert_eq!(best.map(|digest| digest.to_string()), answers);
        assert_eq!(sha256(InTurn(compress_sha256), messages), best);
        let answers = [
            "a9993e364706816aba3e25717850c26c9cd0d89d",
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        ];
        let digests = Algorithm::Sha1.digest_group(messages);
        assert_eq!(digests.map(|digest| digest.to_string()), answers);
    }

    /// Messages of lengths around the ends of blocks and of the padding, and of any other length.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let len = prop_oneof![0_usize..200, 4_000_usize..4_200, 0_usize..20_000];
        len.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len))
    }

    proptest! {
        #[test]
        fn a_group_has_the_digests_of_its_messages(
            a in message(), b in message(), c in message(), d in message(),
        ) {
            for algorithm in Algorithm::ALL {
                check(algorithm, [&a, &b, &c, &d]);
            }
        }
    }
}
