//! A simulated network, and servers with faults.

use crate::jobs::dns::message;
use crate::jobs::dns::random::Random;
use crate::jobs::dns::resolver::Transmit;
use crate::jobs::dns::sockets::SocketId;
use domain::base::iana::{Class, Rcode};
use domain::base::message::Message;
use domain::base::message_builder::MessageBuilder;
use domain::base::name::{Name, ToName};
use domain::base::{Rtype, Ttl};
use domain::rdata::A;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

/// The faults; numbers without a unit are percentages.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) lost: u64,
    pub(super) delayed: u64,
    pub(super) forged: u64,
    pub(super) doubled: u64,
    pub(super) servfail: u64,
    /// Replies with records that do not belong to the question.
    pub(super) alien: u64,
    pub(super) edns: Edns,
    /// The server with this number is down between these times, in milliseconds.
    pub(super) down: Option<(usize, u64, u64)>,
    /// The server with this number never replies.
    pub(super) silent: Option<usize>,
    /// Names that no server ever answers.
    pub(super) dead: u64,
    /// Names that are answered seconds later.
    pub(super) slow: u64,
    /// Names whose answers do not fit into a datagram.
    pub(super) long: u64,
    pub(super) streams: Streams,
    /// This many queries may wait at a server for their answers; it drops others.
    pub(super) queue: Option<usize>,
    /// A server answers this many queries per second; it drops others.
    pub(super) rate: Option<u64>,
    /// Every reply takes this much longer, in milliseconds.
    pub(super) latency_ms: u64,
}

/// What becomes of queries with the OPT record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Edns {
    #[default]
    Understood,
    Refused(Rcode),
    Dropped,
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Streams {
    #[default]
    Served,
    /// Each is closed when it has answered this many queries.
    ClosedAfter(usize),
    Refused,
    Silent,
}

/// The kind of a message from a server, as far as the rules distinguish kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Says {
    Answer,
    Truncated,
    /// This code instead of an answer.
    Failure(u8),
    /// To be ignored: it is forged, or a duplicate.
    Nothing,
}

/// An event for the resolver.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Message {
        message: Vec<u8>,
        says: Says,
        /// The query it was sent for, by its number.
        query: usize,
    },
    /// Nothing listens at the server, or the connection is refused.
    Refused,
    /// The connection is closed.
    Closed,
}

#[derive(Debug, Default)]
struct Connection {
    /// Queries that it has answered or will answer.
    taken: usize,
    /// When its last reply arrives.
    last_at: Duration,
    is_closing: bool,
}

/// Servers that know which names exist: those with an even number.
pub(super) struct Network {
    pub(super) faults: Faults,
    pub(super) now: Duration,
    random: Random,
    servers: usize,
    /// Events on their way to the resolver, by time.
    events: BinaryHeap<Reverse<(Duration, SocketId, Event)>>,
    /// When each server will have answered its queries.
    busy: HashMap<usize, Vec<Duration>>,
    /// The token bucket of each server: tokens, and when they were last updated.
    tokens: HashMap<usize, (f64, Duration)>,
    connections: HashMap<SocketId, Connection>,
    /// The ids of the queries so far.
    ids: HashSet<(SocketId, u16)>,
    queries: usize,
}

/// Sockets for datagrams, for each server.
pub(super) const SOCKETS: usize = 2;

pub(super) fn exists(number: u32) -> bool {
    number.is_multiple_of(2)
}

/// From 0 to 99, for dead, slow and long names.
pub(super) fn kind_of(number: u32) -> u64 {
    u64::from(number.wrapping_mul(0x9e37_79b1) >> 16) % 100
}

pub(super) fn number_of(query: &[u8]) -> u32 {
    let len = usize::from(query[12]);
    std::str::from_utf8(&query[14..13 + len])
        .unwrap()
        .parse()
        .unwrap()
}

pub(super) fn has_edns(query: &[u8]) -> bool {
    Message::from_slice(query).unwrap().opt().is_some()
}

