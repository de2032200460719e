//! Any bytes that reach the socket of a query, with its id: nothing panics, the question has one
//! answer, and the answer is consistent: its records belong to the question, its status follows from
//! them, and they can be printed. The input begins with a line that may be a question.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmill::jobs::dns::{
    Answer, Question, Record, Resolver, Settings, SharedLimits, Status,
    Transmit, parse_type, words,
};
use std::collections::HashSet;
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let (line, reply) = (&input[..end], &input[(end + 1).min(input.len())..]);
    let default = parse_type(b"A").unwrap();
    let Ok(question) = Question::parse(line, default) else {
        return;
    };
    let settings = Settings {
        retries: 3,
        measures_round_trips: true,
        ..Settings::new(vec!["127.0.0.1:53".parse().unwrap()])
    };
    let mut resolver = Resolver::new(settings, &SharedLimits::new(1, 8, 1));
    assert!(question.name().len() <= 255 && (1..=2).contains(&words(line).count()));
    let asked = question.clone();
    let question_end = 12 + question.name().len() + 4;
    resolver.ask(7, question, Duration::ZERO);
    let mut now = Duration::ZERO;
    while let Some(at) = resolver.wake_at() {
        let Some(Transmit { socket, message }) = resolver.transmit() else {
            // An attempt has timed out, or a pause has ended.
            assert!(at < Duration::from_secs(100), "no end");
            now = at;
            resolver.time_passed(now);
            continue;
        };
        now += Duration::from_millis(1);
        // The header as the fuzzer chooses it, then, sometimes, the question as it was asked.
        let mut bytes = reply.to_vec();
        if let Some(flags) = bytes
            .get(2..)
            .filter(|rest| rest.first().is_some_and(|flag| flag & 1 == 0))
        {
            let rest = flags.get(10..).unwrap_or_default().to_vec();
            bytes.truncate(12);
            bytes.extend_from_slice(&message[12..question_end]);
            bytes.extend_from_slice(&rest);
        }
        if bytes.len() >= 2 {
            bytes[..2].copy_from_slice(&message[..2]);
        }
        resolver.received(socket, &bytes, now);
    }
    let mut answers = 0;
    while let Some((asker, answer)) = resolver.answer() {
        answers += 1;
        assert_eq!(asker, 7);
        assert_eq!((answer.name(), answer.qtype), (asked.name(), asked.qtype()));
        check(&answer);
    }
    assert_eq!(answers, 1);
});

fn check(answer: &Answer) {
    let (records, qtype) = (answer.records(), answer.qtype);
    let [any, alias] = [b"ANY", &b"CNAME"[..]].map(|name| parse_type(name).unwrap());
    let is_data = |record: &Record| [qtype, alias].contains(&record.rtype) || qtype == any;
    let has_data = records.iter().any(is_data);
    match answer.status {
        Status::NoError => assert!(has_data),
        Status::NoData | Status::Referral => assert!(!has_data),
        // With any records that came in a datagram.
        Status::NxDomain | Status::Truncated => {}
        _ => assert!(answer.message().is_none() && records.is_empty()),
    }
    if answer.message().is_none() {
        assert!(!answer.status.is_definite() && answer.malformed().is_empty());
    }
    check_owners(&records, answer);
    check_texts(&records, answer);
}

/// Each record belongs to the question's name, or to a name that its aliases lead to.
fn check_owners(records: &[Record], answer: &Answer) {
    let Some(message) = answer.message() else {
        return;
    };
    let text = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let asked = message.first_question().unwrap();
    let mut names = HashSet::from([text(&asked.qname().to_string())]);
    let aliases = records
        .iter()
        .filter(|record| record.rtype.to_string() == "CNAME");
    let aliases: Vec<_> = aliases
        .map(|record| (text(&record.name), text(&record.data)))
        .collect();
    while let Some((_, target)) = aliases
        .iter()
        .find(|(owner, target)| names.contains(owner) && !names.contains(target))
    {
        names.insert(target.clone());
    }
    for record in records {
        let owner = text(&record.name);
        let is_above = || names.iter().any(|name| name.ends_with(&owner));
        let redirects = matches!(record.rtype.to_string().as_str(), "DNAME" | "RRSIG");
        assert!(
            names.contains(&owner) || redirects && is_above(),
            "{record:?}"
        );
    }
}

/// Rows stay single lines of text, and both ways to print a record print the same.
fn check_texts(records: &[Record], answer: &Answer) {
    let sections = [answer.authorities(), answer.additionals()].concat();
    for record in records.iter().chain(&sections) {
        for text in [&record.name, &record.data] {
            assert!(
                text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{text:?}"
            );
        }
    }
    let mut written = Vec::new();
    answer.write_data(&mut written, |text, _| text.push(b'\n'));
    let expected: String = records
        .iter()
        .map(|record| format!("\n{}", record.data))
        .collect();
    assert_eq!(written, expected.into_bytes());
    // In the order of the sections.
    let sections = answer.malformed().into_iter().map(|it| it.section);
    assert!(sections.is_sorted());
}
