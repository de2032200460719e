//! Futures, results and a source that follow a script, and a record of what happened, which does not
//! depend on the code under test.

use crate::window::Order;
use futures_core::Stream;
use std::cell::RefCell;
use std::panic;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// The waker of a task under test: records that it was called.
#[derive(Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn woken() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// What one future does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    /// The number of polls in which it wakes itself and is pending.
    pub(super) yields: u8,
    /// Waits until the schedule releases it.
    pub(super) waits: bool,
    /// Panics instead of finishing.
    pub(super) panics: bool,
}

#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) in_flight: usize,
    pub(super) window: usize,
    pub(super) order: Order,
    pub(super) scripts: Vec<Script>,
}

/// One item that was pulled.
struct Item {
    script: Script,
    /// Woken, or new, and not polled since.
    is_due: bool,
    is_finished: bool,
    is_dropped: bool,
    waker: Option<Waker>,
}

/// The state of the scripted futures and of their source.
pub(super) struct World {
    scenario: Scenario,
    items: Vec<Item>,
    /// The number of items that the source yields before it is pending; for an iterator, all.
    available: usize,
    source_waker: Option<Waker>,
    pub(super) source_is_pending: bool,
    pub(super) source_ended: bool,
    finished: Vec<usize>,
    pub(super) emitted: usize,
    pub(super) results_alive: usize,
    /// Some wakers that futures were polled with, also earlier ones.
    old_wakers: Vec<Waker>,
}

pub(super) type Shared = Rc<RefCell<World>>;

impl World {
    pub(super) fn new(scenario: Scenario, available: usize) -> Shared {
        Rc::new(RefCell::new(Self {
            scenario,
            items: Vec::new(),
            available,
            source_waker: None,
            source_is_pending: false,
            source_ended: false,
            finished: Vec::new(),
            emitted: 0,
            results_alive: 0,
            old_wakers: Vec::new(),
        }))
    }

    pub(super) fn pulled(&self) -> usize {
        self.items.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.items.len() - self.finished.len()
    }

    fn between(&self) -> usize {
        self.pulled() - self.emitted
    }

    pub(super) fn items_left(&self) -> usize {
        self.scenario.scripts.len() - self.emitted
    }

    /// True if an item can be pulled now.
    pub(super) fn can_pull(&self) -> bool {
        self.pulled() < self.available.min(self.scenario.scripts.len())
            && self.in_flight() < self.scenario.in_flight
            && self.between() < self.scenario.window
    }

    fn pull(&mut self) {
        // I1 and I2, before the item is counted.
        assert!(self.in_flight() < self.scenario.in_flight, "I1: F > N");
        assert!(self.between() < self.scenario.window, "I2: F + R > W");
        let script = self.scenario.scripts[self.items.len()];
        self.items.push(Item {
            script,
            is_due: true,
            is_finished: false,
            is_dropped: false,
            waker: None,
        });
    }

    /// Counts a result and compares it with the expected one (I3).
    pub(super) fn emit(&mut self, index: usize) {
        let expected = match self.scenario.order {
            Order::Input => self.emitted,
            Order::Completion => self.finished[self.emitted],
        };
        assert_eq!(index, expected, "I3: not the expected result");
        self.emitted += 1;
    }

    pub(super) fn head_is_finished(&self) -> bool {
        match self.scenario.order {
            Order::Input => self
                .items
                .get(self.emitted)
                .is_some_and(|item| item.is_finished),
            Order::Completion => self.finished.len() > self.emitted,
        }
    }

    /// What must hold when the task that polls the futures waits.
    pub(super) fn check_wait(&self) {
        let all_started = self.in_flight() == self.scenario.in_flight
            || self.source_ended
            || self.source_is_pending
            || self.between() == self.scenario.window;
        assert!(all_started, "I5: it waits, though an item could be started");
        let due = self
            .items
            .iter()
            .position(|item| item.is_due && !item.is_dropped);
        assert_eq!(due, None, "a wake was lost");
    }

    /// What must hold when the task that takes the results waits.
    pub(super) fn check_consumer_waits(&self) {
        assert!(
            !self.head_is_finished(),
            "I6, I12: the head is ready and not emitted"
        );
    }

