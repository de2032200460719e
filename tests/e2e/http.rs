//! `ringmill http` with real servers: what is in rows, and in which order.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Resource, Signal};

use crate::support::haproxy::Haproxy;
use crate::support::nginx::{self, FILES, Nginx};
use crate::support::nsd::Nsd;
use crate::support::rows::json_rows;
use crate::support::small_disk::SmallDisk;
use crate::support::web::{Then, Web, response};
use crate::support::{Engine, Mill, for_each_engine, ports};

pub fn mill(engine: Engine) -> Mill {
    Mill::bare().args(["http", "--engine", engine.name()])
}

pub fn lines(urls: impl IntoIterator<Item = String>) -> String {
    urls.into_iter().map(|url| url + "\n").collect()
}

/// Many files of nginx, as they are, compressed, slow, redirected, and with TLS: each row has the digest of the file.
#[test]
fn files_of_nginx() {
    let nginx = Nginx::start();
    let digests = nginx.digests();
    let forms = ["", "gzip/", "moved/", "slow/"];
    let urls = || {
        (0..400).map(|number| {
            let (form, file) = (
                forms[number / FILES % forms.len()],
                nginx::file(number % FILES),
            );
            match number % 3 {
                0 => format!("https://{}/{form}{file}", nginx.tls),
                _ => nginx.url(&format!("{form}{file}")),
            }
        })
    };
    for_each_engine(|engine| {
        let cacert = nginx.authority.to_str().expect("UTF-8");
        let mill = mill(engine).args(["-L", "-a", "sha256", "--cacert", cacert]);
        let output = mill.stdin(lines(urls())).run().exits(0).complains("");
        let rows = json_rows(&output);
        assert_eq!(rows.len(), 400);
        for (number, (row, url)) in rows.iter().zip(urls()).enumerate() {
            assert_eq!(
                (&row["index"], &row["url"]),
                (&number.into(), &url.as_str().into())
            );
            assert_eq!(row["digest"], digests[number % FILES], "{row}");
            assert_eq!(row["size"], nginx::content(number % FILES).len(), "{row}");
            // The redirect keeps scheme, host and path.
            let final_url = url.replacen("moved/", "", 1);
            let is_moved = final_url != url;
            assert_eq!(row.get("final_url").is_some(), is_moved, "{row}");
            assert!(!is_moved || row["final_url"] == final_url, "{row}");
            let attempts = 1 + u64::from(is_moved);
            assert_eq!(
                (&row["status"], &row["attempts"]),
                (&200.into(), &attempts.into()),
                "{row}"
            );
            assert!(
                row["total_ns"].as_u64() >= row["first_byte_ns"].as_u64(),
                "{row}"
            );
        }
    });
}

