//! Content that waits until several digests can be computed side by side.

use super::buffer::Buffer;
use crate::digest::{Algorithm, Digest};
use crate::stats::Phase;
use slab::Slab;
use std::mem;
use std::task::Waker;

/// The digests that a loop is to compute.
#[derive(Debug, Default)]
pub(super) struct DigestQueue {
    /// The incomplete group: content of one algorithm, less than its group length.
    pub(super) waiting: Vec<Waiting>,
    /// The digests that futures wait for, by key.
    pub(super) awaited: Slab<Awaited>,
}

/// Content that waits for its group to be complete.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The key of its future.
    pub(super) key: usize,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Awaited {
    Waiting(Option<Waker>),
    Computed(Digest),
}

/// Content to be hashed.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) algorithm: Algorithm,
    pub(super) buffer: Buffer,
    pub(super) len_bytes: usize,
    pub(super) phase: Phase,
}

impl Content {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len_bytes]
    }
}

impl DigestQueue {
    /// Digests that wait for their group, or that their futures have not taken.
    pub(super) fn len(&self) -> usize {
        self.awaited.len()
    }

    pub(super) fn computed(&mut self, key: usize, digest: Digest) {
        let was = mem::replace(&mut self.awaited[key], Awaited::Computed(digest));
        if let Awaited::Waiting(Some(waker)) = was {
            waker.wake();
        }
    }
}
