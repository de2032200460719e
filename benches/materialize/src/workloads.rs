//! What the futures do, and the checks of their rows.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

/// One item in this many is a straggler.
const STRAGGLER_EVERY: u64 = 1000;
const STRAGGLER: Duration = Duration::from_millis(100);
const SLEEP: Duration = Duration::from_millis(1);

/// What a future does before it yields its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Nothing: it is ready at its first poll.
    Ready,
    /// It wakes itself and is ready at its second poll.
    PendingOnce,
    /// It sleeps for 1 ms.
    Sleep,
    /// It sleeps for 1 ms; one in 1,000 sleeps for 100 ms.
    Stragglers,
    /// The first never ends; the others are ready at their second poll.
    StuckHead,
}

impl Workload {
    /// By the name on the command line.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ready" => Self::Ready,
            "pending-once" => Self::PendingOnce,
            "sleep" => Self::Sleep,
            "stragglers" => Self::Stragglers,
            "stuck-head" => Self::StuckHead,
            _ => return None,
        })
    }
}

/// Futures started, rows received, and the largest difference of the two. Atomics, because tasks of a
/// `JoinSet` must be `Send`; everything runs on one thread.
#[derive(Debug)]
pub struct Counts {
    started: AtomicU64,
    received: AtomicU64,
    held_max: AtomicU64,
    out_of_order: AtomicBool,
}

impl Counts {
    /// All zero.
    #[expect(clippy::new_without_default, reason = "it is made in statics")]
    pub const fn new() -> Self {
        Self {
            started: AtomicU64::new(0),
            received: AtomicU64::new(0),
            held_max: AtomicU64::new(0),
            out_of_order: AtomicBool::new(false),
        }
    }

    /// Counts one more future.
    pub fn start(&self) {
        let started = self.started.load(Relaxed) + 1;
        self.started.store(started, Relaxed);
        let held = started - self.received.load(Relaxed);
        if held > self.held_max.load(Relaxed) {
            self.held_max.store(held, Relaxed);
        }
    }

    /// Counts one more row, which must be the next in input order.
    pub fn receive(&self, index: u64) {
        let received = self.received.load(Relaxed);
        if index != received {
            self.out_of_order.store(true, Relaxed);
        }
        self.received.store(received + 1, Relaxed);
    }

    /// Futures that were pulled from the input.
    pub fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    /// Rows that came out.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// The most futures started and rows not received at any moment.
    pub fn held_max(&self) -> u64 {
        self.held_max.load(Relaxed)
    }

    /// True if all rows so far came in input order.
    pub fn in_order(&self) -> bool {
        !self.out_of_order.load(Relaxed)
    }
}

/// Ready at the second poll.
async fn yield_once() {
    let mut is_first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut is_first) {
            cx.waker().wake_by_ref();
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

/// A future that is ready at its first poll.
pub async fn ready(index: u64) -> u64 {
    index
}

/// A future that is ready at its second poll.
pub async fn pending_once(index: u64) -> u64 {
    yield_once().await;
    index
}

/// A future that sleeps for 1 ms.
pub async fn sleep(index: u64) -> u64 {
    tokio::time::sleep(SLEEP).await;
    index
}

/// A future that sleeps for 1 ms, or 100 ms if it is the last of 1,000.
pub async fn straggler(index: u64) -> u64 {
    let is_straggler = index % STRAGGLER_EVERY == STRAGGLER_EVERY - 1;
    tokio::time::sleep(if is_straggler { STRAGGLER } else { SLEEP }).await;
    index
}

/// A future that never ends if it is the first; otherwise it is ready at its second poll.
pub async fn stuck_head(index: u64) -> u64 {
    if index == 0 {
        std::future::pending::<()>().await;
    }
    yield_once().await;
    index
}
