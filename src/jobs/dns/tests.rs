//! The resolver in a simulated network, on a simulated clock.

use super::answer::{Answer, Status};
use super::limit::SharedLimits;
use super::message::{self, Reply, Spelling};
use super::question::Question;
use super::random::Random;
use super::resolver::{Resolver, Settings, Transmit};
use super::sockets::SocketId;
use domain::base::iana::Rcode;
use domain::base::message::Message;
use domain::base::message_builder::MessageBuilder;
use domain::base::name::{Name, ToName};
use domain::base::{Rtype, Ttl};
use domain::rdata::A;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);

/// No attempt has less time, but for the rest of the time for a name.
const ATTEMPT_MIN: Duration = Duration::from_millis(1);

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
    /// The server with this number is down between these times, in milliseconds.
    down: Option<(usize, u64, u64)>,
    /// Names that no server ever answers.
    dead: u64,
    /// Names that are answered seconds later.
    slow: u64,
    /// So many queries may wait at a server for their answers; it drops others.
    queue: Option<usize>,
    /// So many it answers in a second; it drops others.
    rate: Option<u64>,
}

/// A message, or that nobody listens, with the time at which it comes.
type Arriving = (Duration, SocketId, Result<Vec<u8>, ()>);

/// Servers that know of each name whether it is: those with an even number are.
struct Network {
    faults: Faults,
    random: Random,
    now: Duration,
    /// What is on its way to the resolver.
    messages: BinaryHeap<Reverse<Arriving>>,
    /// What became of the queries for each name: when they were sent, and when the reply comes.
    log: HashMap<u32, Vec<(Duration, Option<Duration>)>>,
    /// When each server is done with what it was asked.
    busy: HashMap<usize, Vec<Duration>>,
    /// What each server may still answer, and since when that has been known.
    tokens: HashMap<usize, (f64, Duration)>,
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
        let number = number_of(&transmit.message);
        let arrives_at = self.carry(transmit, server, number);
        let log = self.log.entry(number).or_default();
        log.push((self.now, arrives_at));
    }

    /// Returns when an honest reply comes, if one comes.
    fn carry(&mut self, transmit: Transmit, server: usize, number: u32) -> Option<Duration> {
        let Transmit { socket, message } = transmit;
        let mut delay = Duration::from_micros(200 + u64::from(self.random.next_u16()) % 5_000);
        let now_ms = self.now.as_millis() as u64;
        let is_down =
            |(down, from_ms, until_ms)| down == server && (from_ms..until_ms).contains(&now_ms);
        if self.faults.down.is_some_and(is_down) {
            self.messages
                .push(Reverse((self.now + delay, socket, Err(()))));
            return None;
        }
        if self.percent(self.faults.forged) {
            let mut forged = reply(&message, Some(Rcode::NXDOMAIN));
            match self.random.next_u16() % 3 {
                // Another id, another name, no reply at all.
                0 => forged[0] ^= 0x55,
                1 => forged[13] ^= 0x01,
                _ => forged[2] &= 0x7f,
            }
            self.messages.push(Reverse((self.now, socket, Ok(forged))));
        }
        if self.percent(self.faults.lost) || kind_of(number) < self.faults.dead {
            return None;
        }
        if kind_of(number) >= 100 - self.faults.slow {
            delay += Duration::from_millis(500 + u64::from(self.random.next_u16()) % 4_500);
        } else if self.percent(self.faults.delayed) {
            delay += Duration::from_millis(u64::from(self.random.next_u16()) % 5_000);
        }
        if !self.takes(server, delay) {
            return None;
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
                .push(Reverse((self.now + delay * 2, socket, Ok(reply.clone()))));
        }
        self.messages
            .push(Reverse((self.now + delay, socket, Ok(reply))));
        Some(self.now + delay)
    }

    /// R1 and R3: a name is given up only when each of its attempts had its time, and no reply to any of
    /// them had come.
    fn check_evidence(&self, number: u32, answer: &Answer) {
        if answer.status != Status::Timeout {
            return;
        }
        assert!(answer.attempts >= 1, "no attempt was made");
        let asked_at = answer.ended_at - answer.time;
        let log = self.log[&number].iter();
        let own: Vec<_> = log.filter(|(sent_at, _)| *sent_at >= asked_at).collect();
        // A probe may have asked for the same name.
        assert!(
            own.len() >= answer.attempts as usize,
            "attempts that were not made"
        );
        let came = own
            .iter()
            .any(|(_, at)| at.is_some_and(|at| at < answer.ended_at));
        assert!(!came, "n{number} was answered and is told not to be");
        let (last, _) = own[own.len() - 1];
        assert!(
            answer.ended_at - *last >= ATTEMPT_MIN,
            "the last attempt had no time"
        );
    }

    /// False if the server drops the query because there are too many.
    fn takes(&mut self, server: usize, delay: Duration) -> bool {
        let now = self.now;
        let busy = self.busy.entry(server).or_default();
        busy.retain(|&until| until > now);
        if self.faults.queue.is_some_and(|queue| busy.len() >= queue) {
            return false;
        }
        if let Some(rate) = self.faults.rate {
            let burst = (rate as f64 / 50.0).max(1.0);
            let (tokens, since) = self.tokens.entry(server).or_insert((burst, now));
            *tokens = (*tokens + (now - *since).as_secs_f64() * rate as f64).min(burst);
            *since = now;
            if *tokens < 1.0 {
                return false;
            }
            *tokens -= 1.0;
        }
        busy.push(now + delay);
        true
    }
}

