//! A name server with faults. The first letter of a name decides what the server does with it, so that
//! a test knows the correct row for each name.
//!
//! `benches/imperfect_dns.rs` is the same server as a program.

mod behaviour;
mod counts;
mod judge;
pub mod message;
mod schedule;
mod tcp;
mod udp;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::thread;

use rustix::net::sockopt;

pub use behaviour::{Behaviour, Edns, Tcp};
pub use counts::Counts;

/// Holds queries while the server's thread does not run: it must lose only the queries it is configured
/// to lose.
const RECEIVE_BUFFER_BYTES: usize = 64 << 20;

/// A server that has its address and does not answer yet.
pub struct Imperfect {
    pub at: SocketAddr,
    udp: UdpSocket,
    tcp: Option<TcpListener>,
    behaviour: Behaviour,
}

impl Imperfect {
    /// A server at this port of the loopback address; at a free one if 0.
    pub fn bind(port: u16, behaviour: Behaviour) -> io::Result<Self> {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
            if behaviour.tcp == Tcp::Refused {
                break (udp, None);
            }
            match TcpListener::bind(udp.local_addr()?) {
                Ok(tcp) => break (udp, Some(tcp)),
                // A port that is free for datagrams may be that of another process's connection.
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        };
        udp.set_nonblocking(true)?;
        // To exceed the system's limit needs a privilege.
        if sockopt::set_socket_recv_buffer_size_force(&udp, RECEIVE_BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&udp, RECEIVE_BUFFER_BYTES)?;
        }
        let at = udp.local_addr()?;
        Ok(Self {
            at,
            udp,
            tcp,
            behaviour,
        })
    }

    /// Serves until `ended`; returns what it counted.
    pub fn serve(self, ended: &AtomicBool) -> io::Result<Counts> {
        let behaviour = &self.behaviour;
        thread::scope(|scope| {
            let over_tcp = self
                .tcp
                .map(|listener| scope.spawn(|| tcp::serve(listener, behaviour, ended)));
            let mut counts = udp::serve(&self.udp, behaviour, ended)?;
            if let Some(thread) = over_tcp {
                counts.tcp = thread.join().expect("the thread for TCP")?;
            }
            Ok(counts)
        })
    }
}
