//! Lookups in the Domain Name System.
//!
//! An item is a question. The items of a loop share a [`Resolver`], which queries servers until each
//! question has its answer. A client runs the resolver on a few connected sockets; a reply is matched to
//! its query by socket and id.

mod addresses;
mod aliases;
mod answer;
mod block;
mod circuit;
mod client;
mod common;
mod controller;
#[cfg(test)]
mod controller_tests;
mod edns;
mod estimate;
mod frames;
mod ids;
mod invalid;
mod job;
mod labels;
mod limit;
mod lines;
mod lookup;
mod message;
mod parent;
mod permits;
mod presentation;
mod query;
mod question;
mod random;
mod raw;
mod reading;
#[cfg(test)]
mod reading_tests;
mod refusals;
mod resolv_conf;
mod resolver;
mod room_by_server;
mod row_status;
mod server;
mod server_address;
mod server_stats;
mod siblings;
mod sockets;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod text;
mod throttle;
mod wait_queues;
mod walk;
mod wildcards;
mod wire;

pub use answer::{Answer, LastReply, Record, Wildcard};
pub use block::Block;
pub(super) use client::Client;
pub use invalid::Invalid;
pub use job::{DnsJob, Found, QUERY, WAIT};
pub use limit::{SharedLimits, queries_in_flight_max};
pub use lines::Lines;
pub use query::{EDNS_SIZE_MAX, EDNS_SIZE_MIN, EdnsOptions, QueryOptions};
pub use question::{Question, parse_type, words};
pub use raw::RawRecord;
pub use reading::Malformed;
pub use resolv_conf::{RESOLV_CONF, SystemServers, system_servers};
pub use resolver::{Resolver, Settings, Transmit};
pub use row_status::{RowStatus, UnknownStatus};
pub use server_address::{each_once, parse_server};
pub use server_stats::{ServerStats, SharedServerStats};
pub use sockets::SocketId;
pub use status::Status;
pub use text::write_ipv4;
pub use wildcards::SharedWildcards;
pub use wire::Section;
