//! `ringmill dns` against a real name server.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Resource;
use serde_json::{Value, json};

use crate::measurements::document_of;
use crate::support::dnsdist::Dnsdist;
use crate::support::nsd::{self, Kind, NAMES, Nsd};
use crate::support::ports::free_address;
use crate::support::relay::{Relay, Trouble};
use crate::support::responder::{Responder, Script};
use crate::support::tree::Scratch;
use crate::support::{AMPLE, Mill, for_each_engine};

/// The names of the zone, one per line.
fn list() -> &'static str {
    static LIST: OnceLock<String> = OnceLock::new();
    LIST.get_or_init(|| {
        let lines = (0..NAMES).map(|number| nsd::name(number) + "\n");
        lines.collect()
    })
}

/// The rows for these names if nothing fails.
pub fn expected(numbers: std::ops::Range<usize>) -> String {
    let lines = numbers.map(|number| {
        let name = nsd::name(number);
        match nsd::kind(number) {
            Kind::Missing => format!("{name}\tA\tNXDOMAIN\n"),
            Kind::NoAddress => format!("{name}\tA\tNODATA\n"),
            Kind::Address => format!("{name}\tA\tNOERROR\t{}\n", nsd::address(number)),
            Kind::Alias => {
                let (target, address) = (nsd::name(number + 2), nsd::address(number + 2));
                format!("{name}\tA\tNOERROR\tCNAME {target}.\t{address}\n")
            }
        }
    });
    lines.collect()
}

/// 200,000 names on a few descriptors: each has its correct row, in order.
#[test]
fn all_names_of_a_zone_on_64_descriptors() {
    let server = Nsd::start();
    let expected = expected(0..NAMES);
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).args(AMPLE).stdin(list());
        let mill = mill.limit(Resource::Nofile, 64, 64);
        let output = mill.run();
        output.exits(0).complains("").prints(&expected);
    });
}

/// Lost queries are retried; forged replies are not accepted.
#[test]
fn losses_and_forgeries() {
    let server = Nsd::start();
    let expected = expected(0..20_000);
    let names: String = (0..20_000).map(|number| nsd::name(number) + "\n").collect();
    for_each_engine(|engine| {
        for trouble in [
            Trouble {
                loses_one_in: 20,
                ..Trouble::default()
            },
            Trouble {
                forges: true,
                ..Trouble::default()
            },
        ] {
            eprintln!("{trouble:?}");
            let output = loop {
                let relay = Relay::to(server.at, trouble);
                let mill = Mill::dns(engine, relay.at).args(AMPLE);
                let output = mill.stdin(names.as_str()).run();
                if !relay.has_guessed_an_id() {
                    break output;
                }
            };
            output.prints(&expected).complains("").exits(0);
        }
    });
}

/// All 200,000 names get their answers with these options in spite of these rules of dnsdist.
#[track_caller]
fn all_names_in_spite_of(rules: &str, options: &[&str]) {
    let server = Nsd::start();
    let dnsdist = Dnsdist::before(server.at, rules);
    let expected = expected(0..NAMES);
    for_each_engine(|engine| {
        // More retries than the rules need: on a busy machine, servers lose queries besides.
        let mill = Mill::dns(engine, dnsdist.at)
            .arg("--retries=20")
            .args(options);
        let mill = mill.stdin(list()).limit(Resource::Nofile, 64, 64);
        let mill = mill.deadline(Duration::from_secs(1800));
        // First the rows: a failure then shows the first name without its answer.
        mill.run().prints(&expected).complains("").exits(0);
    });
}

#[test]
fn all_names_in_spite_of_losses_and_delays() {
    all_names_in_spite_of(
        "addAction(ProbaRule(0.05), DropAction()) addAction(AllRule(), DelayAction(50))",
        &[],
    );
}

#[test]
fn all_names_in_spite_of_answers_cut_off() {
    // So long that an answer over TCP is in time on a busy machine.
    let options = ["--attempt-timeout=60s", "--timeout=900s"];
    all_names_in_spite_of("addAction(TCPRule(false), TCAction())", &options);
}

#[test]
fn all_names_in_spite_of_queries_dropped_beyond_a_rate() {
    all_names_in_spite_of("addAction(NotRule(MaxQPSRule(20000)), DropAction())", &[]);
}

