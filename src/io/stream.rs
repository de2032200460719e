//! A connected stream for code that polls, such as protocol libraries.

use super::core::Io;
use super::op::{Op, Value};
use super::open_file::OpenFile;
use super::perform::Perform;
use super::sleep::Sleep;
use super::socket::{EXHAUSTION_BACKOFF, Socket};
use crate::error::Errno;
use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// The bounds of the receive buffer's size. It doubles when a receive fills it, and halves when one fills less
/// than a quarter, so that connections without much to receive hold little memory.
const RECEIVE_LEN: Range<usize> = 4 * 1024..64 * 1024;

/// A connected stream socket with a buffer for each direction. Its operations belong to the task that polls:
/// one task should poll it from its first operation to its last.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    socket: Rc<OpenFile>,
    /// What was received, while no receive is in flight.
    received: Range<usize>,
    receive_len: usize,
    receive: Exchange,
    send: Exchange,
}

/// An operation in one direction.
#[derive(Debug)]
enum Exchange {
    /// None is in flight; these are the bytes received, or to be sent.
    Idle(Vec<u8>),
    Performing(Perform),
    /// To be repeated.
    Pausing(Vec<u8>, Sleep),
}

impl Stream {
    /// A stream of a connected stream socket.
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        let (io, socket) = socket.into_parts();
        Self {
            io,
            socket,
            received: 0..0,
            receive_len: RECEIVE_LEN.start,
            receive: Exchange::Idle(Vec::new()),
            send: Exchange::Idle(Vec::new()),
        }
    }

    /// The bytes that were received and not [consumed](Self::consume). If there are none, more are received; none
    /// at all means the end.
    ///
    /// # Errors
    /// The errno of the receive.
    pub fn poll_received(&mut self, context: &mut Context<'_>) -> Poll<Result<&[u8], Errno>> {
        if self.received.is_empty() {
            if let Exchange::Idle(bytes) = &mut self.receive {
                bytes.resize(self.receive_len, 0);
                bytes.shrink_to(self.receive_len);
            }
            let socket = &self.socket;
            let op = |bytes| Op::Receive {
                socket: Rc::clone(socket),
                bytes,
            };
            let count = ready!(self.receive.poll(&self.io, context, op))?;
            self.received = 0..count;
            if count == self.receive_len {
                self.receive_len = (2 * self.receive_len).min(RECEIVE_LEN.end);
            } else if count < self.receive_len / 4 {
                self.receive_len = (self.receive_len / 2).max(RECEIVE_LEN.start);
            }
        }
        match &self.receive {
            Exchange::Idle(bytes) => Poll::Ready(Ok(&bytes[self.received.clone()])),
            _ => unreachable!("a receive has ended"),
        }
    }

    /// True if there are bytes that were received and not consumed.
    #[must_use]
    pub fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Removes the first `count` of the received bytes.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.received.len(), "not as many were received");
        self.received.start += count;
    }

    /// Lets `write` append bytes to send, once all earlier ones were sent. They are sent by
    /// [`poll_flush`](Self::poll_flush).
    ///
    /// # Errors
    /// The errno of sending earlier bytes.
    pub fn poll_write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> Poll<Result<T, Errno>> {
        ready!(self.poll_flush(context))?;
        match &mut self.send {
            Exchange::Idle(bytes) => Poll::Ready(Ok(write(bytes))),
            _ => unreachable!("all was sent"),
        }
    }

    /// Sends all bytes that were written.
    ///
    /// # Errors
    /// The errno of the send.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Errno>> {
        loop {
            if matches!(&self.send, Exchange::Idle(bytes) if bytes.is_empty()) {
                return Poll::Ready(Ok(()));
            }
            let socket = &self.socket;
            let op = |bytes| Op::Send {
                socket: Rc::clone(socket),
                bytes,
            };
            let count = ready!(self.send.poll(&self.io, context, op))?;
            if let Exchange::Idle(bytes) = &mut self.send {
                bytes.drain(..count);
            }
        }
    }
}

impl Exchange {
    /// The number of bytes received or sent. They are then idle again.
    fn poll(
        &mut self,
        io: &Io,
        context: &mut Context<'_>,
        op: impl Fn(Vec<u8>) -> Op,
    ) -> Poll<Result<usize, Errno>> {
        loop {
            match self {
                Self::Idle(bytes) => {
                    let op = op(mem::take(bytes));
                    *self = Self::Performing(Perform::new(io, op));
                }
                Self::Pausing(bytes, sleep) => {
                    ready!(Pin::new(sleep).poll(context));
                    *self = Self::Idle(mem::take(bytes));
                }
                Self::Performing(perform) => {
                    let outcome = ready!(Pin::new(&mut *perform).poll(context));
                    let (Op::Receive { bytes, .. } | Op::Send { bytes, .. }) = perform.take_op()
                    else {
                        unreachable!("only bytes are exchanged");
                    };
                    match outcome {
                        Err(errno) if errno.is_exhaustion() => {
                            let until = io.now() + EXHAUSTION_BACKOFF;
                            *self = Self::Pausing(bytes, io.sleep_until(until));
                        }
                        outcome => {
                            *self = Self::Idle(bytes);
                            return Poll::Ready(outcome.map(Value::count));
                        }
                    }
                }
            }
        }
    }
}
