//! The resolver in a simulated network, on a simulated clock.

use super::answer::{Answer, Status};
use super::message::{self, Reply, Spelling};
use super::question::Question;
use super::random::Random;
use super::resolver::{Resolver, Settings, SocketId, Transmit};
use domain::base::iana::Rcode;
use domain::base::message::Message;
use domain::base::message_builder::MessageBuilder;
use domain::base::name::{Name, ToName};
use domain::base::{Rtype, Ttl};
use domain::rdata::A;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);

/// What goes wrong, in hundredths.
#[derive(Clone, Debug, Default)]
struct Faults {
    lost: u64,
    delayed: u64,
    forged: u64,
    doubled: u64,
    servfail: u64,
    /// Servers that do not know EDNS.
    formerr: bool,
    /// Until when the server with this number is down, in milliseconds.
    down: Option<(usize, u64)>,
}

/// Servers that know of each name whether it is: those with an even number are.
struct Network {
    faults: Faults,
    random: Random,
    now: Duration,
    /// What is on its way to the resolver.
    messages: Vec<(Duration, SocketId, Result<Vec<u8>, ()>)>,
}

fn question(number: u32) -> Question {
    Question::parse(format!("n{number}.example").as_bytes(), Rtype::A).unwrap()
}

fn is_there(number: u32) -> bool {
    number.is_multiple_of(2)
}

/// What an honest server answers.
fn reply(query: &[u8], rcode: Option<Rcode>) -> Vec<u8> {
    let query = Message::from_slice(query).unwrap();
    let asked = query.sole_question().unwrap();
    let name: Name<Vec<u8>> = asked.qname().try_to_name().unwrap();
    let label = name.first().to_string();
    let there = is_there(label[1..].parse().unwrap());
    let honest = if there {
        Rcode::NOERROR
    } else {
        Rcode::NXDOMAIN
    };
    let mut reply = MessageBuilder::new_vec()
        .start_answer(query, rcode.unwrap_or(honest))
        .unwrap();
    if rcode.is_none() && there {
        let data = A::new(Ipv4Addr::new(192, 0, 2, 1));
        reply.push((&name, Ttl::from_secs(60), data)).unwrap();
    }
    reply.finish()
}

impl Network {
    fn percent(&mut self, percent: u64) -> bool {
        u64::from(self.random.next_u16()) % 100 < percent
    }

    fn send(&mut self, transmit: Transmit, server: usize) {
        let Transmit { socket, message } = transmit;
        let mut delay = Duration::from_micros(200 + u64::from(self.random.next_u16()) % 5_000);
        if self.faults.down.is_some_and(|(down, until_ms)| {
            down == server && self.now < Duration::from_millis(until_ms)
        }) {
            self.messages.push((self.now + delay, socket, Err(())));
            return;
        }
        if self.percent(self.faults.forged) {
            let mut forged = reply(&message, Some(Rcode::NXDOMAIN));
            match self.random.next_u16() % 3 {
                // Another id, another name, no reply at all.
                0 => forged[0] ^= 0x55,
                1 => forged[13] ^= 0x01,
                _ => forged[2] &= 0x7f,
            }
            self.messages.push((self.now, socket, Ok(forged)));
        }
        if self.percent(self.faults.lost) {
            return;
        }
        if self.percent(self.faults.delayed) {
            delay += Duration::from_millis(u64::from(self.random.next_u16()) % 8_000);
        }
        let has_edns = Message::from_slice(&message).unwrap().opt().is_some();
        let rcode = if self.faults.formerr && has_edns {
            Some(Rcode::FORMERR)
        } else if self.percent(self.faults.servfail) {
            Some(Rcode::SERVFAIL)
        } else {
            None
        };
        let reply = reply(&message, rcode);
        if self.percent(self.faults.doubled) {
            self.messages
                .push((self.now + delay * 2, socket, Ok(reply.clone())));
        }
        self.messages.push((self.now + delay, socket, Ok(reply)));
    }
}

