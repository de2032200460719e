//! Runs a job on simulated event loops, one step at a time, in an order that follows from a seed. What
//! holds for every job is checked here, and the rest by an [`Oracle`]. The numbers of the invariants are
//! those of ARCHITECTURE.md.

use super::ledger::Ledger;
use super::sim_loop::{Parts, SimLoop, check_stop, next_timer, workers};
use super::spurious::{Spurious, Wakers};
use proptest::prelude::*;
use ringmill::clock::Clock;
use ringmill::io::sim::{Random, SentMessage, SimCarrier, World};
use ringmill::item::Batch;
use ringmill::jobs::Job;
use ringmill::mill::{Counters, Finished, Mill, Order, Pace, Ready};
use ringmill::run::{Held, Turn};
use ringmill::source::InputError;
use ringmill::stats::Collector;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

const STEPS_MAX: usize = 2_000_000;

/// Nothing can move any more if nothing has moved in this many steps.
const IDLE_STEPS_MAX: usize = 20_000;

/// What does not depend on the job.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub items: usize,
    pub loops: usize,
    pub in_flight_per_loop: usize,
    pub window: usize,
    pub large_buffers: usize,
    /// Number of parked items from which on a loop starts none.
    pub parked_per_loop: usize,
    pub order: Order,
    pub fail_fast: bool,
    pub timeout: Option<Duration>,
    pub rate_per_s: Option<f64>,
    pub stop_at_step: Option<usize>,
    /// Tasks are sometimes woken for no reason.
    pub spurious: bool,
    pub input_fails: bool,
    /// The source yields one item at a time, and only when the previous one has been pulled.
    pub trickles: bool,
    /// When it is chosen, the source moves only once in this many times.
    pub source_slowness: usize,
    /// When it is chosen, the emitter moves only once in this many times.
    pub emitter_slowness: usize,
}

/// Schedules without failures, deadlines, a rate or slow ends.
pub fn schedule(
    items: Range<usize>,
    in_flight_per_loop: impl Strategy<Value = usize>,
    window: Range<usize>,
    stop_at_step: Range<usize>,
) -> impl Strategy<Value = Schedule> {
    let sizes = (items, 1_usize..4, in_flight_per_loop, window);
    let stop_at_step = proptest::option::weighted(0.2, stop_at_step);
    let rest = (any::<u64>(), any::<bool>(), stop_at_step, any::<bool>());
    (sizes, rest).prop_map(|(sizes, rest)| Schedule {
        seed: rest.0,
        items: sizes.0,
        loops: sizes.1,
        in_flight_per_loop: sizes.2,
        window: sizes.3,
        order: if rest.1 {
            Order::Input
        } else {
            Order::Completion
        },
        stop_at_step: rest.2,
        spurious: rest.3,
        ..Schedule::default()
    })
}

/// One item at a time.
impl Default for Schedule {
    fn default() -> Self {
        Self {
            seed: 1,
            items: 1,
            loops: 1,
            in_flight_per_loop: 1,
            window: 1,
            large_buffers: 1,
            parked_per_loop: usize::MAX,
            order: Order::Completion,
            fail_fast: false,
            timeout: None,
            rate_per_s: None,
            stop_at_step: None,
            spurious: false,
            input_fails: false,
            trickles: false,
            source_slowness: 1,
            emitter_slowness: 1,
        }
    }
}

/// What a test checks besides what holds for every job.
pub trait Oracle<V> {
    /// A result is emitted.
    fn emitted(&mut self, finished: &Finished<V>);

    /// A loop has taken a turn.
    fn turned(&mut self, _run: &Drive<V>, _turned: &Turned<'_>) {}

    /// A step has ended.
    fn stepped(&mut self, _run: &Drive<V>) {}

    /// False if items that are pulled may fail without being begun.
    fn all_begin(&self) -> bool {
        true
    }
}

impl<V, F: FnMut(&Finished<V>)> Oracle<V> for F {
    fn emitted(&mut self, finished: &Finished<V>) {
        self(finished);
    }
}

/// A turn of a loop, before its wait.
pub struct Turned<'a> {
    pub chosen: usize,
    pub turn: Turn,
    /// What the loop holds after the turn.
    pub held: Held,
    /// The counters before the turn.
    pub before: Counters,
    /// The messages that were sent in the turn.
    pub sent: &'a [SentMessage],
}

/// How a run ended.
pub struct Ended {
    pub world: Arc<World>,
    /// All messages that were sent, in the order of their times.
    pub sent: Vec<SentMessage>,
    /// It was stopped, by the schedule or by a failure.
    pub stopped: bool,
}

impl Ended {
    /// The number of sent messages for which this holds.
    pub fn count(&self, is_meant: impl Fn(&SentMessage) -> bool) -> usize {
        self.sent.iter().filter(|message| is_meant(message)).count()
    }
}