/// From 0 to 99, for dead and slow names.
fn kind_of(number: u32) -> u64 {
    u64::from(number.wrapping_mul(0x9e37_79b1) >> 16) % 100
}

fn number_of(query: &[u8]) -> u32 {
    let len = usize::from(query[12]);
    std::str::from_utf8(&query[14..13 + len])
        .unwrap()
        .parse()
        .unwrap()
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
        retries: 5,
        attempt_timeout: None,
        timeout: TIMEOUT,
        rate_per_server: None,
        mixes_case: seed.is_multiple_of(2),
        measures_round_trips: true,
    };
    let limits = SharedLimits::new(servers, at_once.max(64), 1);
    let mut resolver = Resolver::with_random(settings, &limits, Random::seeded(seed));
    let mut network = Network {
        faults,
        random: Random::seeded(!seed),
        now: Duration::ZERO,
        messages: BinaryHeap::new(),
        log: HashMap::new(),
        busy: HashMap::new(),
        tokens: HashMap::new(),
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
            network.check_evidence(numbers[asker as usize], &answer);
            assert!(answers.insert(asker, answer).is_none(), "two answers");
        }
        if at_once <= 100 {
            let ids = resolver.ids_under_way();
            let different: HashSet<_> = ids.iter().collect();
            assert_eq!(ids.len(), different.len(), "an id stands for two queries");
        }
        if answers.len() == numbers.len() {
            return (answers, resolver);
        }
        if asked < numbers.len() && asked - answers.len() < at_once {
            continue;
        }
        let next = network.messages.peek().map(|Reverse((at, ..))| *at);
        let wake = resolver.wake_at();
        let now = next.into_iter().chain(wake).min();
        network.now = now.expect("a question is forgotten").max(network.now);
        let now = network.now;
        while let Some(Reverse((at, socket, message))) = network.messages.pop() {
            if at > now {
                network.messages.push(Reverse((at, socket, message)));
                break;
            }
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

/// Every name, whose number is that of its asker, has the answer that the servers know.
#[track_caller]
fn check_honest(answers: &HashMap<u32, Answer>) {
    let is_honest = |(&asker, answer): (&u32, &Answer)| answer.status == honest(asker);
    assert!(answers.iter().all(is_honest));
}

fn faults() -> impl Strategy<Value = Faults> {
    let percent = || prop_oneof![Just(0), Just(0), 0_u64..60];
    let down = proptest::option::of((0_usize..3, 0_u64..3_000, 0_u64..20_000));
    let few = || prop_oneof![3 => Just(0), 1 => 0_u64..20];
    let limits = (
        proptest::option::weighted(0.2, 4_usize..200),
        proptest::option::weighted(0.2, 200_u64..20_000),
    );
    (
        percent(),
        percent(),
        percent(),
        percent(),
        percent(),
        any::<bool>(),
        down,
        (few(), few()),
        limits,
    )
        .prop_map(
            |(
                lost,
                delayed,
                forged,
                doubled,
                servfail,
                formerr,
                down,
                (dead, slow),
                (queue, rate),
            )| Faults {
                lost,
                delayed,
                forged,
                doubled,
                servfail,
                formerr,
                down,
                dead,
                slow,
                queue,
                rate,
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
            if answer.status.is_definite() {
                prop_assert_eq!(answer.status, honest(*number));
                prop_assert_eq!(answer.records().len(), usize::from(is_there(*number)));
            }
        }
        // A probe may still be under way.
        let mut wakes = 0;
        while let Some(at) = resolver.wake_at() {
            resolver.time_passed(at);
            while resolver.transmit().is_some() {}
            wakes += 1;
            prop_assert!(wakes < 100, "timers without a reason");
        }
        prop_assert!(resolver.is_idle());
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
    check_honest(&answers);
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
        down: Some((0, 0, 1_500)),
        ..Faults::default()
    };
    let numbers: Vec<u32> = (0..500).collect();
    let (answers, _) = run(faults, 1, &numbers, 100, 4);
    check_honest(&answers);
}

/// Names wait longer for a server that has answered before.
#[test]
fn an_outage_is_waited_out() {
    let faults = Faults {
        down: Some((0, 20, 10_000)),
        ..Faults::default()
    };
    let numbers: Vec<u32> = (0..5_000).collect();
    let (answers, _) = run(faults, 1, &numbers, 100, 4);
    check_honest(&answers);
}

#[test]
fn nobody_listens() {
    let faults = Faults {
        down: Some((0, 0, u64::MAX)),
        ..Faults::default()
    };
    let numbers: Vec<u32> = (0..500).collect();
    let (answers, _) = run(faults, 1, &numbers, 100, 4);
    for answer in answers.values() {
        assert_eq!(answer.status, Status::Unreachable);
        assert!(answer.attempts >= 1, "{answer:?}");
        assert!(answer.time <= Duration::from_secs(3), "{answer:?}");
    }
}

/// Dead names cost others nothing: all are answered in not much more than the patience for one.
#[test]
fn dead_names_hold_up_no_other() {
    for dead in [0, 1, 10] {
        let faults = Faults {
            dead,
            ..Faults::default()
        };
        let numbers: Vec<u32> = (0..20_000).collect();
        let (answers, _) = run(faults, 1, &numbers, 4_096, 5);
        let expected = |number| match kind_of(number) < dead {
            true => Status::Timeout,
            false => honest(number),
        };
        assert!(
            answers
                .iter()
                .all(|(&asker, answer)| answer.status == expected(asker))
        );
        let last = answers
            .values()
            .map(|answer| answer.ended_at)
            .max()
            .unwrap();
        // Attempts have 0.1, 0.2, 0.4, 0.8, 1 and 1 s at most.
        assert!(
            last <= Duration::from_millis(4_500 + 200 * dead),
            "{dead}: {last:?}"
        );
    }
}

/// A cluster of names without an answer does not look like a server without life for long.
#[test]
fn many_dead_names_in_a_row() {
    let faults = Faults {
        dead: 30,
        ..Faults::default()
    };
    let (dead, good): (Vec<u32>, Vec<u32>) = (0..20_000).partition(|&number| kind_of(number) < 30);
    let numbers = [&good[..1_000], &dead[..2_000], &good[1_000..2_000]].concat();
    let (answers, _) = run(faults, 1, &numbers, 4_096, 6);
    let last = answers
        .values()
        .map(|answer| answer.ended_at)
        .max()
        .unwrap();
    assert!(last <= Duration::from_secs(10), "{last:?}");
}

/// The limit finds what a server bears, and not much is dropped there.
#[test]
fn small_servers_are_not_flooded() {
    let [queue, rate] = [(Some(40), None), (None, Some(2_000))].map(|(queue, rate)| Faults {
        queue,
        rate,
        ..Faults::default()
    });
    for faults in [queue, rate] {
        let numbers: Vec<u32> = (0..20_000).collect();
        let (answers, resolver) = run(faults, 1, &numbers, 4_096, 7);
        check_honest(&answers);
        assert!(sent(&resolver) <= 22_500, "{}", sent(&resolver));
    }
}

/// What is lost anyway does not slow a run down.
#[test]
fn random_losses_do_not_shrink_the_limit() {
    let time = |lost| {
        let faults = Faults {
            lost,
            ..Faults::default()
        };
        let numbers: Vec<u32> = (0..100_000).collect();
        let (answers, _) = run(faults, 1, &numbers, 4_096, 8);
        let wrong = answers
            .iter()
            .filter(|(asker, answer)| answer.status != honest(**asker));
        assert!(wrong.count() <= 150);
        answers
            .values()
            .map(|answer| answer.ended_at)
            .max()
            .unwrap()
    };
    let (without, with) = (time(0), time(30));
    assert!(
        with <= Duration::from_millis(6_000),
        "{without:?}, {with:?}"
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
    check_honest(&answers);
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
