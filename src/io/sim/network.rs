//! A simulated network: servers that reply, and faults on the way.

use super::random::Random;
use crate::error::Errno;
use crate::io::socket_calls::Transport;
use std::collections::VecDeque;
use std::fmt;
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
    /// What encodes the streams of the server at this address; `None`: they are the messages themselves.
    pub layer: fn(SocketAddr) -> Option<Box<dyn Layer>>,
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
    /// is reset, or nothing more arrives. The same for what a [`Layer`] sends of its own accord.
    pub cut_off: u8,
}

/// A server's end of a protocol below the messages of a stream, such as TLS.
pub trait Layer: fmt::Debug + Send {
    /// Takes bytes of the stream. Returns the bytes of messages in them, and the layer's own reply.
    fn receive(&mut self, bytes: &[u8]) -> (Vec<u8>, Vec<u8>);

    /// The bytes of the stream for those of a message.
    fn send(&mut self, message: &[u8]) -> Vec<u8>;

    /// What is sent before the stream is closed.
    fn end(&mut self) -> Vec<u8>;
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
    layer: Option<Box<dyn Layer>>,
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
            layer: None,
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
        let Some(server) = self.peer() else { return };
        self.layer = (network.layer)(server);
        if let Some(Greeting { after, bytes }) = (network.greeting)(server) {
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
                self.decode(&bytes[..count], network, now, random);
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

    /// Takes what was sent in a stream.
    fn decode(&mut self, bytes: &[u8], network: &Network, now: Duration, random: &mut Random) {
        let Some(layer) = &mut self.layer else {
            return self.sent.extend_from_slice(bytes);
        };
        let (messages, reply) = layer.receive(bytes);
        self.sent.extend_from_slice(&messages);
        if reply.is_empty() || self.has_ended {
            return;
        }
        if random.percent(network.cut_off) {
            self.break_off(reply, now, random);
        } else {
            self.deliver(reply, &[], now, random);
        }
    }

    fn encode(&mut self, message: &[u8]) -> Vec<u8> {
        match &mut self.layer {
            Some(layer) if !message.is_empty() => layer.send(message),
            _ => message.to_vec(),
        }
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
            let reply = reply.map_or(Vec::new(), |reply| network.framing.frame(reply));
            let bytes = self.encode(&reply);
            if is_cut_off {
                self.break_off(bytes, now, random);
                continue;
            }
            let again = match random.percent(network.doubled) {
                true => self.encode(&reply),
                false => Vec::new(),
            };
            let at = self.deliver(bytes, &again, now, random);
            if random.percent(network.closed) {
                self.close(at + latency(random), random);
            }
        }
    }

    /// Lets bytes of a stream arrive in pieces, the last one together with `again`. Returns when that is.
    fn deliver(
        &mut self,
        mut bytes: Vec<u8>,
        again: &[u8],
        now: Duration,
        random: &mut Random,
    ) -> Duration {
        let mut at = self.arriving.back().map_or(now, |&(at, _)| at.max(now));
        while !bytes.is_empty() {
            let rest = bytes.split_off(1 + random.below(bytes.len()));
            if rest.is_empty() {
                bytes.extend_from_slice(again);
            }
            // The pieces of a stream arrive in order, shortly after each other.
            at += latency(random) / 64;
            self.arriving.push_back((at, Ok(bytes)));
            bytes = rest;
        }
        at
    }

    /// Lets only a part of these bytes arrive, or nothing. Then the stream ends, or is reset, or nothing follows.
    fn break_off(&mut self, mut bytes: Vec<u8>, now: Duration, random: &mut Random) {
        bytes.truncate(random.below(bytes.len() + 1));
        let at = self.deliver(bytes, &[], now, random) + latency(random);
        self.has_ended = true;
        let end = match random.below(3) {
            0 => Err(Errno::new(libc::ECONNRESET)),
            1 => return,
            _ => Ok(Vec::new()),
        };
        self.arriving.push_back((at, end));
    }

    /// The server closes the stream. Some do not say so in the layer.
    fn close(&mut self, at: Duration, random: &mut Random) {
        self.has_ended = true;
        if let Some(layer) = &mut self.layer
            && random.percent(50)
        {
            self.arriving.push_back((at, Ok(layer.end())));
        }
        self.arriving.push_back((at, Ok(Vec::new())));
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
