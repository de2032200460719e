//! Which rows `ringmill dns` prints, and what it counts.

use serde_json::{Value, json};

use crate::measurements::document_of;
use crate::support::nsd::Nsd;
use crate::support::tree::Scratch;
use crate::support::{Mill, for_each_engine};

/// Names of the zone with each kind of row, an unwilling server's and a line that is no question.
const LIST: &str = "n000000.example\nn000001.example\nn000002.example\nelsewhere.test\na..b\n";

/// Rows with other statuses than those that are wanted are not printed, but counted: they keep their
/// places in the list and decide the exit status.
#[test]
fn only_rows_with_some_statuses() {
    let server = Nsd::start();
    let [missing, refused, invalid] = [
        "n000000.example\tA\tNXDOMAIN\n",
        "elsewhere.test\tA\tREFUSED\n",
        "a..b\t-\tINVALID\tnot a domain name\n",
    ];
    for_each_engine(|engine| {
        for (statuses, expected) in [
            ("NXDOMAIN", missing.to_owned()),
            ("invalid,Refused", refused.to_owned() + invalid),
            ("TIMEOUT", String::new()),
        ] {
            let mill = Mill::dns(engine, server.at).args(["--status", statuses]);
            let output = mill.stdin(LIST).run();
            output.exits(1).complains("").prints(&expected);
        }
        let mill = Mill::dns(engine, server.at).args(["--status=NODATA", "--format=jsonl"]);
        let output = mill.stdin(LIST).run().exits(1);
        let row: Value = serde_json::from_slice(&output.stdout).expect("one row");
        assert_eq!(
            (&row["index"], &row["status"]),
            (&2.into(), &"NODATA".into())
        );
        let mill = Mill::dns(engine, server.at).args(["--status=INVALID", "n000000.example"]);
        mill.run().exits(0).complains("").prints("");
    });
}

#[test]
fn an_unknown_status_is_told_before_anything_is_opened() {
    let args = ["dns", "--status=NOERROR,NOSUCH", "-o", "/no/such/directory"];
    let output = Mill::bare().args(args).stdin("").run().exits(2).prints("");
    output.mentions(&["NOSUCH", "--status", "NXDOMAIN", "SERVFAIL", "INVALID"]);
}

/// All rows are counted by their status, and what happened at each server, for people and for programs.
#[test]
fn counts_by_status_and_by_server() {
    let server = Nsd::start();
    let scratch = Scratch::new();
    let path = scratch.join("stats.json");
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).args(["--summary", "--status=NODATA"]);
        let mill = mill.args(["--attempt-timeout=30s", "--timeout=60s", "--stats"]);
        let list = [LIST, "n000003.example MX\nn000003.example\n"].concat();
        let output = mill.arg(&path).stdin(list).run().exits(1);
        assert_eq!(output.lines().len(), 2, "{output:?}");
        let text = output.stderr_text();
        let counts = "ringmill: NODATA 2, NOERROR 2, INVALID 1, NXDOMAIN 1, REFUSED 1";
        assert!(text.lines().any(|line| line == counts), "{text}");
        let columns = "sent answered lost truncated mismatched late limit srtt replies";
        let header = text.lines().find(|line| line.starts_with("resolver "));
        let header: Vec<&str> = header.expect("a header").split_whitespace().collect();
        assert_eq!(header[1..].join(" "), columns, "{text}");
        let address = server.at.to_string();
        assert!(
            text.lines().any(|line| line.starts_with(&address)),
            "{text}"
        );

        let document = document_of(&scratch, &path);
        let statuses =
            json!({"NODATA": 2, "NOERROR": 2, "INVALID": 1, "NXDOMAIN": 1, "REFUSED": 1});
        assert_eq!(document["statuses"], statuses);
        assert_eq!(document["options"]["statuses"], json!(["NODATA"]));
        assert_eq!(
            document["options"]["attempt_timeout_ns"],
            30_000_000_000_u64
        );
        let resolver = &document["resolvers"][0];
        assert_eq!(
            (&resolver["lost"], &resolver["late"]),
            (&json!(0), &json!(0))
        );
        let srtt_ns = resolver["srtt_ns"].as_u64().expect("a time");
        let slowest_ns = resolver["round_trip"]["max_ns"].as_u64().expect("a time");
        assert!((1..=2 * slowest_ns).contains(&srtt_ns), "{resolver}");
        assert!(resolver["limit"].as_u64() >= Some(1), "{resolver}");
    });
}

/// A server that never answers has no time, and has lost what it was sent.
#[test]
fn a_silent_server_has_lost_its_queries() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let scratch = Scratch::new();
    let path = scratch.join("stats.json");
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, silent.local_addr().unwrap());
        let mill = mill.args([
            "--loops=1",
            "--retries=1",
            "a.example",
            "b.example",
            "--stats",
        ]);
        mill.arg(&path).run().exits(1);
        let document = document_of(&scratch, &path);
        assert_eq!(document["statuses"], json!({"TIMEOUT": 2}));
        assert_eq!(document["options"]["attempt_timeout_ns"], json!(null));
        let resolver = &document["resolvers"][0];
        assert_eq!(resolver["srtt_ns"], json!(null));
        assert_eq!(
            (&resolver["sent"], &resolver["lost"]),
            (&json!(4), &json!(4))
        );
    });
}
