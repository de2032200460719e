//! `ringmill http` with peers that misbehave, byte by byte: each has its error, and costs no other item anything.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::http::mill;
use crate::support::certificates::Authority;
use crate::support::rows::json_rows;
use crate::support::web::{Seen, Then, Web, response};
use crate::support::{Engine, for_each_engine, with_patience};

const MAX_BODY: usize = 1_000_000;

const TIMED_OUT: &str = "timed out after";

/// A peer, and what rows say of it.
struct Case {
    web: Web,
    operation: &'static str,
    message: &'static str,
    /// The status code, if the head of the response is whole.
    status: Option<u16>,
}

fn case(
    respond: impl Fn(&Seen, &mut TcpStream) -> io::Result<Then> + Send + Sync + 'static,
    operation: &'static str,
    message: &'static str,
) -> Case {
    let status = (operation == "body").then_some(200);
    Case {
        web: Web::start(respond),
        operation,
        message,
        status,
    }
}

fn sends(
    bytes: impl Into<Vec<u8>>,
    then: Then,
    operation: &'static str,
    message: &'static str,
) -> Case {
    let bytes = bytes.into();
    case(
        move |_, stream| stream.write_all(&bytes).map(|()| then),
        operation,
        message,
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Sends this again and again until the client closes the connection.
fn endless(
    head: &'static str,
    again: impl AsRef<[u8]> + Send + Sync + 'static,
) -> impl Fn(&Seen, &mut TcpStream) -> io::Result<Then> + Send + Sync {
    move |_, stream| {
        stream.write_all(head.as_bytes())?;
        loop {
            stream.write_all(again.as_ref())?;
        }
    }
}

fn cases() -> Vec<Case> {
    const HEAD: &str = "HTTP/1.1 200 OK\r\n";
    let with = |rest: &str| format!("{HEAD}{rest}");
    let before = "the connection was closed before a response";
    let midway = "the connection was closed before the end of the body";
    let invalid = "not a valid response";
    let too_long = "longer than 1000000 bytes";
    let bomb = gzip(&vec![0; 50 * MAX_BODY]);
    let whole = gzip(b"some text that is compressed");
    vec![
        sends("", Then::Close, "request", before),
        sends("", Then::Reset, "request", "Connection reset by peer"),
        sends(with("content-le"), Then::Close, "request", before),
        sends(
            b"\x00\xff\xfe garbage\r\n\r\n".as_slice(),
            Then::Close,
            "request",
            invalid,
        ),
        sends("SSH-2.0-OpenSSH_9.2\r\n", Then::Hang, "request", invalid),
        sends(
            with(&"a: b\r\n".repeat(10_000)),
            Then::Hang,
            "request",
            invalid,
        ),
        case(
            endless("HTTP/1.1 200 OK\r\nx: ", "a".repeat(65_536)),
            "request",
            invalid,
        ),
        sends(
            with("content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
            Then::Hang,
            "request",
            invalid,
        ),
        sends(
            with("content-length: -5\r\n\r\nhello"),
            Then::Hang,
            "request",
            invalid,
        ),
        sends(
            with("content-length: 10\r\n\r\nhello"),
            Then::Close,
            "body",
            midway,
        ),
        sends(
            with("content-length: 10\r\n\r\nhello"),
            Then::Reset,
            "body",
            "Connection reset by peer",
        ),
        sends(
            with("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"),
            Then::Hang,
            "body",
            "chunk",
        ),
        sends(
            with("transfer-encoding: chunked\r\n\r\n5\r\nhellooo\r\n0\r\n\r\n"),
            Then::Hang,
            "body",
            "chunk",
        ),
        sends(
            with("transfer-encoding: chunked\r\n\r\n5\r\nhel"),
            Then::Close,
            "body",
            midway,
        ),
        sends(
            with("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            Then::Close,
            "body",
            midway,
        ),
        case(
            endless("HTTP/1.1 200 OK\r\n\r\n", [b'x'; 65_536]),
            "body",
            too_long,
        ),
        case(
            endless(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                format!("64\r\n{}\r\n", "x".repeat(100)).repeat(100),
            ),
            "body",
            too_long,
        ),
        sends(
            response("200 OK", "", vec![b'x'; MAX_BODY + 1]),
            Then::Hang,
            "body",
            too_long,
        ),
        sends(
            response("200 OK", "content-encoding: gzip\r\n", bomb),
            Then::Hang,
            "body",
            too_long,
        ),
        sends(
            response(
                "200 OK",
                "content-encoding: gzip\r\n",
                &whole[..whole.len() - 4],
            ),
            Then::Hang,
            "body",
            "not valid gzip",
        ),
        sends(
            response("200 OK", "content-encoding: gzip\r\n", "not compressed"),
            Then::Hang,
            "body",
            "not valid gzip",
        ),
        sends(
            response("200 OK", "content-encoding: zstd\r\n", "not compressed"),
            Then::Hang,
            "body",
            "not valid zstd",
        ),
        sends(
            response("200 OK", "content-encoding: br\r\n", "not compressed"),
            Then::Hang,
            "body",
            "not valid br",
        ),
        sends("", Then::Hang, "request", TIMED_OUT),
        sends(
            with("content-length: 10\r\n\r\nhello"),
            Then::Hang,
            "body",
            TIMED_OUT,
        ),
        case(
            |_, stream| loop {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                thread::sleep(Duration::from_millis(50));
            },
            "request",
            TIMED_OUT,
        ),
        case(
            |_, stream| {
                for byte in b"HTTP/1.1 200 OK\r\nx: "
                    .iter()
                    .chain([b'a'; 100_000].iter())
                {
                    stream.write_all(&[*byte])?;
                    thread::sleep(Duration::from_millis(50));
                }
                Ok(Then::Close)
            },
            "request",
            TIMED_OUT,
        ),
    ]
}

/// All of them in one list with a good one: every row is right, and each is tried as often as it says.
#[test]
fn peers_that_misbehave() {
    for_each_engine(|engine| {
        with_patience(
            |timeout_s| misbehaving(engine, timeout_s),
            |is_late| *is_late,
        );
    });
}

/// True if something timed out that should not; the rows are compared with what is expected otherwise.
fn misbehaving(engine: Engine, timeout_s: u32) -> bool {
    let cases = cases();
    let good = Web::start(|seen, stream| {
        stream
            .write_all(&response("200 OK", "", seen.target()))
            .map(|()| Then::Keep)
    });
    let mut list = String::new();
    for round in 0..3 {
        for (number, case) in cases.iter().enumerate() {
            let path = format!("/{round}/{number}");
            list += &format!("{}\n{}\n", case.web.url(&path), good.url(&path));
        }
    }
    let (timeout, max_body) = (format!("{timeout_s}s"), MAX_BODY.to_string());
    let options = ["--retries=0", "--body", "--max-body", &max_body];
    let mill = mill(engine).args(options).args(["--timeout", &timeout]);
    let rows = json_rows(&mill.stdin(list).run().exits(1));
    assert_eq!(rows.len(), 3 * 2 * cases.len());
    let message = |row: &Value| row["error"]["message"].as_str().map(str::to_owned);
    let times_out = |row: &Value| message(row).is_some_and(|it| it.contains(TIMED_OUT));
    let pairs = || rows.chunks(2).zip(cases.iter().cycle());
    let is_late = |pair: &[Value], case: &Case| {
        times_out(&pair[0]) && case.message != TIMED_OUT || times_out(&pair[1])
    };
    if pairs().any(|(pair, case)| is_late(pair, case)) {
        return true;
    }
    for (at, (pair, case)) in pairs().enumerate() {
        let (round, number) = (at / cases.len(), at % cases.len());
        let row = &pair[0];
        assert_eq!(
            row["error"]["operation"], case.operation,
            "case {number}: {row}"
        );
        let message = message(row).unwrap();
        assert!(message.contains(case.message), "case {number}: {row}");
        assert_eq!(
            row.get("status").and_then(Value::as_u64),
            case.status.map(u64::from),
            "case {number}: {row}"
        );
        assert_eq!(row["remote"], case.web.at.to_string());
        assert_eq!(row["attempts"], 1);
        if times_out(row) {
            assert!(message.ends_with(&timeout), "{row}");
            let waited = row["total_ns"].as_u64();
            assert!(
                waited >= Some(u64::from(timeout_s) * 1_000_000_000),
                "{row}"
            );
        }
        assert_eq!(pair[1]["body"]["text"], format!("/{round}/{number}"));
    }
    for (number, case) in cases.iter().enumerate() {
        assert_eq!(case.web.seen().len(), 3, "case {number}");
    }
    false
}

/// A second response that nobody has asked for answers no other request.
#[test]
fn responses_that_nobody_asked_for() {
    for_each_engine(|engine| {
        let web = Web::start(|seen, stream| {
            let mut bytes = response("200 OK", "", seen.target());
            bytes.extend(response("200 OK", "", "smuggled"));
            stream.write_all(&bytes).map(|()| Then::Keep)
        });
        let list: String = (0..200)
            .map(|number| web.url(&format!("/{number}\n")))
            .collect();
        let rows = json_rows(
            &mill(engine)
                .args(["--body", "--per-host=2"])
                .stdin(list)
                .run()
                .exits(0),
        );
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(row["body"]["text"], format!("/{number}"), "{row}");
        }
        assert_eq!(rows.len(), 200);
    });
}

/// A body without a length ends with the connection: with TLS only after a close_notify.
#[test]
fn the_end_of_a_tls_connection() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::in_dir(dir.path());
    let leaf = authority.issue("127.0.0.1", false);
    let certificate = CertificateDer::from_pem_file(&leaf.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&leaf.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = Arc::new(
        config
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap(),
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            thread::spawn(move || {
                let mut stream = StreamOwned::new(session, stream.unwrap());
                let mut head = [0; 4096];
                let len = io::Read::read(&mut stream, &mut head).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
                if head[..len].starts_with(b"GET /notify ") {
                    stream.conn.send_close_notify();
                }
                stream.flush().unwrap();
            });
        }
    });
    for_each_engine(|engine| {
        let urls = ["notify", "silent"].map(|path| format!("https://{at}/{path}"));
        let cacert = authority.file();
        let output = mill(engine)
            .args(["--body", "--retries=0", "--cacert"])
            .arg(cacert)
            .args(urls)
            .run()
            .exits(1);
        let rows = json_rows(&output);
        assert_eq!(rows[0]["body"]["text"], "hello", "{}", rows[0]);
        assert_eq!(rows[1]["error"]["operation"], "body", "{}", rows[1]);
        assert!(
            rows[1]["error"]["message"]
                .as_str()
                .unwrap()
                .contains("close_notify"),
            "{}",
            rows[1]
        );
    });
}
