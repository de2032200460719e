//! A simulated network: servers that reply, and faults on the way.

use super::random::Random;
use crate::io::socket_calls::Transport;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// The replies of the servers, and the faults of the network.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The reply of the server at this address to a message; `None` if it does not reply.
    pub answer: fn(SocketAddr, Transport, &[u8]) -> Option<Vec<u8>>,
    /// Percentage of datagrams that are lost.
    pub lost: u8,
    /// Percentage of datagrams that arrive twice.
    pub doubled: u8,
    /// Percentage of messages in a stream after which the server closes it.
    pub closed: u8,
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
    /// No reply will arrive: the message is lost, or the server does not reply.
    pub is_lost: bool,
}

/// A socket, and the data on its way to it.
#[derive(Debug)]
pub(super) struct SimSocket {
    server: SocketAddr,
    transport: Transport,
    /// Bytes sent in a stream that are not yet a whole message. Each message follows its length, in
    /// two bytes.
    sent: Vec<u8>,
    /// Data with the time at which it arrives. No bytes mean the end of a stream.
    arriving: VecDeque<(Duration, Vec<u8>)>,
}

impl SimSocket {
    pub(super) fn new(server: SocketAddr, transport: Transport) -> Self {
        Self {
            server,
            transport,
            sent: Vec::new(),
            arriving: VecDeque::new(),
        }
    }

    /// Sends the bytes, or the first part of them; returns how many.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        network: &Network,
        now: Duration,
        random: &mut Random,
        log: &mut Vec<SentMessage>,
    ) -> usize {
        match self.transport {
            Transport::Datagram => {
                let comes = self.send_datagram(bytes, network, now, random);
                log.push(self.sent_message(bytes, now, !comes));
                bytes.len()
            }
            Transport::Stream => {
                let count = 1 + random.below(bytes.len());
                self.sent.extend_from_slice(&bytes[..count]);
                self.answer_stream(network, now, random, log);
                count
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
                self.arriving.push_back((now + latency(random), reply));
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
        let has_ended = |(_, piece): &(Duration, Vec<u8>)| piece.is_empty();
        while let Some((message, rest)) = first_message(&self.sent) {
            let reply = (network.answer)(self.server, self.transport, message);
            log.push(self.sent_message(message, now, reply.is_none()));
            self.sent = rest.to_vec();
            if self.arriving.back().is_some_and(has_ended) {
                // Nothing is read after the end of the stream.
                return;
            }
            let mut at = self.arriving.back().map_or(now, |&(at, _)| at.max(now));
            if let Some(reply) = reply {
                let len = u16::try_from(reply.len()).expect("a message is short");
                let mut rest = [&len.to_be_bytes()[..], &reply].concat();
                while !rest.is_empty() {
                    let left = rest.split_off(1 + random.below(rest.len()));
                    // The pieces of a stream arrive in order, shortly after each other.
                    at += latency(random) / 64;
                    self.arriving.push_back((at, rest));
                    rest = left;
                }
            }
            if random.percent(network.closed) {
                self.arriving.push_back((at + latency(random), Vec::new()));
            }
        }
    }

    /// When data arrives next.
    pub(super) fn next(&self) -> Option<Duration> {
        self.arriving.iter().map(|&(at, _)| at).min()
    }

    /// Receives data that has arrived by now; returns the number of bytes. `None` if there is none.
    pub(super) fn receive(&mut self, bytes: &mut [u8], now: Duration) -> Option<usize> {
        let at = self.arriving.iter().position(|&(at, _)| at <= now)?;
        let (due, mut message) = self.arriving.remove(at)?;
        let count = message.len().min(bytes.len());
        bytes[..count].copy_from_slice(&message[..count]);
        bytes[count..].fill(0xa5);
        if self.transport == Transport::Stream {
            let rest = message.split_off(count);
            if count == 0 || !rest.is_empty() {
                // The end of a stream can be received again and again.
                self.arriving.push_front((due, rest));
            }
        }
        Some(count)
    }
}

fn latency(random: &mut Random) -> Duration {
    Duration::from_micros(1 + random.next_u64() % (1 << random.below(18)))
}

fn first_message(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = stream.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
