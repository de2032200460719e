//! How attempts end: with an answer, with a refusal, or without a reply.

use super::{ReplyFrom, Resolver};
use crate::io::Transport;
use crate::jobs::dns::answer::{LastReply, Status};
use crate::jobs::dns::lookup::{Attempt, State};
use crate::jobs::dns::sockets::SocketId;
use domain::base::iana::OptRcode;
use std::time::Duration;

/// So many refusals of a name are enough where names that are refused are refused again.
const REFUSALS_ENOUGH: u32 = 3;

impl Resolver {
    /// Takes the attempt that a reply has come for; its id is free.
    pub(super) fn take_attempt(&mut self, place: u32, socket: SocketId, id: u16) -> Attempt {
        let attempt = self.lookup(place).take_attempt(socket, id);
        self.free_id(socket, id);
        attempt.expect("it has the id")
    }

    pub(super) fn end_answered(
        &mut self,
        server: usize,
        attempt: &Attempt,
        time: Duration,
        now: Duration,
    ) {
        self.note_in_stream(server, attempt, now);
        let server = &mut self.servers[server];
        if let Some(place) = attempt.place {
            server.estimate.sample(time);
            server.answered(place, attempt.is_sample, time);
        }
    }

    /// If a reply came in a stream, the stream takes more queries.
    fn note_in_stream(&mut self, server: usize, attempt: &Attempt, now: Duration) {
        if self.transport(attempt.socket) == Transport::Stream {
            self.servers[server]
                .stream
                .answered(attempt.in_pipeline, now);
        }
    }

    pub(super) fn learn_from_answer(
        &mut self,
        place: u32,
        server: usize,
        attempt: &Attempt,
        now: Duration,
    ) {
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        let edns = &mut self.servers[server].edns;
        if attempt.has_edns {
            edns.worked();
        } else if lookup.plain == Some(server) && edns.is_in_doubt() && !lookup.is_proof {
            // A name may be answered more than once: in a stream after a datagram.
            lookup.is_proof = true;
            edns.failed(now);
        }
        self.refusals.replied(lookup.refusals > 0, false);
    }

    /// No reply has come in time for the last attempt.
    pub(super) fn attempt_timed_out(&mut self, place: u32, now: Duration) {
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        let attempt = lookup.attempt.as_mut().expect("it is under way");
        let in_pipeline = std::mem::take(&mut attempt.in_pipeline);
        let (socket, sent_at, has_edns) = (attempt.socket, attempt.sent_at, attempt.has_edns);
        let (is_first, is_probe) = (attempt.is_first, attempt.is_probe);
        let has_place = attempt.place.is_some();
        lookup.patience = lookup.patience.saturating_sub(now - sent_at);
        lookup.give_up_attempt();
        lookup.note(Status::Timeout);
        let probes = lookup.probes;
        let server = self.sockets.server_of(socket);
        let asked = &mut self.servers[server];
        asked.figures.lost += 1;
        if in_pipeline {
            asked.stream.ended();
        }
        if !has_place {
            self.stream_failed(place, server, now);
            return self.serve_stream(server, now);
        }
        asked.circuit.unanswered(is_first, sent_at, now);
        if is_probe {
            asked.circuit.probe_ended(sent_at, now);
        }
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        if has_edns && asked.edns.is_in_doubt() && lookup.plain.is_none() {
            lookup.plain = Some(server);
        }
        if self.settings.streams_only && self.servers[server].stream.is_forgotten(now) {
            self.hang_up(socket, now);
        }
        match probes {
            Some(_) => drop(self.remove(place, now)),
            None => self.try_again(place, now),
        }
        self.look_at(server, now);
    }