/// GNU lines are those of sha256sum, with URLs as names; bodies come out in order; files have the bodies.
#[test]
fn forms_of_output() {
    let nginx = Nginx::start();
    let digests = nginx.digests();
    let urls: Vec<String> = (0..FILES)
        .map(|number| nginx.url(&nginx::file(number)))
        .collect();
    for_each_engine(|engine| {
        let given = || mill(engine).stdin(lines(urls.clone()));
        let expected: String = urls
            .iter()
            .zip(&digests)
            .map(|(url, digest)| format!("{digest}  {url}\n"))
            .collect();
        given()
            .args(["--hash", "-a", "sha256"])
            .run()
            .exits(0)
            .prints(expected);
        let expected: Vec<u8> = (0..FILES).flat_map(nginx::content).collect();
        given()
            .args(["--format", "body"])
            .run()
            .exits(0)
            .prints(&expected);
        let dir = tempfile::tempdir().unwrap();
        let bodies = dir.path().join("new/bodies");
        let given_with_bodies = || given().arg("--bodies").arg(&bodies);
        let rows = json_rows(&given_with_bodies().run().exits(0));
        assert!(
            rows.iter()
                .all(|row| row.get("body").is_none() && row.get("error").is_none())
        );
        for number in 0..FILES {
            assert_eq!(
                fs::read(bodies.join(number.to_string())).unwrap(),
                nginx::content(number)
            );
        }
        assert_eq!(
            fs::read_dir(&bodies).unwrap().count(),
            FILES,
            "a temporary file is left"
        );
        // Files that exist are not replaced.
        let rows = json_rows(&given_with_bodies().run().exits(1));
        assert_eq!(rows.len(), FILES);
        for row in rows {
            assert_eq!(row["error"]["operation"], "write", "{row}");
            assert!(
                row["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("File exists"),
                "{row}"
            );
        }
        let text = given().args(["--format", "text"]).run().exits(0);
        for (line, (number, url)) in text.lines().iter().zip(urls.iter().enumerate()) {
            let line = String::from_utf8_lossy(line);
            let columns: Vec<&str> = line.split('\t').collect();
            let size = nginx::content(number).len().to_string();
            assert_eq!(
                (columns[0], columns[1], columns[3]),
                ("200", size.as_str(), url.as_str())
            );
            assert!(columns[2].ends_with(" ms"), "{line}");
        }
    });
}

/// Failures say in each form what has happened, and to which item.
#[test]
fn failures() {
    let nginx = Nginx::start();
    let closed = ports::free_address();
    let lines = format!(
        "{}\nhttp://{closed}/\nnowhere\n{}\nhttp://nowhere.invalid/\n",
        nginx.url("none"),
        nginx.url("f02")
    );
    for_each_engine(|engine| {
        // No name server listens there.
        let given = || {
            mill(engine)
                .args(["--retries=0", "-r", &closed.to_string()])
                .stdin(lines.as_str())
        };
        let rows = json_rows(&given().run().exits(1));
        let operations: Vec<_> = rows
            .iter()
            .map(|row| row["error"]["operation"].as_str())
            .collect();
        assert_eq!(
            operations,
            [None, Some("connect"), Some("parse"), None, Some("resolve")]
        );
        assert_eq!(
            (&rows[0]["status"], &rows[3]["status"]),
            (&404.into(), &200.into())
        );
        assert_eq!(
            rows[1]["error"]["message"],
            format!("{closed}: Connection refused")
        );
        assert_eq!(rows[2]["line"]["text"], "nowhere");
        let output = given().args(["--format", "body"]).run().exits(1);
        output.prints(nginx::content(2)).complains(format!(
            "ringmill: {}: status 404\n\
             ringmill: http://{closed}/: connect: {closed}: Connection refused\n\
             ringmill: nowhere: not an http or https URL\n\
             ringmill: http://nowhere.invalid/: resolve: UNREACHABLE\n",
            nginx.url("none")
        ));
    });
}

/// Requests of the command line and of JSON lines, as the server sees them.
#[test]
fn requests() {
    for_each_engine(|engine| {
        let web = Web::start(|seen, stream| {
            let body = format!(
                "{} {}",
                seen.head.split(' ').next().unwrap(),
                seen.body.len()
            );
            std::io::Write::write_all(stream, &response("200 OK", "", body)).map(|()| Then::Keep)
        });
        let list = format!(
            "{}\n{}\n",
            web.url("/plain?q=%20"),
            serde_json::json!({
                "url": web.url("/object"), "id": [1, {"a": null}], "method": "PUT",
                "headers": {"X-One": "own", "X-Two": ["a", "b"]}, "body": {"bytes": "AAEC"},
            })
        );
        let options = [
            "-H",
            "X-One: all",
            "-H",
            "Authorization: secret",
            "-A",
            "agent",
            "--body",
            "--headers",
        ];
        let output = mill(engine)
            .args(options)
            .args(["-d", "some", "--in-flight=1"])
            .stdin(list)
            .run()
            .exits(0);
        let rows = json_rows(&output);
        assert_eq!(rows[0]["body"]["text"], "POST 4");
        assert_eq!(rows[1]["body"]["text"], "PUT 3");
        assert_eq!(rows[0]["headers"]["content-length"][0], "6");
        assert!(rows[0].get("input").is_none());
        assert_eq!(
            rows[1]["input"],
            serde_json::json!({"id": [1, {"a": null}]})
        );
        assert_eq!(rows[1]["url"], web.url("/object"));
        let seen = web.seen();
        let [first, second] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert_eq!(
            (first.target(), &first.body[..]),
            ("/plain?q=%20", &b"some"[..])
        );
        assert_eq!(first.header("host"), Some(web.at.to_string().as_str()));
        assert_eq!(first.header("user-agent"), Some("agent"));
        assert_eq!(first.header("x-one"), Some("all"));
        assert_eq!(
            (second.header("x-one"), &second.body[..]),
            (Some("own"), &[0, 1, 2][..])
        );
        assert_eq!(second.header("x-two"), Some("a"));
        assert_eq!(second.header("authorization"), Some("secret"));
        assert_eq!(
            second.connection, first.connection,
            "the connection was not kept"
        );
    });
}

/// Secrets do not follow a redirect to another origin; bodies and methods follow as browsers do it.
#[test]
fn redirects() {
    for_each_engine(|engine| {
        let other = Web::sending(response("200 OK", "", "other"), Then::Keep);
        let to = other.url("/end");
        let web = Web::start(move |seen, stream| {
            let location = match seen.target() {
                "/here" => "/end".to_owned(),
                "/there" => to.clone(),
                "/round" => "/round".to_owned(),
                "/bad" => "ftp://a.example/".to_owned(),
                _ => {
                    let bytes = response("200 OK", "", "end");
                    return std::io::Write::write_all(stream, &bytes).map(|()| Then::Keep);
                }
            };
            let bytes = response("302 Found", &format!("location: {location}\r\n"), "");
            std::io::Write::write_all(stream, &bytes).map(|()| Then::Keep)
        });
        let list = lines(["/here", "/there", "/round", "/bad"].map(|path| web.url(path)));
        let secrets = [
            "-H",
            "Authorization: secret",
            "-H",
            "Cookie: secret",
            "-H",
            "X-A: 1",
        ];
        let given = || {
            mill(engine)
                .args(secrets)
                .args(["--in-flight=1"])
                .stdin(list.as_str())
        };
        let rows = json_rows(&given().args(["-L", "--max-redirects=4"]).run().exits(1));
        assert_eq!(rows[0]["final_url"], web.url("/end"));
        assert_eq!(rows[1]["final_url"], other.url("/end"));
        assert_eq!(
            (&rows[2]["status"], &rows[2]["attempts"]),
            (&302.into(), &5.into())
        );
        assert_eq!(rows[2]["error"]["message"], "more than 4 redirects");
        assert_eq!(rows[3]["error"]["operation"], "redirect");
        let seen = other.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (
                seen[0].header("x-a"),
                seen[0].header("authorization"),
                seen[0].header("cookie")
            ),
            (Some("1"), None, None)
        );
        let end = web
            .seen()
            .into_iter()
            .find(|seen| seen.target() == "/end")
            .unwrap();
        assert_eq!(end.header("authorization"), Some("secret"));
        // Without -L, a redirect is a response.
        let rows = json_rows(&given().run().exits(0));
        assert!(
            rows.iter()
                .all(|row| row["status"] == 302 && row.get("final_url").is_none())
        );
    });
}

