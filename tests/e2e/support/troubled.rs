//! A name server with faults that runs in a thread, and what rows about its names must say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use super::Output;
use super::imperfect::{Behaviour, Counts, Imperfect, message};

/// A server, until it is dropped.
pub struct Troubled {
    pub at: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Counts>>,
}

impl Troubled {
    #[track_caller]
    pub fn start(behaviour: Behaviour) -> Self {
        let server = Imperfect::bind(0, behaviour).expect("a server");
        let (at, ended) = (server.at, Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let ended = Arc::clone(&ended);
            move || server.serve(&ended).expect("a server that serves")
        });
        Self {
            at,
            ended,
            thread: Some(thread),
        }
    }

    /// Ends the server; returns what it counted.
    #[track_caller]
    pub fn finish(mut self) -> Counts {
        self.ended.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a thread");
        thread.join().expect("a server that does not panic")
    }
}

impl Drop for Troubled {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `count` names. In each hundred, the given numbers begin with the given letters, the others with `n`.
pub fn names(count: usize, of_each_hundred: &[(char, usize)]) -> Vec<String> {
    let letter = |number: usize| {
        // Neighbours are 37 places apart, so that no two names in a row have the same special letter.
        let mut place = number * 37 % 100;
        for &(letter, share) in of_each_hundred {
            if place < share {
                return letter;
            }
            place -= share;
        }
        'n'
    };
    let name = |number| format!("{}{number:05}.example", letter(number));
    (0..count).map(name).collect()
}

/// What a row says about a name.
#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub status: String,
    pub attempts: u64,
    pub answers: Value,
}

/// The rows of `--format jsonl`: one for each of these names, in order.
#[track_caller]
pub fn rows(output: &Output, names: &[String]) -> Vec<Row> {
    let parsed = |line: &&[u8]| -> Row {
        let row: Value = serde_json::from_slice(line).expect("a row of JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Row {
            name: text(&row["name"]["text"]),
            status: text(&row["status"]),
            attempts: row["attempts"].as_u64().expect("a number of attempts"),
            answers: row["answers"].clone(),
        }
    };
    let rows: Vec<Row> = output.lines().iter().map(parsed).collect();
    let found: Vec<&String> = rows.iter().map(|row| &row.name).collect();
    assert!(
        found.iter().copied().eq(names),
        "a row for each name, in order; {output:?}"
    );
    rows
}

/// Timeouts, in the order in which they are tried.
const TIMEOUTS: [&[&str]; 3] = [
    &[],
    &["--attempt-timeout=5s", "--timeout=60s"],
    &["--attempt-timeout=30s", "--timeout=360s"],
];

/// What `run` returns with timeouts that are long enough on this machine: if it is busy, longer ones are tried as long
/// as an answer is missing that may have come too late.
pub fn in_time<T>(run: impl Fn(&[&str]) -> T, rows: impl Fn(&T) -> &Vec<Row>) -> T {
    let is_late = |row: &Row| {
        let is_missing = ["TIMEOUT", "TRUNCATED"].contains(&&*row.status);
        is_missing && !is_true(row)
    };
    let [first @ .., last] = TIMEOUTS;
    let mut results = first.into_iter().map(&run);
    let result = results.find(|result| !is_busy() || !rows(result).iter().any(is_late));
    result.unwrap_or_else(|| run(last))
}

/// True if two tasks for each processor want to run, on average over the last minute.
fn is_busy() -> bool {
    let averages = std::fs::read_to_string("/proc/loadavg").expect("load averages");
    let last_minute: f64 = averages.split(' ').next().unwrap().parse().unwrap();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    last_minute > 2.0 * processors as f64
}

/// Fails unless each row says what this server does with the name.
#[track_caller]
pub fn assert_true(rows: &[Row]) {
    let false_rows: Vec<&Row> = rows.iter().filter(|row| !is_true(row)).collect();
    assert!(
        false_rows.is_empty(),
        "{} of {} rows are false, first {:#?}",
        false_rows.len(),
        rows.len(),
        &false_rows[..false_rows.len().min(3)]
    );
}

fn is_true(row: &Row) -> bool {
    let expected = match row.name.as_bytes()[0] {
        b'x' => "TIMEOUT",
        b's' => "SERVFAIL",
        b'r' => "REFUSED",
        _ => "NOERROR",
    };
    let answers = match expected {
        "NOERROR" => json!([{
            "name": row.name,
            "type": "A",
            "ttl": 300,
            "data": address_of(&row.name),
        }]),
        _ => json!([]),
    };
    row.attempts >= 1 && row.status == expected && row.answers == answers
}

fn address_of(name: &str) -> String {
    let labels = name.split('.').chain([""]);
    let wire = labels.flat_map(|label| {
        let len = u8::try_from(label.len()).expect("a short label");
        std::iter::once(len).chain(label.bytes())
    });
    message::address_of(&wire.collect::<Vec<u8>>()).to_string()
}
