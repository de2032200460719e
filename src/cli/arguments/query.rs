//! The options of `ringmill dns` for the content of queries and how they are sent.

use crate::cli::setup_error::SetupError;
use crate::cli::values::parse_address;
use crate::jobs::dns::{EDNS_SIZE_MAX, EDNS_SIZE_MIN, EdnsOptions, QueryOptions};
use clap::Args;
use domain::base::opt::subnet::ClientSubnet;
use serde_json::Value;
use std::net::IpAddr;

/// The content of queries and how they are sent.
#[derive(Debug, Args)]
pub(in crate::cli) struct QueryArguments {
    /// Send queries over TCP only.
    ///
    /// There is one connection for each server and event loop, with up to 128 queries in flight.
    #[arg(long, conflicts_with = "sockets", help_heading = "Queries")]
    pub(in crate::cli) tcp: bool,

    /// Do not request recursion (RD = 0): servers answer only from their own data.
    #[arg(long, help_heading = "Queries")]
    no_recurse: bool,

    /// Maximum size of replies over UDP in octets, sent with EDNS: 512 to 4096. `off` sends queries without
    /// EDNS; replies of more than 512 octets are then fetched over TCP.
    #[arg(
        long,
        value_name = "SIZE|off",
        default_value = "1232",
        value_parser = parse_edns,
        allow_hyphen_values = true,
        help_heading = "Queries"
    )]
    edns: Edns,

    /// Request DNSSEC signatures (DO = 1).
    ///
    /// Answers then include RRSIG records. A resolver that has validated them sets the flag `ad`, which
    /// --format jsonl shows.
    #[arg(long, help_heading = "Queries")]
    dnssec: bool,

    /// Request the answers that clients in this network get (EDNS Client Subnet). Without LEN, the whole
    /// address is sent, as dig does.
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = parse_subnet, help_heading = "Queries")]
    subnet: Option<ClientSubnet>,

    /// Send queries from this address of the machine.
    #[arg(long, value_name = "ADDR", value_parser = parse_address, help_heading = "Queries")]
    pub(in crate::cli) source: Option<IpAddr>,
}

impl QueryArguments {
    /// The content of queries. Fails if options contradict each other.
    pub(in crate::cli) fn options(&self) -> Result<QueryOptions, SetupError> {
        let edns = match self.edns {
            Edns::Off if self.dnssec => return Err(needs_edns("--dnssec")),
            Edns::Off if self.subnet.is_some() => return Err(needs_edns("--subnet")),
            Edns::Off => None,
            Edns::UdpSize(udp_size) => Some(EdnsOptions {
                udp_size,
                dnssec_ok: self.dnssec,
                subnet: self.subnet,
            }),
        };
        Ok(QueryOptions {
            recursion_desired: !self.no_recurse,
            edns,
        })
    }
}

impl QueryArguments {
    /// The options, for the document of --stats.
    pub(in crate::cli) fn for_document(&self) -> [(&'static str, Value); 6] {
        let udp_size = match self.edns {
            Edns::Off => None,
            Edns::UdpSize(size) => Some(size),
        };
        let subnet = self.subnet.map(|subnet| {
            let length = subnet.source_prefix_len();
            format!("{}/{length}", subnet.addr())
        });
        [
            ("tcp", self.tcp.into()),
            ("recursion_desired", (!self.no_recurse).into()),
            ("edns_udp_size", udp_size.into()),
            ("dnssec", self.dnssec.into()),
            ("subnet", subnet.into()),
            ("source", self.source.map(|it| it.to_string()).into()),
        ]
    }
}

fn needs_edns(option: &str) -> SetupError {
    SetupError::new(format!("{option} needs EDNS, which --edns off turns off"))
        .hint("leave out one of them")
}

/// Whether queries have an OPT record, and the reply size it announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edns {
    Off,
    UdpSize(u16),
}

fn parse_edns(text: &str) -> Result<Edns, String> {
    match text.parse() {
        Ok(size) if (EDNS_SIZE_MIN..=EDNS_SIZE_MAX).contains(&size) => Ok(Edns::UdpSize(size)),
        _ if text == "off" => Ok(Edns::Off),
        _ => Err(format!(
            "neither a size from {EDNS_SIZE_MIN} to {EDNS_SIZE_MAX} nor `off`"
        )),
    }
}

/// Parses a prefix as in RFC 4632 and RFC 4291. Bits of the address after the prefix are set to 0.
fn parse_subnet(text: &str) -> Result<ClientSubnet, String> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "not an IP address, or an IP address and a prefix length".to_owned())?;
    let len_max = if address.is_ipv4() { 32 } else { 128 };
    let len = match len.map(str::parse) {
        None => len_max,
        Some(Ok(len)) if len <= len_max => len,
        Some(_) => return Err(format!("not a prefix length from 0 to {len_max}")),
    };
    Ok(ClientSubnet::new(len, 0, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_an_address_with_or_without_a_length() {
        for (text, prefix) in [
            ("192.0.2.77", "192.0.2.77/32"),
            ("192.0.2.77/24", "192.0.2.0/24"),
            ("192.0.2.77/0", "0.0.0.0/0"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8:0:1ff::/56", "2001:db8:0:100::/56"),
        ] {
            assert_eq!(parse_subnet(text).unwrap().to_string(), prefix, "{text}");
        }
        for text in [
            "",
            "/24",
            "192.0.2.0/",
            "192.0.2.0/33",
            "2001:db8::/129",
            "a/8",
            "192.0.2/24",
        ] {
            assert!(parse_subnet(text).is_err(), "{text}");
        }
    }
}
