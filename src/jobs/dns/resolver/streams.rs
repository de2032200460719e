//! Queries in streams: for answers that do not fit into datagrams, or for all questions if there are only
//! streams.

use super::{ReplyFrom, Resolver, Transmit};
use crate::io::Transport;
use crate::jobs::dns::lookup::{Attempt, State, Truncated};
use crate::jobs::dns::sockets::SocketId;
use crate::jobs::dns::status::Status;
use std::time::Duration;

/// The minimum timeout of a query in a stream; the connection may have to be established first.
const STREAM_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// A query fails after this many connections that ended without a single answer.
const STREAM_FAILURES_MAX: u32 = 2;

impl Resolver {
    /// A stream has ended: its queries without a reply are sent again.
    pub fn disconnected(&mut self, socket: SocketId, now: Duration) {
        let server = self.sockets.server_of(socket);
        let has_answered = self.servers[server].stream.closed() > 0;
        let asked = self.in_flight_at(socket);
        if self.settings.streams_only {
            self.ask_elsewhere(asked, server, has_answered, now);
        } else {
            self.ask_in_next_stream(asked, server, has_answered, now);
        }
        self.serve_waiting(now);
    }

    /// Gives up a connection that seems dead.
    pub(super) fn hang_up(&mut self, socket: SocketId, now: Duration) {
        let server = self.sockets.server_of(socket);
        self.servers[server].stream.closed();
        self.transmits.retain(|transmit| transmit.socket != socket);
        self.hang_ups.push(socket);
        let asked = self.in_flight_at(socket);
        self.ask_elsewhere(asked, server, true, now);
    }

    /// With streams only: the stream to this server has ended, and its names are asked again at any
    /// server.
    fn ask_elsewhere(
        &mut self,
        mut asked: Vec<u32>,
        server: usize,
        has_answered: bool,
        now: Duration,
    ) {
        asked.sort_unstable_by_key(|&slot| self.lookup(slot).serial);
        let attempts: Vec<Attempt> = asked.iter().map(|&slot| self.drop_attempt(slot)).collect();
        for (slot, attempt) in asked.into_iter().zip(attempts) {
            let circuit = &mut self.servers[server].circuit;
            if !has_answered {
                circuit.unanswered(attempt.is_first, attempt.sent_at, now);
            }
            if attempt.is_probe {
                circuit.probe_ended(attempt.sent_at, now);
            }
            let lookup = self.lookup(slot);
            if lookup.probed_server.is_some() {
                drop(self.remove(slot, now));
                continue;
            }
            lookup.time_left = lookup.time_left.saturating_sub(now - attempt.sent_at);
            if lookup.time_left.is_zero() {
                lookup.note(Status::Timeout);
                self.finish_failed(slot, now);
            } else if has_answered {
                // A server may close a connection at any time: this is not an attempt for the name.
                lookup.tries -= 1;
                lookup.attempts -= 1;
                self.wait(slot, now);
            } else {
                lookup.refused_by = Some(server);
                lookup.stream_failures += 1;
                let (tries, failures) = (lookup.tries, lookup.stream_failures);
                if tries > self.settings.retries {
                    self.finish_failed(slot, now);
                } else {
                    self.try_elsewhere_or_pause(slot, failures, now);
                }
            }
        }
        self.update_server(server, now);
    }

    /// With datagrams: asks again, in the next stream to the same server, for answers that do not fit
    /// into datagrams.
    fn ask_in_next_stream(
        &mut self,
        asked: Vec<u32>,
        server: usize,
        has_answered: bool,
        now: Duration,
    ) {
        let mut again = Vec::new();
        for slot in asked {
            self.drop_attempt(slot);
            let lookup = self.lookup(slot);
            lookup.stream_failures += u32::from(!has_answered);
            if lookup.stream_failures < STREAM_FAILURES_MAX {
                // A server may close a connection at any time: this is not an attempt for the name.
                lookup.tries -= 1;
                lookup.attempts -= 1;
                lookup.state = State::WaitingForStream;
                again.push((slot, lookup.serial));
            } else {
                self.stream_failed(slot, server, now);
            }
        }
        again.sort_unstable_by_key(|&(_, serial)| serial);
        self.servers[server].stream.wait_again(again.into_iter());
        self.serve_stream(server, now);
    }

