//! What comes to the socket of a query, with its id: whatever it is, nothing panics, the question has
//! one answer at most, and an answer can be printed. A line that may be a question comes first.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmill::jobs::dns::{Question, Resolver, Settings, Transmit, parse_type};
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let (line, reply) = (&input[..end], &input[(end + 1).min(input.len())..]);
    let default = parse_type(b"A").unwrap();
    let Ok(question) = Question::parse(line, default) else {
        return;
    };
    let mut resolver = Resolver::new(Settings {
        servers: vec!["127.0.0.1:53".parse().unwrap()],
        sockets_per_server: 1,
        per_server_max: 8,
        retries: 3,
        timeout: Duration::from_secs(20),
        rate_per_server: None,
        mixes_case: false,
        measures_round_trips: true,
    });
    let question_end = 12 + question.name().len() + 4;
    resolver.ask(7, question, Duration::ZERO);
    for turn in 1..10 {
        let now = Duration::from_millis(turn);
        let Some(Transmit { socket, message }) = resolver.transmit() else {
            break;
        };
        // The header as the fuzzer likes it, then, now and then, the question as it was asked.
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
    resolver.time_passed(Duration::from_secs(30));
    let mut answers = 0;
    while let Some((asker, answer)) = resolver.answer() {
        answers += 1;
        assert_eq!(asker, 7);
        assert_eq!(answer.status.is_definite(), answer.message.is_some());
        answer.records();
        answer.flags();
    }
    assert_eq!(answers, 1);
});
