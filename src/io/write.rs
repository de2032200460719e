//! Handing over a result in parts.

use super::core::Io;
use super::op_slab::BACKGROUND;
use super::park::Parking;
use super::part_writer::{Admission, PartWriter};
use crate::error::Errno;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Hands over a part of the item's result. Made by [`Io::write`].
#[derive(Debug)]
#[must_use = "the part is handed over when this is polled"]
pub struct Write {
    io: Io,
    part: Vec<u8>,
    waits: Option<Waits>,
    parking: Parking,
}

/// A writer that waits, or was woken and has not tried again.
#[derive(Clone, Copy, Debug)]
struct Waits {
    slot: u32,
    item: u64,
    ticket: u64,
}

impl Write {
    pub(super) fn new(io: Io, part: Vec<u8>) -> Self {
        Self {
            parking: Parking::lending(&io),
            io,
            part,
            waits: None,
        }
    }

    /// Records whether it waits.
    fn set_waits(&mut self, waits: Option<Waits>) {
        let before = std::mem::replace(&mut self.waits, waits);
        let items = &mut self.io.borrow().items;
        if let Some(before) = before {
            items[before.slot as usize].writes_waiting -= 1;
        }
        if let Some(waits) = waits {
            items[waits.slot as usize].writes_waiting += 1;
        }
    }
}

impl Future for Write {
    type Output = Result<(), Errno>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let waker = context.waker();
        if this.part.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if !this.io.may_step() {
            waker.wake_by_ref();
            return Poll::Pending;
        }
        if this.parking.unpark(waker).is_pending() {
            return Poll::Pending;
        }
        let (slot, item) = this.io.writing_item();
        let mut ticket = this.waits.map(|waits| waits.ticket);
        let writer = this.io.part_writer();
        let admission = writer.write(item, &mut this.part, &mut ticket, waker);
        this.set_waits(ticket.map(|ticket| Waits { slot, item, ticket }));
        match admission {
            Admission::HandedOver { .. } => {
                this.io.borrow().items[slot as usize].has_written = true;
                Poll::Ready(Ok(()))
            }
            Admission::Refused => Poll::Ready(Err(Errno::new(libc::EPIPE))),
            Admission::Waits { is_front } => {
                // The item at the front keeps its place: all others wait for it.
                if !is_front && !this.io.core.is_worker {
                    this.parking.park();
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if let Some(Waits { item, ticket, .. }) = self.waits {
            self.set_waits(None);
            self.io.part_writer().forget(item, ticket);
        }
    }
}

impl Io {
    /// Hands over a part of the item's result, once there is room for it: a part of an earlier item
    /// may have to be emitted first. All parts that were handed over are emitted in order, before
    /// the result, even if that is an error. They are lost only if the item is given up at its
    /// deadline, or the run ends early.
    ///
    /// If it is dropped before it is ready, the part was not handed over. An item writes one part
    /// at a time. While it waits, it must not hold what other items of its loop need to make
    /// progress: a [`Buffer`](super::Buffer) or a permit. Each part is given to the sink
    /// separately, so it should be large enough: some kilobytes at least. An empty part is ignored.
    ///
    /// After the run has been stopped it is never ready, because the task is about to be dropped.
    ///
    /// # Errors
    /// EPIPE if the item was given up at its deadline while a worker runs it. Its result is then
    /// discarded, too.
    ///
    /// # Panics
    /// If it is awaited by a background task, or the run takes no parts.
    pub fn write(&self, part: Vec<u8>) -> Write {
        Write::new(self.clone(), part)
    }

    /// Sets the receiver of parts.
    pub(crate) fn write_parts_to(&self, writer: Arc<dyn PartWriter>) {
        let _ = self.core.part_writer.set(writer);
    }

    /// The slot and the index of the item whose task is polled.
    fn writing_item(&self) -> (u32, u64) {
        let slot = self.core.current.get();
        assert_ne!(slot, BACKGROUND, "a task of the loop itself has no result");
        (slot, self.borrow().items[slot as usize].index)
    }
}
