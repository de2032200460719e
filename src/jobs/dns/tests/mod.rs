//! The resolver in a simulated network, on a simulated clock.

mod messages;
mod network;
mod oracle;
mod streams;

use super::answer::Answer;
use super::limit::SharedLimits;
use super::question::Question;
use super::random::Random;
use super::resolver::{Resolver, Settings};
use super::status::Status;
use domain::base::Rtype;
use domain::base::iana::{OptRcode, Rcode};
use network::{Edns, Event, Faults, Network, SOCKETS, Streams, exists, kind_of, reply};
use oracle::{Oracle, TIMEOUT};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

fn question(number: u32) -> Question {
    Question::parse(format!("n{number}.example").as_bytes(), Rtype::A).unwrap()
}

/// Settings for this many servers.
fn settings(servers: usize) -> Settings {
    let addresses = (1..=servers).map(|last| SocketAddr::from(([127, 0, 0, last as u8], 53)));
    Settings {
        sockets_per_server: SOCKETS,
        timeout: TIMEOUT,
        ..Settings::new(addresses.collect())
    }
}

/// Asks for all names, at most `at_once` at a time, and returns the answers by asker. The oracle judges
/// every step.
fn run(
    faults: Faults,
    servers: usize,
    numbers: &[u32],
    at_once: usize,
    seed: u64,
) -> (HashMap<u32, Answer>, Resolver) {
    let settings = Settings {
        mixes_case: seed.is_multiple_of(2),
        measures_round_trips: true,
        ..settings(servers)
    };
    let limits = SharedLimits::new(servers, at_once.max(64), 1);
    let resolver = Resolver::with_random(settings, &limits, Random::seeded(seed));
    let mut run = Run {
        resolver,
        network: Network::new(faults, servers, !seed),
        oracle: Oracle::new(servers),
        numbers,
        answers: HashMap::new(),
    };
    let mut to_ask = (0_u32..).zip(numbers.iter().copied());
    let mut asked = 0;
    loop {
        while asked - run.answers.len() < at_once
            && let Some((asker, number)) = to_ask.next()
        {
            run.oracle.asked(number);
            run.resolver.ask(asker, question(number), run.network.now);
            asked += 1;
        }
        run.carry_out();
        if at_once <= 100 {
            let has_room = run.resolver.has_room_for_waiting(run.network.now);
            assert!(!has_room, "a name waits though a server has room");
            let ids = run.resolver.ids_in_flight();
            let different: HashSet<_> = ids.iter().collect();
            assert_eq!(ids.len(), different.len(), "an id stands for two queries");
        }
        if run.answers.len() == numbers.len() {
            return (run.answers, run.resolver);
        }
        if asked == numbers.len() || asked - run.answers.len() == at_once {
            run.wait(seed.is_multiple_of(3));
        }
    }
}

struct Run<'a> {
    resolver: Resolver,
    network: Network,
    oracle: Oracle,
    /// The numbers of the names, by asker.
    numbers: &'a [u32],
    answers: HashMap<u32, Answer>,
}

impl Run<'_> {
    /// Carries out what the resolver requests. True if it requested anything.
    fn carry_out(&mut self) -> bool {
        let mut is_any = false;
        while let Some(transmit) = self.resolver.transmit() {
            self.oracle.sent(&transmit, &self.network, &self.resolver);
            self.network.send(transmit);
            is_any = true;
        }
        while let Some((asker, answer)) = self.resolver.answer() {
            let number = self.numbers[asker as usize];
            self.oracle.answered(number, &answer);
            let before = self.answers.insert(asker, answer);
            assert!(before.is_none(), "two answers");
            is_any = true;
        }
        self.oracle.check(&self.resolver, self.network.now);
        is_any
    }

    /// Waits until the next event or timer.
    fn wait(&mut self, looks_between: bool) {
        let wake = self.resolver.wake_at();
        let next = self.network.next_at().into_iter().chain(wake).min();
        let next = next.expect("a question is forgotten");
        let before = self.network.now;
        if looks_between && next > before {
            // Nothing may be due before the time that it has returned.
            self.network.now = before + (next - before) / 2;
            self.resolver.time_passed(self.network.now);
            assert!(!self.carry_out(), "it waited for too long");
        }
        self.network.now = next.max(before);
        let now = self.network.now;
        while let Some((socket, event)) = self.network.pop() {
            let answered = self.oracle.comes(socket, &event, &self.network);
            match &event {
                Event::Message { message, .. } => self.resolver.received(socket, message, now),
                Event::Refused => self.resolver.connection_refused(socket, now),
                Event::Closed => self.resolver.disconnected(socket, now),
            }
            self.carry_out();
            self.oracle.came(answered);
        }
        if wake.is_some_and(|at| at <= now) {
            self.resolver.time_passed(now);
            // Before any other name is asked for: it may be one that has just ended.
            self.carry_out();
        }
        assert!(now < Duration::from_secs(100_000), "it never ends");
    }
}

