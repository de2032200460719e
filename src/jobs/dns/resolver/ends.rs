//! How questions end.

use super::{ReplyFrom, Resolver};
use crate::jobs::dns::answer::{Answer, Subject};
use crate::jobs::dns::lookup::{Attempt, Lookup};
use crate::jobs::dns::message::{self, Reply};
use crate::jobs::dns::reading;
use crate::jobs::dns::status::Status;
use domain::base::iana::OptRcode;
use domain::base::message::Message;
use std::time::Duration;

impl Resolver {
    /// Ends a question without an answer, with the status of its attempts.
    pub(super) fn finish_failed(&mut self, slot: u32, now: Duration) {
        let lookup = self.lookup(slot);
        let status = lookup.status;
        let truncated = lookup.truncated.take();
        let reply = truncated.as_ref().filter(|_| status == Status::Truncated);
        let reply = reply.map(|truncated| ReplyFrom {
            socket: truncated.socket,
            message: &truncated.message,
            time: truncated.time,
        });
        self.finish(slot, status, reply, now);
    }

    pub(super) fn finish(
        &mut self,
        slot: u32,
        status: Status,
        reply: Option<ReplyFrom<'_>>,
        now: Duration,
    ) {
        let lookup = self.remove(slot, now);
        if status.is_definite()
            && let Some(reply) = reply
        {
            let server = self.sockets.server_of(reply.socket);
            self.servers[server].note_answered(&lookup.question);
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
    pub(super) fn remove(&mut self, slot: u32, now: Duration) -> Lookup {
        self.timers.cancel(slot);
        let mut lookup = self.lookups[slot as usize].take().expect("a lookup");
        if lookup.probed_server.is_none() {
            let known = self
                .by_question
                .find_entry(lookup.question_hash, |&known| known == slot);
            known.expect("an item asked it").remove();
        }
        self.free_slots.push(slot);
        if let Some(attempt) = lookup.attempt.take() {
            self.forget_attempt(&attempt, now);
        }
        for attempt in std::mem::take(&mut lookup.earlier) {
            self.sockets.quarantine(attempt.socket, attempt.id, now);
        }
        lookup
    }

    /// Gives up an attempt in flight that is no longer needed.
    fn forget_attempt(&mut self, attempt: &Attempt, now: Duration) {
        let server = self.sockets.server_of(attempt.socket);
        let asked = &mut self.servers[server];
        if let Some(permit) = attempt.permit {
            asked.forget(permit);
        }
        if attempt.in_pipeline {
            asked.stream.ended();
        }
        if attempt.is_probe {
            asked.circuit.probe_ended(attempt.sent_at, now);
        }
        self.sockets.quarantine(attempt.socket, attempt.id, now);
        if attempt.permit.is_some() {
            self.update_server(server, now);
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
        let stats = &mut self.servers[server].stats;
        match reply {
            Reply::Foreign => return stats.mismatched += 1,
            Reply::Truncated => stats.truncated += 1,
            Reply::Answer(Status::NxDomain) => stats.answered(OptRcode::NXDOMAIN),
            Reply::Answer(_) | Reply::Malformed => stats.answered(OptRcode::NOERROR),
            Reply::Failure(rcode) => stats.answered(rcode),
        }
        stats.late += u64::from(!is_last);
        if measures {
            stats.record_round_trip(time);
        }
    }
}
