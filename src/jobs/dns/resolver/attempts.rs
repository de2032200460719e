//! How attempts end: with an answer, with a refusal, or without a reply.

use super::{ReplyFrom, Resolver};
use crate::io::Transport;
use crate::jobs::dns::answer::LastReply;
use crate::jobs::dns::lookup::{Attempt, State};
use crate::jobs::dns::sockets::SocketId;
use crate::jobs::dns::status::Status;
use domain::base::iana::OptRcode;
use std::time::Duration;

/// A name refused this often fails without further retries if refusals are known to be due to the names.
const REFUSALS_ENOUGH: u32 = 3;

impl Resolver {
    /// Takes the attempt that a reply has come for, and frees its id.
    pub(super) fn take_attempt(&mut self, slot: u32, socket: SocketId, id: u16) -> Attempt {
        let attempt = self.lookup(slot).take_attempt(socket, id);
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
        if let Some(permit) = attempt.permit {
            server.estimate.sample(time);
            server.answered(permit, attempt.is_sample, time);
        }
    }

    /// Counts a reply that came in a stream: the stream then has room for more queries.
    fn note_in_stream(&mut self, server: usize, attempt: &Attempt, now: Duration) {
        if self.transport(attempt.socket) == Transport::Stream {
            self.servers[server]
                .stream
                .answered(attempt.in_pipeline, now);
        }
    }

    pub(super) fn learn_from_answer(
        &mut self,
        slot: u32,
        server: usize,
        attempt: &Attempt,
        now: Duration,
    ) {
        let lookup = self.lookups[slot as usize].as_mut().expect("a lookup");
        let edns = &mut self.servers[server].edns;
        if attempt.has_edns {
            edns.worked();
        } else if lookup.without_edns == Some(server) && edns.is_in_doubt() && !lookup.is_edns_proof
        {
            // A name counts once, although it may be answered twice: in a datagram and then in a stream.
            lookup.is_edns_proof = true;
            edns.failed(now);
        }
        let was_refused = lookup.refusals > 0;
        self.refusals
            .replied(was_refused, false, attempt.sent_at, now);
    }

    /// The last attempt has timed out.
    pub(super) fn attempt_timed_out(&mut self, slot: u32, now: Duration) {
        let lookup = self.lookups[slot as usize].as_mut().expect("a lookup");
        let attempt = lookup.attempt.as_mut().expect("it is in flight");
        let in_pipeline = std::mem::take(&mut attempt.in_pipeline);
        let (socket, sent_at, has_edns) = (attempt.socket, attempt.sent_at, attempt.has_edns);
        let (is_first, is_probe) = (attempt.is_first, attempt.is_probe);
        let has_permit = attempt.permit.is_some();
        lookup.time_left = lookup.time_left.saturating_sub(now - sent_at);
        lookup.give_up_attempt();
        lookup.note(Status::Timeout);
        let probed_server = lookup.probed_server;
        let server = self.sockets.server_of(socket);
        let asked = &mut self.servers[server];
        asked.stats.lost += 1;
        if in_pipeline {
            asked.stream.ended();
        }
        if !has_permit {
            self.timed_out_in_stream(slot, server, sent_at, now);
            return self.serve_stream(server, now);
        }
        asked.circuit.unanswered(is_first, sent_at, now);
        if is_probe {
            asked.circuit.probe_ended(sent_at, now);
        }
        let lookup = self.lookups[slot as usize].as_mut().expect("a lookup");
        if has_edns && asked.edns.is_in_doubt() && lookup.without_edns.is_none() {
            lookup.without_edns = Some(server);
        }
        if self.settings.streams_only && self.servers[server].stream.is_stalled(now) {
            self.hang_up(socket, now);
        }
        match probed_server {
            Some(_) => drop(self.remove(slot, now)),
            None => self.try_again(slot, now),
        }
        self.update_server(server, now);
    }

