//! The options of `ringmill dns` about what queries say and how they are sent.

use super::setup_error::SetupError;
use crate::jobs::dns::{EDNS_SIZE_MAX, EDNS_SIZE_MIN, EdnsOptions, QueryOptions};
use clap::Args;

/// What queries say and how they are sent.
#[derive(Debug, Args)]
pub(super) struct QueryArguments {
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
        help_heading = "Queries"
    )]
    edns: Edns,

    /// Ask for signatures (DO = 1): they come with the records of an answer (RRSIG), and a resolver that
    /// has checked them says so (the flag `ad` of --format jsonl).
    #[arg(long, help_heading = "Queries")]
    dnssec: bool,
}

impl QueryArguments {
    /// What queries say, unless options contradict each other.
    pub(super) fn options(&self) -> Result<QueryOptions, SetupError> {
        let edns = match self.edns {
            Edns::Off if self.dnssec => return Err(needs_edns("--dnssec")),
            Edns::Off => None,
            Edns::UdpSize(udp_size) => Some(EdnsOptions {
                udp_size,
                dnssec_ok: self.dnssec,
            }),
        };
        Ok(QueryOptions {
            recursion_desired: !self.no_recurse,
            edns,
        })
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
