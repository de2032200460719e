//! The cost of the machinery per item, without any I/O.
//!
//! `window` is the ordered window alone. A schedule is made beforehand and replayed: which items
//! finish in each turn of a loop, and how many are pulled before it. `mill` is a whole run without the
//! kernel: list bytes, splitter, feed, event loop, window, emitter, on one thread, with one operation
//! per item, which completes in the loop's next turn; one variant records latencies.

use std::hint::black_box;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringmill::clock::{self, Clock};
use ringmill::error::{ItemError, Operation};
use ringmill::io::sim::Random;
use ringmill::io::{
    Carrier, Completion, FileKind, FileSystem, Io, IoLimits, Op, Stat, Timestamp, Value, Wait, Wake,
};
use ringmill::item::Item;
use ringmill::jobs::Job;
use ringmill::jobs::hash::Hashed;
use ringmill::mill::{Finished, Mill, Order, Ready, Window};
use ringmill::run::{EventLoop, LoopLimits, Turn, WorkerContext, Workers, tasks_of};
use ringmill::source::{Separator, Splitter};
use ringmill::stats::{Collector, Detail, Recorder, Stopwatch};

/// Items between pull and emission, and in flight: a usual run.
const WINDOW: usize = 8192;
const IN_FLIGHT: usize = 512;

/// Operations that complete within one turn of a busy loop.
const COMPLETIONS_PER_TURN: usize = 32;

/// Results the emitter takes at once.
const RESULTS_PER_TAKE: usize = 256;

const ITEMS_PER_PASS: usize = 1 << 17;

/// As large as a result of the hash job, so that as much memory moves.
type Payload = [u64; size_of::<Finished<Hashed>>() / 8];

/// The order in which items finish.
#[derive(Clone, Copy)]
enum Completions {
    /// In the order in which they were pulled.
    InOrder,
    /// In random order among those in flight.
    Shuffled,
    /// One item in this many takes so long that the window fills up behind it; the others are
    /// shuffled.
    SlowHead(u64),
}

/// One turn of a loop: `pulled` items are pulled, then `finished` items finish.
struct LoopTurn {
    finished: usize,
    pulled: usize,
}

struct Schedule {
    turns: Vec<LoopTurn>,
    /// The indexes of the items in the order in which they finish.
    finishes: Vec<u64>,
    /// Turns in which nothing could be pulled although there were items.
    full_turns: usize,
}

impl Schedule {
    /// Plays the run once to find how many items can be pulled in each turn.
    fn new(completions: Completions) -> Self {
        let mut random = Random::new(1);
        let mut window = Window::new(Order::Input, WINDOW);
        let mut in_flight: Vec<u64> = Vec::new();
        let mut taken = Vec::new();
        let mut schedule = Self {
            turns: Vec::new(),
            finishes: Vec::new(),
            full_turns: 0,
        };
        loop {
            let left = ITEMS_PER_PASS as u64 - window.pulled();
            let room = window.room().min(IN_FLIGHT - in_flight.len());
            let pulled = room.min(usize::try_from(left).expect("fits"));
            schedule.full_turns += usize::from(left > 0 && pulled == 0);
            in_flight.extend(window.pulled()..window.pulled() + pulled as u64);
            window.pull(pulled);

            let mut finished = 0;
            while finished < COMPLETIONS_PER_TURN
                && let Some(index) = completions.next(&mut in_flight, finished == 0, &mut random)
            {
                window.finish(index, ());
                schedule.finishes.push(index);
                finished += 1;
            }
            window.take_ready(usize::MAX, &mut taken);
            window.mark_emitted(taken.len());
            taken.clear();
            schedule.turns.push(LoopTurn { finished, pulled });
            if in_flight.is_empty() && left == pulled as u64 {
                return schedule;
            }
        }
    }

