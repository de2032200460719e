//! The progress line.

use crate::mill::Counters;
use crate::sink::messages;
use crate::stats::{HumanTime, Latencies, Phase, Summary, new_histogram};
use hdrhistogram::Histogram;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget};
use rustix::termios::tcgetwinsize;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use unicode_width::UnicodeWidthStr;

/// How often the line is redrawn on a terminal, and how often it is printed elsewhere.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);
const PRINT_INTERVAL: Duration = Duration::from_secs(1);

/// The time over which latencies are gathered for the percentiles shown.
const LATENCY_INTERVAL: Duration = Duration::from_secs(1);

/// Columns kept free at the end of a terminal's row: there the terminal shows `^C`. Without them it would
/// start another row, and the line would stay in the row before.
const FREE_COLUMNS: usize = 3;

/// The width of a terminal that does not report its width.
const COLUMNS_DEFAULT: usize = 80;

/// Returns to the start of the row and erases it (ECMA-48, EL).
const CLEAR: &str = "\r\x1b[K";

/// How much input there is, if that is known.
#[derive(Clone, Debug)]
pub enum Total {
    /// This number of items.
    Items(u64),
    /// A list with this number of bytes, and a counter of those read.
    ListBytes(u64, Arc<AtomicU64>),
    /// Not known.
    Unknown,
}

/// Shows the progress of a run, on standard error.
pub struct Progress {
    /// Estimates the time left; draws nothing.
    bar: ProgressBar,
    /// Standard error is not a terminal: print a new line each time instead of redrawing one.
    prints_lines: bool,
    /// The text in the terminal's row; empty if nothing is drawn.
    drawn: String,
    total: Total,
    drawn_at: Instant,
    drawn_items: u64,
    drawn_bytes: u64,
    recent: Recent,
}

/// The latencies of the last second.
struct Recent {
    /// Latencies of the current second.
    latency_ns: Histogram<u64>,
    began_at: Instant,
    /// Percentiles of the second before.
    percentiles: String,
}

impl Progress {
    /// A progress line for an input of this size.
    #[must_use]
    pub fn new(total: Total) -> Self {
        let length = match total {
            Total::Items(count) | Total::ListBytes(count, _) => Some(count),
            Total::Unknown => None,
        };
        Self {
            bar: ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden()),
            prints_lines: !std::io::stderr().is_terminal(),
            drawn: String::new(),
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

    /// Adds new latencies, and updates the percentiles once per interval.
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
            recent.percentiles = format!("p50 {}  p99 {}", percentile(50.0), percentile(99.0));
            recent.latency_ns.reset();
        }
        recent.began_at = Instant::now();
    }

    /// Draws the line if its interval has passed.
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
        match &self.total {
            Total::Items(_) => self.bar.set_position(summary.items),
            Total::ListBytes(_, read) => self.bar.set_position(read.load(Ordering::Relaxed)),
            Total::Unknown => {}
        }
        let parts = self.parts(summary, counters, elapsed);
        if self.prints_lines {
            messages::about_run(&fitted(&parts, usize::MAX));
        } else {
            self.drawn = fitted(&parts, columns().saturating_sub(FREE_COLUMNS));
            messages::text(&format!("{CLEAR}{}", self.drawn));
        }
        (self.drawn_items, self.drawn_bytes) = (summary.items, summary.bytes);
        self.drawn_at = Instant::now();
    }

    /// The parts of the line.
    fn parts(&self, summary: &Summary, counters: Counters, elapsed: Duration) -> [Part; 8] {
        let items_per_s = per_second(summary.items - self.drawn_items, elapsed);
        let bytes_per_s = per_second(summary.bytes - self.drawn_bytes, elapsed);
        let (share, time) = self.share_and_time();
        let part = |rank, text| Part { rank, text };
        [
            part(0, format!("{} done", HumanCount(summary.items))),
            part(3, format!("{}/s", HumanCount(items_per_s))),
            part(5, format!("{}/s", HumanBytes(bytes_per_s))),
            part(7, self.recent.percentiles.clone()),
            part(4, format!("{} failed", HumanCount(summary.failed))),
            part(6, format!("{} in flight", counters.in_flight)),
            part(1, share),
            part(2, time),
        ]
    }

    /// The share that is done and the time left, if the size of the input is known; no time while nothing
    /// is done yet. Otherwise an empty share and the time that has passed.
    fn share_and_time(&self) -> (String, String) {
        let Some(length) = self.bar.length() else {
            let elapsed = HumanDuration(self.bar.elapsed());
            return (String::new(), format!("{elapsed:#}"));
        };
        let position = self.bar.position();
        let share = format!("{:>3} %", position * 100 / length.max(1));
        let left = match position {
            0 => String::new(),
            _ => format!("{:#} left", HumanDuration(self.bar.eta())),
        };
        (share, left)
    }

    /// Writes something else to the terminal without mixing it with the line.
    pub fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        if self.drawn.is_empty() {
            return write();
        }
        messages::text(CLEAR);
        let written = write();
        messages::text(&self.drawn);
        written
    }

    /// Erases the line.
    pub fn clear(&self) {
        if !self.drawn.is_empty() {
            messages::text(CLEAR);
        }
    }
}

