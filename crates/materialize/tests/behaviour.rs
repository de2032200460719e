//! Bounds, panics and drops, tested one at a time; the schedules of the unit tests combine them.

use futures_core::Stream;
use futures_core::stream::FusedStream;
use ringmill_materialize::{Driver, Materialize, MaterializeExt, Outputs, materialize};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

fn poll<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn poll_driver<F: Future + Unpin>(driver: &mut F) -> Poll<F::Output> {
    Pin::new(driver).poll(&mut Context::from_waker(Waker::noop()))
}

fn message_of(panics: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(panics)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload.downcast::<&str>().expect("a message").to_string(),
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Is pending at its first poll, and wakes itself.
async fn later<T>(value: T) -> T {
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
    value
}

#[test]
fn bounds_are_checked() {
    let futures = || (0..3).map(ready);
    assert_eq!(
        message_of(|| drop(materialize(futures(), 0))),
        "`in_flight` must be at least 1"
    );
    assert_eq!(
        message_of(|| drop(materialize(futures(), 4).window(3))),
        "`window` (3) must be at least `in_flight` (4)"
    );
    let mut rows = materialize(futures(), 4).window(4);
    assert_eq!(poll(&mut rows), Poll::Ready(Some(0)));
    let late = "window and order must be set before the first poll";
    assert_eq!(message_of(|| drop(rows.window(8))), late);
    let mut rows = materialize(futures(), 4);
    assert_eq!(poll(&mut rows), Poll::Ready(Some(0)));
    assert_eq!(message_of(|| drop(rows.unordered())), late);
}

#[test]
fn no_items_and_no_limit() {
    let mut rows = materialize(Vec::<std::future::Ready<()>>::new(), 1);
    assert_eq!(rows.size_hint(), (0, Some(0)));
    assert_eq!(poll(&mut rows), Poll::Ready(None));
    assert!(rows.is_terminated());
    assert_eq!(poll(&mut rows), Poll::Ready(None));

    let mut rows = materialize((0..5).map(later), usize::MAX);
    assert_eq!(rows.size_hint(), (5, Some(5)));
    for n in 0..5 {
        assert_eq!(poll(&mut rows), Poll::Ready(Some(n)));
    }
    assert_eq!(poll(&mut rows), Poll::Ready(None));
}

#[test]
fn a_slow_head_does_not_lower_the_number_in_flight() {
    let release = Rc::new(Cell::new(false));
    let running = Rc::new(Cell::new(0));
    let futures = (0..).map(|n: usize| {
        let (release, running) = (Rc::clone(&release), Rc::clone(&running));
        async move {
            running.set(running.get() + 1);
            if n == 0 {
                poll_fn(|_| {
                    if release.get() {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
            } else if n >= 10 {
                pending::<()>().await;
            }
            running.set(running.get() - 1);
            n
        }
    });
    // Nine behind the head are done, so there is room for three more beside it.
    let mut rows = materialize(futures, 4).window(20);
    assert!(poll(&mut rows).is_pending());
    assert_eq!((running.get(), rows.in_flight(), rows.waiting()), (4, 4, 9));
}

#[test]
fn the_window_bounds_what_waits_behind_a_stuck_head() {
    let started = Cell::new(0);
    let futures = (0..).map(|n| {
        started.set(started.get() + 1);
        async move {
            if n == 0 {
                pending::<()>().await;
            }
        }
    });
    let mut rows = materialize(futures, 10);
    for _ in 0..1000 {
        assert!(poll(&mut rows).is_pending());
    }
    assert_eq!(started.get(), 160);
    assert_eq!((rows.in_flight(), rows.waiting()), (1, 159));
}

#[test]
fn results_as_they_complete() {
    let futures = (0..4).map(|n| async move {
        for _ in 0..(3 - n) {
            later(()).await;
        }
        n
    });
    let mut rows = materialize(futures, 4).unordered();
    let found: Vec<i32> = std::iter::from_fn(|| match poll(&mut rows) {
        Poll::Ready(row) => row,
        Poll::Pending => panic!("one is always ready"),
    })
    .collect();
    assert_eq!(found, [3, 2, 1, 0]);
}

#[test]
fn a_poll_takes_a_bounded_number_of_steps() {
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = Context::from_waker(&waker);
    // The head never finishes, and the others keep waking themselves.
    let polls = Cell::new(0_usize);
    let futures = (0..).map(|n| {
        let polls = &polls;
        poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            if n > 0 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        })
    });
    let mut rows = materialize(futures, 1000);
    for number in 1..=10 {
        let before = polls.get();
        assert!(Pin::new(&mut rows).poll_next(&mut cx).is_pending());
        let polled = polls.get() - before;
        assert!((1..=256).contains(&polled), "{polled} polls");
        assert_eq!(
            count.0.load(Ordering::Relaxed),
            number,
            "the task is woken to be polled again"
        );
    }
    // New futures are started in spite of those that are always woken.
    assert_eq!(rows.in_flight(), 1000);
}

#[test]
fn a_ready_head_is_emitted_at_once() {
    let mut rows = materialize((0..).map(ready), 1000);
    for n in 0..100_000 {
        assert_eq!(poll(&mut rows), Poll::Ready(Some(n)));
    }
}

#[test]
fn futures_of_futures() {
    let inner = |n: u64| async move {
        let mut rows = materialize((0..n).map(later), 3);
        let mut sum = 0;
        while let Some(row) = rows.next().await {
            sum += row;
        }
        sum
    };
    let mut rows = materialize((0..50).map(inner), 7);
    for n in 0..50_u64 {
        let mut next = pin!(rows.next());
        let mut cx = Context::from_waker(Waker::noop());
        let sum = loop {
            if let Poll::Ready(sum) = next.as_mut().poll(&mut cx) {
                break sum;
            }
        };
        assert_eq!(sum, Some(n * n.saturating_sub(1) / 2));
    }
}

/// Appends its number to a list when it is dropped.
struct Dropped(usize, Rc<RefCell<Vec<usize>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

/// The third of five futures panics; the others wait.
fn with_a_panic(
    drops: &Rc<RefCell<Vec<usize>>>,
) -> Materialize<impl Iterator<Item = impl Future<Output = usize>>> {
    let drops = Rc::clone(drops);
    let futures = (0..5).map(move |n| {
        let dropped = Dropped(n, Rc::clone(&drops));
        async move {
            later(()).await;
            match n {
                0 => dropped.0,
                2 => panic!("the third"),
                _ => pending().await,
            }
        }
    });
    materialize(futures, 5)
}

#[test]
fn a_panic_propagates_and_the_rest_can_be_dropped() {
    let drops = Rc::default();
    let mut rows = with_a_panic(&drops);
    assert_eq!(message_of(|| _ = poll(&mut rows)), "the third");
    let message = message_of(|| _ = poll(&mut rows));
    assert!(message.contains("used after a panic"), "{message}");
    drop(rows);
    drops.borrow_mut().sort_unstable();
    assert_eq!(*drops.borrow(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_panicking_source_does_not_look_like_the_end() {
    let futures = (0..3).map(|n| {
        if n == 1 {
            panic!("the source")
        } else {
            pending::<()>()
        }
    });
    let mut rows = materialize(futures, 2);
    assert_eq!(message_of(|| _ = poll(&mut rows)), "the source");
    let message = message_of(|| _ = poll(&mut rows));
    assert!(message.contains("used after a panic"), "{message}");
    let message = message_of(|| drop(rows.split()));
    assert!(message.contains("used after a panic"), "{message}");
}

#[test]
fn a_panic_in_the_driver_breaks_the_rows() {
    let drops = Rc::default();
    let (mut driver, mut rows) = with_a_panic(&drops).split();
    assert!(poll(&mut rows).is_pending());
    assert_eq!(message_of(|| _ = poll_driver(&mut driver)), "the third");
    // The driver was not dropped yet; the rows panic nevertheless.
    let broken = "the driver of these rows was dropped, or panicked, before the end";
    assert_eq!(message_of(|| _ = poll(&mut rows)), broken);
    assert_eq!(message_of(|| _ = poll(&mut rows)), broken);
    let message = message_of(|| _ = poll_driver(&mut driver));
    assert!(message.contains("polled after a panic"), "{message}");
    drop(driver);
    drops.borrow_mut().sort_unstable();
    assert_eq!(*drops.borrow(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_dropped_driver_does_not_look_like_the_end() {
    let count = Arc::new(Count::default());
    let futures = (0..5).map(async |n| if n < 2 { n } else { pending().await });
    let (mut driver, mut rows) = materialize(futures, 5).split();
    assert!(poll_driver(&mut driver).is_pending());
    assert_eq!(poll(&mut rows), Poll::Ready(Some(0)));
    drop(driver);
    assert_eq!(
        poll(&mut rows),
        Poll::Ready(Some(1)),
        "a ready result is yielded"
    );
    let message = message_of(|| _ = poll(&mut rows));
    assert!(message.contains("before the end"), "{message}");

    // A consumer that waits is woken.
    let (driver, mut rows) = materialize([pending::<()>()], 1).split();
    let waker = Waker::from(Arc::clone(&count));
    assert!(
        Pin::new(&mut rows)
            .poll_next(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(driver);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
}

#[test]
fn the_driver_goes_on_while_the_consumer_is_away() {
    let (mut driver, mut rows) = materialize((0..100).map(later), 4).window(10).split();
    while {
        let before = rows.size_hint().0;
        assert!(poll_driver(&mut driver).is_pending());
        rows.size_hint().0 > before
    } {}
    assert_eq!(rows.size_hint(), (10, None), "it stops at the window");
    let mut found = Vec::new();
    loop {
        match poll(&mut rows) {
            Poll::Ready(Some(row)) => found.push(row),
            Poll::Ready(None) => break,
            Poll::Pending => _ = poll_driver(&mut driver),
        }
    }
    assert_eq!(found, (0..100).collect::<Vec<_>>());
    assert_eq!(rows.size_hint(), (0, Some(0)));
    assert!(rows.is_terminated());
}

#[test]
fn room_that_is_made_during_a_turn_is_used() {
    // The future of item 2 takes a row, as a consumer on another thread might at that moment.
    let rows: Rc<RefCell<Option<Outputs<i32>>>> = Rc::default();
    let futures = (0..).map(|n| {
        let rows = Rc::clone(&rows);
        async move {
            if n == 2 {
                assert_eq!(
                    poll(rows.borrow_mut().as_mut().unwrap()),
                    Poll::Ready(Some(1))
                );
            }
            n
        }
    });
    let (mut driver, consumer) = materialize(futures, 1).window(2).split();
    *rows.borrow_mut() = Some(consumer);
    assert!(poll_driver(&mut driver).is_pending());
    assert_eq!(
        poll(rows.borrow_mut().as_mut().unwrap()),
        Poll::Ready(Some(0))
    );
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    assert!(
        Pin::new(&mut driver)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!(
        count.0.load(Ordering::Relaxed),
        1,
        "it continues with item 3"
    );
}

#[test]
fn dropping_the_rows_ends_the_driver() {
    let drops = Rc::default();
    let futures = (0..).map(|n| {
        let dropped = Dropped(n, Rc::clone(&drops));
        async move {
            if n > 1 {
                pending::<()>().await;
            }
            dropped
        }
    });
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let (mut driver, mut rows) = materialize(futures, 4).split();
    assert!(
        Pin::new(&mut driver)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert!(matches!(poll(&mut rows), Poll::Ready(Some(Dropped(0, _)))));
    drop(rows);
    assert_eq!(
        *drops.borrow(),
        [0, 1],
        "the results are dropped with the rows"
    );
    assert!(count.0.load(Ordering::Relaxed) > 0, "the driver is woken");
    assert_eq!(poll_driver(&mut driver), Poll::Ready(()));
    drops.borrow_mut().sort_unstable();
    assert_eq!(*drops.borrow(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_waker_that_is_kept_keeps_nothing_alive() {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let task = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&task));
    let futures = (0..3).map(|_| {
        let kept = Rc::clone(&kept);
        poll_fn(move |cx| {
            kept.borrow_mut().push(cx.waker().clone());
            Poll::<()>::Pending
        })
    });
    let mut rows = materialize(futures, 3);
    assert!(
        Pin::new(&mut rows)
            .poll_next(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(waker);
    assert_eq!(Arc::strong_count(&task), 2);
    drop(rows);
    assert_eq!(Arc::strong_count(&task), 1);
    kept.borrow_mut().drain(..).for_each(Waker::wake);
    assert_eq!(task.0.load(Ordering::Relaxed), 0);
}

/// A stream that is always pending.
struct Never;

impl Stream for Never {
    type Item = std::future::Ready<()>;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

#[test]
fn what_can_be_sent_to_another_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let (driver, rows): (Driver<_>, Outputs<_>) = is_send(materialize([ready(1)], 1)).split();
    drop((is_send(driver), is_send(rows)));
    // They are `Send` also where futures are not.
    let number = Rc::new(1);
    let (driver, rows) = materialize([async move { *number }], 1).split();
    drop((driver, is_send(rows)));
    assert!(poll(&mut is_send(Never.materialize(3))).is_pending());
}