    /// Replays the schedule on an empty window; returns the number of items emitted.
    fn replay(&self, window: &mut Window<Payload>, taken: &mut Vec<Payload>) -> usize {
        let first_index = window.pulled();
        let mut finishes = self.finishes.iter();
        let mut emitted = 0;
        let mut marked = 0;
        for turn in &self.turns {
            window.pull(turn.pulled);
            for &index in finishes.by_ref().take(turn.finished) {
                let mut payload = Payload::default();
                payload[0] = index;
                window.finish(first_index + index, payload);
            }
            while window.head_is_ready() {
                window.take_ready(RESULTS_PER_TAKE, taken);
                for payload in taken.drain(..) {
                    assert_eq!(payload[0], emitted as u64, "out of order");
                    emitted += 1;
                    black_box(&payload);
                }
                window.mark_emitted(emitted - marked);
                marked = emitted;
            }
        }
        emitted
    }
}

impl Completions {
    /// Takes out the next item to finish, if one does in this turn.
    fn next(
        self,
        in_flight: &mut Vec<u64>,
        is_first_of_turn: bool,
        random: &mut Random,
    ) -> Option<u64> {
        if in_flight.is_empty() {
            return None;
        }
        match self {
            Self::InOrder => Some(in_flight.remove(0)),
            Self::Shuffled => {
                let at = random.below(in_flight.len());
                Some(in_flight.swap_remove(at))
            }
            Self::SlowHead(every) => {
                let is_quick = |index: &u64| !index.is_multiple_of(every);
                let start = random.below(in_flight.len());
                let quick = (start..in_flight.len())
                    .chain(0..start)
                    .find(|&at| is_quick(&in_flight[at]));
                // A slow item finishes only when no other is left, and alone in its turn.
                let at = quick.or_else(|| is_first_of_turn.then_some(0))?;
                Some(in_flight.swap_remove(at))
            }
        }
    }
}

fn window(c: &mut Criterion) {
    let mut group = c.benchmark_group("window");
    group.throughput(Throughput::Elements(ITEMS_PER_PASS as u64));
    for (name, completions) in [
        ("in order", Completions::InOrder),
        ("shuffled", Completions::Shuffled),
        ("slow head", Completions::SlowHead(10_000)),
    ] {
        let schedule = Schedule::new(completions);
        let is_slow = matches!(completions, Completions::SlowHead(_));
        assert_eq!(schedule.full_turns > 0, is_slow, "{name}: not as named");
        let mut window = Window::new(Order::Input, WINDOW);
        let mut taken = Vec::with_capacity(RESULTS_PER_TAKE);
        group.bench_function(name, |b| {
            b.iter(|| {
                let emitted = schedule.replay(&mut window, &mut taken);
                assert_eq!(emitted, ITEMS_PER_PASS);
            });
        });
    }
    group.finish();
}

/// A carrier that completes every operation by the next turn, without doing it.
#[derive(Default)]
struct NextTurn {
    submitted: Vec<(u32, Op)>,
}

struct NoWaker;

impl Wake for NoWaker {
    fn wake(&self) {}
}

const STAT: Stat = Stat {
    kind: FileKind::Regular,
    size_bytes: 0,
    modified: Timestamp {
        seconds: 0,
        nanoseconds: 0,
    },
    changed: Timestamp {
        seconds: 0,
        nanoseconds: 0,
    },
    device: (1, 1),
    inode: 1,
    nlink: 1,
    file_system: FileSystem::Nowait,
};

impl Clock for NextTurn {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

impl Carrier for NextTurn {
    fn leave_directory(&mut self) {}

    fn submit(&mut self, key: u32, op: Op) {
        self.submitted.push((key, op));
    }

    fn turn(&mut self, _wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let done = self.submitted.drain(..);
        completions.extend(done.map(|(key, mut op)| {
            if let Op::StatPath { found, .. } = &mut op {
                *found = Some(STAT);
            }
            let outcome = Ok(Value::Done);
            Completion { key, op, outcome }
        }));
        Ok(())
    }

    fn cancel(&mut self, _key: u32) {}

    fn outstanding(&self) -> usize {
        self.submitted.len()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(NoWaker)
    }

    fn describe(&self) -> String {
        "nothing".to_owned()
    }
}

/// One operation for each item, which carries the item's name.
struct OneOp;

impl Job for OneOp {
    type Value = usize;
    type Local = ();

