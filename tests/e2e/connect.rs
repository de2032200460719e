//! `ringmill connect` against real listeners: open, closed, silent and talkative ones, by address and by name.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Resource;

use crate::support::mill::binary;
use crate::support::nsd::Nsd;
use crate::support::responder::{Responder, Script};
use crate::support::rows::json_rows;
use crate::support::scripted::kernel_lacks;
use crate::support::{Engine, Mill, Output, for_each_engine, ports};

fn mill(engine: Engine) -> Mill {
    Mill::bare().args(["connect", "--engine", engine.name()])
}

/// A listener that accepts all connections until it is dropped, and greets each.
struct Listener {
    at: SocketAddr,
    listener: TcpListener,
}

impl Listener {
    fn start(greeting: &'static [u8]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // However late they are accepted, no request is dropped.
        rustix::net::listen(&listener, 4096).unwrap();
        let at = listener.local_addr().unwrap();
        let accepting = listener.try_clone().unwrap();
        thread::spawn(move || {
            for stream in accepting.incoming() {
                let Ok(mut stream) = stream else { return };
                let _may_be_closed = stream.write_all(greeting);
            }
        });
        Self { at, listener }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Ends the accept.
        let _ignored = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

/// A listener whose queue is full: the kernel drops further requests, so connects get no reply.
struct Silent {
    at: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Silent {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let at = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_secs(1)) {
            queued.push(stream);
            assert!(queued.len() < 100, "the queue of the listener has no end");
        }
        Self {
            at,
            _listener: listener,
            _queued: queued,
        }
    }
}

fn statuses(output: &Output) -> Vec<String> {
    let column = |line: &[u8]| {
        let line = String::from_utf8_lossy(line).into_owned();
        line.split('\t').nth(1).unwrap_or_default().to_owned()
    };
    output.lines().into_iter().map(column).collect()
}

#[test]
fn each_status() {
    let (open, silent) = (Listener::start(b"hello\r\n"), Silent::start());
    let closed = ports::free_address();
    for_each_engine(|engine| {
        let endpoints = [
            open.at.to_string(),
            closed.to_string(),
            silent.at.to_string(),
            "[fe80::1]:80".to_owned(),
            "nowhere.invalid:80".to_owned(),
            "no port".to_owned(),
            format!("localhost:{}", open.at.port()),
        ];
        let expected = [
            "open",
            "refused",
            "timeout",
            "unreachable",
            "unresolved",
            "invalid",
            "open",
        ];
        // No name server listens there.
        let mill = || {
            let mill = mill(engine).args(["-4", "--timeout", "2s", "-r", &closed.to_string()]);
            mill.args(&endpoints)
        };
        let output = mill().run().exits(1);
        assert_eq!(statuses(&output), expected, "{output:?}");
        let output = mill().args(["--format=jsonl", "--banner=5"]).run().exits(1);
        let rows = json_rows(&output);
        for (index, row) in rows.iter().enumerate() {
            assert_eq!(row["index"], index, "{row}");
            assert_eq!(row["endpoint"]["text"], endpoints[index], "{row}");
            assert_eq!(row["status"], expected[index], "{row}");
        }
        assert_eq!(rows[0]["address"], open.at.to_string());
        assert_eq!(rows[0]["banner"]["text"], "hello");
        assert_eq!(rows[1]["errno"], "ECONNREFUSED");
        // A timeout has waited its whole time.
        assert!(
            rows[2].get("errno").is_none() && rows[2]["connect_ns"].as_u64() >= Some(2_000_000_000)
        );
        assert_eq!(rows[4]["reason"], "UNREACHABLE");
        assert_eq!(rows[5]["error"], "no port");
        assert_eq!(rows[6]["address"], open.at.to_string());
        assert_eq!(rows.len(), expected.len());
    });
}

/// The addresses of a name are tried until one is open; a name is looked up once, whatever its ports.
#[test]
fn names_with_several_addresses() {
    let zone = "$ORIGIN example.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
                both A 127.0.0.1\nboth AAAA ::1\nalias CNAME both\nmail MX 1 both\n";
    let server = Nsd::serving(zone);
    let open = Listener::start(b"");
    let closed = ports::free_address();
    for_each_engine(|engine| {
        let mill = |options: &[&str]| {
            let mill = mill(engine).args(["-r", &server.at.to_string(), "--format=jsonl"]);
            let ports = format!("{},{}", open.at.port(), closed.port());
            mill.args(["--port", &ports]).args(options)
        };
        let output = mill(&[])
            .args(["both.example", "ALIAS.example", "mail.example"])
            .run()
            .exits(1);
        let rows = json_rows(&output);
        let expected = [
            "open",
            "refused",
            "open",
            "refused",
            "unresolved",
            "unresolved",
        ];
        for (row, status) in rows.iter().zip(expected) {
            assert_eq!(row["status"], status, "{row}");
        }
        assert_eq!(rows.len(), expected.len());
        // IPv6 comes first; nothing listens there.
        assert_eq!(
            rows[0]["tried"][0]["address"],
            format!("[::1]:{}", open.at.port())
        );
        assert_eq!(rows[0]["address"], open.at.to_string());
        assert_eq!(rows[4]["reason"], "NODATA");
        let output = mill(&["-4"]).arg("alias.example").run().exits(1);
        assert!(
            json_rows(&output)
                .iter()
                .all(|row| row.get("tried").is_none()),
            "{output:?}"
        );
        let output = mill(&["-6"]).arg("both.example").run().exits(1);
        assert!(
            json_rows(&output).iter().all(|row| row["status"] != "open"),
            "{output:?}"
        );
    });
}

/// However many endpoints and loops: a name whose records are valid is queried once, and one that cannot be
/// resolved at present is not queried again for each endpoint.
#[test]
fn names_are_looked_up_once() {
    let open = Listener::start(b"");
    let server = Responder::start(|name| match name[1] {
        b'o' => Script {
            flags: 0x80,
            counts: [1, 0, 0],
            records: b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\x7f\0\0\x01".to_vec(),
        },
        _ => Script {
            flags: 0x82,
            counts: [0, 0, 0],
            records: Vec::new(),
        },
    });
    let line = |number: usize| {
        let name = ["open", "OPEN", "broken"][number % 3];
        format!("{name}.example:{}\n", open.at.port())
    };
    let lines: String = (0..1_500).map(line).collect();
    for_each_engine(|engine| {
        let mill = mill(engine).args(["-4", "--loops=2", "--abort", "-r", &server.at.to_string()]);
        let output = mill.stdin(lines.clone()).run().exits(1);
        for (number, status) in statuses(&output).iter().enumerate() {
            let expected = ["open", "open", "unresolved"][number % 3];
            assert_eq!(status, expected, "line {number}");
        }
        let queries = server.take_queries();
        let is_open = |query: &&Vec<u8>| query[13].eq_ignore_ascii_case(&b'o');
        // The attempts of one lookup: more than one where the server is slow.
        assert!(queries.iter().filter(is_open).count() <= 6);
        // Of further lookups, too, if the run takes longer than a failure is remembered.
        assert!(queries.len() < 50, "{} queries", queries.len());
    });
}

/// Open, closed, silent and invalid ones mixed, with hardly any descriptors: every line has its row, in order.
#[test]
fn many_endpoints_with_few_descriptors() {
    let (open, silent, closed) = (Listener::start(b""), Silent::start(), ports::free_address());
    let kinds = |number: usize| match number {
        _ if number % 1000 == 17 => (silent.at.to_string(), "timeout"),
        _ if number % 100 == 3 => ("nonsense".to_owned(), "invalid"),
        _ if number.is_multiple_of(2) => (open.at.to_string(), "open"),
        _ => (closed.to_string(), "refused"),
    };
    let (lines, expected): (Vec<String>, Vec<&str>) = (0..2_000).map(kinds).unzip();
    for_each_engine(|engine| {
        let mill = mill(engine).args(["--timeout=3s", "--abort", "-r", &closed.to_string()]);
        let mill = mill.stdin(lines.join("\n")).limit(Resource::Nofile, 24, 24);
        let output = mill.run().exits(1);
        assert_eq!(statuses(&output), expected);
        for (line, row) in lines.iter().zip(output.lines()) {
            assert!(row.starts_with(line.as_bytes()));
        }
    });
}

/// More connects to one port than there are local ports wait for them. In a network of their own, since the
/// range of ports belongs to the whole network.
#[test]
fn local_ports_are_waited_for() {
    const SCRIPT: &str =
        "ip link set lo up && echo 40000 40063 > /proc/sys/net/ipv4/ip_local_port_range && \
        exec python3 -c '
import socket, subprocess, sys, threading
server = socket.create_server((\"127.0.0.1\", 7), backlog=4096)
def accept():
    while True:
        try:
            server.accept()[0].recv(1)
        except ConnectionResetError:
            pass
threading.Thread(target=accept, daemon=True).start()
lines = \"127.0.0.1:7\\n\" * 2000
sys.exit(subprocess.run(sys.argv[1:], input=lines.encode()).returncode)' \"$@\"";
    for engine in [Engine::Uring, Engine::Threads] {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sh", "-c", SCRIPT, "sh"])
            .arg(binary());
        command.args(["connect", "--abort", "--engine", engine.name()]);
        let output = command.output().expect("unshare of util-linux");
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        let is_open = |row: &&str| row.contains("\topen\t");
        assert_eq!(text.lines().filter(is_open).count(), 2_000);
    }
}

/// A connection that is reset while it is being established was never open.
#[test]
fn a_peer_that_resets() {
    if kernel_lacks("/dev/net/tun") {
        return;
    }
    let peer = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/e2e/support/resetting_peer.py"
    );
    for engine in [Engine::Uring, Engine::Threads] {
        let mut command = Command::new("unshare");
        command.args(["--net", "python3", peer]).arg(binary());
        command.args(["connect", "--engine", engine.name()]);
        let endpoints = ["10.0.0.2:22", "127.0.0.1:22", "10.0.0.2:80"];
        let output = command.args(endpoints).output();
        let output = output.expect("unshare of util-linux");
        let text = String::from_utf8_lossy(&output.stdout);
        let found: Vec<_> = text.lines().map(|row| row.split('\t').nth(1)).collect();
        let expected = [Some("reset"), Some("refused"), Some("reset")];
        assert_eq!(found, expected, "{output:?}");
        assert_eq!(output.status.code(), Some(1));
    }
}

/// The peer of an aborted connection sees a reset, not an end.
#[test]
fn connections_can_be_aborted() {
    for (options, is_reset) in [(&["--abort"][..], true), (&[], false)] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Read::read(&mut stream, &mut [0; 1])
        });
        Mill::bare()
            .args(["connect", &at])
            .args(options)
            .run()
            .succeeds();
        let read = peer.join().unwrap();
        match is_reset {
            true => assert_eq!(
                read.unwrap_err().kind(),
                std::io::ErrorKind::ConnectionReset
            ),
            false => assert_eq!(read.unwrap(), 0),
        }
    }
}

