//! The invariants of the project's ARCHITECTURE.md on random schedules. They vary when each future becomes
//! ready; there are unnecessary wakes, wakes from another thread, slow consumers, pending sources, panics,
//! and drops at any step.

use super::script::{Flag, Input, Scenario, Script, Shared, Token, World};
use crate::materialize::Materialize;
use crate::source::Source;
use crate::split::{Driver, Outputs};
use crate::window::Order;
use crate::{MaterializeExt, materialize};
use futures_core::Stream;
use futures_core::stream::FusedStream;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

const SCHEDULES: u64 = 120_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Prints the seed of a schedule that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("to repeat this schedule alone: MATERIALIZE_SEED={}", self.0);
        }
    }
}

#[test]
fn the_invariants_hold_on_every_schedule() {
    if let Ok(seed) = env::var("MATERIALIZE_SEED") {
        run_schedule(seed.parse().expect("a number"));
        return;
    }
    let first = RandomState::new().hash_one(0);
    let mut outcomes = [0; 3];
    for number in 0..SCHEDULES {
        let seed = first.wrapping_add(number);
        let _on_failure = Seed(seed);
        outcomes[run_schedule(seed) as usize] += 1;
    }
    let often = |&count: &u64| count > SCHEDULES / 50;
    assert!(
        outcomes.iter().all(often),
        "some outcomes are rarely tested: {outcomes:?}"
    );
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Ended,
    Dropped,
    Panicked,
}

fn run_schedule(seed: u64) -> Outcome {
    let mut random = Random(seed);
    let in_flight = 1 + random.below(5);
    let window = in_flight + random.below(8);
    let order = if random.one_in(4) {
        Order::Completion
    } else {
        Order::Input
    };
    let quick = random.one_in(3);
    let panics = random.one_in(12);
    let scripts = (0..random.below(25)).map(|_| Script {
        yields: if random.one_in(3) {
            random.next() as u8 % 4
        } else {
            0
        },
        waits: !quick && !random.one_in(3),
        panics: panics && random.one_in(8),
    });
    let scenario = Scenario {
        in_flight,
        window,
        order,
        scripts: scripts.collect(),
    };
    let steps = if random.one_in(2) {
        1 + random.below(4)
    } else {
        128
    };
    let drop_at = random.one_in(4).then(|| random.below(60));

    macro_rules! run {
        ($stream:expr, $world:expr, $exact:expr) => {{
            let mut stream = $stream.window(window);
            if order == Order::Completion {
                stream = stream.unordered();
            }
            stream.set_steps_per_turn(steps);
            let tasks = if random.one_in(2) {
                Tasks::One(stream)
            } else {
                let (driver, rows) = stream.split();
                Tasks::Two(driver, rows)
            };
            Schedule::new(random, $world, tasks, $exact).run(drop_at)
        }};
    }
    if random.one_in(3) {
        let available = random.below(4);
        let world = World::new(scenario, available);
        run!(
            Input(Rc::clone(&world)).materialize_stream(in_flight),
            world,
            false
        )
    } else {
        let world = World::new(scenario, usize::MAX);
        run!(
            materialize(Input(Rc::clone(&world)), in_flight),
            world,
            true
        )
    }
}

impl Input {
    /// The source as a stream, though it is an iterator as well.
    fn materialize_stream(self, n: usize) -> Materialize<crate::FromStream<Self>> {
        MaterializeExt::materialize(self, n)
    }
}

/// What is under test.
enum Tasks<S: Source<Future: Future<Output = Token>>> {
    One(Materialize<S>),
    Two(Driver<S>, Outputs<Token>),
}

/// A task under test, and what its last poll returned.
struct Task {
    flag: Arc<Flag>,
    is_pending: bool,
    has_ended: bool,
}

impl Task {
    fn new() -> Self {
        Self {
            flag: Flag::woken(),
            is_pending: false,
            has_ended: false,
        }
    }

