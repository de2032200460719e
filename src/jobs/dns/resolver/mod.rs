//! Asks servers until each question has its answer. It does no I/O and has no clock: its caller sends the
//! messages it produces, passes it the messages that arrive, and calls it when a timer is due.
//!
//! Names and servers fail for different reasons. A server is judged by queries for different names
//! (`circuit.rs`, `controller.rs`); a name is given up only after each of its own attempts has had its
//! full timeout (`estimate.rs`). Time that a name spends waiting for a server does not count against its
//! timeout.

mod asking;
mod attempts;
mod ends;
mod streams;

use super::answer::Answer;
use super::ids::Holder;
use super::limit::{Limit, SharedLimits};
use super::lookup::{Lookup, State};
use super::message::{self, Reply, Spelling};
use super::query::{QueryForm, QueryOptions};
use super::question::Question;
use super::random::Random;
use super::refusals::Refusals;
use super::room_by_server::RoomByServer;
use super::server::{QueryKind, Server, ServerSettings};
use super::server_stats::ServerStats;
use super::sockets::{SocketId, Sockets};
use super::status::Status;
use super::wait_queues::WaitQueues;
use crate::io::Timers;
use crate::io::Transport;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How questions are asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers to ask, by their addresses.
    pub servers: Vec<SocketAddr>,
    /// Sockets for each server, at least 1. All servers are asked from the same number of them.
    pub sockets_per_server: usize,
    /// The options of queries.
    pub queries: QueryOptions,
    /// Use streams (TCP) only. There are no datagram sockets then.
    pub streams_only: bool,
    /// The local address from which queries are sent, of the servers' address family; `None`: the system
    /// chooses it.
    pub source: Option<IpAddr>,
    /// Attempts after the first.
    pub retries: u32,
    /// The timeout of the first attempt; each further attempt has twice the timeout, up to a second.
    /// `None`: it is estimated for each server from its round-trip times.
    pub attempt_timeout: Option<Duration>,
    /// The timeout of a question: how long it waits for replies, all attempts together.
    pub timeout: Duration,
    /// Queries to each server per second, at most.
    pub rate_per_server: Option<f64>,
    /// Send names in a random mixture of upper and lower case, which replies must repeat
    /// (draft-vixie-dnsext-dns0x20): forged replies are then much harder to guess.
    pub mixes_case: bool,
    /// Record round-trip times in the [`ServerStats`].
    pub measures_round_trips: bool,
}

impl Settings {
    /// Settings for these servers, with one socket each: five retries, 20 s for a question, estimated
    /// attempt timeouts, no rate limit, and the default queries.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            sockets_per_server: 1,
            queries: QueryOptions::default(),
            streams_only: false,
            source: None,
            retries: 5,
            attempt_timeout: None,
            timeout: Duration::from_secs(20),
            rate_per_server: None,
            mixes_case: false,
            measures_round_trips: false,
        }
    }
}

/// A message to send.
#[derive(Debug)]
pub struct Transmit {
    /// The socket to send it from, which is connected to its server.
    pub socket: SocketId,
    /// The message.
    pub message: Vec<u8>,
}

/// A reply that answers a question.
#[derive(Clone, Copy)]
struct ReplyFrom<'a> {
    socket: SocketId,
    message: &'a [u8],
    /// The round-trip time.
    time: Duration,
}

/// The questions of one loop and the servers they go to.
pub struct Resolver {
    settings: Settings,
    servers: Vec<Server>,
    rooms: RoomByServer,
    sockets: Sockets,
    query_form: QueryForm,
    random: Random,
    lookups: Vec<Option<Lookup>>,
    free_slots: Vec<u32>,
    next_serial: u64,
    /// The slots of the questions that items asked; the questions themselves are in `lookups`.
    by_question: HashTable<u32>,
    hasher: RandomState,
    /// By slot: the end of the attempt, or of a back-off.
    timers: Timers,
    waiting: WaitQueues,
    refusals: Refusals,
    transmits: VecDeque<Transmit>,
    hang_ups: Vec<SocketId>,
    answers: VecDeque<(u32, Answer)>,
    next_server: usize,
}

impl Resolver {
    /// A resolver without questions. The limits are shared with other loops.
    ///
    /// # Panics
    /// If there are no servers or no sockets.
    #[must_use]
    pub fn new(settings: Settings, limits: &SharedLimits) -> Self {
        Self::with_random(settings, limits, Random::new())
    }

