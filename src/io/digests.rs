//! Digests of content that fits into one buffer, several at a time where that is faster.

use super::buffer::Buffer;
use super::core::Io;
use super::digest_queue::{Awaited, Content, DigestQueue, Waiting};
use crate::digest::{Algorithm, Digest};
use crate::stats::Phase;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

impl Io {
    /// The digest of the first `len_bytes` bytes of a buffer; the time counts as `phase`. Where the
    /// algorithm is faster for a group of messages, the digest waits for others, but only until all
    /// tasks that are ready have been polled.
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

    /// The digest if it is computed alone; otherwise the key under which it is waited for.
    fn digest_or_wait(&self, content: Content) -> Result<Digest, usize> {
        // The next operation on a worker may block.
        let group_len = match self.core.is_worker {
            true => 1,
            false => content.algorithm.group_len(),
        };
        let digests = &mut *self.core.digests.borrow_mut();
        let other = digests.waiting.first();
        let is_other_kind = other.is_some_and(|other| other.content.algorithm != content.algorithm);
        if group_len == 1 || is_other_kind {
            let digest = content.algorithm.digest(content.bytes());
            self.laps([content.phase]);
            return Ok(digest);
        }
        let key = digests.awaited.insert(Awaited::Waiting(None));
        digests.waiting.push(Waiting { key, content });
        if digests.waiting.len() == group_len {
            self.compute_waiting(digests);
        }
        Err(key)
    }

    /// True if digests wait for their group.
    pub(crate) fn digests_wait(&self) -> bool {
        !self.core.digests.borrow().waiting.is_empty()
    }

    /// Computes the digests that wait for their group. False if there are none.
    pub(crate) fn compute_digests(&self) -> bool {
        let digests = &mut *self.core.digests.borrow_mut();
        if digests.waiting.is_empty() {
            return false;
        }
        self.borrow().refresh();
        self.compute_waiting(digests);
        true
    }

    fn compute_waiting(&self, digests: &mut DigestQueue) {
        let mut waiting = mem::take(&mut digests.waiting);
        match &waiting[..] {
            [] => {}
            [a] => self.compute([a], digests),
            [a, b] => self.compute([a, b], digests),
            [a, b, c] => self.compute([a, b, c], digests),
            [a, b, c, d] => self.compute([a, b, c, d], digests),
            _ => unreachable!("no algorithm has larger groups"),
        }
        waiting.clear();
        digests.waiting = waiting;
    }

    fn compute<const N: usize>(&self, group: [&Waiting; N], digests: &mut DigestQueue) {
        let algorithm = group[0].content.algorithm;
        let of_group = algorithm.digest_group(group.map(|waiting| waiting.content.bytes()));
        self.laps(group.map(|waiting| waiting.content.phase));
        for (waiting, digest) in group.iter().zip(of_group) {
            digests.computed(waiting.key, digest);
        }
    }
}

/// Waits for a digest that is computed together with others.
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
        digests.waiting.retain(|waiting| waiting.key != key);
    }
}