fn honest(number: u32) -> Status {
    if exists(number) {
        Status::NoError
    } else {
        Status::NxDomain
    }
}

/// Checks that every name, whose number is that of its asker, has the answer that the servers know.
#[track_caller]
fn check_honest(answers: &HashMap<u32, Answer>) {
    let is_honest = |(&asker, answer): (&u32, &Answer)| answer.status == honest(asker);
    assert!(answers.iter().all(is_honest));
}

fn faults() -> impl Strategy<Value = Faults> {
    let percent = || prop_oneof![Just(0), Just(0), 0_u64..60];
    let few = || prop_oneof![3 => Just(0), 1 => 0_u64..20];
    let edns = prop_oneof![
        4 => Just(Edns::Understood),
        1 => Just(Edns::Dropped),
        1 => prop::sample::select(vec![Rcode::FORMERR, Rcode::NOTIMP, Rcode::SERVFAIL])
            .prop_map(Edns::Refused),
    ];
    let streams = prop_oneof![
        3 => Just(Streams::Served),
        2 => (1_usize..5).prop_map(Streams::ClosedAfter),
        1 => Just(Streams::Refused),
        1 => Just(Streams::Silent),
    ];
    let servers = (
        proptest::option::of((0_usize..3, 0_u64..3_000, 0_u64..20_000)),
        proptest::option::weighted(0.2, 0_usize..3),
        proptest::option::weighted(0.2, 4_usize..200),
        proptest::option::weighted(0.2, 200_u64..20_000),
        prop_oneof![2 => Just(0), 1 => 0_u64..400],
    );
    let network = (percent(), percent(), percent(), percent());
    let names = (few(), few(), few());
    let replies = (percent(), percent(), edns, streams);
    (network, names, replies, servers).prop_map(|(network, names, replies, servers)| {
        let (lost, delayed, forged, doubled) = network;
        let (dead, slow, long) = names;
        let (servfail, alien, edns, streams) = replies;
        let (down, silent, queue, rate, latency_ms) = servers;
        Faults {
            lost,
            delayed,
            forged,
            doubled,
            servfail,
            alien,
            edns,
            down,
            silent,
            dead,
            slow,
            long,
            streams,
            queue,
            rate,
            latency_ms,
        }
    })
}

/// The number of test cases: `RINGMILL_CASES=100000 cargo test --release --lib dns::tests` runs that
/// many.
fn cases(usual: u32) -> ProptestConfig {
    let wanted = std::env::var("RINGMILL_CASES");
    ProptestConfig::with_cases(wanted.map_or(usual, |wanted| {
        wanted.parse().expect("RINGMILL_CASES is a number")
    }))
}

/// Names, of which many or hardly any are repeated.
fn numbers() -> impl Strategy<Value = Vec<u32>> {
    let below = prop_oneof![Just(60_u32), Just(100_000)];
    below.prop_flat_map(|below| proptest::collection::vec(0..below, 1..300))
}

proptest! {
    #![proptest_config(cases(128))]

    /// Each question has exactly one answer, in time, and each definite answer is correct.
    #[test]
    fn every_question_is_answered_once_and_rightly(
        faults in faults(),
        servers in 1_usize..4,
        numbers in numbers(),
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
                prop_assert_eq!(answer.records().len(), usize::from(exists(*number)));
            }
        }
        // A probe may still be in flight.
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
    resolver.server_stats().map(|stats| stats.sent).sum()
}

