//! Files hashed on any schedule.

use crate::simulated::{
    Demand, Ledger, Parts, SimLoop, Spurious, Wakers, YIELD_PAUSE, check_liveness, check_share,
    check_stop, check_wait, config, next_timer, workers,
};
use proptest::prelude::*;
use ringmill::clock::Clock;
use ringmill::digest::{Algorithm, Digest};
use ringmill::error::{Cause, Errno, ItemError, Operation};
use ringmill::io::sim::{Faults, Quirk, Random, SimCarrier, SimFile, World};
use ringmill::io::{BufferClass, FileKind, FileSystem, SpecialKind, Wait};
use ringmill::item::{Batch, PATH_LEN_MAX};
use ringmill::jobs::Job;
use ringmill::jobs::hash::{HASH, HashJob, Hashed};
use ringmill::mill::{Finished, Mill, Order, Pace, Ready};
use ringmill::run::{EventLoop, Held, Turn};
use ringmill::source::InputError;
use ringmill::stats::{Collector, Detail, Latencies, Phase};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// An algorithm whose digests are computed several at a time.
const ALGORITHM: Algorithm = Algorithm::Sha256;
const STEPS_MAX: usize = 2_000_000;

/// One scenario, which determines everything that happens.
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
    /// When it is chosen, the emitter moves only once in this many times.
    emitter_slowness: usize,
    input_fails: bool,
    stop_at_step: Option<usize>,
    read_special: bool,
    strict: bool,
    /// Items have a deadline even if none hangs. Without a deadline, no timer makes up for a lost
    /// wake-up.
    has_deadline: bool,
    /// When it is chosen, the source moves only once in this many times.
    source_slowness: usize,
    /// The source yields one item at a time, and only when the previous one has been pulled.
    trickles: bool,
    rate_per_s: Option<f64>,
    /// Tasks are sometimes woken for no reason.
    spurious: bool,
}

impl Scenario {
    fn timeout(&self) -> Option<Duration> {
        (self.has_deadline || self.hanging_files > 0).then_some(TIMEOUT)
    }
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let sizes = (
        1_usize..120,
        1_usize..4,
        // With one item or one buffer at a time, no other item can be the cause of a delay.
        prop_oneof![1 => Just(1_usize), 3 => 1_usize..12],
        1_usize..40,
        prop_oneof![1 => Just(1_usize), 2 => 1_usize..6],
    );
    let kinds = (
        any::<bool>(),
        prop::bool::weighted(0.2),
        0_u8..40,
        prop_oneof![Just(0_u8), 0_u8..15],
        0_u8..30,
    );
    let faults = (0_u8..50, prop_oneof![Just(0_u8), 0_u8..50], any::<bool>());
    let rest = (
        any::<u64>(),
        prop_oneof![Just(1000_usize), 1_usize..8],
        1_usize..30,
        prop::bool::weighted(0.2),
        proptest::option::weighted(0.2, 0_usize..600),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop_oneof![Just(1_usize), 1_usize..100],
        // Operations take up to 65 ms each.
        proptest::option::weighted(0.3, 1.0_f64..100_000.0),
        (prop::bool::weighted(0.25), any::<bool>()),
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
            exhaustion: faults.1,
            uncancellable: faults.2,
        },
        descriptors_max: rest.1,
        emitter_slowness: rest.2,
        input_fails: rest.3,
        stop_at_step: rest.4,
        read_special: rest.5,
        strict: rest.6,
        has_deadline: rest.7,
        source_slowness: rest.8,
        rate_per_s: rest.9,
        trickles: rest.10.0,
        spurious: rest.10.1,
    })
}

/// What a row says about a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    digest: Digest,
    size_bytes: u64,
    changed: bool,
}

impl Content {
    fn of(hashed: &Hashed) -> Self {
        Self {
            digest: hashed.digest,
            size_bytes: hashed.size_bytes,
            changed: hashed.changed,
        }
    }
}

/// The expected result of an item.
#[derive(Clone, Debug)]
enum Expected {
    Value(Content),
    Error(ItemError),
    /// It hangs, and times out at its deadline.
    TimedOut,
}

const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest pause before an operation that failed from exhaustion is retried.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(100);
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);
const LARGE_READ: usize = BufferClass::Large.len_bytes();

/// How often the job starts again because its path has come to lead to another file.
const RESTARTS_MAX: u8 = 3;

