//! Lookups in the Domain Name System.
//!
//! An item is a question. The items of a loop share a [`Resolver`], which asks servers until each
//! question has its answer, and which a client runs on a few connected sockets: questions are
//! told apart by socket and id.

mod aliases;
mod answer;
mod client;
mod figures;
mod frames;
mod ids;
mod job;
mod limit;
mod message;
mod presentation;
mod question;
mod random;
mod reading;
#[cfg(test)]
mod reading_tests;
mod resolver;
mod server;
#[cfg(test)]
mod tests;
mod text;
mod throttle;

pub use answer::{Answer, Record, Status};
pub use figures::{Figures, SharedFigures};
pub use job::{DnsJob, Found, QUERY, WAIT};
pub use question::{Invalid, Question, parse_type, with_types, words};
pub use reading::{Malformed, Section};
pub use resolver::{Resolver, Settings, SocketId, Transmit};
