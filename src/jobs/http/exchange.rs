//! One request and its response on a connection.

use super::body::{Body, Consumed, Consumer, Decoder, Undecodable};
use super::connections::InUse;
use super::failure::{Failure, Step};
use super::framing::Framing;
use super::head::{Head, HeadReader};
use super::link::Link;
use super::message;
use super::options::Options;
use super::overflow::Overflow;
use super::progress::Progress;
use super::request::Request;
use super::retry;
use crate::digest::Digest;
use crate::io::Io;
use http::header::HeaderMap;
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

/// How much of a body is decoded in one poll, in bytes: a body that is always ready must not delay other items.
const DECODED_PER_POLL: u64 = 256 * 1024;

/// A response that was read to its end.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Its headers, if they are kept or it is no success.
    pub(super) headers: HeaderMap,
    /// The length of its body in bytes, decoded.
    pub(super) size: u64,
    pub(super) digest: Option<Digest>,
    pub(super) body: Option<Body>,
    /// The pause of the origin that began with this response.
    pub(super) pause: Option<Duration>,
    /// When the response had been read.
    pub(super) ended_at: Duration,
}

/// Sends a request and reads the response. `random` is any number. `is_writing` is true while the body is written to
/// its file.
pub(super) async fn exchange(
    io: &Io,
    in_use: InUse,
    request: &Request,
    options: &Options,
    progress: &mut Progress,
    is_writing: &Cell<bool>,
    random: u64,
) -> Result<Reply, Failure> {
    let started_at = io.now();
    let mut transfer = Transfer::new(&in_use, message::encode(request));
    poll_fn(|context| transfer.poll_unused(context)).await?;
    let head = transfer.head(request, options).await?;
    let head_at = progress.timings.set_first_byte(io, started_at);
    progress.status = Some(head.status);
    // At once, so that no other request begins meanwhile.
    let pause = retry::is_throttled(head.status).then(|| {
        let asked = retry::retry_after(&head.headers, SystemTime::now());
        in_use.connection.origin.pause(asked, random, head_at)
    });
    let consumer = Consumer::new(options.keep, options.body_len_max);
    let decoder =
        Decoder::new(head.encoding, consumer).map_err(|error| undecodable(error, options))?;
    let body = Incoming {
        framing: head.framing,
        decoder,
        undecoded: 0,
        is_empty: true,
    };
    let mut overflow = Overflow::new(options, is_writing);
    let consumed = transfer.body(body, &mut overflow);
    let Consumed { size, digest, kept } = consumed.await?;
    let body = match kept {
        Some(kept) => Some(overflow.finish(kept).await?),
        None => None,
    };
    let ended_at = progress.timings.set_body(io, head_at);
    if head.is_kept_alive && transfer.is_complete() {
        in_use.give_back(ended_at);
    }
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        size,
        digest,
        body,
        pause,
        ended_at,
    })
}

fn undecodable(error: Undecodable, options: &Options) -> Failure {
    match error {
        Undecodable::TooLong => {
            let len_max = options.body_len_max;
            Failure::new(Step::Body, format_args!("longer than {len_max} bytes"))
        }
        Undecodable::Invalid(encoding, error) => {
            Failure::new(Step::Body, format_args!("not valid {encoding}: {error}"))
        }
    }
    .permanent()
}

/// A body that is received.
struct Incoming {
    framing: Framing,
    decoder: Decoder,
    /// The first bytes that were received and not consumed: they belong to the body, and are not decoded yet.
    undecoded: usize,
    /// Nothing of it has been received.
    is_empty: bool,
}

impl Incoming {
    /// Decodes the first part of the bytes. Returns its length.
    fn decode(&mut self, bytes: &[u8], options: &Options) -> Result<usize, Failure> {
        let decoded = self.decoder.write(bytes);
        decoded.map_err(|error| undecodable(error, options))
    }
}

/// What is sent and received on a connection for one request.
struct Transfer<'a> {
    in_use: &'a InUse,
    message: Vec<u8>,
    /// The bytes of the message that were taken to be sent.
    accepted: usize,
    sending: Sending,
}

/// How far the request was sent.
enum Sending {
    Going,
    Done,
    /// The server may have responded nevertheless.
    Failed(io::Error),
}

impl<'a> Transfer<'a> {
    fn new(in_use: &'a InUse, message: Vec<u8>) -> Self {
        Self {
            in_use,
            message,
            accepted: 0,
            sending: Sending::Going,
        }
    }

