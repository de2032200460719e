//! Jobs of all kinds on any schedule. Each item follows a script of its own: it opens two files at
//! once, parks, sleeps, waits for another thread, runs several operations at once, drops some of them
//! halfway. Deadlines, stops and failures end items at any of their awaits.

use crate::simulated::{
    Ledger, Parts, SimLoop, Spurious, Timer, Wakers, YIELD_PAUSE, check_liveness, check_stop,
    check_wait, config, next_timer, workers,
};
use proptest::prelude::*;
use ringmill::clock::Clock;
use ringmill::digest::Algorithm;
use ringmill::error::{Cause, Errno, ItemError, Operation};
use ringmill::io::sim::{Faults, Random, SimCarrier, SimFile, World};
use ringmill::io::{FileSystem, Io, Semaphore, Sleep, Wait};
use ringmill::item::{Batch, Item};
use ringmill::jobs::Job;
use ringmill::mill::{Finished, Mill, Order, Ready};
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

const STEPS_MAX: usize = 1_000_000;

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
    /// A background task of each loop sleeps repeatedly.
    ticks: bool,
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
        // This timer is never late.
        let (ticker, ticks) = (io.clone(), if self.ticks { 20 } else { 0 });
        let timers = Timers {
            of_loop: self.ledger.of_loop(),
            ledger: self.ledger.clone(),
        };
        let of_ticker = timers.clone();
        io.spawn(async move {
            for _ in 0..ticks {
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
    seed: u64,
    items: usize,
    loops: usize,
    in_flight_per_loop: usize,
    window: usize,
    large_buffers: usize,
    order: Order,
    fail_fast: bool,
    faults: Faults,
    /// In percent of files.
    hanging_files: u8,
    blocking_files: u8,
    /// In percent of items.
    aborts: u8,
    failures: u8,
    descriptors_max: usize,
    timeout: Option<Duration>,
    stop_at_step: Option<usize>,
    spurious: bool,
    trickles: bool,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let sizes = (1_usize..60, 1_usize..4, 1_usize..8, 1_usize..40, 1_usize..3);
    let faults = (
        prop_oneof![Just(0_u8), 0_u8..30],
        any::<bool>(),
        prop_oneof![Just(0_u8), 0_u8..20],
        prop_oneof![Just(0_u8), 0_u8..50],
        prop_oneof![Just(0_u8), 0_u8..60],
        prop_oneof![Just(0_u8), 0_u8..30],
    );
    let ends = (
        proptest::option::weighted(0.5, 1_u64..200_000),
        proptest::option::weighted(0.3, 0_usize..300),
        prop::bool::weighted(0.2),
        prop_oneof![2 => Just(1000_usize), 1 => 2_usize..16],
    );
    let rest = (any::<u64>(), any::<bool>(), any::<bool>(), any::<bool>());
    (sizes, faults, ends, rest).prop_map(|(sizes, faults, ends, rest)| Scenario {
        seed: rest.0,
        items: sizes.0,
        loops: sizes.1,
        in_flight_per_loop: sizes.2,
        window: sizes.3,
        large_buffers: sizes.4,
        order: if rest.1 {
            Order::Input
        } else {
            Order::Completion
        },
        fail_fast: ends.2,
        faults: Faults {
            short_read: 20,
            exhaustion: faults.0,
            uncancellable: faults.1,
        },
        // Without a deadline, nothing would end them.
        hanging_files: if ends.0.is_some() { faults.2 } else { 0 },
        blocking_files: faults.3,
        aborts: faults.4,
        failures: faults.5,
        descriptors_max: ends.3,
        timeout: ends.0.map(Duration::from_micros),
        stop_at_step: ends.1,
        spurious: rest.2,
        trickles: rest.3,
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

struct Simulation {
    scenario: Scenario,
    random: Random,
    world: Arc<World>,
    mill: Arc<Mill<u64>>,
    clock: SimCarrier,
    loops: Vec<SimLoop<u64>>,
    wakers: Wakers,
    ledger: Ledger,
    gates: Gates,
    scripts: Arc<Vec<Script>>,
    added: usize,
    input_ended: bool,
    emitted: Vec<u64>,
    unmarked: usize,
    stopped: bool,
    ended: bool,
}

impl Simulation {
    fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let (mut files, mut scripts) = (HashMap::new(), Vec::new());
        for number in 0..scenario.items {
            let mut file = SimFile::regular((0..100).collect());
            let is_blocking = random.percent(scenario.blocking_files);
            if is_blocking {
                file.file_system = FileSystem::Blocking;
            }
            file.hangs = random.percent(scenario.hanging_files) && !is_blocking;
            files.insert(name(number), file);
            scripts.push(script(&mut random, &scenario, is_blocking));
        }
        let world = World::new(files, scenario.faults, scenario.descriptors_max);
        let (world, scripts) = (Arc::new(world), Arc::new(scripts));
        let (wakers, gates) = (Wakers::default(), Gates::default());
        let ledger = Ledger::default();
        let job = |ticks| Spurious {
            job: Scripted {
                ticks,
                scripts: Arc::clone(&scripts),
                gates: Arc::clone(&gates),
                ledger: ledger.clone(),
            },
            wakers: wakers.clone(),
            ledger: ledger.clone(),
        };
        // On a worker, background tasks go on only while its item waits.
        let (job, job_of_workers) = (Arc::new(job(true)), Arc::new(job(false)));
        let (loops, fail_fast) = (scenario.loops, scenario.fail_fast);
        let mill = Mill::new(scenario.order, scenario.window, loops, fail_fast);
        let mill = Arc::new(mill);
        let parts = Parts {
            job: &job,
            world: &world,
            mill: &mill,
            workers: &workers(&job_of_workers, &world, random.next_u64(), None),
            in_flight: scenario.in_flight_per_loop,
            large_buffers: scenario.large_buffers,
            timeout: scenario.timeout,
            collector: None,
            ledger: ledger.clone(),
        };
        let new_loop = |index| parts.new_loop(index, random.next_u64());
        Self {
            loops: (0..loops).map(new_loop).collect(),
            clock: SimCarrier::new(Arc::clone(&world), 0),
            random,
            world,
            mill,
            wakers,
            ledger,
            gates,
            scripts,
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
                check_stop(&self.loops);
            }
            let moved = match self.random.below(self.loops.len() + 3) {
                0 => self.move_source(),
                1 => self.move_emitter(),
                2 => self.move_outside(),
                chosen => self.move_loop(chosen - 3),
            };
            self.check_counters();
            if self.ended && self.loops.iter().all(|l| l.event_loop.is_none()) {
                return self.check_end();
            }
            idle = if moved { 0 } else { idle + 1 };
            assert!(idle < 5_000, "I6: nothing can move: {}", self.describe());
        }
        panic!("no end after {STEPS_MAX} steps: {}", self.describe());
    }

    fn describe(&self) -> String {
        let held = self
            .loops
            .iter()
            .map(|l| l.event_loop.as_ref().map(|l| l.held()));
        let held: Vec<Option<Held>> = held.collect();
        format!(
            "{:?} {held:?} at {:?}",
            self.mill.counters(),
            self.clock.now()
        )
    }

    fn move_source(&mut self) -> bool {
        let waits = self.scenario.trickles && self.mill.has_input();
        if self.input_ended || waits || !self.mill.has_room() || self.random.percent(50) {
            return false;
        }
        let left = self.scenario.items - self.added;
        if left == 0 {
            self.input_ended = true;
            self.mill.end_input(Ok(()));
            return true;
        }
        let count = match self.scenario.trickles {
            true => 1,
            false => 1 + self.random.below(left),
        };
        let names = (self.added..self.added + count).map(name);
        self.mill.add(Batch::from_iter(names), self.clock.now());
        self.added += count;
        true
    }

    /// Another thread opens a gate, or wakes a task for no reason.
    fn move_outside(&mut self) -> bool {
        if self.scenario.spurious && self.random.percent(50) {
            self.wakers.wake_one(&mut self.random);
            return false;
        }
        let mut gates = self.gates.lock().unwrap();
        if gates.is_empty() {
            return false;
        }
        let at = self.random.below(gates.len());
        let gate = gates.swap_remove(at);
        drop(gates);
        gate.is_open.store(true, Ordering::Release);
        if let Some(waker) = gate.waker.lock().unwrap().take() {
            waker.wake();
        }
        true
    }

    fn is_calm(&self) -> bool {
        self.scenario.faults.exhaustion == 0 && !self.descriptors_are_few()
    }

    fn descriptors_are_few(&self) -> bool {
        let in_flight_max = self.scenario.loops * self.scenario.in_flight_per_loop;
        // Parked items hold one, too.
        let most = 2 * in_flight_max + self.scenario.window;
        self.scenario.descriptors_max < most
    }

    fn move_loop(&mut self, chosen: usize) -> bool {
        let next_timer = next_timer(&self.loops);
        let sim_loop = &mut self.loops[chosen];
        let Some(turn) = sim_loop.turn(next_timer, &self.clock) else {
            return false;
        };
        let event_loop = sim_loop.event_loop.as_ref().expect("it took a turn");
        let held = event_loop.held();
        // I1
        let in_flight_max = self.scenario.in_flight_per_loop;
        assert!(held.in_flight <= in_flight_max, "I1: {held:?}");
        // I7, I8, I10: everything held belongs to an item, except the tasks that sleep.
        if held.in_flight == 0 && held.parked == 0 && held.operations == 0 {
            let sleeping = held.sleeping;
            let nothing = Held {
                sleeping,
                ..Held::default()
            };
            assert_eq!(held, nothing, "something was not given back");
        }
        match turn {
            Turn::Ended => {
                sim_loop.event_loop = None;
                self.mill.loop_ended(chosen);
            }
            Turn::Wait(wait) => {
                // I15: a digest waits for another only while tasks are polled.
                assert!(wait == Wait::No || held.digests == 0);
                self.check_wait(chosen, wait);
                self.check_timer(chosen, wait);
            }
        }
        true
    }

    /// I5, as in the simulation of files. How often in a row a loop leaves items to others is not
    /// checked here: its items park and return within its turns, and whenever the loop was full, the
    /// count begins again.
    fn check_wait(&self, chosen: usize, wait: Wait) {
        let in_flight_max = self.scenario.in_flight_per_loop;
        if wait == Wait::No || !self.is_calm() || !self.mill.could_pull(self.clock.now()) {
            return;
        }
        let (loops, now) = (&self.loops, self.clock.now());
        check_wait(loops, chosen, in_flight_max, wait, now, None);
    }

    /// True if an item can be pulled as far as input and window are concerned. The mill is only asked
    /// whether a failure has ended all pulls.
    fn is_pullable(&self) -> bool {
        let counters = self.mill.counters();
        let has_room = counters.pulled - counters.emitted < self.scenario.window as u64;
        let goes_on = !self.scenario.fail_fast || self.mill.could_pull(self.clock.now());
        !self.stopped && goes_on && has_room && counters.pulled < self.added as u64
    }

    /// True if all places may hang for good, so that items must fail without being begun.
    fn may_be_stuck(&self) -> bool {
        // An operation that takes longer than the timeout of an item is like one that hangs.
        self.scenario.timeout.is_some() && self.scenario.faults.uncancellable
            || self
                .scenario
                .timeout
                .is_some_and(|timeout| timeout < OPERATION_MAX)
    }

    /// I15, and no timer without a reason.
    fn check_timer(&self, chosen: usize, wait: Wait) {
        let now = self.clock.now();
        let Some((until, held)) = self.loops[chosen].really_waits(wait, now) else {
            return;
        };
        let scenario = &self.scenario;
        // Here, an item may stop waiting for an operation that failed, so that a wait for the retry is
        // allowed, but not required as it is for files.
        self.ledger.check_wait(
            chosen,
            until,
            scenario.timeout,
            now,
            None,
            |until, all_ended| {
                let is_retry = held.to_retry > 0 && until <= now + RETRY_PAUSE_MAX;
                let leaves = scenario.loops > 1 && self.is_pullable() && until <= now + YIELD_PAUSE;
                // At most the timeout of an item, once items that were given up hold all places.
                let all_given_up = held.in_flight > 0 && all_ended;
                let is_stuck = all_given_up
                    && scenario
                        .timeout
                        .is_some_and(|timeout| until <= now + timeout);
                is_retry || leaves || is_stuck
            },
        );
    }

    fn move_emitter(&mut self) -> bool {
        if self.ended {
            return false;
        }
        if self.unmarked > 0 {
            self.mill.mark_emitted(self.unmarked);
            self.unmarked = 0;
        }
        let mut results = Vec::new();
        match self.mill.take_ready(5, Some(Duration::ZERO), &mut results) {
            Ready::Nothing => return false,
            Ready::Ended => self.ended = true,
            Ready::Results => {
                for finished in results {
                    self.emit(&finished);
                    if self.ended {
                        break;
                    }
                }
            }
        }
        true
    }

    fn emit(&mut self, finished: &Finished<u64>) {
        let index = finished.item.index();
        if self.scenario.order == Order::Input {
            assert_eq!(index, self.emitted.len() as u64, "I3");
        }
        assert!(!self.emitted.contains(&index), "item {index} emitted twice");
        self.check_result(usize::try_from(index).unwrap(), finished);
        self.emitted.push(index);
        self.unmarked += 1;
        if self.scenario.fail_fast && finished.is_failure && !self.stopped {
            self.stopped = true;
            self.mill.stop();
            self.ended = true;
        }
    }

    fn check_result(&self, number: usize, finished: &Finished<u64>) {
        let script = &self.scripts[number];
        let latency = Duration::from_nanos(finished.latency_ns());
        match (&finished.result, self.scenario.timeout) {
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

    fn check_counters(&self) {
        let counters = self.mill.counters();
        let outstanding = counters.pulled - counters.emitted;
        let window = self.scenario.window as u64;
        assert!(outstanding <= window, "I2: {counters:?}");
        let peak = self.world.descriptors_peak();
        assert!(peak <= self.scenario.descriptors_max, "I7");
        if self.is_calm() && self.is_pullable() {
            let (loops, now) = (&self.loops, self.clock.now());
            check_liveness(loops, self.scenario.in_flight_per_loop, now, now);
        }
        // I16: pulled items were begun at once.
        if !self.may_be_stuck() {
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
        if !self.stopped {
            assert_eq!(self.emitted.len(), self.scenario.items, "I4");
        }
        for sim_loop in &mut self.loops {
            assert_eq!(sim_loop.handle.outstanding(), 0);
        }
        assert_eq!(self.world.descriptors(), 0);
        // The loops have released all references to their carriers: that of the clock is left.
        self.loops.clear();
        assert_eq!(Arc::strong_count(&self.world), 2, "a loop was leaked");
    }
}

proptest! {
    #![proptest_config(config(1500, 200))]

    #[test]
    fn any_job_gives_back_all_it_had(scenario in scenario()) {
        Simulation::new(scenario).run();
    }
}
