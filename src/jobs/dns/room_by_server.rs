//! How many more queries can be sent to each server and to all of them.

use super::server::{QueryKind, Server};
use crate::io::Timers;
use std::time::Duration;

/// The room at each server, cached so that it need not be computed for all servers each time.
#[derive(Debug)]
pub(super) struct RoomByServer {
    /// By server: the room for retries and for new names.
    rooms: Vec<[usize; 2]>,
    totals: [usize; 2],
    /// Whether the circuit of each server is closed, and how many are.
    is_available: Vec<bool>,
    available: usize,
    /// By server: when its room may change, other than by a query or a reply.
    events: Timers,
}

impl RoomByServer {
    pub(super) fn new(servers: usize) -> Self {
        Self {
            rooms: vec![[0; 2]; servers],
            totals: [0; 2],
            is_available: vec![false; servers],
            available: 0,
            events: Timers::default(),
        }
    }

    /// The room for names of this kind, at all servers together.
    pub(super) fn total(&self, kind: QueryKind) -> usize {
        self.totals[kind as usize]
    }

    /// True if the circuit of any server is closed.
    pub(super) fn any_available(&self) -> bool {
        self.available > 0
    }

    /// Updates the room at a server. True if the first server has become available, or the last one
    /// unavailable: then the room at all others has changed, too.
    pub(super) fn set(&mut self, server: usize, state: &Server, now: Duration) -> bool {
        let any_was_available = self.any_available();
        let is_available = !state.circuit.is_open();
        let was_available = std::mem::replace(&mut self.is_available[server], is_available);
        self.available = self.available + usize::from(is_available) - usize::from(was_available);
        let any_available = self.any_available();
        let rooms =
            [QueryKind::Retry, QueryKind::NewName].map(|kind| state.room(kind, any_available, now));
        let before = std::mem::replace(&mut self.rooms[server], rooms);
        for ((total, before), room) in self.totals.iter_mut().zip(before).zip(rooms) {
            *total = *total - before + room;
        }
        let key = u32::try_from(server).expect("fewer than 2^32 servers");
        match state.next_event(now) {
            Some(at) => self.events.set(key, at),
            None => self.events.cancel(key),
        }
        any_available != any_was_available
    }

    /// When the room of a server next changes.
    pub(super) fn next_event(&mut self) -> Option<Duration> {
        self.events.next_due()
    }

    /// A server whose room changes now.
    pub(super) fn pop_event(&mut self, now: Duration) -> Option<usize> {
        self.events.pop_due(now).map(|server| server as usize)
    }
}
