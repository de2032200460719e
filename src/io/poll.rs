//! Plain calls on cached files, and sockets with poll(2), where io_uring is forbidden. Items whose
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
use super::wake_up::WakeUp;
use crate::clock::{self, Clock};
use crate::error::Errno;
use crate::item::Item;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Does operations that do not block, and waits for sockets with poll(2).
pub struct PollCarrier {
    inline: Inline,
    /// A read found content that is not cached.
    has_missed: bool,
    wake_up: Arc<WakeUp>,
    /// Operations that wait for their sockets.
    waiting: Vec<(u32, Op)>,
    /// Cancelled operations, which complete in the next turn.
    cancelled: Vec<Completion>,
}

impl PollCarrier {
    /// A carrier with nothing in flight.
    #[must_use]
    pub fn new(wake_up: Arc<WakeUp>, listings: Arc<Listings>) -> Self {
        Self {
            inline: Inline::new(listings),
            has_missed: false,
            wake_up,
            waiting: Vec::new(),
            cancelled: Vec::new(),
        }
    }

    /// Waits until one of the sockets is ready, or the loop is woken.
    fn wait_for_sockets(&self, wait: Wait) -> io::Result<()> {
        let timeout = match wait {
            Wait::No => Some(Timespec::default()),
            Wait::Forever => None,
            // A time that is too long for the kernel's type means no timeout.
            Wait::AtMost(duration) => Timespec::try_from(duration).ok(),
        };
        let mut descriptors = vec![PollFd::new(&self.wake_up, PollFlags::IN)];
        descriptors.extend(self.waiting.iter().map(|(_, op)| {
            let (socket, flags) = awaited(op);
            PollFd::from_borrowed_fd(socket.as_fd(), flags)
        }));
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if !descriptors[0].revents().is_empty() {
            self.wake_up.reset();
        }
        Ok(())
    }

    /// Completes the operations whose sockets are ready.
    fn try_sockets(&mut self, completions: &mut Vec<Completion>) {
        for (key, mut op) in std::mem::take(&mut self.waiting) {
            match inline::try_socket(&mut op, false) {
                Attempt::Done(outcome) => completions.push(Completion { key, op, outcome }),
                _ => self.waiting.push((key, op)),
            }
        }
    }
}

/// The socket that an operation waits for, and the event.
fn awaited(op: &Op) -> (&OpenFile, PollFlags) {
    match op {
        Op::Connect { socket, .. } | Op::Send { socket, .. } => (socket, PollFlags::OUT),
        Op::Receive { socket, .. } => (socket, PollFlags::IN),
        op => unreachable!("{op:?} does not wait for a socket"),
    }
}

/// An operation on something that is not cached belongs on a worker.
fn or_block<T>(attempt: Attempt<T>) -> Attempt<T> {
    match attempt {
        Attempt::Submit => Attempt::Block,
        attempt => attempt,
    }
}

impl Clock for PollCarrier {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

impl Carrier for PollCarrier {
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
        inline::try_socket(op, false)
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
        self.waiting.push((key, op));
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        completions.append(&mut self.cancelled);
        let is_idle = completions.is_empty();
        self.wait_for_sockets(if is_idle { wait } else { Wait::No })?;
        self.try_sockets(completions);
        Ok(())
    }

    fn cancel(&mut self, key: u32) {
        let Some(at) = self.waiting.iter().position(|(other, _)| *other == key) else {
            return;
        };
        let (key, op) = self.waiting.swap_remove(at);
        let outcome = Err(Errno::new(libc::ECANCELED));
        self.cancelled.push(Completion { key, op, outcome });
    }

    fn outstanding(&self) -> usize {
        self.waiting.len() + self.cancelled.len()
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

    #[test]
    fn a_wake_up_ends_a_wait() {
        let mut carrier = PollCarrier::new(WakeUp::new().unwrap(), Listings::new());
        carrier.waker().wake();
        carrier.turn(Wait::Forever, &mut Vec::new()).unwrap();
    }
}
