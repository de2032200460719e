//! The threads of the event loops.

use super::{
    EngineKind, EventLoop, LARGE_BUFFERS, LoopLimits, Plan, RunError, credentials, descriptors,
};
use crate::engine::Engine;
use crate::engine::threads::ThreadsEngine;
use crate::engine::uring::{Refusal, UringEngine, WakeUp};
use crate::jobs::Job;
use crate::mill::Mill;
use crate::stats::{Activity, Recorder};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Says that a loop has ended, however it did. One that panics stops the others.
struct LoopGuard<'a, V>(&'a Mill<V>, usize);

impl<V> Drop for LoopGuard<'_, V> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
        self.0.loop_ended(self.1);
    }
}

/// The threads of the event loops.
pub(super) struct Loops {
    threads: Vec<JoinHandle<()>>,
    /// One for each loop that is to have a ring. All are made before the first loop starts, so that
    /// each loop's descriptor table has them: a loop that fails wakes the others. They are kept until
    /// the last has ended: closed by one of them, they would stay open in everybody else's table.
    wake_ups: Vec<Result<Arc<WakeUp>, Refusal>>,
    told: Arc<Mutex<Told>>,
}

/// What the loops tell about themselves.
#[derive(Default)]
pub(super) struct Told {
    pub(super) engine: String,
    pub(super) fell_back: Option<Refusal>,
    pub(super) activity: Activity,
    failure: Option<RunError>,
}

impl Loops {
    pub(super) fn start<J: Job>(
        plan: &Plan,
        job: &Arc<J>,
        mill: &Arc<Mill<J::Value>>,
    ) -> io::Result<Self> {
        let rings = match plan.engine {
            EngineKind::Uring => plan.loops,
            EngineKind::Threads => 0,
        };
        let mut loops = Self {
            threads: Vec::new(),
            wake_ups: std::iter::repeat_with(WakeUp::new).take(rings).collect(),
            told: Arc::default(),
        };
        for index in 0..plan.loops {
            match loops.start_one(index, plan.clone(), Arc::clone(job), Arc::clone(mill)) {
                Ok(()) => {}
                // One loop is enough to do everything, if more slowly.
                Err(_) if index > 0 => mill.loop_ended(index),
                Err(error) => return Err(error),
            }
        }
        Ok(loops)
    }

    fn start_one<J: Job>(
        &mut self,
        index: usize,
        plan: Plan,
        job: Arc<J>,
        mill: Arc<Mill<J::Value>>,
    ) -> io::Result<()> {
        let told = Arc::clone(&self.told);
        let wake_up = self.wake_ups.get(index).cloned();
        let thread = std::thread::Builder::new().name(format!("ringmill-loop{index}"));
        let thread = thread.spawn(move || {
            let _guard = LoopGuard(&mill, index);
            credentials::separate();
            if plan.separate_descriptors {
                descriptors::separate();
            }
            if let Err(error) = run_loop(index, &plan, wake_up, job, &mill, &told) {
                lock(&told).failure.get_or_insert(error);
                mill.stop();
            }
        })?;
        self.threads.push(thread);
        Ok(())
    }

    pub(super) fn join(self) -> Result<Told, RunError> {
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        let mut told = std::mem::take(&mut *lock(&self.told));
        match told.failure.take() {
            Some(error) => Err(error),
            None => Ok(told),
        }
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of `total` that falls to one of `shares`.
fn share(total: usize, shares: usize, index: usize) -> usize {
    (total / shares + usize::from(index < total % shares)).max(1)
}

fn run_loop<J: Job>(
    index: usize,
    plan: &Plan,
    wake_up: Option<Result<Arc<WakeUp>, Refusal>>,
    job: Arc<J>,
    mill: &Arc<Mill<J::Value>>,
    told: &Mutex<Told>,
) -> Result<(), RunError> {
    let limits = LoopLimits {
        in_flight: share(plan.in_flight, plan.loops, index),
        large_buffers: share(LARGE_BUFFERS, plan.loops, index),
        timeout: plan.timeout,
    };
    let workers = share(plan.io_workers, plan.loops, index);
    let describe = |text: String| {
        if index == 0 {
            lock(told).engine = text;
        }
    };
    let mill = Arc::clone(mill);
    let recorder = Recorder::new(plan.latencies.clone());
    // Each item has one operation outstanding, or some reads, which the buffers limit.
    let outstanding_max = limits.in_flight + limits.large_buffers;
    let uring = wake_up.map(|wake_up| UringEngine::new(outstanding_max, workers, wake_up?));
    let uring = match uring {
        Some(Err(refusal)) if plan.may_fall_back => {
            lock(told).fell_back.get_or_insert(refusal);
            None
        }
        other => other.transpose()?,
    };
    if let Some(engine) = uring {
        describe(engine.describe());
        let event_loop = EventLoop::new(index, mill, job, engine, limits, recorder);
        return run_to_end(event_loop, told);
    }
    let engine = ThreadsEngine::new(workers);
    describe(engine.describe());
    let event_loop = EventLoop::new(index, mill, job, engine, limits, recorder);
    run_to_end(event_loop, told)
}

fn run_to_end<J: Job, E: Engine>(
    mut event_loop: EventLoop<J, E>,
    told: &Mutex<Told>,
) -> Result<(), RunError> {
    let end = event_loop.run();
    lock(told).activity += event_loop.activity();
    end.map_err(RunError::Engine)
}
