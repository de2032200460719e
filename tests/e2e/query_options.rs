//! The options of `ringmill dns` for what queries say and how they are sent.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use rustix::process::Resource;
use serde_json::{Value, json};

use crate::dns::expected;
use crate::support::imperfect::{Behaviour, Tcp};
use crate::support::name_servers::NameServer;
use crate::support::nsd::{self, Nsd};
use crate::support::ports::free_address;
use crate::support::responder::{Responder, Script};
use crate::support::troubled::{self, Row, Troubled, assert_true, in_time, names};
use crate::support::{AMPLE, Engine, Mill, Output, for_each_engine};

const ZONE: &str = "$ORIGIN example.\n$TTL 300\n@ SOA ns host 1 3600 600 86400 60\n@ NS ns\n\
                    ns A 127.0.0.1\na A 192.0.2.7\n";

/// A server that answers everything with one address, and keeps the queries.
fn recorder() -> Responder {
    let answer = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07";
    Responder::start(|_| Script {
        flags: 0x80,
        counts: [1, 0, 0],
        records: answer.to_vec(),
    })
}

/// The query that is sent for the address of `a.example` with these options.
#[track_caller]
fn query(engine: Engine, options: &[&str]) -> Vec<u8> {
    let server = recorder();
    let mill = Mill::dns(engine, server.at).args(options).arg("a.example");
    let output = mill.run().exits(0).complains("");
    output.prints("a.example\tA\tNOERROR\t192.0.2.7\n");
    server.take_queries().swap_remove(0)
}

/// The rows of `--format jsonl`.
fn rows(output: &Output) -> Vec<Value> {
    let lines = output.lines();
    let rows = lines.iter().map(|line| serde_json::from_slice(line));
    rows.map(|row| row.expect("a row of JSON")).collect()
}

/// The OPT record of a query, after the header and the question; empty if there is none.
#[track_caller]
fn opt_of(query: &[u8]) -> Vec<u8> {
    let (head, rest) = query.split_at(12 + b"\x01a\x07example\0".len() + 4);
    assert_eq!(head[11], u8::from(!rest.is_empty()));
    rest.to_vec()
}

/// Bad option values are reported, with these words, before anything is sent.
#[track_caller]
fn is_refused(options: &[&str], words: &[&str]) {
    let server = recorder();
    let mill = Mill::dns(Engine::Threads, server.at).args(options);
    let output = mill.arg("a.example").run().exits(2).prints("");
    output.mentions(words);
    assert!(server.take_queries().is_empty());
}

#[test]
fn queries_without_recursion() {
    let nsd = Nsd::serving(ZONE);
    let unbound = NameServer::unbound(ZONE);
    for_each_engine(|engine| {
        assert_eq!(query(engine, &[])[2..4], [1, 0]);
        assert_eq!(query(engine, &["--no-recurse"])[2..4], [0, 0]);
        for (options, flags) in [
            (&[][..], json!(["aa", "rd"])),
            (&["--no-recurse"], json!(["aa"])),
        ] {
            let mill = Mill::dns(engine, nsd.at)
                .arg("--format=jsonl")
                .args(options);
            let output = mill.arg("a.example").run().exits(0);
            assert_eq!(rows(&output)[0]["flags"], flags);
        }
        // Unbound refuses to say what is in its cache, and asks no other server.
        let mill = Mill::dns(engine, unbound.at).args(["--no-recurse", "--retries=0"]);
        let output = mill.arg("a.example").run().exits(1);
        output.prints("a.example\tA\tREFUSED\n");
    });
}

/// A reply of about 1,450 octets, and one of more than 4,096.
fn zone_with_long_replies() -> String {
    let mut zone = ZONE.to_owned();
    for (name, texts) in [("long", 7), ("longer", 30)] {
        for number in 0..texts {
            zone += &format!("{name} TXT \"{number:03} {}\"\n", "x".repeat(180));
        }
    }
    zone
}

#[test]
fn the_size_of_replies_over_udp() {
    let server = NameServer::knot(&zone_with_long_replies());
    for_each_engine(|engine| {
        for (options, opt) in [
            (&[][..], &b"\0\0\x29\x04\xd0\0\0\0\0\0\0"[..]),
            (&["--edns=512"], b"\0\0\x29\x02\0\0\0\0\0\0\0"),
            (&["--edns=4096"], b"\0\0\x29\x10\0\0\0\0\0\0\0"),
            (&["--edns=off"], b""),
        ] {
            assert_eq!(opt_of(&query(engine, options)), opt, "{options:?}");
        }
        for (size, protocols) in [
            ("--edns=1232", ["udp", "tcp", "tcp"]),
            ("--edns=4096", ["udp", "udp", "tcp"]),
            ("--edns=off", ["udp", "tcp", "tcp"]),
        ] {
            let mill = Mill::dns(engine, server.at).args(["--format=jsonl", "-tTXT", size]);
            let output = mill
                .stdin("a.example A\nlong.example\nlonger.example\n")
                .run();
            let rows = rows(&output.exits(0).complains(""));
            for ((row, protocol), answers) in rows.iter().zip(protocols).zip([1, 7, 30]) {
                assert_eq!(row["protocol"], protocol, "{size}: {row}");
                assert_eq!(row["answers"].as_array().unwrap().len(), answers, "{row}");
            }
        }
    });
}

