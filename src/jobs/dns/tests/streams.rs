//! Queries in streams, one after the other.

use super::network::{number_of, reply};
use super::oracle::TIMEOUT;
use super::{check_honest, question, sent, settings};
use crate::io::Transport;
use crate::jobs::dns::answer::Answer;
use crate::jobs::dns::limit::SharedLimits;
use crate::jobs::dns::message;
use crate::jobs::dns::random::Random;
use crate::jobs::dns::resolver::{Resolver, Settings, Transmit};
use crate::jobs::dns::status::Status;
use domain::base::iana::{OptRcode, Rcode};
use std::collections::HashMap;
use std::time::Duration;

/// The round-trip time.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// A truncated reply, after which the resolver asks in a stream.
fn truncated(query: &[u8]) -> Vec<u8> {
    let mut reply = reply(query, Some(Rcode::NOERROR));
    message::set_truncated(&mut reply);
    reply
}

/// A reply in a stream that comes after its attempt was given up is still the answer, and leaves the
/// number of queries in flight as it was.
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

/// A truncated reply in a stream does not make the resolver ask for ever.
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

/// A stream that answers other names is only slow: a name that has timed out in it is asked again, as
/// often as retries allow.
#[test]
fn a_name_that_times_out_in_a_stream_that_answers_others() {
    let mut resolver =
        Resolver::with_random(settings(1), &SharedLimits::new(1, 64, 1), Random::seeded(1));
    let retries = settings(1).retries;
    resolver.ask(0, question(2), Duration::ZERO);
    let (mut now, mut others, mut in_stream) = (Duration::ZERO, 2, 0);
    let answer = loop {
        match resolver.answer() {
            Some((0, answer)) => break answer,
            Some((_, answer)) => assert_eq!(answer.status, Status::NoError),
            None => {}
        }
        if let Some(asked) = resolver.transmit() {
            let is_other = number_of(&asked.message) != 2;
            match resolver.transport(asked.socket) {
                Transport::Datagram => {
                    resolver.received(asked.socket, &truncated(&asked.message), now);
                }
                Transport::Stream if is_other => {
                    resolver.received(asked.socket, &reply(&asked.message, None), now);
                }
                // Lost, while the next name is answered.
                Transport::Stream => {
                    in_stream += 1;
                    others += 2;
                    resolver.ask(others, question(others), now);
                }
            }
        } else {
            now = resolver.wake_at().unwrap();
            resolver.time_passed(now);
        }
    };
    assert_eq!(answer.status, Status::Truncated);
    assert_eq!(in_stream, retries + 1);
    assert!(resolver.is_idle());
}

/// A refusal in a stream decides the status of the name, not the truncated reply before it.
#[test]
fn a_refusal_in_a_stream_after_a_truncated_reply() {
    let mut resolver =
        Resolver::with_random(settings(1), &SharedLimits::new(1, 64, 1), Random::seeded(1));
    resolver.ask(0, question(2), Duration::ZERO);
    let mut now = Duration::ZERO;
    let answer = loop {
        if let Some((_, answer)) = resolver.answer() {
            break answer;
        }
        if let Some(asked) = resolver.transmit() {
            let reply = match resolver.transport(asked.socket) {
                Transport::Datagram => truncated(&asked.message),
                Transport::Stream => reply(&asked.message, Some(Rcode::REFUSED)),
            };
            resolver.received(asked.socket, &reply, now);
        } else {
            now = resolver.wake_at().unwrap();
            resolver.time_passed(now);
        }
    };
    assert_eq!(answer.status, Status::Rcode(OptRcode::REFUSED));
    assert_eq!(answer.last_reply.unwrap().transport, Transport::Stream);
    assert!(resolver.is_idle());
}

/// A resolver with one server, and streams only.
fn in_streams() -> Resolver {
    let settings = Settings {
        streams_only: true,
        ..settings(1)
    };
    Resolver::with_random(settings, &SharedLimits::new(1, 4096, 1), Random::seeded(1))
}

/// All queries go into the streams of their servers, which are the only sockets.
#[test]
fn streams_alone() {
    let mut resolver = in_streams();
    (0..300).for_each(|number| resolver.ask(number, question(number), Duration::ZERO));
    assert_eq!(resolver.sockets(), 1);
    let mut answers = HashMap::new();
    while let Some(asked) = resolver.transmit() {
        assert_eq!(resolver.transport(asked.socket), Transport::Stream);
        resolver.received(asked.socket, &reply(&asked.message, None), ROUND_TRIP);
        answers.extend(std::iter::from_fn(|| resolver.answer()));
    }
    check_honest(&answers);
    assert_eq!((answers.len(), sent(&resolver)), (300, 300));
    assert!(resolver.is_idle());
}

