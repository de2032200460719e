//! What a loop does in single situations, on simulated carriers.

use crate::simulated::{Ledger, Parts, SimLoop, workers};
use ringmill::clock::Clock;
use ringmill::error::{Errno, ItemError, Operation};
use ringmill::io::sim::{Faults, SimCarrier, SimFile, World};
use ringmill::io::{Carrier, Completion, FileSystem, Io, Op, Semaphore, Wait, Wake};
use ringmill::item::{Batch, Item};
use ringmill::jobs::Job;
use ringmill::mill::{Finished, Mill, Order, Ready};
use ringmill::run::{Held, Turn};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

type Task = Pin<Box<dyn Future<Output = Result<(), Errno>>>>;

/// A job whose task is a function.
struct FnJob<F>(F);

impl<F: Fn(Io, Item) -> Task + Clone + Send + Sync + 'static> Job for FnJob<F> {
    type Value = ();
    type Local = F;

    fn local(&self, _: &Io) -> F {
        self.0.clone()
    }

    async fn run(task: Rc<F>, io: Io, item: Item) -> Result<(), ItemError> {
        let done = task(io, item).await;
        done.map_err(|errno| ItemError::errno(Operation::Open, errno))
    }
}

fn fn_job<F: Fn(Io, Item) -> Task + Clone + Send + Sync + 'static>(task: F) -> Arc<FnJob<F>> {
    Arc::new(FnJob(task))
}

/// What a test works with.
struct Setting {
    world: Arc<World>,
    clock: SimCarrier,
    mill: Arc<Mill<()>>,
    loops: Vec<SimLoop<()>>,
}

struct Limits {
    loops: usize,
    in_flight: usize,
    window: usize,
    descriptors: usize,
    timeout: Option<Duration>,
}

