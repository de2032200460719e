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
    /// Like `Forever`, but no longer than this.
    AtMost(Duration),
}

/// The result of an attempt to carry out an operation without waiting.
#[derive(Debug)]
pub enum Attempt<T> {
    /// The operation is done.
    Done(Result<T, Errno>),
    /// No effect: the operation may have to wait, and is to be submitted.
    Submit,
    /// No effect: the operation may block the thread, so the whole item belongs on a worker.
    Block,
}

impl<T> Attempt<T> {
    /// Converts the value of a successful operation.
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
/// The first methods do an operation if it needs no waiting. They borrow their arguments, because
/// most operations on cached files complete there. A carrier need not implement them.
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

    /// Does an operation on a socket.
    fn try_socket(&mut self, _op: &mut Op) -> Attempt<Value> {
        Attempt::Submit
    }

    /// The mount that the path is on, as far as that is known without waiting.
    fn mount_of(&mut self, _path: &Item) -> MountId {
        MountId::default()
    }

    /// True if the resource that this errno of a file operation names is really exhausted, as far
    /// as that can be checked: a file system may return any errno for reasons of its own.
    fn is_exhausted(&mut self, _errno: Errno) -> bool {
        true
    }

    /// Sleeps for this time, if the carrier's operations may block.
    fn pause(&mut self, _time: Duration) {}

    /// Forgets which directory a path leads to. To be called after items were pulled, because they
    /// may have been named after a directory was replaced, and before a wait, so that no directory
    /// is kept in use meanwhile.
    fn leave_directory(&mut self);

    /// Accepts an operation, which starts at the next [`Carrier::turn`] and completes in that or a
    /// later one. No other operation in flight has this key.
    fn submit(&mut self, key: u32, op: Op);

    /// Like [`Carrier::submit`], for a datagram whose completion matters only if it fails. It may
    /// be sent together with others.
    fn post(&mut self, key: u32, op: Op) {
        self.submit(key, op);
    }

    /// Starts what was submitted, waits as `wait` says unless completions are ready, and appends a
    /// bounded number of completions to `completions`.
    ///
    /// # Errors
    /// Only if the carrier itself no longer works; what was submitted is then lost.
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()>;

    /// Tries to end an operation early. It still completes, with an error if it could be cancelled.
    fn cancel(&mut self, key: u32);

    /// Cancels all outstanding operations and waits for them, but only for a limited time. False if
    /// some are still outstanding then: the thread cannot end before they do. Nothing is submitted
    /// any more.
    fn close(&mut self) -> bool {
        true
    }

    /// Operations submitted whose completions have not been handed over.
    fn outstanding(&self) -> usize;

    /// The number of its calls of `io_uring_enter`; 0 without a ring.
    fn enters(&self) -> u64 {
        0
    }

    /// Returns a waker that ends a wait of this carrier from another thread.
    fn waker(&self) -> Arc<dyn Wake>;

    /// A description in one line, for users.
    fn describe(&self) -> String;
}

/// Ends the wait of a carrier.
pub trait Wake: Send + Sync {
    /// Makes the current or the next wait end at once.
    fn wake(&self);
}
