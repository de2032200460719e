//! The tasks of a loop that run a [`Resolver`]: its sockets and its timer. The resolver itself does no
//! I/O.

mod admission;
mod askers;
mod asking;
mod socket_state;
mod tasks;
mod timer;
mod timer_task;

use super::resolver::Resolver;
use super::server_stats::SharedServerStats;
use super::sockets::SocketId;
use crate::io::{Io, Transport};
use admission::AdmissionQueue;
use askers::Askers;
use socket_state::SocketState;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use timer::Timer;

/// Runs a [`Resolver`] for the items of one loop, or for those of its items that are for one server.
pub struct Client {
    io: Io,
    resolver: RefCell<Resolver>,
    sockets: Vec<SocketState>,
    /// Items that wait for an answer, by their numbers in the resolver.
    askers: RefCell<Askers>,
    admissions: RefCell<AdmissionQueue>,
    timer: RefCell<Timer>,
    server_stats: SharedServerStats,
    /// The loop has no other client.
    is_only_client: bool,
    /// Waiting items are parked, because all servers are silent and items of other clients need the slots
    /// in flight.
    parks: Cell<bool>,
    /// Messages received so far.
    received: Cell<u64>,
}

impl Client {
    /// Spawns the tasks that a resolver needs. When the client is dropped, it adds the resolver's
    /// statistics to `server_stats`. `is_only_client` says that the loop has no other client.
    pub(in crate::jobs) fn start(
        io: &Io,
        mut resolver: Resolver,
        server_stats: SharedServerStats,
        is_only_client: bool,
    ) -> Rc<Self> {
        let sockets = std::iter::repeat_with(SocketState::default);
        let admissions = AdmissionQueue::new(resolver.room(io.now()));
        let client = Rc::new(Self {
            io: io.clone(),
            sockets: sockets.take(resolver.sockets()).collect(),
            resolver: RefCell::new(resolver),
            askers: RefCell::default(),
            admissions: RefCell::new(admissions),
            timer: RefCell::default(),
            server_stats,
            is_only_client,
            parks: Cell::new(false),
            received: Cell::new(0),
        });
        for id in (0..).map(SocketId).take(client.sockets.len()) {
            io.spawn(Rc::clone(&client).receive_at(id));
            match client.transport(id) {
                Transport::Datagram => io.spawn(Rc::clone(&client).resend_at(id)),
                Transport::Stream => io.spawn(Rc::clone(&client).send_at(id)),
            }
        }
        io.spawn(Rc::clone(&client).run_timer());
        client.after_change();
        client
    }

    fn state(&self, SocketId(id): SocketId) -> &SocketState {
        &self.sockets[id as usize]
    }

    fn transport(&self, id: SocketId) -> Transport {
        self.resolver.borrow().transport(id)
    }

    /// Changes the state of the resolver, and carries out what it then requests.
    fn update(&self, change: impl FnOnce(&mut Resolver, Duration)) {
        let now = self.io.now();
        change(&mut self.resolver.borrow_mut(), now);
        self.admissions.borrow_mut().free = self.resolver.borrow_mut().room(now);
        self.after_change();
    }

    /// Sends the resolver's messages, passes answers to their items, and sets the timer.
    fn after_change(&self) {
        let mut resolver = self.resolver.borrow_mut();
        while let Some(id) = resolver.hang_up_next() {
            self.state(id).hang_up();
        }
        while let Some(transmit) = resolver.transmit() {
            let id = transmit.socket;
            self.state(id)
                .send(transmit.message, resolver.transport(id));
        }
        let mut askers = self.askers.borrow_mut();
        while let Some((number, answer)) = resolver.answer() {
            askers.answered(number, answer);
        }
        self.timer.borrow_mut().set(resolver.wake_at());
        let admissions = self.admissions.borrow();
        admissions.wake();
        if self.is_only_client {
            self.io.limit_intake(admissions.available());
        } else {
            // It is not known which clients the next items are for, so the intake is not limited; items
            // without room at their client are parked.
            let had_parked = self.parks.replace(resolver.is_silent());
            if self.parks.get() && !had_parked {
                askers.wake();
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.server_stats.add(self.resolver.borrow().server_stats());
    }
}