/// The reply of an honest server: its answer, or this code instead.
pub(super) fn reply(query: &[u8], rcode: Option<Rcode>) -> Vec<u8> {
    reply_with(query, rcode, false)
}

fn reply_with(query: &[u8], rcode: Option<Rcode>, has_alien: bool) -> Vec<u8> {
    let name_exists = exists(number_of(query));
    let query = Message::from_slice(query).unwrap();
    let asked = query.sole_question().unwrap();
    let name: Name<Vec<u8>> = asked.qname().try_to_name().unwrap();
    let honest = match name_exists {
        true => Rcode::NOERROR,
        false => Rcode::NXDOMAIN,
    };
    let mut reply = MessageBuilder::new_vec()
        .start_answer(query, rcode.unwrap_or(honest))
        .unwrap();
    let ttl = Ttl::from_secs(60);
    let forged = A::new(Ipv4Addr::new(203, 0, 113, 66));
    if has_alien {
        let other: Name<Vec<u8>> = "other.example".parse().unwrap();
        reply.push((&other, ttl, forged.clone())).unwrap();
        reply.push((&name, Class::CH, ttl, forged)).unwrap();
    }
    if rcode.is_none() && name_exists && asked.qtype() == Rtype::A {
        let data = A::new(Ipv4Addr::new(192, 0, 2, 1));
        reply.push((&name, ttl, data)).unwrap();
    }
    reply.finish()
}

impl Network {
    pub(super) fn new(faults: Faults, servers: usize, seed: u64) -> Self {
        Self {
            faults,
            now: Duration::ZERO,
            random: Random::seeded(seed),
            servers,
            events: BinaryHeap::new(),
            busy: HashMap::new(),
            tokens: HashMap::new(),
            connections: HashMap::new(),
            ids: HashSet::new(),
            queries: 0,
        }
    }

