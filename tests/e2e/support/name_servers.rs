//! Third-party name servers, with a zone of the test's own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::nsd::{self, Nsd};
use super::ports;

/// A running server. It is killed on drop.
pub struct NameServer {
    _dir: TempDir,
    pub at: SocketAddr,
    child: Child,
    /// Its upstream server.
    _upstream: Option<Nsd>,
}

impl NameServer {
    /// Knot with this zone for `example`.
    #[track_caller]
    pub fn knot(zone: &str) -> Self {
        Self::knot_with(zone, "")
    }

    /// The same, with a signed zone.
    #[track_caller]
    pub fn signing_knot(zone: &str) -> Self {
        Self::knot_with(zone, "    dnssec-signing: on\n")
    }

    #[track_caller]
    fn knot_with(zone: &str, options_of_zone: &str) -> Self {
        Self::start(None, |dir, port| {
            fs::write(dir.join("example.zone"), zone).expect("zone");
            let path = dir.display();
            let config = format!(
                "server:\n  listen: 127.0.0.1@{port}\n  rundir: {path}\n  user: root\n  udp-max-payload: 4096\n\
                 \x20 udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
                 database:\n  storage: {path}\n\
                 template:\n  - id: default\n    storage: {path}\n    journal-content: none\n\
                 \x20   zonefile-sync: -1\n\
                 zone:\n  - domain: example\n    file: example.zone\n{options_of_zone}"
            );
            let path = dir.join("knot.conf");
            fs::write(&path, config).expect("configuration");
            let mut command = Command::new("knotd");
            command.arg("-c").arg(path);
            command
        })
    }

    /// Unbound, which asks an NSD with this zone.
    #[track_caller]
    pub fn unbound(zone: &str) -> Self {
        let upstream = Nsd::serving(zone);
        let upstream_port = upstream.at.port();
        Self::unbound_with(Some(upstream), upstream_port, "iterator", "")
    }

    /// Unbound, which asks the server at this port, and checks the signatures of `example` with this key.
    #[track_caller]
    pub fn validating_unbound(upstream_port: u16, key: &str) -> Self {
        let anchor = format!(" trust-anchor: \"example. DNSKEY {key}\"\n");
        Self::unbound_with(None, upstream_port, "validator iterator", &anchor)
    }

    #[track_caller]
    fn unbound_with(
        upstream: Option<Nsd>,
        upstream_port: u16,
        modules: &str,
        options: &str,
    ) -> Self {
        Self::start(upstream, |dir, port| {
            let config = format!(
                "server:\n interface: 127.0.0.1@{port}\n port: {port}\n username: \"\"\n chroot: \"\"\n\
                 \x20directory: \"{path}\"\n pidfile: \"{path}/pid\"\n use-syslog: no\n do-daemonize: no\n\
                 \x20num-threads: 1\n module-config: \"{modules}\"\n do-not-query-localhost: no\n\
                 \x20edns-buffer-size: 1232\n max-udp-size: 1232\n rrset-roundrobin: no\n{options}\
                 remote-control:\n control-enable: no\n\
                 forward-zone:\n name: \".\"\n forward-addr: 127.0.0.1@{upstream_port}\n",
                path = dir.display()
            );
            let path = dir.join("unbound.conf");
            fs::write(&path, config).expect("configuration");
            let mut command = Command::new("unbound");
            command.arg("-d").arg("-c").arg(path);
            command
        })
    }

    /// Dnsmasq with these options, which asks an NSD with this zone for what it does not know.
    #[track_caller]
    pub fn dnsmasq(zone: &str, options: &[&str]) -> Self {
        let upstream = Nsd::serving(zone);
        let server = format!("--server=127.0.0.1#{}", upstream.at.port());
        Self::start(Some(upstream), |_, port| {
            let mut command = Command::new("dnsmasq");
            command.args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--pid-file=",
            ]);
            command.args([
                "--no-resolv",
                "--no-hosts",
                "--user=root",
                "--bind-interfaces",
            ]);
            command.args(["--listen-address=127.0.0.1", "--edns-packet-max=1232"]);
            command.args(["--dns-forward-max=1000", "--cache-size=0"]);
            command
                .arg(format!("--port={port}"))
                .arg(server)
                .args(options);
            command
        })
    }

    #[track_caller]
    fn start(upstream: Option<Nsd>, command: impl FnOnce(&Path, u16) -> Command) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let at = ports::free_address();
        let mut command = command(dir.path(), at.port());
        // Debian installs them in directories that only root's PATH has.
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("scripts/test installs it");
        let server = Self {
            _dir: dir,
            at,
            child,
            _upstream: upstream,
        };
        nsd::wait_until_answers("the name server answers", at);
        server
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
