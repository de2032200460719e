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
        let mut parking = Parking {
            io: self,
            parks: None,
            ticket: None,
        };
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
struct Parking<'a> {
    io: &'a Io,
    /// The slot of the item that it has parked.
    parks: Option<u32>,
    ticket: Option<u64>,
}

impl Parking<'_> {
    fn park(&mut self) {
        let state = &mut *self.io.borrow();
        let slot = self.io.core.current.get();
        // Tasks of the loop hold no place.
        let Some(item) = state.items.get_mut(slot as usize) else {
            return;
        };
        match std::mem::replace(&mut item.parked, Parked::Yes) {
            parked @ (Parked::Yes | Parked::Returning) => {
                item.parked = parked;
                return;
            }
            Parked::No => state.places.park(),
            Parked::UntilPolled => {}
        }
        self.parks = Some(slot);
    }

    fn unpark(&mut self, waker: &Waker) -> Poll<()> {
        if let Some(slot) = self.parks {
            let state = &mut *self.io.borrow();
            let has_place = state.places.unpark(&mut self.ticket, waker);
            let item = &mut state.items[slot as usize];
            if !has_place {
                item.parked = Parked::Returning;
                return Poll::Pending;
            }
            item.parked = Parked::No;
            self.parks = None;
        }
        Poll::Ready(())
    }
}

impl Drop for Parking<'_> {
    fn drop(&mut self) {
        let Some(slot) = self.parks else { return };
        let state = &mut *self.io.borrow();
        let item = &mut state.items[slot as usize];
        if state.places.leave(self.ticket) {
            item.parked = Parked::No;
        } else if self.io.core.current.get() == slot {
            item.parked = Parked::UntilPolled;
            self.io.core.park_was_dropped.set(true);
        }
        // Otherwise the whole task is dropped, and the item ends as it is.
    }
}
