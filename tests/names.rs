//! The invariants for names: event loops that look names up, over seeded schedules of the simulation
//! and its network. Packets are lost, late and duplicated, answers do not fit, streams end anywhere,
//! servers refuse to answer, operations fail from resource exhaustion. The numbers are those of
//! ARCHITECTURE.md.
//!
//! `RINGMILL_CASES=1000000 cargo test --release --test names` tries that many schedules, in place of
//! the two thousand of an ordinary run.

#[path = "names/model.rs"]
mod model;
mod simulated;

use model::Model;
use proptest::prelude::*;
use ringmill::clock::Clock;
use ringmill::io::sim::{Faults, Framing, Network, Random, World};
use ringmill::io::{Transport, Wait};
use ringmill::jobs::dns::{
    DnsJob, Found, ServerStats, Settings, SharedLimits, SharedServerStats, SharedWildcards, Status,
    Wildcard, parse_type,
};
use ringmill::mill::{Finished, Order};
use ringmill::run::Turn;
use simulated::{Drive, Oracle, Schedule, Spurious, Turned, YIELD_PAUSE, config, schedule};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
struct Scenario {
    schedule: Schedule,
    /// The number of different names among the items.
    names: usize,
    servers: u8,
    sockets_per_server: usize,
    per_server_max: usize,
    rate_per_server: Option<f64>,
    mixes_case: bool,
    streams_only: bool,
    lost: u8,
    doubled: u8,
    closed: u8,
    exhaustion: u8,
    /// Each name is sent to every server.
    every_server: bool,
    /// Names from wildcards are distinguished from others.
    wildcards: bool,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let schedule = schedule(1..150, 1_usize..40, 1..60, 0..2_000);
    let servers = (
        1_u8..4,
        1_usize..4,
        1_usize..64,
        any::<bool>(),
        proptest::bool::weighted(0.3),
    );
    let faults = (
        0_u8..30,
        0_u8..30,
        0_u8..30,
        prop_oneof![Just(0_u8), 0_u8..30],
    );
    let rate = prop_oneof![1 => 0.5_f64..20.0, 2 => 20.0_f64..10_000.0];
    let rest = (
        1_usize..100,
        proptest::option::weighted(0.4, rate),
        proptest::bool::weighted(0.3),
        proptest::bool::weighted(0.3),
    );
    (schedule, servers, faults, rest).prop_map(|(schedule, servers, faults, rest)| Scenario {
        schedule,
        names: rest.0,
        servers: servers.0,
        sockets_per_server: servers.1,
        per_server_max: servers.2,
        rate_per_server: rest.1,
        mixes_case: servers.3,
        streams_only: servers.4,
        lost: faults.0,
        doubled: faults.1,
        closed: faults.2,
        exhaustion: faults.3,
        every_server: rest.2,
        wildcards: rest.3,
    })
}

/// The status of a name, if its question is answered at all.
fn honest(number: usize) -> Status {
    match number % 5 {
        0 => Status::NxDomain,
        1 => Status::NoData,
        _ => Status::NoError,
    }
}

/// One server refuses these names.
fn refuses(server: SocketAddr, number: usize) -> bool {
    server.port() == 1001 && number.is_multiple_of(7)
}

/// The servers' answer for `n17.example`. Every fifth name has an answer that does not fit into a
/// datagram; one server refuses every seventh.
fn answer(server: SocketAddr, transport: Transport, query: &[u8]) -> Option<Vec<u8>> {
    if server.port() == SILENT_PORT {
        return None;
    }
    let (header, rest) = query.split_at(12);
    let number = number(query)?;
    let question_len = rest.iter().position(|&byte| byte == 0)? + 5;
    let is_cut = number % 5 == 4 && transport == Transport::Datagram;
    let (rcode, records) = match honest(number) {
        _ if refuses(server, number) => (5, 0),
        Status::NxDomain => (3, 0),
        Status::NoError if !is_cut => (0, 1),
        _ => (0, 0),
    };
    let mut reply = header[..2].to_vec();
    reply.extend([
        0x81 | u8::from(is_cut) << 1,
        0x80 | rcode,
        0,
        1,
        0,
        records,
        0,
        0,
        0,
        0,
    ]);
    reply.extend(&rest[..question_len]);
    if records > 0 {
        // A pointer to the name, type A, class IN, a minute, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0]);
        reply.push(u8::try_from(number).ok()?);
    }
    Some(reply)
}

