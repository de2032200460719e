//! The job: an item is a question.

use super::answer::{Answer, Status, Wildcard};
use super::client::Client;
use super::figures::SharedFigures;
use super::limit::SharedLimits;
use super::question::{Invalid, Question};
use super::resolver::{Resolver, Settings};
use super::siblings::{self, Content};
use super::wildcards::{End, Parent, SharedWildcards, Step};
use crate::error::ItemError;
use crate::io::Io;
use crate::item::Item;
use crate::jobs::Job;
use crate::stats::Phase;
use domain::base::Rtype;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;

/// From the first submission to the first query: until a server had room for the question.
pub const WAIT: Phase = Phase::of_job(0, "wait");
/// The query that was answered, until its reply.
pub const QUERY: Phase = Phase::of_job(1, "query");

/// Looks names up.
///
/// Each loop has one client for all servers; or, where each name is asked of every server, one for each,
/// which knows no other.
#[derive(Clone, Debug)]
pub struct DnsJob {
    /// How questions are asked; by each loop for itself.
    pub settings: Settings,
    /// Each name is asked of every server, and has to be as many items in a row as there are servers:
    /// [`DnsJob::server_of`] says which item is for which.
    pub asks_every_server: bool,
    /// How much each server is asked at one time, by all loops together.
    pub limits: SharedLimits,
    /// What is asked of a name without a type.
    pub default_type: Rtype,
    /// Where each loop leaves its figures.
    pub figures: SharedFigures,
    /// Names that have records are looked at for whether a wildcard gives them the same
    /// ([`Answer::wildcard`]). What is known of wildcards is for all loops.
    pub wildcards: Option<SharedWildcards>,
}

/// What the questions of a loop share.
pub struct Local {
    clients: Vec<Rc<Client>>,
    default_type: Rtype,
    wildcards: Option<SharedWildcards>,
}

/// What came of an item: an answer, or why there was no question.
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
                vec![Client::start(io, resolver, self.figures.clone(), true)]
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
    /// The number of the server that an item is for, of so many, where each name is asked of all: the
    /// items of a name follow each other. An item's index tells, not its bytes, which come from whoever
    /// wrote the list.
    #[must_use]
    pub fn server_of(item: &Item, servers: NonZeroUsize) -> usize {
        let number = item.index() % servers.get() as u64;
        usize::try_from(number).expect("less than the number of servers")
    }

    fn client_per_server(&self, io: &Io) -> Vec<Rc<Client>> {
        // There may be thousands: each has a copy of its own server only.
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
            Client::start(io, resolver, self.figures.of_server(number), false)
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
    // What follows is in boxes: names that do not need it need not have the room it takes.
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
                // Nothing is beside the root.
                None => Wildcard::No,
            }
        };
        let wildcard = Box::pin(found_out).await;
        answer.wildcard = Some(wildcard);
    }
    Ok(Ok(answer))
}

/// Asks about a random name below the same parent, unless that is known or another item does it.
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
                // The item that asks may have to wait for a place in flight: it must not be for this one's.
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
                asking.tell(end);
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
