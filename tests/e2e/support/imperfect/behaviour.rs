//! What a server does, apart from what is decided by names.

use std::time::Duration;

/// What a server does with queries that carry an OPT record (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edns {
    /// Answers with an OPT record.
    Answer,
    /// Answers as if there were none.
    Ignore,
    FormErr,
    NotImp,
    ServFail,
    /// Answers nothing.
    Drop,
}

/// What a server does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcp {
    Ok,
    /// Sends one answer, and closes.
    ClosesAfterOne,
    /// Accepts, and sends nothing.
    Silent,
    /// Forgets the first connection after a few answers, as a firewall may do: it stays open and silent.
    ForgetsFirst,
    /// Does not listen.
    Refused,
}

#[derive(Clone, Debug)]
pub struct Behaviour {
    /// From a query's arrival to its answer.
    pub delay: Duration,
    /// The same for names that begin with w.
    pub slow: Duration,
    /// Share of the queries for names that begin with l that are lost.
    pub loss_percent: u64,
    /// Queries are dropped while this many wait for their answers.
    pub queue: Option<usize>,
    /// Queries beyond this many per second are dropped.
    pub rate: Option<u32>,
    /// Queries are refused at once while this many wait for their answers.
    pub refuse_beyond: Option<usize>,
    pub edns: Edns,
    pub tcp: Tcp,
    pub seed: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(20),
            slow: Duration::from_secs(1),
            loss_percent: 0,
            queue: None,
            rate: None,
            refuse_beyond: None,
            edns: Edns::Answer,
            tcp: Tcp::Ok,
            seed: 1,
        }
    }
}
