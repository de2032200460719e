//! Permits for a limited resource, granted in the order of the requests.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A first-in-first-out semaphore for the futures of one loop. Cheap to clone; clones share the
/// permits.
#[derive(Clone, Debug)]
pub struct Semaphore(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    next_ticket: u64,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    /// A permit was granted to it, which `free` no longer counts.
    is_granted: bool,
    waker: Waker,
}

impl Semaphore {
    /// A semaphore with this many permits.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self(Rc::new(RefCell::new(State {
            free: permits,
            next_ticket: 0,
            waiters: VecDeque::new(),
        })))
    }

    /// Waits for a permit, after those who asked earlier.
    pub fn acquire(&self) -> Acquire {
        Acquire {
            semaphore: self.clone(),
            ticket: None,
        }
    }

    /// A permit, if one is free and no future waits for one.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Permit> {
        if self.free() == 0 || self.is_awaited() {
            return None;
        }
        self.0.borrow_mut().free -= 1;
        Some(Permit(self.clone()))
    }

    /// True if a future waits for a permit.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        // Waiters that were granted a permit and not polled since then no longer wait.
        let last = self.0.borrow().waiters.back().map(|last| last.is_granted);
        last == Some(false)
    }

    /// Permits that are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.0.borrow().free
    }

    fn release(&self) {
        let mut state = self.0.borrow_mut();
        let next = state.waiters.iter_mut().find(|waiter| !waiter.is_granted);
        match next {
            Some(waiter) => {
                waiter.is_granted = true;
                waiter.waker.wake_by_ref();
            }
            None => state.free += 1,
        }
    }
}

/// A permit. Dropping it grants it to the first waiter.
#[derive(Debug)]
pub struct Permit(Semaphore);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Waits for a [`Permit`]. Dropping it gives up the position in the queue, or the permit that was
/// granted meanwhile.
#[derive(Debug)]
#[must_use = "a permit is waited for when this is polled"]
pub struct Acquire {
    semaphore: Semaphore,
    ticket: Option<u64>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let Some(ticket) = self.ticket else {
            if let Some(permit) = self.semaphore.try_acquire() {
                return Poll::Ready(permit);
            }
            let mut state = self.semaphore.0.borrow_mut();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiters.push_back(Waiter {
                ticket,
                is_granted: false,
                waker: context.waker().clone(),
            });
            drop(state);
            self.ticket = Some(ticket);
            return Poll::Pending;
        };
        let mut state = self.semaphore.0.borrow_mut();
        let at = state.position(ticket);
        if state.waiters[at].is_granted {
            state.waiters.remove(at);
            drop(state);
            self.ticket = None;
            return Poll::Ready(Permit(self.semaphore.clone()));
        }
        state.waiters[at].waker.clone_from(context.waker());
        Poll::Pending
    }
}

impl State {
    fn position(&self, ticket: u64) -> usize {
        let at = self
            .waiters
            .iter()
            .position(|waiter| waiter.ticket == ticket);
        at.expect("a waiter stays in the queue until it has its permit")
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.semaphore.0.borrow_mut();
        let at = state.position(ticket);
        let waiter = state.waiters.remove(at).expect("just found");
        drop(state);
        if waiter.is_granted {
            self.semaphore.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn permits_go_out_in_the_order_they_were_asked_for() {
        let semaphore = Semaphore::new(1);
        let first = semaphore.try_acquire().expect("one is free");
        let (mut second, mut third) = (pin!(semaphore.acquire()), pin!(semaphore.acquire()));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        drop(first);
        assert!(
            semaphore.try_acquire().is_none(),
            "it belongs to the second"
        );
        assert!(poll(third.as_mut()).is_pending());
        let Poll::Ready(permit) = poll(second.as_mut()) else {
            panic!("the second is next")
        };
        drop(permit);
        assert!(poll(third.as_mut()).is_ready());
        assert_eq!(semaphore.free(), 1);
    }

    #[test]
    fn a_granted_permit_blocks_no_other_waiter() {
        let semaphore = Semaphore::new(2);
        let (first, second) = (semaphore.try_acquire(), semaphore.try_acquire());
        let mut third = pin!(semaphore.acquire());
        assert!(poll(third.as_mut()).is_pending());
        drop(first);
        drop(second);
        // The third was granted its permit and has not been polled since; the other one is free.
        let fourth = poll(pin!(semaphore.acquire()).as_mut());
        assert!(fourth.is_ready());
        assert!(poll(third.as_mut()).is_ready());
    }

    #[test]
    fn a_waiter_that_is_dropped_passes_its_permit_on() {
        let semaphore = Semaphore::new(1);
        let first = semaphore.try_acquire().expect("one is free");
        let mut second = Box::pin(semaphore.acquire());
        let mut third = pin!(semaphore.acquire());
        let mut fourth = Box::pin(semaphore.acquire());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        assert!(poll(fourth.as_mut()).is_pending());
        drop(fourth);
        drop(first);
        drop(second);
        assert!(poll(third.as_mut()).is_ready());
        assert_eq!(semaphore.free(), 1);
    }
}
