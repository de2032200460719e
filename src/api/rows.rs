//! The rows of a run, one for each input, and the report on the run.

use super::error::Error;
use crate::mill::{Counters, Finished};
use crate::run::{self, End, RunError, Running, Sink, Step, Stop};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, io};
#[cfg(feature = "stream")]
use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};
#[cfg(feature = "latency")]
use {
    super::latency::Latency,
    crate::stats::{Collector, Latencies, Phase},
};

/// The result of one input.
///
/// ```
/// for row in ringmill::hash(["Cargo.toml"]).start()? {
///     let row = row?;
///     assert_eq!((row.index, row.input.to_str()), (0, Some("Cargo.toml")));
///     assert!(row.result.is_ok());
/// }
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Row<T, V> {
    /// The place of the input in the iterator, counted from 0.
    pub index: u64,
    /// The input.
    pub input: T,
    /// The value, or the error of this input.
    pub result: Result<V, Error>,
}

/// The rows of a run: an iterator that yields one [`Row`] for each input, in the order of the inputs, or as
/// they finish if the run is [`unordered`](crate::Hash::unordered). It can be sent to another thread.
///
/// An item is `Err` only if the run itself broke, and is then the last one. Without it the run is complete,
/// was [stopped](Rows::stopper), or ended at the first failure as
/// [`fail_fast`](crate::Hash::fail_fast) demands; [`Rows::report`] tells which.
///
/// The run continues in the background, as far ahead of the taken rows as its window allows. Dropping the
/// rows stops the run and waits for its threads, except for the thread that pulls the inputs: if it waits
/// for the iterator, it ends when the iterator returns.
///
/// # Panics
/// `next` resumes a panic of the iterator, after the rows of the inputs before it, and a panic of a job.
///
/// ```
/// let rows = ringmill::hash(["Cargo.toml", "no such file"]).start()?;
/// let results: Vec<bool> = rows
///     .map(|row| Ok(row?.result.is_ok()))
///     .collect::<Result<_, ringmill::Error>>()?;
/// assert_eq!(results, [true, false]);
/// # Ok::<(), ringmill::Error>(())
/// ```
pub struct Rows<T, V> {
    /// `None` after the run has ended.
    run: Option<Box<dyn RowProducer<T, V>>>,
    ready: VecDeque<Row<T, V>>,
    /// Why the run broke; yielded after the rows that are ready.
    broken: Option<Error>,
    stop: Arc<Stop>,
    report: Report,
    #[cfg(feature = "latency")]
    latencies: Option<(Arc<Collector>, Latencies)>,
}

/// No row was ready in time; there may be more. The error of [`Rows::next_timeout`].
///
/// ```
/// assert_eq!(ringmill::NotReady.to_string(), "no row was ready in time");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotReady;

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no row was ready in time")
    }
}

impl std::error::Error for NotReady {}

/// Stops a run, from any thread: no more inputs are pulled, and what is in flight is cancelled. Rows that are
/// finished and next in order are still yielded. Cheap to clone. Made by [`Rows::stopper`].
///
/// ```
/// let mut rows = ringmill::hash(std::iter::repeat("Cargo.toml")).start()?;
/// let stopper = rows.stopper();
/// rows.next().expect("it is endless")?;
/// std::thread::spawn(move || stopper.stop());
/// let more = rows.by_ref().count();
/// let report = rows.report();
/// assert_eq!(report.end, Some(ringmill::RunEnd::Stopped));
/// assert_eq!(report.taken, 1 + more as u64);
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone)]
pub struct Stopper(Arc<Stop>);

impl Stopper {
    /// Stops the run at once. Does nothing if the run was stopped before or has ended.
    ///
    /// ```
    /// let mut rows = ringmill::hash(std::iter::repeat("Cargo.toml")).start()?;
    /// rows.stopper().stop();
    /// rows.by_ref().for_each(drop); // comes to an end, though the input is endless
    /// assert_eq!(rows.report().end, Some(ringmill::RunEnd::Stopped));
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn stop(&self) {
        self.0.request();
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper")
            .field("is_stopped", &self.0.is_requested())
            .finish()
    }
}

