//! Asks servers until each question has its answer. It does no input or output and has no clock:
//! whoever runs it sends what it wants sent, hands it what came, and calls it when time has passed.
//!
//! A name and a server fail for different reasons. What a server does is judged from different names
//! (`circuit.rs`, `controller.rs`); a name is given up only when each of its own attempts has had its
//! time (`estimate.rs`). A name that waits for a server waits without a clock.

use super::answer::{Answer, LastReply, Status, Subject};
use super::figures::Figures;
use super::ids::{Holder, Ids};
use super::limit::{Limit, SharedLimits};
use super::lookup::{Attempt, Lookup, State, Truncated};
use super::message::{self, Reply, Spelling};
use super::question::Question;
use super::random::Random;
use super::refusals::Refusals;
use super::rooms::Rooms;
use super::server::{For, Server, ServerSettings};
use super::waiting::{Ticket, Waiting};
use crate::io::Timers;
use crate::io::Transport;
use domain::base::iana::OptRcode;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the id of a query without a reply is not used again after its name has ended.
const ID_QUARANTINE: Duration = Duration::from_secs(10);

/// How long a reply in a stream is waited for, at least; the connection may have to be made first.
const STREAM_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// How long to wait before a name is asked again that every server has refused: the first time, the
/// second time, then twice as long each time, up to the last.
const REFUSED_PAUSE_FIRST: Duration = Duration::from_millis(10);
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
const REFUSED_PAUSE_MAX: Duration = Duration::from_millis(1600);

/// So many refusals of a name are enough where names that are refused are refused again.
const REFUSALS_ENOUGH: u32 = 3;

/// Connections that may end before one query is answered.
const STREAM_FAILURES_MAX: u32 = 2;

/// Queries that go out by one socket before the next has its turn: the kernel can then take them together.
const IN_A_ROW: usize = 32;

/// So many attempts for a name tell how much its server bears. A name that has no answer fails every
/// time, and must not count for many.
const SAMPLE_TRIES: u32 = 2;

/// Servers looked at for one question, at most, if one of them has room.
const CANDIDATES_MAX: usize = 8;

/// How questions are asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers to ask, by their addresses.
    pub servers: Vec<SocketAddr>,
    /// Sockets for each server, at least 1. All servers are asked from the same number of them.
    pub sockets_per_server: usize,
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

