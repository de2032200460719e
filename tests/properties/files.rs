//! Files hashed on any schedule.

use crate::simulated::{
    Demand, Drive, Ledger, Oracle, Parts, Schedule, Spurious, Turned, YIELD_PAUSE, check_liveness,
    check_share, check_wait, config, schedule, workers,
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
use ringmill::mill::{Finished, Mill, Order, Ready};
use ringmill::run::{EventLoop, Held, Turn};
use ringmill::stats::{Collector, Detail, Latencies, Phase};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// An algorithm whose digests are computed several at a time.
const ALGORITHM: Algorithm = Algorithm::Sha256;

/// One scenario, which determines everything that happens.
#[derive(Clone, Debug)]
struct Scenario {
    /// Without a deadline, no timer makes up for a lost wake-up.
    schedule: Schedule,
    /// In percent of files.
    failing_files: u8,
    hanging_files: u8,
    large_files: u8,
    faults: Faults,
    descriptors_max: usize,
    read_special: bool,
    strict: bool,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    // With one item or one buffer at a time, no other item can be the cause of a delay.
    let in_flight_per_loop = prop_oneof![1 => Just(1_usize), 3 => 1_usize..12];
    let large_buffers = prop_oneof![1 => Just(1_usize), 2 => 1_usize..6];
    let schedule = schedule(1..120, in_flight_per_loop, 1..40, 0..600);
    let ends = (
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop::bool::weighted(0.2),
    );
    let pace = (
        // Operations take up to 65 ms each.
        proptest::option::weighted(0.3, 1.0_f64..100_000.0),
        prop::bool::weighted(0.25),
        prop_oneof![Just(1_usize), 1_usize..100],
        1_usize..30,
    );
    let kinds = (
        0_u8..40,
        prop_oneof![Just(0_u8), 0_u8..15],
        0_u8..30,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
    );
    let faults = (
        0_u8..50,
        prop_oneof![Just(0_u8), 0_u8..50],
        any::<bool>(),
        prop_oneof![Just(1000_usize), 1_usize..8],
    );
    let schedules =
        (schedule, large_buffers, ends, pace).prop_map(|(schedule, large_buffers, ends, pace)| {
            Schedule {
                large_buffers,
                fail_fast: ends.0,
                timeout: ends.1.then_some(TIMEOUT),
                input_fails: ends.2,
                rate_per_s: pace.0,
                trickles: pace.1,
                source_slowness: pace.2,
                emitter_slowness: pace.3,
                ..schedule
            }
        });
    (schedules, kinds, faults).prop_map(|(mut schedule, kinds, faults)| {
        if kinds.1 > 0 {
            schedule.timeout = Some(TIMEOUT);
        }
        Scenario {
            schedule,
            failing_files: kinds.0,
            hanging_files: kinds.1,
            large_files: kinds.2,
            faults: Faults {
                short_read: faults.0,
                exhaustion: faults.1,
                uncancellable: faults.2,
            },
            descriptors_max: faults.3,
            read_special: kinds.3,
            strict: kinds.4,
        }
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

fn run(scenario: &Scenario) {
    let schedule = &scenario.schedule;
    let mut random = Random::new(schedule.seed);
    let mut files = HashMap::new();
    let mut names = Vec::new();
    let mut oracle = FileOracle::new(scenario);
    for number in 0..schedule.items {
        let item = make_item(&mut random, scenario, number);
        if let Some(file) = item.file {
            let is_large = file.content.len() >= BufferClass::Small.len_bytes();
            oracle.large_files_hang |= file.hangs && is_large;
            files.insert(item.name.clone(), file);
        }
        names.push(item.name);
        oracle.expected.push(item.expected);
    }
    let world = World::new(files, scenario.faults, scenario.descriptors_max);
    let collector = Collector::new(HashJob::PHASES, Detail::Phases, Some(PUBLISH_INTERVAL));
    let job = Spurious::new(HashJob {
        algorithm: ALGORITHM,
        read_special: scenario.read_special,
        strict: scenario.strict,
        ..HashJob::default()
    });
    let drive = Drive::new(schedule, random, job, world, names, Some(&collector));
    let ended = drive.run(&mut oracle);
    oracle.check_rate();
    oracle.check_recorded(&collector, ended.stopped);
}

struct FileOracle<'a> {
    scenario: &'a Scenario,
    expected: Vec<Expected>,
    /// A file that hangs may keep a large buffer from others.
    large_files_hang: bool,
    /// Since when each loop has left items to others.
    yields_since: Vec<Option<Duration>>,
    /// When each of the added items is due at the latest, if there is a rate.
    due: Vec<Duration>,
    first_added_at: Option<Duration>,
    /// When each of the emitted items started.
    started_at_ns: Vec<u64>,
    /// Emitted items that were never started.
    unstarted: u64,
}

impl Oracle<Hashed> for FileOracle<'_> {
    fn emitted(&mut self, finished: &Finished<Hashed>) {
        let number = usize::try_from(finished.item.index()).unwrap();
        self.check_result(number, &finished.result);
        self.check_latency(finished);
        self.started_at_ns.push(finished.started_at_ns);
    }

    fn turned(&mut self, run: &Drive<Hashed>, turned: &Turned<'_>) {
        let (chosen, held) = (turned.chosen, turned.held);
        // I8, I10: each buffer and each operation belongs to an item in flight.
        if held.in_flight == 0 {
            assert_eq!(held, Held::default(), "something was not given back");
        }
        let Turn::Wait(wait) = turned.turn else {
            // I10 and I7: a loop that ended by itself holds nothing, except what was given up at its
            // deadline.
            if !run.stopped && !run.schedule.fail_fast && !self.is_under_pressure() {
                assert_eq!(held.in_flight, 0);
                assert_eq!(run.loops[chosen].handle.outstanding(), 0);
            }
            return;
        };
        // I15: a digest waits for another only while tasks are polled.
        assert!(wait == Wait::No || held.digests == 0);
        let before = turned.before;
        let unfinished = usize::try_from(before.pulled - before.emitted).unwrap();
        let demand = Demand {
            items: run.added - usize::try_from(before.pulled).unwrap(),
            window_room: run.schedule.window - unfinished,
        };
        let pulled = usize::try_from(run.mill.counters().pulled - before.pulled).unwrap();
        check_open_files(run);
        self.check_share(run, chosen, demand, pulled);
        self.check_wait(run, chosen, wait, pulled > 0);
        self.check_timer(run, chosen, wait);
    }

    fn stepped(&mut self, run: &Drive<Hashed>) {
        self.note_added(run);
        self.check_counters(run);
    }

    /// Only where all places hang for good, items fail without being begun.
    fn all_begin(&self) -> bool {
        !(self.scenario.faults.uncancellable && self.scenario.hanging_files > 0)
    }
}

/// I7: each open file belongs to an item in flight, which has one at most.
fn check_open_files(run: &Drive<Hashed>) {
    let loops = run.loops.iter().filter_map(|l| l.event_loop.as_ref());
    let in_flight: usize = loops.map(EventLoop::in_flight).sum();
    assert!(run.world.descriptors() <= in_flight, "a file was left open");
}

impl<'a> FileOracle<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            expected: Vec::new(),
            large_files_hang: false,
            yields_since: vec![None; scenario.schedule.loops],
            due: Vec::new(),
            first_added_at: None,
            started_at_ns: Vec::new(),
            unstarted: 0,
        }
    }

    /// An item is due one interval after the one before it, or when it arrives. It may be due earlier:
    /// time without input is taken out of the schedule only if there was room.
    fn note_added(&mut self, run: &Drive<Hashed>) {
        let now = run.clock.now();
        if run.added > 0 {
            self.first_added_at.get_or_insert(now);
        }
        if let Some(rate_per_s) = run.schedule.rate_per_s {
            // Rounded up, so that it is never due later.
            let interval = Duration::from_secs_f64(1.0 / rate_per_s) + Duration::from_nanos(1);
            while self.due.len() < run.added {
                let after_last = self.due.last().map_or(now, |last| *last + interval);
                self.due.push(after_last.max(now));
            }
        }
    }

    /// The earliest time from now on at which an item can be pulled as far as input, window and rate
    /// are concerned, if nothing else happens.
    fn pullable_at(&self, run: &Drive<Hashed>) -> Option<Duration> {
        let (now, next) = (run.clock.now(), run.mill.counters().pulled);
        let due = self.due.get(usize::try_from(next).unwrap());
        // The interval is rounded.
        let due = due.map_or(now, |due| *due + Duration::from_nanos(2));
        run.is_pullable().then_some(due.max(now))
    }

    /// I5: a loop waits only if it is full, is under pressure or has nothing to pull, or if it leaves
    /// items to another loop that has room for them, which it does for a moment and once in a row.
    fn check_wait(&mut self, run: &Drive<Hashed>, chosen: usize, wait: Wait, has_pulled: bool) {
        let in_flight_max = run.schedule.in_flight_per_loop;
        let since = self.yields_since[chosen].take().filter(|_| !has_pulled);
        if !self.is_calm() || !run.mill.could_pull(run.clock.now()) {
            return;
        }
        let (loops, now) = (&run.loops, run.clock.now());
        let leaves = match wait {
            Wait::No => loops[chosen].has_place(in_flight_max),
            _ => check_wait(loops, chosen, in_flight_max, wait, now, since),
        };
        if leaves {
            self.yields_since[chosen] = since.or(Some(now));
        }
    }

    /// I16. With a rate, or under exhaustion, there is less to share than it seems.
    fn check_share(&self, run: &Drive<Hashed>, chosen: usize, demand: Demand, pulled: usize) {
        let is_simple = self.is_calm() && run.schedule.rate_per_s.is_none();
        let pause_ended = |since| since + YIELD_PAUSE <= run.clock.now();
        let has_waited = self.yields_since[chosen].is_some_and(pause_ended);
        if is_simple && !run.schedule.fail_fast && !has_waited {
            let in_flight_max = run.schedule.in_flight_per_loop;
            check_share(&run.loops, chosen, in_flight_max, demand, pulled);
        }
    }

    /// I15, and no timer without a reason.
    fn check_timer(&self, run: &Drive<Hashed>, chosen: usize, wait: Wait) {
        let now = run.clock.now();
        let Some((until, held)) = run.loops[chosen].really_waits(wait, now) else {
            return;
        };
        let schedule = &run.schedule;
        let pullable_at = self.pullable_at(run);
        // An exhaustion may be real or only apparent, which is random. So the end of the wait is
        // bounded by the longest pause. A failed read-ahead that is not wanted yet is retried only when
        // it is wanted. With one large buffer nothing is read ahead.
        let reads_ahead = schedule.large_buffers > 1;
        let is_last = run.loops[chosen].handle.next().is_none();
        let is_wanted = held.to_retry > 0 && (is_last || !reads_ahead);
        let retry = is_wanted.then_some(now + RETRY_PAUSE_MAX);
        run.ledger.check_wait(
            chosen,
            until,
            schedule.timeout,
            now,
            retry,
            |until, all_ended| {
                let is_retry = held.to_retry > 0 && until <= now + RETRY_PAUSE_MAX;
                // The wait ends when the rate allows the next item.
                let is_rate =
                    schedule.rate_per_s.is_some() && pullable_at.is_some_and(|at| until <= at);
                let leaves =
                    schedule.loops > 1 && pullable_at.is_some() && until <= now + YIELD_PAUSE;
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
        if self.scenario.schedule.timeout.is_some() {
            assert!(latency <= TIMEOUT, "late: {latency:?}");
        }
    }

    fn some_hang(&self) -> bool {
        let hangs = |expected: &Expected| matches!(expected, Expected::TimedOut);
        self.expected.iter().any(hangs)
    }

    fn descriptors_are_few(&self) -> bool {
        let schedule = &self.scenario.schedule;
        self.scenario.descriptors_max < schedule.loops * schedule.in_flight_per_loop
    }

    /// True if an item that does not hang may still miss its deadline: exhaustion takes time to pass,
    /// and hanging items may hold resources that it needs.
    fn may_be_late(&self) -> bool {
        let buffers_are_held =
            self.large_files_hang && self.scenario.schedule.in_flight_per_loop > 1;
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

    /// I1, I7, I14 at every step.
    fn check_counters(&self, run: &Drive<Hashed>) {
        let in_flight = run.mill.counters().in_flight;
        let in_flight_max = run.schedule.loops * run.schedule.in_flight_per_loop;
        assert!(in_flight <= in_flight_max as u64, "I1: {in_flight}");
        let descriptors_peak = run.world.descriptors_peak();
        assert!(descriptors_peak <= self.scenario.descriptors_max, "I7");
        if self.is_calm()
            && let Some(at) = self.pullable_at(run)
        {
            let (loops, now) = (&run.loops, run.clock.now());
            check_liveness(loops, run.schedule.in_flight_per_loop, at, now);
        }
    }

    /// Since the first input, no more items have started than the rate allows.
    fn check_rate(&mut self) {
        let Some(rate_per_s) = self.scenario.schedule.rate_per_s else {
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
    fn check_recorded(&self, collector: &Collector, stopped: bool) {
        let mut latencies = Latencies::new(HashJob::PHASES);
        collector.take(&mut latencies);
        let count = |phase| latencies.get(phase).count();
        let rate_per_s = self.scenario.schedule.rate_per_s;
        if !stopped {
            let emitted = self.started_at_ns.len() as u64;
            assert_eq!(count(Phase::TOTAL), emitted);
            assert_eq!(count(Phase::QUEUE), emitted - self.unstarted);
            let scheduled = rate_per_s.map_or(0, |_| emitted);
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
            let histogram = latencies.get(phase).histogram();
            histogram.map_or(0.0, |known| known.mean() * known.len() as f64)
        };
        if rate_per_s.is_some() && !stopped {
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

proptest! {
    #![proptest_config(config(300, 40))]

    #[test]
    fn the_invariants_hold_on_every_schedule(scenario in scenario()) {
        run(&scenario);
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
        parked: usize::MAX,
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
