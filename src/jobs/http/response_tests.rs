//! Responses as hyper's client reads them: ours must come to the same result, or refuse what hyper accepts.

use super::framing::Framing;
use super::head::HeadReader;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Method, Request};
use proptest::prelude::*;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Status and body; `None` if there is no response, or not all of it.
type Response = Option<(u16, Vec<u8>)>;

/// Bytes that arrive in parts of these lengths, and then the end.
#[derive(Clone, Debug)]
struct Arriving {
    bytes: Vec<u8>,
    lens: Vec<usize>,
}

impl Arriving {
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let (mut rest, mut lens) = (&self.bytes[..], self.lens.iter().cycle());
        std::iter::from_fn(move || {
            let len = rest.len().min(*lens.next()?);
            let (part, after) = rest.split_at(len);
            rest = after;
            (!part.is_empty()).then_some(part)
        })
    }
}

fn ours(arriving: &Arriving, method: &Method) -> Response {
    let mut reader = HeadReader::new(method, false);
    let mut begun: Option<(u16, Framing)> = None;
    let mut body = Vec::new();
    for mut part in arriving.parts() {
        while !part.is_empty() {
            let count = match &mut begun {
                Some((_, framing)) if framing.is_ended() => return begun.map(|it| (it.0, body)),
                Some((_, framing)) => {
                    let (count, data) = framing.read(part).ok()?;
                    body.extend(data);
                    count
                }
                None => {
                    let (count, head) = reader.read(part).ok()?;
                    begun = head.map(|head| (head.status, head.framing));
                    count
                }
            };
            part = &part[count..];
        }
    }
    let (status, framing) = begun?;
    let is_whole = framing.is_ended() || framing.ends_with_connection();
    is_whole.then_some((status, body))
}

/// A connection of hyper. Nothing arrives before the request was sent.
struct Connection {
    parts: Vec<Vec<u8>>,
    is_requested: bool,
}

impl Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_requested {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(part) = self.parts.last_mut() {
            let count = part.len().min(buffer.remaining());
            buffer.put_slice(&part[..count]);
            part.drain(..count);
            if part.is_empty() {
                self.parts.pop();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_requested = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn of_hyper(arriving: &Arriving, method: &Method) -> Response {
    let mut parts: Vec<_> = arriving.parts().map(<[u8]>::to_vec).collect();
    parts.reverse();
    let connection = Connection {
        parts,
        is_requested: false,
    };
    let request = Request::builder()
        .method(method)
        .uri("/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut sender, carried) = http1::handshake(connection).await.unwrap();
        let response = async move {
            let response = sender.send_request(request).await.ok()?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.ok()?;
            Some((status, body.to_bytes().to_vec()))
        };
        tokio::join!(carried, response).1
    })
}

fn arriving() -> impl Strategy<Value = Arriving> {
    let status = "(200 OK|200 OK|204 No|304 Not|404 |099 x|[0-9]{2,4} x?)";
    let hints = prop_oneof![4 => Just(""), 1 => Just("HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n")];
    let version = prop_oneof![8 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/1.2")];
    let header = prop_oneof![
        2 => (0_usize..30).prop_map(|len| format!("Content-Length: {len}\r\n")),
        1 => "content-length:[ ,+0-9]{0,4}\r\n",
        2 => Just("Transfer-Encoding: chunked\r\n".to_owned()),
        1 => "transfer-encoding: (chunked|gzip|identity|, ){1,3}\r\n",
        1 => Just("Connection: close\r\n".to_owned()),
        2 => "[A-Z:]{1,3}: ?[ -~]{0,6}\r\n",
        1 => "[A-Z]{1,3}[ -~]{0,3}\r?\n",
    ];
    let headers = prop::collection::vec(header, 0..3).prop_map(|headers| headers.concat());
    let body = prop_oneof![
        "[a-z]{0,30}",
        "(5;?[a-z=]{0,3}\r\nhello\r\n|1\r\n[a-z]\r\n){0,4}(0\r\n(A: b\r\n)?\r\n)?",
        "([0-6]|\r\n|a|;| ){0,12}(0\r\n\r\n)?",
    ];
    let lens = prop::collection::vec(1_usize..40, 1..5);
    (hints, version, status, headers, body, lens).prop_map(
        |(hints, version, status, headers, body, lens)| Arriving {
            bytes: format!("{hints}{version} {status}\r\n{headers}\r\n{body}").into_bytes(),
            lens,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What we take for a response, hyper takes for the same. What only hyper accepts has a transfer coding besides
    /// `chunked`, which hyper leaves in the body, or a chunk that begins or ends in a way that RFC 9112 does not allow.
    #[test]
    fn as_hyper_reads_them(
        arriving in arriving(),
        method in prop_oneof![4 => Just(Method::GET), 1 => Just(Method::HEAD), 1 => Just(Method::POST)],
    ) {
        let (ours, hypers) = (ours(&arriving, &method), of_hyper(&arriving, &method));
        let text = String::from_utf8_lossy(&arriving.bytes).to_lowercase();
        let is_chunked = text.contains("transfer-encoding");
        match (&ours, &hypers) {
            (None, Some(_)) => prop_assert!(is_chunked, "{text:?}: only hyper accepts it: {hypers:?}"),
            _ => prop_assert_eq!(&ours, &hypers, "{:?}", text),
        }
    }
}
