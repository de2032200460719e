//! Addresses of DNS servers in arguments and lists.

use std::collections::HashSet;
use std::net::{SocketAddr, SocketAddrV6};

const DNS_PORT: u16 = 53;

/// Reads an address with or without a port; an IPv6 address with a port is in brackets. A link-local
/// address has its interface after a `%`, by name or by number.
///
/// # Errors
/// A message that says what is wrong with the text.
pub fn parse_server(text: &str) -> Result<SocketAddr, String> {
    let without_port = text
        .parse()
        .map(|address| SocketAddr::new(address, DNS_PORT));
    without_port
        .or_else(|_| text.parse())
        .or_else(|_| match parse_scoped(text) {
            Some((address, interface)) => {
                let (ip, port) = (*address.ip(), address.port());
                let scope = interface_index(interface)
                    .ok_or_else(|| format!("there is no interface {interface}"))?;
                Ok(SocketAddrV6::new(ip, port, 0, scope).into())
            }
            None => Err("not an IP address, or an IP address and a port".to_owned()),
        })
}

/// The addresses in their order, each once.
pub fn each_once(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut known = HashSet::new();
    let addresses = addresses.into_iter();
    addresses.filter(|address| known.insert(*address)).collect()
}

/// `fe80::1%eth0` or `[fe80::1%eth0]:53`: the address, and the interface.
fn parse_scoped(text: &str) -> Option<(SocketAddrV6, &str)> {
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once("]:")?;
            (address, port.parse().ok()?)
        }
        None => (text, DNS_PORT),
    };
    let (ip, interface) = address.split_once('%')?;
    Some((SocketAddrV6::new(ip.parse().ok()?, port, 0, 0), interface))
}

fn interface_index(name: &str) -> Option<u32> {
    if let Ok(index) = name.parse() {
        return Some(index);
    }
    // A path is not accepted as the name of an interface.
    let is_name = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    let index = is_name.then(|| std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")));
    index?.ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_ports_and_interfaces() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
            ("fe80::1%7", "[fe80::1%7]:53"),
            ("[fe80::1%7]:5353", "[fe80::1%7]:5353"),
            // `lo` is the first interface of every network namespace.
            ("fe80::1%lo", "[fe80::1%1]:53"),
            ("[fe80::1%lo]:5353", "[fe80::1%1]:5353"),
        ] {
            let address = parse_server(text).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "localhost",
            "192.0.2.1:",
            "192.0.2.1%lo",
            "[fe80::1%lo",
            "fe80::1%",
        ] {
            assert!(parse_server(text).is_err(), "{text}");
        }
        let missing = parse_server("fe80::1%nosuch");
        assert_eq!(missing, Err("there is no interface nosuch".to_owned()));
    }
}
