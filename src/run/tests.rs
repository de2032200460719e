use super::*;
use crate::error::ItemError;
use crate::io::Io;
use crate::item::{Batch, Item};
use crate::mill::PART_BYTES_DEFAULT;
use crate::source::Arguments;
use crate::stats::{Detail, Phase};
use std::rc::Rc;

/// Makes a call for each item, as if it read something, and is done.
struct Call<F>(Arc<F>);

impl<F: Fn() + Send + Sync + 'static> Call<F> {
    fn new(call: F) -> Self {
        Self(Arc::new(call))
    }
}

impl<F: Fn() + Send + Sync + 'static> Job for Call<F> {
    type Value = ();
    type Local = Arc<F>;

    fn local(&self, _: &Io) -> Arc<F> {
        Arc::clone(&self.0)
    }

    async fn run(call: Rc<Arc<F>>, io: Io, _: Item) -> Result<(), ItemError> {
        call();
        io.lap(Phase::READ);
        Ok(())
    }
}

/// The latencies of the items.
#[derive(Default)]
struct Latencies(Vec<u64>);

impl Sink<()> for Latencies {
    fn result(&mut self, finished: Finished<()>) -> io::Result<()> {
        self.0.push(finished.latency_ns());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn plan(engine: EngineKind, loops: usize) -> Plan {
    Plan {
        engine,
        may_fall_back: true,
        in_flight: 8 * loops,
        window: 8 * loops,
        window_bytes: usize::MAX,
        loops,
        io_workers: 1,
        part_bytes: PART_BYTES_DEFAULT,
        order: Order::Input,
        fail_fast: false,
        timeout: None,
        rate_per_s: None,
        latencies: None,
        separate_descriptors: true,
    }
}

fn eight_items() -> Arguments {
    Arguments::new((0..8).map(|number| number.to_string().into()).collect())
}

#[test]
#[should_panic(expected = "a job with a bug")]
fn a_panic_in_a_loop_ends_the_run() {
    let plan = plan(EngineKind::Threads, 2);
    let job = Call::new(|| panic!("a job with a bug"));
    let (mut sink, interrupt) = (Latencies::default(), Stop::default());
    let _ = run(&plan, job, eight_items(), &mut sink, &interrupt);
}

/// An item now and then, for ever.
struct Trickle;

impl Source for Trickle {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        std::thread::sleep(Duration::from_millis(5));
        Ok(Some(Batch::from_iter(["a"])))
    }
}

#[test]
fn a_panic_in_a_loop_ends_the_waits_of_all_others() {
    let plan = plan(EngineKind::Uring, 16);
    // The sender is gone when no loop has the job any more.
    let (sender, receiver) = mpsc::channel::<()>();
    let job = Call::new(move || {
        let _kept = &sender;
        let thread = std::thread::current();
        assert_ne!(thread.name(), Some("ringmill-loop0"), "a job with a bug");
    });
    std::thread::spawn(move || {
        let mut sink = Latencies::default();
        let _ = run(&plan, job, Trickle, &mut sink, &Stop::default());
    });
    let all_ended = receiver.recv_timeout(Duration::from_secs(10));
    assert_eq!(all_ended, Err(mpsc::RecvTimeoutError::Disconnected));
}

/// All are started and done in the same turn.
#[test]
fn each_item_has_a_latency_of_its_own() {
    for detail in [Detail::Totals, Detail::Phases] {
        let plan = Plan {
            latencies: Some(Collector::new(Phase::COMMON, detail, None)),
            ..plan(EngineKind::Threads, 1)
        };
        let pause = Duration::from_millis(2);
        let job = Call::new(move || std::thread::sleep(pause));
        let (mut sink, interrupt) = (Latencies::default(), Stop::default());
        run(&plan, job, eight_items(), &mut sink, &interrupt).unwrap();
        assert_eq!(sink.0.len(), 8);
        for latency_ns in sink.0 {
            let latency = Duration::from_nanos(latency_ns);
            assert!(latency >= pause, "{latency:?}");
        }
    }
}

/// An item at a time, and an interrupt with the third.
struct Interrupting(Arc<Stop>, u32);

impl Source for Interrupting {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        self.1 += 1;
        if self.1 == 3 {
            self.0.request();
        }
        Ok(Some(Batch::from_iter(["a"])))
    }
}

#[test]
fn a_run_alone_can_be_interrupted() {
    let plan = plan(EngineKind::Threads, 1);
    let interrupt = Arc::new(Stop::default());
    let source = Interrupting(Arc::clone(&interrupt), 0);
    let mut sink = Latencies::default();
    let (job, reason) = (Arc::new(Call::new(|| ())), io::Error::other("no threads"));
    let report = alone::run(&plan, &job, source, &mut sink, &interrupt, reason).unwrap();
    assert!(matches!(report.end, End::Interrupted), "{:?}", report.end);
    assert_eq!((report.counters.emitted, sink.0.len()), (2, 2));
}

/// So many items, one at a time.
struct OneByOne(u32);

impl Source for OneByOne {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        self.0 = self.0.saturating_sub(1);
        Ok((self.0 > 0).then(|| Batch::from_iter(["a"])))
    }
}

/// The rate makes items wait where there is nobody to wait for them.
#[test]
fn a_run_alone_keeps_the_rate() {
    let plan = Plan {
        rate_per_s: Some(1000.0),
        ..plan(EngineKind::Threads, 1)
    };
    let (mut sink, interrupt) = (Latencies::default(), Stop::default());
    let (job, reason) = (Arc::new(Call::new(|| ())), io::Error::other("no threads"));
    let began = std::time::Instant::now();
    let report = alone::run(&plan, &job, OneByOne(21), &mut sink, &interrupt, reason).unwrap();
    assert!(matches!(report.end, End::Complete), "{:?}", report.end);
    assert_eq!(sink.0.len(), 20);
    assert!(began.elapsed() >= Duration::from_millis(19));
}

/// The second item comes only when the first has been written out.
struct AfterTheFirst(u32, mpsc::Receiver<()>);

impl Source for AfterTheFirst {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        self.0 += 1;
        if self.0 == 2 {
            let written = self.1.recv_timeout(Duration::from_secs(10));
            written.expect("the first is to be written out");
        }
        Ok((self.0 <= 2).then(|| Batch::from_iter(["a"])))
    }
}

struct Tells(mpsc::Sender<()>);

impl Sink<()> for Tells {
    fn result(&mut self, _: Finished<()>) -> io::Result<()> {
        let _ = self.0.send(());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Its items are parked for a while.
struct Parks;

impl Job for Parks {
    type Value = ();
    type Local = ();

    fn local(&self, _: &Io) {}

    async fn run(_: Rc<()>, io: Io, _: Item) -> Result<(), ItemError> {
        let until = io.now() + Duration::from_millis(20);
        io.park(io.sleep_until(until)).await;
        Ok(())
    }
}

#[test]
fn a_run_alone_does_not_forget_parked_items_for_its_source() {
    let plan = plan(EngineKind::Threads, 1);
    let (sender, receiver) = mpsc::channel();
    let (mut sink, source) = (Tells(sender), AfterTheFirst(0, receiver));
    let (interrupt, reason) = (Stop::default(), io::Error::other("no threads"));
    let job = Arc::new(Parks);
    let report = alone::run(&plan, &job, source, &mut sink, &interrupt, reason).unwrap();
    assert_eq!(report.counters.emitted, 2);
}
