//! A question that is being looked up.

use super::answer::LastReply;
use super::permits::PermitId;
use super::question::Question;
use super::server::QueryKind;
use super::sockets::SocketId;
use super::status::Status;
use std::time::Duration;

/// A question that is being looked up.
#[derive(Debug)]
pub(super) struct Lookup {
    /// Distinguishes it from an earlier one in the same slot.
    pub(super) serial: u64,
    pub(super) question: Question,
    /// The hash of the question, by which it is found if an item asked it.
    pub(super) question_hash: u64,
    /// The first asker, and the others. Without a first asker there are no others.
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
    /// The time left for waiting for replies.
    pub(super) time_left: Duration,
    pub(super) last_server: Option<usize>,
    /// The server that refused it last.
    pub(super) refused_by: Option<usize>,
    pub(super) refusals: u32,
    /// It is asked without EDNS, because this server did not answer it with EDNS.
    pub(super) without_edns: Option<usize>,
    /// It has been counted as a proof that the server does not support EDNS.
    pub(super) is_edns_proof: bool,
    /// Connections with its query that ended without a single answer.
    pub(super) stream_failures: u32,
    /// A truncated reply.
    pub(super) truncated: Option<Box<Truncated>>,
    /// Its status if no answer comes.
    pub(super) status: Status,
    pub(super) last_reply: Option<Box<LastReply>>,
    /// Set if it is a probe of this server rather than an item's question.
    pub(super) probed_server: Option<usize>,
}

/// What a lookup is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for a server that has room.
    Waiting,
    /// It waits for room in the stream to a server.
    WaitingForStream,
    /// It waits for the reply to its last attempt.
    InFlight,
    /// It waits until its back-off has ended.
    BackingOff,
}

/// A query that was sent.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) socket: SocketId,
    pub(super) id: u16,
    /// Its permit at the server; `None` in a stream that follows a truncated reply.
    pub(super) permit: Option<PermitId>,
    /// It counts as one of the queries in flight in a stream.
    pub(super) in_pipeline: bool,
    pub(super) is_first: bool,
    pub(super) is_sample: bool,
    pub(super) is_probe: bool,
    pub(super) has_edns: bool,
    /// The question as it was sent, if replies must repeat its mixed case.
    pub(super) spelled: Option<Question>,
    pub(super) sent_at: Duration,
}

/// A truncated reply.
#[derive(Debug)]
pub(super) struct Truncated {
    pub(super) socket: SocketId,
    pub(super) message: Box<[u8]>,
    pub(super) time: Duration,
}

impl Lookup {
    pub(super) fn new(serial: u64, question: Question, time_left: Duration, now: Duration) -> Self {
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
            time_left,
            last_server: None,
            refused_by: None,
            refusals: 0,
            without_edns: None,
            is_edns_proof: false,
            stream_failures: 0,
            truncated: None,
            status: Status::Unreachable,
            last_reply: None,
            probed_server: None,
        }
    }

    /// The kind of query that it needs room for.
    pub(super) fn kind(&self) -> QueryKind {
        match self.first_sent_at {
            None => QueryKind::NewName,
            Some(_) => QueryKind::Retry,
        }
    }

    /// A query is sent to that server.
    pub(super) fn sent(&mut self, server: usize, now: Duration) {
        self.attempts += 1;
        self.tries += 1;
        self.first_sent_at.get_or_insert(now);
        self.last_server = Some(server);
        self.state = State::InFlight;
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

    /// Drops the truncated reply of a server that has now replied in a stream.
    pub(super) fn forget_truncated(&mut self, is_from_it: impl FnOnce(SocketId) -> bool) {
        if (self.truncated.take_if(|it| is_from_it(it.socket))).is_some() {
            self.status = Status::Unreachable;
        }
    }

    /// Keeps the status of an attempt unless an earlier one says more: a reply says more than a timeout,
    /// and a timeout says more than that nothing listens.
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
