//! The list of algorithms, and hashing a message that lies in one buffer.

use std::fmt;
use std::str::FromStr;

use super::value::Digest;

/// A digest algorithm. It is parsed from its [`name`](Algorithm::name).
///
/// ```
/// use ringmill::Algorithm;
///
/// let algorithm: Algorithm = "sha256".parse().unwrap();
/// assert_eq!(algorithm, Algorithm::Sha256);
/// assert!("sha3".parse::<Algorithm>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// BLAKE3, 32 bytes (BLAKE3 paper, 2020). Computed by the `blake3` crate.
    #[default]
    Blake3,
    /// SHA-256, 32 bytes (FIPS 180-4). Computed by the `sha2` crate; several messages at once by this crate's
    /// own code if the processor has the SHA extensions of x86-64.
    Sha256,
    /// SHA-512, 64 bytes (FIPS 180-4). Computed by the `sha2` crate.
    Sha512,
    /// SHA-1, 20 bytes (FIPS 180-4). Broken: it proves nothing about content that an adversary
    /// chose. Computed by the `sha1` crate.
    Sha1,
    /// MD5, 16 bytes (RFC 1321). Broken: it proves nothing about content that an adversary chose.
    /// Computed by the `fast-md5` crate.
    Md5,
    /// XXH3 with seed 0, 8 bytes (xxHash specification). Not cryptographic. Computed by the
    /// `twox-hash` crate.
    Xxh3,
    /// XXH128, the 128-bit variant of XXH3, with seed 0, 16 bytes (xxHash specification). Not
    /// cryptographic. Computed by the `twox-hash` crate.
    Xxh128,
    /// CRC-32C, 4 bytes (the Castagnoli polynomial as in RFC 3720, appendix B.4). Detects accidents
    /// only. Computed by the `crc-fast` crate.
    Crc32c,
}

impl Algorithm {
    /// All algorithms, in the order in which user interfaces list them.
    ///
    /// ```
    /// # use ringmill::Algorithm;
    /// assert_eq!(Algorithm::ALL[0], Algorithm::default());
    /// ```
    pub const ALL: [Self; 8] = [
        Self::Blake3,
        Self::Sha256,
        Self::Sha512,
        Self::Sha1,
        Self::Md5,
        Self::Xxh3,
        Self::Xxh128,
        Self::Crc32c,
    ];

    /// The name on the command line and in JSON, such as `sha256`.
    ///
    /// ```
    /// assert_eq!(ringmill::Algorithm::Sha256.name(), "sha256");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Sha1 => "sha1",
            Self::Md5 => "md5",
            Self::Xxh3 => "xxh3",
            Self::Xxh128 => "xxh128",
            Self::Crc32c => "crc32c",
        }
    }

    /// The name in a tagged (BSD style) line, such as `SHA256` in `SHA256 (name) = …`.
    ///
    /// ```
    /// assert_eq!(ringmill::Algorithm::Sha256.tag(), "SHA256");
    /// ```
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Blake3 => "BLAKE3",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
            Self::Sha1 => "SHA1",
            Self::Md5 => "MD5",
            Self::Xxh3 => "XXH3",
            Self::Xxh128 => "XXH128",
            Self::Crc32c => "CRC32C",
        }
    }

    /// The length of a digest in bytes, from 4 to 64; its hexadecimal form is twice as long.
    ///
    /// ```
    /// assert_eq!(ringmill::Algorithm::Sha256.digest_len_bytes(), 32);
    /// ```
    #[must_use]
    pub const fn digest_len_bytes(self) -> usize {
        match self {
            Self::Blake3 | Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Sha1 => 20,
            Self::Md5 | Self::Xxh128 => 16,
            Self::Xxh3 => 8,
            Self::Crc32c => 4,
        }
    }

    /// Computes the digest of a message that lies in one buffer.
    ///
    /// ```
    /// let digest = ringmill::Algorithm::Crc32c.digest(b"123456789");
    /// assert_eq!(digest.to_string(), "e3069283");
    /// ```
    // Unlike a `Hasher` that is fed once, it has no state: XXH3 and XXH128 are faster, and BLAKE3 saves an
    // allocation.
    #[must_use]
    pub fn digest(self, message: &[u8]) -> Digest {
        match self {
            Self::Blake3 => Digest::new(*blake3::hash(message).as_bytes()),
            Self::Sha256 => Digest::new(one_shot::<sha2::Sha256, _>(message)),
            Self::Sha512 => Digest::new(one_shot::<sha2::Sha512, _>(message)),
            Self::Sha1 => Digest::new(one_shot::<sha1::Sha1, _>(message)),
            Self::Md5 => Digest::new(fast_md5::digest(message)),
            Self::Xxh3 => Digest::new(twox_hash::XxHash3_64::oneshot(message).to_be_bytes()),
            Self::Xxh128 => Digest::new(twox_hash::XxHash3_128::oneshot(message).to_be_bytes()),
            Self::Crc32c => Digest::new(crc_fast::crc32_iscsi(message).to_be_bytes()),
        }
    }
}

fn one_shot<D, const N: usize>(message: &[u8]) -> [u8; N]
where
    D: sha2::Digest,
    sha2::digest::Output<D>: Into<[u8; N]>,
{
    D::digest(message).into()
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| UnknownAlgorithm {
            name: name.to_owned(),
        })
    }
}

/// The error for a name that is not the [`name`](Algorithm::name) of any [`Algorithm`].
///
/// ```
/// use ringmill::{Algorithm, UnknownAlgorithm};
///
/// let error: UnknownAlgorithm = "whirlpool".parse::<Algorithm>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown digest algorithm 'whirlpool'");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown digest algorithm '{name}'")]
pub struct UnknownAlgorithm {
    /// The name as it was given.
    pub name: String,
}