/// Names are looked up once each; a name that leads to an address that is not public is refused on request, also
/// after a redirect.
#[test]
fn names() {
    let zone = "$ORIGIN example.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
                *.web A 127.0.0.1\n";
    let server = Nsd::serving(zone);
    for_each_engine(|engine| {
        let web = Web::start(|seen, stream| {
            let host = seen.header("host").unwrap_or_default().to_owned();
            std::io::Write::write_all(stream, &response("200 OK", "", host)).map(|()| Then::Keep)
        });
        let urls = (0..200)
            .map(|number| format!("http://h{}.web.example:{}/", number % 10, web.at.port()));
        let urls: Vec<String> = urls.collect();
        let given = || {
            mill(engine)
                .args(["-4", "-r", &server.at.to_string()])
                .stdin(lines(urls.clone()))
        };
        let rows = json_rows(&given().arg("--body").run().exits(0));
        for (row, url) in rows.iter().zip(&urls) {
            let host = url.trim_start_matches("http://").trim_end_matches('/');
            assert_eq!(
                (&row["url"], &row["body"]["text"]),
                (&url.as_str().into(), &host.into())
            );
            assert_eq!(row["remote"], web.at.to_string());
        }
        let before = web.seen().len();
        for row in json_rows(&given().arg("--deny-private").run().exits(1)) {
            assert_eq!(row["error"]["operation"], "connect", "{row}");
            assert_eq!(
                row["error"]["message"],
                "127.0.0.1 is not a public address, and --deny-private is set"
            );
        }
        assert_eq!(web.seen().len(), before);
    });
}

