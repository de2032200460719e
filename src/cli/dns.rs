//! `ringmill dns`.

use super::Outcome;
use super::arguments::{DnsArguments, DnsFormat, parse_resolver};
use super::limits::Descriptors;
use super::observer::Observer;
use super::setup_error::SetupError;
use super::stream::{Rows, Task};
use crate::clock;
use crate::error::ItemError;
use crate::item::Item;
use crate::jobs::dns::{DnsJob, Found, Settings, with_types};
use crate::mill::budget;
use crate::run::Plan;
use crate::sink::dns::{write_jsonl, write_massdns, write_text};
use crate::source::Expand;
use serde_json::Map;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Questions at one time for the servers of [`RESOLV_CONF`], which others use as well. Whoever names
/// servers knows what they bear.
const AT_ONCE_FOR_SHARED_SERVERS: usize = 100;

pub(super) fn dns(arguments: DnsArguments) -> Outcome {
    let types = arguments.types.clone();
    let options = [
        ("types", types.iter().map(ToString::to_string).collect()),
        ("retries", arguments.retries.into()),
    ];
    let rows = DnsRows {
        format: arguments.format,
        clock_started_at: since_1970().saturating_sub(clock::now()),
    };
    let task = Task {
        command: "dns",
        usage: "ringmill dns NAME…, or ringmill dns --files-from names.txt",
        items: arguments.names.clone(),
        arguments: &arguments.stream,
        fail_fast: false,
        timeout: None,
        items_hold_files: false,
        expand: (types.len() > 1)
            .then(|| -> Expand { Box::new(move |line| with_types(line, &types)) }),
        options: Map::from_iter(options.map(|(name, value)| (name.to_owned(), value))),
    };
    task.perform(|plan, descriptors| job(&arguments, plan, descriptors), rows)
}

fn job(
    arguments: &DnsArguments,
    plan: &Plan,
    descriptors: &Descriptors,
) -> Result<DnsJob, SetupError> {
    let servers = servers(arguments)?;
    let names_servers = !arguments.resolvers.is_empty() || arguments.resolvers_from.is_some();
    let at_once_max = match names_servers {
        true => plan.in_flight,
        false => plan.in_flight.min(AT_ONCE_FOR_SHARED_SERVERS),
    };
    let limit = usize::try_from(descriptors.limit).unwrap_or(usize::MAX);
    let for_sockets = budget::left(limit, descriptors.in_use, plan.loops);
    let sockets = arguments.sockets.div_ceil(plan.loops);
    // One of each server's is for TCP.
    let sockets_max = (for_sockets / plan.loops / servers.len()).saturating_sub(1);
    if sockets_max == 0 {
        let (count, loops) = (servers.len(), plan.loops);
        return Err(SetupError {
            message: format!(
                "{count} servers for {loops} loops need more sockets than the limit on open files ({limit}) allows"
            ),
            hint: Some("raise it with ulimit -n, or use fewer --loops".to_owned()),
        });
    }
    Ok(DnsJob {
        settings: Settings {
            servers,
            sockets_per_server: sockets.min(sockets_max),
            per_server_max: at_once_max.div_ceil(plan.loops),
            retries: arguments.retries,
            timeout: arguments.timeout,
        },
        default_type: arguments.types[0],
    })
}

fn servers(arguments: &DnsArguments) -> Result<Vec<SocketAddr>, SetupError> {
    let mut servers = arguments.resolvers.clone();
    if let Some(path) = &arguments.resolvers_from {
        servers.extend(servers_in_list(path)?);
    } else if servers.is_empty() {
        servers = servers_in_resolv_conf(Path::new(RESOLV_CONF))?;
    }
    let mut known = HashSet::new();
    servers.retain(|server| known.insert(*server));
    Ok(servers)
}

fn servers_in_list(path: &Path) -> Result<Vec<SocketAddr>, SetupError> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| SetupError::io(&name, "read", &error))?;
    let lines = text.lines().map(str::trim).zip(1..);
    let mut servers = Vec::new();
    for (line, number) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#')) {
        let server = parse_resolver(line)
            .map_err(|error| SetupError::new(format!("{name}, line {number}: {error}: {line}")))?;
        servers.push(server);
    }
    if servers.is_empty() {
        return Err(SetupError::new(format!("{name}: no resolver in it")));
    }
    Ok(servers)
}

fn servers_in_resolv_conf(path: &Path) -> Result<Vec<SocketAddr>, SetupError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| SetupError::io(&name, "read", &error))?;
    let config = resolv_conf::Config::parse(bytes)
        .map_err(|error| SetupError::new(format!("{name}: {error}")))?;
    let servers: Vec<SocketAddr> = config
        .nameservers
        .iter()
        .filter_map(|server| parse_resolver(&server.to_string()).ok())
        .collect();
    if servers.is_empty() {
        return Err(SetupError {
            message: format!("{name}: no nameserver in it"),
            hint: Some("name one with --resolver".to_owned()),
        });
    }
    Ok(servers)
}

struct DnsRows {
    format: DnsFormat,
    /// When the clock of the answers showed 0, since 1970.
    clock_started_at: Duration,
}

fn since_1970() -> Duration {
    // A clock before that is wrong anyway.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

impl Rows<Found> for DnsRows {
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        item: &Item,
        result: &Result<Found, ItemError>,
        observer: &mut Observer,
    ) {
        let found = match result {
            Ok(found) => found,
            Err(error) => {
                observer.count(Err(error.cause.key()));
                return observer.say(item.bytes(), error);
            }
        };
        match found {
            Ok(answer) if answer.status.is_definite() => {
                let bytes = answer.message.as_ref().map_or(0, |message| message.len());
                observer.count(Ok(bytes as u64));
            }
            Ok(answer) => observer.count(Err(answer.status.to_string())),
            Err(_) => observer.count(Err("INVALID".to_owned())),
        }
        match self.format {
            DnsFormat::Text => write_text(out, item, found),
            DnsFormat::Jsonl => write_jsonl(out, item, found),
            DnsFormat::Massdns => write_massdns(out, item, found, self.clock_started_at),
        }
    }
}
