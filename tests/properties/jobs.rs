//! Jobs of all kinds on any schedule. Each item follows a script of its own: it opens two files at
//! once, parks, sleeps, waits for another thread, runs several operations at once, drops some of them
//! halfway. Deadlines, stops and failures end items at any of their awaits.

use crate::simulated::{
    Drive, Ledger, Oracle, Schedule, Spurious, Timer, Turned, YIELD_PAUSE, check_liveness,
    check_wait, config, schedule,
};
use proptest::prelude::*;
use ringmill::clock::Clock;
use ringmill::digest::Algorithm;
use ringmill::error::{Cause, Errno, ItemError, Operation};
use ringmill::io::sim::{Faults, Random, SimFile, World};
use ringmill::io::{FileSystem, Io, Semaphore, Sleep, Wait};
use ringmill::item::Item;
use ringmill::jobs::Job;
use ringmill::mill::Finished;
use ringmill::run::{Held, Turn};
use ringmill::stats::Phase;
use std::cell::Cell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// The longest time that an operation takes, unless it hangs.
const OPERATION_MAX: Duration = Duration::from_millis(66);

/// The longest pause before an operation that failed from exhaustion is retried.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(100);

/// One thing an item does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Looks its path up this many times.
    Stats(usize),
    /// Has two files open at once, opened one after the other or both at a time.
    TwoFiles {
        at_once: bool,
    },
    /// Reads a file by several reads in flight, and waits for them in the wrong order.
    Reads,
    /// Waits, parked, for the permit of its subject, and then works with it.
    Park(usize),
    /// Parks within a wait for which it is already parked.
    ParkTwice(usize),
    /// Parks for two things at once.
    ParkForTwo(usize),
    /// Is parked while an operation is in flight.
    ParkForRead,
    Sleep(Duration),
    NextTurn,
    LargeBuffer,
    /// Hashes this many buffers at once; some of them wait for those of other items.
    Digests(usize),
    /// Waits for another thread, without any operation.
    Outside,
    /// Several operations, each with a waker of its own.
    Unordered(usize),
    /// Drops what it is doing after this time.
    Race(Duration),
    /// Waits for a background task of the loop that works for it.
    Spawn(Duration),
}

/// Everything that an item does.
#[derive(Clone, Debug)]
struct Script {
    steps: Vec<Step>,
    /// After this many polls it drops everything it is doing, and ends successfully.
    aborts_after: Option<usize>,
    fails: bool,
}

/// How another thread finds an item that waits for it.
#[derive(Debug, Default)]
struct Gate {
    is_open: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

type Gates = Arc<Mutex<Vec<Arc<Gate>>>>;

struct Scripted {
    scripts: Arc<Vec<Script>>,
    gates: Gates,
    ledger: Ledger,
}

struct Local {
    scripts: Arc<Vec<Script>>,
    gates: Gates,
    subjects: Vec<Semaphore>,
    timers: Timers,
}

/// Sleeps, and records that in the ledger.
#[derive(Clone)]
struct Timers {
    of_loop: Option<usize>,
    ledger: Ledger,
}

impl Timers {
    fn sleep_until(&self, io: &Io, at: Duration) -> Timer<Sleep> {
        let sleep = io.sleep_until(at);
        self.ledger.timer(self.of_loop, at, sleep)
    }
}

const SUBJECTS: usize = 2;

impl Job for Scripted {
    type Value = u64;
    type Local = Local;

    fn local(&self, io: &Io) -> Local {
        let timers = Timers {
            of_loop: self.ledger.of_loop(),
            ledger: self.ledger.clone(),
        };
        // A background task of each loop sleeps repeatedly. On a worker it would go on only while its item
        // waits.
        let ticks = if timers.of_loop.is_some() { 20 } else { 0 };
        let (ticker, of_ticker) = (io.clone(), timers.clone());
        io.spawn(async move {
            for _ in 0..ticks {
                // This timer is never late.
                let at = ticker.now() + Duration::from_micros(700);
                of_ticker.sleep_until(&ticker, at).await;
                assert_eq!(ticker.now(), at, "a timer fired too early or too late");
            }
        });
        Local {
            scripts: Arc::clone(&self.scripts),
            gates: Arc::clone(&self.gates),
            subjects: (1..=SUBJECTS).map(Semaphore::new).collect(),
            timers,
        }
    }

