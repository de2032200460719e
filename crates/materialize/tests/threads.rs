//! No wake-up is lost between real threads.

use ringmill_materialize::{MaterializeExt, materialize};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const ITEMS: u64 = 30_000;

/// Threads that finish operations, in any order.
#[derive(Default)]
struct Workers {
    queue: Mutex<(VecDeque<Arc<Operation>>, bool)>,
    arrived: Condvar,
}

#[derive(Default)]
struct Operation {
    is_done: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Workers {
    fn start(count: usize) -> (Arc<Self>, Vec<thread::JoinHandle<()>>) {
        let workers = Arc::new(Self::default());
        let threads = (0..count).map(|number| {
            let workers = Arc::clone(&workers);
            thread::spawn(move || {
                while let Some(operation) = workers.take(number) {
                    operation.is_done.store(true, Ordering::Release);
                    let waker = operation.waker.lock().unwrap().take();
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
            })
        });
        let threads = threads.collect();
        (workers, threads)
    }

    fn take(&self, number: usize) -> Option<Arc<Operation>> {
        let mut queue = self.queue.lock().unwrap();
        loop {
            let (operations, is_over) = &mut *queue;
            // One thread takes the oldest, another the newest.
            let operation = if number.is_multiple_of(2) {
                operations.pop_front()
            } else {
                operations.pop_back()
            };
            if operation.is_some() || *is_over {
                return operation;
            }
            queue = self.arrived.wait(queue).unwrap();
        }
    }

    fn submit(&self, operation: Arc<Operation>) {
        self.queue.lock().unwrap().0.push_back(operation);
        self.arrived.notify_one();
    }

    fn stop(&self, threads: Vec<thread::JoinHandle<()>>) {
        self.queue.lock().unwrap().1 = true;
        self.arrived.notify_all();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

struct Item {
    index: u64,
    operation: Option<Arc<Operation>>,
    workers: Arc<Workers>,
}

impl Future for Item {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let operation = match &self.operation {
            Some(operation) => operation,
            None => {
                let operation = Arc::<Operation>::default();
                self.workers.submit(Arc::clone(&operation));
                self.operation.insert(operation)
            }
        };
        *operation.waker.lock().unwrap() = Some(cx.waker().clone());
        if operation.is_done.load(Ordering::Acquire) {
            Poll::Ready(self.index)
        } else {
            Poll::Pending
        }
    }
}

fn items(workers: &Arc<Workers>) -> impl Iterator<Item = Item> + Send + use<> {
    let workers = Arc::clone(workers);
    (0..ITEMS).map(move |index| Item {
        index,
        operation: None,
        workers: Arc::clone(&workers),
    })
}

/// Fails a test that would otherwise wait for ever. On a starved machine, a test may take minutes.
fn within_minutes(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    if is_done.recv_timeout(Duration::from_secs(900)) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("a wake-up was lost");
    }
    thread.join().unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
}

#[test]
fn futures_woken_by_other_threads() {
    for in_flight in [1, 3, 64, 5000] {
        within_minutes(move || {
            let (workers, threads) = Workers::start(3);
            let mut rows = materialize(items(&workers), in_flight);
            runtime().block_on(async {
                for index in 0..ITEMS {
                    assert_eq!(rows.next().await, Some(index));
                }
                assert_eq!(rows.next().await, None);
            });
            workers.stop(threads);
        });
    }
}

#[test]
fn driver_and_consumer_on_different_threads() {
    for (in_flight, window) in [(1, 1), (3, 4), (64, 64), (64, 1000)] {
        within_minutes(move || {
            let (workers, threads) = Workers::start(2);
            let (driver, mut rows) = materialize(items(&workers), in_flight)
                .window(window)
                .split();
            runtime().block_on(async {
                let driver = tokio::spawn(driver);
                for index in 0..ITEMS {
                    assert_eq!(rows.next().await, Some(index));
                }
                assert_eq!(rows.next().await, None);
                driver.await.unwrap();
            });
            workers.stop(threads);
        });
    }
}

/// A stream of futures that arrive from another thread.
struct Channel(tokio::sync::mpsc::Receiver<Item>);

impl futures_core::Stream for Channel {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.0.poll_recv(cx)
    }
}

#[test]
fn futures_that_arrive_from_another_thread() {
    within_minutes(|| {
        let (workers, threads) = Workers::start(2);
        let runtime = runtime();
        let (send, receive) = tokio::sync::mpsc::channel(8);
        let source = items(&workers);
        runtime.spawn(async move {
            for item in source {
                send.send(item).await.ok().unwrap();
            }
        });
        let mut rows = Channel(receive).materialize(16);
        runtime.block_on(async {
            for index in 0..ITEMS {
                assert_eq!(rows.next().await, Some(index));
            }
            assert_eq!(rows.next().await, None);
        });
        workers.stop(threads);
    });
}
