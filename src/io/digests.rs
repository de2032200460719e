//! Digests of content that lies in one buffer, two at a time where that is quicker.

use super::buffer::Buffer;
use super::core::Io;
use crate::digest::{Algorithm, Digest};
use crate::stats::Phase;
use slab::Slab;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The digests that a loop is to compute.
#[derive(Debug, Default)]
pub(super) struct Digests {
    /// The content that waits for another, with the key of its future.
    waiting: Option<(usize, Content)>,
    /// What the futures wait for.
    awaited: Slab<Awaited>,
}

#[derive(Debug)]
enum Awaited {
    Waiting(Option<Waker>),
    Computed(Digest),
}

/// What is to be hashed.
#[derive(Debug)]
struct Content {
    algorithm: Algorithm,
    buffer: Buffer,
    len_bytes: usize,
    phase: Phase,
}

impl Content {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len_bytes]
    }
}

impl Io {
    /// The digest of the first `len_bytes` bytes of a buffer; computing it counts as `phase`. Where the
    /// algorithm gains from that, it waits for another to be computed side by side with it, but only
    /// until all tasks have been polled that can be polled now.
    pub async fn digest(
        &self,
        algorithm: Algorithm,
        buffer: Buffer,
        len_bytes: usize,
        phase: Phase,
    ) -> Digest {
        let content = Content {
            algorithm,
            buffer,
            len_bytes,
            phase,
        };
        match self.digest_or_wait(content) {
            Ok(digest) => digest,
            Err(key) => {
                let key = Some(key);
                DigestWait { io: self, key }.await
            }
        }
    }

    /// The digest, or the key of its future if it waits for another.
    fn digest_or_wait(&self, content: Content) -> Result<Digest, usize> {
        // What a worker does next may block.
        let may_wait = !self.core.is_worker && content.algorithm.gains_from_pairs();
        let digests = &mut *self.core.digests.borrow_mut();
        match &digests.waiting {
            None if may_wait => {
                let key = digests.awaited.insert(Awaited::Waiting(None));
                digests.waiting = Some((key, content));
                Err(key)
            }
            Some((_, other)) if other.algorithm == content.algorithm => {
                let (key, other) = digests.waiting.take().expect("it waits");
                let messages = [content.bytes(), other.bytes()];
                let [digest, of_other] = content.algorithm.digest_pair(messages);
                self.laps([content.phase, other.phase]);
                digests.computed(key, of_other);
                Ok(digest)
            }
            _ => {
                let digest = content.algorithm.digest(content.bytes());
                self.laps([content.phase]);
                Ok(digest)
            }
        }
    }

    /// True if a digest waits for another.
    pub(crate) fn digest_waits(&self) -> bool {
        self.core.digests.borrow().waiting.is_some()
    }

    /// Computes the digest that waits for another, if one does. False if none does.
    pub(crate) fn digest_waiting(&self) -> bool {
        let digests = &mut *self.core.digests.borrow_mut();
        let Some((key, content)) = digests.waiting.take() else {
            return false;
        };
        self.borrow().refresh();
        let digest = content.algorithm.digest(content.bytes());
        self.laps([content.phase]);
        digests.computed(key, digest);
        true
    }
}

impl Digests {
    /// Digests that wait, or that nobody has taken.
    pub(super) fn len(&self) -> usize {
        self.awaited.len()
    }

    fn computed(&mut self, key: usize, digest: Digest) {
        let was = std::mem::replace(&mut self.awaited[key], Awaited::Computed(digest));
        if let Awaited::Waiting(Some(waker)) = was {
            waker.wake();
        }
    }
}

/// Waits for a digest that is computed together with another.
struct DigestWait<'a> {
    io: &'a Io,
    /// `None` once it has ended.
    key: Option<usize>,
}

impl Future for DigestWait<'_> {
    type Output = Digest;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Digest> {
        let key = self.key.expect("a digest is not polled after it has ended");
        let digests = &mut *self.io.core.digests.borrow_mut();
        match &mut digests.awaited[key] {
            Awaited::Computed(digest) => {
                let digest = *digest;
                digests.awaited.remove(key);
                self.key = None;
                Poll::Ready(digest)
            }
            Awaited::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for DigestWait<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let digests = &mut *self.io.core.digests.borrow_mut();
        digests.awaited.remove(key);
        if digests
            .waiting
            .as_ref()
            .is_some_and(|(other, _)| *other == key)
        {
            digests.waiting = None;
        }
    }
}