    async fn run(local: Rc<Local>, io: Io, item: Item) -> Result<u64, ItemError> {
        let number = usize::try_from(item.index()).unwrap();
        let script = &local.scripts[number];
        let mut steps = pin!(follow(&local, &io, &item, script));
        match script.aborts_after {
            None => steps.await?,
            Some(polls) => up_to(polls, steps.as_mut()).await.unwrap_or(Ok(()))?,
        }
        match script.fails {
            true => Err(in_open(Errno::new(libc::EIO))),
            false => Ok(item.index()),
        }
    }
}

fn in_open(errno: Errno) -> ItemError {
    ItemError::errno(Operation::Open, errno)
}

/// Polls a future up to this many times; `None` if it has not ended by then.
async fn up_to<F: Future>(polls: usize, mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        let poll = future.as_mut().poll(context).map(Some);
        if poll.is_pending() && left == 0 {
            context.waker().wake_by_ref();
        }
        poll
    })
    .await
}

async fn follow(local: &Local, io: &Io, item: &Item, script: &Script) -> Result<(), ItemError> {
    for step in &script.steps {
        take_step(*step, local, io, item).await.map_err(in_open)?;
    }
    Ok(())
}

async fn take_step(step: Step, local: &Local, io: &Io, item: &Item) -> Result<(), Errno> {
    match step {
        Step::Stats(count) => {
            for _ in 0..count {
                io.stat(item).await?;
            }
        }
        Step::TwoFiles { at_once } => two_files(io, item, at_once).await?,
        Step::Reads => read_ahead(io, item).await?,
        Step::Park(subject) => {
            let permit = io.park(local.subjects[subject].acquire()).await;
            io.stat(item).await?;
            drop(permit);
        }
        Step::ParkTwice(subject) => {
            let permit = io.park(async {
                let permit = io.park(local.subjects[subject].acquire()).await;
                let until = io.now() + Duration::from_micros(50);
                local.timers.sleep_until(io, until).await;
                permit
            });
            let _permit = permit.await;
            io.stat(item).await?;
        }
        Step::ParkForTwo(subject) => {
            let until = io.now() + Duration::from_micros(300);
            let permit = io.park(local.subjects[subject].acquire());
            let (permit, ()) = both(permit, io.park(local.timers.sleep_until(io, until))).await;
            io.stat(item).await?;
            drop(permit);
        }
        Step::ParkForRead => {
            let stat = io.stat(item).await?;
            let file = io.open(item, &stat).await?;
            io.park(file.read(io.small_buffer(), Some(0), true)).await?;
            file.close().await?;
        }
        Step::Sleep(time) => {
            let at = io.now() + time;
            local.timers.sleep_until(io, at).await;
            assert_eq!(io.now(), at, "a timer fired too early or too late");
        }
        Step::NextTurn => io.next_turn().await,
        Step::LargeBuffer => {
            let buffer = io.large_buffer().await;
            io.stat(item).await?;
            drop(buffer);
        }
        Step::Digests(count) => digests(io, item, count).await,
        Step::Outside => outside(&local.gates).await,
        Step::Unordered(count) => unordered(io, item, count).await?,
        Step::Race(time) => race(local, io, item, time).await?,
        Step::Spawn(time) => spawned(local, io, time).await,
    }
    Ok(())
}