    /// The reply was truncated: asks for the whole answer in a stream.
    pub(super) fn was_truncated(
        &mut self,
        slot: u32,
        reply: ReplyFrom<'_>,
        is_last: bool,
        now: Duration,
    ) {
        let server = self.sockets.server_of(reply.socket);
        let lookup = self.lookup(slot);
        lookup.note(Status::Truncated);
        let truncated = || Truncated {
            socket: reply.socket,
            message: reply.message.into(),
            time: reply.time,
        };
        (lookup.truncated).get_or_insert_with(|| Box::new(truncated()));
        if lookup.probed_server.is_some() {
            drop(self.remove(slot, now));
            return;
        }
        if !is_last && lookup.state == State::InFlight {
            // The reply to a later attempt may still come.
            return;
        }
        if self.transport(reply.socket) == Transport::Stream {
            return self.stream_failed(slot, server, now);
        }
        let lookup = self.lookup(slot);
        lookup.tries = lookup.tries.saturating_sub(1);
        lookup.state = State::WaitingForStream;
        let ticket = (slot, lookup.serial);
        self.timers.cancel(slot);
        self.servers[server].stream.wait(ticket);
        self.serve_stream(server, now);
    }

    pub(super) fn serve_stream(&mut self, server: usize, now: Duration) {
        while let Some(ticket) = self.servers[server].stream.next() {
            if self.waits(ticket, State::WaitingForStream) {
                self.send_in_stream(ticket.0, server, now);
            }
        }
    }

    fn send_in_stream(&mut self, slot: u32, server: usize, now: Duration) {
        let taken = self
            .sockets
            .take_for_stream(slot, server, &mut self.random, now);
        let (socket, id) = taken;
        let asked = &mut self.servers[server];
        asked.stats.sent += 1;
        asked.stream.sent(now);
        let is_edns_used = self.query_form.has_edns() && asked.edns.is_used(now);
        let timeout = STREAM_TIMEOUT_MIN.max(2 * asked.estimate.timeout(0));
        let lookup = self.lookups[slot as usize].as_mut().expect("a lookup");
        let has_edns = is_edns_used && lookup.without_edns.is_none();
        let message = self.query_form.query(id, &lookup.question, has_edns);
        lookup.sent(server, now);
        lookup.attempt = Some(Attempt {
            socket,
            id,
            permit: None,
            in_pipeline: true,
            is_first: false,
            is_sample: false,
            is_probe: false,
            has_edns,
            spelled: None,
            sent_at: now,
        });
        self.timers.set(slot, now + timeout);
        self.transmits.push_back(Transmit { socket, message });
    }

    /// No reply has come in time. If others came meanwhile, the stream is only slow, and the server may be
    /// asked again.
    pub(super) fn timed_out_in_stream(
        &mut self,
        slot: u32,
        server: usize,
        sent_at: Duration,
        now: Duration,
    ) {
        if self.servers[server].stream.has_answered_since(sent_at) {
            self.lookup(slot).note(Status::Truncated);
            self.try_again(slot, now);
        } else {
            self.stream_failed(slot, server, now);
        }
    }

    /// The stream to this server gave no complete answer: tries another server.
    pub(super) fn stream_failed(&mut self, slot: u32, server: usize, now: Duration) {
        let is_only_server = self.servers.len() == 1;
        let lookup = self.lookup(slot);
        lookup.note(Status::Truncated);
        lookup.refused_by = Some(server);
        if is_only_server {
            self.finish_failed(slot, now);
        } else {
            self.try_again(slot, now);
        }
    }

    /// Takes the last attempt, which was sent in a stream that has ended, and frees its id: no reply can
    /// come any more.
    pub(super) fn drop_attempt(&mut self, slot: u32) -> Attempt {
        self.timers.cancel(slot);
        let attempt = self.lookup(slot).attempt.take().expect("an attempt");
        let server = self.sockets.server_of(attempt.socket);
        self.servers[server].stream.ended();
        if let Some(permit) = attempt.permit {
            self.servers[server].forget(permit);
        }
        self.free_id(attempt.socket, attempt.id);
        attempt
    }
}