/// The number of the name that a query asks about.
fn number(query: &[u8]) -> Option<usize> {
    let rest = query.get(12..)?;
    let label_len = usize::from(rest[0]);
    if label_len == RANDOM_LABEL_LEN {
        return Some(WILD);
    }
    std::str::from_utf8(&rest[2..=label_len]).ok()?.parse().ok()
}

/// The server at this port, the fourth, is silent.
const SILENT_PORT: u16 = 1003;

/// Names of random labels have the records of the name with this number.
const WILD: usize = 3;
const RANDOM_LABEL_LEN: usize = 16;

/// Returns when the last name of each server ended, where each name is sent to all.
fn run(scenario: &Scenario) -> Vec<Duration> {
    let schedule = &scenario.schedule;
    let mut random = Random::new(schedule.seed);
    let each_of = if scenario.every_server {
        scenario.servers
    } else {
        1
    };
    let numbers: Vec<usize> = (0..schedule.items)
        .map(|_| random.below(scenario.names))
        .flat_map(|number| std::iter::repeat_n(number, each_of.into()))
        .collect();
    let lines = numbers.iter().map(|number| name(*number)).collect();
    let server_stats = SharedServerStats::default();
    let job = Spurious::new(job(scenario, &server_stats));
    let mut oracle = NameOracle::new(scenario, numbers);
    let drive = Drive::new(schedule, random, job, world(scenario), lines, None);
    if !drive.run(&mut oracle).stopped {
        oracle.check_server_stats(&server_stats.take());
    }
    oracle.last_ended
}

fn world(scenario: &Scenario) -> World {
    let faults = Faults {
        exhaustion: scenario.exhaustion,
        ..Faults::default()
    };
    let network = Network {
        connect: |_| Some(Ok(())),
        answer,
        greeting: |_| None,
        layer: |_| None,
        framing: Framing::LengthPrefixed,
        lost: scenario.lost,
        doubled: scenario.doubled,
        closed: scenario.closed,
        cut_off: scenario.closed / 2,
    };
    let sockets = usize::from(scenario.servers) * (scenario.sockets_per_server + 1);
    let descriptors_max = sockets * scenario.schedule.loops;
    World::new(HashMap::new(), faults, descriptors_max).with(network)
}

fn job(scenario: &Scenario, server_stats: &SharedServerStats) -> DnsJob {
    let servers = (0..scenario.servers).map(|at| ([192, 0, 2, 1], 1000 + u16::from(at)).into());
    DnsJob {
        settings: Settings {
            sockets_per_server: scenario.sockets_per_server,
            streams_only: scenario.streams_only,
            retries: 3,
            timeout: TIMEOUT,
            rate_per_server: scenario.rate_per_server,
            mixes_case: scenario.mixes_case,
            measures_round_trips: true,
            ..Settings::new(servers.collect())
        },
        limits: SharedLimits::new(
            scenario.servers.into(),
            scenario.per_server_max,
            scenario.schedule.loops,
        ),
        asks_every_server: scenario.every_server,
        wildcards: scenario.wildcards.then(SharedWildcards::default),
        default_type: parse_type(b"A").unwrap(),
        server_stats: server_stats.clone(),
    }
}

struct NameOracle<'a> {
    scenario: &'a Scenario,
    /// The number of each item's name.
    numbers: Vec<usize>,
    /// What is known of the queries of each loop.
    models: Vec<Model>,
    answered: usize,
    /// For each server, where each name is sent to all: when the last of its names ended.
    last_ended: Vec<Duration>,
}

impl Oracle<Found> for NameOracle<'_> {
    fn emitted(&mut self, finished: &Finished<Found>) {
        self.check_result(finished);
    }

    fn turned(&mut self, run: &Drive<Found>, turned: &Turned<'_>) {
        match turned.turn {
            Turn::Ended => assert!(run.stopped || turned.held.in_flight == 0),
            Turn::Wait(wait) => {
                self.models[turned.chosen].note(turned.sent);
                self.check_timer(run, turned.chosen, wait);
            }
        }
    }

    fn stepped(&mut self, run: &Drive<Found>) {
        self.check_liveness(run);
    }
}

