//! The options of `ringmill dns` about what queries say and how they are sent.

use super::setup_error::SetupError;
use super::values::parse_address;
use crate::jobs::dns::{EDNS_SIZE_MAX, EDNS_SIZE_MIN, EdnsOptions, QueryOptions};
use clap::Args;
use domain::base::opt::subnet::ClientSubnet;
use serde_json::Value;
use std::net::IpAddr;

/// What queries say and how they are sent.
#[derive(Debug, Args)]
pub(super) struct QueryArguments {
    /// Ask by TCP alone.
    ///
    /// There is one connection for each server and loop, with up to 128 queries at a time.
    #[arg(long, conflicts_with = "sockets", help_heading = "Queries")]
    pub(super) tcp: bool,

    /// Do not ask for recursion (RD = 0): servers answer only with what they know themselves.
    #[arg(long, help_heading = "Queries")]
    no_recurse: bool,

    /// The size in octets of the longest reply over UDP that is asked for with EDNS, from 512 to 4096;
    /// `off` asks without EDNS, so that replies of more than 512 octets come by TCP.
    #[arg(
        long,
        value_name = "SIZE|off",
        default_value = "1232",
        value_parser = parse_edns,
        allow_hyphen_values = true,
        help_heading = "Queries"
    )]
    edns: Edns,

    /// Ask for signatures (DO = 1).
    ///
    /// They come with the records of an answer (RRSIG), and a resolver that has checked them says so (the
    /// flag `ad` of --format jsonl).
    #[arg(long, help_heading = "Queries")]
    dnssec: bool,

    /// Ask for answers that are meant for clients of this network (EDNS Client Subnet). An address without a
    /// length is sent whole, as dig does.
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = parse_subnet, help_heading = "Queries")]
    subnet: Option<ClientSubnet>,

    /// Ask from this address of the machine.
    #[arg(long, value_name = "ADDR", value_parser = parse_address, help_heading = "Queries")]
    pub(super) source: Option<IpAddr>,
}

impl QueryArguments {
    /// What queries say, unless options contradict each other.
    pub(super) fn options(&self) -> Result<QueryOptions, SetupError> {
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
    /// Themselves, for a document.
    pub(super) fn told(&self) -> [(&'static str, Value); 6] {
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

/// Whether queries have an OPT record, and for replies of what size.
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

/// A prefix as RFC 4632 and RFC 4291 have it. Bits of the address behind it are taken for 0.
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
