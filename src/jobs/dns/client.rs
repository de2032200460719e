//! The resolver's sockets and timer: tasks of the loop around a [`Resolver`], which itself does no
//! input or output.

use super::answer::Answer;
use super::figures::SharedFigures;
use super::frames::{self, Frames};
use super::message;
use super::query::EDNS_SIZE_MAX;
use super::question::Question;
use super::resolver::Resolver;
use super::sockets::SocketId;
use crate::error::Errno;
use crate::io::{Io, Sleep, Socket, Transport, Undelivered};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Room for what is received at one time: for datagrams more than servers are told to send, so that one
/// that was cut off is known by its length.
const RECEIVE_LEN: usize = EDNS_SIZE_MAX as usize + 1;

/// The tasks of a stream, as they wait for its connection.
const RECEIVES: usize = 0;
const SENDS: usize = 1;

/// How long to wait before what failed because something was exhausted is tried again.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(2);

/// So often the tasks that receive may go on before the time that has passed is noticed, at most.
const TURNS_TO_RECEIVE: usize = 16;

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

/// A socket, made when it is first needed, and after its other end has closed it when it is needed
/// again.
#[derive(Default)]
struct SocketState {
    open: RefCell<Option<Rc<Socket>>>,
    /// To be sent.
    queue: RefCell<Vec<Vec<u8>>>,
    /// What could not be sent.
    undelivered: Rc<Undelivered>,
    /// Of the task that makes the socket and receives.
    receiver: Cell<Option<Waker>>,
    /// Of the task that sends.
    sender: Cell<Option<Waker>>,
    /// How many connections have been given up.
    hang_ups: Cell<u32>,
    /// Of the tasks that receive and send, while they wait for the connection.
    connected: [Cell<Option<Waker>>; 2],
}

#[derive(Default)]
struct Askers {
    places: Vec<Asker>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Asker {
    answer: Option<Answer>,
    waker: Option<Waker>,
}

/// Questions that the resolver could take at once.
#[derive(Default)]
struct Places {
    free: usize,
    /// Of these, so many belong to items that have not asked yet.
    promised: usize,
    /// Items that wait for a place, by their tickets.
    waiting: VecDeque<(u64, Waker)>,
    next_ticket: u64,
}

#[derive(Default)]
struct Timer {
    /// When the resolver is to be called, as far as the task of the timer knows.
    at: Option<Duration>,
    waker: Option<Waker>,
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
        let places = Places {
            free: resolver.room(io.now()),
            ..Places::default()
        };
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

    /// Calls the resolver when it wants to be called.
    async fn run_timer(self: Rc<Self>) {
        // For the time it was set to.
        let mut sleep: Option<(Duration, Sleep)> = None;
        loop {
            poll_fn(|context| self.poll_timer(&mut sleep, context)).await;
            self.let_receive().await;
            self.tell(Resolver::time_passed);
        }
    }

    /// Lets the tasks that receive take what has come: a loop that is late must not give up what has
    /// been answered meanwhile.
    async fn let_receive(&self) {
        for _ in 0..TURNS_TO_RECEIVE {
            let before = self.received.get();
            yield_now().await;
            if self.received.get() == before {
                return;
            }
        }
    }

