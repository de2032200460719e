//! Operations that wait until their sockets are ready, with epoll(7).

use super::carrier::Attempt;
use super::inline;
use super::op::{Completion, Op};
use super::open_file::OpenFile;
use crate::error::Errno;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::retry_on_intr;
use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// The events that are taken at once, at most.
const EVENTS_MAX: usize = 256;

/// The operations of one loop that wait for sockets.
///
/// Each socket is registered once, for all changes of its state (edge-triggered). No change is
/// missed: an operation is tried immediately before it begins to wait, and again after each change.
/// The kernel forgets a socket when it is closed.
#[derive(Default)]
pub(super) struct WaitingSockets {
    /// Made for the first socket: loops with files only have no descriptor to spare for it.
    epoll: Option<OwnedFd>,
    events: Vec<Event>,
    operations: HashMap<u32, Op>,
    /// The keys of the operations, by the descriptor of their socket.
    by_socket: BTreeSet<(RawFd, u32)>,
}

impl WaitingSockets {
    /// A descriptor that is ready for reading when a socket has changed.
    pub(super) fn epoll(&self) -> Option<&OwnedFd> {
        self.epoll.as_ref()
    }

    /// Registers a new socket.
    pub(super) fn add(&mut self, socket: &OpenFile) -> Result<(), Errno> {
        let epoll = match self.epoll.take() {
            Some(epoll) => epoll,
            None => epoll::create(CreateFlags::CLOEXEC)?,
        };
        let epoll = self.epoll.insert(epoll);
        let descriptor = socket.as_fd();
        let data = EventData::new_u64(u64::from(descriptor.as_raw_fd().cast_unsigned()));
        let all = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(epoll, descriptor, data, all).map_err(|errno| match errno {
            // The limit on the memory of a user's registrations (fs.epoll.max_user_watches).
            rustix::io::Errno::NOSPC => Errno::new(libc::ENOMEM),
            errno => errno.into(),
        })
    }

    /// An operation that was just tried and has to wait. Its socket was [added](Self::add).
    pub(super) fn insert(&mut self, key: u32, op: Op) {
        self.by_socket.insert((socket_of(&op), key));
        self.operations.insert(key, op);
    }

    /// Takes an operation out. `None` if it does not wait any more.
    pub(super) fn remove(&mut self, key: u32) -> Option<Op> {
        let op = self.operations.remove(&key)?;
        self.by_socket.remove(&(socket_of(&op), key));
        Some(op)
    }

    /// The number of operations that wait.
    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    /// Tries the operations whose sockets have changed, and takes out those that have completed.
    pub(super) fn complete_ready(
        &mut self,
        completions: &mut Vec<Completion>,
    ) -> Result<(), Errno> {
        let Some(epoll) = &self.epoll else {
            return Ok(());
        };
        let mut events = std::mem::take(&mut self.events);
        events.reserve(EVENTS_MAX);
        retry_on_intr(|| {
            let no_time = Timespec::default();
            epoll::wait(epoll, spare_capacity(&mut events), Some(&no_time))
        })?;
        for event in events.drain(..) {
            let (data, flags) = (event.data, event.flags);
            let socket = RawFd::try_from(data.u64()).expect("a descriptor");
            let waiting: Vec<_> = self
                .by_socket
                .range((socket, 0)..=(socket, u32::MAX))
                .map(|(_, key)| *key)
                .collect();
            for key in waiting {
                let op = self.operations.get_mut(&key).expect("it waits");
                if !flags.intersects(awaited(op)) {
                    continue;
                }
                if let Attempt::Done(outcome) = inline::try_socket(op, false)
                    && let Some(op) = self.remove(key)
                {
                    completions.push(Completion { key, op, outcome });
                }
            }
        }
        self.events = events;
        Ok(())
    }
}

/// The events after which an operation may complete.
fn awaited(op: &Op) -> EventFlags {
    let ready = match op {
        Op::Receive { .. } => EventFlags::IN,
        _ => EventFlags::OUT,
    };
    ready | EventFlags::ERR | EventFlags::HUP
}

fn socket_of(op: &Op) -> RawFd {
    let (Op::Connect { socket, .. } | Op::Send { socket, .. } | Op::Receive { socket, .. }) = op
    else {
        unreachable!("{op:?} does not wait for a socket");
    };
    socket.as_fd().as_raw_fd()
}
