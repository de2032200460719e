//! Nothing is allocated per item. It is the only test in its process, because the allocations of all
//! threads are counted.

use ringmill_materialize::materialize;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Is pending once, and clones its waker.
async fn item(n: u64) -> u64 {
    let mut waker = None;
    poll_fn(|cx| match waker.take() {
        None => {
            waker = Some(cx.waker().clone());
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Some(_) => Poll::Ready(()),
    })
    .await;
    n
}

#[test]
fn slots_and_wakers_are_reused() {
    let mut rows = pin!(materialize((0..).map(item), 100));
    let mut cx = Context::from_waker(Waker::noop());
    let mut take = |count| {
        for _ in 0..count {
            let mut next = pin!(rows.next());
            while next.as_mut().poll(&mut cx).is_pending() {}
        }
    };
    take(10_000);
    // The test harness has a thread that allocates sometimes, so the round with the fewest is compared.
    let fewest = (0..10).map(|_| {
        let region = Region::new(GLOBAL);
        take(10_000);
        let change = region.change();
        change.allocations + change.reallocations
    });
    assert_eq!(fewest.min(), Some(0));
    let region = Region::new(GLOBAL);
    // The counter works.
    black_box(Box::new(1));
    assert!(region.change().allocations > 0);
}
