//! `http`: every request has the response of its server, or the failure that it met, whatever the others do.

use crate::name_server::{self, host};
use crate::schedule;
use crate::simulated::{Drive, Ended, Schedule, Spurious, config};
use crate::tls;
use proptest::prelude::*;
use ringmill::error::Errno;
use ringmill::io::Transport;
use ringmill::io::sim::{Faults, Framing, Network, Random, SentMessage, World};
use ringmill::jobs::http::{
    Body, BodyFiles, Fetched, Found, HttpJob, Keep, Options, OriginLimits, Step, Template, Trust,
    client_config,
};
use ringmill::mill::Finished;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Sockets that each loop has for names.
const NAME_SOCKETS: usize = 2;

#[derive(Clone, Debug)]
struct Scenario {
    schedule: Schedule,
    uses_names: bool,
    /// The URLs have `https`. Redirects lead to `http` nevertheless.
    uses_tls: bool,
    per_host: usize,
    interval: Option<Duration>,
    retries: u32,
    exhaustion: u8,
    /// Percentage of responses after which the server closes the connection.
    closed: u8,
    /// Percentage of responses that break off.
    cut_off: u8,
    /// Percentage of responses that are sent twice.
    doubled: u8,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let percentage = || prop_oneof![Just(0_u8), 0_u8..30];
    let interval = proptest::option::weighted(0.3, (1_u64..50).prop_map(Duration::from_millis));
    // Handshakes take time.
    let schemes = (any::<bool>(), proptest::bool::weighted(0.2));
    let options = (schemes, 1_usize..7, interval, 0_u32..3);
    let faults = (percentage(), percentage(), percentage(), percentage());
    (schedule(), options, faults).prop_map(|(schedule, options, faults)| Scenario {
        schedule,
        uses_names: options.0.0,
        uses_tls: options.0.1,
        per_host: options.1,
        interval: options.2,
        retries: options.3,
        exhaustion: faults.0,
        closed: faults.1,
        cut_off: faults.2,
        // Whether something follows a response is looked into before the next request, unless memory is short.
        doubled: if faults.0 == 0 { faults.3 } else { 0 },
    })
}

/// The servers by the last byte of their addresses: these answer,
const GOOD: [u8; 3] = [0, 1, 2];
/// this one refuses connections,
const REFUSING: u8 = 3;
/// this one does not react to them,
const DEAD: u8 = 4;
/// this one asks for a pause that is too long,
const BUSY: u8 = 5;
/// and this one never responds.
const SILENT: u8 = 6;
const HOSTS: [u8; 12] = [0, 1, 2, 0, 1, 2, 0, 1, REFUSING, DEAD, BUSY, SILENT];

/// What a good server responds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Chunked,
    Hints,
    Missing,
    Broken,
    Limited,
    Away,
    Moved,
    Empty,
    Garbage,
    Stalls,
    BadChunk,
}

const KINDS: [(Kind, &str); 12] = [
    (Kind::Plain, "plain"),
    (Kind::Chunked, "chunked"),
    (Kind::Hints, "hints"),
    (Kind::Missing, "missing"),
    (Kind::Broken, "broken"),
    (Kind::Limited, "limited"),
    (Kind::Away, "away"),
    (Kind::Moved, "moved"),
    (Kind::Empty, "empty"),
    (Kind::Garbage, "garbage"),
    (Kind::Stalls, "stalls"),
    (Kind::BadChunk, "bad-chunk"),
];

#[derive(Clone, Debug)]
struct Request {
    host: u8,
    kind: Kind,
    method: &'static str,
    number: usize,
    uses_names: bool,
    uses_tls: bool,
}

impl Request {
    fn random(number: usize, scenario: &Scenario, random: &mut Random) -> Self {
        Self {
            host: HOSTS[random.below(HOSTS.len())],
            kind: KINDS[random.below(KINDS.len())].0,
            method: ["GET", "GET", "GET", "HEAD", "POST"][random.below(5)],
            number,
            uses_names: scenario.uses_names,
            uses_tls: scenario.uses_tls,
        }
    }

