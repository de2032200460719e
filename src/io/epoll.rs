//! Plain calls on cached files, and sockets with epoll(7), where io_uring is forbidden. Items whose
//! files are not cached belong on workers. No io_uring call is ever made: some sandboxes kill the
//! process for one.

use super::buffer::{Buffer, BufferClass};
use super::calls;
use super::carrier::{Attempt, Carrier, Wait, Wake};
use super::inline::{self, Inline};
use super::listings::Listings;
use super::metadata::Stat;
use super::mounts::{FileSystem, MountId};
use super::op::{Completion, Op, Value};
use super::open_file::OpenFile;
use super::page_cache;
use super::waiting_sockets::WaitingSockets;
use super::wake_up::WakeUp;
use crate::clock::{self, Clock};
use crate::error::Errno;
use crate::item::Item;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::sync::Arc;

/// Does operations that do not block, and waits for sockets with epoll(7).
pub struct EpollCarrier {
    inline: Inline,
    /// A read found content that is not cached.
    has_missed: bool,
    wake_up: Arc<WakeUp>,
    sockets: WaitingSockets,
    /// Cancelled operations, which complete in the next turn.
    cancelled: Vec<Completion>,
}

impl EpollCarrier {
    /// A carrier with nothing in flight.
    #[must_use]
    pub fn new(wake_up: Arc<WakeUp>, listings: Arc<Listings>) -> Self {
        Self {
            inline: Inline::new(listings),
            has_missed: false,
            wake_up,
            sockets: WaitingSockets::default(),
            cancelled: Vec::new(),
        }
    }

    /// Waits until one of the sockets is ready, or the loop is woken. True if a socket is ready.
    fn wait(&self, wait: Wait) -> io::Result<bool> {
        let timeout = match wait {
            Wait::No => Some(Timespec::default()),
            Wait::Forever => None,
            // A time that is too long for the kernel's type means no timeout.
            Wait::AtMost(duration) => Timespec::try_from(duration).ok(),
        };
        let mut descriptors = vec![PollFd::new(&self.wake_up, PollFlags::IN)];
        // poll(2) waits for them together, because its timeouts are exact: those of epoll_wait(2)
        // are whole milliseconds, and sandboxes may forbid epoll_pwait2(2).
        descriptors.extend((self.sockets.epoll()).map(|epoll| PollFd::new(epoll, PollFlags::IN)));
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if !descriptors[0].revents().is_empty() {
            self.wake_up.reset();
        }
        Ok(descriptors[1..]
            .iter()
            .any(|epoll| !epoll.revents().is_empty()))
    }
}

/// An operation on something that is not cached belongs on a worker.
fn or_block<T>(attempt: Attempt<T>) -> Attempt<T> {
    match attempt {
        Attempt::Submit => Attempt::Block,
        attempt => attempt,
    }
}

impl Clock for EpollCarrier {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

impl Carrier for EpollCarrier {
    fn look_up(&mut self, path: &Item) -> Attempt<Stat> {
        or_block(self.inline.look_up(path))
    }

    fn open(&mut self, path: &Item, _: bool, file_system: FileSystem) -> Attempt<OpenFile> {
        or_block(self.inline.open(path, file_system))
    }

    fn stat(&mut self, file: &OpenFile) -> Attempt<Stat> {
        inline::stat(file)
    }

    fn read(
        &mut self,
        file: &OpenFile,
        offset: Option<u64>,
        buffer: &mut Buffer,
        parallel: bool,
    ) -> Attempt<usize> {
        // Whether a large file is cached to its end is known only at the end, and if it is not, the
        // item would have to be restarted.
        if parallel || buffer.class() == BufferClass::Large {
            return Attempt::Block;
        }
        // A read of content that is not cached starts to fetch it, and may have to wait for that if
        // there are many such reads.
        if self.has_missed
            && file.file_system != FileSystem::Memory
            && page_cache::is_cached(file, offset.unwrap_or(0), buffer.len()) == Some(false)
        {
            return Attempt::Block;
        }
        let read = self.inline.read(file, offset, buffer);
        self.has_missed |= !matches!(read, Attempt::Done(_));
        or_block(read)
    }