/// The progress of a run and its limits, from [`Rows::report`].
///
/// ```
/// let rows = ringmill::hash(["Cargo.toml"]).in_flight(8).window(64).loops(1).start()?;
/// let report = rows.report();
/// assert_eq!((report.window, report.loops), (64, 1));
/// if let Some(limit) = report.limited_by_open_files {
///     eprintln!("only {} in flight: at most {limit} open files", report.in_flight_max);
/// }
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Inputs begun so far.
    pub pulled: u64,
    /// Rows taken so far.
    pub taken: u64,
    /// Inputs begun and not finished.
    pub in_flight: u64,
    /// Rows taken so far whose result is an error.
    pub failed: u64,
    /// How the run ended; `None` while it goes on.
    pub end: Option<RunEnd>,
    /// The limit on inputs in flight: [`in_flight`](crate::Hash::in_flight), or less so that it fits the
    /// window and the open files fit their limit (RLIMIT_NOFILE).
    pub in_flight_max: usize,
    /// The limit on inputs that are begun and whose rows are not taken yet.
    pub window: usize,
    /// Event loops, each on its own thread.
    pub loops: usize,
    /// True if io_uring carries out the operations, false if threads do.
    pub uses_uring: bool,
    /// Why io_uring is not available, if threads are used for that reason.
    pub uring_refused: Option<String>,
    /// The limit on open files, if it is the reason why fewer inputs are in flight than were requested, or than
    /// the default.
    pub limited_by_open_files: Option<u64>,
}

/// How a run ended, from [`Report::end`].
///
/// ```
/// let mut rows = ringmill::hash(["no such file"]).start()?;
/// rows.by_ref().for_each(drop);
/// // A failed input does not break the run.
/// assert_eq!(rows.report().end, Some(ringmill::RunEnd::Complete));
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunEnd {
    /// Every input has its row.
    Complete,
    /// It ended at the first failure, as [`fail_fast`](crate::Hash::fail_fast) demands.
    FailFast,
    /// A [`Stopper`] stopped it.
    Stopped,
    /// The run broke. Its last item was an error that says why, or the iterator or a job panicked.
    Broken,
}

impl<T, V> Rows<T, V> {
    pub(super) fn new<X, R>(running: Running<X>, to_row: R, stop: Arc<Stop>, report: Report) -> Self
    where
        X: Send + 'static,
        R: FnMut(Finished<X>) -> Row<T, V> + Send + 'static,
    {
        Self {
            run: Some(Box::new(ConvertingRun { running, to_row })),
            ready: VecDeque::new(),
            broken: None,
            stop,
            report,
            #[cfg(feature = "latency")]
            latencies: None,
        }
    }

    #[cfg(feature = "latency")]
    pub(super) fn with_latencies(
        mut self,
        collector: Option<Arc<Collector>>,
        phases: &'static [Phase],
    ) -> Self {
        self.latencies = collector.map(|collector| (collector, Latencies::new(phases)));
        self
    }

    /// The latencies of the inputs, by phase. It is empty before the run has ended, and if they were not
    /// [recorded](crate::Hash::record_latencies).
    ///
    /// ```
    /// let mut rows = ringmill::hash(["Cargo.toml"; 10]).record_latencies().start()?;
    /// rows.by_ref().for_each(drop);
    /// for latency in rows.latencies() {
    ///     println!("{}: {} times, {:?} on average", latency.phase(), latency.count(), latency.mean());
    /// }
    /// # assert!(!rows.latencies().is_empty());
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[cfg(feature = "latency")]
    #[must_use]
    pub fn latencies(&mut self) -> Vec<Latency> {
        let Some((collector, latencies)) = &mut self.latencies else {
            return Vec::new();
        };
        if self.run.is_none() {
            collector.take(latencies);
        }
        Latency::all(latencies)
    }

    /// Returns the next row, or `None` at the end. Waits no longer than `timeout`; with zero it only returns
    /// what is ready.
    ///
    /// # Errors
    /// [`NotReady`] if no row was ready in time. The error of a broken run is `Ok(Some(Err(_)))`, as it is
    /// `Some(Err(_))` from `next`.
    ///
    /// # Panics
    /// Like `next`: with the panic of the iterator or of a job.
    ///
    /// ```
    /// use ringmill::NotReady;
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let mut rows = ringmill::hash(receiver).start()?;
    /// assert!(matches!(rows.next_timeout(Duration::from_millis(1)), Err(NotReady)));
    /// sender.send("Cargo.toml").unwrap();
    /// drop(sender);
    /// assert!(rows.next().is_some());
    /// assert!(matches!(rows.next_timeout(Duration::from_secs(60)), Ok(None)));
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    pub fn next_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<<Self as Iterator>::Item>, NotReady> {
        // If the deadline overflows, there is none.
        self.next_until(Instant::now().checked_add(timeout))
    }

