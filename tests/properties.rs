//! The invariants of the mill, over seeded schedules of the simulated engine: orders of completion,
//! short reads, shortages, errors, hanging files, stalls of the source, a slow consumer, a stop at
//! any step. The numbers I1 to I13 are those of ARCHITECTURE.md.
//!
//! Everything runs on one thread, whose scheduler picks at random who moves next. A failure prints
//! the scenario with its seed.

use proptest::prelude::*;
use ringmill::digest::Algorithm;
use ringmill::engine::sim::{Faults, Random, SimEngine, SimFile, SimHandle, World};
use ringmill::engine::{FileKind, FileSystem, SpecialKind, Wait};
use ringmill::error::{Cause, Errno, ItemError, Operation};
use ringmill::item::Batch;
use ringmill::jobs::hash::{HashJob, Hashed};
use ringmill::mill::{Finished, Mill, Order, Ready};
use ringmill::run::{EventLoop, LoopLimits, Turn};
use ringmill::source::InputError;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const ALGORITHM: Algorithm = Algorithm::Crc32c;
const STEPS_MAX: usize = 2_000_000;

/// One scenario. Everything that happens follows from it.
#[derive(Clone, Debug)]
struct Scenario {
    seed: u64,
    items: usize,
    loops: usize,
    in_flight_per_loop: usize,
    window: usize,
    large_buffers: usize,
    order: Order,
    fail_fast: bool,
    /// In percent of files.
    failing_files: u8,
    hanging_files: u8,
    large_files: u8,
    faults: Faults,
    descriptors_max: usize,
    /// The emitter moves this rarely.
    emitter_slowness: usize,
    input_fails: bool,
    stop_at_step: Option<usize>,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let sizes = (
        1_usize..120,
        1_usize..4,
        1_usize..12,
        1_usize..40,
        1_usize..6,
    );
    let kinds = (
        any::<bool>(),
        prop::bool::weighted(0.2),
        0_u8..40,
        0_u8..15,
        0_u8..30,
    );
    let faults = (0_u8..50, prop_oneof![Just(0_u8), 0_u8..60], any::<bool>());
    let rest = (
        any::<u64>(),
        prop_oneof![Just(1000_usize), 1_usize..8],
        1_usize..30,
        prop::bool::weighted(0.2),
        proptest::option::weighted(0.2, 0_usize..600),
    );
    (sizes, kinds, faults, rest).prop_map(|(sizes, kinds, faults, rest)| Scenario {
        seed: rest.0,
        items: sizes.0,
        loops: sizes.1,
        in_flight_per_loop: sizes.2,
        window: sizes.3,
        large_buffers: sizes.4,
        order: if kinds.0 {
            Order::Input
        } else {
            Order::Completion
        },
        fail_fast: kinds.1,
        failing_files: kinds.2,
        hanging_files: kinds.3,
        large_files: kinds.4,
        faults: Faults {
            short_read: faults.0,
            shortage: faults.1,
            stubborn: faults.2,
        },
        descriptors_max: rest.1,
        emitter_slowness: rest.2,
        input_fails: rest.3,
        stop_at_step: rest.4,
    })
}

/// What an item must come to.
#[derive(Clone, Debug)]
enum Expected {
    Value(Hashed),
    Error(ItemError),
    /// It hangs: its deadline ends it.
    TimedOut,
}

const TIMEOUT: Duration = Duration::from_secs(20);

fn make_file(random: &mut Random, scenario: &Scenario, number: usize) -> (SimFile, Expected) {
    let len = if random.percent(scenario.large_files) {
        random.below(600_000)
    } else {
        random.below(40_000)
    };
    let content: Vec<u8> = (0..len)
        .map(|at| (at * 7 + number + at / 251) as u8)
        .collect();
    let digest = ALGORITHM.digest(&content);
    let mut file = SimFile::regular(content);
    let mut hashed = Hashed {
        digest,
        size_bytes: len as u64,
        changed: false,
    };
    if random.percent(scenario.hanging_files) {
        file.hangs = true;
        return (file, Expected::TimedOut);
    }
    if random.percent(scenario.failing_files) {
        let errno = Errno::new(libc::EIO);
        return match random.below(4) {
            0 => {
                file.open_errno = Some(Errno::new(libc::EACCES));
                let error = ItemError::errno(Operation::Open, Errno::new(libc::EACCES));
                (file, Expected::Error(error))
            }
            1 => {
                file.kind = FileKind::Special(SpecialKind::Fifo);
                let (operation, cause) = (Operation::Open, Cause::Special(SpecialKind::Fifo));
                (file, Expected::Error(ItemError { operation, cause }))
            }
            2 => {
                file.kind = FileKind::Directory;
                let error = ItemError::errno(Operation::Read, Errno::new(libc::EISDIR));
                (file, Expected::Error(error))
            }
            _ => {
                file.read_errno = Some((random.below(len + 1) as u64, errno));
                (
                    file,
                    Expected::Error(ItemError::errno(Operation::Read, errno)),
                )
            }
        };
    }
    match random.below(8) {
        // As in procfs, and in user-space file systems that do not know or do not tell.
        0 => lie_about_size(&mut file, 0),
        1 => lie_about_size(&mut file, random.below(len + 1)),
        2 => lie_about_size(&mut file, len + random.below(300_000)),
        3 => {
            file.changes = true;
            hashed.changed = true;
        }
        _ => {}
    }
    (file, Expected::Value(hashed))
}

