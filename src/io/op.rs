//! Operations that a carrier carries out, and their results.
//!
//! An operation owns everything the kernel needs while it is in flight (path, buffer, a share of
//! the open file) and is returned with its completion, so its memory is not freed early, and a
//! failed operation can be retried.

use super::buffer::Buffer;
use super::metadata::Stat;
use super::mounts::FileSystem;
use super::open_file::OpenFile;
use super::socket_calls::Transport;
use crate::error::{Errno, Operation};
use crate::item::Item;
use crate::stats::Phase;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// An operation for the kernel.
#[derive(Debug)]
pub enum Op {
    /// Look up the path, following links, and read its metadata, without opening it.
    StatPath {
        /// The path.
        path: Item,
        /// The metadata, once it has succeeded.
        found: Option<Stat>,
    },
    /// Open the path for reading. Never waits for the other end of a FIFO unless `wait` is set.
    Open {
        /// The path.
        path: Item,
        /// Open a FIFO as `cat` does: wait until it has a writer.
        wait: bool,
        /// The file system that the look-up found the path on.
        file_system: FileSystem,
    },
    /// Read the metadata of an open file.
    StatFile {
        /// The file.
        file: Rc<OpenFile>,
        /// The metadata, once it has succeeded.
        found: Option<Stat>,
    },
    /// Read into the buffer's whole length.
    Read {
        /// The file.
        file: Rc<OpenFile>,
        /// Where to read, in bytes from the start; `None` reads at the file's own position.
        offset: Option<u64>,
        /// Where the bytes go.
        buffer: Buffer,
        /// One of several reads of the file in flight, so it is best done by another thread while
        /// earlier content is processed.
        parallel: bool,
    },
    /// Make a socket for the family of this address. Never waits.
    MakeSocket {
        /// The address that the socket is to be connected to.
        address: SocketAddr,
        /// Datagrams or a stream.
        transport: Transport,
        /// The local address; with `None`, the system chooses one.
        source: Option<IpAddr>,
    },
    /// Connect the socket. A datagram socket then receives only from that address; a stream socket
    /// has an established connection.
    Connect {
        /// The socket.
        socket: Rc<OpenFile>,
        /// The peer.
        address: SocketAddr,
        /// The socket's transport.
        transport: Transport,
    },
    /// Send the bytes; on a stream, possibly only the first part of them.
    Send {
        /// The socket.
        socket: Rc<OpenFile>,
        /// A datagram, or a piece of a stream.
        bytes: Vec<u8>,
    },
    /// Receive the next datagram or the next piece of a stream, where 0 bytes mean the end.
    Receive {
        /// The socket.
        socket: Rc<OpenFile>,
        /// The receive buffer. A longer datagram is truncated; the rest of a stream stays for the
        /// next receive.
        bytes: Vec<u8>,
    },
}

/// What a successful operation gives.
#[derive(Debug)]
pub enum Value {
    /// An open file, or a socket.
    File(OpenFile),
    /// Bytes read, sent or received; for a file, 0 means its end.
    Count(usize),
    /// Nothing more: it is connected, or the metadata are in the operation.
    Done,
}

impl Value {
    /// The number of bytes of an exchange.
    pub(super) fn count(self) -> usize {
        match self {
            Self::Count(count) => count,
            other => unreachable!("bytes are counted, not {other:?}"),
        }
    }
}

/// How an operation ended.
pub type Outcome = Result<Value, Errno>;

/// An operation that has ended, with everything it owned.
#[derive(Debug)]
pub struct Completion {
    /// The key it was submitted under.
    pub key: u32,
    /// The operation itself.
    pub op: Op,
    /// How it ended.
    pub outcome: Outcome,
}

impl Op {
    /// The phase that its time is recorded as; `None` for operations that wait for a peer, which
    /// may never answer.
    pub(super) fn phase(&self) -> Option<Phase> {
        Some(match self {
            Self::StatPath { .. } => Phase::LOOK_UP,
            Self::Open { .. } => Phase::OPEN,
            Self::StatFile { .. } => Phase::STAT,
            Self::Read { .. } => Phase::READ,
            _ => return None,
        })
    }

    /// The step to name if the item fails or times out in it.
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::StatPath { .. } | Self::Open { .. } => Operation::Open,
            Self::StatFile { .. } => Operation::Stat,
            Self::Read { .. } => Operation::Read,
            _ => Operation::Exchange,
        }
    }

    /// True for operations that may need a descriptor, or take one for a while.
    pub(super) fn takes_descriptor(&self) -> bool {
        !matches!(self, Self::StatFile { .. } | Self::Read { .. })
    }

    /// True for operations on sockets. Their exhaustion concerns one peer or one address family,
    /// and is left to the user of the socket.
    pub(super) fn is_on_socket(&self) -> bool {
        self.operation() == Operation::Exchange
    }
}
