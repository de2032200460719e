//! The resolver's sockets.

use super::answer::Answer;
use super::figures::SharedFigures;
use super::frames::{self, Frames};
use super::resolver::{Resolver, SocketId};
use crate::engine::{FileId, Op, SocketOp, Transport, Value};
use crate::error::Errno;
use crate::jobs::{Service, Submissions};
use std::collections::VecDeque;
use std::time::Duration;

/// Room for what is received at one time: for datagrams more than servers are told to send.
const RECEIVE_LEN: usize = 4096;

/// How long to wait before what failed for a shortage is tried again.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(2);

/// Runs a [`Resolver`] on the sockets of an engine.
pub struct DnsService {
    resolver: Resolver,
    sockets: Vec<Socket>,
    /// What is to be done, and what failed for a shortage and is to be tried again.
    pending: VecDeque<(u32, Op)>,
    /// Not before this.
    retry_at: Duration,
    figures: SharedFigures,
}

/// A socket, made when it is first needed, and after its other end has closed it when it is needed
/// again.
#[derive(Default)]
struct Socket {
    state: State,
    /// To be sent.
    queue: Vec<Vec<u8>>,
    received: Frames,
    is_sending: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    None,
    InTheMaking,
    Open(FileId),
    /// Its other end has closed it, but something is still being sent.
    Ending(FileId),
}

impl DnsService {
    /// A service that leaves its figures there in the end.
    pub(super) fn new(resolver: Resolver, figures: SharedFigures) -> Self {
        Self {
            sockets: std::iter::repeat_with(Socket::default)
                .take(resolver.sockets())
                .collect(),
            resolver,
            pending: VecDeque::new(),
            retry_at: Duration::ZERO,
            figures,
        }
    }

    pub(super) fn resolver(&mut self) -> &mut Resolver {
        &mut self.resolver
    }

    fn begin(&mut self, tag: u32, op: SocketOp) {
        self.pending.push_back((tag, Op::Socket(op)));
    }

    fn transport(&self, tag: u32) -> Transport {
        self.resolver.transport(SocketId(tag))
    }

    /// Sends what is to be sent at the socket, or makes it.
    fn send(&mut self, tag: u32) {
        let transport = self.transport(tag);
        let socket = &mut self.sockets[tag as usize];
        if socket.queue.is_empty() {
            return;
        }
        match (socket.state, transport) {
            (State::None, _) => {
                socket.state = State::InTheMaking;
                let address = self.resolver.address(SocketId(tag));
                self.begin(tag, SocketOp::Make { address, transport });
            }
            (State::InTheMaking | State::Ending(_), _) => {}
            (State::Open(file), Transport::Datagram) => {
                for bytes in std::mem::take(&mut socket.queue) {
                    self.begin(
                        tag,
                        SocketOp::Send {
                            socket: file,
                            bytes,
                        },
                    );
                }
            }
            // One after the other: the pieces of a stream must keep their order.
            (State::Open(file), Transport::Stream) if !socket.is_sending => {
                socket.is_sending = true;
                let bytes = std::mem::take(&mut socket.queue).concat();
                self.begin(
                    tag,
                    SocketOp::Send {
                        socket: file,
                        bytes,
                    },
                );
            }
            (State::Open(_), Transport::Stream) => {}
        }
    }

    fn made(&mut self, tag: u32, op: SocketOp, result: Result<Value, Errno>, now: Duration) {
        match (op, result) {
            (SocketOp::Make { address, transport }, Ok(Value::File(socket))) => {
                let connect = SocketOp::Connect {
                    socket,
                    address,
                    transport,
                };
                self.begin(tag, connect);
            }
            (SocketOp::Connect { socket: file, .. }, Ok(_)) => {
                let socket = &mut self.sockets[tag as usize];
                socket.state = State::Open(file);
                socket.received = Frames::default();
                let bytes = vec![0; RECEIVE_LEN];
                self.begin(
                    tag,
                    SocketOp::Receive {
                        socket: file,
                        bytes,
                    },
                );
                self.send(tag);
            }
            (op, _) => {
                // There is no way to that address.
                if let SocketOp::Connect { socket, .. } = op {
                    self.pending.push_back((tag, Op::Close(socket)));
                }
                let socket = &mut self.sockets[tag as usize];
                socket.state = State::None;
                socket.queue.clear();
                self.resolver.refused(SocketId(tag), now);
            }
        }
    }