    pub(super) fn with_random(settings: Settings, limits: &SharedLimits, random: Random) -> Self {
        assert!(!settings.servers.is_empty() && settings.sockets_per_server > 0);
        let new_server = |(at, &address)| {
            let server_settings = ServerSettings {
                limit: Limit::new(limits.clone(), at),
                rate: settings.rate_per_server,
                attempt_timeout: settings.attempt_timeout,
                hold: settings.timeout,
                streams_only: settings.streams_only,
            };
            Server::new(address, server_settings)
        };
        let servers: Vec<Server> = settings
            .servers
            .iter()
            .enumerate()
            .map(new_server)
            .collect();
        let datagram_sockets = match settings.streams_only {
            true => 0,
            false => settings.sockets_per_server,
        };
        let mut resolver = Self {
            rooms: RoomByServer::new(servers.len()),
            sockets: Sockets::new(servers.len(), datagram_sockets),
            query_form: QueryForm::new(&settings.queries),
            servers,
            random,
            lookups: Vec::new(),
            free_slots: Vec::new(),
            next_serial: 0,
            by_question: HashTable::new(),
            hasher: RandomState::new(),
            timers: Timers::default(),
            waiting: WaitQueues::default(),
            refusals: Refusals::default(),
            transmits: VecDeque::new(),
            hang_ups: Vec::new(),
            answers: VecDeque::new(),
            next_server: 0,
            settings,
        };
        resolver.update_all_servers(Duration::ZERO);
        resolver
    }

    /// The server that a socket is for.
    #[must_use]
    pub fn address(&self, socket: SocketId) -> SocketAddr {
        self.servers[self.sockets.server_of(socket)].address
    }