impl<'a> NameOracle<'a> {
    fn new(scenario: &'a Scenario, numbers: Vec<usize>) -> Self {
        let loops = scenario.schedule.loops;
        let model = |_| {
            Model::new(
                scenario.servers,
                loops,
                scenario.per_server_max,
                scenario.rate_per_server,
            )
        };
        Self {
            scenario,
            numbers,
            models: (0..loops).map(model).collect(),
            answered: 0,
            last_ended: vec![Duration::ZERO; scenario.servers.into()],
        }
    }

    /// True if every requested query is sent in the end, and only rates, limits and losses decide when:
    /// then the model knows what there is room for. It knows neither which names are for which server,
    /// nor when random names are queried.
    fn is_calm(&self) -> bool {
        let scenario = &self.scenario;
        let is_plain = !scenario.every_server && !scenario.wildcards;
        is_plain && scenario.exhaustion == 0 && scenario.closed == 0
    }

    /// I15: a loop waits no longer than until one of its names may be queried, or an attempt of any
    /// kind must have ended; and without names, it soon has no timers.
    fn check_timer(&mut self, run: &Drive<Found>, chosen: usize, wait: Wait) {
        let now = run.clock.now();
        let is_calm = self.is_calm();
        let model = &mut self.models[chosen];
        let until = match wait {
            Wait::No => return,
            Wait::AtMost(time) => Some(now + time),
            Wait::Forever => None,
        };
        let items = run.ledger.items_of(chosen);
        let number = |index: u64| self.numbers[usize::try_from(index).unwrap()];
        let numbers: Vec<usize> = items.iter().map(|&index| number(index)).collect();
        // Where wildcards are looked for, names may wait for a query of another loop.
        let waits_for_servers = !numbers.is_empty() && !self.scenario.wildcards;
        let mut must = waits_for_servers.then_some(now + model::WAIT_MAX);
        let all_sent = run.loops[chosen].handle.to_be_done() == 0;
        if all_sent && is_calm {
            must = must.min(model.first_due(&numbers, now).or(must));
        }
        if let Some(must) = must {
            assert!(
                until.is_some_and(|until| until <= must),
                "I15: {until:?}, not {must:?}, now {now:?}"
            );
        }
        // What fails from exhaustion is retried again and again.
        model.waits(until, is_calm && numbers.is_empty());
    }

    /// I14: if a loop has no names at all, and a server certainly accepts another query from it, the
    /// loop takes a turn as soon as the rate allows the query.
    fn check_liveness(&self, run: &Drive<Found>) {
        if !self.is_calm() || !run.is_pullable() {
            return;
        }
        let (loops, now) = (&run.loops, run.clock.now());
        let is_free = |at: usize| {
            loops[at].has_begun()
                && loops[at].handle.to_be_done() == 0
                && run.ledger.items_of(at).is_empty()
        };
        let due = |at: usize| self.models[at].next_slot(now).map(|slot| slot.max(now));
        let free = (0..loops.len()).filter(|&at| loops[at].event_loop.is_some() && is_free(at));
        let free: Vec<(usize, Duration)> = free.filter_map(|at| Some((at, due(at)?))).collect();
        let comes = |&(at, due): &(usize, Duration)| {
            let next = loops[at].next_turn(now);
            next.is_some_and(|next| next <= due + YIELD_PAUSE)
        };
        assert!(
            free.is_empty() || free.iter().any(comes),
            "I14: no loop pulls a name at {now:?}"
        );
    }

