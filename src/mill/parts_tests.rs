//! Parts of results, compared with a model: random schedules of writers, deadlines and a slow emitter.

use super::*;
use crate::error::{Cause, ItemError, Operation};
use crate::io::sim::Random;
use crate::io::{Admission, PartWriter};
use crate::item::{Batch, BatchSlice, Item};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

const SCHEDULES: u64 = 12_000;
const STEPS_MAX: usize = 20_000;
const PART_MAX: usize = 50;

/// A waker that records its call.
#[derive(Default)]
struct Flag(AtomicBool);

impl std::task::Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An item that writes parts.
struct Writer {
    item: Item,
    /// What it has yet to write.
    left: Vec<Vec<u8>>,
    ticket: Option<u64>,
    /// While it waits: whether it was woken.
    waits: Option<Arc<Flag>>,
    is_given_up: bool,
}

impl Writer {
    fn can_move(&self) -> bool {
        let is_woken = |flag: &Arc<Flag>| flag.0.load(Ordering::Relaxed);
        self.waits.as_ref().is_none_or(is_woken)
    }
}

/// A part in the model.
struct ModelPart {
    bytes: Vec<u8>,
    counts: bool,
}

struct Schedule {
    random: Random,
    mill: Mill<()>,
    order: Order,
    budget: usize,
    in_flight_max: usize,
    give_ups: u8,
    writers: Vec<Writer>,
    /// Parts handed over and not taken.
    queues: BTreeMap<u64, Vec<ModelPart>>,
    /// Bytes that the emitter has taken: those that count against the budget, and the others.
    with_emitter: (usize, usize),
    /// Results taken and not marked as emitted.
    unmarked: usize,
    /// By item, what it is to write, and what has been emitted of that.
    scripts: HashMap<u64, Vec<u8>>,
    left: HashMap<u64, Vec<u8>>,
    /// Items that were given up.
    given_up: Vec<u64>,
    results: Vec<u64>,
    /// The item whose parts were emitted last, until its result is emitted.
    leaving: Option<u64>,
    items: usize,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let order = match random.below(2) {
            0 => Order::Input,
            _ => Order::Completion,
        };
        let budget = [0, 1, 60, 200, 100_000][random.below(5)];
        let in_flight_max = 1 + random.below(6);
        let window = in_flight_max + random.below(6);
        let items = 1 + random.below(12);
        let mill = Mill::new(order, window, 1, false).part_bytes(budget);
        mill.add(Batch::from_iter(vec!["x"; items]), Duration::ZERO);
        mill.end_input(Ok(()));
        Self {
            give_ups: [0, 0, 5][random.below(3)],
            random,
            mill,
            order,
            budget,
            in_flight_max,
            writers: Vec::new(),
            queues: BTreeMap::new(),
            with_emitter: (0, 0),
            unmarked: 0,
            scripts: HashMap::new(),
            left: HashMap::new(),
            given_up: Vec::new(),
            results: Vec::new(),
            leaving: None,
            items,
        }
    }

    fn run(mut self) {
        let slowness = 2 + self.random.below(10);
        for _ in 0..STEPS_MAX {
            let emitter_moves = self.random.below(slowness) == 0;
            let has_ended = emitter_moves && self.emit();
            if has_ended {
                return self.check_end();
            }
            if !emitter_moves {
                self.move_writer();
            }
            self.check();
        }
        panic!("no end");
    }

    /// Bytes that count against the budget.
    fn held(&self) -> usize {
        let queued = self.queues.values().flatten();
        let counted = queued.filter(|part| part.counts);
        counted.map(|part| part.bytes.len()).sum::<usize>() + self.with_emitter.0
    }

    fn queued(&self, index: u64) -> usize {
        self.queues.get(&index).map_or(0, Vec::len)
    }

    // Writers.

    fn move_writer(&mut self) -> bool {
        let in_flight = self
            .writers
            .iter()
            .filter(|writer| !writer.is_given_up)
            .count();
        if in_flight < self.in_flight_max && self.random.percent(40) && self.pull() {
            return true;
        }
        let can_move = |at: &usize| self.writers[*at].can_move();
        let movable: Vec<usize> = (0..self.writers.len()).filter(can_move).collect();
        if !self.writers.is_empty() && self.random.percent(self.give_ups) {
            let at = self.random.below(self.writers.len());
            self.give_up(at);
            return true;
        }
        // A task may be polled without a wake-up, or drop its write and try again later.
        if !self.writers.is_empty() && self.random.percent(5) {
            let at = self.random.below(self.writers.len());
            match self.random.below(2) {
                0 => self.drop_write(at),
                _ => self.write(at),
            }
            return true;
        }
        if movable.is_empty() {
            return false;
        }
        let at = movable[self.random.below(movable.len())];
        self.write(at);
        true
    }

    fn pull(&mut self) -> bool {
        let mut pulled = Vec::new();
        let ask = Ask {
            room: 1 + self.random.below(2),
            ..Ask::default()
        };
        self.mill
            .exchange(0, &mut Vec::new(), ask, &mut pulled, Duration::ZERO);
        let items: Vec<Item> = pulled.iter().flat_map(BatchSlice::items).collect();
        for item in &items {
            let count = [0, 1, 3, 8][self.random.below(4)];
            let part = |random: &mut Random| {
                let byte = u8::try_from(random.below(256)).unwrap();
                vec![byte; 1 + random.below(PART_MAX)]
            };
            let parts: Vec<_> = (0..count).map(|_| part(&mut self.random)).collect();
            self.scripts.insert(item.index(), parts.concat());
            self.writers.push(Writer {
                item: item.clone(),
                left: parts.into_iter().rev().collect(),
                ticket: None,
                waits: None,
                is_given_up: false,
            });
        }
        !items.is_empty()
    }

    /// Writes the next part, or finishes.
    fn write(&mut self, at: usize) {
        let (held, budget) = (self.held(), self.budget);
        let index = self.writers[at].item.index();
        let queued = self.queued(index);
        let writer = &mut self.writers[at];
        let Some(part) = writer.left.last_mut() else {
            return self.finish(at);
        };
        let flag = Arc::<Flag>::default();
        let bytes = part.clone();
        let waker = Waker::from(Arc::clone(&flag));
        match self.mill.write(index, part, &mut writer.ticket, &waker) {
            Admission::HandedOver { is_front } => {
                assert!(!writer.is_given_up, "it was given up");
                // The item at the front has at most one part not taken; others keep to the budget.
                assert!(if is_front { queued == 0 } else { held < budget });
                if self.order == Order::Input {
                    assert_eq!(is_front, index == self.results.len() as u64);
                }
                assert_eq!(writer.ticket, None);
                writer.left.pop();
                writer.waits = None;
                let counts = !is_front;
                let queue = self.queues.entry(index).or_default();
                queue.push(ModelPart { bytes, counts });
            }
            Admission::Waits { is_front } => {
                assert!(!writer.is_given_up, "it waits after it was given up");
                assert!(if is_front { queued > 0 } else { held >= budget });
                assert_eq!(*part, bytes, "the part is changed although not handed over");
                writer.waits = Some(flag);
            }
            Admission::Refused => {
                assert!(writer.is_given_up, "item {index} was not given up");
                assert_eq!(writer.ticket, None);
                self.mill.given_up_ended(index);
                self.writers.swap_remove(at);
            }
        }
    }

    /// The task drops its write, and tries again later.
    fn drop_write(&mut self, at: usize) {
        let writer = &mut self.writers[at];
        writer.waits = None;
        if let Some(ticket) = writer.ticket.take() {
            self.mill.forget(writer.item.index(), ticket);
        }
    }

    fn finish(&mut self, at: usize) {
        let Writer {
            item, is_given_up, ..
        } = self.writers.swap_remove(at);
        match is_given_up {
            true => self.mill.given_up_ended(item.index()),
            false => self.hand_over(item, Ok(())),
        }
    }

    fn hand_over(&mut self, item: Item, result: Result<(), ItemError>) {
        let finished = Finished {
            item,
            started_at_ns: 0,
            finished_at_ns: 0,
            is_failure: result.is_err(),
            bytes_held: 0,
            result,
        };
        let (ask, pulled) = (Ask::default(), &mut Vec::new());
        self.mill
            .exchange(0, &mut vec![finished], ask, pulled, Duration::ZERO);
    }

    /// The deadline of an item has come. If it is on a worker, it still runs there.
    fn give_up(&mut self, at: usize) {
        if self.writers[at].is_given_up {
            return;
        }
        let item = self.writers[at].item.clone();
        let still_runs = self.random.percent(50);
        if !still_runs {
            self.drop_write(at);
            self.writers.swap_remove(at);
        }
        self.mill.give_up_parts(item.index(), still_runs);
        if still_runs {
            let writer = &mut self.writers[at];
            writer.is_given_up = true;
            assert!(writer.can_move(), "it was not woken");
        }
        self.queues.remove(&item.index());
        self.given_up.push(item.index());
        let operation = Operation::Read;
        let cause = Cause::TimedOut { timeout_ms: 1 };
        self.hand_over(item, Err(ItemError { operation, cause }));
    }

    // The emitter.

    /// Takes what is ready. True at the end of the run.
    fn emit(&mut self) -> bool {
        if self.unmarked > 0 || self.with_emitter != (0, 0) {
            self.mill.mark_emitted(self.unmarked);
            (self.unmarked, self.with_emitter) = (0, (0, 0));
            return false;
        }
        let max = 1 + self.random.below(10);
        let mut output = Output::default();
        match self
            .mill
            .take_output(max, Some(Duration::ZERO), &mut output)
        {
            Ready::Ended => return true,
            Ready::Nothing => self.check_liveness(),
            Ready::Results => {
                assert!(output.results.len() + output.parts.len() <= max);
                let mut parts = output.parts.into_iter().peekable();
                for finished in output.results {
                    let index = finished.item.index();
                    while let Some(part) = parts.next_if(|part| part.index == index) {
                        self.take_part(part);
                    }
                    self.take_result(&finished);
                }
                parts.for_each(|part| self.take_part(part));
            }
        }
        false
    }

    fn take_part(&mut self, part: Part) {
        let index = part.index;
        assert!(!self.results.contains(&index), "a part after its result");
        assert!(
            self.leaving.is_none_or(|leaving| leaving == index),
            "not whole"
        );
        self.leaving = Some(index);
        let known = self.queues.get_mut(&index).unwrap().remove(0);
        assert_eq!(known.bytes, part.bytes);
        match known.counts {
            true => self.with_emitter.0 += part.bytes.len(),
            false => self.with_emitter.1 += part.bytes.len(),
        }
        self.left.entry(index).or_default().extend(part.bytes);
    }

    fn take_result(&mut self, finished: &Finished<()>) {
        let index = finished.item.index();
        assert!(
            self.leaving.is_none_or(|leaving| leaving == index),
            "not whole"
        );
        self.leaving = None;
        if self.order == Order::Input {
            assert_eq!(index, self.results.len() as u64, "out of order");
        }
        assert_eq!(self.queued(index), 0, "parts were left behind");
        let left = self.left.remove(&index).unwrap_or_default();
        let script = &self.scripts[&index];
        match finished.result {
            Ok(()) => assert_eq!(left, *script),
            Err(_) => assert!(script.starts_with(&left)),
        }
        assert_eq!(finished.result.is_err(), self.given_up.contains(&index));
        self.results.push(index);
        self.unmarked += 1;
    }

    // Invariants.

    fn check(&self) {
        let untaken: usize = self
            .queues
            .values()
            .flatten()
            .map(|part| part.bytes.len())
            .sum();
        assert_eq!(self.mill.part_bytes_held(), untaken);
        // I17: at most the budget, one part more, one of the item at the front, and one being emitted.
        assert!(self.budget == 0 || self.held() < self.budget + PART_MAX);
        assert!(self.budget > 0 || self.held() == 0);
        let uncounted = self.queues.values().flatten().filter(|part| !part.counts);
        assert!(uncounted.count() <= 1);
        assert!(self.with_emitter.1 <= PART_MAX);
        self.check_wake_ups();
    }

    /// No wake-up is lost: a writer that waits and was not woken could not go on.
    fn check_wake_ups(&self) {
        let waiting = self.writers.iter().filter(|writer| writer.waits.is_some());
        let (woken, asleep): (Vec<_>, Vec<_>) = waiting.partition(|writer| writer.can_move());
        let lengths = woken.iter().filter_map(|writer| writer.left.last());
        let promised: usize = lengths.map(Vec::len).sum();
        for writer in asleep {
            let index = writer.item.index();
            if self.mill.lock().parts.front() == Some(index) {
                assert!(self.queued(index) > 0, "the front was not woken");
            } else {
                let is_spent = self.held() + promised >= self.budget;
                assert!(is_spent, "item {index} was not woken");
            }
        }
    }

    /// When there is nothing to emit, a writer can go on, or an item can be pulled.
    fn check_liveness(&self) {
        let all_wait = !self.writers.iter().any(Writer::can_move);
        if all_wait && !self.writers.is_empty() {
            assert!(self.can_pull(), "all wait for each other");
        }
    }

    fn can_pull(&self) -> bool {
        let in_flight = self
            .writers
            .iter()
            .filter(|writer| !writer.is_given_up)
            .count();
        // In input order a new item does not help while the item at the front waits.
        let front = self.results.len() as u64;
        let has_front = self
            .writers
            .iter()
            .any(|writer| writer.item.index() == front);
        let may_help = self.order == Order::Completion || !has_front;
        may_help && in_flight < self.in_flight_max && self.mill.could_pull(Duration::ZERO)
    }

    fn check_end(&self) {
        assert_eq!(self.results.len(), self.items);
        assert_eq!(self.mill.part_bytes_held(), 0);
        assert!(self.writers.iter().all(|writer| writer.is_given_up));
        assert_eq!(self.mill.lock().parts.waiting(), 0);
    }
}

