//! The tasks that send and receive.

use super::Client;
use super::socket_state::{RECEIVES, SENDS, wait_as};
use crate::io::{EXHAUSTION_BACKOFF, Socket, Transport};
use crate::jobs::dns::frames::Frames;
use crate::jobs::dns::message;
use crate::jobs::dns::query::EDNS_SIZE_MAX;
use crate::jobs::dns::sockets::SocketId;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The size of a receive buffer: one byte more than servers may send in a datagram, so that a datagram
/// that was cut off is recognized by its length.
const RECEIVE_LEN: usize = EDNS_SIZE_MAX as usize + 1;

impl Client {
    /// Opens the socket when it is needed, and passes received messages to the resolver.
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
            let connect = Socket::connect(&self.io, address, transport, source, None);
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
                Err(errno) if errno.is_transient() => self.back_off().await,
                Err(_) => {
                    // The address cannot be reached.
                    state.queue.borrow_mut().clear();
                    self.update(|resolver, now| resolver.connection_refused(id, now));
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
                Err(errno) if errno.is_transient() => self.back_off().await,
                // The error of an earlier datagram, mostly because of a closed port.
                Err(_) => self.update(|resolver, now| resolver.connection_refused(id, now)),
            }
        }
    }

    fn note_reply(&self) {
        self.received.set(self.received.get() + 1);
        self.server_stats.note_reply();
    }

    fn received(&self, id: SocketId, message: &mut [u8]) {
        self.note_reply();
        if message.len() == RECEIVE_LEN {
            // The rest did not fit into the buffer: the resolver will ask for all of it in a stream.
            message::set_truncated(message);
        }
        self.update(|resolver, now| resolver.received(id, message, now));
    }

    /// Returns when the connection ends.
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
                        self.update(|resolver, now| resolver.received(id, message, now));
                    }
                }
                Err(errno) if errno.is_transient() => self.back_off().await,
                Ok(_) | Err(_) => {
                    let state = self.state(id);
                    state.open.replace(None);
                    state.queue.borrow_mut().clear();
                    return self.update(|resolver, now| resolver.disconnected(id, now));
                }
            }
        }
    }

    /// Sends the queued messages of a stream, one write at a time, because the bytes must keep their
    /// order.
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
                    Err(errno) if errno.is_transient() => self.back_off().await,
                    // The receiving task notices the end of the connection, too.
                    Err(_) => break,
                }
            }
        }
    }

    /// Sends datagrams again that could not be sent because of resource exhaustion.
    pub(super) async fn resend_at(self: Rc<Self>, id: SocketId) {
        let state = self.state(id);
        loop {
            let take = |context: &mut Context<'_>| match state.undelivered.take(context.waker()) {
                Some(failed) => Poll::Ready(failed),
                None => Poll::Pending,
            };
            let (bytes, errno) = poll_fn(take).await;
            if errno.is_transient() {
                self.back_off().await;
                state.send(bytes, Transport::Datagram);
            } else {
                self.update(|resolver, now| resolver.connection_refused(id, now));
            }
        }
    }

    async fn back_off(&self) {
        let until = self.io.now() + EXHAUSTION_BACKOFF;
        self.io.sleep_until(until).await;
    }
}
