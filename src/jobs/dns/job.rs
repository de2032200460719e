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
use std::num::NonZeroUsize;
use std::rc::Rc;

/// From the first submission to the first query: until a server had room for the question.
pub const WAIT: Phase = Phase::of_job(0, "wait");
/// The query that was answered, until its reply.
pub const QUERY: Phase = Phase::of_job(1, "query");

/// Looks names up.
///
/// Where questions are [pinned](Settings::pins_questions), each name has to be as many items in a row as
/// there are servers: [`DnsJob::server_of`] says which item is for which.
#[derive(Clone, Debug)]
pub struct DnsJob {
    /// How questions are asked; by each loop for itself.
    pub settings: Settings,
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
    client: Rc<Client>,
    default_type: Rtype,
    /// How many there are, if each question is for one.
    servers: Option<NonZeroUsize>,
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
        let resolver = Resolver::new(self.settings.clone(), &self.limits);
        let pinned = NonZeroUsize::new(resolver.servers());
        Local {
            servers: pinned.filter(|_| self.settings.pins_questions),
            client: Client::start(io, resolver, self.figures.clone()),
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
}

async fn look_up(local: Rc<Local>, io: Io, item: Item) -> Result<Found, ItemError> {
    let question = match Question::parse(item.bytes(), local.default_type) {
        Ok(question) => question,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let server = local
        .servers
        .map(|servers| DnsJob::server_of(&item, servers));
    // What follows is in boxes: names that do not need it need not have the room it takes.
    let parent = local.wildcards.as_ref().map(|wildcards| {
        let parent = Parent::of(&question, server);
        Box::new((wildcards.clone(), parent))
    });
    let mut answer = match server {
        Some(server) => Box::pin(local.client.ask_server(question, server)).await,
        None => local.client.ask(question).await,
    };
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
                Some(parent) => {
                    find_out_wildcard(&local.client, &io, &wildcards, &parent, &answer).await
                }
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
                    Some(question) => ask_sibling(client, question, parent).await,
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

async fn ask_sibling(client: &Client, question: Question, parent: &Parent) -> End {
    let answer = match parent.server() {
        Some(server) => client.ask_server(question, server).await,
        None => client.ask(question).await,
    };
    Content::of(&answer).map_or(End::Failed, End::Known)
}
