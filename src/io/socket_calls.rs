//! Plain calls on sockets, which never wait.

use crate::error::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// The receive buffer for datagrams that arrive while the loop has no time for them. A short one
/// counts as 768 bytes or more, and the usual limit is 208 KiB: that is fewer replies than may
/// arrive while other threads have the processor. The kernel takes the memory only when it is
/// needed.
const DATAGRAM_BUFFER_LEN: usize = 1024 * 1024;

/// The transport protocol of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// As datagrams: UDP.
    Datagram,
    /// As a stream: TCP.
    Stream,
}

impl Transport {
    /// The name of the protocol.
    #[must_use]
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Datagram => "udp",
            Self::Stream => "tcp",
        }
    }
}

/// Makes a socket, bound to `source` if there is one. Without a ring it is non-blocking.
pub(super) fn make(
    address: SocketAddr,
    transport: Transport,
    source: Option<IpAddr>,
    has_ring: bool,
) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match transport {
        Transport::Datagram => SocketType::DGRAM,
        Transport::Stream => SocketType::STREAM,
    };
    let mut flags = SocketFlags::CLOEXEC;
    flags.set(SocketFlags::NONBLOCK, !has_ring);
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if transport == Transport::Datagram {
        // If the system allows less, or nothing, the socket keeps a smaller buffer.
        let _ignored = sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_BUFFER_LEN);
    }
    if let Some(source) = source {
        // The port is chosen at the connect, as without a source: otherwise streams to different
        // servers could not share a port. Kernels before 4.2 choose it at the bind.
        let _ignored = nix::sys::socket::setsockopt(
            &socket,
            nix::sys::socket::sockopt::IpBindAddressNoPort,
            &true,
        );
        rustix::net::bind(&socket, &source_address(source, address))?;
    }
    Ok(socket)
}

/// The address to bind a socket to that is to reach `peer` from `source`, with any port. A
/// link-local source belongs to the interface of `peer`.
#[must_use]
pub fn source_address(source: IpAddr, peer: SocketAddr) -> SocketAddr {
    match (source, peer) {
        (IpAddr::V6(source), SocketAddr::V6(peer)) => {
            SocketAddrV6::new(source, 0, 0, peer.scope_id()).into()
        }
        _ => SocketAddr::new(source, 0),
    }
}

/// Connects a datagram socket, or a non-blocking one. `None` while the peer has not answered.
pub(super) fn connect_now(
    socket: BorrowedFd<'_>,
    address: SocketAddr,
) -> Option<Result<(), Errno>> {
    use rustix::io::Errno as E;
    match rustix::net::connect(socket, &address) {
        Ok(()) | Err(E::ISCONN) => Some(Ok(())),
        Err(E::INPROGRESS | E::ALREADY) => None,
        Err(errno) => Some(Err(errno.into())),
    }
}

/// Sends, if the send buffer has room now.
pub(super) fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> Option<Result<usize, Errno>> {
    unless_would_block(rustix::net::send(
        socket,
        bytes,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    ))
}

/// Sends datagrams of one length with one call, if the send buffer has room now: all or none.
pub(super) fn send_together(
    socket: BorrowedFd<'_>,
    datagrams: &[IoSlice<'_>],
    len: u16,
) -> Result<(), Errno> {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let segments = [ControlMessage::UdpGsoSegments(&len)];
    sendmsg::<()>(socket.as_raw_fd(), datagrams, &segments, flags, None)
        .map(drop)
        .map_err(|errno| Errno::new(errno as i32))
}

/// Receives what has already arrived.
pub(super) fn receive_now(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> Option<Result<usize, Errno>> {
    let received = rustix::net::recv(socket, bytes, RecvFlags::DONTWAIT);
    unless_would_block(received.map(|(count, _)| count))
}

fn unless_would_block(result: rustix::io::Result<usize>) -> Option<Result<usize, Errno>> {
    match result {
        Err(rustix::io::Errno::AGAIN) => None,
        other => Some(other.map_err(Errno::from)),
    }
}
