//! Connects to endpoints: is there a listener, and how long does it take?
//!
//! An item is an endpoint. The addresses of a name are tried one after the other until one is open.

mod attempt;
mod endpoint;
mod hosts;
mod names;
mod pins;

pub(in crate::jobs) use attempt::attempt;
pub use attempt::{Attempt, Status};
pub use endpoint::{Endpoint, Invalid, Ports, parse_port};
pub use hosts::{HOSTS, Hosts};
pub(in crate::jobs) use names::Names;
pub use names::{Families, NameService, Unresolved};
pub use pins::{Pin, Pins};

use super::Job;
use crate::error::ItemError;
use crate::io::{EXHAUSTION_BACKOFF, Io, Socket};
use crate::item::Item;
use crate::stats::Phase;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The time until the addresses of a name were known.
pub const RESOLVE: Phase = Phase::of_job(0, "resolve");
/// The time from a connect to its result.
pub const CONNECT: Phase = Phase::of_job(1, "connect");
/// The time from the established connection to the first bytes of the peer.
pub const BANNER: Phase = Phase::of_job(2, "banner");

/// Connects to endpoints.
#[derive(Clone, Debug)]
pub struct ConnectJob {
    /// How names are resolved.
    pub names: NameService,
    /// How connections are made.
    pub options: Options,
}

/// How connections are made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a connect may take, and then the banner.
    pub timeout: Duration,
    /// Connections are closed by a reset, which leaves no state (TIME_WAIT) behind.
    pub abort: bool,
    /// The most bytes to read of what the peer sends first; 0: it is not waited for.
    pub banner_len_max: usize,
}

/// What the items of a loop share.
pub struct Local {
    names: Names,
    options: Options,
}

/// The result of an item: what happened, or why it is not an endpoint.
pub type Found = Result<Connection, Invalid>;

/// What happened to an endpoint.
#[derive(Clone, Debug)]
pub struct Connection {
    /// One for each address tried; the last one decides.
    pub attempts: Vec<Attempt>,
    /// Why there is no address to try.
    pub unresolved: Option<Unresolved>,
    /// How long it took to get the addresses, if the endpoint has a name.
    pub resolve_time: Option<Duration>,
    /// The first bytes of the peer, if they were requested and any came in time.
    pub banner: Option<Box<[u8]>>,
}

impl Connection {
    /// The attempt that decides: the open one, or the last.
    #[must_use]
    pub fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// The word for what happened.
    #[must_use]
    pub fn status_name(&self) -> &'static str {
        self.last()
            .map_or(UNRESOLVED, |attempt| attempt.status.name())
    }

    /// True if the connection was established.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.last()
            .is_some_and(|attempt| attempt.status == Status::Open)
    }
}

/// The status of a name without an address.
pub const UNRESOLVED: &str = "unresolved";
/// The status of a line that is not an endpoint.
pub const INVALID: &str = "invalid";

impl Job for ConnectJob {
    type Value = Found;
    type Local = Local;

    const PHASES: &'static [Phase] = &[
        Phase::QUEUE,
        RESOLVE,
        CONNECT,
        BANNER,
        Phase::TOTAL,
        Phase::REORDER,
        Phase::SCHEDULED_QUEUE,
        Phase::SCHEDULED_TOTAL,
    ];

    const WAITS_FOR_REPLIES: bool = true;

    fn local(&self, io: &Io) -> Local {
        Local {
            names: self.names.local(io),
            options: self.options,
        }
    }

    fn run(
        local: Rc<Local>,
        io: Io,
        item: Item,
    ) -> impl Future<Output = Result<Found, ItemError>> + 'static {
        connect(local, io, item)
    }

    fn is_failure(found: &Found) -> bool {
        !found.as_ref().is_ok_and(Connection::is_open)
    }

    fn bytes_held(found: &Found) -> usize {
        found.as_ref().map_or(0, |connection| {
            let banner = connection.banner.as_ref().map_or(0, |banner| banner.len());
            banner + connection.attempts.capacity() * size_of::<Attempt>()
        })
    }
}

async fn connect(local: Rc<Local>, io: Io, item: Item) -> Result<Found, ItemError> {
    let endpoint = match Endpoint::parse(item.bytes()) {
        Ok(endpoint) => endpoint,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let mut connection = Connection {
        attempts: Vec::with_capacity(1),
        unresolved: None,
        resolve_time: None,
        banner: None,
    };
    match endpoint {
        Endpoint::Address(address) => {
            try_address(&local.options, &io, address, &mut connection).await;
        }
        Endpoint::Name(name, port) => {
            let started_at = io.now();
            // In a box, so that the futures of addresses stay small.
            let resolved = Box::pin(local.names.resolve(&io, &name, port)).await;
            let time = io.now().saturating_sub(started_at);
            io.record(RESOLVE, time);
            connection.resolve_time = Some(time);
            connection.unresolved = resolved.failure;
            for &ip in &*resolved.addresses {
                let address = SocketAddr::new(ip, port);
                try_address(&local.options, &io, address, &mut connection).await;
                if connection.is_open() {
                    break;
                }
            }
        }
    }
    Ok(Ok(connection))
}

async fn try_address(options: &Options, io: &Io, address: SocketAddr, connection: &mut Connection) {
    let (attempt, socket) = attempt(io, address, options.timeout, None).await;
    io.record(CONNECT, attempt.time);
    connection.attempts.push(attempt);
    let Some(socket) = socket else { return };
    if options.banner_len_max > 0 {
        connection.banner = Box::pin(read_banner(options, io, &socket)).await;
    }
    if options.abort {
        socket.abort_on_close();
    }
}

/// What the peer sends first: the bytes that arrive together.
async fn read_banner(options: &Options, io: &Io, socket: &Socket) -> Option<Box<[u8]>> {
    let started_at = io.now();
    let receive = receive(options.banner_len_max, io, socket);
    let bytes = io.until(started_at + options.timeout, receive).await??;
    io.record(BANNER, io.now().saturating_sub(started_at));
    Some(bytes.into())
}

/// Receives bytes; `None` at the end, or if the connection fails.
async fn receive(len_max: usize, io: &Io, socket: &Socket) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len_max];
    loop {
        let received;
        (bytes, received) = socket.receive(bytes).await;
        match received {
            Ok(count) => {
                bytes.truncate(count);
                return Some(bytes).filter(|bytes| !bytes.is_empty());
            }
            Err(errno) if errno.is_exhaustion() => {
                io.sleep_until(io.now() + EXHAUSTION_BACKOFF).await;
            }
            Err(_) => return None,
        }
    }
}
