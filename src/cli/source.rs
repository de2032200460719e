//! The address of this machine that servers are asked from.

use super::setup_error::SetupError;
use crate::io::source_address;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Fails unless all servers can be asked from this address, as far as the system knows that without a
/// query.
pub(super) fn check(source: IpAddr, servers: &[SocketAddr]) -> Result<(), SetupError> {
    for server in servers {
        if source.is_ipv4() != server.is_ipv4() {
            let [own, other] = [source, server.ip()].map(family);
            let message =
                format!("--source {source} is an address of {own}, {server} one of {other}");
            return Err(SetupError::new(message).hint(format!(
                "name only resolvers with addresses of {own}, by --resolver"
            )));
        }
        UdpSocket::bind(source_address(source, *server))
            .map_err(|error| refused(source, &error))?;
    }
    Ok(())
}

fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

fn refused(source: IpAddr, error: &io::Error) -> SetupError {
    let name = format!("--source {source}");
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            SetupError::new(format!("{name}: not an address of this machine"))
                .hint("`ip address` lists those it has")
        }
        _ => SetupError::io(&name, "bind", error),
    }
}
