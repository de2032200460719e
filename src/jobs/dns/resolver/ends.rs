//! How questions end.

use super::{ReplyFrom, Resolver};
use crate::jobs::dns::answer::{Answer, Status, Subject};
use crate::jobs::dns::lookup::{Attempt, Lookup};
use crate::jobs::dns::message::{self, Reply};
use crate::jobs::dns::reading;
use domain::base::iana::OptRcode;
use domain::base::message::Message;
use std::time::Duration;

impl Resolver {
    /// There is no answer; what there was instead is known.
    pub(super) fn finish_failed(&mut self, place: u32, now: Duration) {
        let lookup = self.lookup(place);
        let status = lookup.status;
        let truncated = lookup.truncated.take();
        let reply = truncated.as_ref().filter(|_| status == Status::Truncated);
        let reply = reply.map(|truncated| ReplyFrom {
            socket: truncated.socket,
            message: &truncated.message,
            time: truncated.time,
        });
        self.finish(place, status, reply, now);
    }

    pub(super) fn finish(
        &mut self,
        place: u32,
        status: Status,
        reply: Option<ReplyFrom<'_>>,
        now: Duration,
    ) {
        let lookup = self.remove(place, now);
        if status.is_definite()
            && let Some(reply) = reply
        {
            let server = self.sockets.server_of(reply.socket);
            self.servers[server].has_answered(&lookup.question);
        }
        let qtype = lookup.question.qtype();
        let edns = self.settings.queries.edns.as_ref();
        let has_subnet = edns.is_some_and(|edns| edns.subnet.is_some());
        let answer = Answer {
            status,
            qtype,
            subject: match reply {
                Some(reply) => {
                    let mut message: Box<[u8]> = reply.message.into();
                    message::respell(&mut message, &lookup.question);
                    Subject::Reply(message)
                }
                None => Subject::Question(lookup.question),
            },
            server: reply.map(|reply| self.address(reply.socket)),
            transport: reply.map(|reply| self.transport(reply.socket)),
            subnet: reply
                .filter(|_| has_subnet)
                .and_then(|reply| reading::client_subnet(Message::from_slice(reply.message).ok()?)),
            last_reply: lookup.last_reply,
            attempts: lookup.attempts,
            round_trip: reply.map(|reply| reply.time),
            wait: lookup.first_sent_at.unwrap_or(now) - lookup.asked_at,
            time: now.saturating_sub(lookup.asked_at),
            ended_at: now,
            wildcard: None,
        };
        for asker in lookup.other_askers {
            self.answers.push_back((asker, answer.clone()));
        }
        self.answers
            .extend(lookup.asker.map(|asker| (asker, answer)));
    }

    /// Removes a lookup with all its attempts.
    #[inline]
    pub(super) fn remove(&mut self, place: u32, now: Duration) -> Lookup {
        self.timers.cancel(place);
        let mut lookup = self.lookups[place as usize].take().expect("a lookup");
        if lookup.probes.is_none() {
            let known = self
                .by_question
                .find_entry(lookup.question_hash, |&known| known == place);
            known.expect("an item asked it").remove();
        }
        self.free.push(place);
        if let Some(attempt) = lookup.attempt.take() {
            self.forget_attempt(&attempt, now);
        }
        for attempt in std::mem::take(&mut lookup.earlier) {
            self.sockets.rest(attempt.socket, attempt.id, now);
        }
        lookup
    }

    /// An attempt is under way that nobody waits for any more.
    fn forget_attempt(&mut self, attempt: &Attempt, now: Duration) {
        let server = self.sockets.server_of(attempt.socket);
        let asked = &mut self.servers[server];
        if let Some(place) = attempt.place {
            asked.forget(place);
        }
        if attempt.in_pipeline {
            asked.stream.ended();
        }
        if attempt.is_probe {
            asked.circuit.probe_ended(attempt.sent_at, now);
        }
        self.sockets.rest(attempt.socket, attempt.id, now);
        if attempt.place.is_some() {
            self.look_at(server, now);
        } else {
            self.serve_stream(server, now);
        }
    }

    pub(super) fn count_reply(
        &mut self,
        server: usize,
        reply: Reply,
        time: Duration,
        is_last: bool,
    ) {
        let measures = self.settings.measures_round_trips;
        let figures = &mut self.servers[server].figures;
        match reply {
            Reply::Foreign => return figures.mismatched += 1,
            Reply::Truncated => figures.truncated += 1,
            Reply::Answer(Status::NxDomain) => figures.answered(OptRcode::NXDOMAIN),
            Reply::Answer(_) | Reply::Malformed => figures.answered(OptRcode::NOERROR),
            Reply::Failure(rcode) => figures.answered(rcode),
        }
        figures.late += u64::from(!is_last);
        if measures {
            figures.record_round_trip(time);
        }
    }
}
