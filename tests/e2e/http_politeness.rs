//! `ringmill http` asks no server for more than it allows, and sends nothing twice that may have had an effect.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::mill;
use crate::support::for_each_engine;
use crate::support::nginx::{self, Nginx};
use crate::support::rows::json_rows;
use crate::support::web::{Then, Web, response};

fn list(web: &Web, count: usize) -> String {
    (0..count)
        .map(|number| web.url(&format!("/{number}\n")))
        .collect()
}

/// A server that is never asked for more at a time than --per-host says.
#[test]
fn requests_at_a_time() {
    for_each_engine(|engine| {
        for (option, most) in [("--per-host=6", 6), ("--per-host=1", 1)] {
            let busy_max = Arc::new(AtomicUsize::new(0));
            let known = Arc::clone(&busy_max);
            let busy = AtomicUsize::new(0);
            let web = Web::start(move |_, stream| {
                known.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(5));
                busy.fetch_sub(1, Ordering::SeqCst);
                stream
                    .write_all(&response("200 OK", "", "x"))
                    .map(|()| Then::Keep)
            });
            let rows = json_rows(
                &mill(engine)
                    .arg(option)
                    .stdin(list(&web, 200))
                    .run()
                    .exits(0),
            );
            assert_eq!((rows.len(), web.seen().len()), (200, 200));
            assert_eq!(busy_max.load(Ordering::SeqCst), most);
        }
    });
}

/// Requests to a server are so far apart that they take this time at least.
#[test]
fn requests_per_second() {
    for_each_engine(|engine| {
        let web = Web::sending(response("200 OK", "", "x"), Then::Keep);
        let began = Instant::now();
        let rows = json_rows(
            &mill(engine)
                .arg("--rate-per-host=50")
                .stdin(list(&web, 100))
                .run()
                .exits(0),
        );
        assert_eq!(rows.len(), 100);
        assert!(began.elapsed() >= Duration::from_millis(99 * 1000 / 50));
    });
}

/// The limit of a real server is kept to: after a 429, nothing is sent for the time that it asks for.
#[test]
fn the_limit_of_nginx() {
    let nginx = Nginx::start();
    let urls: String = (0..60)
        .map(|number| nginx.url(&format!("limited/{}\n", nginx::file(number % 4))))
        .collect();
    for_each_engine(|engine| {
        let rows = json_rows(
            &mill(engine)
                .args(["--retries=50"])
                .stdin(urls.as_str())
                .run()
                .exits(0),
        );
        assert_eq!(rows.len(), 60);
        assert!(rows.iter().all(|row| row["status"] == 200));
        assert!(
            rows.iter().any(|row| row["attempts"].as_u64() > Some(1)),
            "nothing was limited"
        );
    });
}

/// A pause holds for its origin alone.
#[test]
fn a_pause_that_a_server_asks_for() {
    for_each_engine(|engine| {
        let is_first = AtomicUsize::new(0);
        let busy = Web::start(move |_, stream| {
            let bytes = match is_first.fetch_add(1, Ordering::SeqCst) {
                0 => response("503 Service Unavailable", "retry-after: 3\r\n", ""),
                _ => response("200 OK", "", "x"),
            };
            stream.write_all(&bytes).map(|()| Then::Keep)
        });
        let other = Web::sending(response("200 OK", "", "x"), Then::Keep);
        let urls = list(&busy, 5) + &list(&other, 50);
        let rows = json_rows(
            &mill(engine)
                .args(["--per-host=1"])
                .stdin(urls)
                .run()
                .exits(0),
        );
        assert_eq!(rows.len(), 55);
        let attempts: u64 = rows[..5]
            .iter()
            .map(|row| row["attempts"].as_u64().unwrap())
            .sum();
        assert_eq!(attempts, 6);
        assert!(rows[5..].iter().all(|row| row["attempts"] == 1));
        let seen = busy.seen();
        assert_eq!(seen.len(), 6);
        assert!(
            seen[1].at - seen[0].at >= Duration::from_secs(3),
            "{seen:?}"
        );
        assert!(
            other.seen()[0].at < seen[1].at,
            "another origin waited, too"
        );
    });
}

