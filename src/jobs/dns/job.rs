//! The job: an item is a question.

use super::answer::Answer;
use super::figures::SharedFigures;
use super::question::{Invalid, Question};
use super::resolver::{Resolver, Settings};
use super::service::DnsService;
use crate::error::ItemError;
use crate::item::Item;
use crate::jobs::{Context, Event, Job};
use crate::stats::Phase;
use domain::base::Rtype;

/// From the first submission to the first query: until a server had room for the question.
pub const WAIT: Phase = Phase::of_job(0, "wait");
/// The query that was answered, until its reply.
pub const QUERY: Phase = Phase::of_job(1, "query");

/// Looks names up.
#[derive(Clone, Debug)]
pub struct DnsJob {
    /// How questions are asked; by each loop for itself.
    pub settings: Settings,
    /// What is asked of a name without a type.
    pub default_type: Rtype,
    /// Where each loop leaves its figures.
    pub figures: SharedFigures,
}

/// What came of an item: an answer, or why there was no question.
pub type Found = Result<Answer, Invalid>;

impl Job for DnsJob {
    type State = ();
    type Value = Found;
    type Service = DnsService;

    const PHASES: &'static [Phase] = &[
        Phase::QUEUE,
        WAIT,
        QUERY,
        Phase::TOTAL,
        Phase::REORDER,
        Phase::SCHEDULED_QUEUE,
        Phase::SCHEDULED_TOTAL,
    ];

    fn serve(&self) -> DnsService {
        DnsService::new(Resolver::new(self.settings.clone()), self.figures.clone())
    }

    fn begin(&self) {}

    fn step(
        &self,
        (): &mut (),
        item: &Item,
        event: Event<Answer>,
        context: &mut Context<'_, DnsService>,
    ) -> Option<Result<Found, ItemError>> {
        match event {
            Event::Start => match Question::parse(item.bytes(), self.default_type) {
                Ok(question) => {
                    let (slot, now) = (context.slot(), context.now());
                    context.service().resolver().ask(slot, question, now);
                    None
                }
                Err(invalid) => Some(Ok(Err(invalid))),
            },
            Event::Told(answer) => {
                context.record(WAIT, answer.wait);
                if let Some(round_trip) = answer.round_trip {
                    context.record(QUERY, round_trip);
                }
                Some(Ok(Ok(answer)))
            }
            Event::Completed(..) | Event::BufferFree => {
                unreachable!("an item has no operations of its own")
            }
        }
    }

    fn is_failure(found: &Found) -> bool {
        found
            .as_ref()
            .map_or(true, |answer| !answer.status.is_definite())
    }

    fn discard(&self, (): (), context: &mut Context<'_, DnsService>) {
        let (slot, now) = (context.slot(), context.now());
        context.service().resolver().forget(slot, now);
    }
}
