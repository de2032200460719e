//! `ringmill dns --wildcards`: names whose records come from a wildcard are distinguished from others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::support::nsd::Nsd;
use crate::support::responder::{Responder, Script};
use crate::support::{Mill, for_each_engine};

const ZONE: &str = "$ORIGIN example.\n$TTL 300\n\
    @ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
    plain A 10.0.0.1\n\
    *.wild A 10.0.0.2\n*.wild 60 TXT \"wild\"\n*.wild A 10.0.0.3\n\
    named.wild A 10.0.0.2\nnamed.wild TXT \"Wild\"\n\
    *.alias CNAME target\nreal.alias CNAME plain\ntarget A 10.0.0.4\n\
    *.mail MX 10 mail.mail\n";

/// Columns of text: name, type, status, wildcard, data.
const EXPECTED: &str = "\
    plain.example\tA\tNOERROR\t-\t10.0.0.1\n\
    missing.example\tA\tNXDOMAIN\t-\n\
    x.wild.example\tA\tNOERROR\tWILDCARD\t10.0.0.2\t10.0.0.3\n\
    y.wild.example\tTXT\tNOERROR\tWILDCARD\t\"wild\"\n\
    y.wild.example\tMX\tNODATA\t-\n\
    deep.below.WILD.Example\tA\tNOERROR\tWILDCARD\t10.0.0.2\t10.0.0.3\n\
    named.wild.example\tA\tNOERROR\t-\t10.0.0.2\n\
    named.wild.example\tTXT\tNOERROR\t-\t\"Wild\"\n\
    X.alias.EXAMPLE\tA\tNOERROR\tWILDCARD\tCNAME target.example.\t10.0.0.4\n\
    real.alias.example\tA\tNOERROR\t-\tCNAME plain.example.\t10.0.0.1\n\
    x.MAIL.example\tMX\tNOERROR\tWILDCARD\t10 mail.mail.example.\n\
    a..b\t-\tINVALID\t-\tnot a domain name\n";

fn list() -> String {
    let line = |row: &str| {
        let mut columns = row.split('\t');
        let (name, rtype) = (columns.next().unwrap(), columns.next().unwrap());
        match rtype {
            "-" => format!("{name}\n"),
            _ => format!("{name} {rtype}\n"),
        }
    };
    EXPECTED.lines().map(line).collect()
}

/// Where names are compressed, they may have the case of the question.
fn without_case(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .replace("EXAMPLE", "example")
        .replace("MAIL", "mail")
}

#[test]
fn records_of_wildcards_are_distinguished_from_others() {
    let server = Nsd::serving(ZONE);
    let expected = without_case(EXPECTED.as_bytes());
    for_each_engine(|engine| {
        // One place in flight for all, and a window of one, are enough.
        for options in [&[][..], &["--in-flight=1"], &["--window=1"], &["--0x20"]] {
            let mill = Mill::dns(engine, server.at)
                .arg("--wildcards")
                .args(options);
            let output = mill.stdin(list()).run();
            let lines: Vec<String> = output
                .lines()
                .iter()
                .map(|line| without_case(line))
                .collect();
            // The order of addresses is the server's.
            let sorted = |line: &str| {
                let mut columns: Vec<String> = line.split('\t').map(str::to_owned).collect();
                columns[4..].sort();
                columns
            };
            let rows: Vec<_> = lines.iter().map(|line| sorted(line)).collect();
            let expected: Vec<_> = expected.lines().map(sorted).collect();
            assert_eq!(rows, expected);
            output.exits(1);
        }
    });
}

/// In the JSON formats, names that have records have a member for it, and others do not.
#[test]
fn json_rows_have_a_wildcard_member() {
    let server = Nsd::serving(ZONE);
    for_each_engine(|engine| {
        for format in ["jsonl", "massdns"] {
            let mill = Mill::dns(engine, server.at).args(["--wildcards", "--format", format]);
            let output = mill.stdin(list()).run();
            for (row, expected) in output.lines().iter().zip(EXPECTED.lines()) {
                let row: Value = serde_json::from_slice(row).expect("a row of JSON");
                let columns: Vec<&str> = expected.split('\t').collect();
                let wildcard = match (columns[2], columns[3]) {
                    ("NOERROR", "WILDCARD") => Some(Value::Bool(true)),
                    ("NOERROR", _) => Some(Value::Bool(false)),
                    _ => None,
                };
                assert_eq!(row.get("wildcard"), wildcard.as_ref(), "{row}");
            }
            output.exits(1);
        }
    });
}