    fn waits(&self) -> bool {
        self.is_pending && !self.flag.is_set()
    }

    /// Some polls come with another waker than the last one; then only the new one counts.
    fn waker(&mut self, random: &mut Random) -> Waker {
        if random.one_in(4) {
            self.flag = Flag::woken();
        }
        self.flag.clear();
        Waker::from(Arc::clone(&self.flag))
    }
}

struct Schedule<S: Source<Future: Future<Output = Token>>> {
    random: Random,
    world: Shared,
    tasks: Tasks<S>,
    /// Polls the futures and, unless the stream is split, takes the results.
    driver: Task,
    consumer: Task,
    /// The source knows its length.
    is_exact: bool,
}

impl<S: Source<Future: Future<Output = Token>>> Schedule<S> {
    fn new(random: Random, world: Shared, tasks: Tasks<S>, is_exact: bool) -> Self {
        Self {
            random,
            world,
            tasks,
            driver: Task::new(),
            consumer: Task::new(),
            is_exact,
        }
    }

    fn is_split(&self) -> bool {
        matches!(self.tasks, Tasks::Two(..))
    }

    fn has_ended(&self) -> bool {
        self.driver.has_ended && (self.consumer.has_ended || !self.is_split())
    }

    fn run(mut self, drop_at: Option<usize>) -> Outcome {
        for step in 0..60 {
            if Some(step) == drop_at {
                self.drop_all();
                return Outcome::Dropped;
            }
            if self.has_ended() {
                break;
            }
            if self.step().is_err() {
                self.drop_all();
                return Outcome::Panicked;
            }
        }
        // From here on only tasks that were woken are polled, and all must end.
        while !self.has_ended() {
            let release = self.world.borrow().waiting_item(0);
            if let Some(index) = release {
                self.release(index);
            }
            let waker = self.world.borrow_mut().open_source(1);
            wake(waker);
            let driver_polls = self.driver.flag.is_set() && !self.driver.has_ended;
            let consumer_polls =
                self.is_split() && self.consumer.flag.is_set() && !self.consumer.has_ended;
            assert!(
                driver_polls || consumer_polls || release.is_some(),
                "nothing is woken, and it has not ended"
            );
            if driver_polls && self.poll_driver().is_err() {
                self.drop_all();
                return Outcome::Panicked;
            }
            if consumer_polls {
                self.poll_consumer();
            }
        }
        self.world.borrow().check_end();
        self.drop_all();
        Outcome::Ended
    }

    fn step(&mut self) -> Result<(), ()> {
        let random = self.random.next() as usize;
        match self.random.below(16) {
            0..5 if self.driver.flag.is_set() => return self.poll_driver(),
            5..9 if self.consumer.flag.is_set() => self.poll_consumer(),
            // Polls without a wake.
            9 => return self.poll_driver(),
            10 => self.poll_consumer(),
            11 => {
                let waker = self.world.borrow().old_waker(random);
                wake(waker);
            }
            12 => {
                let count = self.random.below(3);
                let waker = self.world.borrow_mut().open_source(count);
                wake(waker);
            }
            _ => {
                let index = self.world.borrow().waiting_item(random);
                if let Some(index) = index {
                    self.release(index);
                }
            }
        }
        self.check();
        Ok(())
    }

    fn release(&mut self, index: usize) {
        let waker = self.world.borrow_mut().release(index);
        if self.random.one_in(2000) {
            thread::scope(|scope| {
                scope.spawn(|| wake(waker));
            });
        } else if let Some(waker) = waker {
            if self.random.one_in(2) {
                waker.wake_by_ref();
            } else {
                waker.wake();
            }
        }
    }

