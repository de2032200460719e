//! Operations: what a carrier is asked to do, and what comes back.
//!
//! An operation owns everything the kernel needs while it is in flight (path, buffer, a share of
//! the open file) and comes back with its completion, so nothing it points at can go away early and
//! a failed one can be tried again.

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

/// Something to be done by the kernel.
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
        /// Where the look-up found the path to be.
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
        /// It is one of several reads of the file at once, so it is best done by another thread
        /// while what was read before is processed.
        parallel: bool,
    },
    /// Make a socket for addresses of this kind. Done at once.
    MakeSocket {
        /// An address as the socket is to be connected to.
        address: SocketAddr,
        /// Datagrams or a stream.
        transport: Transport,
        /// The address it has on this machine; the system chooses one if there is none.
        source: Option<IpAddr>,
    },
    /// Connect the socket: a datagram socket then receives from that address alone, a stream socket
    /// has reached it.
    Connect {
        /// The socket.
        socket: Rc<OpenFile>,
        /// The peer.
        address: SocketAddr,
        /// What the socket was made for.
        transport: Transport,
    },
    /// Send the bytes; on a stream, perhaps only the first of them.
    Send {
        /// The socket.
        socket: Rc<OpenFile>,
        /// A datagram, or a piece of a stream.
        bytes: Vec<u8>,
    },
    /// Wait for what comes next; on a stream, 0 bytes are its end.
    Receive {
        /// The socket.
        socket: Rc<OpenFile>,
        /// Where it goes. What is beyond its length is cut off a datagram, and left in a stream.
        bytes: Vec<u8>,
    },
}

/// What a successful operation gives.
#[derive(Debug)]
pub enum Value {
    /// An open file, or a socket.
    File(OpenFile),
    /// Bytes read, sent or received; for a file, 0 is its end.
    Count(usize),
    /// Nothing more: it is connected, or the metadata are in the operation.
    Done,
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
    /// The phase its time belongs to; `None` for what waits for a peer that may never answer.
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

    /// True for operations at sockets. Their shortages are one peer's or one address family's, and
    /// are left to whoever uses the socket.
    pub(super) fn is_at_socket(&self) -> bool {
        self.operation() == Operation::Exchange
    }
}
