//! Digests of two messages, side by side.
//!
//! Each round of SHA-1 and SHA-256 needs the result of the one before, so one message leaves most of a
//! core idle: the processors' instructions for them have a latency of several cycles and could start
//! one each cycle. A core looks a few hundred instructions ahead, which is more than one block. So if
//! two messages are hashed block by block in turn, it works on both.

use super::{Algorithm, Digest};
use sha1::block_api::compress as compress_sha1;
use sha2::block_api::compress256 as compress_sha256;

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

type Block = [u8; 64];

impl Algorithm {
    /// True if two messages side by side take clearly less time than one after the other.
    #[must_use]
    pub const fn gains_from_pairs(self) -> bool {
        matches!(self, Self::Sha256 | Self::Sha1)
    }

    /// The digests of two messages. Where [`Algorithm::gains_from_pairs`], both together take little
    /// longer than the longer one, if they are of about the same length.
    #[must_use]
    pub fn digest_pair(self, messages: [&[u8]; 2]) -> [Digest; 2] {
        match self {
            Self::Sha1 => pair(SHA1_INITIAL, compress_sha1, messages).map(|state| {
                let mut bytes = [0; 20];
                write_words(&state, &mut bytes);
                Digest::new(bytes)
            }),
            Self::Sha256 => pair(SHA256_INITIAL, compress_sha256, messages).map(|state| {
                let mut bytes = [0; 32];
                write_words(&state, &mut bytes);
                Digest::new(bytes)
            }),
            _ => messages.map(|message| self.digest(message)),
        }
    }
}

/// The final states of two messages.
fn pair<const N: usize>(
    initial: [u32; N],
    compress: impl Fn(&mut [u32; N], &[Block]),
    messages: [&[u8]; 2],
) -> [[u32; N]; 2] {
    let [(first, first_rest), (second, second_rest)] = messages.map(<[u8]>::as_chunks);
    let mut states = [initial; 2];
    let [first_state, second_state] = &mut states;
    let common = first.len().min(second.len());
    for (first, second) in first[..common].iter().zip(&second[..common]) {
        compress(first_state, std::slice::from_ref(first));
        compress(second_state, std::slice::from_ref(second));
    }
    compress(first_state, &first[common..]);
    compress(second_state, &second[common..]);
    compress(
        first_state,
        Padded::new(first_rest, messages[0].len()).blocks(),
    );
    compress(
        second_state,
        Padded::new(second_rest, messages[1].len()).blocks(),
    );
    states
}

/// The end of a message, filled up to whole blocks (FIPS 180-4, section 5.1.1).
struct Padded {
    blocks: [Block; 2],
    count: usize,
}

impl Padded {
    /// For the part of the message that fills no block.
    fn new(rest: &[u8], message_len_bytes: usize) -> Self {
        let mut blocks = [[0; 64]; 2];
        blocks[0][..rest.len()].copy_from_slice(rest);
        blocks[0][rest.len()] = 0x80;
        let count = if rest.len() < 64 - size_of::<u64>() {
            1
        } else {
            2
        };
        let len_bits = message_len_bytes as u64 * 8;
        blocks[count - 1][64 - size_of::<u64>()..].copy_from_slice(&len_bits.to_be_bytes());
        Self { blocks, count }
    }

    fn blocks(&self) -> &[Block] {
        &self.blocks[..self.count]
    }
}

fn write_words(words: &[u32], bytes: &mut [u8]) {
    for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lengths around the ends of blocks and of the padding, and any others.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let len = prop_oneof![0_usize..200, 4_000_usize..4_200, 0_usize..20_000];
        len.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len))
    }

    #[test]
    fn every_length_is_padded_as_the_standard_says() {
        let bytes: Vec<u8> = (0_u8..=255).cycle().take(300).collect();
        for algorithm in Algorithm::ALL {
            for len in 0..bytes.len() {
                let (one, other) = (&bytes[..len], &bytes[len..]);
                let alone = [one, other].map(|message| algorithm.digest(message));
                assert_eq!(
                    algorithm.digest_pair([one, other]),
                    alone,
                    "{algorithm} {len}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_pair_has_the_digests_of_its_messages(first in message(), second in message()) {
            for algorithm in Algorithm::ALL {
                let alone = [&first, &second].map(|message| algorithm.digest(message));
                prop_assert_eq!(algorithm.digest_pair([&first, &second]), alone);
            }
        }
    }
}
