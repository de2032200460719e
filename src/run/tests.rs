use super::*;
use crate::error::ItemError;
use crate::io::Io;
use crate::item::{Batch, Item};
use crate::jobs::Job;
use crate::mill::{Finished, Order, PART_BYTES_DEFAULT};
use crate::source::{Arguments, InputError, Source};
use crate::stats::{Collector, Detail, Phase};
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// A job that makes a call for each item and records it as a read.
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

/// A sink that keeps the latencies of the items.
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
        parked: usize::MAX,
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

/// A source that gives an item every 5 ms, without end.
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
    // The sender is dropped when no loop has the job any more.
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

/// Although all items are started and finished in the same turn.
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

/// A source that gives one item at a time, and requests a stop with the third.
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
fn a_single_threaded_run_can_be_interrupted() {
    let plan = plan(EngineKind::Threads, 1);
    let interrupt = Arc::new(Stop::default());
    let source = Interrupting(Arc::clone(&interrupt), 0);
    let mut sink = Latencies::default();
    let (job, reason) = (Arc::new(Call::new(|| ())), io::Error::other("no threads"));
    let report = single_threaded::run(&plan, &job, source, &mut sink, &interrupt, reason).unwrap();
    assert!(matches!(report.end, End::Interrupted), "{:?}", report.end);
    assert_eq!((report.counters.emitted, sink.0.len()), (2, 2));
}

/// A source of `n - 1` items, one at a time.
struct OneByOne(u32);

impl Source for OneByOne {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        self.0 = self.0.saturating_sub(1);
        Ok((self.0 > 0).then(|| Batch::from_iter(["a"])))
    }
}

/// With a rate, items wait in the feed although nothing is in flight.
#[test]
fn a_single_threaded_run_keeps_the_rate() {
    let plan = Plan {
        rate_per_s: Some(1000.0),
        ..plan(EngineKind::Threads, 1)
    };
    let (mut sink, interrupt) = (Latencies::default(), Stop::default());
    let (job, reason) = (Arc::new(Call::new(|| ())), io::Error::other("no threads"));
    let began = std::time::Instant::now();
    let report =
        single_threaded::run(&plan, &job, OneByOne(21), &mut sink, &interrupt, reason).unwrap();
    assert!(matches!(report.end, End::Complete), "{:?}", report.end);
    assert_eq!(sink.0.len(), 20);
    assert!(began.elapsed() >= Duration::from_millis(19));
}

/// A source whose second item comes only when the first has been written out.
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

/// A sink that sends a message for each result.
struct Notifying(mpsc::Sender<()>);

impl Sink<()> for Notifying {
    fn result(&mut self, _: Finished<()>) -> io::Result<()> {
        let _ = self.0.send(());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A job whose items are parked for a while.
struct Parking;

impl Job for Parking {
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
fn a_single_threaded_run_does_not_forget_parked_items_for_its_source() {
    let plan = plan(EngineKind::Threads, 1);
    let (sender, receiver) = mpsc::channel();
    let (mut sink, source) = (Notifying(sender), AfterTheFirst(0, receiver));
    let (interrupt, reason) = (Stop::default(), io::Error::other("no threads"));
    let job = Arc::new(Parking);
    let report = single_threaded::run(&plan, &job, source, &mut sink, &interrupt, reason).unwrap();
    assert_eq!(report.counters.emitted, 2);
}
