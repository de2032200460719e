//! Queries in streams, one after the other.

use super::network::reply;
use super::{TIMEOUT, question};
use crate::io::Transport;
use crate::jobs::dns::answer::Status;
use crate::jobs::dns::limit::SharedLimits;
use crate::jobs::dns::message;
use crate::jobs::dns::query::QueryOptions;
use crate::jobs::dns::random::Random;
use crate::jobs::dns::resolver::{Resolver, Settings};
use domain::base::iana::Rcode;
use std::net::SocketAddr;
use std::time::Duration;

/// So long a reply takes.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// Settings for so many servers, and nothing special.
fn settings(servers: usize) -> Settings {
    let addresses = (1..=servers).map(|last| SocketAddr::from(([127, 0, 0, last as u8], 53)));
    Settings {
        servers: addresses.collect(),
        sockets_per_server: 2,
        queries: QueryOptions::default(),
        source: None,
        retries: 5,
        attempt_timeout: None,
        timeout: TIMEOUT,
        rate_per_server: None,
        mixes_case: false,
        measures_round_trips: false,
    }
}

/// The reply that asks for a stream.
fn truncated(query: &[u8]) -> Vec<u8> {
    let mut reply = reply(query, Some(Rcode::NOERROR));
    message::set_truncated(&mut reply);
    reply
}

/// A reply in a stream that comes after its attempt was given up is still the answer, and leaves the
/// number of queries under way as it was.
#[test]
fn a_late_reply_in_a_stream() {
    let limits = SharedLimits::new(2, 64, 1);
    let mut resolver = Resolver::with_random(settings(2), &limits, Random::seeded(1));
    for (turn, number) in [2, 4].into_iter().enumerate() {
        let start = Duration::from_secs(100 * turn as u64);
        resolver.ask(number, question(number), start);
        let asked = resolver.transmit().unwrap();
        resolver.received(asked.socket, &truncated(&asked.message), start + ROUND_TRIP);
        let in_stream = resolver.transmit().unwrap();
        assert_eq!(resolver.transport(in_stream.socket), Transport::Stream);
        let late = resolver.wake_at().unwrap();
        resolver.time_passed(late);
        let elsewhere = resolver.transmit().unwrap();
        assert_ne!(
            resolver.address(elsewhere.socket),
            resolver.address(in_stream.socket)
        );
        let reply = reply(&in_stream.message, None);
        resolver.received(in_stream.socket, &reply, late + ROUND_TRIP);
        let (asker, answer) = resolver.answer().unwrap();
        assert_eq!((asker, answer.status), (number, Status::NoError));
        assert!(resolver.is_idle());
    }
}

/// A reply in a stream that is said not to fit does not make the resolver ask for ever.
#[test]
fn a_reply_in_a_stream_that_is_truncated() {
    let mut resolver =
        Resolver::with_random(settings(1), &SharedLimits::new(1, 64, 1), Random::seeded(1));
    resolver.ask(0, question(2), Duration::ZERO);
    for _ in 0..2 {
        let asked = resolver.transmit().unwrap();
        resolver.received(asked.socket, &truncated(&asked.message), ROUND_TRIP);
    }
    assert_eq!(resolver.answer().unwrap().1.status, Status::Truncated);
    assert!(resolver.transmit().is_none() && resolver.is_idle());
}
