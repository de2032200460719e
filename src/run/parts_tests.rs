//! Results in parts, from the job to the sink: simulated runs, and runs on threads.

use super::emitter::Emitter;
use super::loops::event_loop;
use super::plan::new_mill;
use super::*;
use crate::clock::Clock;
use crate::error::{Errno, ItemError, Operation};
use crate::io::sim::{Faults, Random, SimCarrier, SimFile, SimHandle, World};
use crate::io::{FileSystem, Io, PartWriter, Wait};
use crate::item::{Batch, Item};
use crate::jobs::Job;
use crate::mill::PART_BYTES_DEFAULT;
use crate::mill::{Finished, Mill, Order};
use crate::source::{InputError, Source};
use crate::stats::Recorder;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

/// A job that writes the content of files in parts.
struct Cat {
    part_len: usize,
    /// Items whose number is divisible by this are parked first.
    parks: Option<u64>,
    /// Drops a write that is not ready soon, and writes again.
    is_impatient: bool,
}

fn at(operation: Operation) -> impl Fn(Errno) -> ItemError {
    move |errno| ItemError::errno(operation, errno)
}

impl Job for Cat {
    type Value = u64;
    type Local = (usize, Option<u64>, bool);

    fn local(&self, _: &Io) -> Self::Local {
        (self.part_len, self.parks, self.is_impatient)
    }

    async fn run(local: Rc<Self::Local>, io: Io, item: Item) -> Result<u64, ItemError> {
        let (part_len, parks, is_impatient) = *local;
        let stat = io.stat(&item).await.map_err(at(Operation::Open))?;
        let may_sleep = stat.file_system != FileSystem::Blocking;
        if may_sleep && parks.is_some_and(|parks| item.index().is_multiple_of(parks)) {
            let until = io.now() + Duration::from_micros(500);
            io.park(io.sleep_until(until)).await;
        }
        let file = io.open(&item, &stat).await.map_err(at(Operation::Open))?;
        let mut written = 0;
        loop {
            let read = file.read(io.small_buffer(), Some(written), false);
            let (buffer, count) = read.await.map_err(at(Operation::Read))?;
            if count == 0 {
                return Ok(written);
            }
            let piece = buffer[..count].to_vec();
            drop(buffer);
            for part in piece.chunks(part_len) {
                let mut patience = Duration::from_micros(100);
                while is_impatient && !write_soon(&io, part, patience).await {
                    patience *= 2;
                }
                if !is_impatient {
                    io.write(part.to_vec())
                        .await
                        .map_err(at(Operation::Exchange))?;
                }
            }
            written += count as u64;
        }
    }
}

/// Tries to write until `patience` has passed. True if the part was taken or refused.
async fn write_soon(io: &Io, part: &[u8], patience: Duration) -> bool {
    let mut write = pin!(io.write(part.to_vec()));
    let mut sleep = pin!(io.sleep_until(io.now() + patience));
    poll_fn(|context| match write.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| false),
    })
    .await
}

/// Index, content, and the result once there is one.
type KeptItem = (u64, Vec<u8>, Option<Result<u64, ItemError>>);

/// A sink that keeps its input, and checks that the parts of each item come without interruption.
#[derive(Default)]
struct Kept {
    order: Order,
    items: Vec<KeptItem>,
    fails_after: Option<usize>,
    calls: usize,
}

impl Kept {
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.fails_after {
            Some(calls) if self.calls > calls => Err(io::Error::other("the disk is full")),
            _ => Ok(()),
        }
    }

    /// The position of the item that is being output.
    fn open(&mut self, index: u64) -> usize {
        let is_open = self
            .items
            .last()
            .is_some_and(|(.., result)| result.is_none());
        if is_open {
            assert_eq!(self.items.last().unwrap().0, index, "parts are interrupted");
        } else {
            assert!(
                self.items.iter().all(|(other, ..)| *other != index),
                "not whole"
            );
            if self.order == Order::Input {
                assert_eq!(index, self.items.len() as u64, "out of order");
            }
            self.items.push((index, Vec::new(), None));
        }
        self.items.len() - 1
    }
}