/// Errnos that opening or reading a file may always return: half of them look like resource exhaustion.
const ERRNOS_OF_FILES: [i32; 8] = [
    libc::EACCES,
    libc::EIO,
    libc::ENODEV,
    libc::ESTALE,
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOMEM,
    libc::EAGAIN,
];

fn choose<'a, T>(random: &mut Random, from: &'a [T]) -> &'a T {
    &from[random.below(from.len())]
}

struct TestFile {
    name: Vec<u8>,
    /// `None`: no file has this name.
    file: Option<SimFile>,
    expected: Expected,
}

fn make_item(random: &mut Random, scenario: &Scenario, number: usize) -> TestFile {
    let mut name = format!("file {number}").into_bytes();
    let error = |cause| {
        let operation = Operation::Open;
        Expected::Error(ItemError { operation, cause })
    };
    let errno = |raw| error(Cause::Errno(Errno::new(raw)));
    let without_file = if random.percent(scenario.failing_files) {
        match random.below(8) {
            0 => Some(errno(libc::ENOENT)),
            1 => {
                name.extend_from_slice(b"\0x");
                Some(error(Cause::NulInName))
            }
            2 => {
                name.resize(PATH_LEN_MAX + 1, b'x');
                Some(errno(libc::ENAMETOOLONG))
            }
            3 => {
                name.resize(PATH_LEN_MAX, b'x');
                None
            }
            _ => None,
        }
    } else {
        None
    };
    if let Some(expected) = without_file {
        return TestFile {
            name,
            file: None,
            expected,
        };
    }
    let (file, expected) = make_file(random, scenario, number);
    TestFile {
        name,
        file: Some(file),
        expected,
    }
}

fn make_file(random: &mut Random, scenario: &Scenario, number: usize) -> (SimFile, Expected) {
    let len = if random.percent(scenario.large_files) {
        // Enough pieces for some to be read ahead, and to come in any order.
        random.below(5 * LARGE_READ)
    } else {
        random.below(40_000)
    };
    let content = pattern()[number..number + len].to_vec();
    let digest = ALGORITHM.digest(&content);
    let mut file = SimFile::regular(content);
    let mut hashed = Content {
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
        // The file's own errno, whatever it looks like.
        let errno_of_file = Errno::new(*choose(random, &ERRNOS_OF_FILES));
        let expected = match random.below(6) {
            0 => {
                file.open_errno = Some(errno_of_file);
                Expected::Error(ItemError::errno(Operation::Open, errno_of_file))
            }
            1 => {
                file.kind = FileKind::Special(SpecialKind::Fifo);
                let (operation, cause) = (Operation::Open, Cause::Special(SpecialKind::Fifo));
                file.reported_size = Some(0);
                if scenario.read_special {
                    Expected::Value(hashed)
                } else {
                    Expected::Error(ItemError { operation, cause })
                }
            }
            2 => {
                file.kind = FileKind::Directory;
                Expected::Error(ItemError::errno(Operation::Read, Errno::new(libc::EISDIR)))
            }
            3 => {
                file.quirk = Some(Quirk::StatFails);
                Expected::Error(ItemError::errno(Operation::Stat, errno))
            }
            4 => {
                file.quirk = Some(Quirk::CloseFails);
                Expected::Error(ItemError::errno(Operation::Close, errno))
            }
            _ => {
                file.read_errno = Some((random.below(len + 1) as u64, errno_of_file));
                Expected::Error(ItemError::errno(Operation::Read, errno_of_file))
            }
        };
        if random.percent(50) {
            file.file_system = FileSystem::Blocking;
        }
        return (file, expected);
    }
    match random.below(16) {
        // As in procfs, and in user-space file systems that do not know or do not report sizes.
        0 => lie_about_size(&mut file, 0),
        1 => lie_about_size(&mut file, random.below(len + 1)),
        2 => lie_about_size(&mut file, len + random.below(2 * LARGE_READ)),
        // As on any network file system that can be trusted.
        3 => file.file_system = FileSystem::Blocking,
        4 if len > LARGE_READ => {
            // A read ends exactly at the reported size, and more data follows.
            let reads = 1 + random.below((len - 1) / LARGE_READ);
            lie_about_size(&mut file, reads * LARGE_READ);
            if scenario.faults.short_read == 0 {
                // It has grown since it was looked up, on a local file system.
                file.file_system = FileSystem::Nowait;
                hashed.changed = true;
            }
        }
        5 => file.quirk = Some(Quirk::LaterModified),
        6 => file.quirk = Some(Quirk::LaterChanged),
        7 => file.quirk = Some(Quirk::Grown),
        9 => {
            file.quirk = Some(Quirk::Device);
            let (operation, cause) = (Operation::Read, Cause::Changed);
            return (file, Expected::Error(ItemError { operation, cause }));
        }
        10 if len > 0 => {
            // A writer has filled it and emptied it again in the meantime.
            file.reported_size = Some(0);
            hashed.changed = true;
        }
        8 => {
            let times = u8::try_from(1 + random.below(5)).unwrap();
            file.quirk = Some(Quirk::Replaced(times));
        }
        _ => {}
    }
    hashed.changed |= match file.quirk {
        Some(Quirk::LaterModified | Quirk::LaterChanged | Quirk::Grown) => true,
        Some(Quirk::Replaced(times)) => times > RESTARTS_MAX,
        _ => false,
    };
    let expected = if hashed.changed && scenario.strict {
        Expected::Error(ItemError {
            operation: Operation::Read,
            cause: Cause::Changed,
        })
    } else {
        Expected::Value(hashed)
    };
    (file, expected)
}

