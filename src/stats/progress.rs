//! The progress line.

use crate::mill::Counters;
use crate::sink::messages;
use crate::stats::{HumanTime, Latencies, Phase, Summary, new_histogram};
use hdrhistogram::Histogram;
use indicatif::{
    HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle,
};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often the line is drawn anew on a terminal, and printed elsewhere.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);
const PRINT_INTERVAL: Duration = Duration::from_secs(1);

/// How long the latencies are gathered of which percentiles are shown.
const LATENCY_INTERVAL: Duration = Duration::from_secs(1);

/// How much input there is, where that can be known.
#[derive(Clone, Debug)]
pub enum Total {
    /// So many items.
    Items(u64),
    /// A list of so many bytes, and a counter of those read.
    ListBytes(u64, Arc<AtomicU64>),
    /// Nobody knows.
    Unknown,
}

/// Draws how far a run is, on standard error.
pub struct Progress {
    bar: ProgressBar,
    /// Standard error is no terminal: a line each time instead of one drawn over and over.
    prints_lines: bool,
    total: Total,
    drawn_at: Instant,
    drawn_items: u64,
    drawn_bytes: u64,
    recent: Recent,
}

/// The latencies of the last second.
struct Recent {
    /// Those of the second that has begun.
    latency_ns: Histogram<u64>,
    began_at: Instant,
    /// Of the second before.
    percentiles: String,
}

impl Progress {
    /// A line for so much input.
    #[must_use]
    pub fn new(total: Total) -> Self {
        let length = match total {
            Total::Items(count) | Total::ListBytes(count, _) => Some(count),
            Total::Unknown => None,
        };
        let template = match length {
            Some(_) => "{msg}",
            None => "{msg}  {elapsed}",
        };
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        Self {
            bar,
            prints_lines: !std::io::stderr().is_terminal(),
            total,
            drawn_at: Instant::now(),
            drawn_items: 0,
            drawn_bytes: 0,
            recent: Recent {
                latency_ns: new_histogram(),
                began_at: Instant::now(),
                percentiles: String::new(),
            },
        }
    }

    /// Takes latencies that have just become known.
    pub fn add_latencies(&mut self, latencies: &Latencies) {
        let recent = &mut self.recent;
        if let Some(total) = latencies.get(Phase::TOTAL).histogram() {
            let added = recent.latency_ns.add(total);
            added.expect("they have the same bounds");
        }
        if recent.began_at.elapsed() < LATENCY_INTERVAL {
            return;
        }
        recent.percentiles.clear();
        if !recent.latency_ns.is_empty() {
            let percentile = |percent| HumanTime(recent.latency_ns.value_at_percentile(percent));
            recent.percentiles = format!("  p50 {}  p99 {}", percentile(50.0), percentile(99.0));
            recent.latency_ns.reset();
        }
        recent.began_at = Instant::now();
    }

    /// Draws the line if it is time to.
    pub fn tick(&mut self, summary: &Summary, counters: Counters) {
        let elapsed = self.drawn_at.elapsed();
        if elapsed
            < if self.prints_lines {
                PRINT_INTERVAL
            } else {
                DRAW_INTERVAL
            }
        {
            return;
        }
        let message = format!(
            "{} done  {}/s  {}/s{}  {} failed  {} in flight",
            HumanCount(summary.items),
            HumanCount(per_second(summary.items - self.drawn_items, elapsed)),
            HumanBytes(per_second(summary.bytes - self.drawn_bytes, elapsed)),
            self.recent.percentiles,
            HumanCount(summary.failed),
            counters.in_flight,
        );
        match &self.total {
            Total::Items(_) => self.bar.set_position(summary.items),
            Total::ListBytes(_, read) => self.bar.set_position(read.load(Ordering::Relaxed)),
            Total::Unknown => self.bar.tick(),
        }
        let message = message + &self.how_far();
        if self.prints_lines {
            messages::about_run(&message);
        }
        self.bar.set_message(message);
        (self.drawn_items, self.drawn_bytes) = (summary.items, summary.bytes);
        self.drawn_at = Instant::now();
    }

    /// The share that is done and the time left, if the size of the input is known. Nothing can be
    /// said of the time before anything is done.
    fn how_far(&self) -> String {
        let Some(length) = self.bar.length() else {
            return String::new();
        };
        let position = self.bar.position();
        let percent = position * 100 / length.max(1);
        if position == 0 {
            return format!("  {percent:>3} %");
        }
        format!("  {percent:>3} %  {:#} left", HumanDuration(self.bar.eta()))
    }

    /// Writes something else to the terminal without mixing it with the line.
    pub fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        self.bar.suspend(write)
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn per_second(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64()) as u64
}
