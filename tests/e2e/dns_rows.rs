//! Which rows `ringmill dns` prints, and what it counts.

use serde_json::{Value, json};

use crate::measurements::document_of;
use crate::support::nsd::Nsd;
use crate::support::responder::{Responder, Script};
use crate::support::tree::Scratch;
use crate::support::{Mill, for_each_engine};

/// Names of the zone with each kind of row, a name that the server refuses, and a line that is no
/// question.
const LIST: &str = "n000000.example\nn000001.example\nn000002.example\nelsewhere.test\na..b\n";

/// Rows whose status is not among the wanted ones are not printed, but counted: they keep their index
/// and decide the exit status, too.
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
fn an_unknown_status_is_reported_before_anything_is_opened() {
    let args = ["dns", "--status=NOERROR,NOSUCH", "-o", "/no/such/directory"];
    let output = Mill::bare().args(args).stdin("").run().exits(2).prints("");
    output.mentions(&["NOSUCH", "--status", "NXDOMAIN", "SERVFAIL", "INVALID"]);
}

/// All rows are counted by status, and the events at each server, for people and for programs.
#[test]
fn counts_by_status_and_by_server() {
    let server = Nsd::start();
    let scratch = Scratch::new();
    let path = scratch.join("stats.json");
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).args(["--summary", "--status=NODATA"]);
        let mill = mill.args(["--attempt-timeout=30s", "--timeout=60s"]);
        let mill = mill.args(["--subnet=192.0.2.0/24", "--stats"]);
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
        let options = &document["options"];
        assert_eq!(options["attempt_timeout_ns"], 30_000_000_000_u64);
        assert_eq!(options["timeout_ns"], 60_000_000_000_u64);
        assert_eq!(
            (&options["edns_udp_size"], &options["subnet"]),
            (&json!(1232), &json!("192.0.2.0/24"))
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

/// A server that never answers has no round-trip time, and every query to it counts as lost.
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

/// A server that answers a query for an address with a name made of its last label: `h7.example` for
/// 192.0.2.7.
fn names_of_addresses() -> Responder {
    Responder::start(|name| {
        let last = &name[1..=usize::from(name[0])];
        let label_len = u8::try_from(last.len() + 1).expect("a short label");
        let target = [&[label_len, b'h'], last, b"\x07example\0"].concat();
        let target_len = u8::try_from(target.len()).expect("a short name");
        // The question's name, PTR, IN, a minute.
        let head = [0xc0, 0x0c, 0, 12, 0, 1, 0, 0, 0, 60, 0, target_len];
        Script {
            flags: 0,
            counts: [1, 0, 0],
            records: [&head[..], &target].concat(),
        }
    })
}

/// A block stands for its addresses where PTR records are requested, and is an ordinary name for other
/// types.
#[test]
fn blocks_of_addresses() {
    let server = names_of_addresses();
    let of_24 = (0..256).map(|last| format!("192.0.2.{last}\tPTR\tNOERROR\th{last}.example.\n"));
    let of_126 = (8..12).map(|last| {
        let digit = format!("{last:x}");
        format!("2001:db8::{digit}\tPTR\tNOERROR\th{digit}.example.\n")
    });
    let bad = ["192.0.2.0/33", "2001:db8::/x"];
    let bad = bad.map(|block| format!("{block}\t-\tINVALID\tnot a prefix length\n"));
    let one = "198.51.100.1\tPTR\tNOERROR\th1.example.\n".to_owned();
    let expected: String = of_24.chain(of_126).chain(bad).chain([one]).collect();
    let list = "192.0.2.7/24\n2001:db8::b/126 ptr\n192.0.2.0/33\n2001:db8::/x\n198.51.100.1\n";
    for_each_engine(|engine| {
        let mill = Mill::dns(engine, server.at).args(["-t", "PTR", "--retries=8"]);
        mill.stdin(list)
            .run()
            .exits(1)
            .complains("")
            .prints(&expected);

        let mill = Mill::dns(engine, server.at).args(["-t", "PTR", "--format=jsonl"]);
        let output = mill.args(["192.0.2.0/30", "192.0.2.9"]).run().exits(0);
        let lines = output.lines().into_iter();
        let rows = lines.map(|line| serde_json::from_slice::<Value>(line).expect("a row"));
        let rows: Vec<Value> = rows
            .map(|row| json!([row["index"], row["name"]["text"]]))
            .collect();
        let names = [0, 1, 2, 3, 9].map(|last| format!("192.0.2.{last}"));
        let expected: Vec<Value> = names
            .iter()
            .zip(0..)
            .map(|(name, at)| json!([at, name]))
            .collect();
        assert_eq!(rows, expected);

        let mill = Mill::dns(engine, server.at).args(["-t", "A", "192.0.2.0/24"]);
        mill.run().exits(0).prints("192.0.2.0/24\tA\tNODATA\n");
    });
}

/// A block of 16 million addresses, or of far more than can be looked up, begins at once, and ends when
/// the reader of its rows ends.
#[test]
fn a_large_block_begins_at_once_and_ends_early() {
    let server = names_of_addresses();
    for_each_engine(|engine| {
        for (block, first) in [("10.0.0.0/8", "10.0.0.0"), ("2001:db8::/32", "2001:db8::")] {
            let mill = Mill::dns(engine, server.at).args(["-t", "PTR", "--retries=8"]);
            let mut running = mill.args(["--in-flight=64", block]).start();
            let row = running.read_line();
            assert!(row.starts_with(format!("{first}\tPTR\tNOERROR").as_bytes()));
            for _ in 0..2000 {
                running.read_line();
            }
            assert!(running.memory_kib("VmHWM") < 128 * 1024);
            running.close_stdout();
            running.finish().exits(0).complains("");
        }
    });
}

/// With --comments, comments and blank lines have no rows and no index; without it, they are ordinary
/// lines.
#[test]
fn lists_with_comments() {
    let server = Nsd::start();
    let lines = [
        "# names",
        "",
        "mail.example",
        " \t# more",
        "ns.example # one's own",
    ];
    let rows = "mail.example\tA\tNOERROR\t10.255.0.1\nns.example\tA\tNOERROR\t127.0.0.1\n";
    for_each_engine(|engine| {
        for (separator, option) in [("\n", None), ("\0", Some("-0"))] {
            let list = lines.join(separator);
            let mill = Mill::dns(engine, server.at).arg("--comments").args(option);
            let output = mill.stdin(list.as_str()).run();
            output.exits(0).complains("").prints(rows);
            let mill = Mill::dns(engine, server.at).args(["--comments", "--format=jsonl"]);
            let output = mill.args(option).stdin(list.as_str()).run().exits(0);
            let row: Value = serde_json::from_slice(output.lines()[1]).expect("a row");
            assert_eq!(row["index"], 1);
            let mill = Mill::dns(engine, server.at).args(option);
            let output = mill.stdin(list.as_str()).run().exits(1);
            assert_eq!(output.lines().len(), lines.len());
        }
        let only_comments = "# one\n\n# two\n".repeat(50_000);
        let mill = Mill::dns(engine, server.at).arg("--comments");
        mill.stdin(only_comments)
            .run()
            .exits(0)
            .complains("")
            .prints("");
    });
    let args = ["dns", "--comments", "a.example"];
    let output = Mill::bare().args(args).run().exits(2).prints("");
    output.mentions(&["--comments", "NAME"]);
}