    fn poll_timer(
        &self,
        sleep: &mut Option<(Duration, Sleep)>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let mut timer = self.timer.borrow_mut();
        let Some(at) = timer.at else {
            timer.waker = Some(context.waker().clone());
            *sleep = None;
            return Poll::Pending;
        };
        if sleep.as_ref().is_none_or(|(known, _)| *known != at) {
            *sleep = Some((at, self.io.sleep_until(at)));
        }
        let (_, running) = sleep.as_mut().expect("just set");
        if Pin::new(running).poll(context).is_ready() {
            timer.at = None;
            *sleep = None;
            return Poll::Ready(());
        }
        timer.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Makes the socket when it is needed, and hands the resolver what comes there.
    async fn receive_at(self: Rc<Self>, id: SocketId) {
        let state = self.state(id);
        let (address, transport, source) = {
            let resolver = self.resolver.borrow();
            (
                resolver.address(id),
                resolver.transport(id),
                resolver.source(),
            )
        };
        loop {
            poll_fn(|context| match state.queue.borrow().is_empty() {
                true => wait_as(&state.receiver, context),
                false => Poll::Ready(()),
            })
            .await;
            let connect = Socket::connect(&self.io, address, transport, source);
            let Some(connected) = state.until_hang_up(RECEIVES, connect).await else {
                continue;
            };
            match connected {
                Ok(socket) => {
                    let socket = Rc::new(socket);
                    state.open(&socket, transport);
                    match transport {
                        Transport::Datagram => self.receive_datagrams(id, &socket).await,
                        Transport::Stream => self.receive_stream(id, &socket).await,
                    }
                }
                Err(errno) if is_our_lack(errno) => self.pause().await,
                Err(_) => {
                    // There is no way to that address.
                    state.queue.borrow_mut().clear();
                    self.tell(|resolver, now| resolver.refused(id, now));
                }
            }
        }
    }

    async fn receive_datagrams(&self, id: SocketId, socket: &Socket) {
        let mut bytes = vec![0; RECEIVE_LEN];
        loop {
            let received;
            (bytes, received) = socket.receive(bytes).await;
            match received {
                Ok(count) => self.received(id, &mut bytes[..count]),
                Err(errno) if is_our_lack(errno) => self.pause().await,
                // What an earlier datagram met with on its way, mostly a closed port.
                Err(_) => self.tell(|resolver, now| resolver.refused(id, now)),
            }
        }
    }

    fn note_reply(&self) {
        self.received.set(self.received.get() + 1);
        self.figures.note_reply();
    }

    fn received(&self, id: SocketId, message: &mut [u8]) {
        self.note_reply();
        if message.len() == RECEIVE_LEN {
            // The rest of it did not fit here: it is to be had in a stream.
            message::set_truncated(message);
        }
        self.tell(|resolver, now| resolver.received(id, message, now));
    }

    /// Ends with the connection.
    async fn receive_stream(&self, id: SocketId, socket: &Socket) {
        let mut frames = Frames::default();
        let mut bytes = vec![0; RECEIVE_LEN];
        loop {
            let receive = socket.receive(bytes);
            let received;
            match self.state(id).until_hang_up(RECEIVES, receive).await {
                Some(done) => (bytes, received) = done,
                None => return,
            }
            match received {
                Ok(count @ 1..) => {
                    frames.add(&bytes[..count]);
                    while let Some(message) = frames.next() {
                        self.note_reply();
                        self.tell(|resolver, now| resolver.received(id, message, now));
                    }
                }
                Err(errno) if is_our_lack(errno) => self.pause().await,
                Ok(_) | Err(_) => {
                    let state = self.state(id);
                    state.open.replace(None);
                    state.queue.borrow_mut().clear();
                    return self.tell(|resolver, now| resolver.disconnected(id, now));
                }
            }
        }
    }

    /// Sends what is queued for a stream, one after the other: the pieces must keep their order.
    async fn send_at(self: Rc<Self>, id: SocketId) {
        let state = self.state(id);
        loop {
            let (socket, mut bytes) = poll_fn(|context| {
                let socket = state.open.borrow().clone();
                match socket.filter(|_| !state.queue.borrow().is_empty()) {
                    Some(socket) => Poll::Ready((socket, state.queue.take().concat())),
                    None => wait_as(&state.sender, context),
                }
            })
            .await;
            while !bytes.is_empty() {
                let sent;
                match state.until_hang_up(SENDS, socket.send(bytes)).await {
                    Some(done) => (bytes, sent) = done,
                    None => break,
                }
                match sent {
                    Ok(count) => drop(bytes.drain(..count)),
                    Err(errno) if is_our_lack(errno) => self.pause().await,
                    // The receiver meets with the end of the connection, too.
                    Err(_) => break,
                }
            }
        }
    }

    /// Sends datagrams again that could not be sent because something was exhausted.
    async fn repeat_at(self: Rc<Self>, id: SocketId) {
        let state = self.state(id);
        loop {
            let take = |context: &mut Context<'_>| match state.undelivered.take(context.waker()) {
                Some(failed) => Poll::Ready(failed),
                None => Poll::Pending,
            };
            let (bytes, errno) = poll_fn(take).await;
            if is_our_lack(errno) {
                self.pause().await;
                state.send(bytes, Transport::Datagram);
            } else {
                self.tell(|resolver, now| resolver.refused(id, now));
            }
        }
    }

    async fn pause(&self) {
        let until = self.io.now() + EXHAUSTION_PAUSE;
        self.io.sleep_until(until).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.figures.add(self.resolver.borrow().figures());
    }
}

fn is_our_lack(errno: Errno) -> bool {
    errno.is_shortage() || errno.raw() == libc::EINTR
}

async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn wait_as<T>(waker: &Cell<Option<Waker>>, context: &Context<'_>) -> Poll<T> {
    waker.set(Some(context.waker().clone()));
    Poll::Pending
}

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl SocketState {
    /// Sends a message, or queues it until the socket can take it.
    fn send(&self, message: Vec<u8>, transport: Transport) {
        match (transport, &*self.open.borrow()) {
            (Transport::Datagram, Some(socket)) => socket.post(message, &self.undelivered),
            (Transport::Datagram, None) => {
                self.queue.borrow_mut().push(message);
                wake(&self.receiver);
            }
            (Transport::Stream, _) => {
                self.queue.borrow_mut().push(frames::framed(&message));
                wake(&self.receiver);
                wake(&self.sender);
            }
        }
    }

    /// Gives up a connection with all that was to be sent in it.
    fn hang_up(&self) {
        self.open.replace(None);
        self.queue.borrow_mut().clear();
        self.hang_ups.set(self.hang_ups.get().wrapping_add(1));
        self.connected.iter().for_each(wake);
    }

    /// Waits for what a task does with the connection; `None` if that is given up meanwhile.
    async fn until_hang_up<T>(&self, task: usize, future: impl Future<Output = T>) -> Option<T> {
        let before = self.hang_ups.get();
        let mut future = pin!(future);
        poll_fn(|context| {
            if self.hang_ups.get() != before {
                return Poll::Ready(None);
            }
            match future.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => wait_as(&self.connected[task], context),
            }
        })
        .await
    }

