//! A simulated network: servers that reply, and faults on the way.

use super::random::Random;
use crate::error::Errno;
use crate::io::socket_calls::Transport;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// The replies of the servers, and the faults of the network.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The result of a connect of a stream to this address; `None`: there never is one.
    pub connect: fn(SocketAddr) -> Option<Result<(), Errno>>,
    /// The reply of the server at this address to a message; `None` if it does not reply.
    pub answer: fn(SocketAddr, Transport, &[u8]) -> Option<Vec<u8>>,
    /// What the server at this address sends first in a stream.
    pub greeting: fn(SocketAddr) -> Option<Greeting>,
    /// The messages in streams.
    pub framing: Framing,
    /// Percentage of datagrams that are lost.
    pub lost: u8,
    /// Percentage of datagrams that arrive twice, and of replies in a stream after which the server sends the same
    /// again, together with the end of the first.
    pub doubled: u8,
    /// Percentage of messages in a stream after which the server closes it.
    pub closed: u8,
    /// Percentage of replies in a stream of which only a part arrives, or nothing at all. Then the stream ends, or
    /// is reset, or nothing more arrives.
    pub cut_off: u8,
}

/// What a server sends without being asked.
#[derive(Clone, Copy, Debug)]
pub struct Greeting {
    /// The time from the connect until it arrives.
    pub after: Duration,
    /// The content.
    pub bytes: &'static [u8],
}

/// How messages in streams are told apart.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// Each follows its length, in two bytes.
    LengthPrefixed,
    /// This function finds the length of the first one, if all of it is there.
    Bare(fn(&[u8]) -> Option<usize>),
}

impl Framing {
    /// The first message, and what follows it.
    fn first_message<'a>(&self, stream: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        match self {
            Self::LengthPrefixed => {
                let (len, rest) = stream.split_first_chunk()?;
                rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
            }
            Self::Bare(len) => stream.split_at_checked(len(stream)?),
        }
    }

    fn frame(&self, reply: Vec<u8>) -> Vec<u8> {
        match self {
            Self::LengthPrefixed => {
                let len = u16::try_from(reply.len()).expect("a message is short");
                [&len.to_be_bytes()[..], &reply].concat()
            }
            Self::Bare(_) => reply,
        }
    }
}

/// A message that was sent to a server.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// When it was sent.
    pub at: Duration,
    /// The server's address.
    pub server: SocketAddr,
    /// The transport.
    pub transport: Transport,
    /// The content.
    pub bytes: Vec<u8>,
    /// No whole reply will arrive: the message is lost, or the server does not reply.
    pub is_lost: bool,
}

/// A socket, and the data on its way to it.
#[derive(Debug)]
pub(super) struct SimSocket {
    server: SocketAddr,
    transport: Transport,
    is_connected: bool,
    /// Bytes sent in a stream that are not yet a whole message.
    sent: Vec<u8>,
    /// Data with the time at which it arrives. No bytes mean the end of a stream, an errno its reset.
    arriving: VecDeque<(Duration, Result<Vec<u8>, Errno>)>,
    /// The server sends nothing more in this stream.
    has_ended: bool,
    /// The reset of the stream was received.
    was_reset: bool,
}

impl SimSocket {
    pub(super) fn new(server: SocketAddr, transport: Transport) -> Self {
        Self {
            server,
            transport,
            is_connected: false,
            sent: Vec::new(),
            arriving: VecDeque::new(),
            has_ended: false,
            was_reset: false,
        }
    }

    /// The result of a connect; `None` if there never is one.
    pub(super) fn connected(&self, network: &Network) -> Option<Result<(), Errno>> {
        match self.transport {
            Transport::Datagram => Some(Ok(())),
            Transport::Stream => (network.connect)(self.server),
        }
    }

    pub(super) fn set_connected(&mut self, network: &Network, now: Duration) {
        self.is_connected = true;
        if let Some(server) = self.peer()
            && let Some(Greeting { after, bytes }) = (network.greeting)(server)
        {
            self.arriving.push_back((now + after, Ok(bytes.to_vec())));
        }
    }