#[test]
fn all_names_in_spite_of_queries_refused_beyond_a_rate() {
    all_names_in_spite_of(
        "addAction(NotRule(MaxQPSRule(20000)), RCodeAction(DNSRCode.REFUSED))",
        &[],
    );
}

/// Mixed case in queries does not show in the rows; it only serves to detect forged replies.
#[test]
fn mixed_cases() {
    let server = Nsd::start();
    let expected = expected(0..20_000);
    let names: String = (0..20_000).map(|number| nsd::name(number) + "\n").collect();
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).args(["--0x20", "--retries=8"]);
        let mill = mill.stdin(names.as_str());
        mill.run().exits(0).complains("").prints(&expected);
        let mill = Mill::dns(engine, server.at).args(["--0x20", "--format=jsonl"]);
        let output = mill.stdin("N000003.example\n").run().exits(0);
        let row: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(row["answers"][0]["name"], "N000003.example");
    });
}

/// Queries above a server's rate wait, and are answered.
#[test]
fn a_rate_for_each_server() {
    let server = Nsd::start();
    let expected = expected(0..400);
    let names: String = (0..400).map(|number| nsd::name(number) + "\n").collect();
    for_each_engine(|engine| {
        let began = Instant::now();
        let mill = Mill::dns(engine, server.at)
            .arg("--rate-per-resolver=400")
            .args(AMPLE);
        let mill = mill.stdin(names.as_str());
        mill.run().exits(0).complains("").prints(&expected);
        // Less than a second, because the two loops may each send a burst at the start.
        assert!(began.elapsed() >= Duration::from_millis(950));
    });
}

/// The output ends with the first name that has no definite answer.
#[test]
fn fail_fast_ends_with_the_failure() {
    let server = Nsd::start();
    let numbers = (0..400).map(|number| match number {
        300 => "elsewhere.test\n".to_owned(),
        350 => "a..b\n".to_owned(),
        _ => nsd::name(number) + "\n",
    });
    let names: String = numbers.collect();
    let expected = expected(0..300) + "elsewhere.test\tA\tREFUSED\n";
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).arg("--fail-fast");
        let output = mill.stdin(names.as_str()).run();
        output.exits(1).complains("").prints(&expected);
    });
}

/// Record types, given in lines and as an option.
#[test]
fn types_of_records() {
    let server = Nsd::start();
    let lines = [
        ("example MX", "example\tMX\tNOERROR\t10 mail.example."),
        ("example ns", "example\tNS\tNOERROR\tns.example."),
        ("ns.example AAAA", "ns.example\tAAAA\tNOERROR\t::1"),
        (
            "text.example TXT",
            "text.example\tTXT\tNOERROR\t\"one two\" \"three\"",
        ),
        (
            "_sip._tcp.example SRV",
            "_sip._tcp.example\tSRV\tNOERROR\t1 2 5060 sip.example.",
        ),
        (
            "example CAA",
            "example\tCAA\tNOERROR\t0 issue \"ca.example\"",
        ),
        ("example TYPE65", "example\tHTTPS\tNOERROR\t1 . alpn=h2"),
        (
            "example SOA",
            "example\tSOA\tNOERROR\tns.example. hostmaster.example. 1 3600 600 86400 60",
        ),
        (
            "n000001.example CNAME",
            "n000001.example\tCNAME\tNOERROR\tn000003.example.",
        ),
        ("bücher.example", "bücher.example\tA\tNOERROR\t10.255.0.4"),
        ("192.0.2.1", "192.0.2.1\tPTR\tREFUSED"),
        ("a..b", "a..b\t-\tINVALID\tnot a domain name"),
        ("", "\t-\tINVALID\tno name"),
        (
            "example NOSUCHTYPE",
            "example\t-\tINVALID\tunknown type of record",
        ),
    ];
    let list: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    let expected: String = lines.iter().map(|(_, row)| format!("{row}\n")).collect();
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).stdin(list.as_str());
        mill.run().exits(1).complains("").prints(&expected);
        let mill = Mill::dns(engine, server.at).args(["-t", "mx", "example"]);
        let row = "example\tMX\tNOERROR\t10 mail.example.\n";
        mill.run().exits(0).prints(row);
    });
}

