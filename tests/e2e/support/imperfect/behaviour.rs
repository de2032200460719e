//! What a server does, apart from what the names say.

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
    /// Accepts, and says nothing.
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
    /// The same for names with w.
    pub slow: Duration,
    /// Share of the queries for names with l that are lost.
    pub loss_percent: u64,
    /// Queries beyond so many that wait for their answers are dropped.
    pub queue: Option<usize>,
    /// Queries beyond so many a second are dropped.
    pub rate: Option<u32>,
    /// Queries beyond so many that wait for their answers are refused at once.
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