#[test]
fn parts_leave_whole_in_order_and_within_the_budget() {
    for seed in 0..SCHEDULES {
        let run = || Schedule::new(seed).run();
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// A mill, and items pulled from it.
fn mill_of(order: Order, budget: usize, count: usize) -> (Mill<()>, Vec<Item>) {
    let mill = Mill::new(order, count, 1, false).part_bytes(budget);
    mill.add(Batch::from_iter(vec!["x"; count]), Duration::ZERO);
    let mut pulled = Vec::new();
    let ask = Ask {
        room: count,
        ..Ask::default()
    };
    mill.exchange(0, &mut Vec::new(), ask, &mut pulled, Duration::ZERO);
    let items = pulled.iter().flat_map(BatchSlice::items).collect();
    (mill, items)
}

fn write(mill: &Mill<()>, index: u64, len: usize) -> (Admission, Arc<Flag>) {
    let flag = Arc::<Flag>::default();
    let waker = Waker::from(Arc::clone(&flag));
    let admission = mill.write(index, &mut vec![b'x'; len], &mut None, &waker);
    (admission, flag)
}

fn finish(mill: &Mill<()>, item: &Item, result: Result<(), ItemError>) {
    let finished = Finished {
        item: item.clone(),
        started_at_ns: 0,
        finished_at_ns: 0,
        is_failure: result.is_err(),
        bytes_held: 0,
        result,
    };
    let (ask, pulled) = (Ask::default(), &mut Vec::new());
    mill.exchange(0, &mut vec![finished], ask, pulled, Duration::ZERO);
}

/// The lengths of the parts, and the items with results.
fn take(mill: &Mill<()>) -> (Vec<(u64, usize)>, Vec<u64>) {
    let mut output = Output::default();
    mill.take_output(100, Some(Duration::ZERO), &mut output);
    mill.mark_emitted(output.results.len());
    let parts = output
        .parts
        .iter()
        .map(|part| (part.index, part.bytes.len()));
    let results = output.results.iter().map(|finished| finished.item.index());
    (parts.collect(), results.collect())
}

const AT_FRONT: Admission = Admission::HandedOver { is_front: true };
const BEHIND: Admission = Admission::HandedOver { is_front: false };
const WAITS: Admission = Admission::Waits { is_front: false };

#[test]
fn the_front_may_write_when_later_items_have_spent_the_budget() {
    let (mill, items) = mill_of(Order::Input, 10, 3);
    assert_eq!(write(&mill, 1, 6).0, BEHIND);
    assert_eq!(
        write(&mill, 2, 6).0,
        BEHIND,
        "one part more than the budget"
    );
    let (admission, third) = write(&mill, 2, 1);
    assert_eq!(admission, WAITS);
    assert_eq!(write(&mill, 0, 100).0, AT_FRONT);
    assert_eq!(write(&mill, 0, 100).0, Admission::Waits { is_front: true });
    assert_eq!(take(&mill), (vec![(0, 100)], vec![]));
    assert_eq!(write(&mill, 0, 100).0, AT_FRONT);
    finish(&mill, &items[0], Ok(()));
    assert!(!third.0.load(Ordering::Relaxed));
    assert_eq!(take(&mill), (vec![(0, 100), (1, 6)], vec![0]));
    assert!(third.0.load(Ordering::Relaxed), "item 1's part has left");
    finish(&mill, &items[2], Ok(()));
    assert_eq!(take(&mill), (vec![], vec![]));
    finish(&mill, &items[1], Ok(()));
    assert_eq!(take(&mill), (vec![(2, 6)], vec![1, 2]));
}

#[test]
fn an_item_that_comes_to_the_front_is_woken() {
    let (mill, items) = mill_of(Order::Input, 0, 2);
    let (admission, second) = write(&mill, 1, 5);
    assert_eq!(admission, WAITS);
    finish(&mill, &items[0], Ok(()));
    assert!(!second.0.load(Ordering::Relaxed));
    assert_eq!(take(&mill), (vec![], vec![0]));
    assert!(second.0.load(Ordering::Relaxed));
    assert_eq!(write(&mill, 1, 5).0, AT_FRONT);
}

#[test]
fn in_completion_order_parts_leave_with_their_result() {
    let (mill, items) = mill_of(Order::Completion, 100, 3);
    for index in [0, 1, 0, 2, 1] {
        assert_eq!(write(&mill, index, 5).0, BEHIND);
    }
    assert_eq!(take(&mill), (vec![], vec![]));
    finish(&mill, &items[1], Ok(()));
    finish(&mill, &items[2], Ok(()));
    assert_eq!(take(&mill), (vec![(1, 5), (1, 5), (2, 5)], vec![1, 2]));
}

#[test]
fn in_completion_order_the_first_that_waits_comes_to_the_front() {
    let (mill, items) = mill_of(Order::Completion, 10, 4);
    assert_eq!(write(&mill, 0, 10).0, BEHIND);
    let (admission, third) = write(&mill, 2, 5);
    assert_eq!(admission, WAITS);
    let (_, second) = write(&mill, 1, 5);
    // The item that has finished comes first.
    finish(&mill, &items[3], Ok(()));
    let mut output = Output::default();
    mill.take_output(1, Some(Duration::ZERO), &mut output);
    assert_eq!(output.results.len(), 1);
    mill.mark_emitted(1);
    assert!(!second.0.load(Ordering::Relaxed));
    assert_eq!(take(&mill), (vec![], vec![]));
    assert!(second.0.load(Ordering::Relaxed), "item 1 is at the front");
    assert!(!third.0.load(Ordering::Relaxed));
    assert_eq!(write(&mill, 1, 50).0, AT_FRONT);
    // It stays at the front until its result has been taken.
    finish(&mill, &items[0], Ok(()));
    assert_eq!(take(&mill), (vec![(1, 50)], vec![]));
    finish(&mill, &items[1], Ok(()));
    assert_eq!(take(&mill), (vec![(0, 10)], vec![1, 0]));
    assert!(third.0.load(Ordering::Relaxed));
}

#[test]
fn parts_before_an_error_leave_but_not_those_of_an_item_given_up() {
    let (mill, items) = mill_of(Order::Input, 10, 3);
    assert_eq!(write(&mill, 1, 4).0, BEHIND);
    assert_eq!(write(&mill, 2, 6).0, BEHIND);
    let (admission, waiting) = write(&mill, 1, 4);
    assert_eq!(admission, WAITS);
    let error = || {
        Err(ItemError::errno(
            Operation::Read,
            crate::error::Errno::new(libc::EIO),
        ))
    };
    mill.give_up_parts(2, true);
    assert_eq!(write(&mill, 2, 1).0, Admission::Refused);
    assert!(
        waiting.0.load(Ordering::Relaxed),
        "there is room for it now"
    );
    finish(&mill, &items[2], error());
    finish(&mill, &items[1], error());
    finish(&mill, &items[0], error());
    assert_eq!(take(&mill), (vec![(1, 4)], vec![0, 1, 2]));
}

#[test]
fn nothing_is_written_after_a_stop() {
    let (mill, items) = mill_of(Order::Input, 0, 2);
    let (_, waiting) = write(&mill, 1, 5);
    mill.stop();
    assert_eq!(write(&mill, 0, 5).0, Admission::Waits { is_front: true });
    finish(&mill, &items[0], Ok(()));
    assert_eq!(take(&mill), (vec![], vec![0]));
    assert!(!waiting.0.load(Ordering::Relaxed));
}

#[test]
fn only_what_has_not_left_is_taken_back() {
    let (mill, _) = mill_of(Order::Input, 10, 2);
    assert_eq!(write(&mill, 1, 10).0, BEHIND);
    let (admission, waiting) = write(&mill, 1, 10);
    assert_eq!(admission, WAITS);
    assert!(mill.take_back(1));
    assert!(waiting.0.load(Ordering::Relaxed));
    assert_eq!(write(&mill, 0, 1).0, AT_FRONT);
    assert_eq!(take(&mill), (vec![(0, 1)], vec![]));
    assert!(!mill.take_back(0));
}
