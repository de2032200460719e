//! The threads of the event loops.

use super::descriptors::Common;
use super::event_loop::{EventLoop, LoopLimits};
use super::plan::{EngineKind, Plan};
use super::report::RunError;
use super::tasks::tasks_of;
use super::workers::{WorkerContext, Workers};
use super::{credentials, descriptors, scheduling};
use crate::error::Errno;
use crate::io::epoll::EpollCarrier;
use crate::io::uring::{Refusal, UringCarrier};
use crate::io::{Carrier, Io, IoLimits, Listings, PartWriter, WakeUp};
use crate::jobs::Job;
use crate::lock::lock;
use crate::mill::Mill;
use crate::stats::{Activity, Detail, Recorder, Stopwatch};
use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

/// The number of large buffers, all loops together.
const LARGE_BUFFERS: usize = 32;

/// Reports the end of a loop, whatever the reason. A loop that panics stops the others.
struct LoopGuard<'a, V> {
    mill: &'a Mill<V>,
    index: usize,
    ended: mpsc::Sender<LoopEnd>,
    is_stuck: Cell<bool>,
}

impl<V> Drop for LoopGuard<'_, V> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.mill.stop();
        }
        self.mill.loop_ended(self.index);
        let _no_receiver = self.ended.send(LoopEnd {
            index: self.index,
            is_stuck: self.is_stuck.get(),
        });
    }
}

/// The end of a loop.
struct LoopEnd {
    index: usize,
    /// Its thread ends only when the kernel has completed the operations it has left in the ring.
    is_stuck: bool,
}

/// The threads of the event loops, and the workers they share.
pub(super) struct Loops<V: Send + 'static> {
    mill: Arc<Mill<V>>,
    /// By the loops' indexes.
    threads: HashMap<usize, JoinHandle<()>>,
    ends: mpsc::Receiver<LoopEnd>,
    /// One for each loop. All are made before the first loop starts, so that each loop's descriptor
    /// table has all of them: a loop that fails wakes the others. They are kept until the last loop has
    /// ended: if one loop closed them, they would stay open in the other tables.
    wake_ups: Vec<Result<Arc<WakeUp>, Errno>>,
    workers: Arc<Workers<V>>,
    listings: Arc<Listings>,
    /// The descriptors that all tables have, if each loop is to have its own table.
    common: Option<Common>,
    facts: Arc<Mutex<Facts>>,
}

/// What the loops report about themselves.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) engine: String,
    pub(super) fell_back: Option<Refusal>,
    pub(super) activity: Activity,
    failure: Option<RunError>,
}

impl<V: Send + 'static> Loops<V> {
    pub(super) fn start<J: Job<Value = V>>(
        plan: &Plan,
        job: &Arc<J>,
        mill: &Arc<Mill<V>>,
    ) -> io::Result<Self> {
        let wake_ups: Vec<_> = std::iter::repeat_with(WakeUp::new)
            .take(plan.loops)
            .collect();
        let common = Common::new(wake_ups.iter().flatten().map(|wake_up| wake_up.as_fd()));
        let common = plan.separate_descriptors.then_some(common);
        let (ended, ends) = mpsc::channel();
        let mut loops = Self {
            mill: Arc::clone(mill),
            threads: HashMap::new(),
            ends,
            wake_ups,
            workers: new_workers(plan, job, mill, plan.io_workers, common.clone()),
            common,
            listings: Listings::new(),
            facts: Arc::default(),
        };
        for index in 0..plan.loops {
            let (job, mill) = (Arc::clone(job), Arc::clone(mill));
            match loops.start_one(index, plan.clone(), job, mill, ended.clone()) {
                Ok(()) => {}
                // One loop is enough for the whole run, only slower.
                Err(_) if index > 0 => loops.mill.loop_ended(index),
                Err(error) => return Err(error),
            }
        }
        Ok(loops)
    }

    fn start_one<J: Job<Value = V>>(
        &mut self,
        index: usize,
        plan: Plan,
        job: Arc<J>,
        mill: Arc<Mill<V>>,
        ended: mpsc::Sender<LoopEnd>,
    ) -> io::Result<()> {
        let facts = Arc::clone(&self.facts);
        let wake_up = self.wake_ups[index].clone();
        let workers = Arc::clone(&self.workers);
        let listings = Arc::clone(&self.listings);
        let common = self.common.clone();
        let thread = std::thread::Builder::new().name(format!("ringmill-loop{index}"));
        let thread = thread.spawn(move || {
            let guard = LoopGuard {
                mill: &mill,
                index,
                ended,
                is_stuck: Cell::new(false),
            };
            credentials::separate();
            if J::WAITS_FOR_REPLIES {
                scheduling::wait_for_turn();
            }
            if common.is_some_and(|common| common.separate())
                && let Ok(wake_up) = &wake_up
            {
                let in_flight = share(plan.in_flight, plan.loops, index);
                descriptors::make_room(wake_up.as_fd(), in_flight);
            }
            let carrier = carrier(index, &plan, wake_up, listings, &facts);
            let end = carrier.and_then(|carrier| {
                if index == 0 {
                    lock(&facts).engine = carrier.describe();
                }
                let mut event_loop = event_loop(index, &plan, &*job, &mill, &workers, carrier);
                let end = event_loop.run().map_err(RunError::Engine);
                guard.is_stuck.set(!event_loop.close());
                lock(&facts).activity += event_loop.activity();
                end
            });
            if let Err(error) = end {
                lock(&facts).failure.get_or_insert(error);
                mill.stop();
            }
        })?;
        self.threads.insert(index, thread);
        Ok(())
    }

    pub(super) fn join(mut self) -> Result<Facts, RunError> {
        if let Err(panic) = self.join_threads() {
            std::panic::resume_unwind(panic);
        }
        self.workers.close();
        let mut facts = std::mem::take(&mut *lock(&self.facts));
        match facts.failure.take() {
            Some(error) => Err(error),
            None => Ok(facts),
        }
    }
}