fn mismatched(resolver: &Resolver) -> u64 {
    resolver.server_stats().map(|stats| stats.mismatched).sum()
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
fn names_with_a_few_losses_are_answered() {
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
fn unreachable_servers() {
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

/// Dead names do not delay others: all names end in not much more than the time that a dead one takes.
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
        let last = last_ended_at(&answers);
        // Attempts have 0.1, 0.2, 0.4, 0.8, 1 and 1 s at most.
        assert!(
            last <= Duration::from_millis(4_500 + 200 * dead),
            "{dead}: {last:?}"
        );
    }
}

/// Many names without an answer in a row look like a silent server, but not for long.
#[test]
fn many_dead_names_in_a_row() {
    let faults = Faults {
        dead: 30,
        ..Faults::default()
    };
    let (dead, good): (Vec<u32>, Vec<u32>) = (0..20_000).partition(|&number| kind_of(number) < 30);
    let numbers = [&good[..1_000], &dead[..2_000], &good[1_000..2_000]].concat();
    let (answers, _) = run(faults, 1, &numbers, 4_096, 6);
    let last = last_ended_at(&answers);
    assert!(last <= Duration::from_secs(10), "{last:?}");
}

/// Small servers, with their queries per second: they drop queries that are too many at one time, or in a
/// second.
fn small() -> impl Strategy<Value = (Faults, f64)> {
    let queue = (40_usize..300, 5_u64..60).prop_map(|(queue, latency_ms)| {
        let faults = Faults {
            queue: Some(queue),
            latency_ms,
            ..Faults::default()
        };
        // A reply takes 2.7 ms more on average.
        (faults, queue as f64 / (latency_ms as f64 / 1e3 + 0.0027))
    });
    let rate = (500_u64..10_000, 0_u64..30).prop_map(|(rate, latency_ms)| {
        let faults = Faults {
            rate: Some(rate),
            latency_ms,
            ..Faults::default()
        };
        (faults, rate as f64)
    });
    prop_oneof![queue, rate]
}

fn last_ended_at(answers: &HashMap<u32, Answer>) -> Duration {
    let ended_at = answers.values().map(|answer| answer.ended_at);
    ended_at.max().expect("there are answers")
}

proptest! {
    #![proptest_config(cases(8))]

    /// Rule 5: the limit finds the capacity of a server, and few queries are dropped there.
    #[test]
    fn small_servers_are_used_and_not_flooded((faults, capacity_per_s) in small(), seed in any::<u64>()) {
        const TIME: Duration = Duration::from_secs(2);
        let count = (capacity_per_s * TIME.as_secs_f64()) as u32;
        let numbers: Vec<u32> = (0..count).collect();
        let latency_ms = faults.latency_ms;
        let (answers, resolver) = run(faults, 1, &numbers, 4_096, seed);
        check_honest(&answers);
        let last = last_ended_at(&answers);
        prop_assert!(last <= TIME.mul_f64(1.3) + Duration::from_millis(500), "{:?}", last);
        let dropped = sent(&resolver) - u64::from(count);
        // The initial limit is a guess, which is too high for a small server; one that handles fewer than
        // ten at a time is flooded once more before that is found.
        let at_first = 600 + (capacity_per_s / 8.0) as u64;
        let busy_with = capacity_per_s * (latency_ms as f64 / 1e3 + 0.0027);
        let at_first = at_first + if busy_with < 10.0 { 700 } else { 0 };
        prop_assert!(dropped <= at_first + u64::from(count) / 20, "{} of {}", dropped, count);
    }

    /// Rule 5: losses at every limit do not slow a run down by more than the queries that must be sent
    /// again.
    #[test]
    fn losses_do_not_shrink_the_limit(lost in 1_u64..35, latency_ms in 0_u64..100, seed in any::<u64>()) {
        let numbers: Vec<u32> = (0..10_000).collect();
        let time = |lost| {
            let faults = Faults { lost, latency_ms, ..Faults::default() };
            let answers = run(faults, 1, &numbers, 4_096, seed).0;
            let mut ended_at: Vec<_> = answers.values().map(|answer| answer.ended_at).collect();
            ended_at.sort();
            // Of the others, each may lose any number of queries in a row.
            ended_at[ended_at.len() * 99 / 100]
        };
        // One name in a hundred loses four queries in a row. One that loses five has its answer after 2.5 to
        // 4.5 s, and may be one of the last.
        let bound = time(0).mul_f64(1.5) + Duration::from_secs(5);
        prop_assert!(time(lost) <= bound, "{:?} {:?}", time(lost), bound);
    }
}

/// Names are asked without EDNS as soon as a server is known not to support it.
#[test]
fn a_server_without_edns_is_asked_without() {
    let refusals = [Rcode::FORMERR, Rcode::NOTIMP, Rcode::SERVFAIL].map(Edns::Refused);
    for edns in refusals.into_iter().chain([Edns::Dropped]) {
        let faults = Faults {
            edns,
            ..Faults::default()
        };
        let numbers: Vec<u32> = (0..2_000).collect();
        let (answers, resolver) = run(faults, 1, &numbers, 100, 5);
        check_honest(&answers);
        assert!(sent(&resolver) < 2_500, "{edns:?}: {}", sent(&resolver));
        assert!(last_ended_at(&answers) < Duration::from_secs(3), "{edns:?}");
    }
}

/// A server that refuses every name is asked no more slowly than retries require: if it were overloaded,
/// it would answer some names.
#[test]
fn a_server_that_refuses_everything() {
    let faults = Faults {
        servfail: 100,
        ..Faults::default()
    };
    let numbers: Vec<u32> = (0..4_000).collect();
    let (answers, _) = run(faults, 1, &numbers, 4_096, 5);
    let is_servfail = |answer: &Answer| answer.status == Status::Rcode(OptRcode::SERVFAIL);
    assert!(answers.values().all(is_servfail));
    let last = last_ended_at(&answers);
    assert!(last <= Duration::from_secs(4), "{last:?}");
}

/// Long answers come in streams, however early the server closes connections.
#[test]
fn long_answers_come_in_streams() {
    for closed_after in [1, 3, 1_000] {
        let faults = Faults {
            long: 20,
            streams: Streams::ClosedAfter(closed_after),
            ..Faults::default()
        };
        let numbers: Vec<u32> = (0..2_000).collect();
        let (answers, _) = run(faults, 1, &numbers, 200, 5);
        check_honest(&answers);
    }
}

/// Names that would go to a silent or unreachable server go to another one.
#[test]
fn servers_that_are_not_there_cost_little() {
    let faults = Faults {
        silent: Some(0),
        down: Some((1, 0, u64::MAX)),
        ..Faults::default()
    };
    let numbers: Vec<u32> = (0..20_000).collect();
    let (answers, _) = run(faults, 3, &numbers, 4_096, 9);
    check_honest(&answers);
    let last = last_ended_at(&answers);
    assert!(last <= Duration::from_secs(2), "{last:?}");
}

/// Queries that were sent in one burst under a limit that was too high are no evidence against a lower
/// one.
#[test]
fn a_flood_does_not_count_for_the_limit_after_it() {
    let faults = Faults {
        queue: Some(222),
        latency_ms: 5,
        ..Faults::default()
    };
    let numbers: Vec<u32> = (0..57_000).collect();
    for seed in 0..10 {
        let (answers, _) = run(faults.clone(), 1, &numbers, 4_096, seed);
        check_honest(&answers);
    }
}

/// All queries of one loop are lost before it has any reply. It need not wait for the initial timeout:
/// the other loop knows the round-trip time of the server.
#[test]
fn a_loop_learns_from_others_how_long_a_server_takes() {
    const ROUND_TRIP: Duration = Duration::from_millis(20);
    let limits = SharedLimits::new(1, 128, 2);
    let [mut one, mut other] =
        [1, 2].map(|seed| Resolver::with_random(settings(1), &limits, Random::seeded(seed)));
    for number in 0..100 {
        one.ask(number, question(number), Duration::ZERO);
        other.ask(number, question(number), Duration::ZERO);
    }
    let lost = std::iter::from_fn(|| other.transmit()).count();
    assert_eq!(lost, 64);
    while let Some(asked) = one.transmit() {
        let reply = reply(&asked.message, None);
        one.received(asked.socket, &reply, ROUND_TRIP);
    }
    while let Some(at) = other.wake_at().filter(|&at| at < 6 * ROUND_TRIP) {
        other.time_passed(at);
    }
    let more = std::iter::from_fn(|| other.transmit()).count();
    assert_eq!(more, 100 - lost);
}
