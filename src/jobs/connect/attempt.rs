//! One attempt to connect to an address.

use crate::error::Errno;
use crate::io::{Io, Socket, Transport};
use std::any::Any;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The pause before a connect is retried that failed because ports, descriptors or memory were exhausted.
/// It doubles with each retry.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The connection was established.
    Open,
    /// The host has no listener on the port.
    Refused,
    /// There was no reply in time.
    Timeout,
    /// The network or the machine itself has no way to the address, or does not allow it.
    Unreachable,
    /// The connection was reset before it was established.
    Reset,
}

impl Status {
    /// The word in rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
        }
    }
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// The result.
    pub status: Status,
    /// The errno of the connect, if it failed. `None` if it was cancelled after the timeout.
    pub errno: Option<Errno>,
    /// The time from the connect to its result.
    pub time: Duration,
}

/// Connects. Exhaustion of this machine's resources is not a result: the attempt is then repeated, with a
/// new timeout. Returns the socket if it is connected. `until_closed` is dropped when all sockets of the attempt
/// are closed.
pub(in crate::jobs) async fn attempt(
    io: &Io,
    address: SocketAddr,
    timeout: Duration,
    until_closed: Option<Rc<dyn Any>>,
) -> (Attempt, Option<Socket>) {
    let mut pause = PAUSE_MIN;
    let mut has_source = false;
    loop {
        let started_at = io.now();
        let held = until_closed.clone();
        let connect = Socket::connect(io, address, Transport::Stream, None, held);
        let connected = io.until(started_at + timeout, connect).await;
        let time = io.now().saturating_sub(started_at);
        let (errno, socket) = match connected {
            None => (None, None),
            Some(Ok(socket)) => (None, Some(socket)),
            Some(Err(errno)) => (Some(errno), None),
        };
        let lacks_port = errno.is_some_and(is_port_exhaustion);
        has_source = has_source || lacks_port && has_source_address(io, address).await;
        let status = match errno {
            None if socket.is_some() => Some(Status::Open),
            None => Some(Status::Timeout),
            Some(_) if lacks_port && !has_source => Some(Status::Unreachable),
            Some(errno) => status_of(errno),
        };
        if let Some(status) = status {
            let attempt = Attempt {
                address,
                status,
                errno,
                time,
            };
            return (attempt, socket);
        }
        let retry = io.sleep_until(io.now() + pause);
        match lacks_port {
            // Only connects to the same address and port need the same local ports.
            true => io.park(retry).await,
            false => retry.await,
        }
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

/// `None` if the errno says nothing about the address.
fn status_of(errno: Errno) -> Option<Status> {
    match errno.raw() {
        libc::ECONNREFUSED => Some(Status::Refused),
        libc::ETIMEDOUT => Some(Status::Timeout),
        libc::ECONNRESET => Some(Status::Reset),
        _ if errno.is_transient() || is_port_exhaustion(errno) => None,
        _ => Some(Status::Unreachable),
    }
}

/// True if there may be no free local port for this address.
fn is_port_exhaustion(errno: Errno) -> bool {
    matches!(errno.raw(), libc::EADDRNOTAVAIL | libc::EADDRINUSE)
}

/// True if this machine has an address from which it could reach this one. The errno for its absence is that
/// of exhausted ports, which datagrams to one address do not exhaust.
async fn has_source_address(io: &Io, address: SocketAddr) -> bool {
    let probe = Socket::connect(io, address, Transport::Datagram, None, None).await;
    !probe.is_err_and(is_port_exhaustion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_and_what_they_say_of_the_address() {
        for (errno, expected) in [
            (libc::ECONNREFUSED, Some(Status::Refused)),
            (libc::ETIMEDOUT, Some(Status::Timeout)),
            (libc::ECONNRESET, Some(Status::Reset)),
            (libc::EHOSTUNREACH, Some(Status::Unreachable)),
            (libc::ENETUNREACH, Some(Status::Unreachable)),
            (libc::EACCES, Some(Status::Unreachable)),
            (libc::EINVAL, Some(Status::Unreachable)),
            (libc::EAFNOSUPPORT, Some(Status::Unreachable)),
            // Of this machine, or to be tried again.
            (libc::EADDRNOTAVAIL, None),
            (libc::EADDRINUSE, None),
            (libc::EMFILE, None),
            (libc::ENFILE, None),
            (libc::ENOMEM, None),
            (libc::ENOBUFS, None),
            (libc::EAGAIN, None),
            (libc::EINTR, None),
        ] {
            assert_eq!(status_of(Errno::new(errno)), expected, "{errno}");
        }
    }
}