    /// The socket is connected.
    fn open(&self, socket: &Rc<Socket>, transport: Transport) {
        self.open.replace(Some(Rc::clone(socket)));
        match transport {
            Transport::Datagram => {
                for message in self.queue.take() {
                    socket.post(message, &self.undelivered);
                }
            }
            Transport::Stream => wake(&self.sender),
        }
    }
}

impl Askers {
    fn add(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.places.push(Asker::default());
            u32::try_from(self.places.len() - 1).expect("fewer than 2^32 questions")
        })
    }

    fn answered(&mut self, number: u32, answer: Answer) {
        let asker = &mut self.places[number as usize];
        asker.answer = Some(answer);
        if let Some(waker) = asker.waker.take() {
            waker.wake();
        }
    }

    /// Wakes all who have no answer yet.
    fn wake(&self) {
        let wakers = self.places.iter().filter_map(|asker| asker.waker.as_ref());
        wakers.for_each(Waker::wake_by_ref);
    }
}

impl Places {
    fn available(&self) -> usize {
        self.free.saturating_sub(self.promised)
    }

    fn find(&self, ticket: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
            .ok()
    }

    /// Wakes as many as there are places for. They leave the queue when they take theirs.
    fn wake(&self) {
        let first = self.waiting.iter().take(self.available());
        first.for_each(|(_, waker)| waker.wake_by_ref());
    }
}

/// An item's place at the resolver: it waits for it, and then has it until it has asked.
struct Place<'a> {
    client: &'a Client,
    ticket: Option<u64>,
    is_promised: bool,
}

impl<'a> Place<'a> {
    fn new(client: &'a Client) -> Self {
        Self {
            client,
            ticket: None,
            is_promised: false,
        }
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let places = &mut *self.client.places.borrow_mut();
        let at = self.ticket.and_then(|ticket| places.find(ticket));
        if at.unwrap_or(places.waiting.len()) < places.available() {
            if let Some(at) = at {
                places.waiting.remove(at);
            }
            places.promised += 1;
            self.ticket = None;
            self.is_promised = true;
            return Poll::Ready(());
        }
        match at {
            Some(at) => places.waiting[at].1.clone_from(context.waker()),
            None => {
                self.ticket = Some(places.next_ticket);
                places.next_ticket += 1;
                let waker = context.waker().clone();
                places
                    .waiting
                    .extend(self.ticket.map(|ticket| (ticket, waker)));
            }
        }
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let places = &mut *self.client.places.borrow_mut();
        places.promised -= usize::from(self.is_promised);
        if let Some(at) = self.ticket.and_then(|ticket| places.find(ticket)) {
            places.waiting.remove(at);
        }
        // What it leaves is for the next.
        places.wake();
    }
}

impl Timer {
    fn set(&mut self, at: Option<Duration>) {
        let is_earlier = at.is_some_and(|at| self.at.is_none_or(|known| at < known));
        if is_earlier {
            self.at = at;
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }
}

/// An item that has asked. Dropping it before the answer makes the resolver forget it.
struct Asking<'a> {
    client: &'a Client,
    number: u32,
    is_answered: Cell<bool>,
}

impl<'a> Asking<'a> {
    fn new(client: &'a Client) -> Self {
        Self {
            client,
            number: client.askers.borrow_mut().add(),
            is_answered: Cell::new(false),
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Answer> {
        let mut askers = self.client.askers.borrow_mut();
        let asker = &mut askers.places[self.number as usize];
        match asker.answer.take() {
            Some(answer) => {
                self.is_answered.set(true);
                Poll::Ready(answer)
            }
            None => {
                asker.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut askers = self.client.askers.borrow_mut();
        let asker = &mut askers.places[self.number as usize];
        asker.waker = None;
        let had_answer = asker.answer.take().is_some();
        askers.free.push(self.number);
        drop(askers);
        if !self.is_answered.get() && !had_answer {
            self.client
                .tell(|resolver, now| resolver.forget(self.number, now));
        }
    }
}
