//! The servers that `ringmill dns` queries.

use super::arguments::DnsArguments;
use super::setup_error::SetupError;
use crate::jobs::dns::{RESOLV_CONF, each_once, parse_server, system_servers};
use crate::sink::messages;
use std::net::SocketAddr;
use std::path::Path;

/// The servers given on the command line and in a list, or else those of the system, without duplicates.
pub(super) fn servers(arguments: &DnsArguments) -> Result<Vec<SocketAddr>, SetupError> {
    let mut servers = arguments.resolvers.clone();
    if let Some(path) = &arguments.resolvers_from {
        servers.extend(servers_in_list(path)?);
    } else if servers.is_empty() {
        servers = servers_of_system()?;
    }
    Ok(each_once(servers))
}

fn servers_in_list(path: &Path) -> Result<Vec<SocketAddr>, SetupError> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| SetupError::io(&name, "read", &error))?;
    let lines = text.lines().map(str::trim).zip(1..);
    let mut servers = Vec::new();
    for (line, number) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#')) {
        let server = parse_server(line)
            .map_err(|error| SetupError::new(format!("{name}, line {number}: {error}: {line}")))?;
        servers.push(server);
    }
    if servers.is_empty() {
        return Err(SetupError::new(format!("{name}: contains no resolvers")));
    }
    Ok(servers)
}

/// The servers of /etc/resolv.conf.
pub(super) fn servers_of_system() -> Result<Vec<SocketAddr>, SetupError> {
    let path = Path::new(RESOLV_CONF);
    let name = path.display();
    let found = system_servers(path).map_err(SetupError::new)?;
    for (server, error) in found.left_out {
        messages::about_run(&format_args!("{name}: {server} is ignored: {error}"));
    }
    if found.servers.is_empty() {
        return Err(SetupError {
            message: format!("{name}: contains no nameservers"),
            hint: Some("give one with --resolver".to_owned()),
        });
    }
    Ok(found.servers)
}
