//! What a server has to tell about its work.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Datagrams.
    pub received: u64,
    pub answered: u64,
    /// Not a query of one question.
    pub malformed: u64,
    /// For names with x, or because of an OPT record.
    pub ignored: u64,
    /// The share of names with l.
    pub lost: u64,
    pub dropped_beyond_queue: u64,
    pub dropped_beyond_rate: u64,
    pub refused_beyond: u64,
    /// Replies that the system did not take.
    pub unsent: u64,
    /// The most queries that waited for their answers at a time.
    pub most_outstanding: usize,
    /// By the first letter of the name.
    pub letters: BTreeMap<char, Letter>,
    /// Whom queries came from.
    pub clients: BTreeSet<IpAddr>,
    pub tcp: TcpCounts,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Letter {
    pub received: u64,
    pub answered: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct TcpCounts {
    pub connections: u64,
    pub clients: BTreeSet<IpAddr>,
    pub received: u64,
    pub answered: u64,
}