/// Certificates that do not fit are errors that say why.
#[test]
fn certificates() {
    let nginx = Nginx::start();
    let plain = Web::sending("220 not TLS\r\n", Then::Close);
    let url = |at: SocketAddr| format!("https://{at}/f02");
    let list = lines([
        url(nginx.tls),
        url(nginx.expired),
        url(nginx.misnamed),
        url(nginx.at),
        url(plain.at),
    ]);
    for_each_engine(|engine| {
        let given = || mill(engine).arg("--retries=0").stdin(list.as_str());
        let cacert = nginx.authority.to_str().unwrap();
        let rows = json_rows(&given().args(["--cacert", cacert]).run().exits(1));
        assert_eq!(rows[0]["status"], 200, "{}", rows[0]);
        // The address is known, even if there is no connection with TLS.
        let at = [nginx.expired, nginx.misnamed, nginx.at, plain.at];
        for (row, at) in rows[1..].iter().zip(at) {
            assert_eq!(row["remote"], at.to_string(), "{row}");
        }
        for (row, pieces) in rows[1..].iter().zip([
            &["expired"][..],
            &["not valid for name"],
            &["InvalidContentType", "corrupt"],
            &[],
        ]) {
            assert_eq!(row["error"]["operation"], "tls", "{row}");
            let message = row["error"]["message"].as_str().unwrap();
            assert!(
                pieces.is_empty() || pieces.iter().any(|piece| message.contains(piece)),
                "{row}"
            );
        }
        // An authority that is not known.
        let rows = json_rows(&given().run().exits(1));
        assert!(
            rows[0]["error"]["message"]
                .as_str()
                .unwrap()
                .contains("UnknownIssuer"),
            "{}",
            rows[0]
        );
        let rows = json_rows(&given().arg("--insecure").run().exits(1));
        assert!(rows[..3].iter().all(|row| row["status"] == 200));
    });
}

/// Fewer descriptors than there are hosts: connections are closed to make room, and nothing fails.
#[test]
fn few_descriptors() {
    let zone = "$ORIGIN example.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
                *.web A 127.0.0.1\n";
    let server = Nsd::serving(zone);
    let nginx = Nginx::start();
    let digests = nginx.digests();
    for_each_engine(|engine| {
        let url = |number: usize| {
            let (host, file) = (number * 7 % 50, nginx::file(number % 8));
            format!("http://h{host}.web.example:{}/{file}", nginx.at.port())
        };
        let mill = mill(engine).args(["-4", "-a", "sha256", "-r", &server.at.to_string()]);
        let mill = mill
            .stdin(lines((0..3000).map(url)))
            .limit(Resource::Nofile, 32, 32);
        let rows = json_rows(&mill.run().exits(0));
        assert_eq!(rows.len(), 3000);
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(
                (&row["url"], &row["digest"]),
                (&url(number).into(), &digests[number % 8].as_str().into())
            );
        }
    });
}

/// A second implementation, which also limits requests, without a Retry-After.
#[test]
fn files_of_haproxy() {
    let nginx = Nginx::start();
    let haproxy = Haproxy::before(nginx.at);
    let digests = nginx.digests();
    let urls = (0..200).map(|number| {
        let form = if number < 40 { "few/" } else { "" };
        format!(
            "http://{}/{form}{}",
            haproxy.at,
            nginx::file(number % FILES)
        )
    });
    let urls: Vec<String> = urls.collect();
    for_each_engine(|engine| {
        let mill = mill(engine).args(["-a", "sha256", "--retries=50"]);
        let rows = json_rows(&mill.stdin(lines(urls.clone())).run().exits(0));
        assert_eq!(rows.len(), 200);
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(row["digest"], digests[number % FILES], "{row}");
        }
        assert!(
            rows.iter().any(|row| row["attempts"].as_u64() > Some(1)),
            "nothing was limited"
        );
    });
}

