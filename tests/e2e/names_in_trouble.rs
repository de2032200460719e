//! `ringmill dns` with servers as they are on the internet: each row must say what happened to its
//! name, whatever happens to others. Durations are not measured here.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::support::imperfect::{Behaviour, Counts, Edns, Tcp};
use crate::support::ports::free_address;
use crate::support::troubled::{Row, Troubled, assert_true, in_time, names, rows};
use crate::support::{Engine, Mill, Output, for_each_engine};

/// Asks the server for all names, with these options.
#[track_caller]
fn ask(engine: Engine, at: SocketAddr, options: &[&str], names: &[String]) -> (Output, Vec<Row>) {
    let list: String = names.iter().map(|name| format!("{name}\n")).collect();
    let mill = Mill::dns(engine, at).arg("--format=jsonl").args(options);
    let output = mill.stdin(list).run();
    let rows = rows(&output, names);
    (output, rows)
}

/// With a server that behaves like this, each row of these names is correct.
#[track_caller]
fn each_row_is_true(behaviour: &Behaviour, options: &[&str], names: &[String]) {
    for_each_engine(|engine| {
        let (output, rows, counts) = in_time(
            |timeouts| {
                let server = Troubled::start(behaviour.clone());
                let options = [options, timeouts].concat();
                let (output, rows) = ask(engine, server.at, &options, names);
                (output, rows, server.finish())
            },
            |(_, rows, _)| rows,
        );
        eprintln!("{counts:?}");
        assert_true(&rows);
        assert_evidence(&rows, &counts);
        let all_answered = rows.iter().all(|row| row.status == "NOERROR");
        output.exits(i32::from(!all_answered)).complains("");
    });
}

/// The server has received the attempts that the rows report.
#[track_caller]
fn assert_evidence(rows: &[Row], counts: &Counts) {
    for (&letter, received) in &counts.letters {
        let of_letter = rows.iter().filter(|row| row.name.starts_with(letter));
        let attempts: u64 = of_letter.map(|row| row.attempts).sum();
        // A query that is repeated over TCP may count as an attempt, too.
        let by_tcp = if letter == 't' {
            counts.tcp.received
        } else {
            0
        };
        let received = received.received + by_tcp;
        assert!(attempts <= received, "{letter}: {attempts} of {received}");
    }
}

#[test]
fn some_are_never_answered() {
    each_row_is_true(&Behaviour::default(), &[], &names(300, &[('x', 1)]));
    each_row_is_true(&Behaviour::default(), &[], &names(400, &[('x', 8)]));
}

/// So many names that several of those without an answer are in flight at the same time.
#[test]
fn some_of_a_long_list_are_never_answered() {
    each_row_is_true(&Behaviour::default(), &[], &names(20_000, &[('x', 1)]));
}

#[test]
fn some_are_answered_after_a_second() {
    each_row_is_true(&Behaviour::default(), &[], &names(300, &[('w', 5)]));
}

#[test]
fn some_are_answered_after_three_seconds() {
    let behaviour = Behaviour {
        slow: Duration::from_secs(3),
        ..Behaviour::default()
    };
    each_row_is_true(&behaviour, &[], &names(300, &[('w', 5)]));
}

#[test]
fn all_are_answered_late() {
    let behaviour = Behaviour {
        slow: Duration::from_secs(3),
        ..Behaviour::default()
    };
    each_row_is_true(&behaviour, &[], &names(300, &[('w', 100)]));
}

#[test]
fn some_fail() {
    for share in [3, 10, 20] {
        each_row_is_true(&Behaviour::default(), &[], &names(400, &[('s', share)]));
    }
    each_row_is_true(&Behaviour::default(), &[], &names(400, &[('r', 3)]));
}

#[test]
fn all_kinds_at_once() {
    let kinds = [
        ('x', 4),
        ('w', 4),
        ('s', 10),
        ('r', 4),
        ('t', 10),
        ('f', 10),
        ('l', 10),
    ];
    let behaviour = Behaviour {
        slow: Duration::from_secs(2),
        loss_percent: 5,
        ..Behaviour::default()
    };
    each_row_is_true(&behaviour, &["--retries=8"], &names(500, &kinds));
}

/// The probability that all of so many attempts are lost is one in a million lists.
#[test]
fn lost_queries_are_retried() {
    for (loss_percent, retries) in [(10, "--retries=8"), (30, "--retries=16")] {
        let behaviour = Behaviour {
            loss_percent,
            ..Behaviour::default()
        };
        each_row_is_true(&behaviour, &[retries], &names(400, &[('l', 100)]));
    }
}

/// A name whose queries are all lost is a TIMEOUT, after all of its attempts.
#[test]
fn names_whose_queries_are_all_lost_time_out_after_all_attempts() {
    let behaviour = Behaviour {
        loss_percent: 60,
        ..Behaviour::default()
    };
    let names = names(300, &[('l', 40)]);
    for_each_engine(|engine| {
        let server = Troubled::start(behaviour.clone());
        let (_, rows) = ask(engine, server.at, &["--retries=2"], &names);
        assert_evidence(&rows, &server.finish());
        let (given_up, others): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| row.status == "TIMEOUT");
        assert!(!given_up.is_empty());
        for row in given_up {
            assert_eq!((&row.name[..1], row.attempts), ("l", 3), "{row:?}");
        }
        assert_true(&others);
    });
}

