//! The statistics of `ringmill dns`: rows by status, and queries by server.

use crate::clock::to_ns;
use crate::jobs::dns::{RowStatus, ServerStats};
use crate::stats::document::{self, Form};
use crate::stats::{HumanTime, Series, columns};
use indicatif::HumanCount;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::net::SocketAddr;

/// The number of rows with each status.
#[derive(Default)]
pub(super) struct StatusCounts(
    /// There are so few statuses that a linear search is faster than a map.
    Vec<(RowStatus, u64)>,
);

impl StatusCounts {
    pub(super) fn count(&mut self, status: RowStatus) {
        match self.0.iter_mut().find(|(known, _)| *known == status) {
            Some((_, count)) => *count += 1,
            None => self.0.push((status, 1)),
        }
    }

    /// One line of text, the most frequent status first. Empty if there are no rows.
    pub(super) fn line(&self) -> String {
        let named = self.0.iter();
        let mut named: Vec<(String, u64)> = named
            .map(|(status, count)| (status.to_string(), *count))
            .collect();
        named.sort_by(|(name, count), (other_name, other_count)| {
            (Reverse(count), name).cmp(&(Reverse(other_count), other_name))
        });
        let words = named.iter();
        let words: Vec<String> = words
            .map(|(name, count)| format!("{name} {}", HumanCount(*count)))
            .collect();
        words.join(", ")
    }

    pub(super) fn document(&self) -> Value {
        let named = self.0.iter();
        let named: Map<String, Value> = named
            .map(|(status, count)| (status.to_string(), (*count).into()))
            .collect();
        named.into()
    }
}

/// A table with a line for each server; `percentiles` are those of its round-trip times.
pub(super) fn resolver_table(
    resolvers: &[(&SocketAddr, &ServerStats)],
    percentiles: &[f64],
) -> String {
    let mut rows = vec![header(percentiles)];
    let lines = resolvers.iter();
    rows.extend(lines.map(|(server, stats)| row(server, stats, percentiles)));
    format!("\n{}", columns(&rows))
}

fn header(percentiles: &[f64]) -> Vec<String> {
    let counts = [
        "resolver",
        "sent",
        "answered",
        "lost",
        "truncated",
        "mismatched",
        "late",
        "limit",
        "srtt",
    ];
    let percentiles = percentiles.iter();
    let percentiles = percentiles.map(|percentile| format!("p{percentile}"));
    let header = counts.into_iter().map(str::to_owned).chain(percentiles);
    header.chain(["replies".to_owned()]).collect()
}

fn row(server: &SocketAddr, stats: &ServerStats, percentiles: &[f64]) -> Vec<String> {
    let counts = [
        stats.sent,
        stats.answered,
        stats.lost,
        stats.truncated,
        stats.mismatched,
        stats.late,
        stats.limit as u64,
    ];
    let counts = counts.map(|count| HumanCount(count).to_string());
    let srtt = stats.smoothed_round_trip;
    let srtt = srtt.map_or("-".to_owned(), |time| HumanTime(to_ns(time)).to_string());
    let percentiles = percentiles.iter().map(|&percentile| {
        let time_ns = stats.round_trips_ns.value_at_percentile(percentile);
        HumanTime(time_ns).to_string()
    });
    let rcodes = stats.rcodes.iter();
    let rcodes: Vec<String> = rcodes
        .map(|(rcode, &count)| format!("{rcode} {}", HumanCount(count)))
        .collect();
    let row = [server.to_string()].into_iter().chain(counts).chain([srtt]);
    row.chain(percentiles).chain([rcodes.join(" ")]).collect()
}

/// The statistics of a server for the document of --stats.
pub(super) fn resolver_document(server: &SocketAddr, stats: &ServerStats, form: &Form) -> Value {
    let mut round_trips = Series::new("round-trip");
    for bucket in stats.round_trips_ns.iter_recorded() {
        let count = u64::from(bucket.count_at_value());
        let recorded = round_trips
            .histogram
            .record_n(bucket.value_iterated_to(), count);
        recorded.expect("the value is within the bounds");
    }
    let rcodes = stats.rcodes.iter();
    let rcodes: Map<String, Value> = rcodes
        .map(|(rcode, &count)| (rcode.to_string(), count.into()))
        .collect();
    json!({
        "resolver": server.to_string(),
        "sent": stats.sent,
        "answered": stats.answered,
        "rcodes": rcodes,
        "lost": stats.lost,
        "truncated": stats.truncated,
        "mismatched": stats.mismatched,
        "late": stats.late,
        "limit": stats.limit,
        "srtt_ns": stats.smoothed_round_trip.map(to_ns),
        "round_trip": document::phase(&round_trips, form),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_status_is_first() {
        let mut counts = StatusCounts::default();
        assert_eq!(counts.line(), "");
        for status in ["NXDOMAIN", "TIMEOUT", "NOERROR", "INVALID", "NOERROR"] {
            counts.count(status.parse().unwrap());
        }
        let line = "NOERROR 2, INVALID 1, NXDOMAIN 1, TIMEOUT 1";
        assert_eq!(counts.line(), line);
        let document = json!({"NOERROR": 2, "INVALID": 1, "NXDOMAIN": 1, "TIMEOUT": 1});
        assert_eq!(counts.document(), document);
    }
}
