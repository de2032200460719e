//! The DNS job: an item is a question.

use super::answer::{Answer, Wildcard};
use super::client::Client;
use super::invalid::Invalid;
use super::limit::SharedLimits;
use super::parent::Parent;
use super::question::Question;
use super::resolver::{Resolver, Settings};
use super::server_stats::SharedServerStats;
use super::siblings::{self, Content};
use super::status::Status;
use super::wildcards::{End, SharedWildcards, Step};
use crate::error::ItemError;
use crate::io::Io;
use crate::item::Item;
use crate::jobs::Job;
use crate::stats::Phase;
use domain::base::Rtype;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;

/// The time from the first submission to the first query: until a server had room for the question.
pub const WAIT: Phase = Phase::of_job(0, "wait");
/// The time from the query that was answered to its reply.
pub const QUERY: Phase = Phase::of_job(1, "query");

/// Looks names up.
///
/// Each loop has one client for all servers or, where each name is asked of every server, one independent
/// client for each.
#[derive(Clone, Debug)]
pub struct DnsJob {
    /// How each loop asks questions.
    pub settings: Settings,
    /// Each name is asked of every server. It must then be given as consecutive items, one for each
    /// server: [`DnsJob::server_of`] says which item is for which.
    pub asks_every_server: bool,
    /// The limits on queries in flight at each server, for all loops together.
    pub limits: SharedLimits,
    /// The record type that is looked up for a name without a type.
    pub default_type: Rtype,
    /// Where each loop adds its statistics when it ends.
    pub server_stats: SharedServerStats,
    /// If set, each name that has records is checked for whether they come from a wildcard
    /// ([`Answer::wildcard`]). All loops share what is known about wildcards.
    pub wildcards: Option<SharedWildcards>,
}

/// The state that the questions of a loop share.
pub struct Local {
    clients: Vec<Rc<Client>>,
    default_type: Rtype,
    wildcards: Option<SharedWildcards>,
}

/// The result of an item: an answer, or why the item is not a question.
pub type Found = Result<Answer, Invalid>;

impl Job for DnsJob {
    type Value = Found;
    type Local = Local;

    const PHASES: &'static [Phase] = &[
        Phase::QUEUE,
        WAIT,
        QUERY,
        Phase::TOTAL,
        Phase::REORDER,
        Phase::SCHEDULED_QUEUE,
        Phase::SCHEDULED_TOTAL,
    ];

    const WAITS_FOR_REPLIES: bool = true;

    fn local(&self, io: &Io) -> Local {
        let clients = match self.asks_every_server {
            true => self.client_per_server(io),
            false => {
                let resolver = Resolver::new(self.settings.clone(), &self.limits);
                vec![Client::start(io, resolver, self.server_stats.clone(), true)]
            }
        };
        Local {
            clients,
            default_type: self.default_type,
            wildcards: self.wildcards.clone(),
        }
    }

    fn run(
        local: Rc<Local>,
        io: Io,
        item: Item,
    ) -> impl Future<Output = Result<Found, ItemError>> + 'static {
        look_up(local, io, item)
    }

    fn is_failure(found: &Found) -> bool {
        found
            .as_ref()
            .map_or(true, |answer| !answer.status.is_definite())
    }
}

impl DnsJob {
    /// The index of the server that an item is for, where each name is asked of all `servers`: the items
    /// of a name are consecutive. The index of the item decides, not its bytes, which are untrusted
    /// input.
    #[must_use]
    pub fn server_of(item: &Item, servers: NonZeroUsize) -> usize {
        let number = item.index() % servers.get() as u64;
        usize::try_from(number).expect("less than the number of servers")
    }

    fn client_per_server(&self, io: &Io) -> Vec<Rc<Client>> {
        // There may be thousands: each copies its own server only.
        let common = Settings {
            servers: Vec::new(),
            ..self.settings.clone()
        };
        let start = |(number, &server): (usize, &SocketAddr)| {
            let settings = Settings {
                servers: vec![server],
                ..common.clone()
            };
            let resolver = Resolver::new(settings, &self.limits.of_server(number));
            Client::start(io, resolver, self.server_stats.of_server(number), false)
        };
        self.settings
            .servers
            .iter()
            .enumerate()
            .map(start)
            .collect()
    }
}

async fn look_up(local: Rc<Local>, io: Io, item: Item) -> Result<Found, ItemError> {
    let question = match Question::parse(item.bytes(), local.default_type) {
        Ok(question) => question,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let clients = NonZeroUsize::new(local.clients.len()).expect("a client");
    let number = DnsJob::server_of(&item, clients);
    let client = &local.clients[number];
    // What follows is boxed, so that the futures of names that do not need it stay small.
    let parent = local.wildcards.as_ref().map(|wildcards| {
        let parent = Parent::of(&question, number);
        Box::new((wildcards.clone(), parent))
    });
    let mut answer = client.ask(question).await;
    io.record(WAIT, answer.wait);
    if let Some(round_trip) = answer.round_trip {
        io.record(QUERY, round_trip);
    }
    if let Some(parent) = parent
        && answer.status == Status::NoError
    {
        let (wildcards, parent) = *parent;
        let found_out = async {
            match parent {
                Some(parent) => find_out_wildcard(client, &io, &wildcards, &parent, &answer).await,
                // The root has no siblings.
                None => Wildcard::No,
            }
        };
        let wildcard = Box::pin(found_out).await;
        answer.wildcard = Some(wildcard);
    }
    Ok(Ok(answer))
}

/// Asks for a random name below the same parent, unless the content of siblings is known or another item
/// asks.
async fn find_out_wildcard(
    client: &Client,
    io: &Io,
    wildcards: &SharedWildcards,
    parent: &Parent,
    answer: &Answer,
) -> Wildcard {
    let end = loop {
        match wildcards.begin(parent) {
            Step::Known(content) => break End::Known(content),
            Step::Wait(waiting) => {
                // The item that asks may have to wait for a slot in flight: this item must not occupy one
                // meanwhile.
                match io.park(waiting.end()).await {
                    End::Abandoned => {}
                    end => break end,
                }
            }
            Step::Ask(asking) => {
                let end = match siblings::sibling(parent, answer.qtype) {
                    Some(question) => {
                        let sibling = client.ask(question).await;
                        Content::of(&sibling).map_or(End::Failed, End::Known)
                    }
                    None => End::Failed,
                };
                asking.finish(end);
                break end;
            }
        }
    };
    match end {
        End::Known(content) if Content::of(answer) == Some(content) => Wildcard::Yes,
        End::Known(_) => Wildcard::No,
        End::Failed | End::Abandoned => Wildcard::Unknown,
    }
}