    fn poll_driver(&mut self) -> Result<(), ()> {
        if self.driver.has_ended {
            return Ok(());
        }
        let waker = self.driver.waker(&mut self.random);
        self.driver.is_pending = false;
        let mut cx = Context::from_waker(&waker);
        let could_pull = self.world.borrow().can_pull();
        let pulled = self.world.borrow().pulled();
        let polled = panic::catch_unwind(AssertUnwindSafe(|| match &mut self.tasks {
            Tasks::One(stream) => Pin::new(stream).poll_next(&mut cx),
            Tasks::Two(driver, _) => Pin::new(driver).poll(&mut cx).map(|()| None),
        }));
        let polled = polled.map_err(|payload| {
            // Failed assertions of the scripts are propagated; scripted panics end the schedule.
            if payload.downcast_ref::<&str>() != Some(&"scripted") {
                panic::resume_unwind(payload);
            }
        })?;
        if could_pull {
            assert!(
                self.world.borrow().pulled() > pulled,
                "I14: an item could be started"
            );
        }
        self.driver.is_pending = polled.is_pending();
        match polled {
            Poll::Ready(Some(token)) => self.world.borrow_mut().emit(token.index),
            Poll::Ready(None) => self.driver.has_ended = true,
            Poll::Pending => {}
        }
        // After a result the consumer polls again.
        if matches!(self.tasks, Tasks::One(_)) && !self.driver.is_pending {
            self.driver.flag = Flag::woken();
        }
        self.check();
        Ok(())
    }

    fn poll_consumer(&mut self) {
        let Tasks::Two(_, rows) = &mut self.tasks else {
            return;
        };
        let waker = self.consumer.waker(&mut self.random);
        let polled = Pin::new(rows).poll_next(&mut Context::from_waker(&waker));
        self.consumer.is_pending = polled.is_pending();
        match polled {
            Poll::Ready(Some(token)) => self.world.borrow_mut().emit(token.index),
            Poll::Ready(None) => self.consumer.has_ended = true,
            Poll::Pending => {}
        }
        if !self.consumer.is_pending {
            self.consumer.flag = Flag::woken();
        }
        self.check();
    }

    fn check(&self) {
        let world = self.world.borrow();
        if self.driver.waits() {
            world.check_wait();
        }
        match &self.tasks {
            Tasks::One(stream) => {
                if self.driver.waits() {
                    world.check_consumer_waits();
                }
                assert_eq!(stream.in_flight(), world.in_flight());
                assert_eq!(
                    stream.is_terminated(),
                    self.has_ended() || is_drained(&world)
                );
                if self.is_exact {
                    let left = world.items_left();
                    assert_eq!(stream.size_hint(), (left, Some(left)));
                }
            }
            Tasks::Two(_, rows) => {
                if self.consumer.waits() {
                    world.check_consumer_waits();
                }
                assert!(!self.consumer.has_ended || rows.is_terminated());
            }
        }
    }

    fn drop_all(self) {
        let Self {
            mut random,
            world,
            tasks,
            driver: driver_task,
            ..
        } = self;
        match tasks {
            Tasks::One(stream) => drop(stream),
            Tasks::Two(driver, rows) if random.one_in(3) => {
                drop(driver);
                drop(rows);
            }
            Tasks::Two(mut driver, rows) => {
                drop(rows);
                // A driver that has not unwound ends when the rows are dropped.
                if !driver_task.has_ended && driver_task.is_pending {
                    assert!(driver_task.flag.is_set(), "the driver was not woken");
                    let waker = Waker::from(Arc::clone(&driver_task.flag));
                    let polled = Pin::new(&mut driver).poll(&mut Context::from_waker(&waker));
                    assert!(polled.is_ready());
                    world.borrow().check_all_dropped();
                }
            }
        }
        world.borrow().check_all_dropped();
        // Wakers that are left wake no task.
        driver_task.flag.clear();
        while let Some(waker) = world.borrow_mut().pop_old_waker() {
            waker.wake();
        }
        assert!(!driver_task.flag.is_set());
    }
}

fn is_drained(world: &World) -> bool {
    world.source_ended && world.items_left() == 0
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
