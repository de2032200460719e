//! The source address of queries (`--source`).

use super::setup_error::SetupError;
use crate::io::source_address;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Fails if some server cannot be queried from this address, as far as that can be known without sending a
/// query.
pub(super) fn check(source: IpAddr, servers: &[SocketAddr]) -> Result<(), SetupError> {
    for server in servers {
        if source.is_ipv4() != server.is_ipv4() {
            let [own, other] = [source, server.ip()].map(family);
            let message = format!(
                "--source {source} is an {own} address, but {server} is an {other} address"
            );
            return Err(SetupError::new(message).hint(format!(
                "use --resolver to give resolvers with {own} addresses only"
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
                .hint("`ip address` lists the addresses of this machine")
        }
        _ => SetupError::io(&name, "bind", error),
    }
}