    /// The server that a socket is for, and whether it is a stream.
    pub(super) fn server_of(&self, socket: SocketId) -> (usize, bool) {
        let socket = socket.0 as usize;
        match socket.checked_sub(SOCKETS * self.servers) {
            None => (socket / SOCKETS, false),
            Some(server) => (server, true),
        }
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.events.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next event, if it is due.
    pub(super) fn pop(&mut self) -> Option<(SocketId, Event)> {
        if self.next_at()? > self.now {
            return None;
        }
        let Reverse((_, socket, event)) = self.events.pop()?;
        if event == Event::Closed {
            self.connections.remove(&socket);
        }
        Some((socket, event))
    }

    fn percent(&mut self, percent: u64) -> bool {
        u64::from(self.random.next_u16()) % 100 < percent
    }

    fn random_ms(&mut self, from: u64, until: u64) -> Duration {
        Duration::from_millis(from + u64::from(self.random.next_u16()) % (until - from))
    }

    fn push(&mut self, delay: Duration, socket: SocketId, event: Event) {
        self.events.push(Reverse((self.now + delay, socket, event)));
    }

    fn reply(
        &mut self,
        delay: Duration,
        socket: SocketId,
        message: Vec<u8>,
        says: Says,
        query: usize,
    ) {
        let event = Event::Message {
            message,
            says,
            query,
        };
        self.push(delay, socket, event);
    }

    /// Delivers a query to its server. Queries are numbered in this order.
    pub(super) fn send(&mut self, transmit: Transmit) {
        let query = self.queries;
        self.queries += 1;
        let (server, is_stream) = self.server_of(transmit.socket);
        match is_stream {
            true => self.ask_in_stream(transmit, query),
            false => self.ask(transmit, query, server),
        }
    }

    fn ask(&mut self, Transmit { socket, message }: Transmit, query: usize, server: usize) {
        let number = number_of(&message);
        let mut delay = self.usual_delay();
        let now_ms = self.now.as_millis() as u64;
        let is_down =
            |(down, from_ms, until_ms)| down == server && (from_ms..until_ms).contains(&now_ms);
        if self.faults.down.is_some_and(is_down) {
            return self.push(delay, socket, Event::Refused);
        }
        let id = message::id(&message).expect("a query has an id");
        self.ids.insert((socket, id));
        if self.percent(self.faults.forged) {
            let mut message = reply(&message, Some(Rcode::NXDOMAIN));
            match self.random.next_u16() % 3 {
                // Another id (not that of an earlier query for the same name), another name, or not a
                // reply.
                0 if !self.ids.contains(&(socket, id ^ 0x5500)) => message[0] ^= 0x55,
                1 => message[13] ^= 0x01,
                _ => message[2] &= 0x7f,
            }
            self.reply(Duration::ZERO, socket, message, Says::Nothing, query);
        }
        let is_dead = kind_of(number) < self.faults.dead || self.faults.silent == Some(server);
        if self.percent(self.faults.lost) || is_dead {
            return;
        }
        if kind_of(number) >= 100 - self.faults.slow {
            delay += self.random_ms(500, 5_000);
        } else if self.percent(self.faults.delayed) {
            delay += self.random_ms(0, 5_000);
        }
        if !self.takes(server, delay) {
            return;
        }
        let edns = match has_edns(&message) {
            true => self.faults.edns,
            false => Edns::Understood,
        };
        let failure = match edns {
            Edns::Dropped => return,
            Edns::Refused(rcode) => Some(rcode),
            Edns::Understood => self
                .percent(self.faults.servfail)
                .then_some(Rcode::SERVFAIL),
        };
        let has_alien = self.percent(self.faults.alien);
        let mut message = reply_with(&message, failure, has_alien);
        let says = match failure {
            Some(rcode) => Says::Failure(rcode.to_int()),
            None if self.is_long(number) => {
                message::set_truncated(&mut message);
                Says::Truncated
            }
            None => Says::Answer,
        };
        if self.percent(self.faults.doubled) {
            self.reply(delay * 2, socket, message.clone(), Says::Nothing, query);
        }
        self.reply(delay, socket, message, says, query);
    }

    fn is_long(&self, number: u32) -> bool {
        let kind = kind_of(number);
        (50..50 + self.faults.long).contains(&kind)
    }

    fn usual_delay(&mut self) -> Duration {
        let random = Duration::from_micros(200 + u64::from(self.random.next_u16()) % 5_000);
        random + Duration::from_millis(self.faults.latency_ms)
    }

    fn ask_in_stream(&mut self, Transmit { socket, message }: Transmit, query: usize) {
        let (delay, now) = (self.usual_delay(), self.now);
        let connection = self.connections.entry(socket).or_default();
        let taken_max = match self.faults.streams {
            Streams::Silent => return,
            Streams::Refused => return self.push(delay, socket, Event::Refused),
            Streams::Served => usize::MAX,
            Streams::ClosedAfter(count) => count,
        };
        if connection.is_closing {
            return;
        }
        connection.taken += 1;
        connection.last_at = connection.last_at.max(now + delay);
        connection.is_closing = connection.taken >= taken_max;
        let (at, is_closing) = (connection.last_at, connection.is_closing);
        let message = reply(&message, None);
        self.reply(at - now, socket, message, Says::Answer, query);
        if is_closing {
            self.push(at - now + Duration::from_micros(1), socket, Event::Closed);
        }
    }

    /// False if the server drops the query because there are too many.
    fn takes(&mut self, server: usize, delay: Duration) -> bool {
        let now = self.now;
        let busy = self.busy.entry(server).or_default();
        busy.retain(|&until| until > now);
        if self.faults.queue.is_some_and(|queue| busy.len() >= queue) {
            return false;
        }
        if let Some(rate) = self.faults.rate {
            let burst = (rate as f64 / 50.0).max(1.0);
            let (tokens, since) = self.tokens.entry(server).or_insert((burst, now));
            *tokens = (*tokens + (now - *since).as_secs_f64() * rate as f64).min(burst);
            *since = now;
            if *tokens < 1.0 {
                return false;
            }
            *tokens -= 1.0;
        }
        busy.push(now + delay);
        true
    }
}
