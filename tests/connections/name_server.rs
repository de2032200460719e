//! A name server of the simulation.

use ringmill::io::sim::SentMessage;
use ringmill::jobs::connect::{Families, Hosts, NameService, Pins};
use ringmill::jobs::dns::{Settings, SharedLimits};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Names are looked up here.
pub fn address() -> SocketAddr {
    ([192, 0, 2, 253], 53).into()
}

/// Looks names up at the server.
pub fn service(loops: usize) -> NameService {
    let settings = Settings {
        retries: 20,
        // No reply takes as long, so a query that is not lost is sent once.
        attempt_timeout: Some(Duration::from_secs(1)),
        ..Settings::new(vec![address()])
    };
    let limits = SharedLimits::new(1, 100, loops);
    let (pins, hosts) = (Pins::default(), Hosts::default());
    NameService::new(pins, hosts, Families::V4, Some((settings, limits)))
}

/// The name that [`answer`] gives this address.
pub fn name(number: u8) -> String {
    format!("n{number}.example")
}

pub fn ip(number: u8) -> IpAddr {
    [192, 0, 2, number].into()
}

/// The number whose address this is.
pub fn host(address: SocketAddr) -> u8 {
    match address {
        SocketAddr::V4(address) => address.ip().octets()[3],
        SocketAddr::V6(_) => unreachable!("there are no such servers"),
    }
}

/// The reply to a query: for `n7.example`, the address 192.0.2.7; from `n200.example` on, no such name.
pub fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let number = number(query)?;
    let (header, rest) = query.split_at(12);
    let question_len = rest.iter().position(|&byte| byte == 0)? + 5;
    let (rcode, records) = if number < 200 { (0, 1) } else { (3, 0) };
    let mut reply = header[..2].to_vec();
    reply.extend([0x81, 0x80 | rcode, 0, 1, 0, records, 0, 0, 0, 0]);
    reply.extend(&rest[..question_len]);
    if records > 0 {
        // A pointer to the name, type A, class IN, a day, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 1, 0x51, 0x80, 0, 4, 192, 0, 2]);
        reply.push(number);
    }
    Some(reply)
}

/// The number of the name that a query asks about.
fn number(query: &[u8]) -> Option<u8> {
    let rest = query.get(12..)?;
    let label_len = usize::from(rest[0]);
    std::str::from_utf8(&rest[2..=label_len]).ok()?.parse().ok()
}

/// True for a query about the name with this number.
pub fn asks_about(message: &SentMessage, asked: u8) -> bool {
    message.server == address() && number(&message.bytes) == Some(asked)
}
