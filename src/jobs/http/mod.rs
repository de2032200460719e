//! Sends requests to web servers, no faster than each of them allows.
//!
//! An item is a request: a URL, or a JSON object with one.

mod body;
mod body_files;
mod brotli;
mod connections;
mod exchange;
mod failure;
mod framing;
mod head;
mod link;
mod message;
mod options;
mod origins;
#[cfg(test)]
mod origins_tests;
mod overflow;
mod phases;
mod progress;
mod redirect;
mod request;
#[cfg(test)]
mod response_tests;
mod retry;
mod tls;
mod url_reader;

pub use body::Body;
pub use body_files::{BodyFile, BodyFiles, create as create_body_file};
use failure::Outlook;
pub use failure::{Failure, Step};
pub use framing::{BadChunk, Framing};
pub use head::{Head, HeadReader, InvalidHead};
pub use options::{Keep, Options};
pub use origins::OriginLimits;
pub use phases::{BODY, CONNECT, FIRST_BYTE, PARK, RESOLVE, TLS};
pub use progress::{Progress, Timings};
pub use request::{Invalid, Line, Request, Template, parse_header, parse_method, parse_url};
pub use tls::{Trust, client_config};
pub use url_reader::UrlReader;

use super::Job;
use super::connect::NameService;
use crate::digest::Digest;
use crate::error::ItemError;
use crate::io::Io;
use crate::item::Item;
use crate::stats::Phase;
use connections::Connections;
use exchange::{Reply, exchange};
use http::header::HeaderMap;
use origins::{Origin, Origins};
use serde_json::{Map, Value};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use url::Url;

/// As many bytes in a file count as one in memory, so that the files of the responses that wait are limited, too.
const FILE_BYTES_PER_BYTE: u64 = 64;

/// Sends requests.
#[derive(Clone, Debug)]
pub struct HttpJob {
    names: NameService,
    options: Arc<Options>,
    origins: Origins,
    /// Counts the loops and workers.
    loops: Arc<AtomicU32>,
}

/// What the items of a loop share.
pub struct Local {
    connections: Rc<Connections>,
    urls: RefCell<UrlReader>,
    options: Arc<Options>,
    origins: Origins,
}

/// The result of an item: what happened, or why it is not a request.
pub type Found = Result<Fetched, Invalid>;

/// What happened to a request.
#[derive(Debug)]
pub struct Fetched {
    /// The URL as it was written in the item.
    pub url: Box<str>,
    /// The URL of the last request.
    pub final_url: Url,
    /// The redirects that were followed.
    pub redirects: u32,
    /// The requests that were made or begun, with retries and redirects.
    pub attempts: u32,
    /// The last response, if it was read to its end.
    pub response: Option<Response>,
    /// Why there is none, or none that was asked for.
    pub failure: Option<Failure>,
    /// How far the last attempt got, and how long its steps took.
    pub progress: Progress,
    /// Members of the item's JSON object to repeat in the row.
    pub input: Map<String, Value>,
}

/// A response that was read to its end.
#[derive(Debug)]
pub struct Response {
    /// Its headers, if they are kept.
    pub headers: Option<HeaderMap>,
    /// The length of its body in bytes, decoded.
    pub size: u64,
    /// The digest of its body, if requested.
    pub digest: Option<Digest>,
    /// Its body, if it is kept.
    pub body: Option<Body>,
}

impl Fetched {
    /// True without a failure and with a status below 400.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failure.is_none() && self.progress.status.is_some_and(|status| status < 400)
    }

    /// The memory that the body takes, in bytes. A file counts for a part of its length.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        let Some(response) = &self.response else {
            return 0;
        };
        match &response.body {
            None => 0,
            Some(Body::Memory(bytes)) => bytes.len(),
            Some(Body::File(_)) => {
                usize::try_from(response.size / FILE_BYTES_PER_BYTE).unwrap_or(usize::MAX)
            }
        }
    }

    /// Why there is no response, or none that was asked for, in words.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match (&self.failure, self.progress.status) {
            (Some(failure), _) => Some(format!("{}: {}", failure.step.name(), failure.message)),
            (None, Some(status)) if status >= 400 => Some(format!("status {status}")),
            _ => None,
        }
    }
}

impl HttpJob {
    /// Sends requests in this way.
    #[must_use]
    pub fn new(names: NameService, mut options: Options, limits: OriginLimits) -> Self {
        options.connect_timeout = options.connect_timeout.min(options.timeout);
        Self {
            names,
            options: Arc::new(options),
            origins: Origins::new(limits),
            loops: Arc::default(),
        }
    }
}

impl Job for HttpJob {
    type Value = Found;
    type Local = Local;

    const PHASES: &'static [Phase] = &[
        Phase::QUEUE,
        RESOLVE,
        PARK,
        CONNECT,
        TLS,
        FIRST_BYTE,
        BODY,
        Phase::TOTAL,
        Phase::REORDER,
        Phase::SCHEDULED_QUEUE,
        Phase::SCHEDULED_TOTAL,
    ];

    const WAITS_FOR_REPLIES: bool = true;

    fn local(&self, io: &Io) -> Local {
        let loop_id = self.loops.fetch_add(1, Ordering::Relaxed);
        Local {
            connections: Connections::new(io, loop_id, &self.options, self.names.local(io)),
            urls: RefCell::default(),
            options: Arc::clone(&self.options),
            origins: self.origins.clone(),
        }
    }

    async fn run(local: Rc<Local>, io: Io, item: Item) -> Result<Found, ItemError> {
        let line = match local
            .options
            .template
            .read(&mut local.urls.borrow_mut(), item.bytes())
        {
            Ok(line) => line,
            Err(invalid) => return Ok(Err(invalid)),
        };
        Ok(Ok(local.fetch(&io, line, item.index()).await))
    }

    fn is_failure(found: &Found) -> bool {
        !found.as_ref().is_ok_and(Fetched::is_success)
    }

    fn bytes_held(found: &Found) -> usize {
        found.as_ref().map_or(0, Fetched::bytes_held)
    }
}

