//! A question under way.

use super::answer::{LastReply, Status};
use super::places::PlaceId;
use super::question::Question;
use super::server::For;
use super::sockets::SocketId;
use std::time::Duration;

/// A question under way.
#[derive(Debug)]
pub(super) struct Lookup {
    /// Tells it apart from an earlier one at the same place.
    pub(super) serial: u64,
    pub(super) question: Question,
    /// The hash of the question, by which it is found if an item asked it.
    pub(super) question_hash: u64,
    /// Whoever asked it first, and the others. If there is none, there are no others.
    pub(super) asker: Option<u32>,
    pub(super) other_askers: Vec<u32>,
    pub(super) asked_at: Duration,
    pub(super) first_sent_at: Option<Duration>,
    pub(super) state: State,
    /// The attempts that a reply is accepted for: the last one, and those given up before it.
    pub(super) attempt: Option<Attempt>,
    pub(super) earlier: Vec<Attempt>,
    /// Queries sent.
    pub(super) attempts: u32,
    /// Those of them that count against the limit on retries.
    pub(super) tries: u32,
    /// The time that is left for waiting for replies.
    pub(super) patience: Duration,
    pub(super) last_server: Option<usize>,
    /// The server that refused it last.
    pub(super) refused_by: Option<usize>,
    pub(super) refusals: u32,
    /// It is asked without EDNS, because this server did not answer it with EDNS.
    pub(super) plain: Option<usize>,
    /// It has been counted as a proof that this server does not do with EDNS.
    pub(super) is_proof: bool,
    /// Connections with its query that ended before one query was answered.
    pub(super) stream_failures: u32,
    /// The reply of a server that did not fit into a datagram.
    pub(super) truncated: Option<Box<Truncated>>,
    /// What it comes to if there will be no answer.
    pub(super) status: Status,
    pub(super) last_reply: Option<Box<LastReply>>,
    /// It is no item's, but asks this server for a sign of life.
    pub(super) probes: Option<usize>,
}

/// What a lookup is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for a server that has room.
    Waiting,
    /// It waits for a place in the stream to a server.
    WaitingForStream,
    /// It waits for the reply to its last attempt.
    UnderWay,
    /// It waits before it is asked again.
    Pausing,
}

/// A query that was sent.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) socket: SocketId,
    pub(super) id: u16,
    /// Its place at the server; none in the stream that follows a reply which did not fit.
    pub(super) place: Option<PlaceId>,
    /// It is among the queries under way in a stream.
    pub(super) in_pipeline: bool,
    pub(super) is_first: bool,
    pub(super) is_sample: bool,
    pub(super) is_probe: bool,
    pub(super) has_edns: bool,
    /// The question as it was asked, if its spelling matters.
    pub(super) spelled: Option<Question>,
    pub(super) sent_at: Duration,
}

/// A reply that did not fit.
#[derive(Debug)]
pub(super) struct Truncated {
    pub(super) socket: SocketId,
    pub(super) message: Box<[u8]>,
    pub(super) time: Duration,
}

impl Lookup {
    pub(super) fn new(serial: u64, question: Question, patience: Duration, now: Duration) -> Self {
        Self {
            serial,
            question,
            question_hash: 0,
            asker: None,
            other_askers: Vec::new(),
            asked_at: now,
            first_sent_at: None,
            state: State::Waiting,
            attempt: None,
            earlier: Vec::new(),
            attempts: 0,
            tries: 0,
            patience,
            last_server: None,
            refused_by: None,
            refusals: 0,
            plain: None,
            is_proof: false,
            stream_failures: 0,
            truncated: None,
            status: Status::Unreachable,
            last_reply: None,
            probes: None,
        }
    }

    /// What it needs room for.
    pub(super) fn kind(&self) -> For {
        match self.first_sent_at {
            None => For::NewName,
            Some(_) => For::Retry,
        }
    }

    /// A query is sent to that server.
    pub(super) fn sent(&mut self, server: usize, now: Duration) {
        self.attempts += 1;
        self.tries += 1;
        self.first_sent_at.get_or_insert(now);
        self.last_server = Some(server);
        self.state = State::UnderWay;
    }

    /// The attempt with this id at this socket, and whether it is the last one.
    pub(super) fn attempt_at(&self, socket: SocketId, id: u16) -> Option<(&Attempt, bool)> {
        let is_it = |attempt: &&Attempt| attempt.socket == socket && attempt.id == id;
        match self.attempt.as_ref().filter(is_it) {
            Some(attempt) => Some((attempt, true)),
            None => self
                .earlier
                .iter()
                .find(is_it)
                .map(|attempt| (attempt, false)),
        }
    }

    /// Removes that attempt.
    pub(super) fn take_attempt(&mut self, socket: SocketId, id: u16) -> Option<Attempt> {
        let is_it = |attempt: &Attempt| attempt.socket == socket && attempt.id == id;
        if self.attempt.as_ref().is_some_and(is_it) {
            return self.attempt.take();
        }
        let at = self.earlier.iter().position(is_it)?;
        Some(self.earlier.swap_remove(at))
    }

    /// Waits no longer for the last attempt; its reply is still accepted.
    pub(super) fn give_up_attempt(&mut self) {
        self.earlier.extend(self.attempt.take());
    }

    /// A server has said in a stream all it has to say. What it could not say in a datagram is not missed
    /// any more.
    pub(super) fn forget_truncated(&mut self, is_from_it: impl FnOnce(SocketId) -> bool) {
        if (self.truncated.take_if(|it| is_from_it(it.socket))).is_some() {
            self.status = Status::Unreachable;
        }
    }

    /// Remembers what an attempt came to. What a server said tells more than silence, and that more than
    /// that nobody listens.
    pub(super) fn note(&mut self, status: Status) {
        let weight = |status| match status {
            Status::Unreachable => 0,
            Status::Timeout => 1,
            Status::Truncated => 3,
            _ => 2,
        };
        if weight(status) >= weight(self.status) {
            self.status = status;
        }
    }
}
