//! What a server counts.

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
    /// Queries for names that begin with x, or dropped because of an OPT record.
    pub ignored: u64,
    /// Lost queries for names that begin with l.
    pub lost: u64,
    pub dropped_beyond_queue: u64,
    pub dropped_beyond_rate: u64,
    pub refused_beyond: u64,
    /// Replies that the system did not accept.
    pub unsent: u64,
    /// The most queries that waited for their answers at one time.
    pub most_outstanding: usize,
    /// By the first letter of the name.
    pub letters: BTreeMap<char, Letter>,
    /// The addresses that queries came from.
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
