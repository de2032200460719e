//! Checks what a resolver does against what the network knows, rule by rule.
//!
//! The rules. (1) The status of a name follows from events of its own queries. (2) Any reply proves that
//! a server is alive; only first attempts for different names, sent after its last reply, are evidence
//! against it. (3) A reply to any attempt of a name is its answer. (4) Each attempt has its timeout,
//! which doubles with each attempt. (6) A server with an open circuit only gets probes. (7) A server is
//! asked without EDNS only after two proofs from its own replies. The tests themselves check that the
//! number of queries in flight follows what is delivered (5), and that only records that belong to an
//! answer are data (8).

use super::network::{Event, Network, Says, has_edns, number_of};
use crate::jobs::dns::answer::Answer;
use crate::jobs::dns::resolver::{Resolver, Transmit};
use crate::jobs::dns::sockets::SocketId;
use crate::jobs::dns::status::Status;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// First attempts without a reply that open the circuit of a server.
const UNANSWERED: usize = 16;

/// The minimum timeout of a first attempt, the maximum to which it is doubled, and the maximum of any
/// attempt.
const TIME_MIN: Duration = Duration::from_millis(100);
const TIME_DOUBLED: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(5);

/// The minimum pause between two probes of a server.
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// A query that was sent.
#[derive(Debug)]
struct Query {
    number: u32,
    socket: SocketId,
    sent_at: Duration,
    has_edns: bool,
    is_probe: bool,
    is_first: bool,
    /// Its outcome, and when that came.
    outcome: Option<(Duration, Outcome)>,
    /// Its connection has ended.
    is_dropped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Says(Says),
    Unreachable,
}

/// A name, from the time it is asked for until its answer.
#[derive(Debug, Default)]
struct Life {
    queries: Vec<usize>,
    ended_at: Option<Duration>,
}

/// What is known about one server.
#[derive(Debug, Default)]
struct Known {
    replied_at: Option<Duration>,
    unreachable_at: Option<Duration>,
    /// Names that were answered without EDNS after they had been asked with it in vain, by their first
    /// queries.
    edns_proofs: HashSet<usize>,
    answered: HashSet<u32>,
    open_since: Option<Duration>,
    /// Queries since then while another server was available.
    queries_while_open: u32,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    queries: Vec<Query>,
    lives: HashMap<u32, Life>,
    servers: Vec<Known>,
    /// Names for which a forged or duplicate message came, and when. The duplicate of an answer is an
    /// answer if the next query for the same name happens to have the same id: one in 65,536 does.
    copies: HashSet<(u32, Duration)>,
}

impl Oracle {
    pub(super) fn new(servers: usize) -> Self {
        Self {
            servers: std::iter::repeat_with(Known::default)
                .take(servers)
                .collect(),
            ..Self::default()
        }
    }

    /// A name is asked for.
    pub(super) fn asked(&mut self, number: u32) {
        let life = self.lives.entry(number).or_default();
        if life.ended_at.is_some() {
            *life = Life::default();
        }
    }

    /// A query is sent.
    pub(super) fn sent(&mut self, transmit: &Transmit, network: &Network, resolver: &Resolver) {
        let (server, is_stream) = network.server_of(transmit.socket);
        let number = number_of(&transmit.message);
        let is_probe = resolver.is_probe(transmit);
        let has_edns = has_edns(&transmit.message);
        let known = &mut self.servers[server];
        let query = self.queries.len();
        let mut is_first = false;
        if is_probe {
            assert!(
                known.answered.contains(&number),
                "rule 6: a probe is not known to be answered"
            );
        } else {
            let life = self.lives.get_mut(&number).expect("it was asked for");
            assert_eq!(life.ended_at, None, "n{number} has its answer");
            is_first = life.queries.is_empty();
            life.queries.push(query);
        }
        if is_first && !has_edns {
            let proofs = known.edns_proofs.len();
            assert!(
                proofs >= 2,
                "rule 7: asked without EDNS after {proofs} proofs"
            );
        }
        if let Some(since) = known.open_since
            && !is_stream
            && resolver.is_circuit_open(server)
            && !resolver.is_silent()
        {
            known.queries_while_open += 1;
            let probes = (network.now - since).as_millis() / PROBE_PAUSE.as_millis() + 1;
            assert!(
                u128::from(known.queries_while_open) <= probes,
                "rule 6: more than probes for server {server}"
            );
        }
        self.queries.push(Query {
            number,
            socket: transmit.socket,
            sent_at: network.now,
            has_edns,
            is_probe,
            is_first,
            outcome: None,
            is_dropped: false,
        });
    }