/// Asks everything, at most `at_once` at a time, and returns the answers by asker.
fn run(
    faults: Faults,
    servers: usize,
    numbers: &[u32],
    at_once: usize,
    seed: u64,
) -> (HashMap<u32, Answer>, Resolver) {
    let addresses = (1..=servers).map(|last| SocketAddr::from(([127, 0, 0, last as u8], 53)));
    let settings = Settings {
        servers: addresses.collect(),
        sockets_per_server: 2,
        per_server_max: 64,
        retries: 3,
        timeout: TIMEOUT,
        rate_per_server: None,
        mixes_case: seed.is_multiple_of(2),
        measures_round_trips: true,
    };
    let mut resolver = Resolver::with_random(settings, Random::seeded(seed));
    let mut network = Network {
        faults,
        random: Random::seeded(!seed),
        now: Duration::ZERO,
        messages: Vec::new(),
    };
    let mut answers = HashMap::new();
    let mut to_ask = (0_u32..).zip(numbers.iter().copied());
    let mut asked = 0;
    loop {
        while asked - answers.len() < at_once
            && let Some((asker, number)) = to_ask.next()
        {
            resolver.ask(asker, question(number), network.now);
            asked += 1;
        }
        while let Some(transmit) = resolver.transmit() {
            let server = transmit.socket.0 as usize / 2;
            network.send(transmit, server);
        }
        while let Some((asker, answer)) = resolver.answer() {
            assert!(answers.insert(asker, answer).is_none(), "two answers");
        }
        let ids = resolver.ids_under_way();
        let different: HashSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), different.len(), "an id stands for two queries");
        if answers.len() == numbers.len() {
            return (answers, resolver);
        }
        if asked < numbers.len() && asked - answers.len() < at_once {
            continue;
        }
        let next = network.messages.iter().map(|&(at, ..)| at).min();
        let wake = resolver.wake_at(network.now);
        let now = next.into_iter().chain(wake).min();
        network.now = now.expect("a question is forgotten").max(network.now);
        let now = network.now;
        let (due, later) = std::mem::take(&mut network.messages)
            .into_iter()
            .partition(|&(at, ..)| at <= now);
        network.messages = later;
        let due: Vec<_> = due;
        for (_, socket, message) in due {
            match message {
                Ok(message) => resolver.received(socket, &message, now),
                Err(()) => resolver.refused(socket, now),
            }
        }
        if wake.is_some_and(|at| at <= now) {
            resolver.time_passed(now);
        }
        assert!(now < Duration::from_secs(100_000), "it never ends");
    }
}

fn honest(number: u32) -> Status {
    if is_there(number) {
        Status::NoError
    } else {
        Status::NxDomain
    }
}