async fn two_files(io: &Io, item: &Item, at_once: bool) -> Result<(), Errno> {
    let stat = io.stat(item).await?;
    let (one, two) = match at_once {
        true => both(io.open(item, &stat), io.open(item, &stat)).await,
        false => (io.open(item, &stat).await, io.open(item, &stat).await),
    };
    let (one, two) = (one?, two?);
    assert_eq!(one.stat().await?.size_bytes, stat.size_bytes);
    one.close().await?;
    two.stat().await?;
    // The other is closed when it is dropped.
    Ok(())
}

async fn read_ahead(io: &Io, item: &Item) -> Result<(), Errno> {
    let stat = io.stat(item).await?;
    let file = io.open(item, &stat).await?;
    let mut reads = Vec::new();
    for offset in [0, 10, 20] {
        let mut read = file.read(io.small_buffer(), Some(offset), true);
        read.start().await;
        reads.push((offset, read));
    }
    // The first of them is never waited for.
    for (offset, read) in reads.drain(1..).rev() {
        let (buffer, count) = read.await?;
        let offset = u8::try_from(offset).unwrap();
        let is_right = |(at, byte): (usize, &u8)| usize::from(*byte) == usize::from(offset) + at;
        assert!(buffer[..count].iter().enumerate().all(is_right));
    }
    Ok(())
}

