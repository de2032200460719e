//! What the tasks of a socket share.

use crate::io::{Socket, Transport, Undelivered};
use crate::jobs::dns::frames;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The tasks of a stream, as they wait for its connection.
pub(super) const RECEIVES: usize = 0;
pub(super) const SENDS: usize = 1;

/// A socket, made when it is first needed, and after its other end has closed it when it is needed
/// again.
#[derive(Default)]
pub(super) struct SocketState {
    pub(super) open: RefCell<Option<Rc<Socket>>>,
    /// To be sent.
    pub(super) queue: RefCell<Vec<Vec<u8>>>,
    /// What could not be sent.
    pub(super) undelivered: Rc<Undelivered>,
    /// Of the task that makes the socket and receives.
    pub(super) receiver: Cell<Option<Waker>>,
    /// Of the task that sends.
    pub(super) sender: Cell<Option<Waker>>,
    /// How many connections have been given up.
    hang_ups: Cell<u32>,
    /// Of the tasks that receive and send, while they wait for the connection.
    connected: [Cell<Option<Waker>>; 2],
}

impl SocketState {
    /// Sends a message, or queues it until the socket can take it.
    pub(super) fn send(&self, message: Vec<u8>, transport: Transport) {
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
    pub(super) fn hang_up(&self) {
        self.open.replace(None);
        self.queue.borrow_mut().clear();
        self.hang_ups.set(self.hang_ups.get().wrapping_add(1));
        self.connected.iter().for_each(wake);
    }

    /// Waits for what a task does with the connection; `None` if that is given up meanwhile.
    pub(super) async fn until_hang_up<T>(
        &self,
        task: usize,
        future: impl Future<Output = T>,
    ) -> Option<T> {
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
    pub(super) fn open(&self, socket: &Rc<Socket>, transport: Transport) {
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

pub(super) fn wait_as<T>(waker: &Cell<Option<Waker>>, context: &Context<'_>) -> Poll<T> {
    waker.set(Some(context.waker().clone()));
    Poll::Pending
}

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
