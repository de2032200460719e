//! The connections of a loop: opened when they are needed, kept for further requests, and closed when they
//! have been idle for long or another one needs the descriptor.

use super::failure::{Failure, Step};
use super::link::{Link, Tls};
use super::options::Options;
use super::origins::{Closer, ConnectionId, Grant, Idle, Origin};
use super::progress::{Progress, Timings};
use crate::io::{Io, Permit, Semaphore, Stream};
use crate::jobs::connect::{Attempt, Names, Status, attempt};
use std::any::Any;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use url::{Host, Url};

/// How long a connection is kept that no request uses.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long a connection is idle before it is watched.
const WATCH_AFTER: Duration = Duration::from_millis(1);

/// Opens connections and keeps them.
pub(super) struct Connections {
    io: Io,
    loop_id: u32,
    options: Arc<Options>,
    names: Names,
    open: RefCell<HashMap<u64, Rc<Connection>>>,
    next_key: Cell<u64>,
    /// Connections that were given back and may be idle, and the task that has them watched.
    given_back: RefCell<Vec<Rc<Connection>>>,
    starter: Cell<Option<Waker>>,
    /// One for each connection that the loop may have open.
    descriptors: Semaphore,
}

/// An open connection.
pub(super) struct Connection {
    id: ConnectionId,
    /// The origin of the server.
    pub(super) origin: Arc<Origin>,
    closer: Arc<Closer>,
    /// The address of the server.
    remote: SocketAddr,
    /// Its bytes; `None` once it is closed.
    link: RefCell<Option<Link>>,
    /// Since when no request uses it.
    idle_since: Cell<Option<Duration>>,
    /// It has served a request before.
    was_used: Cell<bool>,
    streak: Cell<u32>,
    /// It is one of those that were given back.
    is_given_back: Cell<bool>,
}

/// A connection that a request uses. Dropping it closes the connection, unless it was given back.
pub(super) struct InUse {
    connections: Rc<Connections>,
    /// The connection.
    pub(super) connection: Rc<Connection>,
    is_given_back: bool,
}

/// A connection that is watched while it is idle. Dropping it forgets the connection, also when the loop ends before
/// others.
struct Watched {
    connections: Rc<Connections>,
    connection: Rc<Connection>,
}

/// Counts a connection at its origin until it is dropped.
struct Counted(Arc<Origin>);

impl Connections {
    pub(super) fn new(io: &Io, loop_id: u32, options: &Arc<Options>, names: Names) -> Rc<Self> {
        let connections = Rc::new(Self {
            io: io.clone(),
            loop_id,
            options: Arc::clone(options),
            names,
            open: RefCell::default(),
            next_key: Cell::new(0),
            given_back: RefCell::default(),
            starter: Cell::default(),
            descriptors: Semaphore::new(options.connections_per_loop),
        });
        io.spawn(Rc::clone(&connections).watch_idle());
        connections
    }

    /// Has connections watched that have been idle for a moment. Under load another request uses most of them before.
    async fn watch_idle(self: Rc<Self>) {
        loop {
            poll_fn(|context| {
                if !self.given_back.borrow().is_empty() {
                    return Poll::Ready(());
                }
                self.starter.set(Some(context.waker().clone()));
                Poll::Pending
            })
            .await;
            self.io.sleep_until(self.io.now() + WATCH_AFTER).await;
            for connection in self.given_back.take() {
                connection.is_given_back.set(false);
                if connection.idle_since.get().is_some() {
                    connection.closer.wake();
                }
            }
        }
    }

    /// A connection to the origin of this URL, when it is the request's turn.
    pub(super) async fn get(
        self: &Rc<Self>,
        origin: &Arc<Origin>,
        url: &Url,
        progress: &mut Progress,
    ) -> Result<InUse, Failure> {
        loop {
            let started_at = self.io.now();
            let grant = self.turn(origin).await;
            progress.timings.add_parked(&self.io, started_at);
            let connection = match grant {
                Grant::Reuse(idle) => {
                    let known = self.open.borrow().get(&idle.id.key).cloned();
                    // Otherwise the server has closed it meanwhile.
                    let Some(connection) = known else { continue };
                    connection.streak.set(idle.streak);
                    progress.remote = Some(connection.remote);
                    connection
                }
                Grant::PausedFor(pause) => return Err(Failure::of_pause(pause)),
                // In a box, so that the futures of requests on open connections stay small.
                Grant::Open => Box::pin(self.open(origin, url, progress)).await?,
            };
            connection.idle_since.set(None);
            return Ok(InUse {
                connections: Rc::clone(self),
                connection,
                is_given_back: false,
            });
        }
    }

