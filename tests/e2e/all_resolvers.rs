//! `ringmill dns --all-resolvers`: each name is sent to every server, and each row reports what its
//! server answered.

use std::net::{SocketAddr, UdpSocket};

use serde_json::{Value, json};

use crate::support::nsd::{self, Kind, Nsd};
use crate::support::ports::free_address;
use crate::support::responder::{Responder, Script};
use crate::support::rows::json_rows;
use crate::support::tree::Scratch;
use crate::support::{Engine, Mill, Output, for_each_engine};

/// Answers every query with this address.
fn liar(address: [u8; 4]) -> Responder {
    Responder::start(move |_| {
        // A pointer to the name, type A, class IN, a minute, four bytes.
        let mut records = vec![0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4];
        records.extend(address);
        Script {
            flags: 0x0180,
            counts: [1, 0, 0],
            records,
        }
    })
}

/// `--all-resolvers`, with the first server given by -r and the others in a list.
#[track_caller]
fn ask(engine: Engine, servers: &[SocketAddr], options: &[&str], list: &[u8]) -> Output {
    let scratch = Scratch::new();
    let others: String = servers[1..].iter().map(|at| format!("{at}\n")).collect();
    scratch.file("servers", &others);
    let mill = Mill::dns(engine, servers[0]).args(["--all-resolvers", "--resolvers"]);
    let mill = mill.arg(scratch.path().join("servers")).args(options);
    mill.stdin(list).run()
}

/// What an honest server answers for a name of the zone: its status, and its address if it has one.
fn honest(number: usize) -> (&'static str, Option<String>) {
    match nsd::kind(number) {
        Kind::Missing => ("NXDOMAIN", None),
        Kind::NoAddress => ("NODATA", None),
        Kind::Address => ("NOERROR", Some(nsd::address(number))),
        Kind::Alias => ("NOERROR", Some(nsd::address(number + 2))),
    }
}

/// Among good servers one is dead, one is silent and one lies: each row reports what its own server
/// did. Some names are in the list twice, so that the same question is in flight at several servers.
#[test]
fn each_row_is_of_its_server() {
    let (good, liar, dead) = (Nsd::start(), liar([192, 0, 2, 66]), free_address());
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let silent_at = silent.local_addr().expect("an address");
    let other_good = Nsd::start();
    let servers = [good.at, dead, liar.at, silent_at, other_good.at];
    let numbers: Vec<usize> = (0..120).map(|at| at / 2 * (1 + at % 2)).collect();
    for_each_engine(|engine| {
        // With one item in flight, each server gets one query at a time, and those to the silent one
        // take long.
        for (in_flight, count) in [("--in-flight=4096", numbers.len()), ("--in-flight=1", 3)] {
            let numbers = &numbers[..count];
            let lines = numbers.iter().map(|&number| nsd::name(number) + "\n");
            let list: String = lines.collect();
            let options = ["--format=jsonl", in_flight];
            let output = ask(engine, &servers, &options, list.as_bytes());
            let rows = json_rows(&output);
            assert_eq!(rows.len(), numbers.len() * servers.len());
            for (at, row) in rows.iter().enumerate() {
                let (number, server) = (numbers[at / servers.len()], servers[at % servers.len()]);
                assert_eq!(row["index"], at);
                assert_eq!(row["name"]["text"], nsd::name(number));
                assert_eq!(row["resolver"], server.to_string(), "{row}");
                let (status, address) = match server {
                    _ if server == dead => ("UNREACHABLE", None),
                    _ if server == silent_at => ("TIMEOUT", None),
                    _ if server == liar.at => ("NOERROR", Some("192.0.2.66".to_owned())),
                    _ => honest(number),
                };
                assert_eq!(row["status"], status, "{row}");
                assert!(row["attempts"].as_u64().is_some_and(|count| count >= 1));
                let answers = row["answers"].as_array().expect("answers");
                let last = answers.last().map(|answer| &answer["data"]);
                assert_eq!(last, address.map(Value::from).as_ref(), "{row}");
            }
            output.exits(1);
        }
    });
}

