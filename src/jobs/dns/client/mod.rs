//! The resolver's sockets and timer: tasks of the loop around a [`Resolver`], which itself does no
//! input or output.

mod askers;
mod socket_state;
mod tasks;
mod timer;
mod turns;

use super::answer::Answer;
use super::figures::SharedFigures;
use super::question::Question;
use super::resolver::Resolver;
use super::sockets::SocketId;
use crate::io::{Io, Transport};
use askers::{Askers, Asking};
use socket_state::SocketState;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use timer::Timer;
use turns::{Place, Places};

/// Runs a [`Resolver`] for the items of one loop, or for those of them that are for one server.
pub struct Client {
    io: Io,
    resolver: RefCell<Resolver>,
    sockets: Vec<SocketState>,
    /// Items that wait for an answer, by the numbers the resolver knows them under.
    askers: RefCell<Askers>,
    places: RefCell<Places>,
    timer: RefCell<Timer>,
    figures: SharedFigures,
    /// All items of the loop ask here.
    is_alone: bool,
    /// All servers are silent, and items of other clients need the places in flight.
    parks: Cell<bool>,
    /// Messages that have come so far.
    received: Cell<u64>,
}

impl Client {
    /// Spawns the tasks that a resolver needs. They leave its figures there in the end. `is_alone` says
    /// that the loop has no other client.
    pub(super) fn start(
        io: &Io,
        mut resolver: Resolver,
        figures: SharedFigures,
        is_alone: bool,
    ) -> Rc<Self> {
        let sockets = std::iter::repeat_with(SocketState::default);
        let places = Places::new(resolver.room(io.now()));
        let client = Rc::new(Self {
            io: io.clone(),
            sockets: sockets.take(resolver.sockets()).collect(),
            resolver: RefCell::new(resolver),
            askers: RefCell::default(),
            places: RefCell::new(places),
            timer: RefCell::default(),
            figures,
            is_alone,
            parks: Cell::new(false),
            received: Cell::new(0),
        });
        for id in (0..).map(SocketId).take(client.sockets.len()) {
            io.spawn(Rc::clone(&client).receive_at(id));
            match client.transport(id) {
                Transport::Datagram => io.spawn(Rc::clone(&client).repeat_at(id)),
                Transport::Stream => io.spawn(Rc::clone(&client).send_at(id)),
            }
        }
        io.spawn(Rc::clone(&client).run_timer());
        client.after_change();
        client
    }

    /// Asks a question, once the resolver has a place for it. Until then the item is parked; and again
    /// when all servers are silent and there are other clients: it would keep its place in flight for long.
    pub(super) async fn ask(&self, question: Question) -> Answer {
        let mut place = Place::new(self);
        self.io.park(poll_fn(|context| place.poll(context))).await;
        let asking = self.begin(question, place);
        let answered_at_once = poll_fn(|context| match asking.poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if self.parks.get() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(answer) = answered_at_once.await {
            return answer;
        }
        // In a box: other names need not have the room it takes.
        let answered = poll_fn(|context| asking.poll(context));
        Box::pin(self.io.park(answered)).await
    }

    fn begin(&self, question: Question, place: Place<'_>) -> Asking<'_> {
        let asking = Asking::new(self);
        let now = self.io.now();
        self.resolver.borrow_mut().ask(asking.number, question, now);
        self.places.borrow_mut().free = self.resolver.borrow_mut().room(now);
        drop(place);
        self.after_change();
        asking
    }

    fn state(&self, SocketId(id): SocketId) -> &SocketState {
        &self.sockets[id as usize]
    }

    fn transport(&self, id: SocketId) -> Transport {
        self.resolver.borrow().transport(id)
    }

    /// Tells the resolver of something, and does what it wants done.
    fn tell(&self, what: impl FnOnce(&mut Resolver, Duration)) {
        let now = self.io.now();
        what(&mut self.resolver.borrow_mut(), now);
        self.places.borrow_mut().free = self.resolver.borrow_mut().room(now);
        self.after_change();
    }

    /// Sends what the resolver wants sent, hands answers to their items, and sets the timer.
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
        let places = self.places.borrow();
        places.wake();
        if self.is_alone {
            self.io.limit_intake(places.available());
        } else {
            // Which clients the next items are for is not known, so they are taken in any case, and those
            // without a place are parked.
            let had_parked = self.parks.replace(resolver.is_silent());
            if self.parks.get() && !had_parked {
                askers.wake();
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.figures.add(self.resolver.borrow().figures());
    }
}
