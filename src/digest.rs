//! The digest algorithms: their names, a streaming hasher, and the finished digest.
//!
//! Every algorithm comes from one crate chosen by measurement (see the record under `results/`); for
//! SHA-256 of several messages at once there is also an implementation here. Every one selects its vector
//! or SHA instructions at run time: one binary suits all CPUs of an architecture.
//!
//! [`Algorithm::digest`] hashes a message that lies in one buffer, as most files do. A [`Hasher`] takes a
//! longer message piece by piece. [`Algorithm::digest_group`] hashes several short messages at once, which
//! is faster. All give the bytes that the usual tool for the algorithm prints (`b3sum`, `sha256sum`,
//! `xxhsum` and so on), in the order it prints them.

mod algorithm;
mod compress;
mod group;
mod hasher;
#[cfg(target_arch = "x86_64")]
mod sha256_lanes;
#[cfg(test)]
mod tests;
mod value;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use hasher::Hasher;
pub use value::Digest;
