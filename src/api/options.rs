//! The options that all builders share.

use super::error::Error;
use super::rows::{Report, Row, Rows};
use crate::jobs::Job;
use crate::mill::{Finished, RATES_PER_S};
use crate::run::{Descriptors, EngineKind, Plan, PlanRequest, Running, Stop};
use crate::source::Source;
#[cfg(feature = "latency")]
use crate::{
    clock,
    stats::{Collector, Detail},
};
use std::sync::Arc;

/// The options of a run, as they were set on a builder.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) request: PlanRequest,
    pub(super) raises_limit: bool,
    #[cfg(feature = "latency")]
    pub(super) records_latencies: bool,
}

impl Options {
    pub(super) fn new(items_hold_files: bool) -> Self {
        Self {
            request: PlanRequest::new(items_hold_files),
            raises_limit: false,
            #[cfg(feature = "latency")]
            records_latencies: false,
        }
    }

    /// Starts a run. `job` makes its job from the plan and the free descriptors.
    ///
    /// # Errors
    /// If an option is out of its range, or the run cannot start.
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
        let fitted = self.request.fit(&descriptors)?;
        #[allow(unused_mut, reason = "it is changed only with the feature `latency`")]
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
        let request = &self.request;
        let counts = [
            ("in_flight", request.in_flight),
            ("window", request.window),
            ("loops", request.loops),
            ("io_workers", request.io_workers),
        ];
        let zero = counts.iter().find(|(_, count)| *count == Some(0));
        if let Some((name, _)) = zero {
            return Err(Error::start(format_args!(
                "{name} is 0, and must be 1 or more"
            )));
        }
        check_rate("rate", request.rate_per_s)
    }
}

/// Refuses a rate that is out of range.
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

