//! What is known of the queries of one loop from the messages to the servers, as far as it decides when
//! the next query may be sent. Where this is uncertain, the model assumes less room.

use ringmill::io::Transport;
use ringmill::io::sim::SentMessage;
use std::collections::HashMap;
use std::time::Duration;

/// No attempt is waited for longer, and no server without answers is left alone for longer. Attempts
/// over streams are an exception.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

/// Attempts over streams are waited for twice as long: the connection has to be made first. The tests
/// of the resolver are more exact; a bound is enough to detect a wait for the end of all attempts,
/// which is twice as long again.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// By this time a reply has arrived, if one arrives at all: the network takes 131 ms at most.
const REPLY_MAX: Duration = Duration::from_millis(200);

/// A server is always allowed this many queries at a time, by all loops together, if the settings allow
/// as many.
const LIMIT_MIN: usize = 4;

/// A server is not given up before this many queries in a row had no reply.
const LOSSES_MAX: usize = 16;

/// With a rate, as many queries may be sent at once as are due in this time.
const BURST: Duration = Duration::from_millis(10);

/// Timers that a loop without names may still wait for, one after the other: one that was set for an
/// attempt that has ended, one for the rate, one for other loops.
const IDLE_TIMERS_MAX: usize = 4;

pub struct Model {
    servers: Vec<Server>,
    limit: usize,
    interval: Option<Duration>,
    /// When each name was last queried.
    asked_at: HashMap<usize, Duration>,
    /// The timer that the loop last waited for without names, and how many there were so far.
    idle_timers: (Option<Duration>, usize),
}

#[derive(Default)]
struct Server {
    sent: Vec<Sent>,
    /// When the next query would be due if they were evenly spread.
    due: Duration,
}

#[derive(Clone, Copy)]
struct Sent {
    at: Duration,
    is_lost: bool,
    in_stream: bool,
    /// It keeps its place although it is refused at once: a server that refuses because of its load
    /// must not get even more queries.
    is_refused: bool,
}

impl Server {
    /// True if a query can certainly be sent, apart from the rate: fewer queries than are always
    /// allowed may be in flight, and the server has not been given up.
    fn has_room(&self, limit: usize, now: Duration) -> bool {
        let may_be_in_flight = |sent: &&Sent| {
            let time_max = if sent.is_lost || sent.in_stream || sent.is_refused {
                ATTEMPT_MAX
            } else {
                REPLY_MAX
            };
            sent.at + time_max > now
        };
        let has_reply =
            |sent: &&Sent| !sent.is_lost && !sent.in_stream && sent.at + REPLY_MAX <= now;
        // A query that was lost before the last reply may be found lost after it.
        let last_reply = self.sent.iter().filter(has_reply).map(|sent| sent.at).max();
        let since = last_reply.map_or(Duration::ZERO, |at| at.saturating_sub(ATTEMPT_MAX));
        let is_loss = |sent: &&Sent| sent.at >= since && (sent.is_lost || sent.in_stream);
        self.sent.iter().filter(may_be_in_flight).count() < limit
            && self.sent.iter().filter(is_loss).count() < LOSSES_MAX
    }
}

impl Model {
    pub fn new(servers: u8, loops: usize, per_server_max: usize, rate: Option<f64>) -> Self {
        // The resolver and this model both round it.
        let interval = |rate| Duration::from_secs_f64(1.0 / rate) + Duration::from_nanos(1);
        Self {
            servers: (0..servers).map(|_| Server::default()).collect(),
            // A loop has the smallest share of the limit, but may always send one query.
            limit: (per_server_max.min(LIMIT_MIN) / loops).max(1),
            interval: rate.map(interval),
            asked_at: HashMap::new(),
            idle_timers: (None, 0),
        }
    }

    /// Records queries that were sent.
    pub fn note(&mut self, sent: &[SentMessage]) {
        for message in sent {
            let server = &mut self.servers[usize::from(message.server.port() - 1000)];
            let number = super::number(&message.bytes);
            let in_stream = message.transport == Transport::Stream;
            let (at, is_lost) = (message.at, message.is_lost);
            server.sent.push(Sent {
                at,
                is_lost,
                in_stream,
                is_refused: number.is_some_and(|number| super::refuses(message.server, number)),
            });
            // The generic cell rate algorithm (ITU-T I.371, annex A).
            if let Some(interval) = self.interval {
                server.due = server.due.max(at) + interval;
            }
            if let Some(number) = number {
                self.asked_at.insert(number, at);
            }
        }
    }

    /// When a server certainly accepts another query.
    pub fn next_slot(&self, now: Duration) -> Option<Duration> {
        let with_room = self
            .servers
            .iter()
            .filter(|server| server.has_room(self.limit, now));
        with_room
            .map(|server| server.due.saturating_sub(BURST))
            .min()
    }

    /// The latest time at which one of the names may be queried, as far as it is certain: when its last
    /// attempt must have ended and a server accepts another query.
    pub fn first_due(&self, numbers: &[usize], now: Duration) -> Option<Duration> {
        let slot = self.next_slot(now)?;
        let may_go_anywhere = |number: usize| {
            // One server refuses these, and then only the others are asked.
            let is_refused = self.servers.len() > 1 && number.is_multiple_of(7);
            // These are queried again over a stream.
            let was_cut = number % 5 == 4 && self.asked_at.contains_key(&number);
            !is_refused && !was_cut
        };
        let numbers = numbers
            .iter()
            .copied()
            .filter(|&number| may_go_anywhere(number));
        let free_at = numbers.map(|number| {
            let asked_at = self.asked_at.get(&number);
            asked_at.map_or(Duration::ZERO, |&at| at + ATTEMPT_MAX)
        });
        free_at.min().map(|at| at.max(slot).max(now))
    }

    /// Checks that a loop without names soon has no timers.
    pub fn waits(&mut self, until: Option<Duration>, is_idle: bool) {
        let (last, count) = &mut self.idle_timers;
        if !is_idle || until.is_none() {
            (*last, *count) = (None, 0);
        } else if *last != until {
            (*last, *count) = (until, *count + 1);
            assert!(
                *count <= IDLE_TIMERS_MAX,
                "I15: a loop without names has timers"
            );
        }
    }
}