    /// The server has refused: it replied, but without an answer.
    pub(super) fn was_refused(
        &mut self,
        slot: u32,
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
        if attempt.permit.is_some() && !asked.estimate.is_known() {
            // Answers may take longer, but this is better than a guess.
            asked.estimate.sample(reply.time);
        }
        let is_load = !self.refusals.are_due_to_names() && !self.refusals.are_due_to_servers();
        match attempt.permit {
            Some(permit) if !is_load => {
                asked.answered(permit, attempt.is_sample, reply.time);
            }
            Some(permit) if self.refusals.are_unexplained() => asked.exclude_from_sample(permit),
            _ => {}
        }
        let is_in_doubt = asked.edns.is_in_doubt();
        let last_reply = LastReply::new(asked.address, transport, reply.message);
        let lookup = self.lookups[slot as usize].as_mut().expect("a lookup");
        lookup.last_reply = Some(Box::new(last_reply));
        if transport == Transport::Stream {
            lookup.forget_truncated(|socket| self.sockets.server_of(socket) == server);
        }
        lookup.note(status);
        if lookup.probed_server.is_some() {
            drop(self.remove(slot, now));
            return;
        }
        // The server may not understand the OPT record: this does not count against the name.
        let may_be_edns = match status {
            Status::Rcode(OptRcode::FORMERR | OptRcode::NOTIMP) => true,
            Status::Rcode(OptRcode::SERVFAIL) => is_in_doubt,
            _ => false,
        };
        if attempt.has_edns && may_be_edns && lookup.without_edns.is_none() {
            lookup.without_edns = Some(server);
            if is_last {
                lookup.tries -= 1;
                self.wait(slot, now);
            }
            return;
        }
        lookup.refused_by = Some(server);
        lookup.refusals += 1;
        let (refusals, tries, state) = (lookup.refusals, lookup.tries, lookup.state);
        self.refusals
            .replied(refusals > 1, true, attempt.sent_at, now);
        if !is_last {
            if state == State::Waiting {
                // It now waits in a queue that excludes this server.
                self.queue_up(slot);
            }
            return;
        }
        let is_certain = refusals >= REFUSALS_ENOUGH && self.refusals.are_due_to_names();
        if is_certain || tries > self.settings.retries {
            return self.finish_failed(slot, now);
        }
        self.try_elsewhere_or_pause(slot, refusals, now);
    }

    /// Makes another attempt: at once while some servers have not been tried for this name, otherwise
    /// after a back-off that grows with the number of refusals.
    pub(super) fn try_elsewhere_or_pause(&mut self, slot: u32, refusals: u32, now: Duration) {
        if (self.lookup(slot).tries as usize) < self.servers.len() {
            return self.wait(slot, now);
        }
        let lookup = self.lookup(slot);
        lookup.state = State::BackingOff;
        let refused_by = lookup
            .refused_by
            .map(|server| &self.servers[server].estimate);
        let round_trip = refused_by.and_then(|it| it.smoothed()).unwrap_or_default();
        let pause = self.refusals.pause(refusals, round_trip);
        self.timers.set(slot, now + pause);
    }

    /// A socket reports that nothing listens at its server: all its queries in flight are lost.
    pub fn connection_refused(&mut self, socket: SocketId, now: Duration) {
        let server = self.sockets.server_of(socket);
        let asked = self.in_flight_at(socket);
        let is_stream = self.transport(socket) == Transport::Stream;
        if is_stream {
            self.servers[server].stream.closed();
            asked.iter().for_each(|&slot| drop(self.drop_attempt(slot)));
        }
        if is_stream && !self.settings.streams_only {
            // The server may still answer in datagrams.
            for slot in asked {
                self.stream_failed(slot, server, now);
            }
            self.serve_stream(server, now);
        } else {
            self.servers[server].circuit.unreachable(now);
            let all_given_up = self.servers.iter().all(|it| it.circuit.is_given_up(now));
            for slot in asked {
                self.was_unreachable(slot, server, all_given_up, now);
            }
            self.update_server(server, now);
        }
        self.serve_waiting(now);
    }

    /// Nothing listens at the server: the attempt does not count, and the name waits for an available
    /// server.
    pub(super) fn was_unreachable(
        &mut self,
        slot: u32,
        server: usize,
        all_given_up: bool,
        now: Duration,
    ) {
        let lookup = self.lookups[slot as usize].as_mut().expect("a lookup");
        if let Some(taken) = lookup.attempt.as_ref().and_then(|attempt| attempt.permit) {
            self.servers[server].forget(taken);
        }
        lookup.give_up_attempt();
        lookup.note(Status::Unreachable);
        lookup.refused_by = Some(server);
        lookup.tries = lookup.tries.saturating_sub(1);
        if lookup.probed_server.is_some() {
            drop(self.remove(slot, now));
        } else if all_given_up {
            self.finish_failed(slot, now);
        } else {
            self.wait(slot, now);
        }
    }

    /// Makes another attempt, now or when a server has room, unless the time or the retries are used up.
    pub(super) fn try_again(&mut self, slot: u32, now: Duration) {
        let lookup = self.lookup(slot);
        if lookup.time_left.is_zero() || lookup.tries > self.settings.retries {
            self.finish_failed(slot, now);
        } else {
            self.wait(slot, now);
        }
    }

    pub(super) fn wait(&mut self, slot: u32, now: Duration) {
        self.timers.cancel(slot);
        self.lookup(slot).state = State::Waiting;
        if !self.attempt(slot, now) {
            self.queue_up(slot);
        }
    }
}