impl Local {
    async fn fetch(&self, io: &Io, line: Line, index: u64) -> Fetched {
        let started_at = io.now();
        let mut request = line.request;
        let mut fetched = Fetched {
            url: line.url,
            final_url: request.url.clone(),
            redirects: 0,
            attempts: 0,
            response: None,
            failure: None,
            progress: Progress::default(),
            input: line.input,
        };
        loop {
            let reply = match self.reply(io, &request, index, &mut fetched).await {
                Ok(reply) => reply,
                Err(failure) => {
                    fetched.failure = Some(failure);
                    break;
                }
            };
            let next = match self.options.redirects_max {
                0 => Ok(None),
                _ => redirect::next_request(&request, reply.status, &reply.headers),
            };
            match next {
                Ok(Some(next)) if fetched.redirects < self.options.redirects_max => {
                    fetched.redirects += 1;
                    request = next;
                    continue;
                }
                Ok(Some(_)) => {
                    let reason = format_args!("more than {} redirects", self.options.redirects_max);
                    fetched.failure = Some(Failure::new(Step::Redirect, reason));
                }
                Ok(None) => {}
                Err(failure) => fetched.failure = Some(failure),
            }
            fetched.response = Some(self.response(reply));
            break;
        }
        fetched.final_url = request.url;
        fetched.progress.timings.total = Some(io.now().saturating_sub(started_at));
        fetched
    }

    fn response(&self, reply: Reply) -> Response {
        Response {
            headers: self.options.keeps_headers.then_some(reply.headers),
            size: reply.size,
            digest: reply.digest,
            body: reply.body,
        }
    }

    /// The reply to a request, after retries.
    async fn reply(
        &self,
        io: &Io,
        request: &Request,
        index: u64,
        fetched: &mut Fetched,
    ) -> Result<Reply, Failure> {
        let origin = self.origins.of(&request.url, io.now());
        let mut retries = 0;
        loop {
            fetched.attempts += 1;
            let progress = &mut fetched.progress;
            let random = index ^ (u64::from(fetched.attempts) << 48);
            let outcome = self.attempt(io, &origin, request, progress, random).await;
            let is_last = retries == self.options.retries;
            match &outcome {
                Ok(Reply {
                    status,
                    pause: Some(pause),
                    ..
                }) => {
                    if let Some(failure) = self.too_long(*status, *pause) {
                        return Err(failure);
                    }
                    if is_last || !request.is_idempotent() {
                        return outcome;
                    }
                    // The next turn comes after the pause.
                }
                Ok(reply) => {
                    origin.note_served(reply.ended_at);
                    let is_transient = retry::is_transient(reply.status);
                    if is_last || !is_transient || !request.is_idempotent() {
                        return outcome;
                    }
                    let pause = retry::back_off(retries, random);
                    io.park(io.sleep_until(io.now() + pause)).await;
                }
                Err(failure) => {
                    fetched.attempts -= u32::from(failure.outlook == Outlook::NotBegun);
                    if is_last || !retry::may_retry(request, failure) {
                        return outcome;
                    }
                    let pause = retry::back_off(retries, random);
                    io.park(io.sleep_until(io.now() + pause)).await;
                }
            }
            retries += 1;
        }
    }

    /// A pause of the origin that is longer than items wait.
    fn too_long(&self, status: u16, pause: Duration) -> Option<Failure> {
        if pause <= self.origins.pause_max() {
            return None;
        }
        let pause = humantime::format_duration(pause);
        let reason = format_args!(
            "status {status}: the server asks for a pause of {pause}, longer than --retry-after-max"
        );
        Some(Failure::new(Step::Request, reason).permanent())
    }

    /// One attempt. If the server has closed a connection that it had kept open, another one is used: that happens
    /// whenever both act at the same time.
    async fn attempt(
        &self,
        io: &Io,
        origin: &Arc<Origin>,
        request: &Request,
        progress: &mut Progress,
        random: u64,
    ) -> Result<Reply, Failure> {
        loop {
            progress.begin_attempt();
            let in_use = self.connections.get(origin, &request.url, progress).await?;
            let was_used = in_use.connection.was_used();
            let timeout = self.options.timeout;
            let is_writing = Cell::new(false);
            // In a box, so that the futures of items that wait for their turn stay small.
            let exchange = Box::pin(exchange(
                io,
                in_use,
                request,
                &self.options,
                progress,
                &is_writing,
                random,
            ));
            let reply = io.until(io.now() + timeout, exchange).await;
            let reply = reply.unwrap_or_else(|| {
                let step = match progress.status {
                    _ if is_writing.get() => Step::Write,
                    Some(_) => Step::Body,
                    None => Step::Request,
                };
                Err(Failure::timed_out(step, timeout))
            });
            match reply {
                Err(failure)
                    if was_used
                        && failure.is_lost_connection
                        && retry::may_retry(request, &failure) => {}
                reply => return reply,
            }
        }
    }
}