#[test]
fn signatures() {
    let server = NameServer::signing_knot(ZONE);
    let key = Mill::dns(Engine::Threads, server.at).args(["-tDNSKEY", "--format=jsonl", "example"]);
    let keys = rows(&key.run().exits(0));
    let keys = keys[0]["answers"].as_array().unwrap().iter();
    let mut keys = keys.map(|record| record["data"].as_str().unwrap());
    let key = keys.find(|key| key.starts_with("257 ")).expect("the key");
    let resolver = NameServer::validating_unbound(server.at.port(), key);
    for_each_engine(|engine| {
        let asked = query(engine, &["--dnssec"]);
        assert_eq!(opt_of(&asked), b"\0\0\x29\x04\xd0\0\0\x80\0\0\0");
        for (at, options, types, flags) in [
            (server.at, &[][..], &["A"][..], json!(["aa", "rd"])),
            (
                server.at,
                &["--dnssec"],
                &["A", "RRSIG"],
                json!(["aa", "rd"]),
            ),
            (resolver.at, &[], &["A"], json!(["rd", "ra"])),
            (
                resolver.at,
                &["--dnssec"],
                &["A", "RRSIG"],
                json!(["rd", "ra", "ad"]),
            ),
        ] {
            let mill = Mill::dns(engine, at).arg("--format=jsonl").args(options);
            let rows = rows(&mill.arg("a.example").run().exits(0));
            let answers = rows[0]["answers"].as_array().unwrap();
            let found: Vec<&Value> = answers.iter().map(|record| &record["type"]).collect();
            assert_eq!(found, types, "{options:?}");
            assert_eq!(rows[0]["flags"], flags, "{options:?}");
        }
        let mill = Mill::dns(engine, server.at).args(["--dnssec", "a.example"]);
        let output = mill.run().exits(0);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let start = "a.example\tA\tNOERROR\t192.0.2.7\tRRSIG A 13 2 300 ";
        assert!(text.starts_with(start), "{text}");
    });
}

#[test]
fn the_network_of_a_client() {
    // An address, and an OPT record that repeats the network and says that the answer is for a larger
    // one.
    let server = Responder::start(|_| Script {
        flags: 0x80,
        counts: [1, 0, 1],
        records: b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07\
                   \0\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x08\0\x07\0\x01\x18\x10\xc6\x33\x64"
            .to_vec(),
    });
    for_each_engine(|engine| {
        for (subnet, option) in [
            (
                "198.51.100.77/24",
                &b"\0\x08\0\x07\0\x01\x18\0\xc6\x33\x64"[..],
            ),
            ("198.51.100.77", b"\0\x08\0\x08\0\x01\x20\0\xc6\x33\x64\x4d"),
            (
                "2001:db8:ff::/41",
                b"\0\x08\0\x0a\0\x02\x29\0\x20\x01\x0d\xb8\0\x80",
            ),
            ("0.0.0.0/0", b"\0\x08\0\x04\0\x01\0\0"),
        ] {
            let asked = query(engine, &["--subnet", subnet]);
            let len = option.len() as u8;
            let head = [b"\0\0\x29\x04\xd0\0\0\0\0\0", &[len][..]].concat();
            assert_eq!(opt_of(&asked), [&head, option].concat(), "{subnet}");
        }
        let mill = Mill::dns(engine, server.at).arg("--format=jsonl");
        let mill = mill.args(["--subnet=198.51.100.0/24", "a.example"]);
        let rows = rows(&mill.run().exits(0));
        assert_eq!(
            rows[0]["subnet"],
            json!({"prefix": "198.51.100.0/24", "scope": 16})
        );
        let mill = Mill::dns(engine, server.at).args(["--format=jsonl", "a.example"]);
        let output = mill.run().exits(0);
        assert_eq!(
            self::rows(&output)[0].get("subnet"),
            None,
            "it was not requested"
        );
    });
    for prefix in [
        "198.51.100.0/33",
        "198.51.100",
        "2001:db8::/129",
        "example/8",
    ] {
        is_refused(
            &["--subnet", prefix],
            &["--subnet", prefix, "prefix length"],
        );
    }
}

