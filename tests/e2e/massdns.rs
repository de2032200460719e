//! `ringmill dns --format massdns` compared with what massdns printed, and prints now if it is
//! installed, for the answers of the same servers: every record type that it has a name for, names with
//! all kinds of octets, and names without an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use serde_json::Value;

use crate::support::nsd::Nsd;
use crate::support::ports::free_address;
use crate::support::responder::{Responder, Script};
use crate::support::tree::Scratch;
use crate::support::{Engine, Mill, for_each_engine};

const ZONE: &str = include_str!("support/massdns.zone");

/// The rows of massdns for [`questions`], after a header; [`record_massdns`] writes it.
const RECORDED: &str = include_str!("support/massdns.jsonl");
const RECORDED_PATH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/e2e/support/massdns.jsonl"
);

/// Questions besides those for the records of the zone. No two differ only in case: ringmill asks such
/// questions once, spelled like the first.
const MORE: [&str; 37] = [
    // Owners in capitals; names of the list with characters that are escaped there.
    "NS.Example TXT",
    "cApItAl.wIlD.eXaMpLe A",
    r"SP\ ace.example A",
    r"back\\SLASH.example AAAA",
    r"quo\;te\@\(\'\/.wild.example A",
    // Aliases and where they lead.
    "to-dot.example A",
    "to-space.example A",
    "to-bytes.example A",
    "to-backslash.example A",
    "to-nothing.example A",
    "to-away.example A",
    "Chain.example A",
    "ends-in-dot.example A",
    "to-root.example A",
    "host.old.example A",
    "Missing.Old.example A",
    "x.dname.example A",
    "x.wild.example A",
    "y.X.wild.example AAAA",
    // Missing names, and names without a record of the type.
    "missing.example A",
    "missing.example TXT",
    "text.example A",
    "x.wild.example TXT",
    "ent.example A",
    "er.ent.example ANY",
    "ns.example ANY",
    // Names that are delegated to other servers.
    "host.sub.example A",
    "host.sub.example MX",
    // Zones that are not served, or not loaded.
    "elsewhere.test A",
    "Host.elsewhere.test TXT",
    ". NS",
    "192.0.2.1 PTR",
    "2001:db8::1 PTR",
    "unloaded.test A",
    r"Sp\ ace.unloaded.test TXT",
    // Types without records.
    "example TYPE249",
    "example TYPE65280",
];

/// The questions to a server that never answers.
const UNANSWERED: [&str; 2] = ["Missing.example A", r"sp\ ace.example TYPE65400"];

/// A member of rows that differs from what massdns prints, and the questions whose rows have it.
struct Difference {
    why: &'static str,
    member: &'static str,
    questions: &'static [&'static str],
}

/// What massdns prints that ringmill does not. docs/dns.md has the same as a table.
const DIFFERENCES: &[Difference] = &[
    Difference {
        why: "massdns does not print the server's code, only that it has used all its tries",
        member: "error",
        questions: &[
            ". NS",
            "192.0.2.1 PTR",
            "2001:db8::1 PTR",
            "Host.elsewhere.test TXT",
            r"Sp\ ace.unloaded.test TXT",
            "elsewhere.test A",
            "unloaded.test A",
        ],
    },
    Difference {
        why: "massdns asks without EDNS, and over TCP if the answer is longer than 512 octets",
        member: "proto",
        questions: &["medium.example TXT"],
    },
    Difference {
        why: "massdns has no name for the type, and prints its number",
        member: "type",
        questions: TYPES_WITHOUT_NAME,
    },
    Difference {
        why: "massdns has no name for the type, and prints its number",
        member: "data answers type",
        questions: TYPES_WITHOUT_NAME,
    },
    Difference {
        why: "massdns has no form for the type, and prints the octets",
        member: "data answers data",
        questions: TYPES_WITHOUT_FORM,
    },
    Difference {
        why: "massdns has no form for the type, and prints the octets",
        member: "data answers data",
        questions: TYPES_WITHOUT_NAME,
    },
    Difference {
        why: "massdns prints the octets of a CAA record whose tag is longer than 15",
        member: "data answers data",
        questions: &["caa-tag.example TYPE257"],
    },
    Difference {
        why: "massdns prints the first bit of the flags of CAA for all eight: 1 for 128, 0 for 1",
        member: "data answers data",
        questions: &["caa-flags.example CAA"],
    },
    Difference {
        why: "massdns leaves this form to the C library, and glibc writes ::192.0.2.1, not ::c000:201",
        member: "data answers data",
        questions: &["compatible.example AAAA"],
    },
];

const TYPES_WITHOUT_NAME: &[&str] = &[
    "csync.example CSYNC",
    "eui48.example EUI48",
    "eui64.example EUI64",
    "hinfo.example HINFO",
    "l32.example L32",
    "l64.example L64",
    "lp.example LP",
    "nid.example NID",
    "rt.example RT",
    "spf.example SPF",
    "zonemd.example TYPE63",
];