fn lie_about_size(file: &mut SimFile, size: usize) {
    file.said_size = Some(size as u64);
    file.file_system = FileSystem::Blocking;
}

/// A loop, and what it waits for.
struct SimLoop {
    event_loop: Option<EventLoop<HashJob, SimEngine>>,
    handle: Arc<SimHandle>,
    wait: Wait,
}

struct Simulation {
    scenario: Scenario,
    random: Random,
    world: Arc<World>,
    mill: Arc<Mill<Hashed>>,
    loops: Vec<SimLoop>,
    expected: Vec<Expected>,
    added: usize,
    input_ended: bool,
    emitted: Vec<u64>,
    /// Taken from the mill, not yet marked as emitted.
    unmarked: usize,
    stopped: bool,
    ended: bool,
}

impl Simulation {
    fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let mut files = HashMap::new();
        let mut expected = Vec::new();
        for number in 0..scenario.items {
            let (file, outcome) = make_file(&mut random, &scenario, number);
            files.insert(name(number), file);
            expected.push(outcome);
        }
        let world = Arc::new(World::new(files, scenario.faults, scenario.descriptors_max));
        let Scenario {
            order,
            window,
            loops,
            fail_fast,
            ..
        } = scenario;
        let mill = Arc::new(Mill::new(order, window, loops, fail_fast));
        let loops = (0..loops)
            .map(|index| {
                let engine = SimEngine::new(Arc::clone(&world), random.next_u64());
                let handle = engine.handle();
                let limits = LoopLimits {
                    in_flight: scenario.in_flight_per_loop,
                    large_buffers: scenario.large_buffers,
                    timeout: Some(TIMEOUT),
                };
                let job = HashJob {
                    algorithm: ALGORITHM,
                    read_special: false,
                    strict: false,
                };
                let mill = Arc::clone(&mill);
                let event_loop = EventLoop::new(index, mill, Arc::new(job), engine, limits);
                SimLoop {
                    event_loop: Some(event_loop),
                    handle,
                    wait: Wait::No,
                }
            })
            .collect();
        Self {
            random,
            world,
            mill,
            loops,
            expected,
            added: 0,
            input_ended: false,
            emitted: Vec::new(),
            unmarked: 0,
            stopped: false,
            ended: false,
            scenario,
        }
    }

    fn run(mut self) {
        let mut idle = 0;
        for step in 0..STEPS_MAX {
            if self.scenario.stop_at_step == Some(step) {
                self.stopped = true;
                self.mill.stop();
            }
            let moved = match self.random.below(self.loops.len() + 2) {
                0 => self.move_source(),
                1 => self.random.below(self.scenario.emitter_slowness) == 0 && self.move_emitter(),
                chosen => self.move_loop(chosen - 2),
            };
            self.check_counters();
            if self.ended {
                return self.check_end();
            }
            idle = if moved { 0 } else { idle + 1 };
            // I6: a state in which nobody can move is a lost wake-up.
            assert!(idle < 20_000, "nobody can move: {:?}", self.mill.counters());
        }
        panic!("no end after {STEPS_MAX} steps: {:?}", self.mill.counters());
    }

    fn move_source(&mut self) -> bool {
        if self.input_ended || !self.mill.has_room() || self.random.percent(30) {
            return false;
        }
        let left = self.expected.len() - self.added;
        if left == 0 {
            self.input_ended = true;
            self.mill.end_input(if self.scenario.input_fails {
                Err(input_error())
            } else {
                Ok(())
            });
            return true;
        }
        let mut batch = Batch::default();
        let count = 1 + self.random.below(left);
        (self.added..self.added + count).for_each(|number| batch.push(&name(number)));
        self.added += count;
        self.mill.add(batch);
        true
    }

    fn move_loop(&mut self, chosen: usize) -> bool {
        let under_pressure = self.is_under_pressure();
        let sim_loop = &mut self.loops[chosen];
        let Some(event_loop) = &mut sim_loop.event_loop else {
            return false;
        };
        if !sim_loop.handle.would_return(sim_loop.wait) {
            return false;
        }
        event_loop.wait(sim_loop.wait).unwrap();
        let in_flight_max = self.scenario.in_flight_per_loop;
        match event_loop.turn() {
            Turn::Ended => {
                // I10 and I7: a loop that ended by itself has nothing left, but for what was given
                // up at its deadline.
                if !self.stopped && !self.scenario.fail_fast && !under_pressure {
                    assert_eq!(event_loop.in_flight(), 0);
                    assert_eq!(sim_loop.handle.outstanding(), 0);
                }
                sim_loop.event_loop = None;
                self.mill.loop_ended(chosen);
            }
            Turn::Wait(wait) => {
                // I1
                assert!(event_loop.in_flight() <= in_flight_max);
                // I5: it waits only if it is full, under pressure, or there is nothing to pull.
                if wait != Wait::No && self.scenario.faults.shortage == 0 {
                    let full = event_loop.in_flight() == in_flight_max;
                    let starving = self.scenario.descriptors_max < 1000;
                    assert!(
                        full || starving || !self.mill.could_pull(),
                        "work was left lying"
                    );
                }
                sim_loop.wait = wait;
            }
        }
        true
    }

    fn move_emitter(&mut self) -> bool {
        self.mill.mark_emitted(self.unmarked);
        self.unmarked = 0;
        let max = 1 + self.random.below(20);
        let mut results = Vec::new();
        match self
            .mill
            .take_ready(max, Some(Duration::ZERO), &mut results)
        {
            Ready::Nothing => false,
            Ready::Ended => {
                self.ended = true;
                true
            }
            Ready::Results => {
                for finished in results {
                    if !self.emit(&finished) {
                        break;
                    }
                }
                true
            }
        }
    }

    /// Checks and counts a result; false if the run ends with it.
    fn emit(&mut self, finished: &Finished<Hashed>) -> bool {
        let index = finished.item.index();
        // I3
        if self.scenario.order == Order::Input {
            assert_eq!(index, self.emitted.len() as u64, "out of order");
        }
        assert!(!self.emitted.contains(&index), "item {index} emitted twice");
        let number = usize::try_from(index).unwrap();
        assert_eq!(finished.item.bytes(), name(number));
        self.check_result(number, &finished.result);
        self.emitted.push(index);
        self.unmarked += 1;
        if self.scenario.fail_fast && finished.result.is_err() && !self.stopped {
            self.stopped = true;
            self.mill.stop();
            // I11: in input order, everything before the failure is out, and nothing after.
            self.ended = true;
            return false;
        }
        true
    }

    fn check_result(&self, number: usize, result: &Result<Hashed, ItemError>) {
        let timed_out = |error: &ItemError| matches!(error.cause, Cause::TimedOut { .. });
        match (&self.expected[number], result) {
            (Expected::Value(expected), Ok(hashed)) => assert_eq!(expected, hashed),
            (Expected::Error(expected), Err(error)) if !timed_out(error) => {
                assert!(self.is_shortage_or(expected, error));
            }
            (Expected::TimedOut, Err(error)) if !matches!(error.cause, Cause::Errno(_)) => {}
            // Under shortages anything may take longer than its deadline, or get the shortage as
            // its result once nothing else could free anything.
            (_, Err(error)) if timed_out(error) || self.is_shortage(error) => {
                assert!(self.is_under_pressure(), "item {number}: {error}");
            }
            (expected, result) => panic!("item {number}: expected {expected:?}, got {result:?}"),
        }
    }

    fn is_under_pressure(&self) -> bool {
        let many_hang = self.scenario.hanging_files > 0;
        self.scenario.faults.shortage > 0 || self.scenario.descriptors_max < 1000 || many_hang
    }

    fn is_shortage(&self, error: &ItemError) -> bool {
        error.as_errno().is_some_and(Errno::is_shortage)
    }

    fn is_shortage_or(&self, expected: &ItemError, error: &ItemError) -> bool {
        expected == error || self.is_shortage(error)
    }

    /// I1, I2, I7 at every step.
    fn check_counters(&self) {
        let counters = self.mill.counters();
        let outstanding = counters.pulled - counters.emitted;
        assert!(
            outstanding <= self.scenario.window as u64,
            "I2: {counters:?}"
        );
        let in_flight_max = self.scenario.loops * self.scenario.in_flight_per_loop;
        assert!(
            counters.in_flight <= in_flight_max as u64,
            "I1: {counters:?}"
        );
        assert!(
            self.world.descriptors_peak() <= self.scenario.descriptors_max,
            "I7"
        );
    }

    fn check_end(mut self) {
        self.mill.mark_emitted(self.unmarked);
        let counters = self.mill.counters();
        assert_eq!(counters.emitted, self.emitted.len() as u64);
        if self.stopped {
            // I9
            assert!(counters.pulled - counters.emitted <= self.scenario.window as u64);
        } else if !self.scenario.fail_fast {
            // I4, I13
            assert_eq!(counters.emitted, counters.pulled);
            assert_eq!(self.emitted.len(), self.expected.len());
            assert_eq!(
                self.mill.take_input_error().is_some(),
                self.scenario.input_fails
            );
        }
        // I7, I10: whatever the end, nothing is left open or outstanding.
        for sim_loop in &mut self.loops {
            sim_loop.event_loop = None;
            assert_eq!(sim_loop.handle.outstanding(), 0);
        }
        assert_eq!(self.world.descriptors(), 0);
    }
}

fn name(number: usize) -> Vec<u8> {
    format!("file {number}").into_bytes()
}

fn input_error() -> InputError {
    InputError {
        name: "list".into(),
        operation: "read",
        message: "simulated".into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 200,
        failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_invariants_hold_on_every_schedule(scenario in scenario()) {
        Simulation::new(scenario).run();
    }
}
