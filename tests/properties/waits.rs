//! The waits between threads, which the simulation on its one thread never reaches. A lost wake-up
//! leaves the other thread waiting for ever.

use crate::simulated::{Ledger, Parts, workers};
use ringmill::digest::Algorithm;
use ringmill::error::{Errno, ItemError, Operation};
use ringmill::io::Wait;
use ringmill::io::sim::{Faults, SimCarrier, World};
use ringmill::item::{Batch, BatchSlice, Item};
use ringmill::jobs::hash::{HashJob, Hashed};
use ringmill::mill::{Ask, Directive, Finished, Mill, Order, Ready};
use ringmill::run::Turn;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Long enough for the other thread to have begun its wait. If it has not, a test proves less,
/// but does not fail.
const BEFORE_WAKING: Duration = Duration::from_millis(50);
const LOST_AFTER: Duration = Duration::from_secs(20);

struct Waiting<T>(Receiver<T>);

impl<T: Send + 'static> Waiting<T> {
    fn start(wait: impl FnOnce() -> T + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || sender.send(wait()));
        std::thread::sleep(BEFORE_WAKING);
        let waiting = Self(receiver);
        assert!(waiting.0.try_recv().is_err(), "it did not wait");
        waiting
    }

    fn end(self) -> T {
        self.0.recv_timeout(LOST_AFTER).expect("lost wake-up")
    }
}

fn new_mill(fail_fast: bool) -> Arc<Mill<Hashed>> {
    Arc::new(Mill::new(Order::Input, 100, 1, fail_fast))
}

fn add_items(mill: &Mill<Hashed>, names: &[&[u8]]) {
    mill.add(Batch::from_iter(names), Duration::ZERO);
}

fn emitter(mill: &Arc<Mill<Hashed>>) -> Waiting<Ready> {
    let mill = Arc::clone(mill);
    Waiting::start(move || mill.take_ready(1, None, &mut Vec::new()))
}

fn source(mill: &Arc<Mill<Hashed>>) -> Waiting<bool> {
    let mill = Arc::clone(mill);
    Waiting::start(move || mill.add(Batch::from_iter(["one more"]), Duration::ZERO))
}

/// A batch with this many items does not grow.
const BATCH_LEN: usize = 256;

/// Adds batches until there is no room; returns how many.
fn fill(mill: &Mill<Hashed>) -> usize {
    let mut added = 0;
    while mill.has_room() {
        add_items(mill, &[&b"item"[..]; BATCH_LEN]);
        added += 1;
        assert!(added < 100, "the source is never made to wait");
    }
    added
}

fn pull(mill: &Mill<Hashed>, max: usize) -> Vec<Item> {
    let mut pulled = Vec::new();
    exchange(mill, &mut Vec::new(), max, &mut pulled);
    pulled.iter().flat_map(BatchSlice::items).collect()
}

fn exchange(
    mill: &Mill<Hashed>,
    finished: &mut Vec<Finished<Hashed>>,
    max: usize,
    pulled: &mut Vec<BatchSlice>,
) -> Directive {
    let ask = Ask {
        room: max,
        ..Ask::default()
    };
    mill.exchange(0, finished, ask, pulled, Duration::ZERO)
        .directive
}

fn finish(mill: &Mill<Hashed>, item: Item, max: usize) -> (Directive, usize) {
    let error = ItemError::errno(Operation::Open, Errno::new(libc::ENOENT));
    let mut finished = vec![Finished {
        item,
        started_at_ns: 0,
        finished_at_ns: 0,
        result: Err(error),
        is_failure: true,
        bytes_held: 0,
    }];
    let mut pulled = Vec::new();
    let directive = exchange(mill, &mut finished, max, &mut pulled);
    (directive, pulled.iter().flat_map(BatchSlice::items).count())
}

#[test]
fn an_announced_result_ends_the_emitters_wait() {
    let mill = new_mill(false);
    add_items(&mill, &[b"item"]);
    let item = pull(&mill, 1).remove(0);
    let waiting = emitter(&mill);
    finish(&mill, item, 0);
    mill.announce();
    assert_eq!(waiting.end(), Ready::Results);
}

/// The input goes on, so only the loop's own announcement reports the result.
#[test]
fn a_loop_that_is_about_to_wait_ends_the_emitters_wait() {
    let mill = new_mill(false);
    let world = Arc::new(World::new(HashMap::new(), Faults::default(), 0));
    let job = Arc::new(HashJob {
        algorithm: Algorithm::Crc32c,
        ..HashJob::default()
    });
    let parts = Parts {
        job: &job,
        world: &world,
        mill: &mill,
        workers: &workers(&job, &world, 1, None),
        in_flight: 2,
        large_buffers: 1,
        parked: usize::MAX,
        timeout: None,
        collector: None,
        ledger: Ledger::default(),
    };
    let carrier = SimCarrier::new(Arc::clone(&world), 1);
    let mut event_loop = parts.event_loop(0, Box::new(carrier));
    add_items(&mill, &[b"missing"]);
    let waiting = emitter(&mill);
    loop {
        let Turn::Wait(wait) = event_loop.turn() else {
            panic!("the input has not ended")
        };
        if wait == Wait::Forever && event_loop.in_flight() == 0 {
            break;
        }
        event_loop.wait(wait).unwrap();
    }
    assert_eq!(waiting.end(), Ready::Results);
}

#[test]
fn many_results_end_the_emitters_wait() {
    let mill = new_mill(false);
    add_items(&mill, &[&b"item"[..]; 50]);
    let items = pull(&mill, 50);
    let waiting = emitter(&mill);
    for item in items {
        finish(&mill, item, 0);
    }
    assert_eq!(waiting.end(), Ready::Results);
}

#[test]
fn the_end_of_the_input_ends_the_emitters_wait() {
    let mill = new_mill(false);
    let waiting = emitter(&mill);
    mill.end_input(Ok(()));
    assert_eq!(waiting.end(), Ready::Ended);
}

#[test]
fn the_last_loops_end_ends_the_emitters_wait() {
    let mill = new_mill(false);
    add_items(&mill, &[b"item"]);
    assert_eq!(pull(&mill, 1).len(), 1);
    mill.stop();
    let waiting = emitter(&mill);
    mill.loop_ended(0);
    assert_eq!(waiting.end(), Ready::Ended);
}

#[test]
fn a_stop_ends_the_emitters_wait() {
    let mill = new_mill(false);
    let waiting = emitter(&mill);
    mill.stop();
    assert_eq!(waiting.end(), Ready::Ended);
}

#[test]
fn a_pull_ends_the_sources_wait() {
    let mill = Arc::new(Mill::new(Order::Input, BATCH_LEN, 1, false));
    fill(&mill);
    let waiting = source(&mill);
    assert_eq!(pull(&mill, BATCH_LEN).len(), BATCH_LEN);
    assert!(waiting.end());
}

#[test]
fn a_failure_ends_the_sources_wait_when_it_ends_the_run() {
    let mill = new_mill(true);
    fill(&mill);
    let item = pull(&mill, 1).remove(0);
    fill(&mill);
    let waiting = source(&mill);
    // Nothing is pulled once an item has failed.
    assert_eq!(finish(&mill, item, 1), (Directive::Finish, 0));
    assert!(!waiting.end());
}

#[test]
fn a_stop_ends_the_sources_wait() {
    let mill = new_mill(false);
    fill(&mill);
    let waiting = source(&mill);
    mill.stop();
    assert!(!waiting.end());
}