    fn sent(&mut self, tag: u32, mut bytes: Vec<u8>, result: Result<Value, Errno>, now: Duration) {
        let is_stream = self.transport(tag) == Transport::Stream;
        let socket = &mut self.sockets[tag as usize];
        socket.is_sending = false;
        match (socket.state, result) {
            (State::Ending(file), _) => self.close(tag, file),
            (_, Ok(Value::Count(count))) if is_stream && count < bytes.len() => {
                bytes.drain(..count);
                socket.queue.insert(0, bytes);
                self.send(tag);
            }
            (_, Ok(_)) => self.send(tag),
            // Its end will be received, too.
            (_, Err(_)) if is_stream => {}
            (_, Err(_)) => self.resolver.refused(SocketId(tag), now),
        }
    }

    fn received(
        &mut self,
        tag: u32,
        file: FileId,
        bytes: Vec<u8>,
        result: Result<Value, Errno>,
        now: Duration,
    ) {
        let id = SocketId(tag);
        match (self.transport(tag), result) {
            (Transport::Datagram, Ok(Value::Count(count))) => {
                self.resolver.received(id, &bytes[..count], now);
            }
            (Transport::Stream, Ok(Value::Count(count @ 1..))) => {
                let frames = &mut self.sockets[tag as usize].received;
                frames.add(&bytes[..count]);
                while let Some(message) = frames.next() {
                    self.resolver.received(id, message, now);
                }
            }
            (_, Err(errno)) if errno.is_shortage() || errno.raw() == libc::EINTR => {}
            // What an earlier datagram met with on its way, mostly a closed port.
            (Transport::Datagram, _) => self.resolver.refused(id, now),
            (Transport::Stream, _) => {
                let socket = &mut self.sockets[tag as usize];
                socket.state = State::Ending(file);
                socket.queue.clear();
                if !socket.is_sending {
                    self.close(tag, file);
                }
                return self.resolver.disconnected(id, now);
            }
        }
        self.begin(
            tag,
            SocketOp::Receive {
                socket: file,
                bytes,
            },
        );
    }

    fn close(&mut self, tag: u32, file: FileId) {
        self.sockets[tag as usize].state = State::None;
        self.pending.push_back((tag, Op::Close(file)));
    }
}

impl Drop for DnsService {
    fn drop(&mut self) {
        self.figures.add(self.resolver.figures());
    }
}

impl Service for DnsService {
    type Message = Answer;

    fn completed(&mut self, tag: u32, op: Op, result: Result<Value, Errno>, now: Duration) {
        // What is closed is not waited for.
        let Op::Socket(op) = op else { return };
        let is_our_lack = |errno: &Errno| errno.is_shortage() || errno.raw() == libc::EINTR;
        match op {
            SocketOp::Receive { socket, bytes } => self.received(tag, socket, bytes, result, now),
            op if result.as_ref().is_err_and(is_our_lack) => {
                self.pending.push_back((tag, Op::Socket(op)));
                self.retry_at = now + SHORTAGE_PAUSE;
            }
            SocketOp::Send { bytes, .. } => self.sent(tag, bytes, result, now),
            op => self.made(tag, op, result, now),
        }
    }

    fn advance(&mut self, now: Duration, ops: &mut Submissions) {
        if self.resolver.wake_at(now).is_some_and(|at| at <= now) {
            self.resolver.time_passed(now);
        }
        while let Some(transmit) = self.resolver.transmit() {
            let SocketId(tag) = transmit.socket;
            let bytes = match self.transport(tag) {
                Transport::Datagram => transmit.message,
                Transport::Stream => frames::framed(&transmit.message),
            };
            self.sockets[tag as usize].queue.push(bytes);
            self.send(tag);
        }
        if self.retry_at <= now {
            ops.extend(self.pending.drain(..));
        }
    }

    fn room(&self, now: Duration) -> usize {
        self.resolver.room(now)
    }

    fn wake_at(&mut self, now: Duration) -> Option<Duration> {
        let retry_at = (!self.pending.is_empty()).then_some(self.retry_at);
        let resolver = self.resolver.wake_at(now);
        resolver.into_iter().chain(retry_at).min()
    }

    fn tell(&mut self) -> Option<(u32, Answer)> {
        self.resolver.answer()
    }
}
