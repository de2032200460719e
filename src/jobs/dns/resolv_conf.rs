//! The servers that the system is configured to use.

use super::server_address::parse_server;
use std::net::SocketAddr;
use std::path::Path;

/// The servers of a resolv.conf(5).
#[derive(Debug, Default)]
pub struct SystemServers {
    /// Their addresses, in the order of the file.
    pub servers: Vec<SocketAddr>,
    /// Entries that are not valid server addresses, and why.
    pub left_out: Vec<(String, String)>,
}

/// Where the system keeps its servers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Reads the servers from a file.
///
/// # Errors
/// A message that says what is wrong with the file.
pub fn system_servers(path: &Path) -> Result<SystemServers, String> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        let cause = crate::error::Errno::from(&error);
        format!("{name}: cannot read: {cause}")
    })?;
    let config = resolv_conf::Config::parse(bytes).map_err(|error| format!("{name}: {error}"))?;
    let mut found = SystemServers::default();
    for server in &config.nameservers {
        let server = server.to_string();
        match parse_server(&server) {
            Ok(address) => found.servers.push(address),
            Err(error) => found.left_out.push((server, error)),
        }
    }
    Ok(found)
}
