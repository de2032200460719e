//! Asks servers until each question has its answer. It does no input or output and has no clock:
//! whoever runs it sends what it wants sent, hands it what came, and calls it when time has passed.

use super::answer::{Answer, Status, Subject};
use super::figures::Figures;
use super::ids::{Holder, Ids};
use super::limit::Ending;
use super::message::{self, Reply, Spelling};
use super::question::Question;
use super::random::Random;
use super::server::Server;
use crate::io::Timers;
use crate::io::Transport;
use domain::base::iana::OptRcode;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the id of a query that was given up is not used again: by then its reply has come, or
/// never will.
const ID_REST: Duration = Duration::from_secs(10);

/// How long a reply in a stream is waited for; the connection may have to be made first.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait when every server has said that it will not answer, at first; then twice as long.
const UNWILLING_PAUSE: Duration = Duration::from_millis(100);

/// Of those that wait, so many may be passed over by others.
const PASSED_OVER_MAX: usize = 64;

/// Servers looked at for one question, at most.
const CANDIDATES_MAX: usize = 8;

/// How questions are asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to ask.
    pub servers: Vec<SocketAddr>,
    /// Sockets for each server, at least 1. All servers are asked from the same number of them.
    pub sockets_per_server: usize,
    /// Questions under way at one server at one time, at most.
    pub per_server_max: usize,
    /// Attempts after the first.
    pub retries: u32,
    /// The time for a question, all attempts together.
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

/// A question under way.
struct Lookup {
    question: Question,
    /// Whoever asked it first, and the others. If there is none, there are no others.
    asker: Option<u32>,
    other_askers: Vec<u32>,
    asked_at: Duration,
    first_sent_at: Option<Duration>,
    deadline: Duration,
    attempts: u32,
    /// The attempt under way.
    attempt: Option<Attempt>,
    last_server: Option<usize>,
    /// The server that said last that it will not answer.
    refused_by: Option<usize>,
    /// The server whose answer does not fit into a datagram.
    stream_to: Option<usize>,
    /// What came of the last attempt.
    status: Status,
}

/// A reply that answers a question.
#[derive(Clone, Copy)]
struct ReplyFrom<'a> {
    socket: SocketId,
    message: &'a [u8],
    /// It took so long.
    time: Duration,
}

struct Attempt {
    socket: SocketId,
    id: u16,
    has_edns: bool,
    /// The question as it was asked, if its spelling matters.
    spelled: Option<Question>,
    sent_at: Duration,
}

/// The questions of one loop and the servers they go to.
pub struct Resolver {
    settings: Settings,
    servers: Vec<Server>,
    sockets: Vec<Ids>,
    random: Random,
    lookups: Vec<Option<Lookup>>,
    free: Vec<u32>,
    by_question: HashMap<Question, u32>,
    /// By lookup: the end of the attempt, or of all of them.
    timers: Timers,
    /// Lookups without an attempt under way, for which no server has room.
    waiting: VecDeque<u32>,
    transmits: VecDeque<Transmit>,
    answers: VecDeque<(u32, Answer)>,
    next_server: usize,
    next_socket: usize,
}