#[test]
fn a_small_queue() {
    let behaviour = Behaviour {
        queue: Some(100),
        ..Behaviour::default()
    };
    each_row_is_true(&behaviour, &[], &names(800, &[]));
}

#[test]
fn a_low_rate() {
    let behaviour = Behaviour {
        rate: Some(2000),
        ..Behaviour::default()
    };
    each_row_is_true(&behaviour, &[], &names(800, &[]));
}

/// The server refuses because it gets too many queries, not because of the names.
#[test]
fn a_server_that_refuses_when_it_is_busy() {
    let behaviour = Behaviour {
        refuse_beyond: Some(100),
        ..Behaviour::default()
    };
    each_row_is_true(&behaviour, &[], &names(800, &[]));
}

#[test]
fn one_server_is_dead_one_silent_and_one_good() {
    let (dead, silent) = (free_address(), silent_server());
    let silent = silent.local_addr().expect("an address");
    let names = names(400, &[]);
    for_each_engine(|engine| {
        let good = Troubled::start(Behaviour::default());
        let others = [format!("-r={silent}"), format!("-r={}", good.at)];
        let others = others.each_ref().map(String::as_str);
        let (output, rows) = in_time(
            |timeouts| ask(engine, dead, &[&others, timeouts].concat(), &names),
            |(_, rows)| rows,
        );
        assert_true(&rows);
        output.exits(0);
    });
}

/// Five names, one status for all, and one line that explains it to people.
#[test]
fn the_only_server_is_not_there() {
    let names = names(5, &[]);
    let silent = silent_server();
    let silent = silent.local_addr().expect("an address");
    for_each_engine(|engine| {
        for (at, status) in [(free_address(), "UNREACHABLE"), (silent, "TIMEOUT")] {
            let (output, rows) = ask(engine, at, &[], &names);
            for row in rows {
                assert_eq!(row.status, status, "{row:?}");
                assert!(row.attempts >= 1, "{row:?}");
            }
            let said = output.stderr_lines();
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains(&at.to_string()), "{said:?}");
            output.exits(1);
        }
    });
}

/// Whatever a server does with OPT records, the names that it answers without EDNS get their answers,
/// and the others fail.
#[track_caller]
fn served_in_spite_of(edns: Edns) {
    let behaviour = Behaviour {
        edns,
        ..Behaviour::default()
    };
    each_row_is_true(&behaviour, &[], &names(200, &[]));
    each_row_is_true(&behaviour, &[], &names(200, &[('s', 10), ('t', 10)]));
}

#[test]
fn edns_is_answered() {
    served_in_spite_of(Edns::Answer);
}

#[test]
fn edns_is_ignored() {
    served_in_spite_of(Edns::Ignore);
}

#[test]
fn edns_is_a_format_error() {
    served_in_spite_of(Edns::FormErr);
}

#[test]
fn edns_is_not_implemented() {
    served_in_spite_of(Edns::NotImp);
}

#[test]
fn edns_is_a_failure() {
    served_in_spite_of(Edns::ServFail);
}

#[test]
fn edns_is_dropped() {
    served_in_spite_of(Edns::Drop);
}

#[track_caller]
fn truncated_answers_come_by(tcp: Tcp) {
    let behaviour = Behaviour {
        tcp,
        ..Behaviour::default()
    };
    // So long that an answer over TCP is in time on a busy machine.
    let options = ["--attempt-timeout=10s", "--timeout=120s"];
    each_row_is_true(&behaviour, &options, &names(300, &[('t', 100)]));
    each_row_is_true(&behaviour, &options, &names(300, &[('t', 20)]));
}

#[test]
fn truncated_answers_come_by_tcp() {
    truncated_answers_come_by(Tcp::Ok);
}

#[test]
fn truncated_answers_come_by_connections_that_close_after_one() {
    truncated_answers_come_by(Tcp::ClosesAfterOne);
}

#[track_caller]
fn truncated_answers_stay_so(tcp: Tcp) {
    let behaviour = Behaviour {
        tcp,
        ..Behaviour::default()
    };
    let names = names(200, &[('t', 20)]);
    for_each_engine(|engine| {
        let server = Troubled::start(behaviour.clone());
        let (output, rows) = ask(engine, server.at, &[], &names);
        let (truncated, others): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| row.name.starts_with('t'));
        for row in truncated {
            assert_eq!(row.status, "TRUNCATED", "{row:?}");
            assert!(row.attempts >= 1, "{row:?}");
        }
        assert_true(&others);
        output.exits(1);
    });
}

#[test]
fn truncated_answers_stay_so_if_connections_are_silent() {
    truncated_answers_stay_so(Tcp::Silent);
}

#[test]
fn truncated_answers_stay_so_if_connections_are_refused() {
    truncated_answers_stay_so(Tcp::Refused);
}

/// A record whose owner is another name is not part of the answer.
#[test]
fn forged_records_are_not_printed() {
    each_row_is_true(&Behaviour::default(), &[], &names(200, &[('f', 50)]));
}

/// A server to which queries arrive, but which never reads them.
fn silent_server() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a port")
}
