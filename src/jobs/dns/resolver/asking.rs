//! What a server can be asked, and by which socket: queries are sent in datagrams, or in streams where there
//! are no others.

use super::{Resolver, Transmit};
use crate::jobs::dns::lookup::{Attempt, State};
use crate::jobs::dns::server::For;
use crate::jobs::dns::sockets::SocketId;
use crate::jobs::dns::waiting::{Queue, Ticket};
use std::time::Duration;

/// So many attempts for a name tell how much its server bears. A name that has no answer fails every
/// time, and must not count for many.
const SAMPLE_TRIES: u32 = 2;

/// Servers looked at for one question, at most, if one of them has room.
const CANDIDATES_MAX: usize = 8;

impl Resolver {
    /// Something has changed at this server: the room it has, or when it may have more.
    pub(super) fn look_at(&mut self, server: usize, now: Duration) {
        self.servers[server].report(now);
        if self.servers[server].is_probe_due(now) {
            self.probe(server, now);
        }
        self.room_changed(server, now);
    }

    fn room_changed(&mut self, server: usize, now: Duration) {
        if self.rooms.set(server, &self.servers[server], now) {
            for (at, other) in self.servers.iter().enumerate() {
                self.rooms.set(at, other, now);
            }
        }
    }

    pub(super) fn look_at_all_servers(&mut self, now: Duration) {
        (0..self.servers.len()).for_each(|server| self.look_at(server, now));
    }

    /// A reply has come that nobody waits for any more.
    pub(super) fn heard(&mut self, server: usize, now: Duration) {
        let was_open = self.servers[server].circuit.is_open();
        self.servers[server].circuit.heard(now);
        if was_open {
            self.look_at(server, now);
            self.serve_waiting(now);
        }
    }

    /// Asks a server that was silent for what it has answered before.
    fn probe(&mut self, server: usize, now: Duration) {
        let Some(question) = self.servers[server].known_good.clone() else {
            return;
        };
        let place = self.free_place();
        let mut lookup = self.new_lookup(question, now);
        lookup.probes = Some(server);
        self.lookups[place as usize] = Some(lookup);
        if !self.send(place, server, now) {
            self.remove(place, now);
        }
    }

    /// Sends the question to a server that has room. False if there is none.
    pub(super) fn attempt(&mut self, place: u32, now: Duration) -> bool {
        let lookup = self.lookups[place as usize].as_ref().expect("a lookup");
        let kind = lookup.kind();
        if self.rooms.total(kind) == 0 {
            return false;
        }
        let (last, refused_by) = (lookup.last_server, lookup.refused_by);
        let chosen = self.choose_server(kind, last, refused_by, now);
        chosen.is_some_and(|server| self.send(place, server, now))
    }

    /// Sends a query. False if no id is free.
    fn send(&mut self, place: u32, server: usize, now: Duration) -> bool {
        let chosen = &mut self.servers[server];
        let taken = self.sockets.take(place, server, &mut self.random, now);
        let (socket, id) = match taken {
            Ok(taken) => taken,
            Err(until) => {
                chosen.lacks_ids(until);
                self.room_changed(server, now);
                return false;
            }
        };
        let lookup = self.lookups[place as usize].as_mut().expect("a lookup");
        let is_first = lookup.first_sent_at.is_none() && lookup.probes.is_none();
        let is_probe = chosen.is_probe_due(now);
        if is_probe {
            chosen.circuit.probe_sent(now);
        }
        let is_sample = lookup.tries < SAMPLE_TRIES && lookup.probes.is_none();
        let place_id = chosen.send(is_sample, now);
        if self.settings.streams_only {
            chosen.stream.sent(now);
        }
        let has_edns =
            self.query_form.has_edns() && chosen.edns.is_used(now) && lookup.plain.is_none();
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
            place: Some(place_id),
            in_pipeline: self.settings.streams_only,
            is_first,
            is_sample,
            is_probe,
            has_edns,
            spelled: question,
            sent_at: now,
        });
        self.timers.set(place, now + timeout.min(lookup.patience));
        self.transmits.push_back(Transmit { socket, message });
        self.room_changed(server, now);
        true
    }

    pub(super) fn free_id(&mut self, socket: SocketId, id: u16) {
        self.sockets.free(socket, id);
        let server = self.sockets.server_of(socket);
        self.servers[server].has_ids();
    }

    /// The server with the least to do, of some: not the one that has just failed, if another has room,
    /// and not the one that has refused, if there is another at all.
    fn choose_server(
        &mut self,
        kind: For,
        last: Option<usize>,
        refused_by: Option<usize>,
        now: Duration,
    ) -> Option<usize> {
        let count = self.servers.len();
        let is_there = |server: usize| !self.servers[server].circuit.is_open();
        let avoided =
            refused_by.filter(|&it| (0..count).any(|other| other != it && is_there(other)));
        let any_is_there = self.rooms.any_is_there();
        let has_room = |server: usize| self.servers[server].room(kind, any_is_there, now) > 0;
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

    /// Goes on with those that wait, for as long as servers have room.
    pub(super) fn serve_waiting(&mut self, now: Duration) {
        if self.waiting.is_empty() || self.rooms.total(For::Retry) == 0 {
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
    pub(super) fn queue_up(&mut self, place: u32) {
        let ticket = (place, self.lookup(place).serial);
        let queue = self.queue_of(place);
        self.waiting.push(ticket, queue);
    }

    fn queue_of(&self, place: u32) -> Queue {
        let lookup = self.lookups[place as usize].as_ref().expect("a lookup");
        (lookup.kind(), lookup.refused_by)
    }

    /// False if the lookup has ended, or does something else by now.
    pub(super) fn waits(&self, (place, serial): Ticket, state: State) -> bool {
        let lookup = self.lookups[place as usize].as_ref();
        lookup.is_some_and(|lookup| lookup.serial == serial && lookup.state == state)
    }
}