impl Resolver {
    /// A resolver with nothing under way.
    ///
    /// # Panics
    /// Without servers or sockets.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_random(settings, Random::new())
    }

    pub(super) fn with_random(settings: Settings, random: Random) -> Self {
        assert!(!settings.servers.is_empty() && settings.sockets_per_server > 0);
        let (limit, rate) = (settings.per_server_max, settings.rate_per_server);
        let new_server = |&address| Server::new(address, limit, rate);
        let servers: Vec<Server> = settings.servers.iter().map(new_server).collect();
        let sockets = servers.len() * (settings.sockets_per_server + 1);
        Self {
            servers,
            sockets: std::iter::repeat_with(Ids::default).take(sockets).collect(),
            random,
            lookups: Vec::new(),
            free: Vec::new(),
            by_question: HashMap::new(),
            timers: Timers::default(),
            waiting: VecDeque::new(),
            transmits: VecDeque::new(),
            answers: VecDeque::new(),
            next_server: 0,
            next_socket: 0,
            settings,
        }
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
        let entry = match self.by_question.entry(question.clone()) {
            Entry::Vacant(entry) => entry,
            Entry::Occupied(known) => {
                let place = *known.get();
                self.lookup(place).other_askers.push(asker);
                return;
            }
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.lookups.push(None);
            u32::try_from(self.lookups.len() - 1).expect("fewer than 2^32 questions")
        });
        entry.insert(place);
        let deadline = now + self.settings.timeout;
        self.lookups[place as usize] = Some(Lookup {
            question,
            asker: Some(asker),
            other_askers: Vec::new(),
            asked_at: now,
            first_sent_at: None,
            deadline,
            attempts: 0,
            attempt: None,
            last_server: None,
            refused_by: None,
            stream_to: None,
            status: Status::Timeout,
        });
        // Those that wait already come first.
        if !self.waiting.is_empty() || !self.attempt(place, now) {
            self.timers.set(place, deadline);
            self.waiting.push_back(place);
        }
    }

    /// The next message to be sent.
    pub fn transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next answer, with whoever asked.
    pub fn answer(&mut self) -> Option<(u32, Answer)> {
        self.answers.pop_front()
    }

    /// How many more questions could be asked at once. While no server answers it is any number: they
    /// have to wait anyway, and their time is to run.
    #[must_use]
    pub fn room(&self, now: Duration) -> usize {
        if self.servers.iter().all(Server::is_aside) {
            return usize::MAX;
        }
        let room: usize = self.servers.iter().map(|server| server.room(now)).sum();
        room.saturating_sub(self.waiting.len())
    }

    /// When [`Resolver::time_passed`] is next to be called.
    pub fn wake_at(&mut self, now: Duration) -> Option<Duration> {
        let probe = match self.waiting.is_empty() {
            true => None,
            false => self.servers.iter().filter_map(Server::probe_at).min(),
        };
        let paced_until = |server: &Server| server.paced_until(now);
        let paced = match self.settings.rate_per_server {
            Some(_) => self.servers.iter().filter_map(paced_until).min(),
            None => None,
        };
        let next = [self.timers.next_due(), probe, paced];
        next.into_iter().flatten().min()
    }

    /// Gives up what has taken too long, and goes on with what had to wait.
    pub fn time_passed(&mut self, now: Duration) {
        while let Some(lookup) = self.timers.pop_due(now) {
            if let Some(attempt) = &self.lookup(lookup).attempt {
                let socket = attempt.socket;
                self.figures_of(socket).timeouts += 1;
                self.end_attempt(lookup, Ending::Lost, now);
                self.lookup(lookup).status = Status::Timeout;
            }
            self.try_again(lookup, now);
        }
        self.serve_waiting(now);
    }

    /// A message has come.
    pub fn received(&mut self, socket: SocketId, message: &[u8], now: Duration) {
        let ids = &self.sockets[socket.0 as usize];
        let lookup = match message::id(message).and_then(|id| ids.holder(id)) {
            Some(Holder::Query(lookup)) => lookup,
            Some(Holder::Resting) => return self.figures_of(socket).late += 1,
            None => return self.figures_of(socket).mismatched += 1,
        };
        let under_way = self.lookup(lookup);
        let attempt = under_way.attempt.as_ref().expect("it has an id");
        let time = now.saturating_sub(attempt.sent_at);
        let had_edns = attempt.has_edns;
        let reply = match &attempt.spelled {
            Some(question) => message::judge(message, question, Spelling::Exact),
            None => message::judge(message, &under_way.question, Spelling::Any),
        };
        self.count_reply(socket, reply, time);
        match reply {
            Reply::Foreign => return,
            Reply::Truncated => self.was_truncated(lookup, time, now),
            Reply::Answer(status) => {
                self.end_attempt(lookup, Ending::Answered(time), now);
                let reply = ReplyFrom {
                    socket,
                    message,
                    time,
                };
                self.finish(lookup, status, Some(reply), now);
            }
            Reply::Failure(OptRcode::FORMERR) if had_edns => {
                // The option may be what it does not understand.
                let server = self.server_of(socket);
                self.servers[server].is_plain = true;
                self.end_attempt(lookup, Ending::Answered(time), now);
                self.lookup(lookup).attempts -= 1;
                self.lookup(lookup).status = Status::Rcode(OptRcode::FORMERR);
                self.try_again(lookup, now);
            }
            Reply::Failure(rcode) => self.is_unwilling(socket, lookup, Status::Rcode(rcode), now),
            Reply::Malformed => self.is_unwilling(socket, lookup, Status::Malformed, now),
        }
        self.serve_waiting(now);
    }

    /// The server has no answer to the question, and this is why; another may have one.
    fn is_unwilling(&mut self, socket: SocketId, place: u32, status: Status, now: Duration) {
        self.end_attempt(place, Ending::Unwilling, now);
        let server = self.server_of(socket);
        let lookup = self.lookup(place);
        lookup.refused_by = Some(server);
        lookup.status = status;
        self.try_again_later(place, now);
    }

    /// The stream has ended: what it was asked and has not answered is asked anew.
    pub fn disconnected(&mut self, socket: SocketId, now: Duration) {
        self.lose_all(socket, Ending::Closed, Status::Truncated, now);
    }

    /// A socket has told that nobody listens at its server: all it was asked is lost.
    pub fn refused(&mut self, socket: SocketId, now: Duration) {
        match self.transport(socket) {
            Transport::Datagram => self.lose_all(socket, Ending::Absent, Status::Unreachable, now),
            // It may well answer otherwise.
            Transport::Stream => self.lose_all(socket, Ending::Closed, Status::Truncated, now),
        }
    }

    fn lose_all(&mut self, socket: SocketId, ending: Ending, status: Status, now: Duration) {
        let lost: Vec<u32> = self.sockets[socket.0 as usize].queries().collect();
        for lookup in lost {
            self.end_attempt(lookup, ending, now);
            self.lookup(lookup).status = status;
            self.try_again(lookup, now);
        }
        self.serve_waiting(now);
    }

    /// The whole answer is to be had in a stream. That is no new attempt.
    fn was_truncated(&mut self, place: u32, time: Duration, now: Duration) {
        let server = self.lookup(place).last_server;
        self.end_attempt(place, Ending::Answered(time), now);
        let lookup = self.lookup(place);
        lookup.status = Status::Truncated;
        if lookup.stream_to.is_none() {
            lookup.attempts -= 1;
        }
        lookup.stream_to = server;
        self.try_again(place, now);
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
            if let Some(attempt) = lookup.attempt.take() {
                let server = self.server_of(attempt.socket);
                self.servers[server].forget();
                self.sockets[attempt.socket.0 as usize].rest(attempt.id, now + ID_REST);
            }
            self.waiting.retain(|&waiting| waiting != place);
            self.remove(place);
        }
    }

    /// The ids of all queries under way.
    #[cfg(test)]
    pub(super) fn ids_under_way(&self) -> Vec<(SocketId, u16)> {
        let attempts = self
            .lookups
            .iter()
            .flatten()
            .filter_map(|lookup| lookup.attempt.as_ref());
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

    /// Sends the question to a server that has room. False if there is none.
    fn attempt(&mut self, place: u32, now: Duration) -> bool {
        let Lookup {
            last_server,
            refused_by,
            stream_to,
            ..
        } = *self.lookup(place);
        let chosen = stream_to.or_else(|| self.choose_server(last_server, refused_by, now));
        let Some(server) = chosen else {
            return false;
        };
        let Some((socket, id)) = self.take_id(place, server, stream_to.is_some(), now) else {
            return false;
        };
        let chosen = &mut self.servers[server];
        chosen.ask(now);
        let (has_edns, timeout) = (!chosen.is_plain, chosen.timeout());
        let mixes_case = self.settings.mixes_case;
        let lookup = self.lookups[place as usize]
            .as_mut()
            .expect("a lookup under way");
        let spelled = mixes_case.then(|| lookup.question.respelled(&mut self.random));
        let question = spelled.as_ref().unwrap_or(&lookup.question);
        let message = message::query(id, question, has_edns);
        lookup.attempts += 1;
        lookup.first_sent_at.get_or_insert(now);
        lookup.last_server = Some(server);
        lookup.attempt = Some(Attempt {
            socket,
            id,
            has_edns,
            spelled,
            sent_at: now,
        });
        let timeout = stream_to.map_or(timeout, |_| STREAM_TIMEOUT);
        let until = (now + timeout).min(lookup.deadline);
        self.timers.set(place, until);
        self.transmits.push_back(Transmit { socket, message });
        self.servers[server].figures.sent += 1;
        true
    }

    fn count_reply(&mut self, socket: SocketId, reply: Reply, time: Duration) {
        let measures = self.settings.measures_round_trips;
        let figures = self.figures_of(socket);
        match reply {
            Reply::Foreign => return figures.mismatched += 1,
            Reply::Truncated => figures.truncated += 1,
            Reply::Answer(Status::NxDomain) => figures.answered(OptRcode::NXDOMAIN),
            Reply::Answer(_) | Reply::Malformed => figures.answered(OptRcode::NOERROR),
            Reply::Failure(rcode) => figures.answered(rcode),
        }
        if measures {
            figures.record_round_trip(time);
        }
    }

    fn figures_of(&mut self, socket: SocketId) -> &mut Figures {
        let server = self.server_of(socket);
        &mut self.servers[server].figures
    }

    /// A free id on one of the sockets for this server.
    fn take_id(
        &mut self,
        place: u32,
        server: usize,
        in_stream: bool,
        now: Duration,
    ) -> Option<(SocketId, u16)> {
        let per_server = self.settings.sockets_per_server;
        let (first, count) = match in_stream {
            true => (self.datagram_sockets() + server, 1),
            false => (server * per_server, per_server),
        };
        self.next_socket = self.next_socket.wrapping_add(1);
        (0..count).find_map(|step| {
            let socket = first + (self.next_socket + step) % count;
            let id = self.sockets[socket].take(place, &mut self.random, now)?;
            let socket = u32::try_from(socket).expect("fewer than 2^32 sockets");
            Some((SocketId(socket), id))
        })
    }

    /// The server with the least to do, of some: not the one that has just failed, if another has room,
    /// and not the one that has refused, if there is another at all.
    fn choose_server(
        &mut self,
        last: Option<usize>,
        refused_by: Option<usize>,
        now: Duration,
    ) -> Option<usize> {
        let count = self.servers.len();
        let is_there = |server: usize| !self.servers[server].is_aside();
        let avoided =
            refused_by.filter(|&it| (0..count).any(|other| other != it && is_there(other)));
        let may_ask = |server: usize| Some(server) != avoided && self.servers[server].has_room(now);
        self.next_server = (self.next_server + 1) % count;
        let candidates =
            (0..count.min(CANDIDATES_MAX)).map(|step| (self.next_server + step) % count);
        let with_room = candidates.filter(|&server| may_ask(server));
        let rank = |server: usize| (Some(server) == last, self.servers[server].load());
        let best = with_room.min_by(|&a, &b| {
            let ((a_again, a_load), (b_again, b_load)) = (rank(a), rank(b));
            a_again.cmp(&b_again).then(a_load.total_cmp(&b_load))
        });
        best.or_else(|| (0..count).find(|&server| may_ask(server)))
    }

    /// The attempt under way is over.
    fn end_attempt(&mut self, place: u32, ending: Ending, now: Duration) {
        let lookup = self.lookup(place);
        let attempt = lookup.attempt.take().expect("an attempt under way");
        if matches!(ending, Ending::Lost | Ending::Unwilling) {
            // Another server may give all of it.
            lookup.stream_to = None;
        }
        let server = self.server_of(attempt.socket);
        self.servers[server].end(ending, now);
        let ids = &mut self.sockets[attempt.socket.0 as usize];
        match ending {
            Ending::Answered(_) | Ending::Unwilling | Ending::Closed => ids.free(attempt.id),
            Ending::Lost | Ending::Absent => ids.rest(attempt.id, now + ID_REST),
        }
    }

    /// Makes another attempt, now or when a server has room, unless there were enough.
    fn try_again(&mut self, place: u32, now: Duration) {
        let attempts_max = self.settings.retries.saturating_add(1);
        let lookup = self.lookup(place);
        if lookup.attempts >= attempts_max || lookup.deadline <= now {
            let status = lookup.status;
            return self.finish(place, status, None, now);
        }
        let deadline = lookup.deadline;
        self.timers.set(place, deadline);
        self.waiting.push_back(place);
    }

    /// The same, but to ask at once is only for servers that have not been asked.
    fn try_again_later(&mut self, place: u32, now: Duration) {
        let servers = self.servers.len();
        let Lookup {
            attempts, deadline, ..
        } = *self.lookup(place);
        let rounds = attempts as usize / servers;
        if rounds == 0 || attempts > self.settings.retries {
            return self.try_again(place, now);
        }
        let doubled =
            u32::try_from(rounds - 1).map_or(u32::MAX, |power| 2_u32.saturating_pow(power));
        let pause = UNWILLING_PAUSE.saturating_mul(doubled);
        self.timers
            .set(place, deadline.min(now.saturating_add(pause)));
    }

    /// Goes on with those that wait, for as long as servers have room.
    fn serve_waiting(&mut self, now: Duration) {
        let mut passed_over = 0;
        while let Some(&place) = self.waiting.get(passed_over) {
            let lookup = self.lookups[place as usize].as_ref();
            let waits = lookup.is_some_and(|lookup| lookup.attempt.is_none());
            if !waits || self.attempt(place, now) {
                self.waiting.remove(passed_over);
                continue;
            }
            let has_room = self.servers.iter().any(|server| server.has_room(now));
            if !has_room || passed_over == PASSED_OVER_MAX {
                return;
            }
            // It waits for another server than those which have room.
            passed_over += 1;
        }
    }

    fn finish(&mut self, place: u32, status: Status, reply: Option<ReplyFrom<'_>>, now: Duration) {
        let lookup = self.remove(place);
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

    #[inline]
    fn remove(&mut self, place: u32) -> Lookup {
        self.timers.cancel(place);
        let lookup = self.lookups[place as usize]
            .take()
            .expect("a lookup under way");
        self.by_question.remove(&lookup.question);
        self.free.push(place);
        lookup
    }
}
