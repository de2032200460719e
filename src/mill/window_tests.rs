//! The limit on the bytes of finished items that wait.

use super::*;
use crate::io::Wake;
use crate::item::{Batch, BatchSlice, Item};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const SIZE: usize = size_of::<Finished<()>>();

fn finished(item: Item, bytes: usize) -> Finished<()> {
    Finished {
        item,
        started_at_ns: 0,
        finished_at_ns: 0,
        result: Ok(()),
        is_failure: false,
        bytes_held: u32::try_from(bytes).unwrap(),
    }
}

/// Hands over these results, and pulls as many items as the mill allows.
fn exchange(mill: &Mill<()>, mut done: Vec<Finished<()>>, room: usize) -> (Vec<Item>, Exchange) {
    let ask = Ask {
        room,
        ..Ask::default()
    };
    let mut pulled = Vec::new();
    let exchange = mill.exchange(0, &mut done, ask, &mut pulled, Duration::ZERO);
    let items = pulled.iter().flat_map(BatchSlice::items).collect();
    (items, exchange)
}

fn take(mill: &Mill<()>, max: usize) -> Vec<u64> {
    let mut taken = Vec::new();
    let _ready = mill.take_ready(max, Some(Duration::ZERO), &mut taken);
    mill.mark_emitted(taken.len());
    taken.iter().map(|finished| finished.item.index()).collect()
}

#[test]
fn results_that_wait_for_the_head_keep_to_the_byte_limit() {
    let mill = Mill::new(Order::Input, 100, 1, false).window_bytes(2 * (SIZE + 50));
    let waker = Arc::<Count>::default();
    mill.set_waker(0, Arc::clone(&waker) as Arc<dyn Wake>);
    mill.add(Batch::from_iter(["a"; 10]), Duration::ZERO);
    let (mut items, _) = exchange(&mill, Vec::new(), 4);
    let head = items.remove(0);
    let done: Vec<_> = items.drain(..2).map(|item| finished(item, 50)).collect();
    let (pulled, answer) = exchange(&mill, done, 3);
    assert_eq!(
        (pulled.len(), answer.held_back),
        (0, Some(HeldBack::Window))
    );
    assert!(!mill.could_pull(Duration::ZERO));
    // Items in flight continue, however large their results, because the head is one of them.
    let (pulled, _) = exchange(&mill, vec![finished(head, 1000)], 1);
    assert_eq!(pulled.len(), 0);
    let woken = waker.0.load(Ordering::Relaxed);
    assert_eq!(take(&mill, 2), [0, 1]);
    assert_eq!(waker.0.load(Ordering::Relaxed), woken + 1);
    assert_eq!(exchange(&mill, Vec::new(), 9).0.len(), 6);
}

proptest! {
    /// Whatever the limit, every item is emitted, in order, and only items that were in flight when the
    /// limit was reached exceed it.
    #[test]
    fn every_item_comes_out(
        bytes_max in 0_usize..20 * SIZE,
        order in prop_oneof![Just(Order::Input), Just(Order::Completion)],
        steps in proptest::collection::vec((0_u8..3, 1_usize..8, 0_usize..3 * SIZE), 0..200),
    ) {
        let bytes_max = bytes_max + 1;
        let mill = Mill::new(order, 50, 1, false).window_bytes(bytes_max);
        mill.add(Batch::from_iter(["a"; 40]), Duration::ZERO);
        mill.end_input(Ok(()));
        let (mut in_flight, mut emitted, mut held) = (Vec::new(), Vec::new(), [0; 40]);
        let last = (0..3 * 40).flat_map(|_| [(0, 8, 0), (1, 1, SIZE), (2, 8, 0)]);
        for (step, count, bytes) in steps.into_iter().chain(last) {
            let waits: usize = held.iter().sum();
            match step {
                0 => {
                    let (items, _) = exchange(&mill, Vec::new(), count);
                    prop_assert!(items.is_empty() || waits < bytes_max);
                    in_flight.extend(items);
                }
                1 if !in_flight.is_empty() => {
                    let item: Item = in_flight.swap_remove(count % in_flight.len());
                    held[usize::try_from(item.index()).unwrap()] = SIZE + bytes;
                    exchange(&mill, vec![finished(item, bytes)], 0);
                }
                _ => {
                    for index in take(&mill, count) {
                        held[usize::try_from(index).unwrap()] = 0;
                        emitted.push(index);
                    }
                }
            }
        }
        if order == Order::Completion {
            emitted.sort_unstable();
        }
        prop_assert_eq!(emitted, (0..40).collect::<Vec<u64>>());
    }
}