/// The methods that all builders share. Each builder keeps the values in its field `options`.
macro_rules! common_options {
    () => {
        /// Sets the limit on inputs in flight, for all event loops together: 1 or more.
        ///
        /// The default is 512 for [`hash`](crate::hash()) and [`run`](crate::run()), whose inputs may each
        /// hold a file open, and 8,192 for `dns`. Fewer are in flight if the window is smaller, or if inputs
        /// hold files and the limit on open files (RLIMIT_NOFILE) is too low
        /// ([`Report::limited_by_open_files`](crate::Report::limited_by_open_files)).
        ///
        /// With 0, `start` returns an error.
        ///
        /// ```
        /// let rows = ringmill::hash(["Cargo.toml"]).in_flight(4).start()?;
        /// assert!(rows.report().in_flight_max <= 4);
        ///
        /// let error = ringmill::hash(["Cargo.toml"]).in_flight(0).start().unwrap_err();
        /// assert_eq!(error.kind(), ringmill::ErrorKind::Start);
        /// # Ok::<(), ringmill::Error>(())
        /// ```
        pub fn in_flight(mut self, in_flight: usize) -> Self {
            self.options.request.in_flight = Some(in_flight);
            self
        }

        /// Sets the window: the limit on inputs that are begun and whose rows are not taken yet, 1 or more.
        ///
        /// A slow input at the head of the order lets later inputs run until the window is full; then no
        /// input is begun until the head is done. Besides the window, up to 1,024 inputs may have been
        /// pulled from the iterator and wait in a queue to be begun.
        ///
        /// The default for [`hash`](crate::hash()) and [`run`](crate::run()) is 16 times the limit in flight.
        /// For `dns` it is 196,608, and no input is begun while the finished rows take more than 30 MiB.
        ///
        /// With 0, `start` returns an error.
        ///
        /// ```
        /// let rows = ringmill::hash(["Cargo.toml"; 10]).in_flight(4).window(8).start()?;
        /// assert_eq!(rows.report().window, 8);
        /// assert_eq!(rows.count(), 10);
        /// # Ok::<(), ringmill::Error>(())
        /// ```
        pub fn window(mut self, window: usize) -> Self {
            self.options.request.window = Some(window);
            self
        }

        /// Sets the number of event loops, each on its own thread: 1 or more.
        ///
        /// The default is the number of processors that this process may use. There are fewer if the window
        /// or the limit on open files leaves no room for so many.
        ///
        /// With 0, `start` returns an error.
        ///
        /// ```
        /// let rows = ringmill::hash(["Cargo.toml"]).loops(1).start()?;
        /// assert_eq!(rows.report().loops, 1);
        /// # Ok::<(), ringmill::Error>(())
        /// ```
        pub fn loops(mut self, loops: usize) -> Self {
            self.options.request.loops = Some(loops);
            self
        }

        /// Sets the limit on threads for calls that block: 1 or more. The limit applies to each mounted file
        /// system and all event loops together.
        ///
        /// The default is 64. The threads are started when they are needed.
        ///
        /// With 0, `start` returns an error.
        ///
        /// ```
        /// // Calls on procfs may block.
        /// let rows = ringmill::hash(["/proc/self/comm"]).io_workers(2).start()?;
        /// assert_eq!(rows.count(), 1);
        /// # Ok::<(), ringmill::Error>(())
        /// ```
        pub fn io_workers(mut self, io_workers: usize) -> Self {
            self.options.request.io_workers = Some(io_workers);
            self
        }

        /// Yields rows in the order in which their inputs finish. [`Row::index`](crate::Row::index) gives the
        /// place of the input. By default rows come in the order of the inputs.
        ///
        /// ```
        /// let rows = ringmill::hash(["Cargo.toml", "src/lib.rs"]).unordered().start()?;
        /// let indexes: Result<Vec<u64>, ringmill::Error> = rows.map(|row| Ok(row?.index)).collect();
        /// let mut indexes = indexes?;
        /// indexes.sort_unstable();
        /// assert_eq!(indexes, [0, 1]);
        /// # Ok::<(), ringmill::Error>(())
        /// ```
        pub fn unordered(mut self) -> Self {
            self.options.request.order = $crate::mill::Order::Completion;
            self
        }

        /// Ends the run at the first failure in the order of the rows: the failed row is the last one, and
        /// what is in flight is cancelled. By default the run continues after failures.
        ///
        /// ```
        /// use ringmill::RunEnd;
        ///
        /// let mut rows = ringmill::hash(["Cargo.toml", "no such file", "src/lib.rs"]).fail_fast().start()?;
        /// assert_eq!(rows.by_ref().count(), 2);
        /// assert_eq!(rows.report().end, Some(RunEnd::FailFast));
        /// # Ok::<(), ringmill::Error>(())
        /// ```
        pub fn fail_fast(mut self) -> Self {
            self.options.request.fail_fast = true;
            self
        }

        /// Sets the rate at which inputs are begun, in inputs per second: from 0.001 to 1,000,000,000. By
        /// default the rate is not limited.
        ///
        /// Input number *n* is due *n* / `per_second` seconds after the first, or when it arrives if that is
        /// later. An input that starts late does not move the schedule: the inputs after it keep their times.
        ///
        /// With a rate out of range, `start` returns an error.
        ///
        /// ```
        /// use std::time::{Duration, Instant};
        ///
        /// let started_at = Instant::now();
        /// let rows = ringmill::hash(["Cargo.toml"; 3]).rate(100.0).start()?;
        /// assert_eq!(rows.count(), 3);
        /// // The third input is due 20 ms after the first.
        /// assert!(started_at.elapsed() > Duration::from_millis(19));
        /// # Ok::<(), ringmill::Error>(())
        /// ```
        pub fn rate(mut self, per_second: f64) -> Self {
            self.options.request.rate_per_s = Some(per_second);
            self
        }

        /// Sets what carries out the operations. The default is [`Engine::Auto`](crate::Engine::Auto):
        /// io_uring, or threads where io_uring is not available.
        ///
        /// ```
        /// use ringmill::Engine;
        ///
        /// let rows = ringmill::hash(["Cargo.toml"]).engine(Engine::Threads).start()?;
        /// assert!(!rows.report().uses_uring);
        /// # Ok::<(), ringmill::Error>(())
        /// ```
        pub fn engine(mut self, engine: $crate::Engine) -> Self {
            self.options.request.engine = engine;
            self
        }

        /// Raises the soft limit on open files (RLIMIT_NOFILE) of this process to its hard limit when the run
        /// starts. The limit stays raised after the run. If raising it fails, the run uses the present limit.
        /// By default the limit is not changed.
        ///
        /// ```
        /// let rows = ringmill::hash(["Cargo.toml"]).raise_open_files_limit().start()?;
        /// assert_eq!(rows.count(), 1);
        /// # Ok::<(), ringmill::Error>(())
        /// ```
        pub fn raise_open_files_limit(mut self) -> Self {
            self.options.raises_limit = true;
            self
        }

        /// Records how long inputs take, for [`Rows::latencies`](crate::Rows::latencies). Recording costs
        /// some tens of nanoseconds for each phase of an input. By default nothing is recorded.
        ///
        /// ```
        /// let mut rows = ringmill::hash(["Cargo.toml"]).record_latencies().start()?;
        /// rows.by_ref().for_each(drop);
        /// assert!(!rows.latencies().is_empty());
        /// # Ok::<(), ringmill::Error>(())
        /// ```
        #[cfg(feature = "latency")]
        pub fn record_latencies(mut self) -> Self {
            self.options.records_latencies = true;
            self
        }
    };
}

/// The timeout of an input, for builders whose timeout the event loops apply.
macro_rules! timeout_option {
    () => {
        /// Sets the time limit of each input, from its first operation. An input that takes longer is
        /// cancelled, and its row is an error of the kind [`TimedOut`](crate::ErrorKind::TimedOut), or
        /// [`NotTried`](crate::ErrorKind::NotTried) if calls that do not return kept it from being begun.
        /// By default there is no limit.
        ///
        /// ```
        /// use ringmill::{Error, ErrorKind, Io};
        /// use std::time::Duration;
        ///
        /// let wait = |io: Io, time: Duration| async move { Ok::<_, Error>(io.sleep(time).await) };
        /// let run = ringmill::run([Duration::from_secs(3600)], wait);
        /// for row in run.timeout(Duration::from_millis(10)).start()? {
        ///     assert_eq!(row?.result.unwrap_err().kind(), ErrorKind::TimedOut);
        /// }
        /// # Ok::<(), Error>(())
        /// ```
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options.request.timeout = Some(timeout);
            self
        }
    };
}

pub(super) use {common_options, timeout_option};
