//! Hashing a message that arrives in pieces.

use std::fmt;
use std::hash::Hasher as _;

use sha2::Digest as _;
use twox_hash::xxhash3_64::{DEFAULT_SECRET_LENGTH, SecretBuffer};
use twox_hash::{xxhash3_64, xxhash3_128};

use super::algorithm::Algorithm;
use super::value::Digest;

/// The state of one message being hashed.
///
/// About 400 bytes, and for BLAKE3 2 KiB more on the heap. One hasher can serve one message after
/// another: [`finalize_reset`](Self::finalize_reset) and [`reset`](Self::reset) return it to the initial
/// state without freeing that memory. If many hashers exist at once, that saves up to half a microsecond
/// per message.
///
/// BLAKE3 hashes chunks of 1 KiB side by side, but only those that lie in one piece: pieces of
/// 64 KiB and more whose length is a power of two suit it best. For the others, the length does not matter.
pub struct Hasher {
    state: State,
}

/// XXH3 states refer to the standard secret instead of holding a copy of it.
type Secret = &'static [u8; DEFAULT_SECRET_LENGTH];

enum State {
    /// Boxed because it is five times as large as any other state.
    Blake3(Box<blake3::Hasher>),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    Sha1(sha1::Sha1),
    Md5(fast_md5::Md5),
    Xxh3(xxhash3_64::RawHasher<Secret>),
    Xxh128(xxhash3_128::RawHasher<Secret>),
    Crc32c(crc_fast::Digest),
}

impl Hasher {
    /// A hasher for a message that is empty so far.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            state: State::new(algorithm),
        }
    }

    /// The algorithm that this hasher computes.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Blake3(_) => Algorithm::Blake3,
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
            State::Sha1(_) => Algorithm::Sha1,
            State::Md5(_) => Algorithm::Md5,
            State::Xxh3(_) => Algorithm::Xxh3,
            State::Xxh128(_) => Algorithm::Xxh128,
            State::Crc32c(_) => Algorithm::Crc32c,
        }
    }

    /// Appends a piece to the message. How a message is cut into pieces does not matter.
    pub fn update(&mut self, piece: &[u8]) {
        match &mut self.state {
            State::Blake3(hasher) => {
                hasher.update(piece);
            }
            State::Sha256(hasher) => hasher.update(piece),
            State::Sha512(hasher) => hasher.update(piece),
            State::Sha1(hasher) => hasher.update(piece),
            State::Md5(hasher) => hasher.update(piece),
            State::Xxh3(hasher) => hasher.write(piece),
            State::Xxh128(hasher) => hasher.write(piece),
            State::Crc32c(hasher) => hasher.update(piece),
        }
    }

    /// The digest of the message.
    #[must_use]
    pub fn finalize(mut self) -> Digest {
        self.state.digest()
    }

    /// The digest of the message; the hasher is then ready for the next one.
    #[must_use = "use reset() to drop a message"]
    pub fn finalize_reset(&mut self) -> Digest {
        let digest = self.state.digest();
        self.reset();
        digest
    }

    /// Drops the message so far; the hasher is then ready for the next one.
    pub fn reset(&mut self) {
        match &mut self.state {
            State::Blake3(hasher) => {
                hasher.reset();
            }
            _ => self.state = State::new(self.algorithm()),
        }
    }
}

impl State {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Blake3 => Self::Blake3(Box::default()),
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
            Algorithm::Sha1 => Self::Sha1(sha1::Sha1::new()),
            Algorithm::Md5 => Self::Md5(fast_md5::Md5::new()),
            Algorithm::Xxh3 => Self::Xxh3(xxhash3_64::RawHasher::new(SecretBuffer::default())),
            Algorithm::Xxh128 => Self::Xxh128(xxhash3_128::RawHasher::new(SecretBuffer::default())),
            Algorithm::Crc32c => {
                Self::Crc32c(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
            }
        }
    }

    /// The digest of the message. The state is not usable afterwards.
    fn digest(&mut self) -> Digest {
        match self {
            Self::Blake3(hasher) => Digest::new(*hasher.finalize().as_bytes()),
            Self::Sha256(hasher) => Digest::new(hasher.finalize_reset().into()),
            Self::Sha512(hasher) => Digest::new(hasher.finalize_reset().into()),
            Self::Sha1(hasher) => Digest::new(hasher.finalize_reset().into()),
            Self::Md5(hasher) => {
                Digest::new(std::mem::replace(hasher, fast_md5::Md5::new()).finalize())
            }
            Self::Xxh3(hasher) => Digest::new(hasher.finish().to_be_bytes()),
            Self::Xxh128(hasher) => Digest::new(hasher.finish_128().to_be_bytes()),
            Self::Crc32c(hasher) => Digest::new(crc32_bytes(hasher.finalize())),
        }
    }
}

/// The 4 low bytes: `crc-fast` returns every CRC as 64 bits.
fn crc32_bytes(crc: u64) -> [u8; 4] {
    let [.., a, b, c, d] = crc.to_be_bytes();
    [a, b, c, d]
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}
