//! The digest algorithms: their names, a streaming hasher, and the finished digest.
//!
//! Every algorithm comes from one crate chosen by measurement (see the record under `results/`),
//! SHA-256 of several messages at once from here as well. Every one picks its vector or SHA
//! instructions while running: one binary suits all CPUs of an architecture.
//!
//! A message that lies in one buffer, as most files do, goes through [`Algorithm::digest`]; a
//! longer one is fed piece by piece to a [`Hasher`]; several short ones at once are quicker through
//! [`Algorithm::digest_group`]. All give the bytes that the usual tool for the algorithm prints
//! (`b3sum`, `sha256sum`, `xxhsum` and so on), in the order it prints them.

mod algorithm;
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
