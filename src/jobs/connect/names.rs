//! The addresses of names: from hosts(5), or looked up once for all loops within their time to live.

use super::hosts::Hosts;
use super::pins::Pins;
use crate::io::Io;
use crate::jobs::dns::{
    Answer, Client, Question, Resolver, Settings, SharedLimits, SharedServerStats, Status,
};
use crate::jobs::shared_facts::{End, SharedFacts, Step};
use domain::base::Rtype;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// How long a failed lookup is remembered (RFC 9520, section 3.2: at least a second, at most five minutes), so that
/// further endpoints of the name need not wait for the same failure.
const FAILURE_VALIDITY: Duration = Duration::from_secs(5);

/// Which addresses of names are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv6 addresses, then IPv4 addresses.
    Both,
    /// IPv4 addresses only.
    V4,
    /// IPv6 addresses only.
    V6,
}

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct NameService {
    /// The names that have other addresses with some ports.
    pub pins: Arc<Pins>,
    /// The names that are not looked up.
    pub hosts: Arc<Hosts>,
    /// Which addresses are used.
    pub families: Families,
    /// How each loop asks, and the limits on queries in flight at each server for all loops together.
    /// `None` if there is no server: other names than those of `hosts` then have no addresses.
    pub resolver: Option<(Settings, SharedLimits)>,
    /// The names that were looked up, shared by all loops.
    known: SharedFacts<Question, Resolved>,
}

/// The addresses of a name.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) addresses: Arc<[IpAddr]>,
    /// Why there are none.
    pub(super) failure: Option<Unresolved>,
    /// Until when this may be used again, on the clock of the loops.
    expires_at: Duration,
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The result of its lookup.
    Lookup(Status),
    /// It is not in hosts(5), and there is no name server to ask.
    NoServer,
    /// It has addresses of the other family only.
    Family,
    /// DNS allows no such name.
    NotAName,
}

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lookup(status) => status.fmt(f),
            Self::NoServer => f.write_str("NO-SERVER"),
            Self::Family => f.write_str("NODATA"),
            Self::NotAName => f.write_str("not a name that DNS allows"),
        }
    }
}

impl NameService {
    /// Resolves names by these means.
    #[must_use]
    pub fn new(
        pins: Pins,
        hosts: Hosts,
        families: Families,
        resolver: Option<(Settings, SharedLimits)>,
    ) -> Self {
        Self {
            pins: Arc::new(pins),
            hosts: Arc::new(hosts),
            families,
            resolver,
            known: SharedFacts::default(),
        }
    }

    /// The state that the items of a loop share.
    pub(in crate::jobs) fn local(&self, io: &Io) -> Names {
        let client = self.resolver.as_ref().map(|(settings, limits)| {
            let resolver = Resolver::new(settings.clone(), limits);
            Client::start(io, resolver, SharedServerStats::default(), false)
        });
        Names {
            service: self.clone(),
            client,
        }
    }
}

/// Resolves the names of a loop's items.
pub(in crate::jobs) struct Names {
    service: NameService,
    client: Option<Rc<Client>>,
}

impl Names {
    /// The addresses of a name as text, with this port.
    pub(in crate::jobs) async fn addresses_of(
        &self,
        io: &Io,
        name: &str,
        port: u16,
    ) -> Result<Arc<[IpAddr]>, Unresolved> {
        let question = Question::parse(name.as_bytes(), Rtype::A);
        let question = question.map_err(|_| Unresolved::NotAName)?;
        let resolved = Box::pin(self.resolve(io, &question, port)).await;
        match resolved.failure {
            Some(failure) => Err(failure),
            None => Ok(resolved.addresses),
        }
    }

    /// The addresses of a name with this port. The name is a question for its A records.
    pub(super) async fn resolve(&self, io: &Io, name: &Question, port: u16) -> Resolved {
        let pinned = self.service.pins.addresses(name, port);
        if let Some(addresses) = pinned.or_else(|| self.service.hosts.addresses(name)) {
            return self.given(addresses);
        }
        let Some(client) = &self.client else {
            return Resolved::none(Unresolved::NoServer, Duration::ZERO);
        };
        let known = &self.service.known;
        loop {
            let now = io.now();
            match known.begin(name, |resolved| resolved.expires_at > now) {
                Step::Known(resolved) => return resolved,
                // The item that asks may have to wait for a place in flight.
                Step::Wait(waiting) => {
                    if let End::Known(resolved) = io.park(waiting.end()).await {
                        return resolved;
                    }
                }
                Step::Ask(asking) => {
                    let resolved = self.look_up(client, name).await;
                    asking.finish(End::Known(resolved.clone()));
                    return resolved;
                }
            }
        }
    }

    /// Addresses that are not looked up.
    fn given(&self, addresses: &[IpAddr]) -> Resolved {
        let is_wanted = |address: &IpAddr| match self.service.families {
            Families::Both => true,
            Families::V4 => address.is_ipv4(),
            Families::V6 => address.is_ipv6(),
        };
        let addresses: Arc<[IpAddr]> = addresses.iter().copied().filter(is_wanted).collect();
        Resolved {
            failure: addresses.is_empty().then_some(Unresolved::Family),
            addresses,
            expires_at: Duration::ZERO,
        }
    }

    async fn look_up(&self, client: &Client, name: &Question) -> Resolved {
        let ask = |qtype| client.ask(name.with_type(qtype));
        match self.service.families {
            Families::V4 => Resolved::of(&[ask(Rtype::A).await]),
            Families::V6 => Resolved::of(&[ask(Rtype::AAAA).await]),
            Families::Both => {
                let answers = both(ask(Rtype::AAAA), ask(Rtype::A)).await;
                Resolved::of(&answers)
            }
        }
    }
}

impl Resolved {
    fn none(failure: Unresolved, expires_at: Duration) -> Self {
        Self {
            addresses: Arc::new([]),
            failure: Some(failure),
            expires_at,
        }
    }

    /// The result of a name's lookups: at least one.
    fn of(answers: &[Answer]) -> Self {
        let validity = match answers.iter().all(is_definite) {
            true => answers.iter().filter_map(Answer::valid_for).min(),
            false => Some(FAILURE_VALIDITY),
        };
        let ended_at = answers.iter().map(|answer| answer.ended_at).max();
        let expires_at = ended_at.unwrap_or_default() + validity.unwrap_or_default();
        let addresses: Arc<[IpAddr]> = answers.iter().flat_map(Answer::addresses).collect();
        if addresses.is_empty() {
            let failed = answers.iter().find(|answer| !is_definite(answer));
            let last = failed.or(answers.last()).expect("at least one");
            // An alias may lead to a name without addresses.
            let status = match last.status {
                Status::NoError => Status::NoData,
                status => status,
            };
            return Self::none(Unresolved::Lookup(status), expires_at);
        }
        Self {
            addresses,
            failure: None,
            expires_at,
        }
    }
}

fn is_definite(answer: &Answer) -> bool {
    answer.status.is_definite()
}

/// The outputs of both futures.
async fn both<T>(first: impl Future<Output = T>, second: impl Future<Output = T>) -> [T; 2] {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut one, mut other) = (None, None);
    poll_fn(|context| {
        if one.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(context)
        {
            one = Some(output);
        }
        if other.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(context)
        {
            other = Some(output);
        }
        match (&one, &other) {
            (Some(_), Some(_)) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    [one, other].map(|output| output.expect("both have ended"))
}
