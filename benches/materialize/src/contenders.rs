//! The alternatives, each as a user would write it.

use crate::workloads::{self, Counts, Workload};
use futures_buffered::BufferedStreamExt;
use futures_util::stream::{self, FuturesOrdered};
use futures_util::{Stream, StreamExt};
use ringmill_materialize::materialize;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;
use tokio::task::JoinSet;

/// The default of `materialize`.
const WINDOW_FACTOR: usize = 16;

/// What runs the futures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// `ringmill::materialize`.
    Materialize,
    /// The same, its driver spawned as a task.
    MaterializeSplit,
    /// `StreamExt::buffered` of futures-util.
    Buffered,
    /// `FuturesOrdered` of futures-util, refilled by hand.
    FuturesOrdered,
    /// `buffered_ordered` of futures-buffered.
    BufferedOrdered,
    /// tokio's `JoinSet`, refilled and put in order by hand, within the same window as
    /// `materialize`.
    JoinSet,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Materialize,
        Self::MaterializeSplit,
        Self::Buffered,
        Self::FuturesOrdered,
        Self::BufferedOrdered,
        Self::JoinSet,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Materialize => "materialize",
            Self::MaterializeSplit => "materialize-split",
            Self::Buffered => "buffered",
            Self::FuturesOrdered => "futures-ordered",
            Self::BufferedOrdered => "buffered-ordered",
            Self::JoinSet => "join-set",
        }
    }

    /// By the name on the command line.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Runs `items` futures, or as many as it can before the time limit.
    pub async fn run(
        self,
        workload: Workload,
        items: u64,
        in_flight: usize,
        limit: Duration,
        counts: &'static Counts,
    ) {
        match workload {
            Workload::Ready => {
                self.take(workloads::ready, items, in_flight, limit, counts)
                    .await
            }
            Workload::PendingOnce => {
                self.take(workloads::pending_once, items, in_flight, limit, counts)
                    .await;
            }
            Workload::Sleep => {
                self.take(workloads::sleep, items, in_flight, limit, counts)
                    .await
            }
            Workload::Stragglers => {
                self.take(workloads::straggler, items, in_flight, limit, counts)
                    .await;
            }
            Workload::StuckHead => {
                self.take(workloads::stuck_head, items, in_flight, limit, counts)
                    .await;
            }
        }
    }

    async fn take<F: Future<Output = u64> + Send + 'static>(
        self,
        make: impl Fn(u64) -> F + Send + 'static,
        items: u64,
        n: usize,
        limit: Duration,
        counts: &'static Counts,
    ) {
        let futures = (0..items).map(move |index| {
            counts.start();
            make(index)
        });
        let all = async {
            match self {
                Self::Materialize => receive_all(materialize(futures, n), counts).await,
                Self::MaterializeSplit => {
                    let (driver, rows) = materialize(futures, n).split();
                    let driver = tokio::spawn(driver);
                    receive_all(rows, counts).await;
                    driver.await.expect("no future panics");
                }
                Self::Buffered => receive_all(stream::iter(futures).buffered(n), counts).await,
                Self::FuturesOrdered => futures_ordered(futures, n, counts).await,
                Self::BufferedOrdered => {
                    receive_all(stream::iter(futures).buffered_ordered(n), counts).await;
                }
                Self::JoinSet => join_set(futures, n, counts).await,
            }
        };
        // Only a stuck head reaches the limit.
        let _ = tokio::time::timeout(limit, all).await;
    }
}

async fn receive_all(rows: impl Stream<Item = u64>, counts: &Counts) {
    let mut rows = pin!(rows);
    while let Some(row) = rows.next().await {
        counts.receive(row);
    }
}

async fn futures_ordered<F: Future<Output = u64>>(
    mut futures: impl Iterator<Item = F>,
    n: usize,
    counts: &Counts,
) {
    let mut queue: FuturesOrdered<F> = futures.by_ref().take(n).collect();
    while let Some(row) = queue.next().await {
        counts.receive(row);
        if let Some(future) = futures.next() {
            queue.push_back(future);
        }
    }
}

async fn join_set<F: Future<Output = u64> + Send + 'static>(
    mut futures: impl Iterator<Item = F>,
    n: usize,
    counts: &Counts,
) {
    let window = (n * WINDOW_FACTOR) as u64;
    let mut tasks = JoinSet::new();
    let mut finished = BTreeMap::new();
    let (mut started, mut received) = (0, 0);
    loop {
        while tasks.len() < n
            && started - received < window
            && let Some(future) = futures.next()
        {
            let index = started;
            tasks.spawn(async move { (index, future.await) });
            started += 1;
        }
        let Some(task) = tasks.join_next().await else {
            return;
        };
        let (index, row) = task.expect("no future panics");
        finished.insert(index, row);
        while let Some(row) = finished.remove(&received) {
            counts.receive(row);
            received += 1;
        }
    }
}
