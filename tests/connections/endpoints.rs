//! `connect`: every endpoint has the status of its server, whatever the others do.

use crate::name_server::{self, host};
use crate::schedule;
use crate::simulated::{Drive, Schedule, Spurious, config};
use proptest::prelude::*;
use ringmill::error::Errno;
use ringmill::io::Transport;
use ringmill::io::sim::{Faults, Framing, Greeting, Network, Random, World};
use ringmill::jobs::connect::{ConnectJob, Found, Options, Status, Unresolved};
use ringmill::jobs::dns::Status as LookupStatus;
use ringmill::mill::Finished;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
struct Scenario {
    schedule: Schedule,
    uses_names: bool,
    /// Percentage of datagrams that are lost.
    lost: u8,
    exhaustion: u8,
    abort: bool,
    banner_len_max: usize,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let faults = (
        any::<bool>(),
        prop_oneof![Just(0_u8), 0_u8..30],
        prop_oneof![Just(0_u8), 0_u8..30],
        any::<bool>(),
        prop_oneof![Just(0_usize), 1_usize..20],
    );
    (schedule(), faults).prop_map(|(schedule, faults)| Scenario {
        schedule,
        uses_names: faults.0,
        lost: faults.1,
        exhaustion: faults.2,
        abort: faults.3,
        banner_len_max: faults.4,
    })
}

/// The servers by the last byte of their addresses; from 200 on, names do not exist.
const HOSTS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 200];

/// What the host of this number does.
fn status(host: u8) -> Status {
    match host {
        0..3 => Status::Open,
        3 => Status::Refused,
        4 => Status::Timeout,
        5 => Status::Unreachable,
        _ => Status::Reset,
    }
}

fn connect(server: SocketAddr) -> Option<Result<(), Errno>> {
    let errno = match status(host(server)) {
        Status::Open => return Some(Ok(())),
        Status::Timeout => return None,
        Status::Refused => libc::ECONNREFUSED,
        Status::Unreachable => libc::EHOSTUNREACH,
        Status::Reset => libc::ECONNRESET,
    };
    Some(Err(Errno::new(errno)))
}

/// What a server sends in time.
const BANNER: &[u8] = b"220 ready\r\n";

fn greeting(server: SocketAddr) -> Option<Greeting> {
    let (after, bytes) = match host(server) {
        0 => (Duration::from_millis(3), BANNER),
        1 => (2 * TIMEOUT, &b"too late"[..]),
        _ => return None,
    };
    Some(Greeting { after, bytes })
}

/// The banner that the host of this number has in time.
fn banner(scenario: &Scenario, host: u8) -> Option<&'static [u8]> {
    let len = BANNER.len().min(scenario.banner_len_max);
    (host == 0 && len > 0).then(|| &BANNER[..len])
}

fn answer(_: SocketAddr, transport: Transport, query: &[u8]) -> Option<Vec<u8>> {
    assert_eq!(
        transport,
        Transport::Datagram,
        "nothing is sent to an endpoint"
    );
    name_server::answer(query)
}

fn run(scenario: &Scenario) {
    let schedule = &scenario.schedule;
    let network = Network {
        connect,
        answer,
        greeting,
        layer: |_| None,
        framing: Framing::LengthPrefixed,
        lost: scenario.lost,
        doubled: 0,
        closed: 0,
        cut_off: 0,
    };
    let faults = Faults {
        exhaustion: scenario.exhaustion,
        ..Faults::default()
    };
    // Each item has one descriptor, and each loop two for names. A lack of ports is looked into with one more.
    let descriptors = schedule.loops * (schedule.in_flight_per_loop + 2);
    let world = World::new(HashMap::new(), faults, descriptors).with(network);
    let mut random = Random::new(!schedule.seed);
    let hosts: Vec<u8> = (0..schedule.items)
        .map(|_| HOSTS[random.below(HOSTS.len())])
        .collect();
    let line = |&host: &u8| match scenario.uses_names {
        true => format!("{}:80", name_server::name(host)).into_bytes(),
        false => format!("{}:80", name_server::ip(host)).into_bytes(),
    };
    let lines = hosts.iter().map(line).collect();
    let job = Spurious::new(ConnectJob {
        names: name_server::service(schedule.loops),
        options: Options {
            timeout: TIMEOUT,
            abort: scenario.abort,
            banner_len_max: scenario.banner_len_max,
        },
    });
    let mut check = |finished: &Finished<Found>| {
        let host = hosts[usize::try_from(finished.item.index()).unwrap()];
        check(scenario, host, finished);
    };
    let random = Random::new(schedule.seed);
    let drive = Drive::new(schedule, random, job, world, lines, None);
    let ended = drive.run(&mut check);
    // A loop that is stopped leaves its questions to the others.
    if scenario.lost == 0 && scenario.exhaustion == 0 && schedule.stop_at_step.is_none() {
        // That a name does not exist is known to last only if the server says so.
        for host in HOSTS.into_iter().filter(|&host| host < 200) {
            let queries = ended.count(|message| name_server::asks_about(message, host));
            assert!(queries <= 1, "{queries} queries for the name {host}");
        }
    }
}

fn check(scenario: &Scenario, host: u8, finished: &Finished<Found>) {
    let connection = finished.result.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(finished.is_failure, !connection.is_open());
    if scenario.uses_names && host >= 200 {
        let expected = Some(Unresolved::Lookup(LookupStatus::NxDomain));
        assert_eq!(connection.unresolved, expected);
        assert!(connection.attempts.is_empty());
        return;
    }
    assert_eq!(connection.unresolved, None, "{connection:?}");
    let [attempt] = &*connection.attempts else {
        panic!("there is one address: {connection:?}")
    };
    assert_eq!(attempt.address, SocketAddr::new(name_server::ip(host), 80));
    assert_eq!(attempt.status, status(host), "{attempt:?}");
    assert_eq!(
        connection.banner.as_deref(),
        banner(scenario, host),
        "{connection:?}"
    );
    match attempt.status {
        Status::Timeout => assert!(attempt.time >= TIMEOUT, "{attempt:?}"),
        // What another endpoint does takes none of its time.
        _ => assert!(attempt.time < TIMEOUT, "{attempt:?}"),
    }
}

proptest! {
    #![proptest_config(config(500, 100))]

    #[test]
    fn every_endpoint_has_its_servers_status_on_every_schedule(scenario in scenario()) {
        run(&scenario);
    }
}
