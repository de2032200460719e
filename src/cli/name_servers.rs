//! The name servers of `connect` and `http`.

use super::arguments::NameArguments;
use super::servers::servers_of_system;
use crate::jobs::connect::{Families, HOSTS, Hosts, NameService};
use crate::jobs::dns::{Settings, SharedLimits, each_once, queries_in_flight_max};
use crate::run::Plan;
use std::net::SocketAddr;

/// Sockets that each loop may open for each name server: one for datagrams, one for long answers.
const SOCKETS_PER_SERVER: usize = 2;

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
