//! Addresses at which a server can start, or at which there is none.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Lower ports are those of services that the machine may run.
const FIRST: u16 = 10_000;

/// The number of ports from [`FIRST`] on that the kernel assigns to no socket by itself. Where it is
/// configured to assign almost all, those that it does not assign by default.
static PORTS: LazyLock<u16> = LazyLock::new(|| {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("the range");
    let first = range.split_whitespace().next().expect("two ports");
    let first: u16 = first.parse().expect("a port");
    let ports = first.saturating_sub(FIRST);
    if ports < 1000 { 32_768 - FIRST } else { ports }
});

/// An address of the loopback device at which nothing listens, over UDP or TCP.
///
/// The kernel does not assign its port to other sockets, and no other test gets it: the test can start
/// a program there, or leave it unused.
#[track_caller]
pub fn free_address() -> SocketAddr {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let ports = *PORTS;
    // Test binaries that run at the same time start at different ports.
    let begin = std::process::id().wrapping_mul(997) % u32::from(ports);
    for _ in 0..ports {
        let offset = begin + u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from(offset % u32::from(ports)).expect("less than the ports");
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + offset));
        match (UdpSocket::bind(at), TcpListener::bind(at)) {
            (Ok(_), Ok(_)) => return at,
            (Err(error), _) | (_, Err(error)) if error.kind() != io::ErrorKind::AddrInUse => {
                panic!("{at}: {error}")
            }
            _ => {}
        }
    }
    panic!("all of {ports} ports are in use");
}
