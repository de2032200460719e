//! Runs a job on simulated event loops, one step at a time, in an order that follows from a seed.

use crate::simulated::{Ledger, Parts, SimLoop, Spurious, Wakers, check_stop, next_timer, workers};
use proptest::prelude::*;
use ringmill::clock::Clock;
use ringmill::io::sim::{Random, SentMessage, SimCarrier, World};
use ringmill::item::Batch;
use ringmill::jobs::Job;
use ringmill::mill::{Finished, Mill, Order, Ready};
use ringmill::run::Turn;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const STEPS_MAX: usize = 5_000_000;

/// What does not depend on the job.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub items: usize,
    pub loops: usize,
    pub in_flight_per_loop: usize,
    pub window: usize,
    pub order: Order,
    pub stop_at_step: Option<usize>,
    /// Tasks are sometimes woken for no reason.
    pub spurious: bool,
}

pub fn schedule() -> impl Strategy<Value = Schedule> {
    let sizes = (1_usize..80, 1_usize..4, 1_usize..20, 1_usize..60);
    let stop_at_step = proptest::option::weighted(0.2, 0_usize..4_000);
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
    })
}

/// How a run ended.
pub struct Traffic {
    pub world: Arc<World>,
    /// All messages that were sent, in the order of their times.
    pub sent: Vec<SentMessage>,
}

impl Traffic {
    /// The number of messages for which this holds.
    pub fn count(&self, is_meant: impl Fn(&SentMessage) -> bool) -> usize {
        self.sent.iter().filter(|message| is_meant(message)).count()
    }
}

/// A run.
pub struct Drive<J: Job> {
    schedule: Schedule,
    random: Random,
    world: Arc<World>,
    mill: Arc<Mill<J::Value>>,
    /// A carrier that only serves as a clock.
    clock: SimCarrier,
    loops: Vec<SimLoop<J::Value>>,
    wakers: Wakers,
    ledger: Ledger,
    lines: Vec<Vec<u8>>,
    added: usize,
    input_ended: bool,
    emitted: HashSet<u64>,
    unmarked: usize,
    sent: Vec<SentMessage>,
    stopped: bool,
    ended: bool,
}

impl<J: Job> Drive<J> {
    pub fn new(schedule: &Schedule, job: J, world: World, lines: Vec<Vec<u8>>) -> Self {
        let world = Arc::new(world);
        let mut random = Random::new(schedule.seed);
        let mill = Mill::new(schedule.order, schedule.window, schedule.loops, false);
        let mill = Arc::new(mill);
        let (wakers, ledger) = (Wakers::default(), Ledger::default());
        let job = Arc::new(Spurious {
            job,
            wakers: wakers.clone(),
            ledger: ledger.clone(),
        });
        let parts = Parts {
            job: &job,
            world: &world,
            mill: &mill,
            workers: &workers(&job, &world, 0, None),
            in_flight: schedule.in_flight_per_loop,
            large_buffers: 1,
            timeout: None,
            collector: None,
            ledger: ledger.clone(),
        };
        let new_loop = |index| parts.new_loop(index, random.next_u64());
        Self {
            loops: (0..schedule.loops).map(new_loop).collect(),
            clock: SimCarrier::new(Arc::clone(&world), 0),
            schedule: schedule.clone(),
            random,
            world,
            mill,
            wakers,
            ledger,
            lines,
            added: 0,
            input_ended: false,
            emitted: HashSet::new(),
            unmarked: 0,
            sent: Vec::new(),
            stopped: false,
            ended: false,
        }
    }

    /// Runs to the end. Each result is given to `check` when it is emitted.
    pub fn run(mut self, mut check: impl FnMut(&Finished<J::Value>)) -> Traffic {
        let mut idle = 0;
        for step in 0..STEPS_MAX {
            if self.schedule.stop_at_step == Some(step) {
                self.stopped = true;
                self.mill.stop();
                check_stop(&self.loops);
            }
            let moved = match self.random.below(self.loops.len() + 2) {
                0 => self.move_source(),
                1 => self.move_emitter(&mut check),
                chosen => self.move_loop(chosen - 2),
            };
            if self.schedule.spurious && self.random.percent(10) {
                self.wakers.wake_one(&mut self.random);
            }
            let counters = self.mill.counters();
            assert_eq!(
                self.ledger.begun() as u64,
                counters.pulled,
                "I16: begun and pulled"
            );
            let unfinished = counters.pulled - counters.emitted;
            assert!(
                unfinished <= self.schedule.window as u64,
                "I2: {counters:?}"
            );
            if self.ended && self.loops.iter().all(|l| l.event_loop.is_none()) {
                return self.check_end();
            }
            idle = if moved { 0 } else { idle + 1 };
            assert!(idle < 20_000, "I6: nothing can move: {counters:?}");
        }
        panic!("no end after {STEPS_MAX} steps: {:?}", self.mill.counters());
    }

    fn move_source(&mut self) -> bool {
        if self.input_ended || !self.mill.has_room() || self.random.percent(30) {
            return false;
        }
        let left = self.lines.len() - self.added;
        if left == 0 {
            self.input_ended = true;
            self.mill.end_input(Ok(()));
            return true;
        }
        let count = 1 + self.random.below(left);
        let lines = &self.lines[self.added..self.added + count];
        self.mill.add(Batch::from_iter(lines), self.clock.now());
        self.added += count;
        true
    }

    fn move_loop(&mut self, chosen: usize) -> bool {
        let next_timer = next_timer(&self.loops);
        let sim_loop = &mut self.loops[chosen];
        let Some(turn) = sim_loop.turn(next_timer, &self.clock) else {
            return false;
        };
        self.sent.extend(sim_loop.handle.take_sent());
        let event_loop = sim_loop.event_loop.as_ref().expect("it took a turn");
        match turn {
            Turn::Ended => {
                if !self.stopped {
                    // Cancelled operations of items that have ended are not waited for.
                    let held = event_loop.held();
                    assert_eq!(held.in_flight, held.given_up);
                }
                sim_loop.event_loop = None;
                self.mill.loop_ended(chosen);
            }
            Turn::Wait(_) => {
                let in_flight = event_loop.in_flight();
                assert!(in_flight <= self.schedule.in_flight_per_loop, "I1");
            }
        }
        true
    }

    fn move_emitter(&mut self, check: &mut impl FnMut(&Finished<J::Value>)) -> bool {
        if self.ended {
            return false;
        }
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
            let index = finished.item.index();
            if self.schedule.order == Order::Input {
                assert_eq!(index, self.emitted.len() as u64, "I3");
            }
            assert!(self.emitted.insert(index), "item {index} emitted twice");
            let line = &self.lines[usize::try_from(index).unwrap()];
            assert_eq!(finished.item.bytes(), line);
            check(finished);
            self.unmarked += 1;
        }
        true
    }

    fn check_end(mut self) -> Traffic {
        self.mill.mark_emitted(self.unmarked);
        assert_eq!(self.mill.counters().emitted, self.emitted.len() as u64);
        if !self.stopped {
            assert_eq!(self.emitted.len(), self.lines.len(), "I4");
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
        Traffic {
            world: self.world,
            sent: self.sent,
        }
    }
}
