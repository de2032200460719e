//! What a run gives: one row for each input.

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

/// What came of one input.
#[derive(Debug)]
#[non_exhaustive]
pub struct Row<T, V> {
    /// The input's place, counted from 0.
    pub index: u64,
    /// The input.
    pub input: T,
    /// Its value, or why it has none.
    pub result: Result<V, Error>,
}

/// The rows of a run: an iterator that gives one row for each input, in the order of the inputs (or as
/// they are done, if the run is [`unordered`](crate::Hash::unordered)), and can be sent to another thread.
///
/// An item is `Err` only if the run itself broke: it is then the last, and a run without one is complete,
/// or ended because it was [stopped](Rows::stopper) or told to at the first failure. [`Rows::report`] says
/// which.
///
/// The run goes on by itself, as far ahead of what was taken as its window allows. Dropping the rows stops
/// it and waits for its threads, but for the one that pulls the inputs, which ends after the input that it
/// waits for.
///
/// # Panics
/// `next` panics if the iterator of the inputs or a job has, with their panic, after the rows of earlier
/// inputs.
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
    /// Until it has ended.
    run: Option<Box<dyn Run<T, V>>>,
    ready: VecDeque<Row<T, V>>,
    /// Why it broke, for after the rows that are ready.
    broken: Option<Error>,
    stop: Arc<Stop>,
    report: Report,
    #[cfg(feature = "latency")]
    latencies: Option<(Arc<Collector>, Latencies)>,
}

/// There was no row in time, and there may be more ([`Rows::next_timeout`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotReady;

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no row was ready in time")
    }
}

impl std::error::Error for NotReady {}

/// Stops a run from anywhere: inputs are pulled no more, and what is in flight is given up. Rows that are
/// done and next in order still come. Cheap to clone.
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
    /// Stops the run, at once.
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

/// How far a run is, and how it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Inputs pulled from the iterator and begun.
    pub pulled: u64,
    /// Rows taken.
    pub taken: u64,
    /// Inputs begun and not done.
    pub in_flight: u64,
    /// Rows taken whose result is an error.
    pub failed: u64,
    /// How it ended; `None` until it has.
    pub end: Option<RunEnd>,
    /// The most that are in flight at a time: what was asked for, or less, so that the open files stay
    /// within the limit (RLIMIT_NOFILE).
    pub in_flight_max: usize,
    /// The most that are between their pull and the taking of their rows.
    pub window: usize,
    /// Event loops, each on its own thread.
    pub loops: usize,
    /// Whether io_uring or plain threads carry out the operations.
    pub uses_uring: bool,
    /// Why threads do, if io_uring could have, but is not to be had.
    pub uring_refused: Option<String>,
    /// The limit on open files, if that is why fewer are in flight than were asked for.
    pub limited_by_open_files: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunEnd {
    /// Every input has its row.
    Complete,
    /// An input failed, and the run was told to end at the first that does.
    FailFast,
    /// It was stopped.
    Stopped,
    /// It broke; the last item was an error that says why.
    Broken,
}

impl<T, V> Rows<T, V> {
    pub(super) fn new<X, R>(running: Running<X>, to_row: R, stop: Arc<Stop>, report: Report) -> Self
    where
        X: Send + 'static,
        R: FnMut(Finished<X>) -> Row<T, V> + Send + 'static,
    {
        Self {
            run: Some(Box::new(Converted { running, to_row })),
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

    /// How long inputs took, by phase, if that was recorded. All is there when the run has ended; before, it
    /// is empty.
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

    /// The next row, waiting for it no longer than this; `None` at the end.
    ///
    /// # Errors
    /// [`NotReady`] if there was no row in time. A run that broke is `Ok(Some(Err(_)))`, as from `next`.
    ///
    /// # Panics
    /// As `next` does.
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
        // One that is too far off to be told is never reached.
        self.next_until(Instant::now().checked_add(timeout))
    }

    /// What stops the run from anywhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// How far the run is, now.
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

    /// What is ready is the last there is, but for why it broke.
    fn end(&mut self, end: End) {
        let run = self.run.take().expect("it ends once");
        // It has, if a panic comes of this.
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
        next.expect("without a deadline, it waits until there is one")
    }
}

impl<T, V> std::iter::FusedIterator for Rows<T, V> {}

/// Nothing in it is pinned.
impl<T, V> Unpin for Rows<T, V> {}

/// The same rows, for an async runtime. Only the last call waits for anything: for the threads of the run
/// to end.
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
        // Something may have come before that.
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

/// A run under way, whatever its job gives.
trait Run<T, V>: Send {
    /// Adds rows that are ready, waiting for the first no longer than `timeout`.
    fn step(&mut self, rows: &mut VecDeque<Row<T, V>>, stop: &Stop, timeout: Duration) -> Step;

    #[cfg(feature = "stream")]
    fn set_waker(&self, waker: &Waker);

    fn counters(&self) -> Counters;

    fn finish(self: Box<Self>, end: End) -> Result<run::Report, RunError>;
}

/// A run whose results become rows.
struct Converted<X: Send + 'static, R> {
    running: Running<X>,
    to_row: R,
}

impl<T, V, X, R> Run<T, V> for Converted<X, R>
where
    X: Send + 'static,
    R: FnMut(Finished<X>) -> Row<T, V> + Send,
{
    fn step(&mut self, rows: &mut VecDeque<Row<T, V>>, stop: &Stop, timeout: Duration) -> Step {
        let to_row = &mut self.to_row;
        let step = (self.running).step(&mut Ready { rows, to_row }, stop, timeout);
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

/// Where results become rows.
struct Ready<'a, T, V, R> {
    rows: &'a mut VecDeque<Row<T, V>>,
    to_row: &'a mut R,
}

impl<T, V, X, R: FnMut(Finished<X>) -> Row<T, V>> Sink<X> for Ready<'_, T, V, R> {
    fn result(&mut self, finished: Finished<X>) -> io::Result<()> {
        self.rows.push_back((self.to_row)(finished));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