    /// Waits for the turn of a request. The item is parked meanwhile.
    async fn turn(&self, origin: &Arc<Origin>) -> Grant {
        let mut waiting = origin.queue(self.loop_id);
        let mut sleep = None;
        let io = &self.io;
        let turn = poll_fn(|context| {
            loop {
                let mut wake_at = None;
                if let Poll::Ready(grant) = waiting.poll(context, io.now(), &mut wake_at) {
                    return Poll::Ready(grant);
                }
                let Some(at) = wake_at else {
                    sleep = None;
                    return Poll::Pending;
                };
                let sleep = sleep.insert(io.sleep_until(at));
                if Pin::new(sleep).poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
        });
        io.park(turn).await
    }

    async fn open(
        self: &Rc<Self>,
        origin: &Arc<Origin>,
        url: &Url,
        progress: &mut Progress,
    ) -> Result<Rc<Connection>, Failure> {
        let timings = &mut progress.timings;
        let counted = Counted(Arc::clone(origin));
        let addresses = self.addresses(url, timings).await?;
        // Neither is free for another connection before the kernel has closed the socket.
        let held: Rc<dyn Any> = Rc::new((counted, self.descriptor().await));
        let (stream, remote) = self.connect(&addresses, held, timings).await?;
        progress.remote = Some(remote);
        let link = match url.scheme() {
            "https" => Link::Tls(Box::new(self.handshake(stream, url, timings).await?)),
            _ => Link::Plain(Box::new(stream)),
        };
        let key = self.next_key.replace(self.next_key.get() + 1);
        let loop_id = self.loop_id;
        let connection = Rc::new(Connection {
            id: ConnectionId { loop_id, key },
            origin: Arc::clone(origin),
            closer: Arc::default(),
            remote,
            link: RefCell::new(Some(link)),
            idle_since: Cell::new(None),
            was_used: Cell::new(false),
            streak: Cell::new(0),
            is_given_back: Cell::new(false),
        });
        self.open.borrow_mut().insert(key, Rc::clone(&connection));
        let watched = Watched {
            connections: Rc::clone(self),
            connection: Rc::clone(&connection),
        };
        self.io.spawn(watched.watch());
        Ok(connection)
    }

    /// The addresses of a URL's host, with its port.
    async fn addresses(
        &self,
        url: &Url,
        timings: &mut Timings,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let port = url.port_or_known_default().unwrap_or(80);
        let ips: Vec<IpAddr> = match url.host() {
            Some(Host::Ipv4(ip)) => vec![ip.into()],
            Some(Host::Ipv6(ip)) => vec![ip.into()],
            Some(Host::Domain(name)) => {
                let started_at = self.io.now();
                let resolved = self.names.addresses_of(&self.io, name, port).await;
                timings.set_resolved(&self.io, started_at);
                resolved
                    .map_err(|reason| Failure::new(Step::Resolve, reason))?
                    .to_vec()
            }
            None => Vec::new(),
        };
        let is_allowed = |ip: &IpAddr| !self.options.deny_private || is_public(*ip);
        let allowed = ips.iter().copied().filter(is_allowed);
        let addresses: Vec<_> = allowed.map(|ip| SocketAddr::new(ip, port)).collect();
        match (ips.first(), addresses.is_empty()) {
            (Some(ip), true) => {
                let reason = format!("{ip} is not a public address, and --deny-private is set");
                Err(Failure::new(Step::Connect, reason).permanent())
            }
            (None, _) => Err(Failure::new(Step::Resolve, "no address")),
            _ => Ok(addresses),
        }
    }

    /// Tries the addresses until one has a listener. `held` is dropped once all sockets are closed.
    async fn connect(
        &self,
        addresses: &[SocketAddr],
        held: Rc<dyn Any>,
        timings: &mut Timings,
    ) -> Result<(Stream, SocketAddr), Failure> {
        let mut last: Option<Attempt> = None;
        for &address in addresses {
            let timeout = self.options.connect_timeout;
            let (attempt, socket) =
                attempt(&self.io, address, timeout, Some(Rc::clone(&held))).await;
            timings.set_connected(&self.io, attempt.time);
            if let Some(socket) = socket {
                return Ok((Stream::new(socket), address));
            }
            last = Some(attempt);
        }
        let last = last.expect("at least one address was tried");
        let reason = match (last.status, last.errno) {
            (Status::Timeout, None) => {
                let timeout = humantime::format_duration(self.options.connect_timeout);
                format!("{}: no reply within {timeout}", last.address)
            }
            (_, Some(errno)) => format!("{}: {errno}", last.address),
            (status, None) => format!("{}: {}", last.address, status.name()),
        };
        Err(Failure::new(Step::Connect, reason))
    }

    async fn handshake(
        &self,
        stream: Stream,
        url: &Url,
        timings: &mut Timings,
    ) -> Result<Tls, Failure> {
        let started_at = self.io.now();
        let host = url.host_str().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let host = host
            .try_into()
            .map_err(|error| Failure::new(Step::Tls, error))?;
        let handshake = pin!(Tls::connect(stream, &self.options.tls, host));
        let until = started_at + self.options.connect_timeout;
        let done = self.io.until(until, handshake).await;
        let tls =
            done.ok_or_else(|| Failure::timed_out(Step::Tls, self.options.connect_timeout))?;
        timings.set_secured(&self.io, started_at);
        tls.map_err(|error| Failure::of_tls(&error))
    }

    /// Waits for a descriptor. If there is none, the connections that were idle for longest are closed. The item is
    /// parked meanwhile: those that use the descriptors may have to wait for its place.
    async fn descriptor(&self) -> Permit {
        if let Some(permit) = self.descriptors.try_acquire() {
            return permit;
        }
        self.close_idle();
        self.io.park(self.descriptors.acquire()).await
    }

    /// Closes an eighth of the idle connections, so that the search for them is rare.
    fn close_idle(&self) {
        let open = self.open.borrow();
        let idle = open.values().filter_map(|connection| {
            let since = connection.idle_since.get()?;
            Some((since, Rc::clone(connection)))
        });
        let mut idle: Vec<_> = idle.collect();
        idle.sort_by_key(|(since, _)| *since);
        let count = idle.len().div_ceil(8);
        for (_, connection) in idle.into_iter().take(count) {
            if connection.origin.take_idle(connection.id) {
                connection.closer.request();
            }
        }
    }
}

impl Watched {
    /// Waits until the connection is to be closed: the server has closed it, or sent something while no request uses
    /// it; it has been idle for long; or another one needs its place.
    async fn watch(self) {
        let (io, connection) = (&self.connections.io, &self.connection);
        let mut look_at = io.now() + IDLE_MAX;
        let mut sleep = io.sleep_until(look_at);
        poll_fn(|context| {
            if connection.closer.poll(context).is_ready() {
                return Poll::Ready(());
            }
            if connection.idle_since.get().is_some() && connection.poll_ended(context).is_ready() {
                return Poll::Ready(());
            }
            while Pin::new(&mut sleep).poll(context).is_ready() {
                let now = io.now();
                let idle_since = connection.idle_since.get();
                look_at = idle_since.unwrap_or(now) + IDLE_MAX;
                if look_at <= now {
                    if connection.origin.take_idle(connection.id) {
                        return Poll::Ready(());
                    }
                    // A request is about to use it.
                    look_at = now + IDLE_MAX;
                }
                sleep = io.sleep_until(look_at);
            }
            Poll::Pending
        })
        .await;
    }
}

impl Connection {
    /// True if it has served a request before.
    pub(super) fn was_used(&self) -> bool {
        self.was_used.get()
    }