    fn local(&self, _io: &Io) {}

    async fn run(_local: Rc<()>, io: Io, item: Item) -> Result<usize, ItemError> {
        let stat = io.stat(&item).await;
        stat.map_err(|errno| ItemError::errno(Operation::Open, errno))?;
        Ok(item.bytes().len())
    }
}

/// A list of names of a usual length, in chunks as they are read from a pipe or a file.
struct List {
    bytes: Vec<u8>,
}

impl List {
    const CHUNK_LEN: usize = 64 * 1024;

    fn new() -> Self {
        let name = |number| format!("corpus/{:03}/file-{number:07}.txt\n", number % 512);
        Self {
            bytes: (0..ITEMS_PER_PASS).map(name).collect::<String>().into(),
        }
    }

    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(Self::CHUNK_LEN)
    }
}

/// All parts of a run; they take turns on this thread.
struct Machine {
    mill: Arc<Mill<usize>>,
    event_loop: EventLoop<usize>,
    splitter: Splitter,
    results: Vec<Finished<usize>>,
    emitted: u64,
}

impl Machine {
    fn new(in_flight: usize, latencies: Option<Arc<Collector>>) -> Self {
        let mill = Arc::new(Mill::new(Order::Input, WINDOW, 1, false));
        let limits = IoLimits {
            in_flight,
            large_buffers: 1,
            parked: usize::MAX,
        };
        let stopwatch = Stopwatch::new(Recorder::new(latencies), false);
        let io = Io::new(Box::new(NextTurn::default()), limits, stopwatch);
        let tasks = tasks_of(&OneOp, &io);
        let workers = Workers::new(1, 0, None, |_| {
            WorkerContext::new(&OneOp, Recorder::new(None), false, false)
        });
        let limits = LoopLimits {
            in_flight,
            timeout: None,
        };
        Self {
            event_loop: EventLoop::new(0, Arc::clone(&mill), io, tasks, workers, limits),
            mill,
            splitter: Splitter::new(Separator::Newline),
            results: Vec::with_capacity(RESULTS_PER_TAKE),
            emitted: 0,
        }
    }

    /// Passes a whole list through the machine.
    fn pass(&mut self, list: &List) {
        let first_index = self.emitted;
        let mut chunks = list.chunks();
        while self.emitted - first_index < ITEMS_PER_PASS as u64 {
            if self.mill.has_room()
                && let Some(chunk) = chunks.next()
            {
                self.mill.add(self.splitter.split(chunk), clock::now());
            }
            let Turn::Wait(wait) = self.event_loop.turn() else {
                unreachable!("the input never ends");
            };
            self.event_loop
                .wait(wait)
                .expect("this carrier never fails");
            self.emit();
        }
    }

    fn emit(&mut self) {
        let no_wait = Some(Duration::ZERO);
        while self
            .mill
            .take_ready(RESULTS_PER_TAKE, no_wait, &mut self.results)
            == Ready::Results
        {
            let count = self.results.len();
            for finished in self.results.drain(..) {
                assert_eq!(finished.item.index(), self.emitted, "out of order");
                black_box(&finished.result);
                self.emitted += 1;
            }
            self.mill.mark_emitted(count);
        }
    }
}

fn mill(c: &mut Criterion) {
    let list = List::new();
    let mut group = c.benchmark_group("mill");
    group.throughput(Throughput::Elements(ITEMS_PER_PASS as u64));
    for in_flight in [1, 32, IN_FLIGHT] {
        let mut machine = Machine::new(in_flight, None);
        group.bench_function(BenchmarkId::new("in flight", in_flight), |b| {
            b.iter(|| machine.pass(&list));
        });
    }
    clock::calibrate();
    let mut machine = Machine::new(
        IN_FLIGHT,
        Some(Collector::new(OneOp::PHASES, Detail::Phases, None)),
    );
    group.bench_function("with latencies recorded", |b| {
        b.iter(|| machine.pass(&list));
    });
    group.finish();
}

criterion_group!(benches, window, mill);
criterion_main!(benches);