/// One of the sockets, by its number: those for datagrams come first, those of the first server before
/// the others; then a stream for each server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

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
    sockets: Vec<Ids>,
    random: Random,
    lookups: Vec<Option<Lookup>>,
    free: Vec<u32>,
    next_serial: u64,
    by_question: HashMap<Question, u32>,
    /// By lookup: the end of the attempt, or of a pause.
    timers: Timers,
    waiting: Waiting,
    refusals: Refusals,
    transmits: VecDeque<Transmit>,
    answers: VecDeque<(u32, Answer)>,
    next_server: usize,
    next_socket: usize,
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
            };
            Server::new(address, server_settings)
        };
        let servers: Vec<Server> = settings
            .servers
            .iter()
            .enumerate()
            .map(new_server)
            .collect();
        let sockets = servers.len() * (settings.sockets_per_server + 1);
        let mut resolver = Self {
            rooms: Rooms::new(servers.len()),
            servers,
            sockets: std::iter::repeat_with(Ids::default).take(sockets).collect(),
            random,
            lookups: Vec::new(),
            free: Vec::new(),
            next_serial: 0,
            by_question: HashMap::new(),
            timers: Timers::default(),
            waiting: Waiting::default(),
            refusals: Refusals::default(),
            transmits: VecDeque::new(),
            answers: VecDeque::new(),
            next_server: 0,
            next_socket: 0,
            settings,
        };
        resolver.look_at_all_servers(Duration::ZERO);
        resolver
    }

    /// The server that a socket is for.
    #[must_use]
    pub fn address(&self, socket: SocketId) -> SocketAddr {
        self.servers[self.server_of(socket)].address
    }

    /// What a socket is for.
    #[must_use]
    pub fn transport(&self, socket: SocketId) -> Transport {
        if (socket.0 as usize) < self.datagram_sockets() {
            Transport::Datagram
        } else {
            Transport::Stream
        }
    }

    /// How many sockets there are; their ids count from 0.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// What went to each server and came from it so far.
    pub fn figures(&self) -> impl Iterator<Item = &Figures> {
        self.servers.iter().map(|server| &server.figures)
    }

    /// Asks a question. The answer comes with `asker`, which is free to choose.
    pub fn ask(&mut self, asker: u32, question: Question, now: Duration) {
        let place = self.free_place();
        match self.by_question.entry(question.clone()) {
            Entry::Vacant(entry) => entry.insert(place),
            Entry::Occupied(known) => {
                let known = *known.get();
                self.free.push(place);
                return self.lookup(known).other_askers.push(asker);
            }
        };
        let mut lookup = self.new_lookup(question, now);
        lookup.asker = Some(asker);
        let ticket = (place, lookup.serial);
        self.lookups[place as usize] = Some(lookup);
        if !self.attempt(place, now) {
            self.waiting.push(ticket, None);
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
        let server = self.server_of(socket);
        let ids = &self.sockets[socket.0 as usize];
        let known = message::id(message).and_then(|id| Some((id, ids.holder(id)?)));
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
                self.end_answered(server, &attempt, time);
                self.learn_from_answer(place, server, &attempt, now);
                self.finish(place, status, Some(reply_from), now);
            }
            Reply::Truncated => {
                self.end_answered(server, &attempt, time);
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

    /// The stream has ended: what it was asked and has not answered is asked anew.
    pub fn disconnected(&mut self, socket: SocketId, now: Duration) {
        let server = self.server_of(socket);
        let has_answered = self.servers[server].stream.closed() > 0;
        let mut again = Vec::new();
        for place in self.under_way_at(socket) {
            self.drop_attempt(place, now);
            let lookup = self.lookup(place);
            lookup.stream_failures += u32::from(!has_answered);
            if lookup.stream_failures < STREAM_FAILURES_MAX {
                // The server may end a connection whenever it likes: that is nothing to the name.
                lookup.tries -= 1;
                lookup.attempts -= 1;
                lookup.state = State::WaitingForStream;
                again.push((place, lookup.serial));
            } else {
                self.stream_failed(place, server, now);
            }
        }
        again.sort_unstable_by_key(|&(_, serial)| serial);
        self.servers[server].stream.wait_again(again.into_iter());
        self.serve_stream(server, now);
        self.serve_waiting(now);
    }

    /// A socket has told that nobody listens at its server: all it was asked is lost.
    pub fn refused(&mut self, socket: SocketId, now: Duration) {
        let server = self.server_of(socket);
        let asked = self.under_way_at(socket);
        match self.transport(socket) {
            // It may well answer otherwise.
            Transport::Stream => {
                self.servers[server].stream.closed();
                for place in asked {
                    self.drop_attempt(place, now);
                    self.stream_failed(place, server, now);
                }
                self.serve_stream(server, now);
            }
            Transport::Datagram => {
                self.servers[server].circuit.unreachable(now);
                self.servers[server].circuit.probe_ended(now);
                let is_hopeless = self.servers.iter().all(|it| it.circuit.is_given_up(now));
                for place in asked {
                    self.was_unreachable(place, server, is_hopeless, now);
                }
                self.look_at(server, now);
            }
        }
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

    fn server_of(&self, socket: SocketId) -> usize {
        match (socket.0 as usize).checked_sub(self.datagram_sockets()) {
            None => socket.0 as usize / self.settings.sockets_per_server,
            Some(server) => server,
        }
    }

    fn datagram_sockets(&self) -> usize {
        self.servers.len() * self.settings.sockets_per_server
    }

    /// The lookups whose last attempt went out by this socket.
    fn under_way_at(&self, socket: SocketId) -> Vec<u32> {
        let is_last = |place: &u32| {
            let lookup = self.lookups[*place as usize].as_ref();
            let attempt = lookup.and_then(|lookup| lookup.attempt.as_ref());
            attempt.is_some_and(|attempt| attempt.socket == socket)
        };
        let mut places: Vec<u32> = self.sockets[socket.0 as usize]
            .queries()
            .filter(is_last)
            .collect();
        // A lookup may have several queries at one socket.
        places.sort_unstable();
        places.dedup();
        places
    }

    // What a server can be asked.

    /// Something has changed at this server: the room it has, or when it may have more.
    fn look_at(&mut self, server: usize, now: Duration) {
        self.servers[server].report(now);
        if self.servers[server].is_probe_due(now) {
            self.probe(server, now);
        }
        if self.rooms.set(server, &self.servers[server], now) {
            for (at, other) in self.servers.iter().enumerate() {
                self.rooms.set(at, other, now);
            }
        }
    }

    fn look_at_all_servers(&mut self, now: Duration) {
        (0..self.servers.len()).for_each(|server| self.look_at(server, now));
    }

    fn heard(&mut self, server: usize, now: Duration) {
        if self.servers[server].circuit.is_open() {
            self.servers[server].circuit.heard(now);
            self.look_at(server, now);
            self.serve_waiting(now);
        }
    }

    /// Asks a server that was silent for what it has answered before.
    fn probe(&mut self, server: usize, now: Duration) {
        let Some(question) = self.servers[server].known_good.clone() else {
            return;
        };
        let place = self.free_place();
        let mut lookup = self.new_lookup(question, now);
        lookup.probes = Some(server);
        self.lookups[place as usize] = Some(lookup);
        if !self.send(place, server, now) {
            self.remove(place, now);
        }
    }

    /// Sends the question to a server that has room. False if there is none.
    fn attempt(&mut self, place: u32, now: Duration) -> bool {
        let lookup = self.lookups[place as usize].as_ref().expect("a lookup");
        let kind = match lookup.first_sent_at {
            None => For::NewName,
            Some(_) => For::Retry,
        };
        if self.rooms.total(kind) == 0 {
            return false;
        }
        let (last, refused_by) = (lookup.last_server, lookup.refused_by);
        let chosen = self.choose_server(kind, last, refused_by, now);
        chosen.is_some_and(|server| self.send(place, server, now))
    }

    /// Sends a query in a datagram. False if no id is free.
    fn send(&mut self, place: u32, server: usize, now: Duration) -> bool {
        let Some((socket, id)) = self.take_id(place, server, now) else {
            return false;
        };
        let chosen = &mut self.servers[server];
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        let is_first = lookup.first_sent_at.is_none() && lookup.probes.is_none();
        let is_probe = chosen.is_probe_due(now);
        if is_probe {
            chosen.circuit.probe_sent();
        }
        let is_sample = lookup.tries < SAMPLE_TRIES && lookup.probes.is_none();
        let place_id = chosen.send(is_sample, now);
        let has_edns = chosen.edns.is_used(now) && lookup.plain.is_none();
        let timeout = chosen.estimate.timeout(lookup.tries);
        let question = self
            .settings
            .mixes_case
            .then(|| lookup.question.respelled(&mut self.random));
        let asked = question.as_ref().unwrap_or(&lookup.question);
        let message = message::query(id, asked, has_edns);
        lookup.sent(server, now);
        lookup.attempt = Some(Attempt {
            socket,
            id,
            place: Some(place_id),
            is_first,
            is_sample,
            is_probe,
            has_edns,
            spelled: question,
            sent_at: now,
        });
        self.timers.set(place, now + timeout.min(lookup.patience));
        self.transmits.push_back(Transmit { socket, message });
        self.rooms.set(server, &self.servers[server], now);
        true
    }

    /// A free id on one of the sockets for this server.
    fn take_id(&mut self, place: u32, server: usize, now: Duration) -> Option<(SocketId, u16)> {
        let count = self.settings.sockets_per_server;
        let first = server * count;
        self.next_socket = self.next_socket.wrapping_add(1);
        let found = (0..count).find_map(|step| {
            let socket = first + (self.next_socket / IN_A_ROW + step) % count;
            let id = self.sockets[socket].take(place, &mut self.random, now)?;
            Some((
                SocketId(u32::try_from(socket).expect("fewer than 2^32 sockets")),
                id,
            ))
        });
        if found.is_none() {
            let next = self.sockets[first..first + count]
                .iter()
                .filter_map(Ids::next_free);
            self.servers[server].lacks_ids(next.min().unwrap_or(Duration::MAX));
            self.rooms.set(server, &self.servers[server], now);
        }
        found
    }

    fn free_id(&mut self, socket: SocketId, id: u16) {
        self.sockets[socket.0 as usize].free(id);
        let server = self.server_of(socket);
        self.servers[server].has_ids();
    }

    /// The server with the least to do, of some: not the one that has just failed, if another has room,
    /// and not the one that has refused, if there is another at all.
    fn choose_server(
        &mut self,
        kind: For,
        last: Option<usize>,
        refused_by: Option<usize>,
        now: Duration,
    ) -> Option<usize> {
        let count = self.servers.len();
        let is_there = |server: usize| !self.servers[server].circuit.is_open();
        let avoided =
            refused_by.filter(|&it| (0..count).any(|other| other != it && is_there(other)));
        let any_is_there = self.rooms.any_is_there();
        let has_room = |server: usize| self.servers[server].room(kind, any_is_there, now) > 0;
        let may_ask = |server: usize| Some(server) != avoided && has_room(server);
        self.next_server = (self.next_server + 1) % count;
        let candidates =
            (0..count.min(CANDIDATES_MAX)).map(|step| (self.next_server + step) % count);
        let with_room = candidates.filter(|&server| may_ask(server));
        let rank = |server: usize| {
            let server_state = &self.servers[server];
            (
                (server_state.circuit.is_open(), Some(server) == last),
                server_state.load(),
            )
        };
        let best = with_room.min_by(|&a, &b| {
            let ((a_first, a_load), (b_first, b_load)) = (rank(a), rank(b));
            a_first.cmp(&b_first).then(a_load.total_cmp(&b_load))
        });
        best.or_else(|| (0..count).find(|&server| may_ask(server)))
    }

    /// Goes on with those that wait, for as long as servers have room.
    fn serve_waiting(&mut self, now: Duration) {
        if self.waiting.is_empty() || self.rooms.total(For::Retry) == 0 {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.serve(|ticket| !self.waits(ticket, State::Waiting) || self.attempt(ticket.0, now));
        self.waiting = waiting;
    }

    /// False if the lookup has ended, or does something else by now.
    fn waits(&self, (place, serial): Ticket, state: State) -> bool {
        let lookup = self.lookups[place as usize].as_ref();
        lookup.is_some_and(|lookup| lookup.serial == serial && lookup.state == state)
    }

    // How attempts end.

    /// Takes the attempt that a reply has come for; its id is free.
    fn take_attempt(&mut self, place: u32, socket: SocketId, id: u16) -> Attempt {
        let attempt = self.lookup(place).take_attempt(socket, id);
        self.free_id(socket, id);
        attempt.expect("it has the id")
    }

    fn end_answered(&mut self, server: usize, attempt: &Attempt, time: Duration) {
        let server = &mut self.servers[server];
        match attempt.place {
            Some(place) => {
                server.estimate.sample(time);
                server.answered(place, attempt.is_sample, time);
            }
            None => server.stream.answered(),
        }
    }

    fn learn_from_answer(&mut self, place: u32, server: usize, attempt: &Attempt, now: Duration) {
        let lookup = self.lookups[place as usize].as_ref().expect("a lookup");
        let edns = &mut self.servers[server].edns;
        if attempt.has_edns {
            edns.worked();
        } else if lookup.plain == Some(server) && edns.is_in_doubt() {
            edns.failed(now);
        }
        self.refusals.replied(lookup.refusals > 0, false);
    }

    /// No reply has come in time for the last attempt.
    fn attempt_timed_out(&mut self, place: u32, now: Duration) {
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        let attempt = lookup.attempt.as_ref().expect("it is under way");
        let (socket, sent_at, has_edns) = (attempt.socket, attempt.sent_at, attempt.has_edns);
        let (is_first, is_probe) = (attempt.is_first, attempt.is_probe);
        let is_datagram = attempt.place.is_some();
        lookup.patience = lookup.patience.saturating_sub(now - sent_at);
        lookup.give_up_attempt();
        lookup.note(Status::Timeout);
        let probes = lookup.probes;
        let server = self.server_of(socket);
        let asked = &mut self.servers[server];
        asked.figures.timeouts += 1;
        if !is_datagram {
            asked.stream.ended();
            self.stream_failed(place, server, now);
            return self.serve_stream(server, now);
        }
        asked.circuit.unanswered(is_first, sent_at, now);
        if is_probe {
            asked.circuit.probe_ended(now);
        }
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        if has_edns && asked.edns.is_in_doubt() && lookup.plain.is_none() {
            lookup.plain = Some(server);
        }
        match probes {
            Some(_) => drop(self.remove(place, now)),
            None => self.try_again(place, now),
        }
        self.look_at(server, now);
    }

    /// The server did not answer, and said why.
    fn was_refused(
        &mut self,
        place: u32,
        status: Status,
        attempt: Attempt,
        reply: ReplyFrom<'_>,
        is_last: bool,
        now: Duration,
    ) {
        let server = self.server_of(attempt.socket);
        let asked = &mut self.servers[server];
        match attempt.place {
            None => asked.stream.answered(),
            // The name is to blame, not how much the server is asked.
            Some(place_id) if self.refusals.are_due_to_names() => {
                asked.answered(place_id, attempt.is_sample, reply.time);
            }
            Some(place_id) if self.refusals.are_unexplained() => asked.is_no_sample(place_id),
            Some(_) => {}
        }
        let is_in_doubt = asked.edns.is_in_doubt();
        let last_reply =
            LastReply::new(asked.address, self.transport(attempt.socket), reply.message);
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        lookup.last_reply = Some(last_reply);
        lookup.note(status);
        if lookup.probes.is_some() {
            drop(self.remove(place, now));
            return;
        }
        // The option may be what it does not understand: that is no fault of the name.
        let may_be_edns = match status {
            Status::Rcode(OptRcode::FORMERR | OptRcode::NOTIMP) => true,
            Status::Rcode(OptRcode::SERVFAIL) => is_in_doubt,
            _ => false,
        };
        if attempt.has_edns && may_be_edns && lookup.plain.is_none() {
            lookup.plain = Some(server);
            if is_last {
                lookup.tries -= 1;
                self.wait(place, now);
            }
            return;
        }
        lookup.refused_by = Some(server);
        lookup.refusals += 1;
        let (refusals, tries) = (lookup.refusals, lookup.tries);
        self.refusals.replied(refusals > 1, true);
        if !is_last {
            return;
        }
        let is_certain = refusals >= REFUSALS_ENOUGH && self.refusals.are_due_to_names();
        if is_certain || tries > self.settings.retries {
            return self.finish_failed(place, now);
        }
        if tries as usize >= self.servers.len() {
            let pause = refused_pause(refusals);
            self.lookup(place).state = State::Pausing;
            return self.timers.set(place, now + pause);
        }
        self.wait(place, now);
    }

    /// Nobody listens at the server: the attempt was none, and the name waits for better times.
    fn was_unreachable(&mut self, place: u32, server: usize, is_hopeless: bool, now: Duration) {
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        if let Some(taken) = lookup.attempt.as_ref().and_then(|attempt| attempt.place) {
            self.servers[server].forget(taken);
        }
        lookup.give_up_attempt();
        lookup.note(Status::Unreachable);
        lookup.refused_by = Some(server);
        lookup.tries = lookup.tries.saturating_sub(1);
        if lookup.probes.is_some() {
            drop(self.remove(place, now));
        } else if is_hopeless {
            self.finish_failed(place, now);
        } else {
            self.wait(place, now);
        }
    }

    /// Makes another attempt, now or when a server has room, unless there were enough.
    fn try_again(&mut self, place: u32, now: Duration) {
        let lookup = self.lookup(place);
        if lookup.patience.is_zero() || lookup.tries > self.settings.retries {
            self.finish_failed(place, now);
        } else {
            self.wait(place, now);
        }
    }

    fn wait(&mut self, place: u32, now: Duration) {
        self.timers.cancel(place);
        let lookup = self.lookup(place);
        lookup.state = State::Waiting;
        let (ticket, avoided) = ((place, lookup.serial), lookup.refused_by);
        if !self.attempt(place, now) {
            self.waiting.push(ticket, avoided);
        }
    }

    // Streams.

    /// The whole answer is to be had in a stream.
    fn was_truncated(&mut self, place: u32, reply: ReplyFrom<'_>, is_last: bool, now: Duration) {
        let server = self.server_of(reply.socket);
        let lookup = self.lookup(place);
        lookup.note(Status::Truncated);
        lookup.truncated.get_or_insert_with(|| Truncated {
            socket: reply.socket,
            message: reply.message.into(),
            time: reply.time,
        });
        if lookup.probes.is_some() {
            drop(self.remove(place, now));
            return;
        }
        if !is_last && lookup.state == State::UnderWay {
            // Another server may answer yet.
            return;
        }
        lookup.tries = lookup.tries.saturating_sub(1);
        lookup.state = State::WaitingForStream;
        let ticket = (place, lookup.serial);
        self.timers.cancel(place);
        self.servers[server].stream.wait(ticket);
        self.serve_stream(server, now);
    }

    fn serve_stream(&mut self, server: usize, now: Duration) {
        while let Some(ticket) = self.servers[server].stream.next() {
            if self.waits(ticket, State::WaitingForStream) {
                self.send_in_stream(ticket.0, server, now);
            }
        }
    }

    fn send_in_stream(&mut self, place: u32, server: usize, now: Duration) {
        let socket = self.datagram_sockets() + server;
        let id = self.sockets[socket].take(place, &mut self.random, now);
        let id = id.expect("fewer queries are under way in a stream than there are ids");
        let socket = SocketId(u32::try_from(socket).expect("fewer than 2^32 sockets"));
        let asked = &mut self.servers[server];
        asked.figures.sent += 1;
        asked.stream.sent();
        let is_edns_used = asked.edns.is_used(now);
        let timeout = STREAM_TIMEOUT_MIN.max(2 * asked.estimate.timeout(0));
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        let has_edns = is_edns_used && lookup.plain.is_none();
        let message = message::query(id, &lookup.question, has_edns);
        lookup.sent(server, now);
        lookup.attempt = Some(Attempt {
            socket,
            id,
            place: None,
            is_first: false,
            is_sample: false,
            is_probe: false,
            has_edns,
            spelled: None,
            sent_at: now,
        });
        self.timers.set(place, now + timeout);
        self.transmits.push_back(Transmit { socket, message });
    }

    /// The stream to this server gave no answer: another server may give all of it.
    fn stream_failed(&mut self, place: u32, server: usize, now: Duration) {
        let is_alone = self.servers.len() == 1;
        let lookup = self.lookup(place);
        lookup.note(Status::Truncated);
        lookup.refused_by = Some(server);
        if is_alone {
            self.finish_failed(place, now);
        } else {
            self.try_again(place, now);
        }
    }

    /// Forgets the last attempt, which went out by a stream that has ended.
    fn drop_attempt(&mut self, place: u32, now: Duration) {
        self.timers.cancel(place);
        let attempt = self.lookup(place).attempt.take().expect("an attempt");
        let server = self.server_of(attempt.socket);
        self.servers[server].stream.ended();
        self.sockets[attempt.socket.0 as usize].rest(attempt.id, now + ID_QUARANTINE);
    }

    // How questions end.

    /// There is no answer; what there was instead is known.
    fn finish_failed(&mut self, place: u32, now: Duration) {
        let lookup = self.lookup(place);
        let status = lookup.status;
        let truncated = lookup.truncated.take();
        let reply = truncated.as_ref().filter(|_| status == Status::Truncated);
        let reply = reply.map(|truncated| ReplyFrom {
            socket: truncated.socket,
            message: &truncated.message,
            time: truncated.time,
        });
        self.finish(place, status, reply, now);
    }

    fn finish(&mut self, place: u32, status: Status, reply: Option<ReplyFrom<'_>>, now: Duration) {
        let lookup = self.remove(place, now);
        if status.is_definite()
            && let Some(reply) = reply
        {
            let server = self.server_of(reply.socket);
            self.servers[server].known_good = Some(lookup.question.clone());
        }
        let qtype = lookup.question.qtype();
        let answer = Answer {
            status,
            qtype,
            subject: match reply {
                Some(reply) => {
                    let mut message: Box<[u8]> = reply.message.into();
                    message::respell(&mut message, &lookup.question);
                    Subject::Reply(message)
                }
                None => Subject::Question(lookup.question),
            },
            server: reply.map(|reply| self.address(reply.socket)),
            transport: reply.map(|reply| self.transport(reply.socket)),
            last_reply: lookup.last_reply,
            attempts: lookup.attempts,
            round_trip: reply.map(|reply| reply.time),
            wait: lookup.first_sent_at.unwrap_or(now) - lookup.asked_at,
            time: now.saturating_sub(lookup.asked_at),
            ended_at: now,
        };
        for asker in lookup.other_askers {
            self.answers.push_back((asker, answer.clone()));
        }
        self.answers
            .extend(lookup.asker.map(|asker| (asker, answer)));
    }

    /// Removes a lookup with all its attempts.
    #[inline]
    fn remove(&mut self, place: u32, now: Duration) -> Lookup {
        self.timers.cancel(place);
        let mut lookup = self.lookups[place as usize].take().expect("a lookup");
        if lookup.probes.is_none() {
            self.by_question.remove(&lookup.question);
        }
        self.free.push(place);
        if let Some(attempt) = lookup.attempt.take() {
            self.forget_attempt(&attempt, now);
        }
        for attempt in std::mem::take(&mut lookup.earlier) {
            let ids = &mut self.sockets[attempt.socket.0 as usize];
            ids.rest(attempt.id, now + ID_QUARANTINE);
        }
        lookup
    }

    /// An attempt is under way that nobody waits for any more.
    fn forget_attempt(&mut self, attempt: &Attempt, now: Duration) {
        let server = self.server_of(attempt.socket);
        let asked = &mut self.servers[server];
        match attempt.place {
            Some(place) => asked.forget(place),
            None => asked.stream.ended(),
        }
        if attempt.is_probe {
            asked.circuit.probe_ended(now);
        }
        self.sockets[attempt.socket.0 as usize].rest(attempt.id, now + ID_QUARANTINE);
        if attempt.place.is_some() {
            self.look_at(server, now);
        } else {
            self.serve_stream(server, now);
        }
    }

    fn count_reply(&mut self, server: usize, reply: Reply, time: Duration, is_last: bool) {
        let measures = self.settings.measures_round_trips;
        let figures = &mut self.servers[server].figures;
        match reply {
            Reply::Foreign => return figures.mismatched += 1,
            Reply::Truncated => figures.truncated += 1,
            Reply::Answer(Status::NxDomain) => figures.answered(OptRcode::NXDOMAIN),
            Reply::Answer(_) | Reply::Malformed => figures.answered(OptRcode::NOERROR),
            Reply::Failure(rcode) => figures.answered(rcode),
        }
        figures.late += u64::from(!is_last);
        if measures {
            figures.record_round_trip(time);
        }
    }
}

fn refused_pause(refusals: u32) -> Duration {
    match refusals.checked_sub(2) {
        None => REFUSED_PAUSE_FIRST,
        Some(before) => {
            let doubled = REFUSED_PAUSE.saturating_mul(2_u32.saturating_pow(before));
            doubled.min(REFUSED_PAUSE_MAX)
        }
    }
}
