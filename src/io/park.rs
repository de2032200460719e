//! Items that give their place up while they wait for their own subject.

use super::core::Io;
use super::places::Parked;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, Waker};

impl Io {
    /// Waits for something that is tied to the item's own subject: a place at its server, a pause
    /// its host asked for. Meanwhile the item holds a place of the window, but none of those in
    /// flight. What is ready at once costs nothing. Afterwards it waits for a place.
    ///
    /// An item that drops this before it is ready, and goes on, has a place again at once, even if
    /// that is one too many. So what ends such a wait early, a time for example, is best put into
    /// `future`.
    pub async fn park<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut parking = Parking::new(self, Parked::Yes);
        let output = poll_fn(|context| {
            let poll = future.as_mut().poll(context);
            if poll.is_pending() && parking.parks.is_none() {
                parking.park();
            }
            poll
        });
        let output = output.await;
        poll_fn(|context| parking.unpark(context.waker())).await;
        output
    }
}

/// A wait for which an item is parked. Of several at a time, one inside another or side by side, the
/// first parks the item.
#[derive(Debug)]
pub(super) struct Parking {
    io: Io,
    /// How the item is parked.
    like: Parked,
    /// The slot of the item that it has parked.
    parks: Option<u32>,
    ticket: Option<u64>,
}

impl Parking {
    fn new(io: &Io, like: Parked) -> Self {
        Self {
            io: io.clone(),
            like,
            parks: None,
            ticket: None,
        }
    }

    /// For an item that waits for others of the run: see [`Parked::Lending`].
    pub(super) fn lending(io: &Io) -> Self {
        Self::new(io, Parked::Lending)
    }

    pub(super) fn park(&mut self) {
        let state = &mut *self.io.borrow();
        let slot = self.io.core.current.get();
        // Tasks of the loop hold no place.
        let Some(item) = state.items.get_mut(slot as usize) else {
            return;
        };
        match item.parked {
            Parked::Yes | Parked::Lending | Parked::Returning => return,
            Parked::No => state.places.park(),
            Parked::UntilPolled => {}
        }
        item.parked = self.like;
        if self.like == Parked::Lending {
            state.places.lend();
        }
        self.parks = Some(slot);
    }

    pub(super) fn unpark(&mut self, waker: &Waker) -> Poll<()> {
        if let Some(slot) = self.parks {
            let state = &mut *self.io.borrow();
            let has_place = state.places.unpark(&mut self.ticket, waker);
            let item = &mut state.items[slot as usize];
            state.places.stop_lending(item.parked);
            if !has_place {
                item.parked = Parked::Returning;
                return Poll::Pending;
            }
            item.parked = Parked::No;
            (self.parks, self.ticket) = (None, None);
        }
        Poll::Ready(())
    }
}

impl Drop for Parking {
    fn drop(&mut self) {
        let Some(slot) = self.parks else { return };
        let state = &mut *self.io.borrow();
        let item = &mut state.items[slot as usize];
        if state.places.leave(self.ticket) {
            item.parked = Parked::No;
        } else if self.io.core.current.get() == slot {
            state.places.stop_lending(item.parked);
            item.parked = Parked::UntilPolled;
            self.io.core.park_was_dropped.set(true);
        }
        // Otherwise the whole task is dropped, and the item ends as it is.
    }
}
