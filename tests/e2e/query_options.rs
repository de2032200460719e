//! The options of `ringmill dns` about what queries say and how they are sent.

use serde_json::{Value, json};

use crate::support::name_servers::NameServer;
use crate::support::nsd::Nsd;
use crate::support::responder::{Responder, Script};
use crate::support::{Engine, Mill, Output, for_each_engine};

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

/// The query that comes when the address of `a.example` is asked for with these options.
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
        // It refuses to say what it has in its cache, and asks no other server.
        let mill = Mill::dns(engine, unbound.at).args(["--no-recurse", "--retries=0"]);
        let output = mill.arg("a.example").run().exits(1);
        output.prints("a.example\tA\tREFUSED\n");
    });
}
