//! The tasks that send and receive.

use super::Client;
use super::socket_state::{RECEIVES, SENDS, wait_as};
use crate::error::Errno;
use crate::io::{Socket, Transport};
use crate::jobs::dns::frames::Frames;
use crate::jobs::dns::message;
use crate::jobs::dns::query::EDNS_SIZE_MAX;
use crate::jobs::dns::sockets::SocketId;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Room for what is received at one time: for datagrams more than servers are told to send, so that one
/// that was cut off is known by its length.
const RECEIVE_LEN: usize = EDNS_SIZE_MAX as usize + 1;

/// How long to wait before what failed because something was exhausted is tried again.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(2);

impl Client {
    /// Makes the socket when it is needed, and hands the resolver what comes there.
    pub(super) async fn receive_at(self: Rc<Self>, id: SocketId) {
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
    pub(super) async fn send_at(self: Rc<Self>, id: SocketId) {
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
    pub(super) async fn repeat_at(self: Rc<Self>, id: SocketId) {
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

fn is_our_lack(errno: Errno) -> bool {
    errno.is_shortage() || errno.raw() == libc::EINTR
}