const TYPES_WITHOUT_FORM: &[&str] = &[
    "afsdb.example AFSDB",
    "apl.example APL",
    "cdnskey.example CDNSKEY",
    "cds.example CDS",
    "cert.example CERT",
    "dhcid.example DHCID",
    "dlv.example TYPE32769",
    "dnskey.example DNSKEY",
    "hip.example TYPE55",
    "https.example HTTPS",
    "ipseckey.example IPSECKEY",
    "key.example KEY",
    "kx.example KX",
    "loc.example LOC",
    "naptr.example NAPTR",
    "nsec.example NSEC",
    "nsec3param.example TYPE51",
    "openpgp.example OPENPGPKEY",
    "rp.example RP",
    "rrsig.example RRSIG",
    "sig.example TYPE24",
    "sshfp.example SSHFP",
    "sub.example DS",
    "svcb.example SVCB",
    "ta.example TYPE32768",
    "unknown.example TYPE65400",
    "unknown2.example TYPE65401",
    "uri.example URI",
];

/// A question for each set of records in the zone, then the others.
fn questions() -> Vec<String> {
    let lines = ZONE.lines().filter(|line| !line.starts_with([';', '$']));
    let mut questions: Vec<String> = lines
        .filter_map(|line| {
            let mut words = line.split(' ');
            let owner = words.next()?;
            // A record may have a TTL.
            let rtype = words.find(|word| word.parse::<u32>().is_err())?;
            let owner = if owner == "@" {
                "example"
            } else {
                &format!("{owner}.example")
            };
            Some(format!("{owner} {rtype}"))
        })
        .collect();
    questions.dedup();
    questions.retain(|question| massdns_line(question).is_some());
    questions.extend(MORE.map(str::to_owned));
    questions
}

/// A question as a line of massdns' list: the type comes first, and a backslash is not an escape. A dot
/// in a label and an octet by its number cannot be written there.
fn massdns_line(question: &str) -> Option<String> {
    let (name, rtype) = question.rsplit_once(' ')?;
    let rtype = match rtype {
        "CSYNC" => "62",
        "EUI48" => "108",
        "EUI64" => "109",
        "HINFO" => "13",
        "L32" => "105",
        "L64" => "106",
        "LP" => "107",
        "NID" => "104",
        "RT" => "21",
        "SPF" => "99",
        _ => rtype.strip_prefix("TYPE").unwrap_or(rtype),
    };
    let mut line = format!("{rtype} ");
    let mut chars = name.chars();
    while let Some(char) = chars.next() {
        line.push(match char {
            '\\' => chars
                .next()
                .filter(|&it| it != '.' && !it.is_ascii_digit())?,
            _ => char,
        });
    }
    Some(line)
}

/// Rows without the parts that differ from run to run.
fn comparable(rows: &str) -> Vec<Value> {
    let lines = rows.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| {
        let mut row: Value = serde_json::from_str(line).expect("a row is JSON");
        for (member, instead) in [("rx_ts", Value::from(0)), ("resolver", Value::from("-"))] {
            if let Some(value) = row.get_mut(member) {
                *value = instead;
            }
        }
        row
    });
    rows.collect()
}

fn run_ringmill(
    engine: Engine,
    server: SocketAddr,
    questions: &[String],
    options: [&str; 2],
) -> Vec<Value> {
    let list = questions.join("\n") + "\n";
    let mill = Mill::dns(engine, server).args(options).stdin(list);
    let output = mill.run().exits(1);
    comparable(std::str::from_utf8(&output.stdout).expect("UTF-8"))
}

