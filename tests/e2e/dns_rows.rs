//! Which rows `ringmill dns` prints, and what it counts.

use serde_json::Value;

use crate::support::nsd::Nsd;
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