const LIMITS: Limits = Limits {
    loops: 1,
    in_flight: 4,
    window: 100,
    descriptors: 1000,
    timeout: None,
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Regular files "0", "1" and so on, and "slow", whose file system blocks.
fn files() -> HashMap<Vec<u8>, SimFile> {
    let file = SimFile::regular(vec![7; 100]);
    let mut slow = file.clone();
    slow.file_system = FileSystem::Blocking;
    let numbered = (0..100).map(|number| (number.to_string().into_bytes(), file.clone()));
    numbered.chain([(b"slow".to_vec(), slow)]).collect()
}

impl Setting {
    fn new<J: Job<Value = ()>>(job: &Arc<J>, limits: &Limits) -> Self {
        let world = World::new(files(), Faults::default(), limits.descriptors);
        let world = Arc::new(world);
        let mill = Mill::new(Order::Completion, limits.window, limits.loops, false);
        let mill = Arc::new(mill);
        let parts = Parts {
            job,
            world: &world,
            mill: &mill,
            workers: &workers(job, &world, 1, None),
            in_flight: limits.in_flight,
            large_buffers: 1,
            parked: usize::MAX,
            timeout: limits.timeout,
            collector: None,
            ledger: Ledger::default(),
        };
        let loops = 0..limits.loops;
        Self {
            loops: loops
                .map(|index| parts.new_loop(index, index as u64))
                .collect(),
            clock: SimCarrier::new(Arc::clone(&world), 0),
            world,
            mill,
        }
    }

    fn add(&self, count: usize) {
        self.add_names((0..count).map(|number| number.to_string()));
    }

    fn add_names<T: AsRef<[u8]>>(&self, names: impl IntoIterator<Item = T>) {
        self.mill.add(Batch::from_iter(names), self.clock.now());
    }

    fn turn(&mut self, chosen: usize) -> Option<Turn> {
        self.loops[chosen].turn(None, &self.clock)
    }

    fn turns(&mut self, chosen: usize, count: usize) {
        for _ in 0..count {
            self.turn(chosen);
        }
    }

    /// Lets the loop take turns until only time ends its wait.
    fn settle(&mut self, chosen: usize) -> Wait {
        loop {
            let now = self.clock.now();
            match self.turn(chosen) {
                Some(Turn::Wait(Wait::No)) => {}
                Some(Turn::Wait(wait)) => {
                    let next = self.loops[chosen].next_turn(now);
                    if next.is_none_or(|at| at > now) {
                        return wait;
                    }
                }
                turn => panic!("{turn:?}"),
            }
        }
    }

    /// Runs the first loop to its end.
    fn run(&mut self) {
        self.mill.end_input(Ok(()));
        for _ in 0..100_000 {
            if self.turn(0).expect("something ends the wait") == Turn::Ended {
                return;
            }
        }
        panic!("no end: {:?}", self.held(0));
    }

    fn held(&self, chosen: usize) -> Held {
        self.loops[chosen].event_loop.as_ref().unwrap().held()
    }

    fn results(&self) -> Vec<Finished<()>> {
        let mut results = Vec::new();
        let no_wait = Some(Duration::ZERO);
        while self.mill.take_ready(100, no_wait, &mut results) == Ready::Results {}
        self.mill.mark_emitted(results.len());
        results
    }
}

/// An item is not counted twice because two of its operations wait for a descriptor: the other item
/// will free some.
#[test]
fn what_two_operations_of_an_item_lack_the_other_item_can_free() {
    let job = fn_job(|io, item| {
        Box::pin(async move {
            let stat = io.stat(&item).await?;
            if item.index() == 0 {
                let _held = (io.open(&item, &stat).await?, io.open(&item, &stat).await?);
                io.sleep_until(20 * SECOND).await;
                return Ok(());
            }
            io.sleep_until(SECOND).await;
            let (mut one, mut two) = (
                Box::pin(io.open(&item, &stat)),
                Box::pin(io.open(&item, &stat)),
            );
            let (mut of_one, mut of_two) = (None, None);
            poll_fn(|context| {
                for (open, result) in [(&mut one, &mut of_one), (&mut two, &mut of_two)] {
                    if result.is_none()
                        && let Poll::Ready(ended) = open.as_mut().poll(context)
                    {
                        *result = Some(ended);
                    }
                }
                match of_one.is_some() && of_two.is_some() {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
            of_one.unwrap()?.close().await?;
            of_two.unwrap()?.close().await
        })
    });
    let limits = Limits {
        descriptors: 2,
        ..LIMITS
    };
    let mut setting = Setting::new(&job, &limits);
    setting.add(2);
    setting.run();
    for finished in setting.results() {
        assert_eq!(finished.result, Ok(()), "item {}", finished.item.index());
    }
}

/// One of several loops fills its places in eight steps.
const TURNS_TO_HALF: usize = 4;

/// With many items that do not end, each loop gets its share.
#[test]
fn a_loop_that_is_ahead_leaves_items_to_another() {
    let job = fn_job(|_, _| Box::pin(pending()));
    let limits = Limits {
        loops: 2,
        in_flight: 16,
        window: 1000,
        ..LIMITS
    };
    let mut setting = Setting::new(&job, &limits);
    setting.add(1000);
    // Two steps, and then the loop waits.
    setting.turns(0, 3);
    assert_eq!(setting.held(0).in_flight, 4);
    setting.turn(1);
    assert_eq!(setting.held(1).in_flight, 2);
    setting.turn(0);
    assert_eq!(setting.held(0).in_flight, 6);
    assert!(setting.clock.now() < MS);
}

/// One loop alone would take all items of a short list.
#[test]
fn two_loops_share_sixteen_items() {
    let job = fn_job(|_, _| Box::pin(pending()));
    let limits = Limits {
        loops: 2,
        in_flight: 16,
        ..LIMITS
    };
    for order in [[0, 1], [1, 0]] {
        let mut setting = Setting::new(&job, &limits);
        setting.add(16);
        for chosen in order {
            setting.turns(chosen, TURNS_TO_HALF);
        }
        assert_eq!(
            (setting.held(0).in_flight, setting.held(1).in_flight),
            (8, 8)
        );
    }
}

/// A blocked loop cannot take the items that were left to it.
#[test]
fn a_loop_leaves_items_to_another_only_for_a_moment() {
    let job = fn_job(|_, _| Box::pin(pending()));
    let limits = Limits {
        loops: 2,
        in_flight: 16,
        ..LIMITS
    };
    let mut setting = Setting::new(&job, &limits);
    setting.add(16);
    setting.turns(0, 2 * TURNS_TO_HALF + 1);
    assert_eq!(setting.held(0).in_flight, 16);
    assert!(setting.clock.now() <= 2 * MS, "{:?}", setting.clock.now());
}

/// A loop that can take its next turn at once leaves items to the other loop for just as long.
#[test]
fn a_busy_loop_leaves_items_to_another_for_the_same_moment() {
    let job = fn_job(|io, _| {
        Box::pin(async move {
            loop {
                io.next_turn().await;
            }
        })
    });
    let limits = Limits {
        loops: 2,
        in_flight: 16,
        ..LIMITS
    };
    let mut setting = Setting::new(&job, &limits);
    setting.add(16);
    setting.turns(0, TURNS_TO_HALF - 1);
    for _ in 0..10 {
        setting.turn(0);
        assert_eq!(setting.held(0).in_flight, 8);
    }
    setting.turns(1, TURNS_TO_HALF);
    assert_eq!(setting.held(1).in_flight, 8);
}

#[test]
fn a_hanging_item_in_each_loop_does_not_stop_a_list_that_trickles() {
    let job = fn_job(|_, item| {
        Box::pin(async move {
            match item.index() {
                0 | 1 => pending().await,
                _ => Ok(()),
            }
        })
    });
    let limits = Limits { loops: 2, ..LIMITS };
    let mut setting = Setting::new(&job, &limits);
    setting.add(2);
    // The first loop leaves one item to the second.
    assert_eq!(setting.settle(0), Wait::AtMost(MS));
    for chosen in [1, 0] {
        assert_eq!(setting.settle(chosen), Wait::Forever);
    }
    for _ in 0..10 {
        setting.add(1);
        for chosen in [0, 1] {
            while setting.turn(chosen).is_some() {}
        }
        assert_eq!(setting.results().len(), 1);
    }
}

#[test]
fn parked_items_hold_no_place_but_the_window_s() {
    let job = fn_job(|io, _| {
        Box::pin(async move {
            let nothing = Semaphore::new(0);
            drop(io.park(nothing.acquire()).await);
            Ok(())
        })
    });
    let limits = Limits {
        in_flight: 2,
        window: 7,
        ..LIMITS
    };
    let mut setting = Setting::new(&job, &limits);
    setting.add(20);
    assert_eq!(setting.settle(0), Wait::Forever);
    let held = setting.held(0);
    assert_eq!((held.in_flight, held.parked), (0, 7));
    assert_eq!(setting.mill.counters().pulled, 7);
    setting.mill.stop();
    assert_eq!(setting.turn(0), Some(Turn::Ended));
}

#[test]
fn items_that_return_have_places_before_new_ones_and_one_after_another() {
    let job = fn_job(|io, item| {
        Box::pin(async move {
            if item.index() < 5 {
                io.park(io.sleep_until(SECOND)).await;
            }
            io.sleep_until(io.now() + SECOND).await;
            Ok(())
        })
    });
    let limits = Limits {
        in_flight: 1,
        ..LIMITS
    };
    let mut setting = Setting::new(&job, &limits);
    setting.add(7);
    setting.run();
    let order: Vec<u64> = setting.results().iter().map(|f| f.item.index()).collect();
    assert_eq!(order, [5, 0, 1, 2, 3, 4, 6]);
    assert_eq!(setting.clock.now(), 7 * SECOND);
}

/// An item whose operation is still in the kernel at its deadline holds no place, as it held none while
/// it was parked.
#[test]
fn parked_items_that_are_given_up_hold_no_place() {
    let job = fn_job(|io, item| {
        Box::pin(async move {
            if item.index() < 3 {
                let stat = io.stat(&item).await?;
                let file = io.open(&item, &stat).await?;
                io.park(file.read(io.small_buffer(), Some(0), true)).await?;
            }
            Ok(())
        })
    });
    let limits = Limits {
        in_flight: 1,
        timeout: Some(SECOND),
        ..LIMITS
    };
    let mut files = files();
    for number in 0..3 {
        files.get_mut(number.to_string().as_bytes()).unwrap().hangs = true;
    }
    let faults = Faults {
        uncancellable: true,
        ..Faults::default()
    };
    let world = Arc::new(World::new(files, faults, 1000));
    let mut setting = Setting::new(&job, &limits);
    let parts = Parts {
        job: &job,
        world: &world,
        mill: &setting.mill,
        workers: &workers(&job, &world, 1, None),
        in_flight: 1,
        large_buffers: 1,
        parked: usize::MAX,
        timeout: limits.timeout,
        collector: None,
        ledger: Ledger::default(),
    };
    setting.loops = vec![parts.new_loop(0, 1)];
    setting.clock = SimCarrier::new(Arc::clone(&world), 0);
    setting.add(3);
    let mut given_up = 0;
    while given_up < 3 {
        setting.turn(0);
        given_up += setting.results().len();
    }
    let held = setting.held(0);
    assert_eq!((held.in_flight, held.parked, held.operations), (0, 3, 3));
    setting.add(2);
    setting.run();
    assert_eq!(setting.results().len(), 2);
    setting.loops.clear();
    assert_eq!(world.descriptors(), 0);
}

/// An item that never has to wait runs only for a bounded number of steps at a time.
#[test]
fn an_item_with_many_steps_does_not_starve_others() {
    let job = fn_job(|io, item| {
        Box::pin(async move {
            let steps = if item.index() == 0 { 1000 } else { 1 };
            for _ in 0..steps {
                io.stat(&item).await?;
            }
            Ok(())
        })
    });
    let mut setting = Setting::new(&job, &LIMITS);
    setting.loops = vec![cached_loop(&job, &setting)];
    setting.add(4);
    setting.run();
    let order: Vec<u64> = setting.results().iter().map(|f| f.item.index()).collect();
    assert_eq!(order, [1, 2, 3, 0]);
}

/// A loop on a carrier that finds everything cached.
fn cached_loop<J: Job<Value = ()>>(job: &Arc<J>, setting: &Setting) -> SimLoop<()> {
    let parts = Parts {
        job,
        world: &setting.world,
        mill: &setting.mill,
        workers: &workers(job, &setting.world, 1, None),
        in_flight: 4,
        large_buffers: 1,
        parked: usize::MAX,
        timeout: None,
        collector: None,
        ledger: Ledger::default(),
    };
    let carrier = SimCarrier::new(Arc::clone(&setting.world), 1).at_once_percent(100);
    let handle = carrier.handle();
    SimLoop::new(parts.event_loop(0, Box::new(carrier)), handle)
}

#[test]
fn the_next_turn_does_not_come_early_because_a_task_is_woken_for_nothing() {
    let job = fn_job(|io, item| {
        Box::pin(async move {
            if item.index() == 0 {
                let mut waits = Box::pin(io.next_turn());
                let mut polled = 0;
                poll_fn(|context| {
                    polled += 1;
                    context.waker().wake_by_ref();
                    waits.as_mut().poll(context)
                })
                .await;
                assert!(polled > 2, "all in one turn");
            }
            Ok(())
        })
    });
    let mut setting = Setting::new(&job, &LIMITS);
    setting.add(1);
    setting.run();
    assert_eq!(setting.results().len(), 1);
}

/// The deadline comes in the turn in which the item is to be handed over.
#[test]
fn an_item_given_up_on_its_way_to_a_worker_does_not_get_there() {
    static STARTS: AtomicU64 = AtomicU64::new(0);
    let job = fn_job(|io, item| {
        Box::pin(async move {
            STARTS.fetch_add(1, Ordering::Relaxed);
            io.sleep_until(SECOND).await;
            let stat = io.stat(&item).await?;
            io.open(&item, &stat).await?.close().await
        })
    });
    let limits = Limits {
        timeout: Some(SECOND),
        ..LIMITS
    };
    let mut setting = Setting::new(&job, &limits);
    setting.loops = vec![{
        let parts = Parts {
            job: &job,
            world: &setting.world,
            mill: &setting.mill,
            workers: &workers(&job, &setting.world, 1, None),
            in_flight: 4,
            large_buffers: 1,
            parked: usize::MAX,
            timeout: limits.timeout,
            collector: None,
            ledger: Ledger::default(),
        };
        let carrier = SimCarrier::new(Arc::clone(&setting.world), 1).at_once_percent(100);
        let handle = carrier.handle();
        SimLoop::new(parts.event_loop(0, Box::new(carrier)), handle)
    }];
    setting.add_names(["slow"]);
    setting.run();
    let results = setting.results();
    let error = results[0].result.clone().unwrap_err();
    assert_eq!(error.to_string(), "cannot open: timed out after 1s");
    assert_eq!(STARTS.load(Ordering::Relaxed), 1, "a worker had it, too");
}

/// A carrier that only serves as a clock, which also advances while a task computes.
struct BusyClock {
    now_ns: Rc<Cell<u64>>,
    /// The waits that the loop requested.
    waits: Rc<RefCell<Vec<Wait>>>,
}

struct NoWaker;

impl Wake for NoWaker {
    fn wake(&self) {}
}

impl Clock for BusyClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }
}

impl Carrier for BusyClock {
    fn leave_directory(&mut self) {}

    fn submit(&mut self, _: u32, op: Op) {
        unreachable!("{op:?}")
    }

    fn turn(&mut self, wait: Wait, _: &mut Vec<Completion>) -> io::Result<()> {
        self.waits.borrow_mut().push(wait);
        if let Wait::AtMost(time) = wait {
            let time_ns = u64::try_from(time.as_nanos()).unwrap();
            self.now_ns.set(self.now_ns.get() + time_ns);
        }
        Ok(())
    }

    fn cancel(&mut self, _: u32) {}

    fn outstanding(&self) -> usize {
        0
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(NoWaker)
    }

    fn describe(&self) -> String {
        "a clock".to_owned()
    }
}

thread_local! {
    static NOW_NS: Rc<Cell<u64>> = Rc::default();
}

/// I15: the time that a turn took is not added to the wait for a timer.
#[test]
fn a_timer_is_not_late_by_the_time_of_a_turn() {
    let job = fn_job(|io, _| {
        Box::pin(async move {
            let at = io.now() + 7 * MS;
            let mut sleep = Box::pin(io.sleep_until(at));
            let mut computes = true;
            poll_fn(|context| {
                let poll = sleep.as_mut().poll(context);
                if std::mem::take(&mut computes) {
                    NOW_NS.with(|now_ns| now_ns.set(now_ns.get() + 5_000_000));
                }
                poll
            })
            .await;
            assert_eq!(io.now(), at);
            Ok(())
        })
    });
    let setting = Setting::new(&job, &LIMITS);
    let waits = Rc::default();
    let carrier = BusyClock {
        now_ns: NOW_NS.with(Rc::clone),
        waits: Rc::clone(&waits),
    };
    let parts = Parts {
        job: &job,
        world: &setting.world,
        mill: &setting.mill,
        workers: &workers(&job, &setting.world, 1, None),
        in_flight: 4,
        large_buffers: 1,
        parked: usize::MAX,
        timeout: None,
        collector: None,
        ledger: Ledger::default(),
    };
    let mut event_loop = parts.event_loop(0, Box::new(carrier));
    setting.add(1);
    setting.mill.end_input(Ok(()));
    event_loop.run().unwrap();
    assert!(waits.borrow().contains(&Wait::AtMost(2 * MS)), "{waits:?}");
}

/// A task that waits only for another thread.
#[test]
fn another_thread_wakes_a_task() {
    type Slot = Arc<(AtomicBool, Mutex<Option<Waker>>)>;
    static SLOT: Mutex<Option<Slot>> = Mutex::new(None);
    let slot = Slot::default();
    *SLOT.lock().unwrap() = Some(Arc::clone(&slot));
    let job = fn_job(|_, _| {
        Box::pin(async move {
            let slot = SLOT.lock().unwrap().clone().unwrap();
            poll_fn(|context| {
                *slot.1.lock().unwrap() = Some(context.waker().clone());
                match slot.0.load(Ordering::Acquire) {
                    true => Poll::Ready(Ok(())),
                    false => Poll::Pending,
                }
            })
            .await
        })
    });
    let mut setting = Setting::new(&job, &LIMITS);
    setting.add(1);
    assert_eq!(setting.settle(0), Wait::Forever);
    assert!(setting.turn(0).is_none(), "nothing ends its wait");
    let other = thread::spawn(move || {
        // Once without a reason, and then with one.
        let waker = slot.1.lock().unwrap().clone().unwrap();
        waker.wake_by_ref();
        slot.0.store(true, Ordering::Release);
        waker.wake();
    });
    other.join().unwrap();
    assert!(setting.turn(0).is_some());
    setting.run();
    assert_eq!(setting.results().len(), 1);
}