    fn check_result(&mut self, finished: &Finished<Found>) {
        let index = finished.item.index();
        let number = self.numbers[usize::try_from(index).unwrap()];
        let answer = finished.result.as_ref().unwrap().as_ref().unwrap();
        if self.scenario.every_server {
            let server = usize::try_from(index).unwrap() % self.last_ended.len();
            let ended_at = Duration::from_nanos(finished.finished_at_ns);
            self.last_ended[server] = self.last_ended[server].max(ended_at);
        }
        if let (true, Some(server)) = (self.scenario.every_server, answer.server) {
            let at = u64::from(server.port() - 1000);
            assert_eq!(
                at,
                index % u64::from(self.scenario.servers),
                "another server"
            );
        }
        let expected = match honest(number) {
            Status::NoError if self.scenario.wildcards && answer.status.is_definite() => {
                Some(match number {
                    WILD => Wildcard::Yes,
                    _ => Wildcard::No,
                })
            }
            _ => None,
        };
        // Queries for random names may all be lost, also with the streams that carry them.
        let loses = self.scenario.lost > 0 || self.scenario.closed > 0;
        if answer.wildcard != Some(Wildcard::Unknown) || !loses {
            assert_eq!(answer.wildcard, expected, "{answer:?}");
        }
        if answer.status.is_definite() {
            assert_eq!(answer.status, honest(number));
            self.answered += 1;
            for record in answer.records() {
                assert_eq!(record.data, format!("10.0.0.{number}"));
                assert_eq!(record.name.as_bytes(), name(number));
            }
        }
        // Waits for room at a server do not count, and are long where connections stall.
        let is_in_time = answer.time <= TIMEOUT || self.scenario.closed > 0;
        assert!(is_in_time, "{:?}", answer.time);
        assert_eq!(finished.is_failure, !answer.status.is_definite());
    }

    fn check_server_stats(&self, server_stats: &[ServerStats]) {
        assert_eq!(server_stats.len(), usize::from(self.scenario.servers));
        let sent: u64 = server_stats.iter().map(|stats| stats.sent).sum();
        let answered: u64 = server_stats.iter().map(|stats| stats.answered).sum();
        assert!(answered <= sent && answered > 0 || self.answered == 0);
        // The second server refuses some names; where there are three, the others answer them.
        let is_refused = match self.scenario.every_server {
            true => self.scenario.servers > 1,
            false => self.scenario.servers == 2,
        };
        if self.scenario.lost == 0 && !is_refused && self.scenario.closed == 0 {
            assert_eq!(
                self.answered,
                self.numbers.len(),
                "nothing stood in the way"
            );
        }
    }
}

fn name(number: usize) -> Vec<u8> {
    format!("n{number}.example").into_bytes()
}

proptest! {
    #![proptest_config(config(2000, 100))]

    #[test]
    fn every_name_has_one_right_row_on_every_schedule(scenario in scenario()) {
        run(&scenario);
    }
}

/// No faults, and all names go through one loop.
fn calm() -> Scenario {
    Scenario {
        schedule: Schedule {
            items: 20,
            ..Schedule::default()
        },
        names: 75,
        servers: 1,
        sockets_per_server: 1,
        per_server_max: 1,
        rate_per_server: None,
        mixes_case: false,
        streams_only: false,
        lost: 0,
        doubled: 0,
        closed: 0,
        exhaustion: 0,
        every_server: false,
        wildcards: false,
    }
}

/// Names for a silent server take minutes, and hold no places in flight that names for others could
/// have.
#[test]
fn a_silent_server_leaves_the_places_in_flight_to_others() {
    for order in [Order::Completion, Order::Input] {
        let last_ended = run(&Scenario {
            schedule: Schedule {
                items: 300,
                loops: 2,
                in_flight_per_loop: 4,
                window: 1_200,
                order,
                ..Schedule::default()
            },
            names: 100,
            servers: 4,
            per_server_max: 8,
            every_server: true,
            ..calm()
        });
        let (others, silent) = (last_ended[..3].iter().max().unwrap(), last_ended[3]);
        assert!(*others * 3 < silent, "{last_ended:?}");
    }
}

/// Found by a random schedule: the first reply of a server was a refusal, and the time for a reply was
/// not known.
#[test]
fn a_refused_name_holds_its_place_for_a_while() {
    let calm = calm();
    run(&Scenario {
        schedule: Schedule {
            seed: 1_284_531_673_343_609_781,
            ..calm.schedule
        },
        servers: 2,
        rate_per_server: Some(15.704323094226272),
        doubled: 1,
        ..calm
    });
}