/// The bytes from which each file has its content. Making new ones for each would take most of the
/// time.
fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        (0..6 * LARGE_READ)
            .map(|at| (at * 7 + at / 251) as u8)
            .collect()
    })
}

fn lie_about_size(file: &mut SimFile, size: usize) {
    file.reported_size = Some(size as u64);
    file.file_system = FileSystem::Blocking;
}

struct Simulation {
    scenario: Scenario,
    random: Random,
    world: Arc<World>,
    mill: Arc<Mill<Hashed>>,
    /// A carrier that only serves as a clock.
    clock: SimCarrier,
    loops: Vec<SimLoop<Hashed>>,
    /// Since when each loop has left items to others.
    yields_since: Vec<Option<Duration>>,
    wakers: Wakers,
    ledger: Ledger,
    /// When each of the added items is due at the latest, if there is a rate.
    due: Vec<Duration>,
    names: Vec<Vec<u8>>,
    expected: Vec<Expected>,
    /// A file that hangs may keep a large buffer from others.
    large_files_hang: bool,
    added: usize,
    first_added_at: Option<Duration>,
    /// When each of the emitted items started.
    started_at_ns: Vec<u64>,
    /// Emitted items that were never started.
    unstarted: u64,
    collector: Arc<Collector>,
    latencies: Latencies,
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
        let mut names = Vec::new();
        let mut expected = Vec::new();
        let mut large_files_hang = false;
        for number in 0..scenario.items {
            let item = make_item(&mut random, &scenario, number);
            if let Some(file) = item.file {
                let is_large = file.content.len() >= BufferClass::Small.len_bytes();
                large_files_hang |= file.hangs && is_large;
                files.insert(item.name.clone(), file);
            }
            names.push(item.name);
            expected.push(item.expected);
        }
        let world = Arc::new(World::new(files, scenario.faults, scenario.descriptors_max));
        let Scenario {
            order,
            window,
            loops,
            fail_fast,
            ..
        } = scenario;
        let clock = SimCarrier::new(Arc::clone(&world), 0);
        let pace = scenario.rate_per_s.map(Pace::new);
        let mill = Arc::new(Mill::new(order, window, loops, fail_fast).paced(pace));
        let collector = Collector::new(HashJob::PHASES, Detail::Phases, Some(PUBLISH_INTERVAL));
        let (wakers, ledger) = (Wakers::default(), Ledger::default());
        let job = HashJob {
            algorithm: ALGORITHM,
            read_special: scenario.read_special,
            strict: scenario.strict,
            ..HashJob::default()
        };
        let job = Arc::new(Spurious {
            job,
            wakers: wakers.clone(),
            ledger: ledger.clone(),
        });
        let parts = Parts {
            job: &job,
            world: &world,
            mill: &mill,
            workers: &workers(&job, &world, random.next_u64(), Some(&collector)),
            in_flight: scenario.in_flight_per_loop,
            large_buffers: scenario.large_buffers,
            timeout: scenario.timeout(),
            collector: Some(&collector),
            ledger: ledger.clone(),
        };
        let new_loop = |index| parts.new_loop(index, random.next_u64());
        Self {
            loops: (0..loops).map(new_loop).collect(),
            yields_since: vec![None; loops],
            random,
            world,
            mill,
            clock,
            wakers,
            ledger,
            due: Vec::new(),
            names,
            expected,
            large_files_hang,
            added: 0,
            first_added_at: None,
            started_at_ns: Vec::new(),
            unstarted: 0,
            collector,
            latencies: Latencies::new(HashJob::PHASES),
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
                check_stop(&self.loops);
            }
            let moved = match self.random.below(self.loops.len() + 2) {
                0 => self.move_source(),
                1 => self.random.below(self.scenario.emitter_slowness) == 0 && self.move_emitter(),
                chosen => self.move_loop(chosen - 2),
            };
            self.check_counters();
            if self.scenario.spurious && self.random.percent(10) {
                self.wakers.wake_one(&mut self.random);
            }
            // Joining the threads of the loops would wait for ever if one of them did not end.
            if self.ended && self.loops.iter().all(|l| l.event_loop.is_none()) {
                return self.check_end();
            }
            idle = if moved { 0 } else { idle + 1 };
            // I6: a state in which nothing can move is a lost wake-up.
            assert!(
                idle < 20_000,
                "nothing can move: {:?}",
                self.mill.counters()
            );
        }
        panic!("no end after {STEPS_MAX} steps: {:?}", self.mill.counters());
    }

    fn move_source(&mut self) -> bool {
        if self.input_ended
            || !self.mill.has_room()
            || self.random.below(self.scenario.source_slowness) > 0
            || self.random.percent(30)
        {
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
        if self.scenario.trickles && self.mill.has_input() {
            return false;
        }
        let count = match self.scenario.trickles {
            true => 1,
            false => 1 + self.random.below(left),
        };
        let names = &self.names[self.added..self.added + count];
        let now = self.clock.now();
        self.first_added_at.get_or_insert(now);
        self.mill.add(Batch::from_iter(names), now);
        self.added += count;
        self.schedule(now);
        true
    }

    /// An item is due one interval after the one before it, or when it arrives. It may be due earlier:
    /// time without input is taken out of the schedule only if there was room.
    fn schedule(&mut self, now: Duration) {
        if let Some(rate_per_s) = self.scenario.rate_per_s {
            // Rounded up, so that it is never due later.
            let interval = Duration::from_secs_f64(1.0 / rate_per_s) + Duration::from_nanos(1);
            while self.due.len() < self.added {
                let after_last = self.due.last().map_or(now, |last| *last + interval);
                self.due.push(after_last.max(now));
            }
        }
    }

    /// The earliest time from now on at which an item can be pulled as far as input, window and rate
    /// are concerned, if nothing else happens. The mill is only asked whether a failure has ended all
    /// pulls.
    fn pullable_at(&self) -> Option<Duration> {
        let counters = self.mill.counters();
        let next = usize::try_from(counters.pulled).unwrap();
        let has_room = counters.pulled - counters.emitted < self.scenario.window as u64;
        let (now, never) = (self.clock.now(), Duration::from_secs(1 << 40));
        let goes_on = !self.stopped && (!self.scenario.fail_fast || self.mill.could_pull(never));
        let is_there = goes_on && has_room && next < self.added;
        // The interval is rounded.
        let due = self
            .due
            .get(next)
            .map_or(now, |due| *due + Duration::from_nanos(2));
        is_there.then_some(due.max(now))
    }

    fn move_loop(&mut self, chosen: usize) -> bool {
        let under_pressure = self.is_under_pressure();
        let next_timer = next_timer(&self.loops);
        let before = self.mill.counters();
        let demand = Demand {
            items: self.added - usize::try_from(before.pulled).unwrap(),
            window_room: self.scenario.window
                - usize::try_from(before.pulled - before.emitted).unwrap(),
        };
        let sim_loop = &mut self.loops[chosen];
        let Some(turn) = sim_loop.turn(next_timer, &self.clock) else {
            return false;
        };
        let event_loop = sim_loop.event_loop.as_ref().expect("it took a turn");
        let in_flight_max = self.scenario.in_flight_per_loop;
        let held = event_loop.held();
        // I8, I10: each buffer and each operation belongs to an item in flight.
        if held.in_flight == 0 {
            assert_eq!(held, Held::default(), "something was not given back");
        }
        match turn {
            Turn::Ended => {
                // I10 and I7: a loop that ended by itself holds nothing, except what was given up at
                // its deadline.
                if !self.stopped && !self.scenario.fail_fast && !under_pressure {
                    assert_eq!(held.in_flight, 0);
                    assert_eq!(sim_loop.handle.outstanding(), 0);
                }
                sim_loop.event_loop = None;
                self.mill.loop_ended(chosen);
            }
            Turn::Wait(wait) => {
                // I1
                assert!(held.in_flight <= in_flight_max);
                // I15: a digest waits for another only while tasks are polled.
                assert!(wait == Wait::No || held.digests == 0);
                let pulled = self.mill.counters().pulled - before.pulled;
                self.check_open_files();
                self.check_share(chosen, demand, usize::try_from(pulled).unwrap());
                self.check_wait(chosen, wait, pulled > 0);
                self.check_timer(chosen, wait);
            }
        }
        true
    }

    /// I7: each open file belongs to an item in flight, which has one at most.
    fn check_open_files(&self) {
        let loops = self.loops.iter().filter_map(|l| l.event_loop.as_ref());
        let in_flight: usize = loops.map(EventLoop::in_flight).sum();
        assert!(
            self.world.descriptors() <= in_flight,
            "a file was left open"
        );
    }

    /// I5: a loop waits only if it is full, is under pressure or has nothing to pull, or if it leaves
    /// items to another loop that has room for them, which it does for a moment and once in a row.
    fn check_wait(&mut self, chosen: usize, wait: Wait, has_pulled: bool) {
        let in_flight_max = self.scenario.in_flight_per_loop;
        let since = self.yields_since[chosen].take().filter(|_| !has_pulled);
        if !self.is_calm() || !self.mill.could_pull(self.clock.now()) {
            return;
        }
        let (loops, now) = (&self.loops, self.clock.now());
        let leaves = match wait {
            Wait::No => loops[chosen].has_place(in_flight_max),
            _ => check_wait(loops, chosen, in_flight_max, wait, now, since),
        };
        if leaves {
            self.yields_since[chosen] = since.or(Some(now));
        }
    }

    /// I16. With a rate, or under exhaustion, there is less to share than it seems.
    fn check_share(&self, chosen: usize, demand: Demand, pulled: usize) {
        let is_simple = self.is_calm() && self.scenario.rate_per_s.is_none();
        let pause_ended = |since| since + YIELD_PAUSE <= self.clock.now();
        let has_waited = self.yields_since[chosen].is_some_and(pause_ended);
        if is_simple && !self.scenario.fail_fast && !has_waited {
            let in_flight_max = self.scenario.in_flight_per_loop;
            check_share(&self.loops, chosen, in_flight_max, demand, pulled);
        }
    }

    /// I15, and no timer without a reason.
    fn check_timer(&self, chosen: usize, wait: Wait) {
        let now = self.clock.now();
        let Some((until, held)) = self.loops[chosen].really_waits(wait, now) else {
            return;
        };
        let scenario = &self.scenario;
        let pullable_at = self.pullable_at();
        // An exhaustion may be real or only apparent, which is random. So the end of the wait is
        // bounded by the longest pause. A failed read-ahead that is not wanted yet is retried only when
        // it is wanted. With one large buffer nothing is read ahead.
        let reads_ahead = scenario.large_buffers > 1;
        let is_last = self.loops[chosen].handle.next().is_none();
        let is_wanted = held.to_retry > 0 && (is_last || !reads_ahead);
        let retry = is_wanted.then_some(now + RETRY_PAUSE_MAX);
        self.ledger.check_wait(
            chosen,
            until,
            scenario.timeout(),
            now,
            retry,
            |until, all_ended| {
                let is_retry = held.to_retry > 0 && until <= now + RETRY_PAUSE_MAX;
                // The wait ends when the rate allows the next item.
                let is_rate =
                    scenario.rate_per_s.is_some() && pullable_at.is_some_and(|at| until <= at);
                let leaves =
                    scenario.loops > 1 && pullable_at.is_some() && until <= now + YIELD_PAUSE;
                // Latencies are published at the multiples of an interval, and the first time at once.
                let publishes = until.as_nanos() % PUBLISH_INTERVAL.as_nanos() == 0 || until == now;
                // At most the timeout of an item, once items that were given up hold all places.
                let all_given_up = held.in_flight > 0 && all_ended;
                let is_stuck = all_given_up && until <= now + TIMEOUT;
                is_retry || is_rate || leaves || publishes || is_stuck
            },
        );
    }

    fn is_calm(&self) -> bool {
        self.scenario.faults.exhaustion == 0 && self.scenario.descriptors_max >= 1000
    }

    fn move_emitter(&mut self) -> bool {
        if self.ended {
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
        assert_eq!(finished.item.bytes(), self.names[number]);
        self.check_result(number, &finished.result);
        self.check_latency(finished);
        self.started_at_ns.push(finished.started_at_ns);
        self.emitted.push(index);
        self.unmarked += 1;
        if self.scenario.fail_fast && finished.result.is_err() && !self.stopped {
            self.stopped = true;
            self.mill.stop();
            // I11: in input order, everything before the failure has been emitted, and nothing after
            // it.
            self.ended = true;
            return false;
        }
        true
    }

    fn check_result(&self, number: usize, result: &Result<Hashed, ItemError>) {
        match (&self.expected[number], result) {
            (Expected::Value(expected), Ok(hashed)) => assert_eq!(*expected, Content::of(hashed)),
            (Expected::Error(expected), Err(error)) if expected == error => {}
            (Expected::TimedOut, Err(error)) if is_time_out(error) => {}
            (_, Err(error)) if is_time_out(error) => {
                assert!(self.may_be_late(), "item {number}: {error}");
            }
            (_, Err(error)) if is_untried(error) => {
                assert!(self.scenario.faults.uncancellable, "item {number}: {error}");
            }
            (_, Err(error)) if error.as_errno().is_some_and(Errno::is_exhaustion) => {
                assert!(
                    self.may_lack(),
                    "item {number}: {error}: {:?}",
                    self.expected[number]
                );
            }
            (expected, result) => panic!("item {number}: expected {expected:?}, got {result:?}"),
        }
    }

    /// Deadlines are kept, and no item times out before its deadline.
    fn check_latency(&mut self, finished: &Finished<Hashed>) {
        let latency = Duration::from_nanos(finished.latency_ns());
        if finished.result.as_ref().is_err_and(is_time_out) {
            assert!(latency >= TIMEOUT, "early: {latency:?}");
        }
        if finished.result.as_ref().is_err_and(is_untried) {
            assert!(latency.is_zero(), "started: {latency:?}");
            self.unstarted += 1;
        }
        if self.scenario.timeout().is_some() {
            assert!(latency <= TIMEOUT, "late: {latency:?}");
        }
    }

    fn some_hang(&self) -> bool {
        let hangs = |expected: &Expected| matches!(expected, Expected::TimedOut);
        self.expected.iter().any(hangs)
    }

    fn descriptors_are_few(&self) -> bool {
        let in_flight_max = self.scenario.loops * self.scenario.in_flight_per_loop;
        self.scenario.descriptors_max < in_flight_max
    }

    /// True if an item that does not hang may still miss its deadline: exhaustion takes time to pass,
    /// and hanging items may hold resources that it needs.
    fn may_be_late(&self) -> bool {
        let buffers_are_held = self.large_files_hang && self.scenario.in_flight_per_loop > 1;
        let others_hang = self.some_hang()
            && (self.descriptors_are_few()
                || self.scenario.faults.uncancellable
                || buffers_are_held);
        self.scenario.faults.exhaustion > 0 || others_hang
    }

    /// True if an item may fail from exhaustion, which is allowed only if nothing of ours could free
    /// the resource. Here this needs descriptors that are held for good by items that were given up and
    /// cannot be cancelled.
    fn may_lack(&self) -> bool {
        let held_for_good = self.some_hang() && self.scenario.faults.uncancellable;
        self.descriptors_are_few() && held_for_good
    }

    fn is_under_pressure(&self) -> bool {
        let many_hang = self.scenario.hanging_files > 0;
        self.scenario.faults.exhaustion > 0 || self.scenario.descriptors_max < 1000 || many_hang
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
        if self.is_calm()
            && let Some(at) = self.pullable_at()
        {
            let (loops, now) = (&self.loops, self.clock.now());
            check_liveness(loops, self.scenario.in_flight_per_loop, at, now);
        }
        // I16: pulled items were begun at once. Only where all places hang for good, items fail without
        // being begun.
        if !(self.scenario.faults.uncancellable && self.scenario.hanging_files > 0) {
            assert_eq!(
                self.ledger.begun() as u64,
                counters.pulled,
                "I16: begun and pulled"
            );
        }
    }

    fn check_end(mut self) {
        self.mill.mark_emitted(self.unmarked);
        let counters = self.mill.counters();
        assert_eq!(counters.emitted, self.emitted.len() as u64);
        if self.stopped {
            // I9
            assert!(counters.pulled - counters.emitted <= self.scenario.window as u64);
        } else {
            // I4, I13
            assert_eq!(counters.emitted, counters.pulled);
            assert_eq!(self.emitted.len(), self.expected.len());
            assert_eq!(
                self.mill.take_input_error().is_some(),
                self.scenario.input_fails
            );
        }
        // I7, I10: however the run ends, nothing is left open or outstanding.
        for sim_loop in &mut self.loops {
            sim_loop.event_loop = None;
            assert_eq!(sim_loop.handle.outstanding(), 0);
        }
        assert_eq!(self.world.descriptors(), 0);
        self.check_rate();
        self.check_recorded();
    }

    /// Since the first input, no more items have started than the rate allows.
    fn check_rate(&mut self) {
        let Some(rate_per_s) = self.scenario.rate_per_s else {
            return;
        };
        self.started_at_ns.sort_unstable();
        for (started, at_ns) in self.started_at_ns.iter().enumerate() {
            let first_added_at = self.first_added_at.expect("something was started");
            let elapsed = Duration::from_nanos(*at_ns).saturating_sub(first_added_at);
            let most = elapsed.as_secs_f64() * rate_per_s + 1.0;
            assert!(
                started as f64 <= most - 1.0 + 1e-6,
                "{started} items in {elapsed:?}"
            );
        }
    }

    /// Each item is counted in each phase that it went through, whichever loop ran it.
    fn check_recorded(&mut self) {
        self.collector.take(&mut self.latencies);
        let count = |phase| self.latencies.get(phase).count();
        if !self.stopped {
            let emitted = self.emitted.len() as u64;
            assert_eq!(count(Phase::TOTAL), emitted);
            assert_eq!(count(Phase::QUEUE), emitted - self.unstarted);
            let scheduled = self.scenario.rate_per_s.map_or(0, |_| emitted);
            assert_eq!(count(Phase::SCHEDULED_TOTAL), scheduled);
        }
        // An operation that fails from exhaustion, real or apparent, is retried, and both attempts are
        // counted.
        let some_fail = self.scenario.failing_files > 0 || self.scenario.faults.exhaustion > 0;
        if !some_fail && !self.descriptors_are_few() {
            assert!(count(Phase::CLOSE) <= count(Phase::OPEN));
            assert!(count(Phase::OPEN) <= count(Phase::LOOK_UP));
        }
        assert!(count(HASH) <= count(Phase::READ));
        let sum = |phase| {
            let histogram = self.latencies.get(phase).histogram();
            histogram.map_or(0.0, |known| known.mean() * known.len() as f64)
        };
        if self.scenario.rate_per_s.is_some() && !self.stopped {
            // Nothing starts before it is due. Histograms keep three digits.
            assert!(sum(Phase::SCHEDULED_TOTAL) * 1.002 + 100.0 >= sum(Phase::TOTAL));
        }
    }
}

fn is_time_out(error: &ItemError) -> bool {
    matches!(error.cause, Cause::TimedOut { .. })
}

fn is_untried(error: &ItemError) -> bool {
    matches!(error.cause, Cause::NotTried { .. })
}

fn input_error() -> InputError {
    InputError {
        name: "list".into(),
        operation: "read",
        message: "simulated".into(),
    }
}

proptest! {
    #![proptest_config(config(300, 40))]

    #[test]
    fn the_invariants_hold_on_every_schedule(scenario in scenario()) {
        Simulation::new(scenario).run();
    }
}

/// If no descriptor is available at all, nothing of ours can free one: the error is the result, long
/// before the deadline.
#[test]
fn a_permanent_shortage_becomes_the_result() {
    let name = "file".to_owned();
    let file = SimFile::regular(b"content".to_vec());
    let files = HashMap::from([(name.clone().into_bytes(), file)]);
    let world = World::new(files, Faults::default(), 0);
    let (results, to_retry_max) = hash_all(&Arc::new(world), &[name.clone(), name], 1);
    assert_eq!((results.len(), to_retry_max), (2, 2));
    for finished in results {
        let latency_ns = finished.latency_ns();
        let error = finished.result.expect_err("no descriptor is available");
        let lacking = ItemError::errno(Operation::Open, Errno::new(libc::EMFILE));
        assert_eq!(error, lacking);
        assert!(u128::from(latency_ns) < TIMEOUT.as_nanos());
    }
}

/// An errno that only looks like exhaustion is the result at once, and the other files do not wait for
/// it.
#[test]
fn a_file_whose_own_errno_looks_like_a_shortage_holds_nobody_up() {
    let errnos = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::EAGAIN,
        libc::EINTR,
    ];
    for (seed, raw) in errnos.into_iter().enumerate() {
        for (fails_at, file_system) in [
            (Operation::Open, FileSystem::Nowait),
            (Operation::Read, FileSystem::Nowait),
            (Operation::Open, FileSystem::Blocking),
            (Operation::Read, FileSystem::Blocking),
        ] {
            let errno = Errno::new(raw);
            let names: Vec<_> = (0..200).map(|number| format!("file {number}")).collect();
            let fails = |number: usize| number % 20 == 19;
            let files = names.iter().enumerate().map(|(number, name)| {
                let mut file = SimFile::regular(b"content".to_vec());
                file.file_system = file_system;
                match fails_at {
                    _ if !fails(number) => {}
                    Operation::Open => file.open_errno = Some(errno),
                    _ => file.read_errno = Some((0, errno)),
                }
                (name.clone().into_bytes(), file)
            });
            let world = World::new(files.collect(), Faults::default(), 1000);
            let (results, to_retry_max) = hash_all(&Arc::new(world), &names, seed as u64);
            assert_eq!((results.len(), to_retry_max), (names.len(), 0));
            for finished in results {
                // One look-up, open and read take up to 100 ms in this world.
                let latency = Duration::from_nanos(finished.latency_ns());
                assert!(latency < Duration::from_millis(300), "{errno}: {latency:?}");
                let number = usize::try_from(finished.item.index()).unwrap();
                match finished.result {
                    Ok(_) => assert!(!fails(number)),
                    Err(error) => assert_eq!(error, ItemError::errno(fails_at, errno)),
                }
            }
        }
    }
}