/// A server with an address for every name of the tests. Other names are random ones: their queries are
/// counted and answered with this code, and with an address if it is 0.
fn server_of_all(random_rcode: u16) -> (Responder, Arc<AtomicU64>) {
    let random = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&random);
    let responder = Responder::start(move |name| {
        let is_random = name[0] == 16;
        counter.fetch_add(is_random.into(), Ordering::SeqCst);
        let rcode = if is_random { random_rcode } else { 0 };
        let mut script = Script {
            flags: 0x0180 | rcode,
            counts: [0; 3],
            records: Vec::new(),
        };
        if rcode == 0 {
            script.counts[0] = 1;
            // A pointer to the name, type A, class IN, a minute, four bytes.
            script.records = vec![0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1];
        }
        script
    });
    (responder, random)
}

fn names(count: usize, parents: usize) -> String {
    let name = |number| format!("n{number}.p{}.example\n", number % parents);
    (0..count).map(name).collect()
}

#[track_caller]
fn assert_column(output: &crate::support::Output, column: &str) {
    for line in output.lines() {
        let line = String::from_utf8_lossy(line);
        assert_eq!(line.split('\t').nth(3), Some(column), "{line}");
    }
}

/// All names of a parent share one query for a random name, also names in flight at the same time, in
/// all loops.
#[test]
fn each_parent_is_asked_about_once() {
    for_each_engine(|engine| {
        for options in [
            &["--loops=3"][..],
            &["--in-flight=1", "--loops=1"],
            &["--window=1"],
        ] {
            let (server, random) = server_of_all(0);
            let mill = Mill::dns(engine, server.at)
                .arg("--wildcards")
                .args(options);
            // A late answer must not cause a second query.
            let mill = mill.args(["--attempt-timeout=100s", "--timeout=100s"]);
            let output = mill.stdin(names(120, 3)).run();
            assert_eq!(output.lines().len(), 120);
            assert_column(&output, "WILDCARD");
            assert_eq!(random.load(Ordering::SeqCst), 3);
            output.exits(0);
        }
    });
}

/// Where the random name is refused, it is unknown whether names come from wildcards, and no name fails
/// because of it.
#[test]
fn a_refused_random_name_makes_the_wildcard_unknown() {
    for_each_engine(|engine| {
        let (server, random) = server_of_all(2);
        // A busy server's answers may be late.
        let patience = ["--attempt-timeout=100s", "--timeout=100s"];
        let mill = Mill::dns(engine, server.at).args(["--wildcards", "--retries=0"]);
        let output = mill.args(patience).stdin(names(50, 2)).run();
        assert_eq!(output.lines().len(), 50);
        assert_column(&output, "?");
        assert!(random.load(Ordering::SeqCst) >= 2);
        output.exits(0);
        let mill = Mill::dns(engine, server.at).args(["--wildcards", "--format=jsonl"]);
        let output = mill.stdin("n1.example").run();
        let row: Value = serde_json::from_slice(output.lines()[0]).expect("a row of JSON");
        assert!(
            row["status"] == "NOERROR" && row["wildcard"].is_null(),
            "{row}"
        );
        assert!(
            row.as_object()
                .is_some_and(|row| row.contains_key("wildcard"))
        );
    });
}

/// With --all-resolvers, each server is asked about its own wildcards: for one that gives every name
/// the same address, all names come from a wildcard.
#[test]
fn a_server_that_lies_has_wildcards_of_its_own() {
    let honest = Nsd::serving(ZONE);
    let (liar, _) = server_of_all(0);
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, honest.at).args(["--wildcards", "--all-resolvers"]);
        let mill = mill.arg(format!("-r={}", liar.at));
        let output = mill.stdin("plain.example\nmissing.example\n").run();
        let (honest, liar) = (honest.at, liar.at);
        let expected = format!(
            "plain.example\tA\tNOERROR\t{honest}\t-\t10.0.0.1\n\
             plain.example\tA\tNOERROR\t{liar}\tWILDCARD\t10.0.0.1\n\
             missing.example\tA\tNXDOMAIN\t{honest}\t-\n\
             missing.example\tA\tNOERROR\t{liar}\tWILDCARD\t10.0.0.1\n"
        );
        output.exits(0).complains("").prints(expected);
    });
}
