//! Choosing a server and a socket for each query. Queries are sent in datagrams, or in streams if there
//! are only streams.

use super::{Resolver, Transmit};
use crate::jobs::dns::lookup::{Attempt, State};
use crate::jobs::dns::server::QueryKind;
use crate::jobs::dns::sockets::SocketId;
use crate::jobs::dns::wait_queues::{QueueKey, Ticket};
use std::time::Duration;

/// Only this many attempts for a name count as samples for the limit. A name without an answer fails
/// every time and must not count repeatedly.
const SAMPLE_TRIES: u32 = 2;

/// Servers considered for one query, at most, if one of them has room.
const CANDIDATES_MAX: usize = 8;

impl Resolver {
    /// Updates what depends on the state of a server: its limit, probes that are due, its room.
    pub(super) fn update_server(&mut self, server: usize, now: Duration) {
        self.servers[server].report(now);
        if self.servers[server].is_probe_due(now) {
            self.probe(server, now);
        }
        self.update_room(server, now);
    }

    fn update_room(&mut self, server: usize, now: Duration) {
        if self.rooms.set(server, &self.servers[server], now) {
            for (at, other) in self.servers.iter().enumerate() {
                self.rooms.set(at, other, now);
            }
        }
    }

    pub(super) fn update_all_servers(&mut self, now: Duration) {
        (0..self.servers.len()).for_each(|server| self.update_server(server, now));
    }

    /// A reply has arrived for a query that was given up.
    pub(super) fn late_reply_received(&mut self, server: usize, now: Duration) {
        let was_open = self.servers[server].circuit.is_open();
        self.servers[server].circuit.reply_received(now);
        if was_open {
            self.update_server(server, now);
            self.serve_waiting(now);
        }
    }

    /// Probes a silent server with a question that it has answered before.
    fn probe(&mut self, server: usize, now: Duration) {
        let Some(question) = self.servers[server].known_good.clone() else {
            return;
        };
        let slot = self.free_slot();
        let mut lookup = self.new_lookup(question, now);
        lookup.probed_server = Some(server);
        self.lookups[slot as usize] = Some(lookup);
        if !self.send(slot, server, now) {
            self.remove(slot, now);
        }
    }

    /// Sends the question to a server that has room. False if there is none.
    pub(super) fn attempt(&mut self, slot: u32, now: Duration) -> bool {
        let lookup = self.lookups[slot as usize].as_ref().expect("a lookup");
        let kind = lookup.kind();
        if self.rooms.total(kind) == 0 {
            return false;
        }
        let (last, refused_by) = (lookup.last_server, lookup.refused_by);
        let chosen = self.choose_server(kind, last, refused_by, now);
        chosen.is_some_and(|server| self.send(slot, server, now))
    }

    /// Sends a query. False if no id is free.
    fn send(&mut self, slot: u32, server: usize, now: Duration) -> bool {
        let chosen = &mut self.servers[server];
        let taken = self.sockets.take(slot, server, &mut self.random, now);
        let (socket, id) = match taken {
            Ok(taken) => taken,
            Err(until) => {
                chosen.has_no_ids(until);
                self.update_room(server, now);
                return false;
            }
        };
        let lookup = self.lookups[slot as usize].as_mut().expect("a lookup");
        let is_first = lookup.first_sent_at.is_none() && lookup.probed_server.is_none();
        let is_probe = chosen.is_probe_due(now);
        if is_probe {
            chosen.circuit.probe_sent(now);
        }
        let is_sample = lookup.tries < SAMPLE_TRIES && lookup.probed_server.is_none();
        let permit = chosen.send(is_sample, now);
        if self.settings.streams_only {
            chosen.stream.sent(now);
        }
        let has_edns =
            self.query_form.has_edns() && chosen.edns.is_used(now) && lookup.without_edns.is_none();
        let timeout = chosen.estimate.timeout(lookup.tries);
        let question = self
            .settings
            .mixes_case
            .then(|| lookup.question.respelled(&mut self.random));
        let asked = question.as_ref().unwrap_or(&lookup.question);
        let message = self.query_form.query(id, asked, has_edns);
        lookup.sent(server, now);
        lookup.attempt = Some(Attempt {
            socket,
            id,
            permit: Some(permit),
            in_pipeline: self.settings.streams_only,
            is_first,
            is_sample,
            is_probe,
            has_edns,
            spelled: question,
            sent_at: now,
        });
        self.timers.set(slot, now + timeout.min(lookup.time_left));
        self.transmits.push_back(Transmit { socket, message });
        self.update_room(server, now);
        true
    }

    pub(super) fn free_id(&mut self, socket: SocketId, id: u16) {
        self.sockets.free(socket, id);
        let server = self.sockets.server_of(socket);
        self.servers[server].has_ids();
    }

    /// The least loaded of some servers: not the one that has just failed, if another has room, and not
    /// the one that has refused, if another is available at all.
    fn choose_server(
        &mut self,
        kind: QueryKind,
        last: Option<usize>,
        refused_by: Option<usize>,
        now: Duration,
    ) -> Option<usize> {
        let count = self.servers.len();
        let is_available = |server: usize| !self.servers[server].circuit.is_open();
        let avoided =
            refused_by.filter(|&it| (0..count).any(|other| other != it && is_available(other)));
        let any_available = self.rooms.any_available();
        let has_room = |server: usize| self.servers[server].room(kind, any_available, now) > 0;
        let may_ask = |server: usize| Some(server) != avoided && has_room(server);
        self.next_server = (self.next_server + 1) % count;
        let candidates =
            (0..count.min(CANDIDATES_MAX)).map(|step| (self.next_server + step) % count);
        let with_room = candidates.filter(|&server| may_ask(server));
        let rank = |server: usize| {
            let server_state = &self.servers[server];
            (
                (server_state.circuit.is_open(), Some(server) == last),
                server_state.load(),
            )
        };
        let best = with_room.min_by(|&a, &b| {
            let ((a_first, a_load), (b_first, b_load)) = (rank(a), rank(b));
            a_first.cmp(&b_first).then(a_load.total_cmp(&b_load))
        });
        best.or_else(|| (0..count).find(|&server| may_ask(server)))
    }

    /// Continues waiting lookups while servers have room.
    pub(super) fn serve_waiting(&mut self, now: Duration) {
        if self.waiting.is_empty() || self.rooms.total(QueryKind::Retry) == 0 {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.serve(|ticket, queue| {
            let is_stale = !self.waits(ticket, State::Waiting) || self.queue_of(ticket.0) != queue;
            is_stale || self.attempt(ticket.0, now)
        });
        self.waiting = waiting;
    }

    /// Puts a lookup into the queue in which it waits for a server.
    pub(super) fn queue_up(&mut self, slot: u32) {
        let ticket = (slot, self.lookup(slot).serial);
        let queue = self.queue_of(slot);
        self.waiting.push(ticket, queue);
    }

    fn queue_of(&self, slot: u32) -> QueueKey {
        let lookup = self.lookups[slot as usize].as_ref().expect("a lookup");
        (lookup.kind(), lookup.refused_by)
    }

    /// False if the lookup has ended, or is in another state by now.
    pub(super) fn waits(&self, (slot, serial): Ticket, state: State) -> bool {
        let lookup = self.lookups[slot as usize].as_ref();
        lookup.is_some_and(|lookup| lookup.serial == serial && lookup.state == state)
    }
}