    /// Returns a handle that stops the run from any thread.
    ///
    /// ```
    /// let mut rows = ringmill::hash(std::iter::repeat("Cargo.toml")).start()?;
    /// let stopper = rows.stopper();
    /// for row in rows.by_ref() {
    ///     if row?.index == 10 {
    ///         stopper.stop();
    ///     }
    /// }
    /// assert!(rows.report().taken > 10);
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Returns the present progress of the run, and its limits.
    ///
    /// ```
    /// let mut rows = ringmill::hash(["Cargo.toml"]).in_flight(8).start()?;
    /// assert_eq!(rows.report().end, None);
    /// rows.by_ref().for_each(drop);
    /// let report = rows.report();
    /// assert_eq!((report.pulled, report.taken, report.failed), (1, 1, 0));
    /// assert_eq!(report.end, Some(ringmill::RunEnd::Complete));
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = self.report.clone();
        if let Some(run) = &self.run {
            report.count(run.counters());
        }
        report
    }

    fn next_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<<Self as Iterator>::Item>, NotReady> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                self.report.taken += 1;
                self.report.failed += u64::from(row.result.is_err());
                return Ok(Some(Ok(row)));
            }
            let Some(run) = &mut self.run else {
                return Ok(self.broken.take().map(Err));
            };
            let timeout = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            match run.step(&mut self.ready, &self.stop, timeout) {
                Step::Emitted => {}
                Step::Nothing if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Err(NotReady);
                }
                Step::Nothing => {}
                Step::Ended(end) => self.end(end),
            }
        }
    }

    /// Ends the run. No rows follow those in `ready`, only the error if the run broke.
    fn end(&mut self, end: End) {
        let run = self.run.take().expect("a run ends once");
        // For the case that `finish` panics.
        self.report.end = Some(RunEnd::Broken);
        self.report.count(run.counters());
        match run.finish(end) {
            Err(error) => self.broken = Some(error.into()),
            Ok(ended) => {
                self.report.count(ended.counters);
                self.broken = ended.input_error.map(Error::from);
                if self.broken.is_none() {
                    self.report.end = Some(RunEnd::of(&ended.end));
                }
            }
        }
    }
}

impl<T, V> Iterator for Rows<T, V> {
    type Item = Result<Row<T, V>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_until(None);
        next.expect("without a deadline, it waits for a row or the end")
    }
}

impl<T, V> std::iter::FusedIterator for Rows<T, V> {}

/// Nothing in it is ever pinned.
impl<T, V> Unpin for Rows<T, V> {}

/// The same rows, for an async runtime. Only the poll that ends the run blocks: it waits for the threads of
/// the run to end.
#[cfg(feature = "stream")]
impl<T, V> futures_core::Stream for Rows<T, V> {
    type Item = Result<Row<T, V>, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Ok(next) = this.next_timeout(Duration::ZERO) {
            return Poll::Ready(next);
        }
        if let Some(run) = &this.run {
            run.set_waker(context.waker());
        }
        // A row may have become ready before the waker was set.
        let next = this.next_timeout(Duration::ZERO);
        next.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T, V> fmt::Debug for Rows<T, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("report", &self.report())
            .finish_non_exhaustive()
    }
}

impl Report {
    fn count(&mut self, counters: Counters) {
        self.pulled = counters.pulled;
        self.in_flight = counters.in_flight;
    }
}

impl RunEnd {
    fn of(end: &End) -> Self {
        match end {
            End::Complete => Self::Complete,
            End::FailFast => Self::FailFast,
            End::Interrupted => Self::Stopped,
            End::Output(_) => Self::Broken,
        }
    }
}

/// A run, without the type of its job's results.
trait RowProducer<T, V>: Send {
    /// Appends the rows that are ready. Waits for the first no longer than `timeout`.
    fn step(&mut self, rows: &mut VecDeque<Row<T, V>>, stop: &Stop, timeout: Duration) -> Step;

    #[cfg(feature = "stream")]
    fn set_waker(&self, waker: &Waker);

    fn counters(&self) -> Counters;

    fn finish(self: Box<Self>, end: End) -> Result<run::Report, RunError>;
}

/// A run, and the function that makes its results rows.
struct ConvertingRun<X: Send + 'static, R> {
    running: Running<X>,
    to_row: R,
}

impl<T, V, X, R> RowProducer<T, V> for ConvertingRun<X, R>
where
    X: Send + 'static,
    R: FnMut(Finished<X>) -> Row<T, V> + Send,
{
    fn step(&mut self, rows: &mut VecDeque<Row<T, V>>, stop: &Stop, timeout: Duration) -> Step {
        let to_row = &mut self.to_row;
        let step = (self.running).step(&mut RowSink { rows, to_row }, stop, timeout);
        step.unwrap_or_else(|error| Step::Ended(End::Output(error)))
    }

    #[cfg(feature = "stream")]
    fn set_waker(&self, waker: &Waker) {
        self.running.set_waker(waker);
    }

    fn counters(&self) -> Counters {
        self.running.counters()
    }

    fn finish(self: Box<Self>, end: End) -> Result<run::Report, RunError> {
        self.running.finish(end)
    }
}

/// Converts results to rows.
struct RowSink<'a, T, V, R> {
    rows: &'a mut VecDeque<Row<T, V>>,
    to_row: &'a mut R,
}

impl<T, V, X, R: FnMut(Finished<X>) -> Row<T, V>> Sink<X> for RowSink<'_, T, V, R> {
    fn result(&mut self, finished: Finished<X>) -> io::Result<()> {
        self.rows.push_back((self.to_row)(finished));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
