//! Sockets, as tasks use them.

use super::core::Io;
use super::op::{Op, Value};
use super::open_file::{Handle, OpenFile};
use super::perform::Perform;
use super::socket_calls::Transport;
use super::undelivered::{Detached, Undelivered};
use crate::error::Errno;
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// The back-off after an operation on a socket has failed because of resource exhaustion.
pub const EXHAUSTION_BACKOFF: Duration = Duration::from_millis(2);

/// A connected socket. It closes when it is dropped and no operation uses it any more.
///
/// Errors of resource exhaustion are returned to the caller like any other: exhaustion at one
/// socket must not throttle the others.
#[derive(Debug)]
pub struct Socket {
    io: Io,
    open: Rc<OpenFile>,
}

impl Socket {
    /// Makes a socket and connects it to the address, from `source` if there is one. `until_closed` is dropped
    /// once the socket is closed, or could not be made.
    ///
    /// # Errors
    /// The errno that the kernel returned.
    pub async fn connect(
        io: &Io,
        address: SocketAddr,
        transport: Transport,
        source: Option<IpAddr>,
        until_closed: Option<Rc<dyn Any>>,
    ) -> Result<Self, Errno> {
        let make = Op::MakeSocket {
            address,
            transport,
            source,
        };
        let open = match Perform::new(io, make).await? {
            Value::File(open) => Rc::new(OpenFile {
                until_closed,
                ..open
            }),
            other => unreachable!("a socket was to be made, not {other:?}"),
        };
        let connect = Op::Connect {
            socket: Rc::clone(&open),
            address,
            transport,
        };
        Perform::new(io, connect).await?;
        Ok(Self {
            io: io.clone(),
            open,
        })
    }

    /// Receives into the whole length of `bytes`, and returns it with the number of bytes received:
    /// of one datagram, or of a stream, where 0 means the end.
    ///
    /// # Errors
    /// The errno that the kernel returned; for a datagram socket also that of an earlier datagram.
    pub async fn receive(&self, bytes: Vec<u8>) -> (Vec<u8>, Result<usize, Errno>) {
        let socket = Rc::clone(&self.open);
        self.exchange(Op::Receive { socket, bytes }).await
    }

    /// Sends the bytes; on a stream possibly only the first part of them. Returns the bytes, and
    /// how many were sent.
    ///
    /// # Errors
    /// The errno that the kernel returned.
    pub async fn send(&self, bytes: Vec<u8>) -> (Vec<u8>, Result<usize, Errno>) {
        let socket = Rc::clone(&self.open);
        self.exchange(Op::Send { socket, bytes }).await
    }

    /// Lets the close of a connected stream reset the connection, so that this machine keeps no state for it
    /// (TIME_WAIT). What was sent and not acknowledged is lost.
    pub fn abort_on_close(&self) {
        if let Handle::Descriptor(socket) = &self.open.handle {
            // If it fails, the connection is closed as usual.
            let _ignored = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        }
    }

    /// What it consists of.
    pub(super) fn into_parts(self) -> (Io, Rc<OpenFile>) {
        (self.io, self.open)
    }

    async fn exchange(&self, op: Op) -> (Vec<u8>, Result<usize, Errno>) {
        let mut perform = Perform::new(&self.io, op);
        let outcome = (&mut perform).await;
        match perform.take_op() {
            Op::Send { bytes, .. } | Op::Receive { bytes, .. } => {
                (bytes, outcome.map(Value::count))
            }
            op => unreachable!("{op:?} exchanges nothing"),
        }
    }

    /// Sends a datagram without waiting for the send. If it fails, the datagram is put into
    /// `undelivered` with the error.
    pub fn post(&self, bytes: Vec<u8>, undelivered: &Rc<Undelivered>) {
        let socket = Rc::clone(&self.open);
        let undelivered = Rc::clone(undelivered);
        self.io
            .detach(Op::Send { socket, bytes }, Detached(undelivered));
    }
}