/// The same for a piece of a large file that is read ahead, on a loop.
#[test]
fn a_read_ahead_that_fails_as_if_something_was_exhausted_holds_nobody_up() {
    for seed in 0..20 {
        let errno = Errno::new(libc::ENOMEM);
        let names: Vec<_> = (0..40).map(|number| format!("file {number}")).collect();
        let files = names.iter().enumerate().map(|(number, name)| {
            let mut file = SimFile::regular(b"content".to_vec());
            if number == 0 {
                file = SimFile::regular(pattern()[..4 * LARGE_READ].to_vec());
                file.read_errno = Some((2 * LARGE_READ as u64, errno));
            }
            (name.clone().into_bytes(), file)
        });
        let world = World::new(files.collect(), Faults::default(), 1000);
        let (mut results, to_retry_max) = hash_all(&Arc::new(world), &names, seed);
        assert_eq!((results.len(), to_retry_max), (names.len(), 0));
        results.retain(|finished| finished.result.is_err());
        assert_eq!(results.len(), 1);
        let expected = ItemError::errno(Operation::Read, errno);
        assert_eq!(results[0].result, Err(expected));
    }
}

/// The results of one loop with 16 items in flight, and the most operations that waited at one time for
/// a resource to be freed.
fn hash_all(world: &Arc<World>, names: &[String], seed: u64) -> (Vec<Finished<Hashed>>, usize) {
    let mill = Arc::new(Mill::new(Order::Completion, names.len(), 1, false));
    let job = Arc::new(HashJob {
        algorithm: ALGORITHM,
        ..HashJob::default()
    });
    let parts = Parts {
        job: &job,
        world,
        mill: &mill,
        workers: &workers(&job, world, seed, None),
        in_flight: 16,
        large_buffers: 4,
        timeout: Some(TIMEOUT),
        collector: None,
        ledger: Ledger::default(),
    };
    let carrier = SimCarrier::new(Arc::clone(world), seed);
    let mut event_loop = parts.event_loop(0, Box::new(carrier));
    mill.add(Batch::from_iter(names), Duration::ZERO);
    mill.end_input(Ok(()));
    let mut to_retry_max = 0;
    while let Turn::Wait(wait) = event_loop.turn() {
        to_retry_max = event_loop.held().to_retry.max(to_retry_max);
        event_loop.wait(wait).unwrap();
    }
    let mut results = Vec::new();
    assert_eq!(
        mill.take_ready(names.len(), None, &mut results),
        Ready::Results
    );
    (results, to_retry_max)
}