/// A run.
pub struct Drive<V> {
    pub schedule: Schedule,
    pub world: Arc<World>,
    pub mill: Arc<Mill<V>>,
    /// A carrier that only serves as a clock.
    pub clock: SimCarrier,
    pub loops: Vec<SimLoop<V>>,
    pub ledger: Ledger,
    /// Items that the source has added.
    pub added: usize,
    pub stopped: bool,
    random: Random,
    wakers: Wakers,
    lines: Vec<Vec<u8>>,
    input_ended: bool,
    emitted: HashSet<u64>,
    /// Taken from the mill, not yet marked as emitted.
    unmarked: usize,
    sent: Vec<SentMessage>,
    ended: bool,
}

impl<V: Send + 'static> Drive<V> {
    /// Each line is an item.
    pub fn new<J: Job<Value = V>>(
        schedule: &Schedule,
        mut random: Random,
        job: Spurious<J>,
        world: World,
        lines: Vec<Vec<u8>>,
        collector: Option<&Arc<Collector>>,
    ) -> Self {
        let world = Arc::new(world);
        let Schedule {
            order,
            window,
            loops,
            fail_fast,
            ..
        } = *schedule;
        let pace = schedule.rate_per_s.map(Pace::new);
        let mill = Arc::new(Mill::new(order, window, loops, fail_fast).paced(pace));
        let (wakers, ledger) = (job.wakers.clone(), job.ledger.clone());
        let job = Arc::new(job);
        let of_workers = Random::new(!schedule.seed).next_u64();
        let parts = Parts {
            job: &job,
            world: &world,
            mill: &mill,
            workers: &workers(&job, &world, of_workers, collector),
            in_flight: schedule.in_flight_per_loop,
            large_buffers: schedule.large_buffers,
            parked: schedule.parked_per_loop,
            timeout: schedule.timeout,
            collector,
            ledger: ledger.clone(),
        };
        let new_loop = |index| parts.new_loop(index, random.next_u64());
        Self {
            loops: (0..loops).map(new_loop).collect(),
            clock: SimCarrier::new(Arc::clone(&world), 0),
            schedule: schedule.clone(),
            world,
            mill,
            ledger,
            added: 0,
            stopped: false,
            random,
            wakers,
            lines,
            input_ended: false,
            emitted: HashSet::new(),
            unmarked: 0,
            sent: Vec::new(),
            ended: false,
        }
    }

    /// Runs to the end.
    pub fn run(mut self, oracle: &mut impl Oracle<V>) -> Ended {
        let mut idle = 0;
        for step in 0..STEPS_MAX {
            if self.schedule.stop_at_step == Some(step) {
                self.stop();
                check_stop(&self.loops);
            }
            let moved = match self.random.below(self.loops.len() + 2) {
                0 => self.move_source(),
                1 => self.move_emitter(oracle),
                chosen => self.move_loop(chosen - 2, oracle),
            };
            self.check_counters(oracle.all_begin());
            oracle.stepped(&self);
            if self.schedule.spurious && self.random.percent(10) {
                self.wakers.wake_one(&mut self.random);
            }
            // Joining the threads of the loops would wait for ever if one of them did not end.
            if self.ended && self.loops.iter().all(|l| l.event_loop.is_none()) {
                return self.check_end();
            }
            idle = if moved { 0 } else { idle + 1 };
            let is_stuck = idle >= IDLE_STEPS_MAX;
            assert!(!is_stuck, "I6: nothing can move: {}", self.describe());
        }
        panic!("no end after {STEPS_MAX} steps: {}", self.describe());
    }

    /// True if an item can be pulled as soon as the rate allows it. The mill is only asked whether a
    /// failure has ended all pulls.
    pub fn is_pullable(&self) -> bool {
        let counters = self.mill.counters();
        let has_room = counters.pulled - counters.emitted < self.schedule.window as u64;
        let far_off = Duration::from_secs(1 << 40);
        let goes_on = !self.schedule.fail_fast || self.mill.could_pull(far_off);
        !self.stopped && goes_on && has_room && counters.pulled < self.added as u64
    }

    fn describe(&self) -> String {
        let loops = self.loops.iter().map(|l| l.event_loop.as_ref());
        let held: Vec<Option<Held>> = loops.map(|l| l.map(|l| l.held())).collect();
        let (counters, now) = (self.mill.counters(), self.clock.now());
        format!("{counters:?} {held:?} at {now:?}")
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.mill.stop();
    }

    fn rests(&mut self, slowness: usize) -> bool {
        slowness > 1 && self.random.below(slowness) > 0
    }

    fn move_source(&mut self) -> bool {
        if self.input_ended
            || !self.mill.has_room()
            || self.rests(self.schedule.source_slowness)
            || self.random.percent(30)
        {
            return false;
        }
        let left = self.lines.len() - self.added;
        if left == 0 {
            self.input_ended = true;
            self.mill.end_input(match self.schedule.input_fails {
                true => Err(input_error()),
                false => Ok(()),
            });
            return true;
        }
        if self.schedule.trickles && self.mill.has_input() {
            return false;
        }
        let count = match self.schedule.trickles {
            true => 1,
            false => 1 + self.random.below(left),
        };
        let lines = &self.lines[self.added..self.added + count];
        self.mill.add(Batch::from_iter(lines), self.clock.now());
        self.added += count;
        true
    }

    fn move_loop(&mut self, chosen: usize, oracle: &mut impl Oracle<V>) -> bool {
        let next_timer = next_timer(&self.loops);
        let before = self.mill.counters();
        let sim_loop = &mut self.loops[chosen];
        let Some(turn) = sim_loop.turn(next_timer, &self.clock) else {
            return false;
        };
        let sent = sim_loop.handle.take_sent();
        let event_loop = sim_loop.event_loop.as_ref().expect("it took a turn");
        let held = event_loop.held();
        assert!(
            held.in_flight <= self.schedule.in_flight_per_loop,
            "I1: {held:?}"
        );
        let may_be_parked = self
            .schedule
            .parked_per_loop
            .saturating_add(self.schedule.in_flight_per_loop);
        assert!(held.parked <= may_be_parked, "{held:?}");
        if turn == Turn::Ended && !self.stopped && !self.schedule.fail_fast {
            // Cancelled operations of items that have ended are not waited for.
            assert_eq!(held.in_flight, held.given_up);
        }
        let turned = Turned {
            chosen,
            turn,
            held,
            before,
            sent: &sent,
        };
        oracle.turned(self, &turned);
        self.sent.extend(sent);
        if turn == Turn::Ended {
            self.loops[chosen].event_loop = None;
            self.mill.loop_ended(chosen);
        }
        true
    }

    fn move_emitter(&mut self, oracle: &mut impl Oracle<V>) -> bool {
        if self.ended || self.rests(self.schedule.emitter_slowness) {
            return false;
        }
        // Like the real emitter: it reports nothing when it has written nothing, and so wakes no
        // thread.
        if self.unmarked > 0 {
            self.mill.mark_emitted(self.unmarked);
            self.unmarked = 0;
        }
        let max = 1 + self.random.below(20);
        let mut results = Vec::new();
        match self
            .mill
            .take_ready(max, Some(Duration::ZERO), &mut results)
        {
            Ready::Nothing => return false,
            Ready::Ended => self.ended = true,
            Ready::Results => {}
        }
        for finished in &results {
            self.emit(finished);
            oracle.emitted(finished);
            if self.schedule.fail_fast && finished.is_failure && !self.stopped {
                // I11: in input order, everything before the failure has been emitted, and nothing after
                // it.
                self.stop();
                self.ended = true;
                break;
            }
        }
        true
    }

    fn emit(&mut self, finished: &Finished<V>) {
        let index = finished.item.index();
        if self.schedule.order == Order::Input {
            assert_eq!(index, self.emitted.len() as u64, "I3");
        }
        assert!(self.emitted.insert(index), "item {index} emitted twice");
        let line = &self.lines[usize::try_from(index).unwrap()];
        assert_eq!(finished.item.bytes(), line, "I3");
        self.unmarked += 1;
    }

    fn check_counters(&self, all_begin: bool) {
        let counters = self.mill.counters();
        let unfinished = counters.pulled - counters.emitted;
        assert!(
            unfinished <= self.schedule.window as u64,
            "I2: {counters:?}"
        );
        // Every pulled item was begun at once.
        if all_begin {
            let begun = self.ledger.begun() as u64;
            assert_eq!(begun, counters.pulled, "I16: begun and pulled");
        }
    }

    fn check_end(mut self) -> Ended {
        self.mill.mark_emitted(self.unmarked);
        let counters = self.mill.counters();
        assert_eq!(counters.emitted, self.emitted.len() as u64);
        if self.stopped {
            let unfinished = counters.pulled - counters.emitted;
            assert!(unfinished <= self.schedule.window as u64, "I9");
        } else {
            assert_eq!(counters.emitted, counters.pulled, "I4");
            assert_eq!(self.emitted.len(), self.lines.len(), "I4");
            let error = self.mill.take_input_error();
            assert_eq!(error.is_some(), self.schedule.input_fails, "I13");
        }
        // I7, I10: however the run ends, nothing is left open or outstanding, and no loop is leaked.
        for sim_loop in &self.loops {
            assert_eq!(sim_loop.handle.outstanding(), 0);
        }
        self.loops.clear();
        assert_eq!(self.world.descriptors(), 0);
        let of_clock_and_this = 2;
        assert_eq!(
            Arc::strong_count(&self.world),
            of_clock_and_this,
            "a loop was leaked"
        );
        self.sent.sort_by_key(|message| message.at);
        Ended {
            world: self.world,
            sent: self.sent,
            stopped: self.stopped,
        }
    }
}

fn input_error() -> InputError {
    InputError {
        name: "list".into(),
        operation: "read",
        message: "simulated".into(),
    }
}