/// An answer that does not fit into a datagram arrives whole, over TCP.
#[test]
fn long_answers_come_whole() {
    let server = Nsd::start();
    for_each_engine(|engine| {
        let args = [
            "--format",
            "jsonl",
            "-t",
            "TXT",
            "long.example",
            "long.example",
            "text.example",
        ];
        let output = Mill::dns(engine, server.at).args(args).run();
        let text = String::from_utf8(output.exits(0).stdout.clone()).expect("UTF-8");
        let rows: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(rows.len(), 3);
        for row in &rows[..2] {
            assert_eq!(row["protocol"], "tcp");
            let answers = row["answers"].as_array().unwrap();
            assert_eq!(answers.len(), nsd::LONG_TEXTS);
        }
        assert_eq!(rows[2]["protocol"], "udp");
    });
}

/// JSON rows hold the content of the reply.
#[test]
fn json_rows() {
    let server = Nsd::start();
    for_each_engine(|engine| {
        let mill =
            Mill::dns(engine, server.at).args(["--format", "jsonl", "n000001.example", "x..y"]);
        let output = mill.run();
        let text = String::from_utf8(output.exits(1).stdout.clone()).expect("UTF-8");
        let rows: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [row, invalid] = rows.try_into().expect("two rows");
        assert_eq!(row["index"], 0);
        assert_eq!(row["name"]["text"], "n000001.example");
        assert_eq!(row["type"], "A");
        assert_eq!(row["status"], "NOERROR");
        assert_eq!(row["resolver"], server.at.to_string());
        assert_eq!(row["protocol"], "udp");
        assert_eq!(row["attempts"], 1);
        assert_eq!(row["answers"][0]["type"], "CNAME");
        assert_eq!(row["answers"][0]["data"], "n000003.example.");
        assert_eq!(row["answers"][1]["name"], "n000003.example");
        assert_eq!(row["answers"][1]["data"], "10.0.0.3");
        assert_eq!(row["answers"][1]["ttl"], 300);
        let [rtt_ns, time_ns] = ["rtt_ns", "time_ns"].map(|key| row[key].as_u64().unwrap());
        assert!((1000..=time_ns).contains(&rtt_ns));
        assert_eq!(invalid["status"], "INVALID");
        assert_eq!(invalid["error"], "not a domain name");
    });
}

/// For each server, how many queries it was sent and how it answered, for people and for programs.
#[test]
fn stats_of_each_server() {
    let server = Nsd::start();
    let dnsdist = Dnsdist::before(
        server.at,
        "addAction(AllRule(), RCodeAction(DNSRCode.REFUSED))",
    );
    let scratch = Scratch::new();
    let path = scratch.join("stats.json");
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).args(["-r", &dnsdist.at.to_string()]);
        let mill = mill.args(["--loops=1", "--latency", "--stats", path.to_str().unwrap()]);
        let list = "n000000.example\nn000001.example\nlong.example TXT\na..b\n";
        let output = mill.stdin(list).run().exits(1);
        let document = document_of(&scratch, &path);
        let [honest, refusing] = [0, 1].map(|at| &document["resolvers"][at]);
        assert_eq!(honest["resolver"], server.at.to_string());
        assert_eq!(honest["rcodes"], json!({"NOERROR": 2, "NXDOMAIN": 1}));
        assert_eq!(honest["answered"], 3);
        assert_eq!(honest["truncated"], 1);
        assert_eq!(honest["sent"], 4);
        assert_eq!(honest["round_trip"]["count"], 4);
        let refused = &refusing["rcodes"]["REFUSED"];
        assert!(refused.as_u64().unwrap() >= 1);
        assert_eq!(refused, &refusing["sent"]);
        for key in ["lost", "mismatched", "late"] {
            assert_eq!((&honest[key], &refusing[key]), (&json!(0), &json!(0)));
        }
        let phases: Vec<&String> = document["phases"].as_object().unwrap().keys().collect();
        assert_eq!(phases, ["queue", "wait", "query", "total", "reorder"]);
        let counts = ["queue", "wait", "query"].map(|name| &document["phases"][name]["count"]);
        assert_eq!(counts, [&json!(4), &json!(3), &json!(3)]);
        let text = output.stderr_text();
        let line = text
            .lines()
            .find(|line| line.starts_with(&server.at.to_string()));
        assert!(line.unwrap().ends_with("NOERROR 2 NXDOMAIN 1"), "{text}");
    });
}