async fn outside(gates: &Gates) {
    let gate = Arc::<Gate>::default();
    gates.lock().unwrap().push(Arc::clone(&gate));
    poll_fn(|context| {
        *gate.waker.lock().unwrap() = Some(context.waker().clone());
        match gate.is_open.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// Looks the path up this many times at once. Each look-up is polled only after its own waker was
/// called.
async fn unordered(io: &Io, item: &Item, count: usize) -> Result<(), Errno> {
    struct Child {
        is_woken: AtomicBool,
        parent: Mutex<Waker>,
    }
    impl Wake for Child {
        fn wake(self: Arc<Self>) {
            self.is_woken.store(true, Ordering::Release);
            self.parent.lock().unwrap().wake_by_ref();
        }
    }
    let mut running = Vec::new();
    for _ in 0..count {
        let child = Arc::new(Child {
            is_woken: AtomicBool::new(true),
            parent: Mutex::new(Waker::noop().clone()),
        });
        running.push((child, Box::pin(io.stat(item))));
    }
    poll_fn(|context| {
        let mut at = 0;
        while let Some((child, future)) = running.get_mut(at) {
            child.parent.lock().unwrap().clone_from(context.waker());
            let is_woken = child.is_woken.swap(false, Ordering::AcqRel);
            let waker = Waker::from(Arc::clone(child));
            match is_woken.then(|| future.as_mut().poll(&mut Context::from_waker(&waker))) {
                Some(Poll::Ready(Err(errno))) => return Poll::Ready(Err(errno)),
                Some(Poll::Ready(Ok(_))) => drop(running.swap_remove(at)),
                Some(Poll::Pending) | None => at += 1,
            }
        }
        match running.is_empty() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
}

async fn digests(io: &Io, item: &Item, count: usize) {
    let number = usize::try_from(item.index()).unwrap();
    // The last buffer is empty.
    let mut running = Vec::new();
    for left in (0..count).rev() {
        let algorithm = Algorithm::ALL[(number + left) / 3 % Algorithm::ALL.len()];
        let mut buffer = io.small_buffer();
        let len_bytes = 97 * left;
        buffer[..len_bytes].fill(item.index() as u8);
        let expected = algorithm.digest(&buffer[..len_bytes]);
        let digest = Box::pin(io.digest(algorithm, buffer, len_bytes, Phase::READ));
        running.push((expected, digest));
    }
    poll_fn(|context| {
        running.retain_mut(|(expected, digest)| match digest.as_mut().poll(context) {
            Poll::Ready(digest) => {
                assert_eq!(digest, *expected);
                false
            }
            Poll::Pending => true,
        });
        match running.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

async fn race(local: &Local, io: &Io, item: &Item, time: Duration) -> Result<(), Errno> {
    let mut timer = pin!(local.timers.sleep_until(io, io.now() + time));
    let mut files = pin!(two_files(io, item, false));
    poll_fn(|context| match files.as_mut().poll(context) {
        Poll::Pending => timer.as_mut().poll(context).map(Ok),
        ready => ready,
    })
    .await
}

async fn spawned(local: &Local, io: &Io, time: Duration) {
    let (done, waker) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(None::<Waker>)));
    let task = (io.clone(), Rc::clone(&done), Rc::clone(&waker));
    let timers = local.timers.clone();
    io.spawn(async move {
        let (io, done, waker) = task;
        let at = io.now() + time;
        timers.sleep_until(&io, at).await;
        assert_eq!(io.now(), at, "a timer fired too early or too late");
        done.set(true);
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    });
    poll_fn(|context| {
        waker.set(Some(context.waker().clone()));
        match done.get() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut of_a, mut of_b) = (None, None);
    poll_fn(|context| {
        if of_a.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(context)
        {
            of_a = Some(output);
        }
        if of_b.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(context)
        {
            of_b = Some(output);
        }
        match (of_a.is_some(), of_b.is_some()) {
            (true, true) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    (of_a.expect("it has ended"), of_b.expect("it has ended"))
}

#[derive(Clone, Debug)]
struct Scenario {
    schedule: Schedule,
    faults: Faults,
    /// In percent of files.
    hanging_files: u8,
    blocking_files: u8,
    /// In percent of items.
    aborts: u8,
    failures: u8,
    descriptors_max: usize,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let schedule = schedule(1..60, 1_usize..8, 1..40, 0..300);
    let faults = (
        prop_oneof![Just(0_u8), 0_u8..30],
        any::<bool>(),
        prop_oneof![Just(0_u8), 0_u8..20],
        prop_oneof![Just(0_u8), 0_u8..50],
        prop_oneof![Just(0_u8), 0_u8..60],
        prop_oneof![Just(0_u8), 0_u8..30],
        prop_oneof![2 => Just(1000_usize), 1 => 2_usize..16],
    );
    let rest = (
        1_usize..3,
        prop::bool::weighted(0.2),
        proptest::option::weighted(0.5, 1_u64..200_000),
        any::<bool>(),
    );
    (schedule, faults, rest).prop_map(|(schedule, faults, rest)| Scenario {
        schedule: Schedule {
            large_buffers: rest.0,
            fail_fast: rest.1,
            timeout: rest.2.map(Duration::from_micros),
            trickles: rest.3,
            ..schedule
        },
        faults: Faults {
            short_read: 20,
            exhaustion: faults.0,
            uncancellable: faults.1,
        },
        // Without a deadline, nothing would end them.
        hanging_files: if rest.2.is_some() { faults.2 } else { 0 },
        blocking_files: faults.3,
        aborts: faults.4,
        failures: faults.5,
        descriptors_max: faults.6,
    })
}

fn script(random: &mut Random, scenario: &Scenario, is_blocking: bool) -> Script {
    let micros = |random: &mut Random| Duration::from_micros(1 + random.below(5_000) as u64);
    let one = |random: &mut Random| match random.below(if is_blocking { 8 } else { 15 }) {
        0 => Step::Stats(random.below(40)),
        1 => Step::TwoFiles { at_once: true },
        2 => Step::TwoFiles { at_once: false },
        3 => Step::Reads,
        4 => Step::NextTurn,
        5 => Step::LargeBuffer,
        6 => Step::Unordered(1 + random.below(20)),
        7 => Step::Digests(1 + random.below(5)),
        // A worker would wait for these in real time.
        8 => Step::Park(random.below(SUBJECTS)),
        9 => Step::ParkTwice(random.below(SUBJECTS)),
        10 => Step::ParkForTwo(random.below(SUBJECTS)),
        11 => Step::ParkForRead,
        12 => match random.below(2) {
            0 => Step::Sleep(micros(random)),
            _ => Step::Spawn(micros(random)),
        },
        13 => Step::Outside,
        _ => Step::Race(micros(random)),
    };
    let count = random.below(5);
    Script {
        steps: (0..count).map(|_| one(random)).collect(),
        aborts_after: random.percent(scenario.aborts).then(|| random.below(12)),
        fails: random.percent(scenario.failures),
    }
}

fn name(number: usize) -> Vec<u8> {
    format!("file {number}").into_bytes()
}

fn run(scenario: &Scenario) {
    let schedule = &scenario.schedule;
    let mut random = Random::new(schedule.seed);
    let (mut files, mut scripts) = (HashMap::new(), Vec::new());
    for number in 0..schedule.items {
        let mut file = SimFile::regular((0..100).collect());
        let is_blocking = random.percent(scenario.blocking_files);
        if is_blocking {
            file.file_system = FileSystem::Blocking;
        }
        file.hangs = random.percent(scenario.hanging_files) && !is_blocking;
        files.insert(name(number), file);
        scripts.push(script(&mut random, scenario, is_blocking));
    }
    let names = (0..schedule.items).map(name).collect();
    let world = World::new(files, scenario.faults, scenario.descriptors_max);
    let (scripts, gates, ledger) = (Arc::new(scripts), Gates::default(), Ledger::default());
    let job = Scripted {
        scripts: Arc::clone(&scripts),
        gates: Arc::clone(&gates),
        ledger: ledger.clone(),
    };
    let job = Spurious {
        ledger,
        ..Spurious::new(job)
    };
    let mut oracle = JobOracle {
        scenario,
        scripts,
        gates,
        random: Random::new(!schedule.seed),
    };
    Drive::new(schedule, random, job, world, names, None).run(&mut oracle);
}

struct JobOracle<'a> {
    scenario: &'a Scenario,
    scripts: Arc<Vec<Script>>,
    gates: Gates,
    /// When gates are opened.
    random: Random,
}

impl Oracle<u64> for JobOracle<'_> {
    fn emitted(&mut self, finished: &Finished<u64>) {
        self.check_result(finished);
    }

    fn turned(&mut self, run: &Drive<u64>, turned: &Turned<'_>) {
        // I7, I8, I10: everything held belongs to an item, except the tasks that sleep.
        let held = turned.held;
        if held.in_flight == 0 && held.parked == 0 && held.operations == 0 {
            let sleeping = held.sleeping;
            let nothing = Held {
                sleeping,
                ..Held::default()
            };
            assert_eq!(held, nothing, "something was not given back");
        }
        if let Turn::Wait(wait) = turned.turn {
            // I15: a digest waits for another only while tasks are polled.
            assert!(wait == Wait::No || held.digests == 0);
            self.check_wait(run, turned.chosen, wait);
            self.check_timer(run, turned.chosen, wait);
        }
    }

    fn stepped(&mut self, run: &Drive<u64>) {
        let descriptors_peak = run.world.descriptors_peak();
        assert!(descriptors_peak <= self.scenario.descriptors_max, "I7");
        if self.is_calm() && run.is_pullable() {
            let (loops, now) = (&run.loops, run.clock.now());
            check_liveness(loops, run.schedule.in_flight_per_loop, now, now);
        }
        if self.random.below(run.loops.len() + 3) == 0 {
            self.open_gate();
        }
    }

    /// All places may hang for good, and then items fail without being begun. An operation that takes
    /// longer than the timeout of an item is like one that hangs.
    fn all_begin(&self) -> bool {
        let timeout = self.scenario.schedule.timeout;
        let is_short = timeout.is_some_and(|timeout| timeout < OPERATION_MAX);
        !(timeout.is_some() && self.scenario.faults.uncancellable || is_short)
    }
}

impl JobOracle<'_> {
    /// Another thread opens a gate.
    fn open_gate(&mut self) {
        let mut gates = self.gates.lock().unwrap();
        if gates.is_empty() {
            return;
        }
        let at = self.random.below(gates.len());
        let gate = gates.swap_remove(at);
        drop(gates);
        gate.is_open.store(true, Ordering::Release);
        if let Some(waker) = gate.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    fn is_calm(&self) -> bool {
        self.scenario.faults.exhaustion == 0 && !self.descriptors_are_few()
    }

    fn descriptors_are_few(&self) -> bool {
        let schedule = &self.scenario.schedule;
        let in_flight_max = schedule.loops * schedule.in_flight_per_loop;
        // Parked items hold one, too.
        let most = 2 * in_flight_max + schedule.window;
        self.scenario.descriptors_max < most
    }

    /// I5, as in the simulation of files. How often in a row a loop leaves items to others is not
    /// checked here: its items park and return within its turns, and whenever the loop was full, the
    /// count begins again.
    fn check_wait(&self, run: &Drive<u64>, chosen: usize, wait: Wait) {
        let in_flight_max = run.schedule.in_flight_per_loop;
        if wait == Wait::No || !self.is_calm() || !run.mill.could_pull(run.clock.now()) {
            return;
        }
        let (loops, now) = (&run.loops, run.clock.now());
        check_wait(loops, chosen, in_flight_max, wait, now, None);
    }

    /// I15, and no timer without a reason.
    fn check_timer(&self, run: &Drive<u64>, chosen: usize, wait: Wait) {
        let now = run.clock.now();
        let Some((until, held)) = run.loops[chosen].really_waits(wait, now) else {
            return;
        };
        let schedule = &run.schedule;
        // Here, an item may stop waiting for an operation that failed, so that a wait for the retry is
        // allowed, but not required as it is for files.
        run.ledger.check_wait(
            chosen,
            until,
            schedule.timeout,
            now,
            None,
            |until, all_ended| {
                let is_retry = held.to_retry > 0 && until <= now + RETRY_PAUSE_MAX;
                let leaves = schedule.loops > 1 && run.is_pullable() && until <= now + YIELD_PAUSE;
                // At most the timeout of an item, once items that were given up hold all places.
                let all_given_up = held.in_flight > 0 && all_ended;
                let is_stuck = all_given_up
                    && schedule
                        .timeout
                        .is_some_and(|timeout| until <= now + timeout);
                is_retry || leaves || is_stuck
            },
        );
    }

    fn check_result(&self, finished: &Finished<u64>) {
        let number = usize::try_from(finished.item.index()).unwrap();
        let script = &self.scripts[number];
        let latency = Duration::from_nanos(finished.latency_ns());
        match (&finished.result, self.scenario.schedule.timeout) {
            (Ok(value), _) => {
                assert_eq!(*value, number as u64);
                assert!(!script.fails);
            }
            (Err(error), Some(timeout)) if matches!(error.cause, Cause::TimedOut { .. }) => {
                assert_eq!(latency, timeout);
            }
            (Err(error), Some(timeout)) if matches!(error.cause, Cause::NotTried { .. }) => {
                // All places hang. An operation that cannot be cancelled is like one that hangs, too,
                // if it takes longer than the timeout of an item.
                assert!(self.scenario.faults.uncancellable || timeout < OPERATION_MAX);
                assert!(latency.is_zero(), "started: {latency:?}");
            }
            (Err(error), _) if error.as_errno().is_some_and(Errno::is_exhaustion) => {
                assert!(self.descriptors_are_few(), "item {number}: {error}");
            }
            (Err(error), _) => {
                assert_eq!(*error, in_open(Errno::new(libc::EIO)));
                assert!(script.fails);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(1500, 200))]

    #[test]
    fn any_job_gives_back_all_it_had(scenario in scenario()) {
        run(&scenario);
    }
}
