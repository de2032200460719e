//! What is known of the queries of one loop from the messages that went to the servers, as far as that
//! decides when the next may go. It errs on the side of less room.

use ringmill::io::Transport;
use ringmill::io::sim::SentMessage;
use std::collections::HashMap;
use std::time::Duration;

/// No attempt is waited for longer, nor a server that does not answer left alone, but for attempts in
/// streams.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

/// Those are waited for twice as long: the connection has to be made first. The tests of the resolver know
/// more; a bound is enough to tell a wait for the end of all attempts, which is twice as long again.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// By then a reply has come, if one comes at all: the network takes 131 ms at most.
const REPLY_MAX: Duration = Duration::from_millis(200);

/// So many queries one server is always allowed at one time, all loops together, if the settings do.
const LIMIT_MIN: usize = 4;

/// A server is not given up before so many queries in a row had no reply.
const LOSSES_MAX: usize = 16;

/// What may be sent at once when there is a rate: as much as is due in this time.
const BURST: Duration = Duration::from_millis(10);

/// Timers that a loop without names may still wait for, one after the other: one that was set for an
/// attempt which has ended, one for the rate, one for other loops.
const IDLE_TIMERS_MAX: usize = 4;

pub struct Model {
    servers: Vec<Server>,
    limit: usize,
    interval: Option<Duration>,
    /// When each name was last asked about.
    asked_at: HashMap<usize, Duration>,
    /// The timer it waited for last without names, and how many there were so far.
    idle_timers: (Option<Duration>, usize),
}

#[derive(Default)]
struct Server {
    sent: Vec<Sent>,
    /// When the next query would be due, were they evenly spread.
    due: Duration,
}

#[derive(Clone, Copy)]
struct Sent {
    at: Duration,
    is_lost: bool,
    in_stream: bool,
    /// It holds its place although it is refused at once: a server that refuses what is too much must not be
    /// asked all the more.
    is_refused: bool,
}

impl Server {
    /// True if a query can be sent for certain, but for the rate: fewer than are always allowed may be
    /// under way, and it has not been given up.
    fn has_room(&self, limit: usize, now: Duration) -> bool {
        let may_be_under_way = |sent: &&Sent| {
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
        self.sent.iter().filter(may_be_under_way).count() < limit
            && self.sent.iter().filter(is_loss).count() < LOSSES_MAX
    }
}

impl Model {
    pub fn new(servers: u8, loops: usize, per_server_max: usize, rate: Option<f64>) -> Self {
        // Both round theirs.
        let interval = |rate| Duration::from_secs_f64(1.0 / rate) + Duration::from_nanos(1);
        Self {
            servers: (0..servers).map(|_| Server::default()).collect(),
            // A loop has the smallest share of it, but may always ask one.
            limit: (per_server_max.min(LIMIT_MIN) / loops).max(1),
            interval: rate.map(interval),
            asked_at: HashMap::new(),
            idle_timers: (None, 0),
        }
    }

    /// Takes note of queries.
    pub fn note(&mut self, sent: Vec<SentMessage>) {
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

    /// When a server takes another query for certain.
    pub fn next_slot(&self, now: Duration) -> Option<Duration> {
        let with_room = self
            .servers
            .iter()
            .filter(|server| server.has_room(self.limit, now));
        with_room
            .map(|server| server.due.saturating_sub(BURST))
            .min()
    }

    /// When one of the names may be asked about at the latest, as far as that is certain: when its last
    /// attempt must have ended and a server takes another query.
    pub fn first_due(&self, numbers: &[usize], now: Duration) -> Option<Duration> {
        let slot = self.next_slot(now)?;
        let may_go_anywhere = |number: usize| {
            // One server refuses these, and the others alone are asked then.
            let is_refused = self.servers.len() > 1 && number.is_multiple_of(7);
            // These are asked about again in a stream.
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