/// A server that ends midway costs its items, and no row.
#[test]
fn a_server_that_ends_midway() {
    for_each_engine(|engine| {
        let nginx = Nginx::start();
        let digests = nginx.digests();
        let url = |number: usize| format!("{}?{number}", nginx.url(&nginx::file(number % FILES)));
        let urls: Vec<String> = (0..20_000).map(url).collect();
        let mill = mill(engine).args(["-a", "sha256", "--retries=1"]);
        let mut running = mill.stdin(lines(urls.clone())).start();
        for _ in 0..100 {
            running.read_line();
        }
        drop(nginx);
        let rows = json_rows(&running.finish().exits(1));
        assert_eq!(rows.len(), urls.len());
        let mut failed = 0;
        for (number, (row, url)) in rows.iter().zip(&urls).enumerate() {
            assert_eq!(row["url"], url.as_str());
            match row.get("error") {
                None => assert_eq!(row["digest"], digests[number % FILES], "{row}"),
                Some(error) => {
                    let operation = error["operation"].as_str().unwrap();
                    assert!(["connect", "request", "body"].contains(&operation), "{row}");
                    failed += 1;
                }
            }
        }
        assert!(failed > 0);
    });
}

/// An address that is given for a name with its port, which no server knows.
#[test]
fn addresses_that_are_given() {
    let nginx = Nginx::start();
    for_each_engine(|engine| {
        let port = nginx.at.port();
        let pin = format!("--resolve=nowhere.invalid:{port}:127.0.0.1");
        let nobody = ports::free_address().to_string();
        let url = format!("http://nowhere.invalid:{port}/f02");
        let given = || mill(engine).args(["-r", &nobody]).arg(&url);
        assert_eq!(
            json_rows(&given().arg(&pin).run().exits(0))[0]["status"],
            200
        );
        assert_eq!(
            json_rows(&given().run().exits(1))[0]["error"]["operation"],
            "resolve"
        );
        let connect =
            Mill::bare().args(["connect", "--engine", engine.name(), "-r", &nobody, &pin]);
        let output = connect
            .arg(format!("nowhere.invalid:{port}"))
            .run()
            .exits(0);
        assert!(
            output.lines()[0]
                .starts_with(format!("nowhere.invalid:{port}\topen\t127.0.0.1").as_bytes())
        );
    });
}

/// Hosts that are good, stalled, limited, closed, and one that resets every third request, mixed: each row tells what
/// happened to its own request.
#[test]
fn hosts_of_all_kinds() {
    let nginx = Nginx::start();
    let digests = nginx.digests();
    let stalled = Web::sending("", Then::Hang);
    let closed = ports::free_address();
    for_each_engine(|engine| {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let resets = Web::start(move |_, stream| {
            if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 3 == 2 {
                return Ok(Then::Reset);
            }
            std::io::Write::write_all(stream, &response("200 OK", "", "x")).map(|()| Then::Keep)
        });
        let url = |number: usize| match number % 50 {
            // A method that is not repeated, so that its timeouts are few.
            7 => serde_json::json!({"url": stalled.url(&format!("/{number}")), "method": "POST"})
                .to_string(),
            17 => nginx.url(&format!("limited/{}?{number}", nginx::file(number % 4))),
            27 => format!("http://{closed}/{number}"),
            37 => resets.url(&format!("/{number}")),
            host => format!(
                "http://h{host}.example:{}/{}",
                nginx.at.port(),
                nginx::file(number % FILES)
            ),
        };
        let urls: Vec<String> = (0..2000).map(url).collect();
        let pins =
            (0..50).map(|host| format!("--resolve=h{host}.example:{}:127.0.0.1", nginx.at.port()));
        let mill = mill(engine).args(pins).args([
            "-a",
            "sha256",
            "--timeout=2s",
            "--retries=4",
            "--window=2000",
        ]);
        let mill = mill
            .args(["--connect-timeout=60s", "--retry-after-max=60s"])
            .limit(Resource::Nofile, 64, 64);
        let rows = json_rows(&mill.stdin(lines(urls.clone())).run().exits(1));
        assert_eq!(rows.len(), urls.len());
        for (number, (row, url)) in rows.iter().zip(&urls).enumerate() {
            assert!(url.contains(row["url"].as_str().unwrap()), "{row}");
            let error = row["error"]["operation"].as_str();
            match number % 50 {
                7 => assert_eq!(
                    (error, row["error"]["message"].as_str()),
                    (Some("request"), Some("timed out after 2s"))
                ),
                27 => assert_eq!(error, Some("connect"), "{row}"),
                17 => assert!(
                    row["status"] == 429 || row["digest"] == digests[number % 4],
                    "{row}"
                ),
                37 => assert!(row["status"] == 200 || error == Some("request"), "{row}"),
                _ => assert_eq!(row["digest"], digests[number % FILES], "{row}"),
            }
        }
    });
}