    fn try_socket(&mut self, op: &mut Op) -> Attempt<Value> {
        match inline::try_socket(op, false) {
            Attempt::Done(Ok(Value::File(socket))) => {
                let added = self.sockets.add(&socket);
                Attempt::Done(added.map(|()| Value::File(socket)))
            }
            attempt => attempt,
        }
    }

    fn mount_of(&mut self, path: &Item) -> MountId {
        self.inline.mount_of(path)
    }

    fn is_exhausted(&mut self, errno: Errno) -> bool {
        calls::is_exhausted(errno)
    }

    fn leave_directory(&mut self) {
        self.inline.leave_directory();
    }

    fn submit(&mut self, key: u32, op: Op) {
        self.sockets.insert(key, op);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        completions.append(&mut self.cancelled);
        let wait = match completions.is_empty() {
            true => wait,
            false => Wait::No,
        };
        if self.wait(wait)? {
            self.sockets.complete_ready(completions)?;
        }
        Ok(())
    }

    fn cancel(&mut self, key: u32) {
        if let Some(op) = self.sockets.remove(key) {
            let outcome = Err(Errno::new(libc::ECANCELED));
            self.cancelled.push(Completion { key, op, outcome });
        }
    }

    fn outstanding(&self) -> usize {
        self.sockets.len() + self.cancelled.len()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.wake_up) as Arc<dyn Wake>
    }

