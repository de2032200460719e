//! What a simulation knows of the items and timers of each loop without asking the loops: the jobs
//! themselves record it. From it follows the earliest time at which something may happen.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

/// How often a loop checks its items on workers, while some of them wait for a worker.
const SUPERVISION_INTERVAL: Duration = Duration::from_millis(5);

/// What the jobs have recorded.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The loop whose tasks are being made.
    making: Option<usize>,
    /// Items that were polled at least once.
    begun: HashSet<u64>,
    /// Items that are not known to have ended.
    items: HashMap<u64, Flight>,
    /// Timers that are waited for, by loop.
    timers: BTreeMap<(usize, u64), Duration>,
    timers_so_far: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flight {
    of_loop: usize,
    begun_at: Duration,
    whereabouts: Whereabouts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    Loop,
    /// Its task on the loop was dropped before its deadline, so it waits for a worker or is on one.
    Worker,
    /// A worker has ended it because something was exhausted. The loop decides whether that is its
    /// result.
    Unknown,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap()
    }

    /// Jobs are made for this loop until the returned guard is dropped.
    pub(super) fn making(&self, of_loop: usize) -> Making<'_> {
        self.lock().making = Some(of_loop);
        Making(self)
    }

    pub(super) fn maker(&self) -> Maker {
        Maker {
            of_loop: self.lock().making,
            ledger: self.clone(),
        }
    }

    /// A timer that is recorded while a task waits for it.
    pub fn timer<F>(&self, of_loop: Option<usize>, at: Duration, sleep: F) -> Timer<F> {
        Timer {
            sleep,
            at,
            of_loop,
            entry: None,
            ledger: self.clone(),
        }
    }

    /// The loop whose job is being made; `None` for a worker's.
    pub fn of_loop(&self) -> Option<usize> {
        self.lock().making
    }

    fn add_timer(&self, of_loop: usize, at: Duration) -> (usize, u64) {
        let known = &mut *self.lock();
        let entry = (of_loop, known.timers_so_far);
        known.timers_so_far += 1;
        known.timers.insert(entry, at);
        entry
    }

    /// Items that were polled at least once.
    pub fn begun(&self) -> usize {
        self.lock().begun.len()
    }

    /// Items of a loop that certainly have not ended.
    pub fn items_of(&self, of_loop: usize) -> Vec<u64> {
        let known = self.lock();
        let items = known.items.iter();
        let of_loop = items.filter(|(_, flight)| flight.of_loop == of_loop);
        let certain = of_loop.filter(|(_, flight)| flight.whereabouts != Whereabouts::Unknown);
        certain.map(|(index, _)| *index).collect()
    }

    /// I15: checks that a wait of this loop is no shorter and no longer than it must be: until the
    /// first of the deadlines and timers of its items, unless something else that the caller knows
    /// comes first. Of that, `bound` has to end the wait, and `explains` says whether a given time may
    /// end it; its second argument says whether all items of the loop have certainly ended.
    ///
    /// A loop has handled everything that is already due in the turn before the wait.
    pub fn check_wait(
        &self,
        of_loop: usize,
        until: Option<Duration>,
        timeout: Option<Duration>,
        now: Duration,
        bound: Option<Duration>,
        explains: impl Fn(Duration, bool) -> bool,
    ) {
        let known = &mut *self.lock();
        if let Some(timeout) = timeout {
            // Their deadlines have ended them, on a worker or not.
            let is_over = |flight: &Flight| {
                flight.whereabouts != Whereabouts::Loop && flight.begun_at + timeout <= now
            };
            known.items.retain(|_, flight| !is_over(flight));
        }
        let own = || known.items.values().filter(|f| f.of_loop == of_loop);
        let deadlines = |f: &Flight| timeout.map(|timeout| f.begun_at + timeout);
        let certain = || own().filter(|f| f.whereabouts != Whereabouts::Unknown);
        let timers = known.timers.range((of_loop, 0)..=(of_loop, u64::MAX));
        let timers = || timers.clone().map(|(_, at)| *at);
        let supervision = own()
            .any(|f| f.whereabouts == Whereabouts::Worker)
            .then_some(now + SUPERVISION_INTERVAL);
        let must = certain()
            .filter_map(deadlines)
            .chain(timers())
            .chain(supervision)
            .chain(bound)
            .min();
        let Some(until) = until else {
            assert_eq!(must, None, "I15: it waits for ever at {now:?}");
            return;
        };
        if let Some(must) = must {
            assert!(until <= must.max(now), "I15: {until:?}, not {must:?}");
        }
        let is_explained = own().filter_map(deadlines).any(|at| at == until)
            || timers().any(|at| at == until)
            || (own().any(|f| f.whereabouts != Whereabouts::Loop)
                && until <= now + SUPERVISION_INTERVAL)
            || explains(until, certain().next().is_none());
        assert!(
            is_explained,
            "I15: nothing is due at {until:?}, now {now:?}"
        );
    }
}

pub(super) struct Making<'a>(&'a Ledger);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.lock().making = None;
    }
}

/// Records what the items of one loop do or, without a loop, those of a worker.
#[derive(Debug)]
pub struct Maker {
    of_loop: Option<usize>,
    ledger: Ledger,
}

impl Maker {
    /// Must be called when a task is first polled.
    pub(super) fn begun(&self, index: u64, now: Duration) -> Entry<'_> {
        let known = &mut *self.ledger.lock();
        if let Some(of_loop) = self.of_loop {
            known.begun.insert(index);
            let flight = Flight {
                of_loop,
                begun_at: now,
                whereabouts: Whereabouts::Loop,
            };
            known.items.insert(index, flight);
        }
        Entry {
            maker: self,
            index,
            end: None,
        }
    }
}

/// An item that has a task.
pub(super) struct Entry<'a> {
    maker: &'a Maker,
    index: u64,
    /// Whether the task has ended, and if so, whether because something was exhausted.
    end: Option<bool>,
}

impl Entry<'_> {
    pub(super) fn ended(&mut self, is_exhausted: bool) {
        self.end = Some(is_exhausted);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let is_on_loop = self.maker.of_loop.is_some();
        let Ok(mut known) = self.maker.ledger.0.lock() else {
            return;
        };
        match (is_on_loop, self.end) {
            (true, Some(_)) | (false, Some(false)) => drop(known.items.remove(&self.index)),
            (is_on_loop, end) => {
                if let Some(flight) = known.items.get_mut(&self.index) {
                    flight.whereabouts = match end {
                        None if is_on_loop => Whereabouts::Worker,
                        _ => Whereabouts::Unknown,
                    };
                }
            }
        }
    }
}

/// See [`Ledger::timer`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Timer<F> {
    sleep: F,
    at: Duration,
    of_loop: Option<usize>,
    entry: Option<(usize, u64)>,
    ledger: Ledger,
}

impl<F: Future<Output = ()> + Unpin> Future for Timer<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let poll = Pin::new(&mut self.sleep).poll(context);
        if poll.is_ready() {
            self.forget();
        } else if self.entry.is_none()
            && let Some(of_loop) = self.of_loop
        {
            self.entry = Some(self.ledger.add_timer(of_loop, self.at));
        }
        poll
    }
}

impl<F> Timer<F> {
    fn forget(&mut self) {
        if let Some(entry) = self.entry.take()
            && let Ok(mut known) = self.ledger.0.lock()
        {
            known.timers.remove(&entry);
        }
    }
}

impl<F> Drop for Timer<F> {
    fn drop(&mut self) {
        self.forget();
    }
}
