//! The room that all servers have together.

use super::server::{For, Server};
use crate::io::Timers;
use std::time::Duration;

/// What is known of the room at each server, so that it need not be asked of all of them each time.
#[derive(Debug)]
pub(super) struct Rooms {
    /// For retries and for new names.
    rooms: Vec<[usize; 2]>,
    totals: [usize; 2],
    /// Servers that are not silent, and how many.
    is_there: Vec<bool>,
    there: usize,
    /// By server: when its room may change, other than by a query or a reply.
    events: Timers,
}

impl Rooms {
    pub(super) fn new(servers: usize) -> Self {
        Self {
            rooms: vec![[0; 2]; servers],
            totals: [0; 2],
            is_there: vec![false; servers],
            there: 0,
            events: Timers::default(),
        }
    }

    /// The room for names of this kind, at all servers together.
    pub(super) fn total(&self, kind: For) -> usize {
        self.totals[kind as usize]
    }

    /// True if a server is there that is not silent.
    pub(super) fn any_is_there(&self) -> bool {
        self.there > 0
    }

    /// Takes note of the room that a server has now. True if the first server is there, or none any
    /// more: then the room at all others has changed, too.
    pub(super) fn set(&mut self, server: usize, state: &Server, now: Duration) -> bool {
        let any_was_there = self.any_is_there();
        let is_there = !state.circuit.is_open();
        let was_there = std::mem::replace(&mut self.is_there[server], is_there);
        self.there = self.there + usize::from(is_there) - usize::from(was_there);
        let any_is_there = self.any_is_there();
        let rooms = [For::Retry, For::NewName].map(|kind| state.room(kind, any_is_there, now));
        let before = std::mem::replace(&mut self.rooms[server], rooms);
        for ((total, before), room) in self.totals.iter_mut().zip(before).zip(rooms) {
            *total = *total - before + room;
        }
        let key = u32::try_from(server).expect("fewer than 2^32 servers");
        match state.next_event(now) {
            Some(at) => self.events.set(key, at),
            None => self.events.cancel(key),
        }
        any_is_there != any_was_there
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
