//! An event loop on a simulated carrier, and what must hold for the loops of a run.

use super::ledger::Ledger;
use ringmill::clock::Clock;
use ringmill::io::sim::{SimCarrier, SimHandle, World};
use ringmill::io::{Carrier, Io, IoLimits, Wait};
use ringmill::jobs::Job;
use ringmill::mill::Mill;
use ringmill::run::{EventLoop, Held, LoopLimits, Turn, WorkerContext, Workers, tasks_of};
use ringmill::stats::{Collector, Recorder, Stopwatch};
use std::sync::Arc;
use std::time::Duration;

/// How long a loop leaves items to other loops.
pub const YIELD_PAUSE: Duration = Duration::from_millis(1);

/// What all loops of a simulation are made from.
pub struct Parts<'a, J: Job> {
    pub job: &'a Arc<J>,
    pub world: &'a Arc<World>,
    pub mill: &'a Arc<Mill<J::Value>>,
    pub workers: &'a Arc<Workers<J::Value>>,
    pub in_flight: usize,
    pub large_buffers: usize,
    pub parked: usize,
    pub timeout: Option<Duration>,
    pub collector: Option<&'a Arc<Collector>>,
    /// The ledger of the items and timers of each loop, if the job keeps one.
    pub ledger: Ledger,
}

/// Workers without threads: the loops run their items themselves.
pub fn workers<J: Job>(
    job: &Arc<J>,
    world: &Arc<World>,
    seed: u64,
    collector: Option<&Arc<Collector>>,
) -> Arc<Workers<J::Value>> {
    let (job, world, collector) = (Arc::clone(job), Arc::clone(world), collector.cloned());
    // Enough for the loops of any test.
    Workers::new(16, 0, None, move |_| {
        let carrier = SimCarrier::for_worker(Arc::clone(&world), seed);
        WorkerContext::with(
            &*job,
            Box::new(carrier),
            Recorder::new(collector.clone()),
            true,
        )
    })
}

impl<J: Job> Parts<'_, J> {
    /// The loop with this number, on a carrier of its own.
    pub fn new_loop(&self, index: usize, seed: u64) -> SimLoop<J::Value> {
        let carrier = SimCarrier::new(Arc::clone(self.world), seed);
        let handle = carrier.handle();
        SimLoop::new(self.event_loop(index, Box::new(carrier)), handle)
    }

    /// The loop with this number, on another carrier.
    pub fn event_loop(&self, index: usize, carrier: Box<dyn Carrier>) -> EventLoop<J::Value> {
        let limits = IoLimits {
            in_flight: self.in_flight,
            large_buffers: self.large_buffers,
            parked: self.parked,
        };
        let recorder = Recorder::new(self.collector.cloned());
        let io = Io::new(
            carrier,
            limits,
            Stopwatch::new(recorder, self.timeout.is_some()),
        );
        let making = self.ledger.making(index);
        let tasks = tasks_of(&**self.job, &io);
        drop(making);
        let limits = LoopLimits {
            in_flight: self.in_flight,
            timeout: self.timeout,
        };
        let (mill, workers) = (Arc::clone(self.mill), Arc::clone(self.workers));
        EventLoop::new(index, mill, io, tasks, workers, limits)
    }
}

/// A loop, and its present wait.
pub struct SimLoop<V> {
    pub event_loop: Option<EventLoop<V>>,
    pub handle: Arc<SimHandle>,
    wait: Wait,
    /// When that wait ends by itself.
    waits_until: Option<Duration>,
    /// It has taken a turn.
    has_begun: bool,
}