    fn path(&self) -> String {
        let (_, word) = KINDS.iter().find(|(kind, _)| *kind == self.kind).unwrap();
        format!("/{word}/{}", self.number)
    }

    fn url(&self) -> String {
        let scheme = if self.uses_tls { "https" } else { "http" };
        let host = match self.uses_names {
            true => name_server::name(self.host),
            false => name_server::ip(self.host).to_string(),
        };
        format!("{scheme}://{host}{}", self.path())
    }

    fn line(&self) -> Vec<u8> {
        let url = self.url();
        let line = match self.method {
            "GET" => url,
            "HEAD" => format!(r#"{{"url":"{url}","method":"HEAD"}}"#),
            _ => format!(r#"{{"url":"{url}","body":"posted {}"}}"#, self.number),
        };
        line.into_bytes()
    }

    /// True for a message with this request, at the URL of the item.
    fn is_in(&self, message: &SentMessage) -> bool {
        let start = format!("{} {} ", self.method, self.path());
        message.bytes.starts_with(start.as_bytes())
    }

    /// The status and the body that a faultless network brings, or the step that fails nevertheless.
    fn expected(&self) -> Result<(u16, Vec<u8>), Step> {
        match self.host {
            REFUSING | DEAD => return Err(Step::Connect),
            BUSY | SILENT => return Err(Step::Request),
            _ => {}
        }
        let (posted, hashed) = (format!("posted {}", self.number), body(self.number));
        let (status, body) = match (self.kind, self.method) {
            (Kind::Garbage | Kind::Stalls, _) => return Err(Step::Request),
            (Kind::BadChunk, "GET" | "POST") => return Err(Step::Body),
            (Kind::Limited, _) => (429, b"not now".to_vec()),
            (Kind::Empty, _) => (204, Vec::new()),
            (Kind::Missing, _) => (404, hashed),
            (Kind::Broken, _) => (500, hashed),
            // A redirect with 302 turns POST into GET; one with 307 does not.
            (Kind::Away, _) => (200, hashed),
            (_, "POST") => (200, posted.into_bytes()),
            _ => (200, hashed),
        };
        Ok((
            status,
            if self.method == "HEAD" {
                Vec::new()
            } else {
                body
            },
        ))
    }
}

/// The content of the page with this number.
fn body(number: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((at * 31 + number) % 251).unwrap();
    (0..number * 613 % 9_000).map(byte).collect()
}

fn connect(server: SocketAddr) -> Option<Result<(), Errno>> {
    match host(server) {
        DEAD => None,
        REFUSING => Some(Err(Errno::new(libc::ECONNREFUSED))),
        _ => Some(Ok(())),
    }
}

/// The length of the first request in a stream, once it is whole.
fn request_len(stream: &[u8]) -> Option<usize> {
    let head_len = stream.windows(4).position(|at| at == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&stream[..head_len])
        .unwrap()
        .to_lowercase();
    let body_len = head
        .split_once("content-length: ")
        .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
    Some(head_len + body_len).filter(|len| *len <= stream.len())
}

fn answer(server: SocketAddr, transport: Transport, message: &[u8]) -> Option<Vec<u8>> {
    if transport == Transport::Datagram {
        return name_server::answer(message);
    }
    let text = std::str::from_utf8(message).unwrap();
    let (head, sent) = text.split_once("\r\n\r\n").unwrap();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    match host(server) {
        SILENT => return None,
        BUSY => {
            return Some(response(
                method,
                "503 Busy",
                "Retry-After: 1000\r\n",
                b"busy",
            ));
        }
        _ => {}
    }
    let (_, path) = path.split_once('/').unwrap();
    let (word, number) = path.split_once('/').unwrap();
    let (kind, _) = KINDS.iter().find(|(_, known)| *known == word).unwrap();
    let page = body(number.parse().unwrap());
    let content = if method == "POST" {
        sent.as_bytes()
    } else {
        &page
    };
    let respond = |status, headers, body: &[u8]| response(method, status, headers, body);
    Some(match kind {
        Kind::Plain => respond("200 OK", "", content),
        Kind::Chunked => chunked(method, content),
        Kind::Hints => {
            let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
            [&hints[..], &respond("200 OK", "", content)].concat()
        }
        Kind::Missing => respond("404 Not Found", "", &page),
        Kind::Broken => respond("500 Broken", "", &page),
        Kind::Limited => respond("429 Slow", "Retry-After: 1\r\n", b"not now"),
        Kind::Away => {
            let to = GOOD[(usize::from(host(server)) + 1) % GOOD.len()];
            let location = format!("Location: http://192.0.2.{to}/plain/{number}\r\n");
            respond("302 Found", &location, b"elsewhere")
        }
        Kind::Moved => {
            let location = format!("Location: /chunked/{number}\r\n");
            respond("307 Temporary Redirect", &location, b"elsewhere")
        }
        Kind::Empty => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        Kind::Garbage => b"220 mail.example ESMTP\r\n\r\n".to_vec(),
        Kind::Stalls => return None,
        Kind::BadChunk => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let body = if method == "HEAD" {
                ""
            } else {
                "4\r\nbody\r\nfour\r\n"
            };
            [head, body].concat().into_bytes()
        }
    })
}

fn response(method: &str, status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {len}\r\n\r\n");
    let body = if method == "HEAD" { &[] } else { body };
    [head.as_bytes(), body].concat()
}

fn chunked(method: &str, body: &[u8]) -> Vec<u8> {
    let mut reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    if method == "HEAD" {
        return reply;
    }
    for chunk in body.chunks(1000) {
        reply.extend(format!("{:x}\r\n", chunk.len()).bytes());
        reply.extend(chunk);
        reply.extend(b"\r\n");
    }
    reply.extend(b"0\r\n\r\n");
    reply
}

fn run(scenario: &Scenario) {
    let schedule = &scenario.schedule;
    let network = Network {
        connect,
        answer,
        greeting: |_| None,
        layer: tls::layer,
        framing: Framing::Bare(request_len),
        lost: 0,
        doubled: scenario.doubled,
        closed: scenario.closed,
        cut_off: scenario.cut_off,
    };
    let faults = Faults {
        exhaustion: scenario.exhaustion,
        ..Faults::default()
    };
    let descriptors_max = schedule.loops * (schedule.in_flight_per_loop + NAME_SOCKETS);
    // More than may be used, so that nothing hides what would be too much.
    let world = World::new(HashMap::new(), faults, 2 * descriptors_max).with(network);
    let mut random = Random::new(!schedule.seed);
    let requests: Vec<Request> = (0..schedule.items)
        .map(|number| Request::random(number, scenario, &mut random))
        .collect();
    let limits = OriginLimits {
        connections: scenario.per_host,
        interval: scenario.interval,
        pause_max: Duration::from_secs(60),
    };
    let names = name_server::service(schedule.loops);
    let job = Spurious::new(HttpJob::new(names, options(scenario), limits));
    let lines = requests.iter().map(Request::line).collect();
    let mut ends = Vec::new();
    let random = Random::new(schedule.seed);
    let drive = Drive::new(schedule, random, job, world, lines, None);
    let ended = drive.run(&mut |finished: &Finished<Found>| {
        let request = &requests[usize::try_from(finished.item.index()).unwrap()];
        ends.push((request, check(scenario, request, finished)));
    });
    let peak = ended.world.descriptors_peak();
    assert!(
        peak <= descriptors_max,
        "{peak} descriptors, not {descriptors_max}"
    );
    check_connections(scenario, &ended);
    for (request, end) in ends {
        check_sent(scenario, request, end, &ended);
    }
}

fn options(scenario: &Scenario) -> Options {
    Options {
        template: Template::default(),
        timeout: TIMEOUT,
        connect_timeout: CONNECT_TIMEOUT,
        retries: scenario.retries,
        redirects_max: 10,
        body_len_max: 10_000,
        deny_private: false,
        keep: Keep {
            digest: None,
            body: true,
        },
        body_len_in_memory: usize::MAX,
        body_files: Arc::new(BodyFiles::new(Path::new("unused"), 0o600)),
        keeps_headers: false,
        connections_per_loop: scenario.schedule.in_flight_per_loop,
        tls: client_config(&Trust::Anybody).unwrap(),
    }
}

/// How an item ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Responded,
    Failed,
    /// At this time.
    TimedOut(Duration),
}

