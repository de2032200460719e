//! The job: an item is a question.

use super::answer::Answer;
use super::client::Client;
use super::figures::SharedFigures;
use super::limit::SharedLimits;
use super::question::{Invalid, Question};
use super::resolver::{Resolver, Settings};
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
}

/// What the questions of a loop share.
pub struct Local {
    client: Rc<Client>,
    default_type: Rtype,
    /// How many there are, if each question is for one.
    servers: Option<NonZeroUsize>,
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
    let answer = match local.servers {
        Some(servers) => {
            let server = DnsJob::server_of(&item, servers);
            // In a box: it takes more room, which names that any server may answer need not have.
            Box::pin(local.client.ask_server(question, server)).await
        }
        None => local.client.ask(question).await,
    };
    io.record(WAIT, answer.wait);
    if let Some(round_trip) = answer.round_trip {
        io.record(QUERY, round_trip);
    }
    Ok(Ok(answer))
}
