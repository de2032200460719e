//! A job, a source or a sink that panics leaves no thread and no descriptor behind, and the caller of
//! the run gets the panic. All cases are in one test, because threads and descriptors are counted for
//! the whole process.

use ringmill::error::{Errno, ItemError, Operation};
use ringmill::io::Io;
use ringmill::item::{Batch, Item};
use ringmill::jobs::Job;
use ringmill::mill::{Finished, Order, PART_BYTES_DEFAULT};
use ringmill::run::{EngineKind, Plan, Report, RunError, Sink, Stop, run};
use ringmill::source::{InputError, Source};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

/// What panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Panics {
    Nothing,
    /// The task of an item, on a loop.
    Task,
    /// The task of an item, on a worker.
    TaskOnWorker,
    /// The construction of what the items of a loop share.
    LocalOfLoop,
    /// The same on a worker.
    LocalOfWorker,
    /// A background task that serves all items of a loop, as the tasks of a resolver do.
    Background,
    /// The same on a worker.
    BackgroundOnWorker,
    Source,
    Sink,
    /// The flush of the sink, when no more results are ready.
    Flush,
}

fn is_on(name: &str) -> bool {
    thread::current()
        .name()
        .is_some_and(|known| known.starts_with(name))
}

/// Opens the item and keeps it open for a while.
struct Opens(Panics);

impl Job for Opens {
    type Value = ();
    type Local = Panics;

    fn local(&self, io: &Io) -> Panics {
        let is_on_worker = is_on("ringmill-io");
        let own = |on_loop, on_worker| self.0 == if is_on_worker { on_worker } else { on_loop };
        let panics = own(Panics::LocalOfLoop, Panics::LocalOfWorker);
        assert!(!panics, "this panic is intended");
        let panics = own(Panics::Background, Panics::BackgroundOnWorker);
        let service = io.clone();
        io.spawn(async move {
            service.next_turn().await;
            assert!(!panics, "this panic is intended");
        });
        self.0
    }

    async fn run(panics: Rc<Panics>, io: Io, item: Item) -> Result<(), ItemError> {
        let in_open = |errno: Errno| ItemError::errno(Operation::Open, errno);
        if item.index() == 20 {
            assert_ne!(*panics, Panics::Task, "this panic is intended");
        }
        let stat = io.stat(&item).await.map_err(in_open)?;
        let file = io.open(&item, &stat).await.map_err(in_open)?;
        if item.index() == 20 {
            assert_ne!(*panics, Panics::TaskOnWorker, "this panic is intended");
        }
        io.sleep_until(io.now() + Duration::from_millis(1)).await;
        file.close().await.map_err(in_open)
    }
}

/// The same item again and again; for ever if a panic is to end the run. Any call on it may block, so
/// workers process it.
struct Endless(Panics, u32);

impl Source for Endless {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        self.1 += 1;
        assert!(
            self.0 != Panics::Source || self.1 < 10,
            "this panic is intended"
        );
        let is_over = self.0 == Panics::Nothing && self.1 == 10;
        Ok((!is_over).then(|| Batch::from_iter(["/proc/self/comm"; 4])))
    }
}

struct Discards(Panics);

impl Sink<()> for Discards {
    fn result(&mut self, finished: Finished<()>) -> io::Result<()> {
        assert!(
            self.0 != Panics::Sink || finished.item.index() < 20,
            "this panic is intended"
        );
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        assert_ne!(self.0, Panics::Flush, "this panic is intended");
        Ok(())
    }
}

fn run_with(engine: EngineKind, panics: Panics) -> thread::Result<Result<Report, RunError>> {
    let plan = Plan {
        engine,
        may_fall_back: true,
        in_flight: 8,
        window: 16,
        window_bytes: usize::MAX,
        parked: usize::MAX,
        loops: 2,
        io_workers: 4,
        part_bytes: PART_BYTES_DEFAULT,
        order: Order::Input,
        fail_fast: false,
        timeout: None,
        rate_per_s: None,
        latencies: None,
        separate_descriptors: false,
    };
    let (source, mut sink) = (Endless(panics, 0), Discards(panics));
    catch_unwind(AssertUnwindSafe(|| {
        run(&plan, Opens(panics), source, &mut sink, &Stop::default())
    }))
}

fn count(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

/// Threads and descriptors of this process.
fn held() -> (usize, usize) {
    (count("/proc/self/task"), count("/proc/self/fd"))
}

#[test]
fn a_panic_leaves_nothing_behind() {
    for engine in [EngineKind::Threads, EngineKind::Uring] {
        run_with(engine, Panics::Nothing).unwrap().unwrap();
        let before = settled(held());
        for panics in [
            Panics::Task,
            Panics::TaskOnWorker,
            Panics::LocalOfLoop,
            Panics::LocalOfWorker,
            Panics::Background,
            Panics::BackgroundOnWorker,
            Panics::Source,
            Panics::Sink,
            Panics::Flush,
        ] {
            let panic = run_with(engine, panics).expect_err("a panic is passed on");
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or(panic.downcast_ref::<&str>().copied());
            let is_own = message.is_some_and(|message| message.contains("this panic is intended"));
            assert!(is_own, "{engine:?}: {panics:?}: {message:?}");
            assert_eq!(settled(before), before, "{engine:?}: {panics:?}");
        }
    }
}

/// The threads and descriptors once the last threads have ended; the run does not wait for those.
fn settled(wanted: (usize, usize)) -> (usize, usize) {
    let began = Instant::now();
    thread::sleep(Duration::from_millis(20));
    while held() > wanted && began.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(5));
    }
    held()
}