fn check(scenario: &Scenario, request: &Request, finished: &Finished<Found>) -> End {
    let fetched: &Fetched = finished.result.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(finished.is_failure, !fetched.is_success());
    assert_eq!(&*fetched.url, request.url());
    let expected = request.expected();
    let Some(failure) = &fetched.failure else {
        let response = fetched.response.as_ref().expect("it has no failure");
        let (status, body) = expected.expect("its server gives it no response");
        assert_eq!(fetched.progress.status, Some(status), "{request:?}");
        let Some(Body::Memory(received)) = &response.body else {
            panic!("{request:?}: {response:?}");
        };
        assert_eq!(received, &body, "{request:?}");
        assert_eq!(response.size, body.len() as u64);
        return End::Responded;
    };
    let is_disturbed = scenario.cut_off > 0 || (scenario.closed > 0 && request.method == "POST");
    match expected {
        Err(step) if failure.step == step => {}
        _ => {
            let may_be_disturbed = match failure.step {
                Step::Tls => request.uses_tls && scenario.cut_off > 0,
                step => matches!(step, Step::Request | Step::Body),
            };
            assert!(is_disturbed && may_be_disturbed, "{request:?}: {failure:?}");
        }
    }
    match failure.message.starts_with("timed out") && failure.step != Step::Tls {
        true => End::TimedOut(Duration::from_nanos(finished.finished_at_ns)),
        false => End::Failed,
    }
}