/// A pause that is too long is an error, and nothing more is sent to that origin.
#[test]
fn a_pause_that_is_too_long() {
    for_each_engine(|engine| {
        let busy = Web::sending(
            response("429 Too Many Requests", "retry-after: 7200\r\n", ""),
            Then::Keep,
        );
        let other = Web::sending(response("200 OK", "", "x"), Then::Keep);
        let urls = list(&busy, 100) + &list(&other, 100);
        let rows = json_rows(
            &mill(engine)
                .args(["--per-host=3"])
                .stdin(urls)
                .run()
                .exits(1),
        );
        assert_eq!(rows.len(), 200);
        let mut sent = 0;
        for row in &rows[..100] {
            assert_eq!(row["error"]["operation"], "request");
            let message = row["error"]["message"].as_str().unwrap();
            match row["attempts"].as_u64().unwrap() {
                0 => {
                    assert!(
                        message.starts_with("not sent: the server wants no requests for another "),
                        "{row}"
                    );
                    assert!(row.get("status").is_none(), "{row}");
                }
                _ => {
                    sent += 1;
                    assert_eq!(
                        message,
                        "status 429: the server asks for a pause of 2h, longer than --retry-after-max"
                    );
                    assert_eq!(row["status"], 429);
                }
            }
        }
        assert!(sent <= 3 && busy.seen().len() == sent, "{sent}");
        assert!(rows[100..].iter().all(|row| row["status"] == 200));
    });
}

/// A request is repeated only if that has no further effect, or if the server has not got it.
#[test]
fn what_is_sent_again() {
    for_each_engine(|engine| {
        for (then, status) in [
            (Then::Close, None),
            (Then::Reset, None),
            (Then::Keep, Some("502 Bad Gateway")),
        ] {
            for (method, attempts) in [("GET", 3), ("PUT", 3), ("POST", 1), ("PATCH", 1)] {
                let bytes = status.map_or_else(Vec::new, |status| response(status, "", ""));
                let web = Web::sending(bytes, then);
                let url = web.url("/");
                let rows = json_rows(&mill(engine).args(["-X", method, &url]).run().exits(1));
                assert_eq!(
                    rows[0]["attempts"], attempts,
                    "{method} {then:?}: {}",
                    rows[0]
                );
                assert_eq!(web.seen().len(), attempts, "{method} {then:?}");
            }
        }
    });
}

/// A connection that the server closes while it is idle costs no attempt, not even of a POST that was not sent.
#[test]
fn idle_connections_that_are_closed() {
    for_each_engine(|engine| {
        // It says that it keeps the connection, and closes it.
        let web = Web::sending(response("200 OK", "", "x"), Then::Close);
        let rows = json_rows(
            &mill(engine)
                .args(["--retries=0", "--per-host=1"])
                .stdin(list(&web, 50))
                .run()
                .exits(0),
        );
        assert_eq!(rows.len(), 50);
        assert!(rows.iter().all(|row| row["attempts"] == 1));
        assert_eq!(web.seen().len(), 50);
    });
}

/// The end of the connection comes together with each response, which does not announce it: no POST is sent there.
#[test]
fn connections_that_end_with_the_response() {
    use rustix::net::{SendFlags, Shutdown, send, shutdown};
    for_each_engine(|engine| {
        let web = Web::start(|_, stream| {
            // The kernel sends both in one segment.
            send(&*stream, &response("200 OK", "", "x"), SendFlags::MORE)?;
            shutdown(&*stream, Shutdown::Write)?;
            Ok(Then::Close)
        });
        let output = mill(engine)
            .args(["-X", "POST", "--per-host=2"])
            .stdin(list(&web, 300))
            .run();
        let rows = json_rows(&output.exits(0));
        assert_eq!(rows.len(), 300);
        assert!(rows.iter().all(|row| row["attempts"] == 1));
        assert_eq!(web.seen().len(), 300);
    });
}
