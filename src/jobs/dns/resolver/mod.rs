//! Asks servers until each question has its answer. It does no input or output and has no clock:
//! whoever runs it sends what it wants sent, hands it what came, and calls it when time has passed.
//!
//! A name and a server fail for different reasons. What a server does is judged from different names
//! (`circuit.rs`, `controller.rs`); a name is given up only when each of its own attempts has had its
//! time (`estimate.rs`). A name that waits for a server waits without a clock.

mod asking;
mod attempts;
mod ends;
mod streams;

use super::answer::{Answer, Status};
use super::figures::Figures;
use super::ids::Holder;
use super::limit::{Limit, SharedLimits};
use super::lookup::{Lookup, State};
use super::message::{self, Reply, Spelling};
use super::query::{QueryForm, QueryOptions};
use super::question::Question;
use super::random::Random;
use super::refusals::Refusals;
use super::rooms::Rooms;
use super::server::{For, Server, ServerSettings};
use super::sockets::{SocketId, Sockets};
use super::waiting::Waiting;
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
    /// What queries say besides their questions.
    pub queries: QueryOptions,
    /// Ask in streams alone (TCP). There are no sockets for datagrams then.
    pub streams_only: bool,
    /// The address of this machine from which servers are asked, of their family; the system chooses it if
    /// there is none.
    pub source: Option<IpAddr>,
    /// Attempts after the first.
    pub retries: u32,
    /// The time for the first attempt, of which further ones have twice as much each, up to a second; if
    /// there is none, it is estimated for each server from the times of its replies.
    pub attempt_timeout: Option<Duration>,
    /// The time for a question: how long replies are waited for, all attempts together.
    pub timeout: Duration,
    /// Queries to each server per second, at most.
    pub rate_per_server: Option<f64>,
    /// Spell names in a mixture of cases that replies have to repeat (draft-vixie-dnsext-dns0x20): so
    /// much more would have to be guessed to forge one.
    pub mixes_case: bool,
    /// Keep the times from queries to replies in the [`Figures`].
    pub measures_round_trips: bool,
}

impl Settings {
    /// For these servers, with one socket each: five attempts after the first, in 20 s at the most, whose
    /// times are estimated; no bound on the rate; queries as they are by default.
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

/// A message to be sent.
#[derive(Debug)]
pub struct Transmit {
    /// From here, to the server that the socket is for.
    pub socket: SocketId,
    /// The message.
    pub message: Vec<u8>,
}

/// A reply that answers a question.
#[derive(Clone, Copy)]
struct ReplyFrom<'a> {
    socket: SocketId,
    message: &'a [u8],
    /// It took so long.
    time: Duration,
}

/// The questions of one loop and the servers they go to.
pub struct Resolver {
    settings: Settings,
    servers: Vec<Server>,
    rooms: Rooms,
    sockets: Sockets,
    query_form: QueryForm,
    random: Random,
    lookups: Vec<Option<Lookup>>,
    free: Vec<u32>,
    next_serial: u64,
    /// Where each question is that an item asked. The table has no questions of its own.
    by_question: HashTable<u32>,
    hasher: RandomState,
    /// By lookup: the end of the attempt, or of a pause.
    timers: Timers,
    waiting: Waiting,
    refusals: Refusals,
    transmits: VecDeque<Transmit>,
    hang_ups: Vec<SocketId>,
    answers: VecDeque<(u32, Answer)>,
    next_server: usize,
}