    /// What must hold when the stream has ended.
    pub(super) fn check_end(&self) {
        assert!(self.source_ended);
        assert_eq!(self.emitted, self.pulled(), "I4");
        assert_eq!(self.items_left(), 0, "I4");
    }

    /// What must hold when everything is dropped. (`Scripted::drop` checks that no future is dropped twice.)
    pub(super) fn check_all_dropped(&self) {
        assert!(
            self.items.iter().all(|item| item.is_dropped),
            "a future is left"
        );
        assert_eq!(self.results_alive, 0, "a result is left");
    }

    /// Chooses a waiting item by a random number.
    pub(super) fn waiting_item(&self, random: usize) -> Option<usize> {
        let waits = |&index: &usize| {
            let item = &self.items[index];
            item.script.waits && !item.is_dropped
        };
        let count = (0..self.items.len()).filter(waits).count();
        (count > 0).then(|| (0..self.items.len()).filter(waits).nth(random % count))?
    }

    /// Lets an item finish; returns the waker to call, if the item was polled since its last wake.
    #[must_use]
    pub(super) fn release(&mut self, index: usize) -> Option<Waker> {
        let item = &mut self.items[index];
        item.script.waits = false;
        let waker = item.waker.take();
        item.is_due = waker.is_some() || item.is_due;
        waker
    }

    /// Makes `count` more items available; returns the waker of the source.
    #[must_use]
    pub(super) fn open_source(&mut self, count: usize) -> Option<Waker> {
        self.available = self.available.saturating_add(count);
        self.source_waker.take()
    }

    pub(super) fn pop_old_waker(&mut self) -> Option<Waker> {
        self.old_wakers.pop()
    }

    pub(super) fn old_waker(&self, random: usize) -> Option<Waker> {
        let count = self.old_wakers.len();
        (count > 0).then(|| self.old_wakers[random % count].clone())
    }
}

pub(super) struct Scripted {
    world: Shared,
    index: usize,
}

/// The result of an item.
pub(super) struct Token {
    world: Shared,
    pub(super) index: usize,
}

impl Future for Scripted {
    type Output = Token;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Token> {
        let mut world = self.world.borrow_mut();
        if world.old_wakers.len() < 8 {
            world.old_wakers.push(cx.waker().clone());
        }
        let item = &mut world.items[self.index];
        assert!(!item.is_finished, "polled after its end");
        item.is_due = false;
        if item.script.yields > 0 {
            item.script.yields -= 1;
            item.is_due = true;
            drop(world);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if item.script.waits {
            item.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if item.script.panics {
            drop(world);
            // Unlike `panic!`, this does not print anything.
            panic::resume_unwind(Box::new("scripted"));
        }
        item.is_finished = true;
        world.finished.push(self.index);
        world.results_alive += 1;
        assert!(
            world.results_alive <= world.scenario.window,
            "I8: more results than W"
        );
        Poll::Ready(Token {
            world: Rc::clone(&self.world),
            index: self.index,
        })
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let item = &mut self.world.borrow_mut().items[self.index];
        assert!(!item.is_dropped, "dropped twice");
        item.is_dropped = true;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.world.borrow_mut().results_alive -= 1;
    }
}

/// The source, as an iterator and as a stream.
pub(super) struct Input(pub(super) Shared);

impl Iterator for Input {
    type Item = Scripted;

    fn next(&mut self) -> Option<Scripted> {
        let mut world = self.0.borrow_mut();
        assert!(!world.source_ended, "pulled after the end");
        if world.pulled() == world.scenario.scripts.len() {
            world.source_ended = true;
            return None;
        }
        world.pull();
        Some(Scripted {
            world: Rc::clone(&self.0),
            index: world.pulled() - 1,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let world = self.0.borrow();
        let left = world.scenario.scripts.len() - world.pulled();
        (left, Some(left))
    }
}

impl Stream for Input {
    type Item = Scripted;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Scripted>> {
        let mut world = self.0.borrow_mut();
        world.source_is_pending = world.pulled() == world.available;
        if world.source_is_pending {
            world.source_waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(world);
        Poll::Ready(self.next())
    }
}