impl<V: Send + 'static> SimLoop<V> {
    pub fn new(event_loop: EventLoop<V>, handle: Arc<SimHandle>) -> Self {
        Self {
            event_loop: Some(event_loop),
            handle,
            wait: Wait::No,
            waits_until: None,
            has_begun: false,
        }
    }

    /// True if it waits, or has not begun: then the mill knows all the room that it has.
    pub fn is_idle(&self) -> bool {
        self.event_loop.is_some() && (self.wait != Wait::No || !self.has_begun)
    }

    /// Waits as the last turn requested, but not past `next_timer`, and takes a turn. `None` if nothing
    /// ends its wait.
    pub fn turn(&mut self, next_timer: Option<Duration>, clock: &impl Clock) -> Option<Turn> {
        let event_loop = self.event_loop.as_mut()?;
        if !self.handle.would_return(self.wait) {
            return None;
        }
        let wait = match (self.wait, next_timer) {
            (Wait::No, _) | (_, None) => self.wait,
            (_, Some(at)) => Wait::AtMost(at.saturating_sub(clock.now())),
        };
        event_loop.wait(wait).unwrap();
        let turn = event_loop.turn();
        self.waits_until = None;
        self.has_begun = true;
        if let Turn::Wait(wait) = turn {
            self.wait = wait;
            self.waits_until = match wait {
                Wait::No => Some(clock.now()),
                Wait::AtMost(duration) => Some(clock.now() + duration),
                Wait::Forever => None,
            };
        }
        Some(turn)
    }

    /// When it will take its next turn even if nothing wakes it.
    pub fn next_turn(&self, now: Duration) -> Option<Duration> {
        if self.wait == Wait::No || self.handle.is_woken() {
            return Some(now);
        }
        [self.waits_until, self.handle.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// True if it has taken a turn.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Its items in flight.
    pub fn in_flight(&self) -> usize {
        self.event_loop.as_ref().map_or(0, EventLoop::in_flight)
    }

    /// Until when it waits, if the wait ends by itself, and what it holds meanwhile. `None` if
    /// something is to be done at once, or a worker has just ended an item.
    pub fn really_waits(&self, wait: Wait, now: Duration) -> Option<(Option<Duration>, Held)> {
        let until = match wait {
            _ if self.handle.is_woken() => return None,
            Wait::No => return None,
            Wait::AtMost(time) => Some(now + time),
            Wait::Forever => None,
        };
        let event_loop = self.event_loop.as_ref().expect("it waits");
        Some((until, event_loop.held()))
    }

    /// Items that hold a place and have not been given up.
    fn unfinished(&self) -> usize {
        let held = self.event_loop.as_ref().map(EventLoop::held);
        held.map_or(0, |held| held.in_flight - held.given_up)
    }

    /// True if it has a place for another item.
    pub fn has_place(&self, in_flight_max: usize) -> bool {
        let event_loop = self.event_loop.as_ref();
        event_loop.is_some_and(|event_loop| event_loop.in_flight() < in_flight_max)
    }
}

/// The first time that one of the loops waits for: the clock must not pass it.
pub fn next_timer<V>(loops: &[SimLoop<V>]) -> Option<Duration> {
    loops.iter().filter_map(|one| one.waits_until).min()
}

/// I5, for a loop that is about to wait although an item can be pulled: it has no place for one, or,
/// for a moment, it leaves items to another loop that has room for them. Returns true in the latter
/// case. If it has done so before and has pulled nothing since, `since` says from when on.
pub fn check_wait<V: Send + 'static>(
    loops: &[SimLoop<V>],
    chosen: usize,
    in_flight_max: usize,
    wait: Wait,
    now: Duration,
    since: Option<Duration>,
) -> bool {
    if !loops[chosen].has_place(in_flight_max) {
        return false;
    }
    let mut others = loops.iter().enumerate().filter(|(at, _)| *at != chosen);
    // A loop whose turn comes now reports only then that it has lost its place since its last turn.
    let may_take = |other: &SimLoop<V>| {
        other.has_place(in_flight_max)
            || (other.event_loop.is_some() && other.next_turn(now) == Some(now))
    };
    let other_has_place = others.any(|(_, other)| may_take(other));
    let moment_ends = since.unwrap_or(now) + YIELD_PAUSE;
    let is_short = matches!(wait, Wait::AtMost(time) if now + time <= moment_ends);
    assert!(other_has_place && is_short, "I5: an item was not pulled");
    assert!(
        now < moment_ends,
        "I5: left to others for longer than a moment"
    );
    true
}

/// I14, between two steps: if an item can be pulled at that time and a loop has a place for it, one of
/// those loops takes a turn by then, or at the end of the pause that loops make for each other.
pub fn check_liveness<V: Send + 'static>(
    loops: &[SimLoop<V>],
    in_flight_max: usize,
    at: Duration,
    now: Duration,
) {
    let mut with_place = loops
        .iter()
        .filter(|l| l.has_place(in_flight_max))
        .peekable();
    if with_place.peek().is_none() {
        return;
    }
    // A single loop has no other to leave items to.
    let pause = if loops.len() > 1 {
        YIELD_PAUSE
    } else {
        Duration::ZERO
    };
    let comes = |one: &SimLoop<V>| one.next_turn(now).is_some_and(|next| next <= at + pause);
    assert!(
        with_place.any(comes),
        "I14: no loop pulls an item at {at:?}, now {now:?}"
    );
}

/// What could be pulled before a turn.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    pub items: usize,
    pub window_room: usize,
}

/// I16, after a turn in which a loop has pulled this many items and left none: no other loop idles with
/// fewer than its share of them. If only two loops have places, they share evenly the items that they
/// have and the items that could be pulled.
///
/// Not for a loop that has just waited for the others to come. If another loop is in the middle of its
/// turns, the mill may not know yet what it has room for.
pub fn check_share<V: Send + 'static>(
    loops: &[SimLoop<V>],
    chosen: usize,
    in_flight_max: usize,
    demand: Demand,
    pulled: usize,
) {
    let items = demand.items.min(demand.window_room);
    let others = loops.iter().enumerate().filter(|(at, _)| *at != chosen);
    let others: Vec<_> = others.filter(|(_, l)| l.event_loop.is_some()).collect();
    if pulled == 0 || pulled < items || others.iter().any(|(_, l)| !l.is_idle()) {
        return;
    }
    let with_place = others.iter().filter(|(_, l)| l.has_place(in_flight_max));
    let theirs: Vec<usize> = with_place.map(|(_, l)| l.unfinished()).collect();
    // At least those that it has left of its earlier items: some may have ended in the turn.
    let own = loops[chosen].unfinished().saturating_sub(pulled);
    let all = own + theirs.iter().sum::<usize>() + items;
    let share = all.div_ceil(theirs.len() + 1);
    assert!(
        own + pulled <= share.max(own + 1) || theirs.is_empty(),
        "I16: {own} and {pulled} in one loop, {theirs:?} in others that idle"
    );
}

/// A stop ends the wait of each loop at once, and not at the next event.
pub fn check_stop<V>(loops: &[SimLoop<V>]) {
    let mut unfinished = loops.iter().filter(|l| l.event_loop.is_some());
    let is_woken = |one: &SimLoop<V>| one.handle.is_woken() || one.wait == Wait::No;
    assert!(unfinished.all(is_woken), "a stop does not reach a loop");
}
