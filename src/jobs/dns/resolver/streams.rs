//! Questions whose answers do not fit into datagrams are asked in streams, or all, if there are only streams.

use super::{ReplyFrom, Resolver, Transmit};
use crate::io::Transport;
use crate::jobs::dns::answer::Status;
use crate::jobs::dns::lookup::{Attempt, State, Truncated};
use crate::jobs::dns::sockets::SocketId;
use std::time::Duration;

/// How long a reply in a stream is waited for, at least; the connection may have to be made first.
const STREAM_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Connections that may end before one query is answered.
const STREAM_FAILURES_MAX: u32 = 2;

impl Resolver {
    /// The stream has ended: what it was asked and has not answered is asked anew.
    pub fn disconnected(&mut self, socket: SocketId, now: Duration) {
        let server = self.sockets.server_of(socket);
        let has_answered = self.servers[server].stream.closed() > 0;
        let asked = self.under_way_at(socket);
        if self.settings.streams_only {
            self.ask_elsewhere(asked, server, has_answered, now);
        } else {
            self.ask_in_next_stream(asked, server, has_answered, now);
        }
        self.serve_waiting(now);
    }

    /// Gives up a connection that may have been forgotten on the way.
    pub(super) fn hang_up(&mut self, socket: SocketId, now: Duration) {
        let server = self.sockets.server_of(socket);
        self.servers[server].stream.closed();
        self.transmits.retain(|transmit| transmit.socket != socket);
        self.hang_ups.push(socket);
        let asked = self.under_way_at(socket);
        self.ask_elsewhere(asked, server, true, now);
    }

    /// There are only streams, and that to this server has ended: the names are asked of any server.
    fn ask_elsewhere(
        &mut self,
        mut asked: Vec<u32>,
        server: usize,
        has_answered: bool,
        now: Duration,
    ) {
        asked.sort_unstable_by_key(|&place| self.lookup(place).serial);
        let attempts: Vec<Attempt> = asked
            .iter()
            .map(|&place| self.drop_attempt(place))
            .collect();
        for (place, attempt) in asked.into_iter().zip(attempts) {
            let circuit = &mut self.servers[server].circuit;
            if !has_answered {
                circuit.unanswered(attempt.is_first, attempt.sent_at, now);
            }
            if attempt.is_probe {
                circuit.probe_ended(attempt.sent_at, now);
            }
            let lookup = self.lookup(place);
            if lookup.probes.is_some() {
                drop(self.remove(place, now));
                continue;
            }
            lookup.patience = lookup.patience.saturating_sub(now - attempt.sent_at);
            if lookup.patience.is_zero() {
                lookup.note(Status::Timeout);
                self.finish_failed(place, now);
            } else if has_answered {
                // A connection may end whenever that is: it is nothing to the name.
                lookup.tries -= 1;
                lookup.attempts -= 1;
                self.wait(place, now);
            } else {
                lookup.refused_by = Some(server);
                lookup.stream_failures += 1;
                let (tries, failures) = (lookup.tries, lookup.stream_failures);
                if tries > self.settings.retries {
                    self.finish_failed(place, now);
                } else {
                    self.try_elsewhere_or_pause(place, failures, now);
                }
            }
        }
        self.look_at(server, now);
    }

    /// The answers did not fit into datagrams, and are asked for in the next stream to the same server.
    fn ask_in_next_stream(
        &mut self,
        asked: Vec<u32>,
        server: usize,
        has_answered: bool,
        now: Duration,
    ) {
        let mut again = Vec::new();
        for place in asked {
            self.drop_attempt(place);
            let lookup = self.lookup(place);
            lookup.stream_failures += u32::from(!has_answered);
            if lookup.stream_failures < STREAM_FAILURES_MAX {
                // The server may end a connection whenever it likes: that is nothing to the name.
                lookup.tries -= 1;
                lookup.attempts -= 1;
                lookup.state = State::WaitingForStream;
                again.push((place, lookup.serial));
            } else {
                self.stream_failed(place, server, now);
            }
        }
        again.sort_unstable_by_key(|&(_, serial)| serial);
        self.servers[server].stream.wait_again(again.into_iter());
        self.serve_stream(server, now);
    }

    /// The whole answer is to be had in a stream.
    pub(super) fn was_truncated(
        &mut self,
        place: u32,
        reply: ReplyFrom<'_>,
        is_last: bool,
        now: Duration,
    ) {
        let server = self.sockets.server_of(reply.socket);
        let lookup = self.lookup(place);
        lookup.note(Status::Truncated);
        let truncated = || Truncated {
            socket: reply.socket,
            message: reply.message.into(),
            time: reply.time,
        };
        (lookup.truncated).get_or_insert_with(|| Box::new(truncated()));
        if lookup.probes.is_some() {
            drop(self.remove(place, now));
            return;
        }
        if !is_last && lookup.state == State::UnderWay {
            // Another server may answer yet.
            return;
        }
        if self.transport(reply.socket) == Transport::Stream {
            return self.stream_failed(place, server, now);
        }
        let lookup = self.lookup(place);
        lookup.tries = lookup.tries.saturating_sub(1);
        lookup.state = State::WaitingForStream;
        let ticket = (place, lookup.serial);
        self.timers.cancel(place);
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

    fn send_in_stream(&mut self, place: u32, server: usize, now: Duration) {
        let taken = self
            .sockets
            .take_for_stream(place, server, &mut self.random, now);
        let (socket, id) = taken;
        let asked = &mut self.servers[server];
        asked.figures.sent += 1;
        asked.stream.sent(now);
        let is_edns_used = self.query_form.has_edns() && asked.edns.is_used(now);
        let timeout = STREAM_TIMEOUT_MIN.max(2 * asked.estimate.timeout(0));
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        let has_edns = is_edns_used && lookup.plain.is_none();
        let message = self.query_form.query(id, &lookup.question, has_edns);
        lookup.sent(server, now);
        lookup.attempt = Some(Attempt {
            socket,
            id,
            place: None,
            in_pipeline: true,
            is_first: false,
            is_sample: false,
            is_probe: false,
            has_edns,
            spelled: None,
            sent_at: now,
        });
        self.timers.set(place, now + timeout);
        self.transmits.push_back(Transmit { socket, message });
    }

    /// The stream to this server gave no answer: another server may give all of it.
    pub(super) fn stream_failed(&mut self, place: u32, server: usize, now: Duration) {
        let is_alone = self.servers.len() == 1;
        let lookup = self.lookup(place);
        lookup.note(Status::Truncated);
        lookup.refused_by = Some(server);
        if is_alone {
            self.finish_failed(place, now);
        } else {
            self.try_again(place, now);
        }
    }

    /// Takes the last attempt, which went out by a stream that has ended. No reply can come for its id any
    /// more.
    pub(super) fn drop_attempt(&mut self, place: u32) -> Attempt {
        self.timers.cancel(place);
        let attempt = self.lookup(place).attempt.take().expect("an attempt");
        let server = self.sockets.server_of(attempt.socket);
        self.servers[server].stream.ended();
        if let Some(place) = attempt.place {
            self.servers[server].forget(place);
        }
        self.free_id(attempt.socket, attempt.id);
        attempt
    }
}