impl Sink<u64> for Kept {
    fn result(&mut self, finished: Finished<u64>) -> io::Result<()> {
        self.call()?;
        let last = self.open(finished.item.index());
        self.items[last].2 = Some(finished.result);
        Ok(())
    }

    fn part(&mut self, index: u64, bytes: &[u8]) -> io::Result<()> {
        self.call()?;
        let last = self.open(index);
        self.items[last].1.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn plan(loops: usize) -> Plan {
    Plan {
        engine: EngineKind::Threads,
        may_fall_back: true,
        in_flight: 3 * loops,
        window: 8 * loops,
        window_bytes: usize::MAX,
        parked: usize::MAX,
        loops,
        io_workers: 1,
        part_bytes: 1000,
        order: Order::Input,
        fail_fast: false,
        timeout: None,
        rate_per_s: None,
        latencies: None,
        separate_descriptors: false,
    }
}

// On the simulated engine.

type SimLoop = (EventLoop<u64>, Arc<SimHandle>, Wait);

struct Simulated {
    random: Random,
    plan: Plan,
    world: Arc<World>,
    mill: Arc<Mill<u64>>,
    loops: Vec<Option<SimLoop>>,
    /// When the wait of each loop ends even if nothing happens.
    due: Vec<Option<Duration>>,
    clock: SimCarrier,
    names: Vec<String>,
    added: usize,
    steps: usize,
    stop_at: Option<usize>,
    part_len: usize,
}

impl Simulated {
    /// Lets the source add something or a loop take a turn.
    fn step(&mut self, interrupt: &Stop) {
        self.steps += 1;
        assert!(self.steps < 200_000, "no end: {:?}", self.mill.counters());
        if self.stop_at == Some(self.steps) {
            interrupt.request();
        }
        if self.random.percent(20) && self.mill.has_room() && self.added <= self.names.len() {
            let left = &self.names[self.added..];
            if left.is_empty() {
                self.added += 1;
                self.mill.end_input(Ok(()));
            } else {
                let count = 1 + self.random.below(left.len());
                self.added += count;
                let batch = Batch::from_iter(&left[..count]);
                self.mill.add(batch, self.clock.now());
            }
        }
        let chosen = self.random.below(self.loops.len());
        let now = self.clock.now();
        let handles = self.loops.iter().flatten().map(|(_, handle, _)| handle);
        let others_move = handles.into_iter().any(|handle| handle.is_woken());
        let time_stands = others_move || self.mill.has_output();
        let next_due = self.due.iter().flatten().min().copied();
        let next_due = if time_stands { Some(now) } else { next_due };
        let Some((event_loop, handle, wait)) = &mut self.loops[chosen] else {
            return;
        };
        if !handle.would_return(*wait) {
            return;
        }
        // Time does not advance beyond the moment for which another loop or the emitter waits.
        let limited = match (*wait, next_due) {
            (Wait::No, _) | (_, None) => *wait,
            (_, Some(due)) => Wait::AtMost(due.saturating_sub(now)),
        };
        event_loop.wait(limited).unwrap();
        match event_loop.turn() {
            Turn::Ended => {
                self.loops[chosen] = None;
                self.due[chosen] = None;
                self.mill.loop_ended(chosen);
            }
            Turn::Wait(next) => {
                *wait = next;
                let now = self.clock.now();
                self.due[chosen] = match next {
                    Wait::No => Some(now),
                    Wait::AtMost(time) => Some(now + time),
                    Wait::Forever => None,
                };
            }
        }
        // I17
        let held = self.mill.part_bytes_held();
        assert!(
            held <= self.plan.part_bytes + 2 * self.part_len,
            "{held} bytes held"
        );
    }
}

fn simulate(seed: u64) {
    let mut random = Random::new(seed);
    let loops = 1 + random.below(3);
    let part_len = 1 + random.below(2000);
    let has_hanging = random.percent(20);
    let plan = Plan {
        in_flight: loops * (1 + random.below(5)),
        window: 1 + random.below(30),
        window_bytes: usize::MAX,
        parked: usize::MAX,
        part_bytes: [0, 1, 5000, 30_000, PART_BYTES_DEFAULT][random.below(5)],
        order: [Order::Input, Order::Completion][random.below(2)],
        fail_fast: random.percent(20),
        timeout: has_hanging.then_some(Duration::from_secs(20)),
        ..plan(loops)
    };
    let job = Arc::new(Cat {
        part_len,
        parks: [None, Some(1), Some(3)][random.below(3)],
        is_impatient: random.percent(30),
    });
    let count = 1 + random.below(20);
    let mut files = HashMap::new();
    let names: Vec<String> = (0..count).map(|number| format!("f{number}")).collect();
    for name in &names {
        let len = [0, 1, 3000, 40_000][random.below(4)];
        let content = (0..len).map(|_| random.next_u64().to_le_bytes()[0]);
        let mut file = SimFile::regular(content.collect());
        if random.percent(30) {
            file.file_system = FileSystem::Blocking;
        }
        if random.percent(10) {
            file.read_errno = Some((16_384, Errno::new(libc::EIO)));
        }
        file.hangs = has_hanging && random.percent(20);
        files.insert(name.clone().into_bytes(), file);
    }
    let faults = Faults {
        short_read: [0, 40][random.below(2)],
        exhaustion: [0, 0, 10][random.below(3)],
        uncancellable: false,
    };
    let world = Arc::new(World::new(files.clone(), faults, 1000));
    let mill = Arc::new(new_mill::<u64>(&plan, loops));
    let workers = {
        let (job, world, mill) = (Arc::clone(&job), Arc::clone(&world), Arc::clone(&mill));
        Workers::new(loops, 0, None, move |_| {
            let carrier = SimCarrier::for_worker(Arc::clone(&world), seed);
            let writer = Arc::clone(&mill) as Arc<dyn PartWriter>;
            WorkerContext::with(&*job, Box::new(carrier), Recorder::new(None), true)
                .writing_to(writer)
        })
    };
    let new_loop = |index| {
        let carrier = SimCarrier::new(Arc::clone(&world), seed + index as u64);
        let handle = carrier.handle();
        let carrier = Box::new(carrier);
        let event_loop = event_loop(index, &plan, &*job, &mill, &workers, carrier);
        Some((event_loop, handle, Wait::No))
    };
    let interrupt = Stop::default();
    let mut simulated = Simulated {
        loops: (0..loops).map(new_loop).collect(),
        due: vec![None; loops],
        clock: SimCarrier::new(Arc::clone(&world), 0),
        added: 0,
        steps: 0,
        stop_at: random.percent(15).then(|| random.below(300)),
        world: Arc::clone(&world),
        mill: Arc::clone(&mill),
        plan: plan.clone(),
        random,
        names,
        part_len,
    };
    let mut sink = Kept {
        order: plan.order,
        fails_after: simulated
            .random
            .percent(10)
            .then(|| simulated.random.below(100)),
        ..Kept::default()
    };
    let mut work = || {
        for _ in 0..=simulated.random.below(20) {
            simulated.step(&interrupt);
        }
    };
    let mut emitter = Emitter::new(&mill, &plan);
    let end = emitter.run(&mut sink, &interrupt, Some(&mut work));
    emitter.end(&end);
    check_output(&sink, &files, &end, faults.exhaustion > 0);
    // Nothing is left, not even of items that were given up.
    simulated.loops.clear();
    assert_eq!((mill.part_bytes_held(), mill.writers_waiting()), (0, 0));
    drop((simulated.clock, workers));
    assert_eq!(simulated.world.descriptors(), 0);
    if matches!(end, End::Complete) {
        assert_eq!(sink.items.len(), count);
    }
}

fn check_output(sink: &Kept, files: &HashMap<Vec<u8>, SimFile>, end: &End, may_lack: bool) {
    for (position, (index, content, result)) in sink.items.iter().enumerate() {
        let file = &files[format!("f{index}").as_bytes()];
        let is_last = position + 1 == sink.items.len();
        match result {
            Some(Ok(len)) => {
                assert_eq!(*len, content.len() as u64);
                assert_eq!(content[..], file.content[..]);
            }
            Some(Err(error)) => {
                assert!(file.content.starts_with(content));
                // Items that hang delay others beyond their deadlines, too.
                let some_hang = files.values().any(|file| file.hangs);
                assert!(
                    some_hang || file.read_errno.is_some() || may_lack,
                    "{error}"
                );
            }
            None => {
                assert!(is_last && !matches!(end, End::Complete | End::FailFast));
                assert!(file.content.starts_with(content));
            }
        }
        let fails = result.as_ref().is_some_and(Result::is_err);
        if matches!(end, End::FailFast) {
            assert_eq!(fails, is_last, "I11: an exact prefix");
        }
    }
}

#[test]
fn files_come_out_whole_on_every_schedule() {
    for seed in 0..1500 {
        if let Err(panic) = std::panic::catch_unwind(|| simulate(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

// On threads.

/// A job that writes chunks that depend on the item's index only.
#[derive(Clone)]
struct Chunks {
    /// Whether an item runs on a worker.
    at_worker: fn(u64) -> bool,
    /// The first item is slow.
    slow_head: bool,
    /// The number of tasks and `Local` values that have not been dropped.
    alive: Arc<AtomicUsize>,
}

impl Chunks {
    fn new(at_worker: fn(u64) -> bool) -> Self {
        Self {
            at_worker,
            slow_head: false,
            alive: Arc::default(),
        }
    }

    /// Waits until no loop or worker is left, nor a task of one. A worker that was running when the run
    /// ended ends by itself.
    fn check_dropped(&self) {
        let began = std::time::Instant::now();
        while self.alive.load(Ordering::Relaxed) > 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "a task is left");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Counts how many of it exist.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn chunks_of(index: u64) -> Vec<Vec<u8>> {
    let mut random = Random::new(index);
    let count = random.below(20);
    let chunk = |_| vec![random.next_u64().to_le_bytes()[0]; 1 + random.below(300)];
    (0..count).map(chunk).collect()
}

impl Job for Chunks {
    type Value = u64;
    type Local = (Self, Alive);

    fn local(&self, _: &Io) -> Self::Local {
        (self.clone(), Alive::new(&self.alive))
    }

    async fn run(local: Rc<Self::Local>, io: Io, item: Item) -> Result<u64, ItemError> {
        let job = &local.0;
        let _alive = Alive::new(&job.alive);
        if (job.at_worker)(item.index()) {
            // Without a ring, items that use files move to a worker.
            io.stat(&item).await.map_err(at(Operation::Open))?;
            if item.index() % 5 == 1 {
                // Other items are suspended meanwhile.
                io.park(io.sleep_until(io.now() + Duration::from_micros(50)))
                    .await;
            }
        }
        let mut len = 0;
        for chunk in chunks_of(item.index()) {
            if job.slow_head && item.index() == 0 {
                io.sleep_until(io.now() + Duration::from_millis(5)).await;
            }
            len += chunk.len() as u64;
            io.write(chunk).await.map_err(at(Operation::Exchange))?;
        }
        Ok(len)
    }
}

/// A source of this many items, each of them the root directory.
struct Roots(usize);

impl Source for Roots {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        let count = self.0.min(7);
        self.0 -= count;
        Ok((count > 0).then(|| Batch::from_iter(vec!["/"; count])))
    }
}

fn check_chunks(sink: &Kept) {
    for (index, content, result) in &sink.items {
        let whole = chunks_of(*index).concat();
        match result {
            Some(Ok(len)) => assert_eq!((*len, content), (whole.len() as u64, &whole)),
            Some(Err(error)) => panic!("item {index}: {error}"),
            None => assert!(whole.starts_with(content)),
        }
    }
}

/// Runs the job over 200 items.
fn run_chunks(plan: &Plan, job: &Chunks, sink: &mut Kept, interrupt: &Stop) -> Report {
    let report = run(plan, job.clone(), Roots(200), sink, interrupt).unwrap();
    check_chunks(sink);
    job.check_dropped();
    report
}

#[test]
fn parts_come_out_whole_from_loops_and_workers() {
    let kinds: [fn(u64) -> bool; 3] = [|_| false, |_| true, |index| index % 3 == 0];
    for (at_worker, order) in kinds
        .into_iter()
        .flat_map(|kind| [Order::Input, Order::Completion].map(|order| (kind, order)))
    {
        for (loops, part_bytes) in [(1, 0), (2, 1), (2, 1000), (2, PART_BYTES_DEFAULT)] {
            for io_workers in [1, 4] {
                let plan = Plan {
                    order,
                    part_bytes,
                    io_workers,
                    ..plan(loops)
                };
                let job = Chunks {
                    slow_head: true,
                    ..Chunks::new(at_worker)
                };
                let mut sink = Kept {
                    order,
                    ..Kept::default()
                };
                let report = run_chunks(&plan, &job, &mut sink, &Stop::default());
                assert!(matches!(report.end, End::Complete), "{:?}", report.end);
                assert_eq!(sink.items.len(), 200);
            }
        }
    }
}

#[test]
fn a_single_threaded_run_gives_results_in_parts() {
    let kinds: [fn(u64) -> bool; 3] = [|_| false, |_| true, |index| index % 3 == 0];
    for (at_worker, order) in kinds
        .into_iter()
        .flat_map(|kind| [Order::Input, Order::Completion].map(|order| (kind, order)))
    {
        let (plan, job) = (Plan { order, ..plan(1) }, Arc::new(Chunks::new(at_worker)));
        let mut sink = Kept {
            order,
            ..Kept::default()
        };
        let reason = io::Error::other("no threads");
        let interrupt = Stop::default();
        let report =
            single_threaded::run(&plan, &job, Roots(200), &mut sink, &interrupt, reason).unwrap();
        assert!(matches!(report.end, End::Complete), "{:?}", report.end);
        assert_eq!(sink.items.len(), 200);
        check_chunks(&sink);
    }
}

#[test]
fn an_output_error_ends_the_waits_of_all_writers() {
    for at_worker in [|_| false, |_| true] as [fn(u64) -> bool; 2] {
        for fails_after in [0, 3, 100] {
            let mut sink = Kept {
                fails_after: Some(fails_after),
                ..Kept::default()
            };
            let job = Chunks::new(at_worker);
            let report = run_chunks(&plan(2), &job, &mut sink, &Stop::default());
            assert!(matches!(report.end, End::Output(_)), "{:?}", report.end);
        }
    }
}

/// A sink that requests a stop after this many calls.
struct Interrupting<'a>(Kept, usize, &'a Stop);

impl Sink<u64> for Interrupting<'_> {
    fn result(&mut self, finished: Finished<u64>) -> io::Result<()> {
        self.0.result(finished)
    }

    fn part(&mut self, index: u64, bytes: &[u8]) -> io::Result<()> {
        if self.0.calls >= self.1 {
            self.2.request();
        }
        self.0.part(index, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_interrupt_leaves_whole_parts() {
    for at_worker in [|_| false, |_| true] as [fn(u64) -> bool; 2] {
        for calls in [0, 10, 200] {
            let interrupt = Stop::default();
            let mut sink = Interrupting(Kept::default(), calls, &interrupt);
            let job = Chunks::new(at_worker);
            let report = run(&plan(2), job.clone(), Roots(200), &mut sink, &interrupt).unwrap();
            assert!(matches!(report.end, End::Interrupted), "{:?}", report.end);
            check_chunks(&sink.0);
            job.check_dropped();
        }
    }
}

/// A sink that expects no parts.
struct ResultsOnly;

impl Sink<u64> for ResultsOnly {
    fn result(&mut self, _: Finished<u64>) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_expects_no_parts_ends_the_run() {
    let (job, interrupt) = (Chunks::new(|_| false), Stop::default());
    let report = run(&plan(1), job, Roots(9), &mut ResultsOnly, &interrupt).unwrap();
    assert!(matches!(report.end, End::Output(_)), "{:?}", report.end);
}
