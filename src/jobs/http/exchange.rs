//! One request and its response on a connection.

use super::body::{Consumed, Consumer, Decoder, Undecodable};
use super::connections::{InUse, RequestBody};
use super::failure::{Failure, Step};
use super::options::Options;
use super::origins::Origin;
use super::progress::Progress;
use super::request::Request;
use super::retry;
use crate::io::Io;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

/// The User-Agent of requests that name no other.
const USER_AGENT: &str = concat!("ringmill/", env!("CARGO_PKG_VERSION"));

/// The encodings that are decoded.
const ENCODINGS: &str = "gzip, br, zstd";

/// A longer pause is as good as endless.
const PAUSE_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A response that was read to its end.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Consumed,
    /// The pause of the origin that began with this response.
    pub(super) pause: Option<Duration>,
}

/// Sends a request and reads the response. `random` is any number.
pub(super) async fn exchange(
    io: &Io,
    in_use: InUse,
    request: &Request,
    options: &Options,
    progress: &mut Progress,
    random: u64,
) -> Result<Reply, Failure> {
    let message = message(request)?;
    let connection = &in_use.connection;
    let started_at = io.now();
    let ready = poll_fn(|context| connection.sender.borrow_mut().poll_ready(context)).await;
    ready.map_err(|error| Failure::of_hyper(Step::Request, &error).not_sent())?;
    let response = connection.sender.borrow_mut().try_send_request(message);
    let response = response.await.map_err(|mut error| {
        let failure = Failure::of_hyper(Step::Request, error.error());
        match error.take_message() {
            Some(_) => failure.not_sent(),
            None => failure,
        }
    })?;
    progress.timings.set_first_byte(io, started_at);
    let head_at = io.now();
    let (head, body) = Response::into_parts(response);
    let status = head.status.as_u16();
    progress.status = Some(status);
    // At once, so that no other request begins meanwhile.
    let pause = match retry::is_throttled(status) {
        true => Some(pause(&connection.origin, &head.headers, head_at, random)),
        false => None,
    };
    let encoding = head.headers.get(header::CONTENT_ENCODING);
    // A response to HEAD has the headers of a body, but none.
    let encoding = encoding.filter(|_| request.method != Method::HEAD);
    let consumer = Consumer::new(options.keep, options.body_len_max);
    let decoder = Decoder::new(encoding.map(HeaderValue::as_bytes), consumer);
    let consumed = read(body, decoder, options).await?;
    progress.timings.set_body(io, head_at);
    in_use.give_back();
    Ok(Reply {
        status,
        headers: head.headers,
        body: consumed,
        pause,
    })
}

/// Lets the origin rest, as its response asks. `random` is any number.
fn pause(origin: &Origin, headers: &HeaderMap, now: Duration, random: u64) -> Duration {
    let asked = retry::retry_after(headers, SystemTime::now());
    let pause = asked.unwrap_or_else(|| retry::back_off(origin.pauses(), random));
    let pause = pause.min(PAUSE_MAX);
    origin.pause(now + pause, now);
    pause
}

async fn read(
    mut body: Incoming,
    mut decoder: Decoder,
    options: &Options,
) -> Result<Consumed, Failure> {
    let explain = |error| match error {
        Undecodable::TooLong => {
            let len_max = options.body_len_max;
            Failure::new(Step::Body, format_args!("longer than {len_max} bytes")).permanent()
        }
        Undecodable::Invalid(encoding, error) => {
            Failure::new(Step::Body, format_args!("not valid {encoding}: {error}")).permanent()
        }
    };
    let mut is_empty = true;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| Failure::of_hyper(Step::Body, &error))?;
        if let Some(data) = frame.data_ref() {
            is_empty &= data.is_empty();
            decoder.write(data).map_err(explain)?;
        }
    }
    if is_empty {
        // Nothing at all is no valid gzip, but it is a valid empty body (of status 304, for instance).
        decoder = Decoder::new(None, Consumer::new(options.keep, 0));
    }
    decoder.finish().map_err(explain)
}

fn message(request: &Request) -> Result<hyper::Request<RequestBody>, Failure> {
    let mut message = hyper::Request::new(RequestBody::new(request.body.clone()));
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = request
        .target()
        .map_err(|error| Failure::new(Step::Request, error).permanent())?;
    let headers = message.headers_mut();
    headers.clone_from(&request.headers);
    if !headers.contains_key(header::HOST) {
        let host = request.url.host_str().unwrap_or_default();
        let host = match request.url.port() {
            Some(port) => HeaderValue::try_from(format!("{host}:{port}")),
            None => HeaderValue::try_from(host),
        };
        let host = host.map_err(|error| Failure::new(Step::Request, error).permanent())?;
        headers.insert(header::HOST, host);
    }
    for (name, value) in [
        (header::USER_AGENT, USER_AGENT),
        (header::ACCEPT, "*/*"),
        (header::ACCEPT_ENCODING, ENCODINGS),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    Ok(message)
}
