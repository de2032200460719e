//! Counts of what is emitted.

use super::units::{HumanTime, noun};
use super::{Latencies, Phase};
use indicatif::{HumanBytes, HumanCount};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The number of failures by errno name or, if there is none, by a word for the cause.
pub type FailedByCause = BTreeMap<String, u64>;

/// Counts what is emitted.
#[derive(Debug)]
pub struct Summary {
    started_at: Instant,
    /// The number of results, failures included.
    pub items: u64,
    /// The number of failures.
    pub failed: u64,
    /// The number of failures by errno name or, if there is none, by a word for the cause.
    pub failed_by_cause: FailedByCause,
    /// Bytes hashed.
    pub bytes: u64,
}

impl Summary {
    /// An empty summary, whose time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started_at: Instant::now(),
            items: 0,
            failed: 0,
            failed_by_cause: FailedByCause::new(),
            bytes: 0,
        }
    }

    /// Counts a result: its bytes, or a word for why it failed.
    pub fn count(&mut self, result: Result<u64, String>) {
        self.items += 1;
        match result {
            Ok(bytes) => self.bytes += bytes,
            Err(cause) => {
                self.failed += 1;
                *self.failed_by_cause.entry(cause).or_default() += 1;
            }
        }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self, latencies: &Latencies) -> String {
        let seconds = self.elapsed().as_secs_f64().max(1e-9);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let (items_per_s, bytes_per_s) = (
            (self.items as f64 / seconds) as u64,
            (self.bytes as f64 / seconds) as u64,
        );
        let counts = format!(
            "{} {}, {} failed, {} in {seconds:.2} s ({} items/s, {}/s)",
            HumanCount(self.items),
            noun(self.items, "item", "items"),
            HumanCount(self.failed),
            HumanBytes(self.bytes),
            HumanCount(items_per_s),
            HumanBytes(bytes_per_s),
        );
        let Some(total) = latencies.get(Phase::TOTAL).histogram() else {
            return counts;
        };
        format!(
            "{counts}; per item p50 {}, p99 {}, max {}",
            HumanTime(total.value_at_quantile(0.5)),
            HumanTime(total.value_at_quantile(0.99)),
            HumanTime(total.max()),
        )
    }
}

impl Default for Summary {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Errno, ItemError, Operation};

    #[test]
    fn one_item_is_not_several() {
        let mut summary = Summary::new();
        summary.count(Ok(10));
        let line = summary.line(&Latencies::new(Phase::COMMON));
        assert!(line.starts_with("1 item, 0 failed, 10 B in "), "{line}");
    }

    #[test]
    fn the_line_names_counts_and_percentiles() {
        let mut summary = Summary::new();
        let mut latencies = Latencies::new(Phase::COMMON);
        for latency_us in 1..=100 {
            summary.count(Ok(10));
            latencies.record(Phase::TOTAL, latency_us * 1000, 1);
        }
        let error = ItemError::errno(Operation::Open, Errno::new(libc::ENOENT));
        summary.count(Err(error.cause.key()));
        latencies.record(Phase::TOTAL, 5_000_000, 1);
        let line = summary.line(&latencies);
        let begin = "101 items, 1 failed, 1000 B in ";
        assert!(line.starts_with(begin), "{line}");
        let end = "per item p50 51.0 µs, p99 100 µs, max 5.00 ms";
        assert!(line.ends_with(end), "{line}");
        assert_eq!(summary.failed_by_cause["ENOENT"], 1);
    }
}