    fn describe(&self) -> String {
        "threads".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Transport;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
    use std::rc::Rc;

    fn carrier() -> EpollCarrier {
        EpollCarrier::new(WakeUp::new().unwrap(), Listings::new())
    }

    fn done(attempt: Attempt<Value>) -> Value {
        let Attempt::Done(outcome) = attempt else {
            panic!("it would have to wait");
        };
        outcome.unwrap()
    }

    fn make(carrier: &mut EpollCarrier, address: SocketAddr, transport: Transport) -> Rc<OpenFile> {
        let mut op = Op::MakeSocket {
            address,
            transport,
            source: None,
        };
        let Value::File(socket) = done(carrier.try_socket(&mut op)) else {
            panic!("no socket");
        };
        Rc::new(socket)
    }

    /// A socket of the carrier that is connected to `peer`, which is connected to it.
    fn datagrams(carrier: &mut EpollCarrier, peer: &UdpSocket) -> Rc<OpenFile> {
        let address = peer.local_addr().unwrap();
        let socket = make(carrier, address, Transport::Datagram);
        let mut connect = Op::Connect {
            socket: Rc::clone(&socket),
            address,
            transport: Transport::Datagram,
        };
        done(carrier.try_socket(&mut connect));
        let local = rustix::net::getsockname(&*socket).unwrap();
        peer.connect(SocketAddr::try_from(local).unwrap()).unwrap();
        socket
    }

    fn peer() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    fn receive(socket: &Rc<OpenFile>) -> Op {
        Op::Receive {
            socket: Rc::clone(socket),
            bytes: vec![0; 64 * 1024],
        }
    }

    /// Tries the operation, which has to wait, and submits it.
    fn submit(carrier: &mut EpollCarrier, key: u32, mut op: Op) {
        assert!(matches!(carrier.try_socket(&mut op), Attempt::Submit));
        carrier.submit(key, op);
    }

    /// The keys of the next completions, and the bytes of each.
    fn next(carrier: &mut EpollCarrier) -> Vec<(u32, Vec<u8>)> {
        let mut completions = Vec::new();
        while completions.is_empty() {
            carrier.turn(Wait::Forever, &mut completions).unwrap();
        }
        let bytes = |completion: Completion| match (completion.op, completion.outcome) {
            (Op::Receive { mut bytes, .. }, Ok(Value::Count(count))) => {
                bytes.truncate(count);
                (completion.key, bytes)
            }
            _ => (completion.key, Vec::new()),
        };
        completions.into_iter().map(bytes).collect()
    }

    #[test]
    fn a_wake_up_ends_a_wait() {
        let mut carrier = carrier();
        carrier.waker().wake();
        carrier.turn(Wait::Forever, &mut Vec::new()).unwrap();
    }

    #[test]
    fn an_operation_completes_when_its_socket_is_ready() {
        let mut carrier = carrier();
        let peers = [peer(), peer()];
        let sockets = [
            datagrams(&mut carrier, &peers[0]),
            datagrams(&mut carrier, &peers[1]),
        ];
        submit(&mut carrier, 3, receive(&sockets[0]));
        submit(&mut carrier, 5, receive(&sockets[1]));
        peers[1].send(b"five").unwrap();
        assert_eq!(next(&mut carrier), [(5, b"five".to_vec())]);
        assert_eq!(carrier.outstanding(), 1);
        peers[0].send(b"three").unwrap();
        assert_eq!(next(&mut carrier), [(3, b"three".to_vec())]);
        assert_eq!(carrier.outstanding(), 0);
    }

    #[test]
    fn a_change_without_an_operation_is_found_by_the_next_attempt() {
        let mut carrier = carrier();
        let peer = peer();
        let socket = datagrams(&mut carrier, &peer);
        peer.send(b"early").unwrap();
        for _ in 0..2 {
            carrier.turn(Wait::No, &mut Vec::new()).unwrap();
        }
        let mut op = receive(&socket);
        assert!(matches!(done(carrier.try_socket(&mut op)), Value::Count(5)));

        // Between the attempt and the wait.
        let mut op = receive(&socket);
        assert!(matches!(carrier.try_socket(&mut op), Attempt::Submit));
        peer.send(b"late").unwrap();
        carrier.submit(1, op);
        assert_eq!(next(&mut carrier), [(1, b"late".to_vec())]);
    }

    #[test]
    fn both_directions_of_a_stream_wait_independently() {
        let mut carrier = carrier();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = make(&mut carrier, address, Transport::Stream);
        let mut connect = Op::Connect {
            socket: Rc::clone(&socket),
            address,
            transport: Transport::Stream,
        };
        if let Attempt::Submit = carrier.try_socket(&mut connect) {
            carrier.submit(0, connect);
            assert_eq!(next(&mut carrier), [(0, Vec::new())]);
        }
        let (mut peer, _): (TcpStream, _) = listener.accept().unwrap();
        submit(&mut carrier, 1, receive(&socket));
        let mut sent = 0;
        let waiting = loop {
            let mut send = Op::Send {
                socket: Rc::clone(&socket),
                bytes: vec![7; 1024 * 1024],
            };
            match carrier.try_socket(&mut send) {
                Attempt::Done(Ok(Value::Count(count))) => sent += count,
                _ => break send,
            }
        };
        carrier.submit(2, waiting);
        peer.write_all(b"hello").unwrap();
        assert_eq!(next(&mut carrier), [(1, b"hello".to_vec())]);
        assert_eq!(carrier.outstanding(), 1);
        peer.read_exact(&mut vec![0; sent]).unwrap();
        assert_eq!(next(&mut carrier), [(2, Vec::new())]);
    }

    #[test]
    fn a_cancelled_operation_completes_and_leaves_the_others() {
        let mut carrier = carrier();
        let peer = peer();
        let socket = datagrams(&mut carrier, &peer);
        submit(&mut carrier, 1, receive(&socket));
        submit(&mut carrier, 2, receive(&socket));
        carrier.cancel(1);
        carrier.cancel(1);
        let mut completions = Vec::new();
        carrier.turn(Wait::Forever, &mut completions).unwrap();
        let [cancelled] = &completions[..] else {
            panic!("{completions:?}");
        };
        let canceled = Errno::new(libc::ECANCELED);
        assert!(cancelled.key == 1 && cancelled.outcome.as_ref().is_err_and(|e| *e == canceled));
        peer.send(b"two").unwrap();
        assert_eq!(next(&mut carrier), [(2, b"two".to_vec())]);
    }

    #[test]
    fn a_new_socket_with_the_number_of_a_closed_one_is_its_own() {
        let mut carrier = carrier();
        let (old_peer, new_peer) = (peer(), peer());
        let old = datagrams(&mut carrier, &old_peer);
        submit(&mut carrier, 1, receive(&old));
        carrier.cancel(1);
        assert_eq!(next(&mut carrier), [(1, Vec::new())]);
        old_peer.send(b"old").unwrap();
        drop(old);
        // It gets the number, unless another test of this process was faster.
        let new = datagrams(&mut carrier, &new_peer);
        submit(&mut carrier, 2, receive(&new));
        new_peer.send(b"new").unwrap();
        assert_eq!(next(&mut carrier), [(2, b"new".to_vec())]);
    }
}
