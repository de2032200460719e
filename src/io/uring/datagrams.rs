//! The datagrams of a turn. Those of equal length from one socket are sent together, with one
//! shorter datagram at the end.
//!
//! Sending a datagram takes the kernel about 2 µs, nearly all of which is per packet and not per
//! byte. It handles several of the same length as one, and divides them late (UDP_SEGMENT, since
//! Linux 4.18); the last may be shorter.

use crate::error::Errno;
use crate::io::op::{Completion, Op, Value};
use crate::io::socket_calls;
use std::cmp::Reverse;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};

/// How many datagrams the kernel takes as one (UDP_MAX_SEGMENTS before Linux 6.9).
const TOGETHER_MAX: usize = 64;

/// Datagrams that are to be sent in this turn.
#[derive(Default)]
pub(super) struct Datagrams {
    waiting: Vec<(u32, Op)>,
    /// The group that is being sent.
    group: Vec<(u32, Op)>,
    /// The kernel cannot divide them, or not on this route.
    is_refused: bool,
}

impl Datagrams {
    pub(super) fn push(&mut self, key: u32, op: Op) {
        self.waiting.push((key, op));
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn remove(&mut self, key: u32) -> Option<Op> {
        let at = self.waiting.iter().position(|(other, _)| *other == key)?;
        Some(self.waiting.swap_remove(at).1)
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Sends those that go together, and appends their completions. The others go to the ring.
    pub(super) fn send(
        &mut self,
        completions: &mut Vec<Completion>,
        mut to_ring: impl FnMut(u32, Op),
    ) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_unstable_by_key(|(_, op)| (socket_of(op), Reverse(bytes_of(op).len())));
        let mut sorted = waiting.drain(..).peekable();
        while let Some(first) = sorted.next() {
            let (socket, len) = (socket_of(&first.1), bytes_of(&first.1).len());
            let mut last_len = len;
            self.group.push(first);
            while self.group.len() < TOGETHER_MAX
                && last_len == len
                && let Some(next) = sorted.next_if(|(_, op)| {
                    // An empty datagram at the end would get lost.
                    socket_of(op) == socket && !bytes_of(op).is_empty()
                })
            {
                last_len = bytes_of(&next.1).len();
                self.group.push(next);
            }
            self.send_group(completions, &mut to_ring);
        }
        drop(sorted);
        self.waiting = waiting;
    }

    fn send_group(&mut self, completions: &mut Vec<Completion>, to_ring: &mut impl FnMut(u32, Op)) {
        let is_alone = self.group.len() == 1;
        let sent = match is_alone || self.is_refused {
            true => Err(Errno::new(libc::EAGAIN)),
            false => send(&self.group),
        };
        let mut group = self.group.drain(..);
        match sent.map_err(Errno::raw) {
            Ok(()) => completions.extend(group.by_ref().map(|(key, op)| {
                let count = Value::Count(bytes_of(&op).len());
                let outcome = Ok(count);
                Completion { key, op, outcome }
            })),
            // There is no room for all, or they are too long together: one alone may still be sent.
            Err(libc::EAGAIN | libc::EMSGSIZE | libc::EINTR) => {}
            Err(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP) => self.is_refused = true,
            // One of them gets this error, which mostly is that of an earlier datagram.
            Err(errno) => completions.extend(group.next().map(|(key, op)| {
                let outcome = Err(Errno::new(errno));
                Completion { key, op, outcome }
            })),
        }
        // The rest of the group.
        group.for_each(|(key, op)| to_ring(key, op));
    }
}

fn send(group: &[(u32, Op)]) -> Result<(), Errno> {
    let mut parts = [IoSlice::new(&[]); TOGETHER_MAX];
    for (part, (_, op)) in parts.iter_mut().zip(group) {
        *part = IoSlice::new(bytes_of(op));
    }
    let Op::Send { socket, bytes } = &group[0].1 else {
        unreachable!("a datagram is sent")
    };
    let len = u16::try_from(bytes.len()).map_err(|_| Errno::new(libc::EMSGSIZE))?;
    socket_calls::send_together(socket.as_fd(), &parts[..group.len()], len)
}

fn bytes_of(op: &Op) -> &[u8] {
    match op {
        Op::Send { bytes, .. } => bytes,
        _ => unreachable!("a datagram is sent"),
    }
}

fn socket_of(op: &Op) -> i32 {
    match op {
        Op::Send { socket, .. } => socket.as_fd().as_raw_fd(),
        _ => unreachable!("a datagram is sent"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::mounts::FileSystem;
    use crate::io::open_file::OpenFile;
    use std::net::UdpSocket;
    use std::rc::Rc;
    use std::time::Duration;

    /// A socket that is connected to `peer`, or with `None` to a port that is closed.
    fn connected_to(peer: Option<&UdpSocket>) -> Rc<OpenFile> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = peer.unwrap_or(&closed).local_addr().unwrap();
        drop(closed);
        socket.connect(address).unwrap();
        Rc::new(OpenFile::new(socket.into(), FileSystem::Nowait))
    }

    /// Sends one datagram of each length. Returns the completions, and the keys left to the ring,
    /// whose work is done here.
    fn send(
        datagrams: &mut Datagrams,
        sockets: &[Rc<OpenFile>],
        lens: impl IntoIterator<Item = usize>,
    ) -> (Vec<Completion>, Vec<u32>) {
        for (key, len) in (0_u32..).zip(lens) {
            let socket = Rc::clone(&sockets[key as usize % sockets.len()]);
            // The key, as far as there is room for it.
            let mut bytes = vec![0; len];
            for (byte, of_key) in bytes.iter_mut().zip(key.to_ne_bytes()) {
                *byte = of_key;
            }
            datagrams.push(key, Op::Send { socket, bytes });
        }
        let (mut completions, mut to_ring) = (Vec::new(), Vec::new());
        datagrams.send(&mut completions, |key, op| {
            let Op::Send { socket, bytes } = &op else {
                unreachable!("a datagram is sent")
            };
            to_ring.push(key);
            let _refused = socket_calls::send_now(socket.as_fd(), bytes);
        });
        assert_eq!(datagrams.len(), 0);
        (completions, to_ring)
    }

    #[test]
    fn all_datagrams_arrive_unchanged_in_any_grouping() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let time = Duration::from_secs(10);
        receiver.set_read_timeout(Some(time)).unwrap();
        let sockets = [connected_to(Some(&receiver)), connected_to(Some(&receiver))];
        let mut datagrams = Datagrams::default();
        let same = [45; 2 * TOGETHER_MAX + 2].to_vec();
        let different: Vec<usize> = (0..100).map(|number| number * 7 % 23).collect();
        for lens in [
            vec![],
            vec![5],
            vec![9, 9, 9, 9],
            same,
            different,
            vec![0; 4],
        ] {
            let (sent, to_ring) = send(&mut datagrams, &sockets, lens.iter().copied());
            assert_eq!(sent.len() + to_ring.len(), lens.len());
            let mut expected = Vec::new();
            for (key, &len) in (0_u32..).zip(&lens) {
                let mut bytes = vec![0; len];
                let of_key = key.to_ne_bytes();
                let end = len.min(4);
                bytes[..end].copy_from_slice(&of_key[..end]);
                expected.push(bytes);
            }
            let mut received = Vec::new();
            for _ in &lens {
                let mut bytes = [0; 100];
                let len = receiver.recv(&mut bytes).expect("it comes");
                received.push(bytes[..len].to_vec());
            }
            expected.sort();
            received.sort();
            assert_eq!(received, expected);
            assert!(sent.iter().all(|sent| sent.outcome.is_ok()));
        }
    }

    #[test]
    fn datagrams_of_one_length_and_a_shorter_one_go_together() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sockets = [connected_to(Some(&receiver))];
        let mut datagrams = Datagrams::default();
        let (sent, to_ring) = send(&mut datagrams, &sockets, [20, 30, 30, 10, 30]);
        if datagrams.is_refused {
            return assert_eq!(to_ring.len(), 5);
        }
        let mut sent: Vec<u32> = sent.iter().map(|sent| sent.key).collect();
        sent.sort_unstable();
        assert_eq!((sent, to_ring), (vec![0, 1, 2, 4], vec![3]));
    }

    #[test]
    fn an_error_belongs_to_one_datagram() {
        let mut datagrams = Datagrams::default();
        let sockets = [connected_to(None)];
        send(&mut datagrams, &sockets, [7]);
        // The port's refusal arrived before the call ended.
        let (sent, to_ring) = send(&mut datagrams, &sockets, [7, 7, 7]);
        if datagrams.is_refused {
            return;
        }
        assert_eq!((sent.len(), to_ring.len()), (1, 2));
        let refused = sent[0].outcome.as_ref().err();
        assert_eq!(refused.map(|errno| errno.raw()), Some(libc::ECONNREFUSED));
    }
}