    /// An event is about to reach the resolver. Returns the name that it answers.
    pub(super) fn comes(
        &mut self,
        socket: SocketId,
        event: &Event,
        network: &Network,
    ) -> Option<u32> {
        let (server, is_stream) = network.server_of(socket);
        let now = network.now;
        match event {
            Event::Message {
                says: Says::Nothing,
                query,
                ..
            } => {
                self.copies.insert((self.queries[*query].number, now));
                None
            }
            Event::Message { says, query, .. } => self.says(*says, *query, server, now),
            Event::Refused | Event::Closed => {
                if !is_stream {
                    self.servers[server].unreachable_at = Some(now);
                }
                for query in self
                    .queries
                    .iter_mut()
                    .filter(|query| query.socket == socket)
                {
                    query.is_dropped |= is_stream;
                    query.outcome.get_or_insert((now, Outcome::Unreachable));
                }
                None
            }
        }
    }

    fn says(&mut self, says: Says, at: usize, server: usize, now: Duration) -> Option<u32> {
        let query = &mut self.queries[at];
        let number = query.number;
        let known = &mut self.servers[server];
        known.replied_at = Some(now);
        // An earlier outcome can only be that nothing listens.
        query.outcome = Some((now, Outcome::Says(says)));
        let (has_edns, is_dropped, is_probe) = (query.has_edns, query.is_dropped, query.is_probe);
        if says == Says::Answer {
            known.answered.insert(number);
        }
        let life = &self.lives[&number];
        let is_its = life.ended_at.is_none() && !is_probe && life.queries.contains(&at);
        let first = life.queries.first().copied().unwrap_or(at);
        let was_asked_with_edns = || {
            let own = life.queries.iter().map(|&query| &self.queries[query]);
            let in_vain = |query: &Query| {
                query
                    .outcome
                    .is_none_or(|(_, outcome)| outcome != Outcome::Says(Says::Answer))
            };
            own.into_iter()
                .any(|query| query.has_edns && in_vain(query))
        };
        if is_its
            && !has_edns
            && matches!(says, Says::Answer | Says::Truncated)
            && was_asked_with_edns()
        {
            self.servers[server].edns_proofs.insert(first);
        }
        (is_its && says == Says::Answer && !is_dropped).then_some(number)
    }

    /// The resolver has processed the event.
    pub(super) fn came(&self, answered: Option<u32>) {
        if let Some(number) = answered {
            let ended_at = self.lives[&number].ended_at;
            assert!(
                ended_at.is_some(),
                "rule 3: the answer for n{number} was not taken"
            );
        }
    }

    /// Checks what must hold after every step.
    pub(super) fn check(&mut self, resolver: &Resolver, now: Duration) {
        for (server, known) in self.servers.iter_mut().enumerate() {
            if !resolver.is_circuit_open(server) {
                known.open_since = None;
                known.queries_while_open = 0;
                continue;
            }
            if known
                .open_since
                .replace(known.open_since.unwrap_or(now))
                .is_some()
            {
                continue;
            }
            let is_after =
                |at: Duration| known.replied_at.is_none_or(|replied_at| at >= replied_at);
            let is_evidence = |query: &&Query| {
                let is_its = query.socket.0 as usize / super::network::SOCKETS == server;
                is_its
                    && query.is_first
                    && is_after(query.sent_at)
                    && now - query.sent_at >= TIME_MIN
            };
            let unanswered = self.queries.iter().filter(is_evidence).count();
            assert!(
                unanswered >= UNANSWERED || known.unreachable_at.is_some_and(is_after),
                "rule 2: the circuit of server {server} is open after {unanswered} names"
            );
        }
    }

