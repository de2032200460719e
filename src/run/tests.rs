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
