//! Endpoints as text: `HOST:PORT`, with an IPv6 address in brackets.

use crate::item::Batch;
use crate::jobs::dns::Question;
use crate::source::{Expand, Items};
use domain::base::Rtype;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address.
    Address(SocketAddr),
    /// The addresses of a name: a question for its A records, and the port.
    Name(Question, u16),
}

/// Why a line is not an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The line is blank.
    #[error("no host")]
    Empty,
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// The line has a host only.
    #[error("no port")]
    NoPort,
    /// What follows the last colon is not a number from 1 to 65535.
    #[error("not a port from 1 to 65535")]
    Port,
    /// An IPv6 address is not in brackets, or the host has a colon for another reason.
    #[error("an IPv6 address must be in brackets")]
    Colons,
    /// The host is neither an address nor a name that DNS allows.
    #[error("not a host name or IP address")]
    Host,
}

impl Endpoint {
    /// Reads a line. Blanks around it are ignored. Names that are not ASCII are converted by IDNA.
    ///
    /// # Errors
    /// If it is not an endpoint.
    pub fn parse(line: &[u8]) -> Result<Self, Invalid> {
        let line = std::str::from_utf8(line.trim_ascii()).map_err(|_| Invalid::Encoding)?;
        let (host, port) = match split(line) {
            Some((host, port)) => (host, parse_port(port)?),
            None if line.is_empty() => return Err(Invalid::Empty),
            None => return Err(Invalid::NoPort),
        };
        if let Ok(mut address) = line.parse::<SocketAddr>() {
            // Of a number such as 0080 too.
            address.set_port(port);
            return Ok(Self::Address(address));
        }
        if host.is_empty() {
            return Err(Invalid::Empty);
        }
        if host.contains(['[', ']', '/', ' ', '\t']) {
            return Err(Invalid::Host);
        }
        if host.contains(':') {
            return Err(Invalid::Colons);
        }
        let question = Question::parse(host.as_bytes(), Rtype::A).map_err(|_| Invalid::Host)?;
        Ok(Self::Name(question, port))
    }
}

/// The host and what follows it, if the line does not consist of a host only.
fn split(line: &str) -> Option<(&str, &str)> {
    if line.parse::<Ipv6Addr>().is_ok() || line.ends_with(']') {
        return None;
    }
    line.rsplit_once(':')
}

/// Reads a port.
///
/// # Errors
/// If it is not a number from 1 to 65535.
pub fn parse_port(text: &str) -> Result<u16, Invalid> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if is_number => Ok(port),
        _ => Err(Invalid::Port),
    }
}

/// Expands lines without a port to an endpoint for each of these ports.
#[derive(Clone, Debug)]
pub struct Ports(Vec<u16>);

impl Ports {
    /// At least one port.
    #[must_use]
    pub fn new(ports: Vec<u16>) -> Self {
        Self(ports)
    }
}

impl Expand for Ports {
    fn keeps(&self, _: &Batch) -> bool {
        false
    }

    fn expand(&self, line: &[u8]) -> Option<Items> {
        let line = std::str::from_utf8(line.trim_ascii()).ok()?;
        if line.is_empty() || split(line).is_some() {
            return None;
        }
        let host = match line.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => line.to_owned(),
        };
        let ports = self.0.clone().into_iter();
        Some(Box::new(
            ports.map(move |port| format!("{host}:{port}").into_bytes()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Question {
        Question::parse(text.as_bytes(), Rtype::A).unwrap()
    }

    #[test]
    fn endpoints() {
        let address = |text: &str| Ok(Endpoint::Address(text.parse().unwrap()));
        for (line, expected) in [
            ("127.0.0.1:80", address("127.0.0.1:80")),
            (" 127.0.0.1:80\r", address("127.0.0.1:80")),
            ("[::1]:443", address("[::1]:443")),
            ("[fe80::1%3]:22", address("[fe80::1%3]:22")),
            ("a.example:22", Ok(Endpoint::Name(name("A.example"), 22))),
            (
                "bücher.example:22",
                Ok(Endpoint::Name(name("xn--bcher-kva.example"), 22)),
            ),
            (
                "localhost:065535",
                Ok(Endpoint::Name(name("localhost"), 65535)),
            ),
            ("", Err(Invalid::Empty)),
            (":80", Err(Invalid::Empty)),
            ("a.example", Err(Invalid::NoPort)),
            ("192.0.2.1", Err(Invalid::NoPort)),
            ("::1", Err(Invalid::NoPort)),
            ("[::1]", Err(Invalid::NoPort)),
            ("a.example:", Err(Invalid::Port)),
            ("a.example:0", Err(Invalid::Port)),
            ("a.example:65536", Err(Invalid::Port)),
            ("a.example:+80", Err(Invalid::Port)),
            ("a.example:http", Err(Invalid::Port)),
            ("127.0.0.1:0", Err(Invalid::Port)),
            ("[::1]:0", Err(Invalid::Port)),
            ("a:b:80", Err(Invalid::Colons)),
            ("1::2::3:80", Err(Invalid::Colons)),
            ("http://a.example:80", Err(Invalid::Host)),
            ("a b:80", Err(Invalid::Host)),
            ("[a]:80", Err(Invalid::Host)),
            ("a..b:80", Err(Invalid::Host)),
        ] {
            assert_eq!(Endpoint::parse(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(Endpoint::parse(b"\xff:80"), Err(Invalid::Encoding));
        // An address with a port that is also an address.
        assert_eq!(Endpoint::parse(b"::1:80"), Err(Invalid::NoPort));
    }

    #[test]
    fn lines_without_a_port_are_expanded() {
        let ports = Ports::new(vec![22, 80]);
        let expanded = |line: &str| {
            let items = ports.expand(line.as_bytes())?;
            Some(
                items
                    .map(|item| String::from_utf8(item).unwrap())
                    .collect::<Vec<_>>(),
            )
        };
        for (line, first) in [
            ("a.example", "a.example:22"),
            (" 192.0.2.1\r", "192.0.2.1:22"),
            ("::1", "[::1]:22"),
            ("[::1]", "[::1]:22"),
        ] {
            let expected = vec![first.to_owned(), first.replace(":22", ":80")];
            assert_eq!(expanded(line), Some(expected), "{line:?}");
        }
        for line in ["a.example:443", "[::1]:443", "", "a:b:80", "a.example:"] {
            assert_eq!(expanded(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(line in "(\\PC|[\\[\\]:%/. 0-9a-f]){0,30}") {
            let ports = Ports::new(vec![1]);
            if let Some(items) = ports.expand(line.as_bytes()) {
                // Each has a port then, right or wrong.
                for item in items {
                    prop_assert_ne!(Endpoint::parse(&item), Err(Invalid::NoPort));
                }
            }
            if let Ok(Endpoint::Address(address)) = Endpoint::parse(line.as_bytes()) {
                prop_assert_ne!(address.port(), 0);
            }
        }
    }
}