/// A server that responds late holds others back only once the window is full of their rows, however few
/// descriptors there are.
#[test]
fn a_late_response_with_few_descriptors() {
    const OTHERS: usize = 3000;
    for_each_engine(|engine| {
        let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&seen);
        let quick = Web::start(move |_, stream| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            std::io::Write::write_all(stream, &response("200 OK", "", "x")).map(|()| Then::Keep)
        });
        let late = Web::start(move |_, stream| {
            while seen.load(std::sync::atomic::Ordering::SeqCst) < OTHERS {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::io::Write::write_all(stream, &response("200 OK", "", "x")).map(|()| Then::Keep)
        });
        let others = (0..OTHERS).map(|number| quick.url(&format!("/{number}")));
        let urls = lines(std::iter::once(late.url("/")).chain(others));
        let mill = mill(engine).args(["--timeout=250s", "--retries=0"]);
        let mill = mill.limit(Resource::Nofile, 32, 32).stdin(urls);
        assert_eq!(json_rows(&mill.run().exits(0)).len(), 1 + OTHERS);
    });
}

/// After SIGINT the output is a prefix of whole rows.
#[test]
fn interruptions() {
    for_each_engine(|engine| {
        let web = Web::start(|_, stream| {
            std::thread::sleep(Duration::from_millis(2));
            std::io::Write::write_all(stream, &response("200 OK", "", "x")).map(|()| Then::Keep)
        });
        let endless = (0..100_000).map(|number| web.url(&format!("/{number}")));
        let mut running = mill(engine)
            .args(["--format", "text"])
            .stdin(lines(endless))
            .start();
        for _ in 0..100 {
            running.read_line();
        }
        running.signal(Signal::INT);
        let output = running.finish();
        for (number, line) in output.lines().iter().enumerate() {
            assert!(String::from_utf8_lossy(line).ends_with(&format!("/{number}")));
        }
        assert!(output.lines().len() >= 100);
        output.killed_by(Signal::INT);
    });
}

/// A full disk under --bodies: rows say so, and none is lost.
#[test]
fn a_full_disk() {
    let disk = SmallDisk::new(4096);
    let body = vec![b'x'; 200_000];
    for_each_engine(|engine| {
        let web = Web::sending(response("200 OK", "", &body), Then::Keep);
        let dir = disk.join(engine.name());
        let list = lines((0..100).map(|number| web.url(&format!("/{number}"))));
        let rows = json_rows(
            &mill(engine)
                .arg("--bodies")
                .arg(&dir)
                .stdin(list)
                .run()
                .exits(1),
        );
        assert_eq!(rows.len(), 100);
        for (number, row) in rows.iter().enumerate() {
            let file = fs::read(dir.join(number.to_string()));
            match row.get("error") {
                None => assert_eq!(file.unwrap(), body),
                Some(error) => {
                    assert_eq!(error["operation"], "write", "{row}");
                    assert!(
                        error["message"].as_str().unwrap().contains("No space left"),
                        "{row}"
                    );
                    assert!(file.is_err(), "{row}");
                }
            }
        }
        assert!(rows.iter().any(|row| row.get("error").is_some()));
        fs::remove_dir_all(&dir).unwrap();
    });
}