/// A name is printed as it is in its line, escapes and capitals included. It is INVALID if it is longer
/// than 255 octets in wire format; the other names have their rows.
#[test]
fn names_as_they_are_given() {
    let server = Nsd::start();
    let labels = ["a", "b", "c"].map(|letter| letter.repeat(63));
    let longest = format!("{}.{}.t", labels.join("."), "d".repeat(59));
    let longer = format!("{}.{}.t", labels.join("."), "d".repeat(60));
    let list =
        format!("{longest}\n{longer}\nsp\\ ace.Example\nsp\\ ace.example TXT\nN000003.eXample\n");
    let expected = format!(
        "{longest}\tA\tREFUSED\n{longer}\t-\tINVALID\tnot a domain name\n\
         sp\\ ace.Example\tA\tNOERROR\t10.255.0.5\nsp\\ ace.example\tTXT\tNODATA\n\
         N000003.eXample\tA\tNOERROR\t10.0.0.3\n"
    );
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).stdin(list.as_str());
        mill.run().exits(1).complains("").prints(&expected);
        for format in ["jsonl", "massdns"] {
            let mill = Mill::dns(engine, server.at).args(["--format", format]);
            let output = mill.stdin("N000003.eXample\n").run();
            let row: Value = serde_json::from_slice(&output.exits(0).stdout).unwrap();
            let (name, answers) = match format {
                "jsonl" => (&row["name"]["text"], &row["answers"]),
                _ => (&row["name"], &row["data"]["answers"]),
            };
            let expected = ["N000003.eXample", "N000003.eXample."];
            for name in [name, &answers[0]["name"]] {
                assert!(expected.contains(&name.as_str().unwrap()), "{row}");
            }
        }
    });
}

/// Malformed replies, records of other names and referrals are distinguished from answers.
#[test]
fn replies_that_are_no_answers() {
    // A record whose owner is the question's name (a pointer to it), or the root.
    let asked: &[u8] = b"\xc0\x0c";
    let record = |owner: &[u8], rtype: u8, data: &[u8]| {
        let head = [owner, &[0, rtype, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]].concat();
        [&head, data].concat()
    };
    let server = Responder::start(move |name| {
        let (counts, records) = match name[1] {
            // An address of three octets, a correct one, an NS record with a malformed name, and half a
            // record.
            b'b' => {
                let bad = record(asked, 1, &[192, 0, 2]);
                let good = record(asked, 1, &[192, 0, 2, 1]);
                let server = record(b"\0", 2, &[7]);
                ([2, 1, 1], [bad, good, server, vec![0; 5]].concat())
            }
            b'w' => ([1, 0, 0], record(asked, 1, &[192, 0, 2])),
            b'f' => ([1, 0, 0], record(b"\x01x\0", 1, &[192, 0, 2, 1])),
            _ => ([0, 1, 0], record(b"\0", 2, b"\x02ns\0")),
        };
        Script {
            flags: 0,
            counts,
            records,
        }
    });
    let list = "bad.example\nworse.example\nforged.example\nreferral.example\n";
    let expected = "bad.example\tA\tNOERROR\t192.0.2.1\nworse.example\tA\tMALFORMED\n\
                    forged.example\tA\tNODATA\nreferral.example\tA\tREFERRAL\n";
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).stdin(list);
        mill.run().exits(1).complains("").prints(expected);
        let mill = Mill::dns(engine, server.at).args(["--format=jsonl", "--retries=0"]);
        let output = mill.stdin(list).run().exits(1);
        let rows: Vec<Value> = String::from_utf8(output.stdout.clone())
            .expect("UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let bad = json!([
            {"section": "answer", "type": "A"},
            {"section": "authority", "type": "NS"},
            {"section": "additional"},
        ]);
        assert_eq!(rows[0]["malformed"], bad);
        for row in &rows[1..] {
            assert_eq!(row.get("malformed"), None, "{row}");
        }
        assert_eq!(rows[3]["resolver"], server.at.to_string());
    });
}

/// If no server answers, the row of each name says so, within the given time.
#[test]
fn no_server_answers() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let at_silent = silent.local_addr().unwrap();
    for_each_engine(|engine| {
        for (at, status) in [(free_address(), "UNREACHABLE"), (at_silent, "TIMEOUT")] {
            let mill = Mill::dns(engine, at).args(["--timeout", "1s", "a.example", "b.example"]);
            let expected = format!("a.example\tA\t{status}\nb.example\tA\t{status}\n");
            mill.run().exits(1).prints(&expected);
        }
    });
}