/// The rows of massdns in the order of these questions, if it is installed.
fn run_massdns(server: SocketAddr, questions: &[String], tries: &str) -> Option<String> {
    let scratch = Scratch::new();
    let [resolvers, list] = ["resolvers", "list"].map(|name| scratch.join(name));
    let lines = questions.iter().map(|it| massdns_line(it).unwrap() + "\n");
    fs::write(&list, lines.collect::<String>()).expect("written");
    fs::write(&resolvers, format!("{server}\n")).expect("written");
    let mut command = Command::new("massdns");
    // One name at a time, so that rows have the order of the list.
    command.args(["-q", "-o", "Je", "-s", "1", "-i", "1000", "-c", tries]);
    command.args(["--root", "-r"]).arg(resolvers);
    command.stdin(File::open(list).expect("opened"));
    match command.output() {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8(output.stdout).expect("UTF-8"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        failed => panic!("massdns: {failed:?}"),
    }
}

/// Adds the names of the members that differ.
fn add_differences(found: &mut BTreeSet<String>, path: &str, theirs: &Value, ours: &Value) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) if theirs.keys().eq(ours.keys()) => {
            for (key, theirs) in theirs {
                let path = format!("{path} {key}");
                let path = path.trim_start();
                add_differences(found, path, theirs, &ours[key]);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (theirs, ours) in theirs.iter().zip(ours) {
                add_differences(found, path, theirs, ours);
            }
        }
        _ if theirs == ours => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// Rows differ where the table says so, and nowhere else.
#[track_caller]
fn compare(what: &str, theirs: &[Value], ours: &[Value], questions: &[String]) {
    let counts = [theirs.len(), ours.len()];
    assert_eq!(counts, [questions.len(); 2], "{what}: rows");
    let known = |question: &str| -> BTreeMap<&str, &str> {
        let of_question = DIFFERENCES
            .iter()
            .filter(|it| it.questions.contains(&question));
        of_question.map(|it| (it.member, it.why)).collect()
    };
    let mut unexpected = String::new();
    for (question, (theirs, ours)) in questions.iter().zip(theirs.iter().zip(ours)) {
        let mut found = BTreeSet::new();
        add_differences(&mut found, "", theirs, ours);
        let known = known(question);
        if !found.iter().eq(known.keys()) {
            unexpected += &format!("{question}: {found:?}, not {known:?}\n  {theirs}\n  {ours}\n");
        }
    }
    assert_eq!(unexpected, "", "{what}: members that differ");
}

#[test]
fn dns_rows_are_those_of_massdns() {
    let server = Nsd::serving(ZONE);
    let questions = questions();
    for known in DIFFERENCES.iter().flat_map(|it| it.questions) {
        assert!(questions.iter().any(|it| it == known), "{known}");
    }
    let options = ["--format=massdns", "--retries=8"];
    let recorded = comparable(RECORDED);
    let live = run_massdns(server.at, &questions, "20").map(|rows| comparable(&rows));
    for_each_engine(|engine| {
        let ours = run_ringmill(engine, server.at, &questions, options);
        compare("recorded", &recorded[..questions.len()], &ours, &questions);
        if let Some(live) = &live {
            compare("live", live, &ours, &questions);
        }
        // Data for which massdns has no form is printed as in zone files.
        let jsonl = run_ringmill(
            engine,
            server.at,
            &questions,
            ["--format=jsonl", "--retries=8"],
        );
        let contents = |answers: &Value| -> Vec<Value> {
            let answers = answers.as_array().expect("answers");
            answers
                .iter()
                .map(|record| record["data"].clone())
                .collect()
        };
        let mut compared = 0;
        for ((question, ours), jsonl) in questions.iter().zip(&ours).zip(&jsonl) {
            let is_listed = [TYPES_WITHOUT_NAME, TYPES_WITHOUT_FORM]
                .iter()
                .any(|list| list.contains(&question.as_str()));
            if is_listed {
                let (ours, jsonl) = (&ours["data"]["answers"], &jsonl["answers"]);
                assert_eq!(contents(ours), contents(jsonl), "{question}");
                compared += 1;
            }
        }
        assert_eq!(
            compared,
            TYPES_WITHOUT_NAME.len() + TYPES_WITHOUT_FORM.len()
        );
    });
}

/// A name without an answer has the row that massdns prints for it.
#[test]
fn dns_rows_without_an_answer_are_those_of_massdns() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let at = silent.local_addr().expect("an address");
    let questions = UNANSWERED.map(str::to_owned);
    let options = ["--format=massdns", "--timeout=2s"];
    let recorded = comparable(RECORDED);
    let recorded = &recorded[recorded.len() - questions.len()..];
    for_each_engine(|engine| {
        let ours = run_ringmill(engine, at, &questions, options);
        compare("recorded", recorded, &ours, &questions);
    });
}

/// Rows for cases in which massdns prints nothing, or accepts a malformed record.
#[test]
fn dns_rows_that_massdns_does_not_have() {
    let dead = free_address();
    // An address of three octets for each name.
    let server = Responder::start(|_| Script {
        flags: 0,
        counts: [1, 0, 0],
        records: b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x03\x01\x02\x03".to_vec(),
    });
    let row = |name: &str, rtype: &str, error: &str| {
        format!(r#"{{"name":"{name}","type":"{rtype}","class":"IN","error":"{error}"}}"#) + "\n"
    };
    for_each_engine(|engine| {
        for (list, at, rows) in [
            (
                "a..b\nName.test NOTYPE\n",
                dead,
                row("a..b", "", "INVALID") + &row("Name.test", "", "INVALID"),
            ),
            ("A.example\n", dead, row("A.example.", "A", "UNREACHABLE")),
            (
                "A.example\n",
                server.at,
                row("A.example.", "A", "MALFORMED"),
            ),
        ] {
            let mill = Mill::dns(engine, at).args(["--format=massdns", "--timeout=2s"]);
            mill.stdin(list).run().exits(1).prints(rows);
        }
    });
}

/// Writes the file that the tests compare with. It is not a test, and needs massdns 1.1.0.
#[test]
#[ignore = "it writes tests/e2e/support/massdns.jsonl"]
fn record_massdns() {
    let server = Nsd::serving(ZONE);
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let at_silent = silent.local_addr().expect("an address");
    let unanswered = UNANSWERED.map(str::to_owned);
    let rows = [
        run_massdns(server.at, &questions(), "20"),
        run_massdns(at_silent, &unanswered, "1"),
    ];
    let rows = rows.map(|rows| rows.expect("massdns is installed"));
    let header = RECORDED.lines().filter(|line| line.starts_with('#'));
    let mut text: String = header.map(|line| format!("{line}\n")).collect();
    for row in comparable(&rows.concat()) {
        text += &format!("{row}\n");
    }
    fs::write(RECORDED_PATH, text).expect("written");
}
