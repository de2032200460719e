//! `ringmill dns` compared with another client of the same servers, for every common record type and
//! every way in which names lead to others: statuses, and data in wire form.

use std::fs;
use std::net::SocketAddr;

use crate::support::name_servers::NameServer;
use crate::support::nsd::Nsd;
use crate::support::tree::Scratch;
use crate::support::{Mill, for_each_engine, judge};

const ZONE: &str = include_str!("support/types.zone");

/// A question for each set of records in the zone.
fn sets_of_records() -> Vec<String> {
    let lines = ZONE.lines().filter(|line| !line.starts_with([';', '$']));
    let mut questions: Vec<String> = lines
        .map(|line| {
            let mut words = line.split(' ');
            let (owner, rtype) = (words.next().unwrap(), words.next().unwrap());
            let owner = if owner == "@" {
                ""
            } else {
                &format!("{owner}.")
            };
            format!("{owner}example {rtype}")
        })
        .collect();
    questions.dedup();
    questions
}

/// Questions about names that lead to others, exist only through others, or do not exist, each with
/// several types.
fn ways(names: &[&str]) -> Vec<String> {
    let questions = names.iter().flat_map(|name| {
        let types = ["A", "AAAA", "TXT", "CNAME"].iter();
        types.map(move |rtype| format!("{name}.example {rtype}"))
    });
    questions.collect()
}

const LEADING: [&str; 22] = [
    "alias",
    "ALIAS2",
    "aLias3",
    "to-missing",
    "to-nothing",
    "away",
    "round",
    "x.wild",
    "y.x.Wild",
    "wild",
    "*.wild",
    "x.wildalias",
    "x.star",
    "below.x.star",
    "host.old",
    "Alias.old",
    "missing.old",
    "x.y.old",
    "er.ent",
    "ent",
    "x.ent",
    "missing",
];

/// Names of a zone that is on another server.
const ELSEWHERE: [&str; 4] = ["sub", "host.sub", "ns.sub", "to-sub"];

#[track_caller]
fn compare(server: SocketAddr, questions: &[String]) {
    assert!(questions.len() >= 100, "{}", questions.len());
    let list = questions.join("\n") + "\n";
    let scratch = Scratch::new();
    let [list_path, rows_path] = ["list", "rows"].map(|name| scratch.join(name));
    fs::write(&list_path, &list).expect("written");
    for_each_engine(|engine| {
        // So long that all answers are in time on a busy machine.
        let mill = Mill::dns(engine, server).args(["--attempt-timeout=10s", "--timeout=120s"]);
        let mill = mill.args(["--format", "jsonl", "--retries=8"]);
        let output = mill.stdin(list.as_str()).run();
        fs::write(&rows_path, &output.stdout).expect("written");
        judge::compare_names(&list_path, &rows_path, server);
    });
}

fn all() -> Vec<String> {
    [sets_of_records(), ways(&LEADING), ways(&ELSEWHERE)].concat()
}

#[test]
fn dns_of_every_type_from_nsd() {
    let server = Nsd::serving(ZONE);
    compare(server.at, &all());
}

#[test]
fn dns_of_every_type_from_knot() {
    let server = NameServer::knot(ZONE);
    compare(server.at, &all());
}

/// All questions except those for which a resolver would ask elsewhere or follow a loop of aliases.
fn for_resolvers() -> Vec<String> {
    let mut questions = [sets_of_records(), ways(&LEADING)].concat();
    questions.retain(|line| {
        let name = line.split('.').next();
        !matches!(name, Some("sub" | "ns" | "away" | "round"))
    });
    questions
}

#[test]
fn dns_of_every_type_from_unbound() {
    let server = NameServer::unbound(ZONE);
    compare(server.at, &for_resolvers());
}

#[test]
fn dns_of_every_type_from_dnsmasq() {
    let options = [
        "--host-record=host.local.example,10.4.0.1,2001:db8::4",
        "--cname=alias.local.example,host.local.example",
        "--txt-record=text.local.example,a text,another",
        "--mx-host=local.example,host.local.example,5",
        "--local=/local.example/",
    ];
    let server = NameServer::dnsmasq(ZONE, &options);
    let local = ways(&[
        "host.local",
        "alias.local",
        "text.local",
        "local",
        "missing.local",
    ]);
    compare(server.at, &[for_resolvers(), local].concat());
}