#[test]
fn options_that_need_edns_are_refused_without_it() {
    for option in ["--dnssec", "--subnet=192.0.2.0/24"] {
        let name = &option[..8];
        is_refused(&["--edns=off", option], &[name, "--edns off", "hint"]);
    }
}

#[test]
fn sizes_that_cannot_be_asked_for() {
    for size in ["511", "4097", "0", "-1", "on", "", "65536"] {
        let option = format!("--edns={size}");
        is_refused(&[&option], &["--edns", "512", "4096", "off"]);
    }
}

/// The source addresses of datagrams and streams.
#[test]
fn the_address_that_servers_are_asked_from() {
    let behaviour = Behaviour::default();
    for_each_engine(|engine| {
        for (options, from) in [
            (&[][..], "127.0.0.1"),
            (&["--source=127.0.0.2"], "127.0.0.2"),
        ] {
            let server = Troubled::start(behaviour.clone());
            let names = names(20, &[('t', 50)]);
            let list: String = names.iter().map(|name| format!("{name}\n")).collect();
            // So long that an answer over TCP is in time on a busy machine.
            let mill = Mill::dns(engine, server.at)
                .args(["--format=jsonl", "--attempt-timeout=10s"])
                .args(AMPLE)
                .args(options);
            let output = mill.stdin(list).run().exits(0).complains("");
            assert_true(&troubled::rows(&output, &names));
            let counts = server.finish();
            let expected = BTreeSet::from([from.parse().unwrap()]);
            assert!(counts.received > 0 && counts.tcp.received > 0, "{counts:?}");
            assert_eq!(counts.clients, expected);
            assert_eq!(counts.tcp.clients, expected);
        }
    });
}

/// The same for IPv6.
#[test]
fn the_address_of_the_other_family() {
    let socket = UdpSocket::bind("[::1]:0").expect("IPv6");
    let at = socket.local_addr().unwrap();
    for_each_engine(|engine| {
        let options = ["--source=::1", "--retries=0", "a.example"];
        let output = Mill::dns(engine, at).args(options).run().exits(1);
        output.prints("a.example\tA\tTIMEOUT\n");
        let (_, client) = socket.recv_from(&mut [0; 512]).expect("a query");
        assert_eq!(client.ip(), at.ip());
    });
}

#[test]
fn addresses_that_servers_cannot_be_asked_from() {
    for (source, words) in [
        (
            "192.0.2.1",
            &[
                "--source 192.0.2.1",
                "not an address of this machine",
                "hint",
            ][..],
        ),
        (
            "2001:db8::1",
            &["--source 2001:db8::1", "IPv6", "IPv4", "hint"],
        ),
        ("::1", &["--source ::1", "IPv6", "IPv4", "hint"]),
        ("lo", &["--source", "lo"]),
    ] {
        is_refused(&["--source", source], words);
    }
}

/// Asks these servers for all names over TCP only.
#[track_caller]
fn ask_by_tcp(
    engine: Engine,
    at: &[SocketAddr],
    names: &[String],
    options: &[&str],
) -> (Output, Vec<Row>) {
    let list: String = names.iter().map(|name| format!("{name}\n")).collect();
    let others = at[1..].iter().map(|at| format!("-r={at}"));
    let mill = Mill::dns(engine, at[0])
        .args(["--format=jsonl", "--tcp"])
        .args(options);
    let mut mill = mill.stdin(list);
    for other in others {
        mill = mill.arg(other);
    }
    let output = mill.run();
    let rows = troubled::rows(&output, names);
    (output, rows)
}

/// With a server that treats connections like this, each row of these names is correct.
#[track_caller]
fn each_row_by_tcp_is_true(tcp: Tcp, names: &[String]) {
    let behaviour = Behaviour {
        tcp,
        ..Behaviour::default()
    };
    for_each_engine(|engine| {
        let (output, rows, counts) = in_time(
            |timeouts| {
                let server = Troubled::start(behaviour.clone());
                let (output, rows) = ask_by_tcp(engine, &[server.at], names, timeouts);
                (output, rows, server.finish())
            },
            |(_, rows, _)| rows,
        );
        assert_true(&rows);
        assert_eq!(counts.received, 0, "{counts:?}");
        let attempts: u64 = rows.iter().map(|row| row.attempts).sum();
        assert!(attempts <= counts.tcp.received, "{attempts}: {counts:?}");
        let all_answered = rows.iter().all(|row| row.status == "NOERROR");
        output.exits(i32::from(!all_answered)).complains("");
    });
}

