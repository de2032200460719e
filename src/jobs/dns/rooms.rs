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
    /// Of use where each name is for one server: those whose room has changed, for whoever asks.
    changed: Option<Changed>,
}

/// Servers whose room has changed.
#[derive(Debug)]
struct Changed {
    /// For whoever asks.
    to_tell: Servers,
    /// For names that wait in the resolver.
    to_serve: Servers,
}

/// Some servers, each once.
#[derive(Debug)]
struct Servers {
    list: Vec<usize>,
    has: Vec<bool>,
}

impl Rooms {
    /// Where names are pinned to servers, what others do is nothing to the room at one.
    pub(super) fn new(servers: usize, pins_names: bool) -> Self {
        Self {
            changed: pins_names.then(|| Changed {
                to_tell: Servers::new(servers),
                to_serve: Servers::new(servers),
            }),
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

    /// True if a server is there that is not silent, and may be asked in place of one that is.
    pub(super) fn any_is_there(&self) -> bool {
        self.there > 0 && self.changed.is_none()
    }

    /// A server whose room has changed since this was last asked, and the room for new names. None unless
    /// names are pinned.
    pub(super) fn pop_changed(&mut self) -> Option<(usize, usize)> {
        let server = self.changed.as_mut()?.to_tell.pop()?;
        Some((server, self.rooms[server][For::NewName as usize]))
    }

    /// The same for names that wait in the resolver.
    pub(super) fn pop_to_serve(&mut self) -> Option<usize> {
        self.changed.as_mut()?.to_serve.pop()
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
        if let Some(changed) = &mut self.changed
            && (rooms != before || is_there != was_there)
        {
            changed.to_tell.add(server);
            changed.to_serve.add(server);
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

impl Servers {
    fn new(servers: usize) -> Self {
        Self {
            list: Vec::new(),
            has: vec![false; servers],
        }
    }

    fn add(&mut self, server: usize) {
        if !std::mem::replace(&mut self.has[server], true) {
            self.list.push(server);
        }
    }

    fn pop(&mut self) -> Option<usize> {
        let server = self.list.pop()?;
        self.has[server] = false;
        Some(server)
    }
}
