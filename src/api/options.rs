//! What all builders have in common.

use super::error::Error;
use super::rows::{Report, Row, Rows};
use crate::jobs::Job;
use crate::mill::{Finished, RATES_PER_S};
use crate::run::{Descriptors, EngineKind, Plan, Running, Stop, Wishes};
use crate::source::Source;
#[cfg(feature = "latency")]
use crate::{
    clock,
    stats::{Collector, Detail},
};
use std::sync::Arc;

/// What has been said of how to run.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) wishes: Wishes,
    pub(super) raises_limit: bool,
    #[cfg(feature = "latency")]
    pub(super) records_latencies: bool,
}

impl Options {
    pub(super) fn new(items_hold_files: bool) -> Self {
        Self {
            wishes: Wishes::new(items_hold_files),
            raises_limit: false,
            #[cfg(feature = "latency")]
            records_latencies: false,
        }
    }

    /// Starts a run of the job that `job` makes once there is a plan.
    ///
    /// # Errors
    /// If a number is 0 that must not be, or a run cannot be had.
    pub(super) fn start<J, S, R, T, V>(
        &self,
        job: impl FnOnce(&Plan, &Descriptors) -> Result<J, Error>,
        source: S,
        to_row: R,
    ) -> Result<Rows<T, V>, Error>
    where
        J: Job,
        S: Source,
        R: FnMut(Finished<J::Value>) -> Row<T, V> + Send + 'static,
    {
        self.check()?;
        let descriptors = match self.raises_limit {
            true => Descriptors::raise(),
            false => Descriptors::now(),
        };
        let fitted = self.wishes.fit(&descriptors)?;
        #[allow(
            unused_mut,
            reason = "nothing is added where latencies cannot be recorded"
        )]
        let mut plan = fitted.plan;
        #[cfg(feature = "latency")]
        if self.records_latencies {
            clock::calibrate();
            plan.latencies = Some(Collector::new(J::PHASES, Detail::Phases, None));
        }
        let job = Arc::new(job(&plan, &descriptors)?);
        let stop = Arc::new(Stop::default());
        let report = Report {
            pulled: 0,
            taken: 0,
            in_flight: 0,
            failed: 0,
            end: None,
            in_flight_max: plan.in_flight,
            window: plan.window,
            loops: plan.loops,
            uses_uring: plan.engine == EngineKind::Uring,
            uring_refused: fitted.refusal.map(|refusal| refusal.to_string()),
            limited_by_open_files: fitted.limited_by_open_files,
        };
        let running = Running::start(&plan, &job, source, &stop);
        let running = running
            .map_err(|(_, error)| Error::start(format_args!("cannot start a thread: {error}")))?;
        let rows = Rows::new(running, to_row, stop, report);
        #[cfg(feature = "latency")]
        let rows = rows.with_latencies(plan.latencies, J::PHASES);
        Ok(rows)
    }

    fn check(&self) -> Result<(), Error> {
        let wishes = &self.wishes;
        let counts = [
            ("in_flight", wishes.in_flight),
            ("window", wishes.window),
            ("loops", wishes.loops),
            ("io_workers", wishes.io_workers),
        ];
        let zero = counts.iter().find(|(_, count)| *count == Some(0));
        if let Some((name, _)) = zero {
            return Err(Error::start(format_args!(
                "{name} is 0, and must be 1 or more"
            )));
        }
        check_rate("rate", wishes.rate_per_s)
    }
}

/// Refuses a rate that cannot be kept.
pub(super) fn check_rate(name: &str, rate_per_s: Option<f64>) -> Result<(), Error> {
    match rate_per_s {
        Some(rate) if !RATES_PER_S.contains(&rate) => {
            let (min, max) = (RATES_PER_S.start(), RATES_PER_S.end());
            let message = format_args!("{name} is {rate}, and must be from {min} to {max}");
            Err(Error::start(message))
        }
        _ => Ok(()),
    }
}

/// The options of every builder, which has them in `options`.
macro_rules! common_options {
    () => {
        /// Inputs in flight at most, all loops together: 1 or more. The default is 512 where each holds a
        /// file, otherwise 8,192; or as many as the limit on open files allows
        /// ([`Report::limited_by_open_files`](crate::Report::limited_by_open_files)).
        pub fn in_flight(mut self, in_flight: usize) -> Self {
            self.options.wishes.in_flight = Some(in_flight);
            self
        }

        /// Inputs between their pull from the iterator and the taking of their rows, at most: 1 or more.
        /// The default is 16 times as many as are in flight where each holds a file, otherwise 196,608 or
        /// as many as take 30 MiB. A slow input in front of quick ones fills the window, and is then all
        /// that goes on.
        pub fn window(mut self, window: usize) -> Self {
            self.options.wishes.window = Some(window);
            self
        }

        /// Event loops, each on its own thread: 1 or more. The default is the number of processors this
        /// process may use.
        pub fn loops(mut self, loops: usize) -> Self {
            self.options.wishes.loops = Some(loops);
            self
        }

        /// Threads for calls that block, for each mounted file system, all loops together: 1 or more. The
        /// default is 64; they are started as they are needed.
        pub fn io_workers(mut self, io_workers: usize) -> Self {
            self.options.wishes.io_workers = Some(io_workers);
            self
        }

        /// Gives rows as they are done, not in the order of the inputs. Their indexes tell which is which.
        pub fn unordered(mut self) -> Self {
            self.options.wishes.order = $crate::mill::Order::Completion;
            self
        }

        /// Ends the run at the first failure in the order of the rows: its row is the last.
        pub fn fail_fast(mut self) -> Self {
            self.options.wishes.fail_fast = true;
            self
        }

        /// Inputs to start per second, at most, on a schedule: from 0.001 to 1,000,000,000. What was late is
        /// made up for. By default, as many as can be.
        pub fn rate(mut self, per_second: f64) -> Self {
            self.options.wishes.rate_per_s = Some(per_second);
            self
        }

        /// What carries out the operations. By default io_uring, or threads where it is not to be had.
        pub fn engine(mut self, engine: $crate::Engine) -> Self {
            self.options.wishes.engine = engine;
            self
        }

        /// Raises this process's limit on open files (RLIMIT_NOFILE) to the highest that it may set
        /// itself, for good. By default a run fits into the limit as it is.
        pub fn raise_open_files_limit(mut self) -> Self {
            self.options.raises_limit = true;
            self
        }

        /// Records how long inputs take, for [`Rows::latencies`](crate::Rows::latencies). That takes time
        /// itself, some tens of nanoseconds for each phase of an input.
        #[cfg(feature = "latency")]
        pub fn record_latencies(mut self) -> Self {
            self.options.records_latencies = true;
            self
        }
    };
}

/// The time for an item, of builders that leave it to the loops.
macro_rules! timeout_option {
    () => {
        /// The time for an input, from its first operation: an input that takes longer is given up, and
        /// its row is an error of the kind [`TimedOut`](crate::ErrorKind::TimedOut). By default there is
        /// no such limit.
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options.wishes.timeout = Some(timeout);
            self
        }
    };
}

pub(super) use {common_options, timeout_option};
