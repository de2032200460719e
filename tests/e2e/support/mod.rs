//! Shared by the tests: running the binary, oracles, trees of files, and a scripted file system.

pub mod certificates;
pub mod crc32c;
pub mod disk;
pub mod dnsdist;
pub mod fusefs;
pub mod haproxy;
pub mod healthy;
pub mod imperfect;
pub mod judge;
pub mod mill;
pub mod name_servers;
pub mod nginx;
pub mod nsd;
pub mod peers;
pub mod ports;
pub mod relay;
pub mod responder;
pub mod rows;
pub mod scripted;
pub mod small_disk;
pub mod terminal;
pub mod tree;
pub mod troubled;
pub mod web;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use mill::{AMPLE, Mill, Output, Running};

/// The two engines that do real I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Uring,
    Threads,
}

impl Engine {
    pub const ALL: [Engine; 2] = [Engine::Uring, Engine::Threads];

    pub fn name(self) -> &'static str {
        match self {
            Engine::Uring => "uring",
            Engine::Threads => "threads",
        }
    }
}

/// Runs the test body on each engine, on the second even if it failed on the first, and says
/// which ones failed.
pub fn for_each_engine(body: impl Fn(Engine)) {
    let failed: Vec<&str> = Engine::ALL
        .into_iter()
        .filter(|&engine| {
            eprintln!("--- engine {}", engine.name());
            catch_unwind(AssertUnwindSafe(|| body(engine))).is_err()
        })
        .map(Engine::name)
        .collect();
    assert!(failed.is_empty(), "failed on: {}", failed.join(", "));
}

/// What `run` returns with a timeout, in seconds, that is long enough on this machine: longer ones are tried as long
/// as something `is_late` that should not time out.
pub fn with_patience<T>(run: impl Fn(u32) -> T, is_late: impl Fn(&T) -> bool) -> T {
    let mut timeout_s = 3;
    loop {
        let result = run(timeout_s);
        if timeout_s > 100 || !is_late(&result) {
            return result;
        }
        timeout_s *= 5;
    }
}

/// Polls until `condition` holds; fails with `what` after `patience`.
pub fn eventually(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        sleep(Duration::from_millis(5));
    }
}

/// Some tests change the user id, or a sysctl.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root; scripts/test runs it so"
    );
}

/// `bytes` as text that fits a failure message.
pub fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 3000;
    let text = bytes[..bytes.len().min(SHOWN)]
        .escape_ascii()
        .to_string()
        .replace("\\n", "\n");
    if bytes.len() > SHOWN {
        format!("{text}… ({} bytes in all)", bytes.len())
    } else {
        text
    }
}

/// Compares outputs and, where they differ, shows the first differing line instead of everything.
#[track_caller]
pub fn assert_same(what: &str, got: &[u8], expected: &[u8]) {
    if got == expected {
        return;
    }
    let separator = if expected.contains(&0) { 0 } else { b'\n' };
    let mut got_lines = got.split(|&byte| byte == separator);
    let mut expected_lines = expected.split(|&byte| byte == separator);
    for number in 1.. {
        let pair = (got_lines.next(), expected_lines.next());
        if pair.0 != pair.1 {
            panic!(
                "{what}: line {number} differs\n     got: {}\nexpected: {}",
                pair.0.map_or("(nothing)".into(), show),
                pair.1.map_or("(nothing)".into(), show)
            );
        }
    }
}

/// A server's socket. Its reads time out soon, so that the server can check whether it should end.
#[track_caller]
pub fn polled_socket() -> (std::net::UdpSocket, std::net::SocketAddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let at = socket.local_addr().expect("an address");
    let patience = Some(std::time::Duration::from_millis(20));
    socket.set_read_timeout(patience).expect("a timeout");
    (socket, at)
}
