//! Judges what a resolver does from what the network knows: each rule by itself.
//!
//! The rules. A row says what happened to its own name, with evidence of its own (1). Any reply proves
//! that a server lives; evidence against it are only first attempts for different names, sent after
//! its last reply (2). A reply to any attempt of a name is its answer (3). Each attempt has its time,
//! of which further ones have twice as much (4). A server that is set aside is only probed (6). What is
//! learned of EDNS comes from a server's own words, twice (7). That the number outstanding follows what
//! is delivered (5) and that only what belongs to an answer is data (8) is for the tests to judge.

use super::TIMEOUT;
use super::network::{Event, Network, Says, has_edns, number_of};
use crate::jobs::dns::answer::{Answer, Status};
use crate::jobs::dns::resolver::{Resolver, Transmit};
use crate::jobs::dns::sockets::SocketId;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// First attempts without a reply that set a server aside.
const UNANSWERED: usize = 16;

/// The time for a first attempt, at least, and the most to which it is doubled; no attempt has more
/// than the last.
const TIME_MIN: Duration = Duration::from_millis(100);
const TIME_DOUBLED: Duration = Duration::from_secs(1);
const TIME_MAX: Duration = Duration::from_secs(5);

/// Between two probes of a server, at least.
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
    /// What came for it first.
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

/// What is known of one server.
#[derive(Debug, Default)]
struct Known {
    heard_at: Option<Duration>,
    unreachable_at: Option<Duration>,
    /// Names that were answered without EDNS after they had been asked with it in vain, by their first
    /// queries.
    edns_proofs: HashSet<usize>,
    answered: HashSet<u32>,
    set_aside: Option<Duration>,
    /// Queries since then while another server was there.
    queries_aside: u32,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    queries: Vec<Query>,
    lives: HashMap<u32, Life>,
    servers: Vec<Known>,
    /// Names of which something came that says nothing new, and when. The second copy of an answer is an
    /// answer, should the next query for the same name have got the same id: one of 65,536 has.
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
        if let Some(since) = known.set_aside
            && !is_stream
            && resolver.is_set_aside(server)
            && !resolver.is_silent()
        {
            known.queries_aside += 1;
            let probes = (network.now - since).as_millis() / PROBE_PAUSE.as_millis() + 1;
            assert!(
                u128::from(known.queries_aside) <= probes,
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

    /// Something is about to come to the resolver. Tells which name has its answer by that.
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
        known.heard_at = Some(now);
        // What came before was that nobody listens.
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

    /// What came has been taken by the resolver.
    pub(super) fn came(&self, answered: Option<u32>) {
        if let Some(number) = answered {
            let ended_at = self.lives[&number].ended_at;
            assert!(
                ended_at.is_some(),
                "rule 3: the answer for n{number} was not taken"
            );
        }
    }

    /// Whatever has happened, this holds afterwards.
    pub(super) fn check(&mut self, resolver: &Resolver, now: Duration) {
        for (server, known) in self.servers.iter_mut().enumerate() {
            if !resolver.is_set_aside(server) {
                known.set_aside = None;
                known.queries_aside = 0;
                continue;
            }
            if known
                .set_aside
                .replace(known.set_aside.unwrap_or(now))
                .is_some()
            {
                continue;
            }
            let is_after = |at: Duration| known.heard_at.is_none_or(|heard_at| at >= heard_at);
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
                "rule 2: server {server} was set aside for {unanswered} names"
            );
        }
    }

    /// A name has its answer.
    pub(super) fn answered(&mut self, number: u32, answer: &Answer) {
        let life = self.lives.get_mut(&number).expect("it was asked for");
        if life.ended_at == Some(answer.ended_at) {
            // Another asker's.
            return;
        }
        life.ended_at = Some(answer.ended_at);
        let own: Vec<&Query> = life.queries.iter().map(|&at| &self.queries[at]).collect();
        // A connection's end takes back what it has not answered.
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

    /// Nothing came, and each attempt had its time, doubled as long as nothing else was heard of it.
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
        let mut patience = TIMEOUT;
        let mut owed = TIME_MIN;
        for (query, end) in own.iter().zip(ends) {
            let had = end - query.sent_at;
            if let Some((at, _)) = query.outcome
                && at <= end
            {
                // Nobody listened: that was no attempt. It may have been one before that was known.
                patience = patience.saturating_sub(at - query.sent_at);
                continue;
            }
            assert!(
                had >= owed.min(patience),
                "rule 4: n{number}: {had:?} of {owed:?}: {own:#?}"
            );
            patience = patience.saturating_sub(had);
            owed = (owed * 2).min(TIME_DOUBLED);
        }
        let last = own[own.len() - 1].sent_at;
        assert!(
            answer.ended_at - last <= TIME_MAX,
            "rule 4: n{number} waited too long"
        );
    }
}