/// In text the server is the fourth column of every kind of row. List lines that look like rows, or
/// contain arbitrary bytes, are printed as they are.
#[test]
fn the_server_is_the_fourth_column() {
    let (good, liar) = (Nsd::start(), liar([192, 0, 2, 66]));
    let list = b"mail.example\nmissing.example\n\na..b\nx\xff\0\x00\x00\x01.example\nmail.example MX 1 127.0.0.1:53\nns.example AAAA\n";
    for_each_engine(|engine| {
        let output = ask(engine, &[good.at, liar.at], &["-t=A,TXT"], list);
        let mut expected = Vec::new();
        let mut row =
            |name: &[u8], columns: [&str; 2], good_data: &str, liar_columns: [&str; 2]| {
                for (at, [rest, data]) in
                    [(good.at, [columns[1], good_data]), (liar.at, liar_columns)]
                {
                    expected.extend_from_slice(name);
                    let data = match data {
                        "" => String::new(),
                        _ => format!("\t{data}"),
                    };
                    expected.extend(format!("\t{}\t{rest}\t{at}{data}\n", columns[0]).bytes());
                }
            };
        let lie = ["NOERROR", "192.0.2.66"];
        row(b"mail.example", ["A", "NOERROR"], "10.255.0.1", lie);
        row(b"mail.example", ["TXT", "NODATA"], "", ["NODATA", ""]);
        row(b"missing.example", ["A", "NXDOMAIN"], "", lie);
        row(b"missing.example", ["TXT", "NXDOMAIN"], "", ["NODATA", ""]);
        let mut invalid = |name: &[u8], error: &str| {
            row(name, ["-", "INVALID"], error, ["INVALID", error]);
        };
        invalid(b"", "no name");
        invalid(b"a..b", "not a domain name");
        invalid(b"a..b", "not a domain name");
        invalid(b"x\xff\0\x00\x00\x01.example", "not UTF-8");
        invalid(b"x\xff\0\x00\x00\x01.example", "not UTF-8");
        invalid(b"mail.example", "more than a name and a type");
        row(b"ns.example", ["AAAA", "NOERROR"], "::1", ["NODATA", ""]);
        output
            .exits(1)
            .complains("hint: the list is separated by NUL bytes; use -0\n")
            .prints(&expected);
    });
}

/// In the massdns format, too, each row names its server, also for failures and invalid lines.
#[test]
fn massdns_rows_name_their_servers() {
    let (good, dead) = (Nsd::start(), free_address());
    for_each_engine(|engine| {
        let list = b"mail.example\na..b\nmissing.example\n";
        let output = ask(engine, &[good.at, dead], &["--format=massdns"], list);
        let found: Vec<Value> = json_rows(&output)
            .iter()
            .map(|row| {
                let resolver = match row["data"]["resolver"].is_null() {
                    true => &row["resolver"],
                    false => &row["data"]["resolver"],
                };
                json!([row["name"], row["status"], row["error"], resolver])
            })
            .collect();
        let (good, dead) = (good.at.to_string(), dead.to_string());
        let expected = [
            json!(["mail.example.", "NOERROR", null, good]),
            json!(["mail.example.", null, "UNREACHABLE", dead]),
            json!(["a..b", null, "INVALID", good]),
            json!(["a..b", null, "INVALID", dead]),
            json!(["missing.example.", "NXDOMAIN", null, good]),
            json!(["missing.example.", null, "UNREACHABLE", dead]),
        ];
        assert_eq!(found, expected);
        output.exits(1);
    });
}

/// A few names and many servers.
#[test]
fn a_thousand_servers() {
    let good = Nsd::start();
    // All of 127.0.0.0/8 is this machine; of these addresses, only that of the good server has a
    // listener.
    let dead = (0..999).map(|at| SocketAddr::from(([127, 1, (at / 250) as u8, at as u8], 9)));
    let servers: Vec<SocketAddr> = dead.chain([good.at]).collect();
    for_each_engine(|engine| {
        let output = ask(
            engine,
            &servers,
            &["--loops=1", "--sockets=1"],
            b"mail.example\nns.example\n",
        );
        let lines = output.lines();
        assert_eq!(lines.len(), 2 * servers.len());
        for (line, at) in lines.iter().zip(servers.iter().cycle()) {
            let line = String::from_utf8_lossy(line);
            let columns: Vec<&str> = line.split('\t').collect();
            let is_expected = match columns[2] {
                "NOERROR" => *at == good.at,
                // On a busy machine, an attempt may time out before the error about the closed port
                // arrives.
                "UNREACHABLE" | "TIMEOUT" => *at != good.at,
                _ => false,
            };
            assert!(is_expected && columns[3] == at.to_string(), "{line}");
        }
        output.exits(1);
    });
}

/// With a single server, too, each row names it.
#[test]
fn a_single_server() {
    let good = Nsd::start();
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, good.at).arg("--all-resolvers");
        let output = mill.stdin("mail.example\n").run();
        let row = format!("mail.example\tA\tNOERROR\t{}\t10.255.0.1\n", good.at);
        output.exits(0).complains("").prints(row);
    });
}