/// A restart of the server during the run costs no name its answer.
#[test]
fn a_restart_is_waited_out() {
    let expected = expected(0..NAMES);
    for_each_engine(|engine| {
        let mut server = Nsd::start();
        let mill = Mill::dns(engine, server.at).stdin(list());
        let output = server.restart_during(mill);
        output.prints(&expected).complains("").exits(0);
    });
}

/// Each name has a row for each type, except on lines that name their own type.
#[test]
fn several_types() {
    let server = Nsd::start();
    let list = "mail.example\nexample MX\n192.0.2.1\nns.example\n";
    let expected = "mail.example\tA\tNOERROR\t10.255.0.1\nmail.example\tAAAA\tNOERROR\t2001:db8::1\n\
                    example\tMX\tNOERROR\t10 mail.example.\n192.0.2.1\tPTR\tREFUSED\n\
                    ns.example\tA\tNOERROR\t127.0.0.1\nns.example\tAAAA\tNOERROR\t::1\n";
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).args(["-t", "A,aaaa"]);
        mill.stdin(list).run().exits(1).prints(expected);
    });
}

/// The same as massdns 1.1.0 prints with `-o Je`.
#[test]
fn rows_as_massdns_prints_them() {
    let server = Nsd::start();
    let [authorities, additionals] = [
        r#""authorities":[{"ttl":300,"type":"NS","class":"IN","name":"example.","data":"ns.example."}]"#,
        r#""additionals":[{"ttl":300,"type":"A","class":"IN","name":"ns.example.","data":"127.0.0.1"},{"ttl":300,"type":"AAAA","class":"IN","name":"ns.example.","data":"::1"}]"#,
    ];
    let (resolver, proto) = (server.at, r#""proto":"UDP"}"#);
    let soa = r#""data":{"authorities":[{"ttl":60,"type":"SOA","class":"IN","name":"example.","data":"ns.example. hostmaster.example. 1 3600 600 86400 60"}]}"#;
    let end = format!(r#""flags":["aa","rd"],"resolver":"{resolver}",{proto}"#);
    let expected = [
        format!(
            r#"{{"name":"n000000.example.","type":"A","class":"IN","status":"NXDOMAIN",RX,{soa},{end}"#
        ),
        format!(
            r#"{{"name":"n000001.example.","type":"A","class":"IN","status":"NOERROR",RX,"data":{{"answers":[{{"ttl":300,"type":"CNAME","class":"IN","name":"n000001.example.","data":"n000003.example."}},{{"ttl":300,"type":"A","class":"IN","name":"n000003.example.","data":"10.0.0.3"}}],{authorities},{additionals}}},{end}"#
        ),
        format!(
            r#"{{"name":"n000002.example.","type":"A","class":"IN","status":"NOERROR",RX,{soa},{end}"#
        ),
        format!(
            r#"{{"name":"bytes.example.","type":"TXT","class":"IN","status":"NOERROR",RX,"data":{{"answers":[{{"ttl":300,"type":"TXT","class":"IN","name":"bytes.example.","data":"a\\xc8\\x07\\x5c\"z"}}],{authorities},{additionals}}},{end}"#
        ),
        r#"{"name":"elsewhere.test.","type":"A","class":"IN","error":"REFUSED"}"#.to_owned(),
    ];
    for_each_engine(|engine| {
        let list = "n000000.example\nn000001.example\nn000002.example\nbytes.example TXT\nelsewhere.test\n";
        let before = since_1970();
        let mill = Mill::dns(engine, server.at).args(["--format", "massdns"]);
        let output = mill.stdin(list).run();
        let text = String::from_utf8(output.exits(1).stdout.clone()).expect("UTF-8");
        let rows: Vec<String> = text
            .lines()
            .map(|line| {
                let Some((start, rest)) = line.split_once(r#""rx_ts":"#) else {
                    return line.to_owned();
                };
                let (received_at, end) = rest.split_once(',').expect("more follows");
                let received_at: u128 = received_at.parse().expect("a number");
                assert!((before..=since_1970()).contains(&received_at));
                format!("{start}RX,{end}")
            })
            .collect();
        assert_eq!(rows, expected);
    });
}

fn since_1970() -> u128 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_nanos()
}