    /// The server did not answer, and said why.
    pub(super) fn was_refused(
        &mut self,
        place: u32,
        status: Status,
        attempt: Attempt,
        reply: ReplyFrom<'_>,
        is_last: bool,
        now: Duration,
    ) {
        let server = self.sockets.server_of(attempt.socket);
        self.note_in_stream(server, &attempt, now);
        let transport = self.transport(attempt.socket);
        let asked = &mut self.servers[server];
        if attempt.place.is_some() && !asked.estimate.is_known() {
            // Answers may take longer, but this is better than a guess.
            asked.estimate.sample(reply.time);
        }
        let is_load = !self.refusals.are_due_to_names() && !self.refusals.are_due_to_servers();
        match attempt.place {
            Some(place_id) if !is_load => {
                asked.answered(place_id, attempt.is_sample, reply.time);
            }
            Some(place_id) if self.refusals.are_unexplained() => asked.is_no_sample(place_id),
            _ => {}
        }
        let is_in_doubt = asked.edns.is_in_doubt();
        let last_reply = LastReply::new(asked.address, transport, reply.message);
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        lookup.last_reply = Some(Box::new(last_reply));
        if transport == Transport::Stream {
            lookup.forget_truncated(|socket| self.sockets.server_of(socket) == server);
        }
        lookup.note(status);
        if lookup.probes.is_some() {
            drop(self.remove(place, now));
            return;
        }
        // The option may be what it does not understand: that is no fault of the name.
        let may_be_edns = match status {
            Status::Rcode(OptRcode::FORMERR | OptRcode::NOTIMP) => true,
            Status::Rcode(OptRcode::SERVFAIL) => is_in_doubt,
            _ => false,
        };
        if attempt.has_edns && may_be_edns && lookup.plain.is_none() {
            lookup.plain = Some(server);
            if is_last {
                lookup.tries -= 1;
                self.wait(place, now);
            }
            return;
        }
        lookup.refused_by = Some(server);
        lookup.refusals += 1;
        let (refusals, tries, state) = (lookup.refusals, lookup.tries, lookup.state);
        self.refusals.replied(refusals > 1, true);
        if !is_last {
            if state == State::Waiting {
                // For another server than so far.
                self.queue_up(place);
            }
            return;
        }
        let is_certain = refusals >= REFUSALS_ENOUGH && self.refusals.are_due_to_names();
        if is_certain || tries > self.settings.retries {
            return self.finish_failed(place, now);
        }
        self.try_elsewhere_or_pause(place, refusals, now);
    }

    /// Makes another attempt: at once while there are servers that the name may be asked of and has not
    /// been, otherwise after a pause that follows from how often they would not answer.
    pub(super) fn try_elsewhere_or_pause(&mut self, place: u32, refusals: u32, now: Duration) {
        if (self.lookup(place).tries as usize) < self.servers.len() {
            return self.wait(place, now);
        }
        self.lookup(place).state = State::Pausing;
        let pause = self.refusals.pause(refusals);
        self.timers.set(place, now + pause);
    }

    /// A socket has told that nobody listens at its server: all it was asked is lost.
    pub fn refused(&mut self, socket: SocketId, now: Duration) {
        let server = self.sockets.server_of(socket);
        let asked = self.under_way_at(socket);
        let is_stream = self.transport(socket) == Transport::Stream;
        if is_stream {
            self.servers[server].stream.closed();
            asked
                .iter()
                .for_each(|&place| drop(self.drop_attempt(place)));
        }
        if is_stream && !self.settings.streams_only {
            // It may well answer otherwise.
            for place in asked {
                self.stream_failed(place, server, now);
            }
            self.serve_stream(server, now);
        } else {
            self.servers[server].circuit.unreachable(now);
            let is_hopeless = self.servers.iter().all(|it| it.circuit.is_given_up(now));
            for place in asked {
                self.was_unreachable(place, server, is_hopeless, now);
            }
            self.look_at(server, now);
        }
        self.serve_waiting(now);
    }

    /// Nobody listens at the server: the attempt was none, and the name waits for better times.
    pub(super) fn was_unreachable(
        &mut self,
        place: u32,
        server: usize,
        is_hopeless: bool,
        now: Duration,
    ) {
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        if let Some(taken) = lookup.attempt.as_ref().and_then(|attempt| attempt.place) {
            self.servers[server].forget(taken);
        }
        lookup.give_up_attempt();
        lookup.note(Status::Unreachable);
        lookup.refused_by = Some(server);
        lookup.tries = lookup.tries.saturating_sub(1);
        if lookup.probes.is_some() {
            drop(self.remove(place, now));
        } else if is_hopeless {
            self.finish_failed(place, now);
        } else {
            self.wait(place, now);
        }
    }

    /// Makes another attempt, now or when a server has room, unless there were enough.
    pub(super) fn try_again(&mut self, place: u32, now: Duration) {
        let lookup = self.lookup(place);
        if lookup.patience.is_zero() || lookup.tries > self.settings.retries {
            self.finish_failed(place, now);
        } else {
            self.wait(place, now);
        }
    }

    pub(super) fn wait(&mut self, place: u32, now: Duration) {
        self.timers.cancel(place);
        self.lookup(place).state = State::Waiting;
        if !self.attempt(place, now) {
            self.queue_up(place);
        }
    }
}
