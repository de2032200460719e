//! How `connect` and `http` resolve names.

use crate::jobs::connect::Pin;
use crate::jobs::dns::parse_server;
use clap::Args;
use std::net::SocketAddr;

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct NameArguments {
    /// Use only the IPv4 addresses of names.
    #[arg(
        short = '4',
        long = "ipv4",
        conflicts_with = "v6_only",
        help_heading = "Names"
    )]
    pub(in crate::cli) v4_only: bool,

    /// Use only the IPv6 addresses of names.
    #[arg(short = '6', long = "ipv6", help_heading = "Names")]
    pub(in crate::cli) v6_only: bool,

    /// Query this server instead of /etc/resolv.conf.
    ///
    /// May be given several times. Names in /etc/hosts are not queried.
    #[arg(short, long = "resolver", value_name = "ADDR[:PORT]", value_parser = parse_server, help_heading = "Names")]
    pub(in crate::cli) resolvers: Vec<SocketAddr>,

    /// Use this address for a name with this port.
    ///
    /// May be given several times, and with several addresses, separated by commas.
    #[arg(long, value_name = "HOST:PORT:ADDR", help_heading = "Names")]
    pub(in crate::cli) resolve: Vec<Pin>,
}
