//! Items that give their place up while they wait for something of their own subject.

use super::core::Io;
use super::places::Parked;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, Waker};

impl Io {
    /// Waits for `future`, which is tied to the item's own subject, such as capacity at its server
    /// or a pause that its host asked for. Meanwhile the item counts in the window, but not as in
    /// flight. If the future is ready at once, that costs nothing. Otherwise the item waits for a
    /// place afterwards.
    ///
    /// An item that drops this before it is ready, and goes on, takes a place at once, even if that
    /// exceeds the limit. So whatever ends such a wait early, for example a timeout, should be part
    /// of `future`.
    pub async fn park<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut parking = Parking::new(self, Parked::Yes);
        let output = poll_fn(|context| {
            let poll = future.as_mut().poll(context);
            if poll.is_pending() && parking.parked_slot.is_none() {
                parking.park();
            }
            poll
        });
        let output = output.await;
        poll_fn(|context| parking.unpark(context.waker())).await;
        output
    }
}

/// A wait for which an item is parked. If there are several at a time, nested or concurrent, the
/// first one parks the item.
#[derive(Debug)]
pub(super) struct Parking {
    io: Io,
    /// How the item is parked.
    parked_as: Parked,
    /// The slot of the item that it has parked.
    parked_slot: Option<u32>,
    ticket: Option<u64>,
}

impl Parking {
    fn new(io: &Io, parked_as: Parked) -> Self {
        Self {
            io: io.clone(),
            parked_as,
            parked_slot: None,
            ticket: None,
        }
    }

    /// For an item that waits for other items of the run: see [`Parked::Lending`].
    pub(super) fn lending(io: &Io) -> Self {
        Self::new(io, Parked::Lending)
    }

    pub(super) fn park(&mut self) {
        let state = &mut *self.io.borrow();
        let slot = self.io.core.current.get();
        // Background tasks hold no place.
        let Some(item) = state.items.get_mut(slot as usize) else {
            return;
        };
        match item.parked {
            Parked::Yes | Parked::Lending | Parked::Returning => return,
            Parked::No => state.places.park(),
            Parked::UntilPolled => {}
        }
        item.parked = self.parked_as;
        if self.parked_as == Parked::Lending {
            state.places.lend();
        }
        self.parked_slot = Some(slot);
    }

    pub(super) fn unpark(&mut self, waker: &Waker) -> Poll<()> {
        if let Some(slot) = self.parked_slot {
            let state = &mut *self.io.borrow();
            let has_place = state.places.unpark(&mut self.ticket, waker);
            let item = &mut state.items[slot as usize];
            state.places.stop_lending(item.parked);
            if !has_place {
                item.parked = Parked::Returning;
                return Poll::Pending;
            }
            item.parked = Parked::No;
            (self.parked_slot, self.ticket) = (None, None);
        }
        Poll::Ready(())
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        let Some(slot) = self.parked_slot else { return };
        let state = &mut *self.io.borrow();
        let item = &mut state.items[slot as usize];
        if state.places.leave(self.ticket) {
            item.parked = Parked::No;
        } else if self.io.core.current.get() == slot {
            state.places.stop_lending(item.parked);
            item.parked = Parked::UntilPolled;
            self.io.core.park_was_dropped.set(true);
        }
        // Otherwise the whole task is being dropped, and the item ends in this state.
    }
}