#[test]
fn tcp_alone() {
    let names_without_faults = names(2_000, &[('t', 10), ('f', 10)]);
    each_row_by_tcp_is_true(Tcp::Ok, &names_without_faults);
    let kinds = [
        ('x', 2),
        ('w', 4),
        ('s', 10),
        ('r', 4),
        ('t', 10),
        ('f', 10),
    ];
    each_row_by_tcp_is_true(Tcp::Ok, &names(400, &kinds));
}

#[test]
fn tcp_alone_with_connections_that_close_after_one() {
    each_row_by_tcp_is_true(Tcp::ClosesAfterOne, &names(300, &[('t', 20), ('s', 5)]));
}

/// A new connection is made before the names run out of their many attempts.
#[test]
fn tcp_alone_with_a_connection_that_is_forgotten() {
    let behaviour = Behaviour {
        tcp: Tcp::ForgetsFirst,
        ..Behaviour::default()
    };
    let names = names(500, &[]);
    for_each_engine(|engine| {
        let server = Troubled::start(behaviour.clone());
        let options = ["--retries=300", "--timeout=100s", "--loops=1"];
        let (output, rows) = ask_by_tcp(engine, &[server.at], &names, &options);
        let counts = server.finish();
        assert_true(&rows);
        assert!(counts.tcp.connections >= 2, "{counts:?}");
        output.exits(0);
    });
}

/// A real server, few descriptors, and more names than go into one connection at a time.
#[test]
fn tcp_alone_for_all_names_of_a_zone() {
    const COUNT: usize = 50_000;
    let server = Nsd::start();
    let expected = expected(0..COUNT);
    let list: String = (0..COUNT).map(|number| nsd::name(number) + "\n").collect();
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at)
            .arg("--tcp")
            .args(AMPLE)
            .stdin(list.as_str());
        let output = mill.limit(Resource::Nofile, 16, 16).run();
        output.exits(0).complains("").prints(&expected);
    });
}

#[test]
fn tcp_alone_in_spite_of_a_restart() {
    const COUNT: usize = 100_000;
    let expected = expected(0..COUNT);
    let list: String = (0..COUNT).map(|number| nsd::name(number) + "\n").collect();
    for_each_engine(|engine| {
        let mut server = Nsd::start();
        let mill = Mill::dns(engine, server.at)
            .arg("--tcp")
            .stdin(list.as_str());
        let output = server.restart_during(mill);
        output.prints(&expected).complains("").exits(0);
    });
}

#[test]
fn tcp_alone_with_other_servers() {
    let zone = zone_with_long_replies();
    for server in [NameServer::knot(&zone), NameServer::unbound(&zone)] {
        for_each_engine(|engine| {
            let mill = Mill::dns(engine, server.at).args(["--format=jsonl", "-tTXT", "--tcp"]);
            let output = mill
                .stdin("a.example A\nlong.example\nlonger.example\n")
                .run();
            let rows = rows(&output.exits(0).complains(""));
            for (row, answers) in rows.iter().zip([1, 7, 30]) {
                assert_eq!(row["protocol"], "tcp", "{row}");
                assert_eq!(row["answers"].as_array().unwrap().len(), answers, "{row}");
            }
        });
    }
}

/// With a single server that does not listen, or whose connections are silent.
#[test]
fn tcp_alone_without_a_server() {
    let names = names(40, &[]);
    // Its backlog accepts connections, but nothing is read from them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at_silent = silent.local_addr().unwrap();
    for_each_engine(|engine| {
        for (at, status) in [(free_address(), "UNREACHABLE"), (at_silent, "TIMEOUT")] {
            let (output, rows) = ask_by_tcp(engine, &[at], &names, &[]);
            for row in rows {
                assert_eq!(row.status, status, "{row:?}");
                assert!(row.attempts >= 1, "{row:?}");
            }
            assert!(output.stderr_text().contains(&at.to_string()), "{output:?}");
            output.exits(1);
        }
    });
}

/// One server does not listen, one is silent: the names go to the third.
#[test]
fn tcp_alone_with_one_good_server() {
    let names = names(400, &[]);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at_silent = silent.local_addr().unwrap();
    for_each_engine(|engine| {
        let [good, dead] = [Tcp::Ok, Tcp::Refused].map(|tcp| {
            Troubled::start(Behaviour {
                tcp,
                ..Behaviour::default()
            })
        });
        let servers = [dead.at, at_silent, good.at];
        let (output, rows) = in_time(
            |timeouts| ask_by_tcp(engine, &servers, &names, timeouts),
            |(_, rows)| rows,
        );
        assert_true(&rows);
        output.exits(0);
    });
}

#[test]
fn tcp_alone_has_no_number_of_sockets() {
    is_refused(&["--tcp", "--sockets=4"], &["--tcp", "--sockets"]);
}