/// Every connection ends after one reply: each name is nevertheless answered, at its first attempt.
#[test]
fn streams_that_end_after_each_reply() {
    let mut resolver = in_streams();
    (0..300).for_each(|number| resolver.ask(number, question(number), Duration::ZERO));
    let (mut answers, mut sent) = (HashMap::new(), 0);
    for turn in 1..=300 {
        let now = turn * ROUND_TRIP;
        let asked: Vec<Transmit> = std::iter::from_fn(|| resolver.transmit()).collect();
        sent += asked.len();
        let first = &asked[0];
        resolver.received(first.socket, &reply(&first.message, None), now);
        // These go into the same connection, in vain.
        sent += std::iter::from_fn(|| resolver.transmit()).count();
        resolver.disconnected(first.socket, now);
        answers.extend(std::iter::from_fn(|| resolver.answer()));
    }
    check_honest(&answers);
    assert_eq!(answers.len(), 300);
    assert!(answers.values().all(|answer| answer.attempts == 1));
    assert!(sent <= 2 * 300 + 128, "{sent} were sent");
    assert!(resolver.is_idle());
}

/// The connection ends without a reply each time: that counts as an attempt, and the next waits a little.
#[test]
fn streams_that_end_without_a_reply() {
    let mut resolver = in_streams();
    resolver.ask(0, question(0), Duration::ZERO);
    let (mut now, mut attempts) = (Duration::ZERO, 0);
    let answer = loop {
        if let Some((_, answer)) = resolver.answer() {
            break answer;
        }
        if let Some(transmit) = resolver.transmit() {
            attempts += 1;
            resolver.disconnected(transmit.socket, now);
        } else {
            now = resolver.wake_at().unwrap();
            resolver.time_passed(now);
        }
    };
    assert_eq!(
        (answer.status, answer.attempts, attempts),
        (Status::Unreachable, 6, 6)
    );
    assert!(
        now > Duration::from_millis(100) && now < Duration::from_secs(5),
        "{now:?}"
    );
    assert!(resolver.is_idle());
}

/// Nothing listens: the name waits for a while, as it does with datagrams.
#[test]
fn streams_that_are_refused() {
    let mut resolver = in_streams();
    (0..300).for_each(|number| resolver.ask(number, question(number), Duration::ZERO));
    let (mut now, mut answers) = (Duration::ZERO, HashMap::new());
    while answers.len() < 300 {
        while let Some(transmit) = resolver.transmit() {
            resolver.connection_refused(transmit.socket, now);
        }
        answers.extend(std::iter::from_fn(|| resolver.answer()));
        if answers.len() < 300 {
            now = resolver.wake_at().unwrap();
            resolver.time_passed(now);
        }
    }
    let is_unreachable =
        |answer: &Answer| answer.status == Status::Unreachable && answer.attempts >= 1;
    assert!(answers.values().all(is_unreachable));
    assert!(now < Duration::from_secs(5), "{now:?}");
    assert!(resolver.is_idle());
}

/// A connection goes silent: another one is opened, and the names are answered.
#[test]
fn a_stream_that_has_gone_silent() {
    let mut resolver = in_streams();
    (0..200).for_each(|number| resolver.ask(number, question(number), Duration::ZERO));
    let (mut now, mut answers, mut hung_up_at) = (Duration::ZERO, HashMap::new(), None);
    while answers.len() < 200 {
        if resolver.hang_up_next().is_some() {
            hung_up_at = Some(now);
        }
        match resolver.transmit() {
            Some(asked) if answers.len() < 50 || hung_up_at.is_some() => {
                resolver.received(asked.socket, &reply(&asked.message, None), now);
            }
            // The query is lost.
            Some(_) => {}
            None => {
                now = resolver.wake_at().unwrap();
                resolver.time_passed(now);
            }
        }
        answers.extend(std::iter::from_fn(|| resolver.answer()));
        assert!(now < 3 * TIMEOUT, "{} answers", answers.len());
    }
    check_honest(&answers);
    assert!(hung_up_at.is_some_and(|at| at >= Duration::from_secs(10) && at < TIMEOUT));
}
