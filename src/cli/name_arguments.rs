//! How `connect` and `http` resolve names.

use super::servers::servers_of_system;
use crate::jobs::connect::{Families, HOSTS, Hosts, NameService, Pin};
use crate::jobs::dns::{Settings, SharedLimits, each_once, parse_server, queries_in_flight_max};
use crate::run::Plan;
use clap::Args;
use std::net::SocketAddr;

/// Sockets that each loop may open for each name server: one for datagrams, one for long answers.
const SOCKETS_PER_SERVER: usize = 2;

#[derive(Clone, Debug, Args)]
pub(super) struct NameArguments {
    /// Use only the IPv4 addresses of names.
    #[arg(
        short = '4',
        long = "ipv4",
        conflicts_with = "v6_only",
        help_heading = "Names"
    )]
    v4_only: bool,

    /// Use only the IPv6 addresses of names.
    #[arg(short = '6', long = "ipv6", help_heading = "Names")]
    v6_only: bool,

    /// Query this server instead of /etc/resolv.conf.
    ///
    /// May be given several times. Names in /etc/hosts are not queried.
    #[arg(short, long = "resolver", value_name = "ADDR[:PORT]", value_parser = parse_server, help_heading = "Names")]
    resolvers: Vec<SocketAddr>,

    /// Use this address for a name with this port.
    ///
    /// May be given several times, and with several addresses, separated by commas.
    #[arg(long, value_name = "HOST:PORT:ADDR", help_heading = "Names")]
    resolve: Vec<Pin>,
}

/// The name servers of a run.
pub(super) struct NameServers(Vec<SocketAddr>);

impl NameServers {
    /// If those of the system cannot be read, names fail, but addresses do not.
    pub(super) fn of(arguments: &NameArguments) -> Self {
        let given = &arguments.resolvers;
        Self(match given.is_empty() {
            true => servers_of_system().unwrap_or_default(),
            false => each_once(given.iter().copied()),
        })
    }

    /// Descriptors that each loop needs for them.
    pub(super) fn descriptors(&self) -> usize {
        SOCKETS_PER_SERVER * self.0.len()
    }

    pub(super) fn service(self, arguments: &NameArguments, plan: &Plan) -> NameService {
        // A system without the file has no such names.
        let hosts =
            std::fs::read(HOSTS).map_or_else(|_| Hosts::default(), |text| Hosts::parse(&text));
        let families = match (arguments.v4_only, arguments.v6_only) {
            (true, _) => Families::V4,
            (_, true) => Families::V6,
            _ => Families::Both,
        };
        let pins = arguments.resolve.iter().cloned().collect();
        let resolver = (!self.0.is_empty()).then(|| {
            let names_servers = !arguments.resolvers.is_empty();
            let queries_max = queries_in_flight_max(plan.in_flight, false, names_servers);
            let limits = SharedLimits::new(self.0.len(), queries_max, plan.loops);
            (Settings::new(self.0), limits)
        });
        NameService::new(pins, hosts, families, resolver)
    }
}