impl<V: Send + 'static> Loops<V> {
    /// Waits for all threads except those that are stuck; returns the first panic among them.
    fn join_threads(&mut self) -> std::thread::Result<()> {
        let mut result = Ok(());
        while !self.threads.is_empty() {
            let end = self.ends.recv().expect("each loop reports its end");
            let thread = self
                .threads
                .remove(&end.index)
                .expect("each loop ends once");
            if !end.is_stuck {
                result = result.and(thread.join());
            }
        }
        result
    }
}

impl<V: Send + 'static> Drop for Loops<V> {
    /// No loop outlives the run, even if the caller panics.
    fn drop(&mut self) {
        self.mill.stop();
        let _ = self.join_threads();
    }
}

/// The part of `total` that one of `shares` equal shares gets, at least 1.
fn share(total: usize, shares: usize, index: usize) -> usize {
    (total / shares + usize::from(index < total % shares)).max(1)
}

/// Workers for a run, up to `workers_max` threads.
pub(super) fn new_workers<J: Job>(
    plan: &Plan,
    job: &Arc<J>,
    mill: &Arc<Mill<J::Value>>,
    workers_max: usize,
    common: Option<Common>,
) -> Arc<Workers<J::Value>> {
    let (job, latencies) = (Arc::clone(job), plan.latencies.clone());
    let mill = Arc::clone(mill);
    let has_deadline = plan.timeout.is_some();
    Workers::new(plan.loops, workers_max, common, move |has_own_table| {
        let recorder = Recorder::new(latencies.clone());
        let times_items = has_deadline || recorder.records(Detail::Totals);
        let writer = Arc::clone(&mill) as Arc<dyn PartWriter>;
        WorkerContext::new(&*job, recorder, times_items, has_own_table).writing_to(writer)
    })
}

/// The event loop with this index, with its share of the plan's limits.
pub(super) fn event_loop<J: Job>(
    index: usize,
    plan: &Plan,
    job: &J,
    mill: &Arc<Mill<J::Value>>,
    workers: &Arc<Workers<J::Value>>,
    carrier: Box<dyn Carrier>,
) -> EventLoop<J::Value> {
    let in_flight = share(plan.in_flight, plan.loops, index);
    let limits = IoLimits {
        in_flight,
        large_buffers: share(LARGE_BUFFERS, plan.loops, index),
        parked: share(plan.parked, plan.loops, index),
    };
    let recorder = Recorder::new(plan.latencies.clone());
    let io = Io::new(
        carrier,
        limits,
        Stopwatch::new(recorder, plan.timeout.is_some()),
    );
    let tasks = tasks_of(job, &io);
    let limits = LoopLimits {
        in_flight,
        timeout: plan.timeout,
    };
    let (mill, workers) = (Arc::clone(mill), Arc::clone(workers));
    EventLoop::new(index, mill, io, tasks, workers, limits)
}

/// The carrier of a loop: the engine of the plan, or epoll(7) if it may fall back to that.
fn carrier(
    index: usize,
    plan: &Plan,
    wake_up: Result<Arc<WakeUp>, Errno>,
    listings: Arc<Listings>,
    facts: &Mutex<Facts>,
) -> Result<Box<dyn Carrier>, RunError> {
    let wake_up = wake_up.map_err(|errno| RunError::Engine(errno.into()))?;
    if plan.engine == EngineKind::Uring {
        // Each item has one operation outstanding, or several reads, whose number the buffers limit.
        let in_flight = share(plan.in_flight, plan.loops, index);
        let outstanding_max = in_flight + share(LARGE_BUFFERS, plan.loops, index);
        let workers = share(plan.io_workers, plan.loops, index);
        let (wake_up, listings) = (Arc::clone(&wake_up), Arc::clone(&listings));
        match UringCarrier::new(plan.loops, outstanding_max, workers, wake_up, listings) {
            Ok(carrier) => return Ok(Box::new(carrier)),
            Err(refusal) if plan.may_fall_back => {
                lock(facts).fell_back.get_or_insert(refusal);
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(Box::new(EpollCarrier::new(wake_up, listings)))
}