impl Resolver {
    /// A resolver with nothing under way. The limits are shared with other loops.
    ///
    /// # Panics
    /// Without servers or sockets.
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
            rooms: Rooms::new(servers.len()),
            sockets: Sockets::new(servers.len(), datagram_sockets),
            query_form: QueryForm::new(&settings.queries),
            servers,
            random,
            lookups: Vec::new(),
            free: Vec::new(),
            next_serial: 0,
            by_question: HashTable::new(),
            hasher: RandomState::new(),
            timers: Timers::default(),
            waiting: Waiting::default(),
            refusals: Refusals::default(),
            transmits: VecDeque::new(),
            hang_ups: Vec::new(),
            answers: VecDeque::new(),
            next_server: 0,
            settings,
        };
        resolver.look_at_all_servers(Duration::ZERO);
        resolver
    }

    /// The server that a socket is for.
    #[must_use]
    pub fn address(&self, socket: SocketId) -> SocketAddr {
        self.servers[self.sockets.server_of(socket)].address
    }

    /// The address from which all servers are asked.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        self.settings.source
    }

    /// What a socket is for.
    #[must_use]
    pub fn transport(&self, socket: SocketId) -> Transport {
        self.sockets.transport(socket)
    }

    /// How many sockets there are; their ids count from 0.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// What went to each server and came from it so far.
    pub fn figures(&self) -> impl Iterator<Item = Figures> {
        self.servers.iter().map(Server::figures_now)
    }

    /// Asks a question. The answer comes with `asker`, which is free to choose.
    pub fn ask(&mut self, asker: u32, question: Question, now: Duration) {
        let hash = self.hasher.hash_one(&question);
        let place = self.free_place();
        let lookup_at = |place: u32| {
            let lookup = self.lookups[place as usize].as_ref();
            lookup.expect("a question under way")
        };
        let known = self.by_question.entry(
            hash,
            |&place| lookup_at(place).question == question,
            |&place| lookup_at(place).question_hash,
        );
        match known {
            Entry::Vacant(entry) => drop(entry.insert(place)),
            Entry::Occupied(known) => {
                let known = *known.get();
                self.free.push(place);
                return self.lookup(known).other_askers.push(asker);
            }
        }
        let mut lookup = self.new_lookup(question, now);
        lookup.asker = Some(asker);
        lookup.question_hash = hash;
        self.lookups[place as usize] = Some(lookup);
        if !self.attempt(place, now) {
            self.queue_up(place);
        }
    }

    fn free_place(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.lookups.push(None);
            u32::try_from(self.lookups.len() - 1).expect("fewer than 2^32 questions")
        })
    }

    fn new_lookup(&mut self, question: Question, now: Duration) -> Lookup {
        self.next_serial += 1;
        Lookup::new(self.next_serial, question, self.settings.timeout, now)
    }

    /// A stream to be closed, before anything more is sent.
    pub fn hang_up_next(&mut self) -> Option<SocketId> {
        self.hang_ups.pop()
    }

    /// The next message to be sent.
    pub fn transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next answer, with whoever asked.
    pub fn answer(&mut self) -> Option<(u32, Answer)> {
        self.answers.pop_front()
    }

    /// How many more questions could be asked at once.
    #[must_use]
    pub fn room(&mut self, now: Duration) -> usize {
        if self.settings.rate_per_server.is_some() {
            self.look_at_all_servers(now);
        }
        self.rooms.total(For::NewName)
    }

    /// True if all servers are silent, as far as is known.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        !self.rooms.any_is_there()
    }

    /// When [`Resolver::time_passed`] is next to be called.
    pub fn wake_at(&mut self) -> Option<Duration> {
        let is_room_wanted = !self.by_question.is_empty() || self.rooms.total(For::NewName) == 0;
        let event = is_room_wanted.then(|| self.rooms.next_event()).flatten();
        [self.timers.next_due(), event].into_iter().flatten().min()
    }

    /// Gives up what has taken too long, and goes on with what had to wait.
    pub fn time_passed(&mut self, now: Duration) {
        while let Some(server) = self.rooms.pop_event(now) {
            self.servers[server].expire_places(now);
            self.look_at(server, now);
        }
        while let Some(place) = self.timers.pop_due(now) {
            match self.lookup(place).state {
                State::UnderWay => self.attempt_timed_out(place, now),
                _ => self.wait(place, now),
            }
        }
        self.serve_waiting(now);
    }

    /// A message has come.
    pub fn received(&mut self, socket: SocketId, message: &[u8], now: Duration) {
        let server = self.sockets.server_of(socket);
        let holder = |id| Some((id, self.sockets.holder(socket, id)?));
        let known = message::id(message).and_then(holder);
        let Some((id, holder)) = known else {
            self.servers[server].figures.mismatched += 1;
            return;
        };
        let Holder::Query(place) = holder else {
            self.servers[server].figures.late += 1;
            return self.heard(server, now);
        };
        let lookup = self.lookups[place as usize].as_ref().expect("it has an id");
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
        self.servers[server].circuit.heard(now);
        let attempt = self.take_attempt(place, socket, id);
        let reply_from = ReplyFrom {
            socket,
            message,
            time,
        };
        match reply {
            Reply::Foreign => unreachable!("it was left alone"),
            Reply::Answer(status) => {
                self.end_answered(server, &attempt, time, now);
                self.learn_from_answer(place, server, &attempt, now);
                self.finish(place, status, Some(reply_from), now);
            }
            Reply::Truncated => {
                self.end_answered(server, &attempt, time, now);
                self.learn_from_answer(place, server, &attempt, now);
                self.was_truncated(place, reply_from, is_last, now);
            }
            Reply::Failure(rcode) => {
                let status = Status::Rcode(rcode);
                self.was_refused(place, status, attempt, reply_from, is_last, now);
            }
            Reply::Malformed => {
                self.was_refused(place, Status::Malformed, attempt, reply_from, is_last, now);
            }
        }
        self.look_at(server, now);
        self.serve_stream(server, now);
        self.serve_waiting(now);
    }

    /// Forgets whoever asked; the answer is not wanted any more.
    pub fn forget(&mut self, asker: u32, now: Duration) {
        let place = self.lookups.iter().position(|lookup| {
            let asked = |lookup: &Lookup| {
                lookup.asker == Some(asker) || lookup.other_askers.contains(&asker)
            };
            lookup.as_ref().is_some_and(asked)
        });
        let Some(place) = place else { return };
        let place = u32::try_from(place).expect("fewer than 2^32 questions");
        let lookup = self.lookup(place);
        if lookup.asker == Some(asker) {
            lookup.asker = lookup.other_askers.pop();
        } else {
            lookup.other_askers.retain(|&other| other != asker);
        }
        if lookup.asker.is_none() {
            self.remove(place, now);
            self.serve_waiting(now);
        }
    }

    /// The ids of all queries that a reply is accepted for.
    #[cfg(test)]
    pub(super) fn ids_under_way(&self) -> Vec<(SocketId, u16)> {
        let lookups = self.lookups.iter().flatten();
        let attempts = lookups.flat_map(|lookup| lookup.attempt.iter().chain(&lookup.earlier));
        attempts
            .map(|attempt| (attempt.socket, attempt.id))
            .collect()
    }

    /// True if a server is set aside.
    #[cfg(test)]
    pub(super) fn is_set_aside(&self, server: usize) -> bool {
        self.servers[server].circuit.is_open()
    }

    /// True if a query that was just sent is not for an item.
    #[cfg(test)]
    pub(super) fn is_probe(&self, transmit: &Transmit) -> bool {
        let id = message::id(&transmit.message).expect("a query has an id");
        match self.sockets.holder(transmit.socket, id) {
            Some(Holder::Query(place)) => {
                let lookup = self.lookups[place as usize].as_ref();
                lookup.is_some_and(|lookup| lookup.probes.is_some())
            }
            _ => false,
        }
    }

    /// True if a name waits that a server has room for.
    #[cfg(test)]
    pub(super) fn has_room_for_waiting(&self, now: Duration) -> bool {
        let any_is_there = self.servers.iter().any(|it| !it.circuit.is_open());
        self.lookups.iter().flatten().any(|lookup| {
            let kind = lookup.kind();
            let may_ask = |(at, server): (usize, &Server)| {
                Some(at) != lookup.refused_by && server.room(kind, any_is_there, now) > 0
            };
            lookup.state == State::Waiting && self.servers.iter().enumerate().any(may_ask)
        })
    }

    /// True if nothing is under way.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.lookups.iter().all(Option::is_none) && self.by_question.is_empty()
    }

    fn lookup(&mut self, place: u32) -> &mut Lookup {
        self.lookups[place as usize]
            .as_mut()
            .expect("a lookup under way")
    }

    /// The lookups whose last attempt went out by this socket.
    fn under_way_at(&self, socket: SocketId) -> Vec<u32> {
        let is_last = |place: &u32| {
            let lookup = self.lookups[*place as usize].as_ref();
            let attempt = lookup.and_then(|lookup| lookup.attempt.as_ref());
            attempt.is_some_and(|attempt| attempt.socket == socket)
        };
        let mut places = self.sockets.queries(socket);
        places.retain(is_last);
        places
    }
}