/// A piece of the line.
struct Part {
    /// If there is no room for all parts, those with the highest ranks are left out.
    rank: usize,
    /// Empty if there is nothing to show.
    text: String,
}

/// The parts that fit into this number of columns.
fn fitted(parts: &[Part], columns: usize) -> String {
    let line = |ranks: usize| {
        let shown = parts.iter().filter(|part| part.rank < ranks);
        let texts = shown.map(|part| part.text.as_str());
        let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
        texts.join("  ")
    };
    let mut lines = (0..=parts.len()).rev().map(line);
    let fitting = lines.find(|line| line.width() <= columns);
    fitting.unwrap_or_default()
}

/// The width of the terminal, which may change at any time.
fn columns() -> usize {
    let size = tcgetwinsize(std::io::stderr()).ok();
    let columns = size.map(|size| usize::from(size.ws_col));
    columns
        .filter(|&columns| columns > 0)
        .unwrap_or(COLUMNS_DEFAULT)
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn per_second(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> [Part; 8] {
        let mut progress = Progress::new(Total::Items(2_000_000));
        progress.recent.percentiles = "p50 1.62 µs  p99 12.5 ms".to_owned();
        let mut summary = Summary::new();
        (summary.items, summary.bytes, summary.failed) = (1_234_567, 98 << 20, 17);
        progress.bar.set_position(summary.items);
        let counters = Counters {
            in_flight: 512,
            ..Counters::default()
        };
        progress.parts(&summary, counters, Duration::from_secs(10))
    }

    #[test]
    fn the_line_has_what_fits() {
        let parts = parts();
        let time = &parts[7].text;
        let line = |columns| fitted(&parts, columns);
        let whole = format!(
            "1,234,567 done  123,456/s  9.80 MiB/s  p50 1.62 µs  p99 12.5 ms  17 failed  \
             512 in flight   61 %  {time}"
        );
        assert_eq!(line(usize::MAX), whole);
        let narrow = format!("1,234,567 done  123,456/s   61 %  {time}");
        assert!(narrow.width() <= 60, "{narrow}");
        assert_eq!(line(narrow.width()), narrow);
        assert_eq!(line(14), "1,234,567 done");
        assert_eq!(line(13), "");
        for columns in 0..120 {
            assert!(line(columns).width() <= columns);
        }
    }

    #[test]
    fn without_a_known_length_the_time_that_passed_is_shown() {
        let progress = Progress::new(Total::Unknown);
        assert_eq!(progress.share_and_time(), (String::new(), "0s".to_owned()));
    }
}