    /// Ready when something arrives that no request has asked for, such as the end.
    fn poll_ended(&self, context: &mut Context<'_>) -> Poll<()> {
        match &mut *self.link.borrow_mut() {
            Some(link) => link.poll_received(context).map(|_| ()),
            None => Poll::Ready(()),
        }
    }
}

impl InUse {
    /// The bytes of the connection.
    pub(super) fn link(&self) -> RefMut<'_, Link> {
        RefMut::map(self.connection.link.borrow_mut(), |link| {
            link.as_mut().expect("a connection in use is open")
        })
    }

    /// The response was read to its end, so the connection may serve another request.
    pub(super) fn give_back(mut self, now: Duration) {
        if self.connections.descriptors.is_awaited() {
            // Another origin needs its descriptor.
            return;
        }
        self.is_given_back = true;
        let connection = &self.connection;
        connection.was_used.set(true);
        connection.idle_since.set(Some(now));
        let idle = Idle {
            id: connection.id,
            closer: Arc::clone(&connection.closer),
            streak: connection.streak.get(),
        };
        if connection.origin.release(idle, now) && !connection.is_given_back.replace(true) {
            let connections = &self.connections;
            connections
                .given_back
                .borrow_mut()
                .push(Rc::clone(connection));
            connections.starter.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if !self.is_given_back {
            self.connection.link.take();
            self.connection.closer.request();
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let connection = &self.connection;
        self.connections
            .open
            .borrow_mut()
            .remove(&connection.id.key);
        connection.origin.take_idle(connection.id);
        connection.link.take();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// False for addresses of this machine, of private networks and of links, and for those that have a special
/// meaning (RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || a == 0
                || a >= 224
                || (a == 100 && b & 0xc0 == 64)
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && b & 0xfe == 18))
        }
        IpAddr::V6(ip) => {
            if let Some(ip) = embedded_v4(ip.segments()) {
                return is_public(ip.into());
            }
            // Global unicast addresses without those for documentation.
            let [first, second, ..] = ip.segments();
            first & 0xe000 == 0x2000 && !(first == 0x2001 && second == 0xdb8)
        }
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped (RFC 4291), by NAT64 (RFC 6052) or by 6to4 (RFC 3056).
fn embedded_v4(segments: [u16; 8]) -> Option<std::net::Ipv4Addr> {
    let [high, low] = match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => [high, low],
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => [high, low],
        [0x2002, high, low, ..] => [high, low],
        _ => return None,
    };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some([a, b, c, d].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_for_lists_from_strangers() {
        for (ip, expected) in [
            ("8.8.8.8", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("198.18.0.1", false),
            ("2606:4700::1111", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("2001:db8::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::808:808", true),
            ("2002:7f00:1::", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), expected, "{ip}");
        }
    }
}