    /// The local address from which queries are sent.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        self.settings.source
    }

    /// Whether a socket is for datagrams or for a stream.
    #[must_use]
    pub fn transport(&self, socket: SocketId) -> Transport {
        self.sockets.transport(socket)
    }

    /// How many sockets there are; their ids count from 0.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// The statistics of each server so far.
    pub fn server_stats(&self) -> impl Iterator<Item = ServerStats> {
        self.servers.iter().map(Server::stats_now)
    }

    /// Asks a question. `asker` may be any number; it comes back with the answer.
    pub fn ask(&mut self, asker: u32, question: Question, now: Duration) {
        let hash = self.hasher.hash_one(&question);
        let slot = self.free_slot();
        let lookup_at = |slot: u32| {
            let lookup = self.lookups[slot as usize].as_ref();
            lookup.expect("a lookup in its slot")
        };
        let known = self.by_question.entry(
            hash,
            |&slot| lookup_at(slot).question == question,
            |&slot| lookup_at(slot).question_hash,
        );
        match known {
            Entry::Vacant(entry) => drop(entry.insert(slot)),
            Entry::Occupied(known) => {
                let known = *known.get();
                self.free_slots.push(slot);
                return self.lookup(known).other_askers.push(asker);
            }
        }
        let mut lookup = self.new_lookup(question, now);
        lookup.asker = Some(asker);
        lookup.question_hash = hash;
        self.lookups[slot as usize] = Some(lookup);
        if !self.attempt(slot, now) {
            self.queue_up(slot);
        }
    }

    fn free_slot(&mut self) -> u32 {
        self.free_slots.pop().unwrap_or_else(|| {
            self.lookups.push(None);
            u32::try_from(self.lookups.len() - 1).expect("fewer than 2^32 questions")
        })
    }

    fn new_lookup(&mut self, question: Question, now: Duration) -> Lookup {
        self.next_serial += 1;
        Lookup::new(self.next_serial, question, self.settings.timeout, now)
    }

    /// The next stream to close, before anything more is sent.
    pub fn hang_up_next(&mut self) -> Option<SocketId> {
        self.hang_ups.pop()
    }

    /// The next message to send.
    pub fn transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next answer, with its `asker`.
    pub fn answer(&mut self) -> Option<(u32, Answer)> {
        self.answers.pop_front()
    }

    /// How many more questions can be sent right now.
    #[must_use]
    pub fn room(&mut self, now: Duration) -> usize {
        if self.settings.rate_per_server.is_some() {
            self.update_all_servers(now);
        }
        self.rooms.total(QueryKind::NewName)
    }

    /// True if all servers seem to be silent.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        !self.rooms.any_available()
    }

    /// When [`Resolver::time_passed`] is next to be called.
    pub fn wake_at(&mut self) -> Option<Duration> {
        let is_room_wanted =
            !self.by_question.is_empty() || self.rooms.total(QueryKind::NewName) == 0;
        let event = is_room_wanted.then(|| self.rooms.next_event()).flatten();
        [self.timers.next_due(), event].into_iter().flatten().min()
    }

    /// Ends attempts that have timed out, and continues lookups that had to wait.
    pub fn time_passed(&mut self, now: Duration) {
        while let Some(server) = self.rooms.pop_event(now) {
            self.servers[server].expire_permits(now);
            self.update_server(server, now);
        }
        while let Some(slot) = self.timers.pop_due(now) {
            match self.lookup(slot).state {
                State::InFlight => self.attempt_timed_out(slot, now),
                _ => self.wait(slot, now),
            }
        }
        self.serve_waiting(now);
    }

    /// A message has arrived.
    pub fn received(&mut self, socket: SocketId, message: &[u8], now: Duration) {
        let server = self.sockets.server_of(socket);
        let holder = |id| Some((id, self.sockets.holder(socket, id)?));
        let known = message::id(message).and_then(holder);
        let Some((id, holder)) = known else {
            self.servers[server].stats.mismatched += 1;
            return;
        };
        let Holder::Query(slot) = holder else {
            self.servers[server].stats.late += 1;
            return self.late_reply_received(server, now);
        };
        let lookup = self.lookups[slot as usize].as_ref().expect("it has an id");
        let (attempt, is_last) = lookup.attempt_at(socket, id).expect("it has the id");
        let time = now.saturating_sub(attempt.sent_at);
        let reply = match &attempt.spelled {
            Some(question) => message::judge(message, question, Spelling::Exact),
            None => message::judge(message, &lookup.question, Spelling::Any),
        };
        self.count_reply(server, reply, time, is_last);
        if reply == Reply::Foreign {
            return;
        }
        self.servers[server].circuit.reply_received(now);
        let attempt = self.take_attempt(slot, socket, id);
        let reply_from = ReplyFrom {
            socket,
            message,
            time,
        };
        match reply {
            Reply::Foreign => unreachable!("it was ignored above"),
            Reply::Answer(status) => {
                self.end_answered(server, &attempt, time, now);
                self.learn_from_answer(slot, server, &attempt, now);
                self.finish(slot, status, Some(reply_from), now);
            }
            Reply::Truncated => {
                self.end_answered(server, &attempt, time, now);
                self.learn_from_answer(slot, server, &attempt, now);
                self.was_truncated(slot, reply_from, is_last, now);
            }
            Reply::Failure(rcode) => {
                let status = Status::Rcode(rcode);
                self.was_refused(slot, status, attempt, reply_from, is_last, now);
            }
            Reply::Malformed => {
                self.was_refused(slot, Status::Malformed, attempt, reply_from, is_last, now);
            }
        }
        self.update_server(server, now);
        self.serve_stream(server, now);
        self.serve_waiting(now);
    }

    /// Cancels the question of this asker, who no longer needs the answer.
    pub fn forget(&mut self, asker: u32, now: Duration) {
        let slot = self.lookups.iter().position(|lookup| {
            let asked = |lookup: &Lookup| {
                lookup.asker == Some(asker) || lookup.other_askers.contains(&asker)
            };
            lookup.as_ref().is_some_and(asked)
        });
        let Some(slot) = slot else { return };
        let slot = u32::try_from(slot).expect("fewer than 2^32 questions");
        let lookup = self.lookup(slot);
        if lookup.asker == Some(asker) {
            lookup.asker = lookup.other_askers.pop();
        } else {
            lookup.other_askers.retain(|&other| other != asker);
        }
        if lookup.asker.is_none() {
            self.remove(slot, now);
            self.serve_waiting(now);
        }
    }

    /// The ids of all queries that a reply is accepted for.
    #[cfg(test)]
    pub(super) fn ids_in_flight(&self) -> Vec<(SocketId, u16)> {
        let lookups = self.lookups.iter().flatten();
        let attempts = lookups.flat_map(|lookup| lookup.attempt.iter().chain(&lookup.earlier));
        attempts
            .map(|attempt| (attempt.socket, attempt.id))
            .collect()
    }

    /// True if the circuit of a server is open.
    #[cfg(test)]
    pub(super) fn is_circuit_open(&self, server: usize) -> bool {
        self.servers[server].circuit.is_open()
    }

    /// True if a query that was just sent is a probe rather than for an item.
    #[cfg(test)]
    pub(super) fn is_probe(&self, transmit: &Transmit) -> bool {
        let id = message::id(&transmit.message).expect("a query has an id");
        match self.sockets.holder(transmit.socket, id) {
            Some(Holder::Query(slot)) => {
                let lookup = self.lookups[slot as usize].as_ref();
                lookup.is_some_and(|lookup| lookup.probed_server.is_some())
            }
            _ => false,
        }
    }

    /// True if a name waits although a server has room for it.
    #[cfg(test)]
    pub(super) fn has_room_for_waiting(&self, now: Duration) -> bool {
        let any_available = self.servers.iter().any(|it| !it.circuit.is_open());
        self.lookups.iter().flatten().any(|lookup| {
            let kind = lookup.kind();
            let may_ask = |(at, server): (usize, &Server)| {
                Some(at) != lookup.refused_by && server.room(kind, any_available, now) > 0
            };
            lookup.state == State::Waiting && self.servers.iter().enumerate().any(may_ask)
        })
    }

    /// True if nothing is in flight.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.lookups.iter().all(Option::is_none) && self.by_question.is_empty()
    }

    fn lookup(&mut self, slot: u32) -> &mut Lookup {
        self.lookups[slot as usize]
            .as_mut()
            .expect("a lookup in flight")
    }

    /// The lookups whose last attempt was sent on this socket.
    fn in_flight_at(&self, socket: SocketId) -> Vec<u32> {
        let is_last = |slot: &u32| {
            let lookup = self.lookups[*slot as usize].as_ref();
            let attempt = lookup.and_then(|lookup| lookup.attempt.as_ref());
            attempt.is_some_and(|attempt| attempt.socket == socket)
        };
        let mut slots = self.sockets.queries(socket);
        slots.retain(is_last);
        slots
    }
}
