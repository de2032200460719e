use super::*;
use crate::error::ItemError;
use crate::item::{Batch, Item};
use crate::jobs::{Context, Event};
use crate::source::Arguments;

struct PanickingJob;

impl Job for PanickingJob {
    type State = ();
    type Value = ();

    fn begin(&self) {}

    fn step(
        &self,
        (): &mut (),
        _: &Item,
        _: Event,
        _: &mut Context<'_>,
    ) -> Option<Result<(), ItemError>> {
        panic!("a job with a bug")
    }

    fn discard(&self, (): (), _: &mut Context<'_>) {}
}

struct Ignore;

impl Sink<()> for Ignore {
    fn result(&mut self, _: Finished<()>) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
#[should_panic(expected = "a job with a bug")]
fn a_panic_in_a_loop_ends_the_run() {
    let plan = Plan {
        engine: EngineKind::Threads,
        may_fall_back: false,
        in_flight: 4,
        window: 8,
        loops: 2,
        io_workers: 1,
        order: Order::Input,
        fail_fast: false,
        timeout: None,
        separate_descriptors: true,
    };
    let names = vec!["a".into(), "b".into()];
    let interrupt = AtomicBool::new(false);
    let _ = run(
        &plan,
        PanickingJob,
        Arguments::new(names),
        &mut Ignore,
        &interrupt,
    );
}

/// Panics in the first loop, and lets go of its end of a channel when no loop has it any more.
struct WatchedJob {
    _sender: std::sync::mpsc::Sender<()>,
}

impl Job for WatchedJob {
    type State = ();
    type Value = ();

    fn begin(&self) {}

    fn step(
        &self,
        (): &mut (),
        _: &Item,
        _: Event,
        _: &mut Context<'_>,
    ) -> Option<Result<(), ItemError>> {
        let thread = std::thread::current();
        assert_ne!(thread.name(), Some("ringmill-loop0"), "a job with a bug");
        Some(Ok(()))
    }

    fn discard(&self, (): (), _: &mut Context<'_>) {}
}

/// An item now and then, for ever.
struct Trickle;

impl Source for Trickle {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        std::thread::sleep(Duration::from_millis(5));
        let mut batch = Batch::default();
        batch.push(b"a");
        Ok(Some(batch))
    }
}

#[test]
fn a_panic_in_a_loop_ends_the_waits_of_all_others() {
    let plan = Plan {
        engine: EngineKind::Uring,
        may_fall_back: true,
        in_flight: 64,
        window: 64,
        loops: 16,
        io_workers: 1,
        order: Order::Input,
        fail_fast: false,
        timeout: None,
        separate_descriptors: true,
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    let job = WatchedJob { _sender: sender };
    std::thread::spawn(move || {
        let _ = run(&plan, job, Trickle, &mut Ignore, &AtomicBool::new(false));
    });
    let all_ended = receiver.recv_timeout(Duration::from_secs(10));
    assert_eq!(
        all_ended,
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    );
}

/// Takes its time in its only step.
struct SlowJob;

const SLOW: Duration = Duration::from_millis(2);

impl Job for SlowJob {
    type State = ();
    type Value = ();

    fn begin(&self) {}

    fn step(
        &self,
        (): &mut (),
        _: &Item,
        _: Event,
        _: &mut Context<'_>,
    ) -> Option<Result<(), ItemError>> {
        std::thread::sleep(SLOW);
        Some(Ok(()))
    }

    fn discard(&self, (): (), _: &mut Context<'_>) {}
}

struct Latencies(Vec<u64>);

impl Sink<()> for Latencies {
    fn result(&mut self, finished: Finished<()>) -> io::Result<()> {
        self.0.push(finished.latency_ns);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All are started and done in the same turn.
#[test]
fn each_item_has_a_latency_of_its_own() {
    let plan = Plan {
        engine: EngineKind::Threads,
        may_fall_back: false,
        in_flight: 8,
        window: 8,
        loops: 1,
        io_workers: 1,
        order: Order::Input,
        fail_fast: false,
        timeout: None,
        separate_descriptors: true,
    };
    let names = (0..8).map(|number| number.to_string().into()).collect();
    let mut latencies = Latencies(Vec::new());
    let source = Arguments::new(names);
    let interrupt = AtomicBool::new(false);
    run(&plan, SlowJob, source, &mut latencies, &interrupt).unwrap();
    assert_eq!(latencies.0.len(), 8);
    for latency_ns in latencies.0 {
        assert!(u128::from(latency_ns) >= SLOW.as_nanos(), "{latency_ns} ns");
    }
}