fn check_connections(scenario: &Scenario, ended: &Ended) {
    // Redirects lead from names to addresses: to another origin at the same server.
    let origins = if scenario.uses_names { 2 } else { 1 };
    for (host, port) in HOSTS
        .into_iter()
        .flat_map(|host| [(host, 80), (host, tls::PORT)])
    {
        let server = SocketAddr::new(name_server::ip(host), port);
        let peak = ended.world.connections_peak(server);
        assert!(
            peak <= origins * scenario.per_host,
            "{peak} connections to {server}"
        );
    }
}

/// What was sent fits how the item ended.
fn check_sent(scenario: &Scenario, request: &Request, end: End, ended: &Ended) {
    let sent = ended.count(|message| request.is_in(message));
    if request.method == "POST" {
        assert!(sent <= 1, "{request:?} was sent {sent} times");
    }
    if scenario.closed == 0 && scenario.cut_off == 0 {
        let attempts = 1 + scenario.retries as usize;
        assert!(sent <= attempts, "{request:?} was sent {sent} times");
    }
    match end {
        End::Responded => {
            let replied = ended.count(|message| request.is_in(message) && !message.is_lost);
            assert!(
                replied > 0 || scenario.cut_off > 0,
                "{request:?} has a response of another"
            );
        }
        End::TimedOut(at) => {
            let hop = |message: &&SentMessage| {
                let suffix = format!("/{} HTTP/1.1\r\n", request.number);
                let line_len = message.bytes.iter().position(|&byte| byte == b'\n');
                line_len.is_some_and(|len| message.bytes[..=len].ends_with(suffix.as_bytes()))
            };
            let last = ended.sent.iter().rfind(hop);
            let last = last.unwrap_or_else(|| panic!("{request:?} timed out and was not sent"));
            let waited = at.saturating_sub(last.at);
            assert!(
                waited + Duration::from_secs(1) >= TIMEOUT,
                "{request:?}: {waited:?}"
            );
        }
        End::Failed => {}
    }
}

proptest! {
    #![proptest_config(config(500, 100))]

    #[test]
    fn every_request_has_its_servers_response_on_every_schedule(scenario in scenario()) {
        run(&scenario);
    }
}
