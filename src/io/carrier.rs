//! Carriers carry out the operations of one loop.

use super::buffer::Buffer;
use super::metadata::Stat;
use super::mounts::{FileSystem, MountId};
use super::op::{Completion, Op, Value};
use super::open_file::OpenFile;
use crate::clock::Clock;
use crate::error::Errno;
use crate::item::Item;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long [`Carrier::turn`] may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until a completion or a wake-up.
    Forever,
    /// The same, but no longer than this.
    AtMost(Duration),
}

/// What came of an attempt to carry out an operation at once.
#[derive(Debug)]
pub enum Attempt<T> {
    /// It is done.
    Done(Result<T, Errno>),
    /// It has had no effect: it may have to wait, and is to be submitted.
    Submit,
    /// It has had no effect: it may block the thread, so the whole item belongs on a worker.
    Block,
}

impl<T> Attempt<T> {
    /// Turns what a successful operation gives into something else.
    pub(super) fn map<U>(self, into: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Done(result) => Attempt::Done(result.map(into)),
            Self::Submit => Attempt::Submit,
            Self::Block => Attempt::Block,
        }
    }
}

/// Carries out operations for one loop. Operations end in any order.
///
/// The first methods do an operation at once if it needs no waiting. They borrow what it takes, since
/// most operations at cached files end there. A carrier need not have them.
pub trait Carrier: Clock {
    /// Looks the path up, as [`Op::StatPath`] does.
    fn look_up(&mut self, _path: &Item) -> Attempt<Stat> {
        Attempt::Submit
    }

    /// Opens the path, as [`Op::Open`] does.
    fn open(&mut self, _path: &Item, _wait: bool, _file_system: FileSystem) -> Attempt<OpenFile> {
        Attempt::Submit
    }

    /// Reads the metadata of an open file, as [`Op::StatFile`] does.
    fn stat(&mut self, _file: &OpenFile) -> Attempt<Stat> {
        Attempt::Submit
    }

    /// Reads, as [`Op::Read`] does.
    fn read(
        &mut self,
        _file: &OpenFile,
        _offset: Option<u64>,
        _buffer: &mut Buffer,
        _parallel: bool,
    ) -> Attempt<usize> {
        Attempt::Submit
    }

    /// Does an operation at a socket.
    fn try_socket(&mut self, _op: &mut Op) -> Attempt<Value> {
        Attempt::Submit
    }

    /// The file system that the path is on, as far as that is known without waiting.
    fn mount_of(&mut self, _path: &Item) -> MountId {
        MountId::default()
    }

    /// True if what this errno of a file operation names is really exhausted, as far as that can be
    /// seen: a file system may give any errno for reasons of its own.
    fn is_exhausted(&mut self, _errno: Errno) -> bool {
        true
    }

    /// Lets so much time pass, if its operations block.
    fn pause(&mut self, _time: Duration) {}

    /// Forgets which directory a name stands for: to be called when items have been pulled, which may
    /// have been named after a directory took another's place, and before a wait, during which no
    /// directory is to be kept in use.
    fn forget_names(&mut self);

    /// Takes an operation, which starts at the next [`Carrier::turn`] and completes in that or a
    /// later one. No other operation in flight has this key.
    fn submit(&mut self, key: u32, op: Op);

    /// The same for a datagram whose completion nobody waits for, unless it fails. It may leave together
    /// with others.
    fn post(&mut self, key: u32, op: Op) {
        self.submit(key, op);
    }

    /// Starts what was submitted, waits as told unless something is already there, and appends a
    /// bounded number of completions to `completions`.
    ///
    /// # Errors
    /// Only if the carrier itself no longer works; what was submitted is then lost.
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()>;

    /// Tries to end an operation early. It still completes, with an error if it could be cancelled.
    fn cancel(&mut self, key: u32);

    /// Cancels what is outstanding and waits for its end, though not for long. False if something is
    /// still outstanding then: the thread cannot end before it has ended. Nothing is submitted any more.
    fn close(&mut self) -> bool {
        true
    }

    /// Operations submitted whose completions have not been handed over.
    fn outstanding(&self) -> usize;

    /// How often it has called `io_uring_enter`; 0 without a ring.
    fn enters(&self) -> u64 {
        0
    }

    /// Ends a wait of this carrier from another thread.
    fn waker(&self) -> Arc<dyn Wake>;

    /// One line on what it is made of, for people.
    fn describe(&self) -> String;
}

/// Ends the wait of a carrier.
pub trait Wake: Send + Sync {
    /// Makes the current or the next wait end at once.
    fn wake(&self);
}
