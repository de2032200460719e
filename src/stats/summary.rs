//! Counts, and a histogram of the time per item.

use hdrhistogram::Histogram;
use indicatif::{HumanBytes, HumanCount};
use std::fmt;
use std::time::{Duration, Instant};

/// The longest latency the histogram tells apart, in nanoseconds; longer ones count as this.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Counts what is emitted.
pub struct Summary {
    started_at: Instant,
    /// Results, failures included.
    pub items: u64,
    /// Failures.
    pub failed: u64,
    /// Bytes hashed.
    pub bytes: u64,
    latency_ns: Histogram<u64>,
}

impl Summary {
    /// A summary of nothing, as of now.
    #[must_use]
    pub fn new() -> Self {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
        Self {
            started_at: Instant::now(),
            items: 0,
            failed: 0,
            bytes: 0,
            latency_ns: latency_ns.expect("the bounds are valid"),
        }
    }

    /// Counts a result. `bytes` is `None` for a failure.
    pub fn record(&mut self, latency_ns: u64, bytes: Option<u64>) {
        self.items += 1;
        self.failed += u64::from(bytes.is_none());
        self.bytes += bytes.unwrap_or(0);
        self.latency_ns.saturating_record(latency_ns.max(1));
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started_at.elapsed()
    }

    fn quantile(&self, quantile: f64) -> HumanLatency {
        HumanLatency(self.latency_ns.value_at_quantile(quantile))
    }
}

impl Default for Summary {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        write!(
            f,
            "{} items, {} failed, {} in {seconds:.2} s ({} items/s, {}/s); \
             per item p50 {}, p99 {}, max {}",
            HumanCount(self.items),
            HumanCount(self.failed),
            HumanBytes(self.bytes),
            HumanCount(items_per_s),
            HumanBytes(bytes_per_s),
            self.quantile(0.5),
            self.quantile(0.99),
            HumanLatency(self.latency_ns.max()),
        )
    }
}

/// A latency in the unit that suits it.
struct HumanLatency(u64);

impl fmt::Display for HumanLatency {
    #[allow(clippy::cast_precision_loss)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{ns} ns"),
            1_000..1_000_000 => write!(f, "{:.1} µs", ns / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} ms", ns / 1e6),
            _ => write!(f, "{:.2} s", ns / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_counts_and_percentiles() {
        let mut summary = Summary::new();
        for latency_us in 1..=100 {
            summary.record(latency_us * 1000, Some(10));
        }
        summary.record(5_000_000, None);
        let line = summary.to_string();
        assert!(
            line.starts_with("101 items, 1 failed, 1000 B in "),
            "{line}"
        );
        assert!(
            line.contains("p50 51.0 µs") && line.ends_with("max 5.0 ms"),
            "{line}"
        );
    }
}
