//! The sockets of a loop: which server each is for, and which query each of its ids stands for.

use super::ids::{Holder, Ids};
use super::random::Random;
use crate::io::Transport;
use std::time::Duration;

/// How long the id of a query without a reply is quarantined after its lookup has ended.
const ID_QUARANTINE: Duration = Duration::from_secs(10);

/// Consecutive queries on one socket before the next socket is used: the kernel can then send them as a
/// batch.
const IN_A_ROW: usize = 32;

/// The number of a socket. Datagram sockets come first, if there are any, grouped by server; then one
/// stream for each server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// The sockets for some servers.
#[derive(Debug)]
pub(super) struct Sockets {
    servers: usize,
    /// Datagram sockets for each server; 0 if there are only streams.
    per_server: usize,
    ids: Vec<Ids>,
    /// Queries sent so far, in datagrams.
    sent: usize,
}

impl Sockets {
    pub(super) fn new(servers: usize, per_server: usize) -> Self {
        let ids = std::iter::repeat_with(Ids::default);
        Self {
            servers,
            per_server,
            ids: ids.take(servers * (per_server + 1)).collect(),
            sent: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    fn datagram_sockets(&self) -> usize {
        self.servers * self.per_server
    }

    pub(super) fn server_of(&self, SocketId(socket): SocketId) -> usize {
        match (socket as usize).checked_sub(self.datagram_sockets()) {
            None => socket as usize / self.per_server,
            Some(server) => server,
        }
    }

    pub(super) fn transport(&self, SocketId(socket): SocketId) -> Transport {
        match (socket as usize) < self.datagram_sockets() {
            true => Transport::Datagram,
            false => Transport::Stream,
        }
    }

    fn ids(&mut self, SocketId(socket): SocketId) -> &mut Ids {
        &mut self.ids[socket as usize]
    }

    /// A free id for a query to this server, in a datagram unless there are only streams. If there is
    /// none, the time at which there may be one.
    pub(super) fn take(
        &mut self,
        query: u32,
        server: usize,
        random: &mut Random,
        now: Duration,
    ) -> Result<(SocketId, u16), Duration> {
        let (first, count) = match self.per_server {
            0 => (server, 1),
            count => (server * count, count),
        };
        self.sent = self.sent.wrapping_add(1);
        for step in 0..count {
            let socket = first + (self.sent / IN_A_ROW + step) % count;
            if let Some(id) = self.ids[socket].take(query, random, now) {
                return Ok((socket_id(socket), id));
            }
        }
        let next = self.ids[first..first + count]
            .iter()
            .filter_map(Ids::next_free);
        Err(next.min().unwrap_or(Duration::MAX))
    }

    /// A free id for a query in the stream to this server.
    ///
    /// # Panics
    /// If none is free. Far fewer queries are in flight in a stream than there are ids.
    pub(super) fn take_for_stream(
        &mut self,
        query: u32,
        server: usize,
        random: &mut Random,
        now: Duration,
    ) -> (SocketId, u16) {
        let socket = self.datagram_sockets() + server;
        let id = self.ids[socket].take(query, random, now);
        (socket_id(socket), id.expect("an id is free"))
    }

    /// What this id stands for; `None` if it is free.
    pub(super) fn holder(&self, SocketId(socket): SocketId, id: u16) -> Option<Holder> {
        self.ids[socket as usize].holder(id)
    }

    /// The queries in flight at a socket, each once.
    pub(super) fn queries(&self, SocketId(socket): SocketId) -> Vec<u32> {
        let mut queries: Vec<u32> = self.ids[socket as usize].queries().collect();
        queries.sort_unstable();
        queries.dedup();
        queries
    }

    /// Frees the id of a query that has been answered.
    pub(super) fn free(&mut self, socket: SocketId, id: u16) {
        self.ids(socket).free(id);
    }

    /// Quarantines the id of a query that was given up.
    pub(super) fn quarantine(&mut self, socket: SocketId, id: u16, now: Duration) {
        self.ids(socket).quarantine(id, now + ID_QUARANTINE);
    }
}

fn socket_id(socket: usize) -> SocketId {
    SocketId(u32::try_from(socket).expect("fewer than 2^32 sockets"))
}