    /// Fails if the connection has served a request before, and something has arrived since then: its end, or
    /// bytes that are no response to this request.
    fn poll_unused(&self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if !self.in_use.connection.was_used() {
            return Poll::Ready(Ok(()));
        }
        let failure = match self.in_use.link().poll_received(context) {
            Poll::Pending => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(_)) => Failure::of_end(Step::Request),
            Poll::Ready(Err(error)) => Failure::of_connection(Step::Request, &error),
        };
        Poll::Ready(Err(failure.not_sent()))
    }

    /// Receives bytes while the request is sent. None at all means the end.
    fn poll_received<'l>(
        &mut self,
        link: &'l mut Link,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<&'l [u8]>> {
        if matches!(self.sending, Sending::Going) {
            let sent = link.poll_send(context, &self.message, &mut self.accepted);
            match sent {
                Poll::Ready(Ok(())) => self.sending = Sending::Done,
                Poll::Ready(Err(error)) => self.sending = Sending::Failed(error),
                Poll::Pending => {}
            }
        }
        link.poll_received(context)
    }

    /// Why the connection ended at a step.
    fn end(&self, step: Step) -> Failure {
        match &self.sending {
            Sending::Failed(error) => Failure::of_connection(step, error),
            Sending::Going | Sending::Done => Failure::of_end(step),
        }
    }

    /// The head of the response, after all that inform of it.
    async fn head(&mut self, request: &Request, options: &Options) -> Result<Head, Failure> {
        let mut reader = HeadReader::new(&request.method, options.keeps_headers);
        poll_fn(|context| {
            loop {
                let link = &mut *self.in_use.link();
                let bytes = match ready!(self.poll_received(link, context)) {
                    Ok([]) => return Poll::Ready(Err(self.end(Step::Request))),
                    Ok(bytes) => bytes,
                    Err(error) => {
                        return Poll::Ready(Err(Failure::of_connection(Step::Request, &error)));
                    }
                };
                let (count, head) = reader.read(bytes).map_err(|error| {
                    let reason = format_args!("not a valid response: {error}");
                    Failure::new(Step::Request, reason).permanent()
                })?;
                link.consume(count);
                if let Some(head) = head {
                    return Poll::Ready(Ok(head));
                }
            }
        })
        .await
    }

    /// The body of the response.
    async fn body(
        &mut self,
        mut body: Incoming,
        overflow: &mut Overflow<'_>,
    ) -> Result<Consumed, Failure> {
        let options = overflow.options;
        loop {
            let received = poll_fn(|context| {
                let pause_at = body.decoder.decoded() + DECODED_PER_POLL;
                while ready!(self.poll_body(&mut body, options, context))? {
                    if let Some(bytes) = body.decoder.take(options.body_len_in_memory) {
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                    if body.decoder.decoded() >= pause_at {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Ok::<_, Failure>(None))
            });
            match received.await? {
                Some(bytes) => overflow.write(bytes).await?,
                None => break,
            }
        }
        if body.is_empty {
            // Nothing at all is no valid gzip, but it is a valid empty body (after HEAD or with status 304).
            return Ok(Consumer::new(options.keep, 0).finish());
        }
        body.decoder
            .finish()
            .map_err(|error| undecodable(error, options))
    }

    /// Receives and decodes more of the body. False at its end.
    fn poll_body(
        &mut self,
        body: &mut Incoming,
        options: &Options,
        context: &mut Context<'_>,
    ) -> Poll<Result<bool, Failure>> {
        if body.decoder.has_more() {
            body.decode(&[], options)?;
            return Poll::Ready(Ok(true));
        }
        if body.undecoded == 0 && body.framing.is_ended() {
            return Poll::Ready(Ok(false));
        }
        let link = &mut *self.in_use.link();
        let bytes = match ready!(self.poll_received(link, context)) {
            Ok([]) if body.framing.ends_with_connection() => return Poll::Ready(Ok(false)),
            Ok([]) => return Poll::Ready(Err(self.end(Step::Body))),
            Ok(bytes) => bytes,
            Err(error) => return Poll::Ready(Err(Failure::of_connection(Step::Body, &error))),
        };
        if body.undecoded == 0 {
            let read = body.framing.read(bytes);
            let (count, data) = read.map_err(|error| Failure::new(Step::Body, error))?;
            if data.is_empty() {
                link.consume(count);
                return Poll::Ready(Ok(true));
            }
            debug_assert_eq!(count, data.len(), "data come without anything else");
            body.undecoded = count;
        }
        body.is_empty = false;
        let decoded = body.decode(&bytes[..body.undecoded], options)?;
        body.undecoded -= decoded;
        link.consume(decoded);
        Poll::Ready(Ok(true))
    }

    /// True if the request was sent, and nothing follows the response.
    fn is_complete(&self) -> bool {
        matches!(self.sending, Sending::Done) && self.in_use.link().is_quiet()
    }
}
