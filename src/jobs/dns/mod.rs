//! Lookups in the Domain Name System.
//!
//! An item is a question. The items of a loop share a [`Resolver`], which asks servers until each
//! question has its answer, and which a client runs on a few connected sockets: questions are
//! told apart by socket and id.

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
mod figures;
mod frames;
mod ids;
mod job;
mod limit;
mod lines;
mod lookup;
mod message;
mod places;
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
mod rooms;
mod row_status;
mod server;
mod server_address;
mod siblings;
mod sockets;
mod stream;
#[cfg(test)]
mod tests;
mod text;
mod throttle;
mod waiting;
mod walk;
mod wildcards;

pub use answer::{Answer, LastReply, Record, Status, Wildcard};
pub use block::Block;
pub use figures::{Figures, SharedFigures};
pub use job::{DnsJob, Found, QUERY, WAIT};
pub use limit::{SharedLimits, at_once};
pub use lines::Lines;
pub use query::{EDNS_SIZE_MAX, EDNS_SIZE_MIN, EdnsOptions, QueryOptions};
pub use question::{Invalid, Question, parse_type, words};
pub use raw::RawRecord;
pub use reading::{Malformed, Section};
pub use resolv_conf::{RESOLV_CONF, SystemServers, system_servers};
pub use resolver::{Resolver, Settings, Transmit};
pub use row_status::{RowStatus, UnknownStatus};
pub use server_address::{each_once, parse_server};
pub use sockets::SocketId;
pub use text::write_ipv4;
pub use wildcards::SharedWildcards;