/// A peer that closes without a word, or says more than is wanted.
#[test]
fn banners() {
    let talkative = Listener::start(b"220 \xff\x1b[31m and more\r\n");
    let quiet = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = quiet.local_addr().unwrap();
    let closing = thread::spawn(move || {
        for _ in 0..2 {
            quiet.accept().unwrap().0.shutdown(Shutdown::Both).unwrap();
        }
    });
    for_each_engine(|engine| {
        let mill = mill(engine).args(["--banner", "9", &talkative.at.to_string(), &at.to_string()]);
        let output = mill.run().succeeds();
        let lines = output.lines();
        assert!(lines[0].ends_with(b"\t220 \\xff\\x1b[31"), "{output:?}");
        assert_eq!(
            lines[1].iter().filter(|&&byte| byte == b'\t').count(),
            3,
            "{output:?}"
        );
    });
    closing.join().unwrap();
}

#[test]
fn options_of_connect() {
    for (options, message) in [
        (&["-p", "0"][..], "not a port from 1 to 65535"),
        (&["--banner", "0"], "from 1 to 65536"),
        (&["-4", "-6"], "cannot be used with"),
    ] {
        let mill = Mill::bare().args(["connect", "localhost:1"]).args(options);
        mill.run().exits(2).mentions(&[message]);
    }
}
