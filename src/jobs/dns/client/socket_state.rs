//! What the tasks of a socket share.

use crate::io::{Socket, Transport, Undelivered};
use crate::jobs::dns::frames;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The tasks of a stream, as indices of the wakers in `connected`.
pub(super) const RECEIVES: usize = 0;
pub(super) const SENDS: usize = 1;

/// A socket. It is opened when it is first needed, and again when it is needed after the peer has closed
/// it.
#[derive(Default)]
pub(super) struct SocketState {
    pub(super) open: RefCell<Option<Rc<Socket>>>,
    /// Messages to send.
    pub(super) queue: RefCell<Vec<Vec<u8>>>,
    /// Datagrams that could not be sent.
    pub(super) undelivered: Rc<Undelivered>,
    /// The waker of the task that opens the socket and receives.
    pub(super) receiver: Cell<Option<Waker>>,
    /// The waker of the task that sends.
    pub(super) sender: Cell<Option<Waker>>,
    /// How many connections have been given up.
    hang_ups: Cell<u32>,
    /// The wakers of both tasks, while they wait for an operation on the connection.
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

    /// Gives up a connection and the messages queued for it.
    pub(super) fn hang_up(&self) {
        self.open.replace(None);
        self.queue.borrow_mut().clear();
        self.hang_ups.set(self.hang_ups.get().wrapping_add(1));
        self.connected.iter().for_each(wake);
    }

    /// Waits for an operation of a task on the connection; `None` if the connection is given up
    /// meanwhile.
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