    /// The server of a stream that is connected.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        (self.is_connected && self.transport == Transport::Stream).then_some(self.server)
    }

    /// Sends the bytes, or the first part of them; returns how many.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        network: &Network,
        now: Duration,
        random: &mut Random,
        log: &mut Vec<SentMessage>,
    ) -> Result<usize, Errno> {
        match self.transport {
            Transport::Datagram => {
                let comes = self.send_datagram(bytes, network, now, random);
                log.push(self.sent_message(bytes, now, !comes));
                Ok(bytes.len())
            }
            Transport::Stream => {
                let is_reset = |(at, data): &(Duration, Result<_, _>)| *at <= now && data.is_err();
                if self.was_reset || self.arriving.iter().any(is_reset) {
                    return Err(Errno::new(libc::EPIPE));
                }
                let count = 1 + random.below(bytes.len());
                self.sent.extend_from_slice(&bytes[..count]);
                self.answer_stream(network, now, random, log);
                Ok(count)
            }
        }
    }

    fn sent_message(&self, bytes: &[u8], at: Duration, is_lost: bool) -> SentMessage {
        SentMessage {
            at,
            server: self.server,
            transport: self.transport,
            bytes: bytes.to_vec(),
            is_lost,
        }
    }

    /// True if a reply will arrive.
    fn send_datagram(
        &mut self,
        bytes: &[u8],
        network: &Network,
        now: Duration,
        random: &mut Random,
    ) -> bool {
        let copies = 1 + usize::from(random.percent(network.doubled));
        let mut comes = false;
        for _ in 0..copies {
            if random.percent(network.lost) {
                continue;
            }
            if let Some(reply) = (network.answer)(self.server, self.transport, bytes) {
                self.arriving.push_back((now + latency(random), Ok(reply)));
                comes = true;
            }
        }
        comes
    }

    fn answer_stream(
        &mut self,
        network: &Network,
        now: Duration,
        random: &mut Random,
        log: &mut Vec<SentMessage>,
    ) {
        while let Some((message, rest)) = network.framing.first_message(&self.sent) {
            let reply = (network.answer)(self.server, self.transport, message);
            let is_cut_off = random.percent(network.cut_off);
            let is_lost = reply.is_none() || is_cut_off || self.has_ended;
            log.push(self.sent_message(message, now, is_lost));
            self.sent = rest.to_vec();
            if self.has_ended {
                return;
            }
            let mut reply = reply.map_or(Vec::new(), |reply| network.framing.frame(reply));
            if is_cut_off {
                reply.truncate(random.below(reply.len() + 1));
            }
            let is_doubled = !is_cut_off && random.percent(network.doubled);
            let again = if is_doubled {
                reply.clone()
            } else {
                Vec::new()
            };
            let mut at = self.arriving.back().map_or(now, |&(at, _)| at.max(now));
            while !reply.is_empty() {
                let rest = reply.split_off(1 + random.below(reply.len()));
                if rest.is_empty() {
                    reply.extend_from_slice(&again);
                }
                // The pieces of a stream arrive in order, shortly after each other.
                at += latency(random) / 64;
                self.arriving.push_back((at, Ok(reply)));
                reply = rest;
            }
            at += latency(random);
            let end = match random.below(3) {
                _ if !is_cut_off && !random.percent(network.closed) => continue,
                0 if is_cut_off => Some(Err(Errno::new(libc::ECONNRESET))),
                1 if is_cut_off => None,
                _ => Some(Ok(Vec::new())),
            };
            self.has_ended = true;
            self.arriving.extend(end.map(|end| (at, end)));
        }
    }

    /// When data arrives next.
    pub(super) fn next(&self) -> Option<Duration> {
        self.arriving.iter().map(|&(at, _)| at).min()
    }

    /// Receives data that has arrived by now; returns the number of bytes. `None` if there is none.
    pub(super) fn receive(
        &mut self,
        bytes: &mut [u8],
        now: Duration,
    ) -> Option<Result<usize, Errno>> {
        let at = self.arriving.iter().position(|&(at, _)| at <= now)?;
        let (due, data) = self.arriving.remove(at)?;
        let mut data = match data {
            Ok(data) => data,
            Err(errno) => {
                // It is reported once.
                self.was_reset = true;
                self.arriving.push_front((due, Ok(Vec::new())));
                return Some(Err(errno));
            }
        };
        let count = data.len().min(bytes.len());
        bytes[..count].copy_from_slice(&data[..count]);
        bytes[count..].fill(0xa5);
        if self.transport == Transport::Stream {
            let rest = data.split_off(count);
            if count == 0 || !rest.is_empty() {
                // The end of a stream can be received again and again.
                self.arriving.push_front((due, Ok(rest)));
            }
        }
        Some(Ok(count))
    }
}

fn latency(random: &mut Random) -> Duration {
    Duration::from_micros(1 + random.next_u64() % (1 << random.below(18)))
}