fn faults() -> impl Strategy<Value = Faults> {
    let percent = || prop_oneof![Just(0), Just(0), 0_u64..60];
    let down = proptest::option::of((0_usize..3, 0_u64..30_000));
    (
        percent(),
        percent(),
        percent(),
        percent(),
        percent(),
        any::<bool>(),
        down,
    )
        .prop_map(
            |(lost, delayed, forged, doubled, servfail, formerr, down)| Faults {
                lost,
                delayed,
                forged,
                doubled,
                servfail,
                formerr,
                down,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Each question has one answer, in time, and an answer that claims to be one is the right one.
    #[test]
    fn every_question_is_answered_once_and_rightly(
        faults in faults(),
        servers in 1_usize..4,
        numbers in proptest::collection::vec(0_u32..60, 1..300),
        at_once in 1_usize..100,
        seed in any::<u64>(),
    ) {
        let (answers, mut resolver) = run(faults, servers, &numbers, at_once, seed);
        for (asker, number) in (0..).zip(&numbers) {
            let answer = &answers[&asker];
            let asked = question(*number);
            prop_assert_eq!((answer.name(), answer.qtype), (asked.name(), asked.qtype()));
            prop_assert!(answer.time <= TIMEOUT, "{:?}", answer.time);
            if answer.status.is_definite() {
                prop_assert_eq!(answer.status, honest(*number));
                prop_assert_eq!(answer.records().len(), usize::from(is_there(*number)));
            }
        }
        prop_assert!(resolver.is_idle());
        prop_assert_eq!(resolver.wake_at(Duration::MAX), None);
    }
}

fn sent(resolver: &Resolver) -> u64 {
    resolver.figures().map(|figures| figures.sent).sum()
}

fn mismatched(resolver: &Resolver) -> u64 {
    resolver.figures().map(|figures| figures.mismatched).sum()
}

#[test]
fn without_faults_all_is_answered_with_one_query_each() {
    let numbers: Vec<u32> = (0..2_000).collect();
    let (answers, resolver) = run(Faults::default(), 2, &numbers, 200, 1);
    assert!(
        answers
            .iter()
            .all(|(&asker, answer)| answer.status == honest(asker))
    );
    assert_eq!(sent(&resolver), 2_000);
    assert_eq!(mismatched(&resolver), 0);
}

#[test]
fn a_few_losses_are_made_up_for() {
    let faults = Faults {
        lost: 5,
        forged: 20,
        ..Faults::default()
    };
    let numbers: Vec<u32> = (0..20_000).collect();
    let (answers, resolver) = run(faults, 1, &numbers, 200, 2);
    let wrong = answers
        .iter()
        .filter(|(asker, answer)| answer.status != honest(**asker));
    // One in 160,000 loses four packets.
    assert!(wrong.count() <= 3);
    assert!(mismatched(&resolver) > 3_000);
}

#[test]
fn a_reply_repeats_the_spelling() {
    let asked = question(2);
    let spelled = asked.respelled(&mut Random::seeded(3));
    assert_ne!(spelled.name(), asked.name());
    let [same, lower] = [&spelled, &asked].map(|of| reply(&message::query(7, of, true), None));
    let judged = [&same, &lower].map(|reply| message::judge(reply, &spelled, Spelling::Exact));
    assert_eq!(judged, [Reply::Answer(Status::NoError), Reply::Foreign]);
    let judged = message::judge(&same, &asked, Spelling::Any);
    assert_eq!(judged, Reply::Answer(Status::NoError));
    let mut respelled = same.clone();
    message::respell(&mut respelled, &asked);
    let end = 12 + asked.name().len();
    assert_eq!(respelled[..end], lower[..end]);
}

#[test]
fn the_same_question_is_asked_once() {
    let numbers = vec![4; 500];
    let (answers, resolver) = run(Faults::default(), 1, &numbers, 500, 3);
    assert_eq!(answers.len(), 500);
    assert_eq!(sent(&resolver), 1);
}

#[test]
fn a_server_that_comes_back_is_asked_again() {
    let faults = Faults {
        down: Some((0, 5_000)),
        ..Faults::default()
    };
    let numbers: Vec<u32> = (0..500).collect();
    let (answers, _) = run(faults, 1, &numbers, 100, 4);
    assert!(
        answers
            .iter()
            .all(|(&asker, answer)| answer.status == honest(asker))
    );
}

#[test]
fn a_server_without_edns_is_asked_without() {
    let faults = Faults {
        formerr: true,
        ..Faults::default()
    };
    let numbers: Vec<u32> = (0..500).collect();
    let (answers, resolver) = run(faults, 1, &numbers, 100, 5);
    assert!(
        answers
            .iter()
            .all(|(&asker, answer)| answer.status == honest(asker))
    );
    assert!(sent(&resolver) < 700, "{}", sent(&resolver));
}

proptest! {
    /// Whatever comes, nothing but a reply to the question is taken for one, and nothing panics.
    #[test]
    fn garbage_is_not_a_reply(
        cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let question = question(2);
        let mut message = reply(&message::query(7, &question, true), None);
        for (at, bits) in flips {
            let at = at.index(message.len());
            message[at] ^= bits;
        }
        message.truncate(cut.index(message.len() + 1));
        message::judge(&message, &question, Spelling::Any);
    }
}

/// Only a failure may come without the question: nobody is to say that a name does not exist who
/// does not know which was asked for.
#[test]
fn an_answer_has_its_question() {
    let question = question(2);
    let without_question = |rcode| {
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_qr(true);
        message.header_mut().set_rcode(rcode);
        message::judge(&message.finish(), &question, Spelling::Any)
    };
    for rcode in [Rcode::NOERROR, Rcode::NXDOMAIN] {
        assert_eq!(without_question(rcode), Reply::Foreign);
    }
    for rcode in [
        Rcode::FORMERR,
        Rcode::SERVFAIL,
        Rcode::NOTIMP,
        Rcode::REFUSED,
    ] {
        assert_ne!(without_question(rcode), Reply::Foreign);
    }
}
