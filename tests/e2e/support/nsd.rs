//! A name server: NSD with a zone of the test's own.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::{AMPLE, Mill, Output, eventually, ports};

/// Names of this zone whose number is a multiple of this do not exist.
const GAP: usize = 10;

/// How many names a numbered zone has, gaps included.
pub const NAMES: usize = 200_000;

/// How many texts of 204 characters `long.example` has: too many for a datagram.
pub const LONG_TEXTS: usize = 40;

/// What a numbered name is in the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Address,
    Alias,
    /// Only a TXT record.
    NoAddress,
    Missing,
}

/// The kind of the name with this number.
pub fn kind(number: usize) -> Kind {
    match number {
        _ if number.is_multiple_of(GAP) => Kind::Missing,
        _ if number % GAP == 1 => Kind::Alias,
        _ if number % GAP == 2 => Kind::NoAddress,
        _ => Kind::Address,
    }
}

pub fn name(number: usize) -> String {
    format!("n{number:06}.example")
}

pub fn address(number: usize) -> String {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    format!("10.{a}.{b}.{c}")
}

/// A zone file for `example`: the names with numbers, and some of other types.
fn zone() -> String {
    use std::fmt::Write;
    let mut zone = String::from(
        "$ORIGIN example.\n$TTL 300\n\
         @ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\nns AAAA ::1\n\
         @ MX 10 mail\n@ CAA 0 issue \"ca.example\"\n_sip._tcp SRV 1 2 5060 sip\n\
         mail A 10.255.0.1\nmail AAAA 2001:db8::1\n\
         @ HTTPS 1 . alpn=\"h2\"\ntext TXT \"one two\" \"three\"\nbytes TXT \"a\\200\\007\\\\\\\"z\"\n\
         two A 10.255.0.2\ntwo A 10.255.0.3\n\
         xn--bcher-kva A 10.255.0.4\nsp\\032ace A 10.255.0.5\n",
    );
    for number in 0..LONG_TEXTS {
        writeln!(zone, "long TXT \"{number:03} {}\"", "x".repeat(200))
            .expect("memory can be written to");
    }
    for number in 0..NAMES {
        let name = format!("n{number:06}");
        match kind(number) {
            Kind::Missing => Ok(()),
            // An alias of the next name that has an address.
            Kind::Alias => writeln!(zone, "{name} CNAME n{:06}", number + 2),
            Kind::NoAddress => writeln!(zone, "{name} TXT \"no address\""),
            Kind::Address => writeln!(zone, "{name} A {}", address(number)),
        }
        .expect("memory can be written to");
    }
    zone
}

/// A running server. It is killed on drop.
pub struct Nsd {
    dir: TempDir,
    pub at: SocketAddr,
    child: Child,
}

impl Nsd {
    /// Starts a server on a free port of the loopback address, and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        Self::serving(&zone())
    }

    /// The same with this zone for `example`. Another zone, `unloaded.test`, has no file: SERVFAIL.
    #[track_caller]
    pub fn serving(zone: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("example.zone"), zone).expect("zone");
        let at = ports::free_address();
        let path = dir.path().display();
        let config = format!(
            "server:\n ip-address: 127.0.0.1@{}\n zonesdir: {path}\n database: \"\"\n \
             pidfile: {path}/pid\n xfrdfile: {path}/xfrd\n xfrdir: {path}\n zonelistfile: {path}/zones\n \
             username: \"\"\n server-count: 1\n rrl-ratelimit: 0\n\
             remote-control:\n control-enable: no\n\
             zone:\n name: example\n zonefile: example.zone\n\
             zone:\n name: unloaded.test\n zonefile: missing\n",
            at.port()
        );
        fs::write(dir.path().join("nsd.conf"), config).expect("configuration");
        let child = Self::spawn(&dir);
        let nsd = Self { dir, at, child };
        wait_until_answers("nsd answers", at);
        nsd
    }

    fn spawn(dir: &TempDir) -> Child {
        let path = ["nsd", "/usr/sbin/nsd"].into_iter().find_map(|program| {
            let mut command = Command::new(program);
            command.arg("-d").arg("-c").arg(dir.path().join("nsd.conf"));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().ok()
        });
        path.expect("nsd; scripts/test installs it")
    }

    /// What this run prints if the server is stopped after the first row and then started again.
    #[track_caller]
    pub fn restart_during(&mut self, mill: Mill) -> Output {
        let mut running = mill.args(AMPLE).deadline(Duration::from_secs(1800)).start();
        running.read_line();
        thread::scope(|scope| {
            scope.spawn(|| {
                self.stop();
                self.child = Self::spawn(&self.dir);
            });
            running.finish()
        })
    }

    fn stop(&mut self) {
        // It has child processes, which SIGTERM ends, too; SIGKILL would leave them behind.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until this address answers questions about `example`.
#[track_caller]
pub fn wait_until_answers(what: &str, at: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(at).expect("connected");
    let patience = Some(Duration::from_millis(200));
    socket.set_read_timeout(patience).expect("a timeout");
    // SOA of `example`.
    let query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x07example\0\0\x06\0\x01";
    eventually(what, Duration::from_secs(30), || {
        let _ = socket.send(query);
        let mut reply = [0; 512];
        // At least as long as the query, and not SERVFAIL.
        socket
            .recv(&mut reply)
            .is_ok_and(|len| len >= query.len() && reply[3] & 15 != 2)
    });
}