    /// A name has its answer.
    pub(super) fn answered(&mut self, number: u32, answer: &Answer) {
        let life = self.lives.get_mut(&number).expect("it was asked for");
        if life.ended_at == Some(answer.ended_at) {
            // It is for another asker.
            return;
        }
        life.ended_at = Some(answer.ended_at);
        let own: Vec<&Query> = life.queries.iter().map(|&at| &self.queries[at]).collect();
        // When a connection ends, attempts without a reply do not count.
        let dropped = own.iter().filter(|query| query.is_dropped).count();
        let attempts = own.len() - dropped..=own.len();
        let has_attempts = attempts.contains(&(answer.attempts as usize));
        assert!(
            has_attempts,
            "rule 1: {} attempts for n{number}: {own:#?}",
            answer.attempts
        );
        let came = |wanted: Outcome| {
            let is_it = |query: &&Query| query.outcome.is_some_and(|(_, it)| it == wanted);
            own.iter().copied().find(is_it)
        };
        match answer.status {
            Status::NoError | Status::NxDomain => {
                let evidence = came(Outcome::Says(Says::Answer));
                let at = evidence.and_then(|query| query.outcome).map(|(at, _)| at);
                let is_copy = self.copies.contains(&(number, answer.ended_at));
                assert!(
                    at == Some(answer.ended_at) || is_copy,
                    "rule 1: n{number} has no such answer"
                );
            }
            Status::Timeout => self.check_timeout(number, answer, &own),
            Status::Unreachable => {
                assert!(
                    came(Outcome::Unreachable).is_some(),
                    "rule 1: n{number} was not refused"
                );
            }
            Status::Truncated => {
                let evidence = came(Outcome::Says(Says::Truncated));
                assert!(evidence.is_some(), "rule 1: n{number} was not truncated");
            }
            Status::Rcode(rcode) => {
                let rcode = u8::try_from(rcode.to_int()).unwrap();
                let evidence = came(Outcome::Says(Says::Failure(rcode)));
                assert!(evidence.is_some(), "rule 1: nobody said so of n{number}");
            }
            status => panic!("{status} of n{number}"),
        }
    }

    /// No reply came, and each attempt had its timeout, doubled after each attempt that timed out.
    fn check_timeout(&self, number: u32, answer: &Answer, own: &[&Query]) {
        assert!(!own.is_empty(), "rule 1: n{number} was never asked");
        let says = |query: &&Query| matches!(query.outcome, Some((_, Outcome::Says(_))));
        assert!(
            !own.iter().any(says),
            "rule 1: there was a reply for n{number}"
        );
        let ends = own[1..]
            .iter()
            .map(|query| query.sent_at)
            .chain([answer.ended_at]);
        let mut time_left = TIMEOUT;
        let mut owed = TIME_MIN;
        for (query, end) in own.iter().zip(ends) {
            let had = end - query.sent_at;
            if let Some((at, _)) = query.outcome
                && at <= end
            {
                // Nothing listened: that was not an attempt, although it counted as one before this was
                // known.
                time_left = time_left.saturating_sub(at - query.sent_at);
                continue;
            }
            assert!(
                had >= owed.min(time_left),
                "rule 4: n{number}: {had:?} of {owed:?}: {own:#?}"
            );
            time_left = time_left.saturating_sub(had);
            owed = (owed * 2).min(TIME_DOUBLED);
        }
        let last = own[own.len() - 1].sent_at;
        assert!(
            answer.ended_at - last <= TIME_MAX,
            "rule 4: n{number} waited too long"
        );
    }
}
