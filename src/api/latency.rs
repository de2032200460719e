//! Latencies of the inputs of a run.

use crate::stats::Latencies;
use hdrhistogram::Histogram;
use std::time::Duration;

/// The latencies of one phase of all inputs of a run: an HDR histogram in nanoseconds, from 1 ns to one hour,
/// with a precision of three decimal digits. [`Rows::latencies`](crate::Rows::latencies) returns one for
/// each phase.
///
/// ```
/// let mut rows = ringmill::hash(["Cargo.toml"; 10]).record_latencies().start()?;
/// rows.by_ref().for_each(drop);
/// let total = rows.latencies().into_iter().find(|it| it.phase() == "total").unwrap();
/// assert_eq!(total.count(), 10);
/// println!("half of them in {:?}", total.percentile(50.0));
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Latency {
    phase: &'static str,
    histogram: Histogram<u64>,
    out_of_range: u64,
}

impl Latency {
    /// The phases with values, in the order in which an input passes through them.
    pub(super) fn all(latencies: &Latencies) -> Vec<Self> {
        let measured = latencies.iter().filter_map(|(phase, latencies)| {
            Some(Self {
                phase: phase.name(),
                histogram: latencies.histogram()?.clone(),
                out_of_range: latencies.out_of_range(),
            })
        });
        measured.collect()
    }

    /// The name of the phase:
    ///
    /// - `queue`: from the pull to the first operation.
    /// - `lookup`, `open`, `read`, `stat`, `close`: one such operation.
    /// - `hash`: the hashing of what one read returned (only [`hash`](crate::hash())).
    /// - `wait`: until a server had room for the query (only `dns`).
    /// - `query`: from the query that was answered to its reply (only `dns`).
    /// - `total`: from the first operation to the end of the last.
    /// - `reorder`: from the result to its row, while it waits for earlier inputs.
    /// - `scheduled-queue`, `scheduled-total`: from the start that the [`rate`](crate::Hash::rate) sets for
    ///   the input to its first operation, and to the end of its last.
    ///
    /// ```
    /// let mut rows = ringmill::hash(["Cargo.toml"]).record_latencies().start()?;
    /// rows.by_ref().for_each(drop);
    /// assert!(rows.latencies().iter().any(|latency| latency.phase() == "hash"));
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn phase(&self) -> &'static str {
        self.phase
    }

    /// The number of latencies, [out of range](Latency::out_of_range) ones included.
    ///
    /// ```
    /// # let mut rows = ringmill::hash(["Cargo.toml"; 3]).record_latencies().start()?;
    /// # rows.by_ref().for_each(drop);
    /// # let latencies = rows.latencies(); // of a run of three files
    /// let total = latencies.iter().find(|latency| latency.phase() == "total").unwrap();
    /// assert_eq!(total.count(), 3);
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len() + self.out_of_range
    }

    /// The number of latencies above one hour. The histogram does not contain them: minimum, maximum, mean
    /// and percentiles are those of the other latencies.
    ///
    /// ```
    /// # let mut rows = ringmill::hash(["Cargo.toml"]).record_latencies().start()?;
    /// # rows.by_ref().for_each(drop);
    /// assert!(rows.latencies().iter().all(|latency| latency.out_of_range() == 0));
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn out_of_range(&self) -> u64 {
        self.out_of_range
    }

    /// The shortest latency.
    ///
    /// ```
    /// # let mut rows = ringmill::hash(["Cargo.toml"; 3]).record_latencies().start()?;
    /// # rows.by_ref().for_each(drop);
    /// assert!(rows.latencies().iter().all(|latency| latency.min() <= latency.max()));
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn min(&self) -> Duration {
        Duration::from_nanos(self.histogram.min())
    }

    /// The longest latency, up to one hour.
    ///
    /// ```
    /// # let mut rows = ringmill::hash(["Cargo.toml"; 3]).record_latencies().start()?;
    /// # rows.by_ref().for_each(drop);
    /// for latency in rows.latencies() {
    ///     println!("{}: {:?} at most", latency.phase(), latency.max());
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.histogram.max())
    }

    /// The arithmetic mean.
    ///
    /// ```
    /// # let mut rows = ringmill::hash(["Cargo.toml"; 3]).record_latencies().start()?;
    /// # rows.by_ref().for_each(drop);
    /// for latency in rows.latencies() {
    ///     println!("{}: {:?} on average", latency.phase(), latency.mean());
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.histogram.mean() / 1e9)
    }

    /// The latency that this percentage of the values does not exceed. Percentages below 0 count as 0, above
    /// 100 as 100.
    ///
    /// ```
    /// # let mut rows = ringmill::hash(["Cargo.toml"; 3]).record_latencies().start()?;
    /// # rows.by_ref().for_each(drop);
    /// for latency in rows.latencies() {
    ///     let (median, p99) = (latency.percentile(50.0), latency.percentile(99.0));
    ///     assert!(median <= p99);
    /// }
    /// # Ok::<(), ringmill::Error>(())
    /// ```
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(
            self.histogram
                .value_at_percentile(percent.clamp(0.0, 100.0)),
        )
    }
}
