//! Engines carry out operations. A job says what is to be done; an engine decides how.
//!
//! An operation owns what it needs (its path, its buffer) and comes back with its completion, so
//! nothing it points at can go away while it is under way, and a failed one can be tried again.

pub mod sim;
pub mod threads;
pub mod uring;

mod buffer;
mod credit;
mod direct;
mod files;
mod local;
mod mounts;
mod pool;
mod residency;
mod sockets;

pub use buffer::{Buffer, BufferClass, BufferPool};
pub use files::FileId;
pub use mounts::FileSystem;
pub use sockets::{SocketOp, Transport};

use crate::clock::Clock;
use crate::error::Errno;
use crate::item::Item;
use std::sync::Arc;
use std::time::Duration;

/// Something to be done by the kernel.
#[derive(Debug)]
pub enum Op {
    /// Look up the path, following links, and read its metadata, without opening it.
    StatPath(Item),
    /// Open the path for reading. Never waits for the other end of a FIFO unless `wait` is set.
    Open {
        /// The path.
        path: Item,
        /// Open a FIFO as `cat` does: wait until it has a writer.
        wait: bool,
        /// Where the look-up found the path to be.
        file_system: FileSystem,
    },
    /// Read the metadata of an open file.
    StatFile(FileId),
    /// Read into the buffer's whole length.
    Read {
        /// The file.
        file: FileId,
        /// Where to read, in bytes from the start; `None` reads at the file's own position.
        offset: Option<u64>,
        /// Where the bytes go.
        buffer: Buffer,
        /// It is one of several reads of the file at once, so that it is best done elsewhere, while
        /// what was read before is dealt with.
        parallel: bool,
    },
    /// Close the file or socket, whether or not the kernel reports an error for it.
    Close(FileId),
    /// What is done with a socket.
    Socket(SocketOp),
}

/// What a successful operation gives.
#[derive(Debug)]
pub enum Value {
    /// Metadata.
    Stat(Stat),
    /// An open file, or a socket.
    File(FileId),
    /// Bytes read, sent or received; for a file, 0 is its end.
    Count(usize),
    /// Nothing (closed).
    Done,
}

/// An operation that has ended, with everything it owned.
#[derive(Debug)]
pub struct Completion {
    /// What was given at submission.
    pub token: Token,
    /// The operation itself.
    pub op: Op,
    /// How it ended.
    pub result: Result<Value, Errno>,
}

/// The submitter's own marks on an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The slot of the item it belongs to.
    pub slot: u32,
    /// When it was submitted, by the engine's clock.
    pub submitted_at_ns: u64,
}

/// What a path or file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// Something whose reading or mere opening has effects.
    Special(SpecialKind),
}

/// The kinds of file that are not read unless asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialKind {
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// Something the file system has no name for.
    Unknown,
}

impl std::fmt::Display for SpecialKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Unknown => "file of unknown kind",
        })
    }
}

/// A point in time as the file system stores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// The metadata jobs look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Its size as the file system tells it, which for many files (procfs) is not what they hold.
    pub size_bytes: u64,
    /// Last change of content.
    pub modified: Timestamp,
    /// Last change of content or metadata.
    pub changed: Timestamp,
    /// The file system's device number.
    pub device: (u32, u32),
    /// The file's number within its file system.
    pub inode: u64,
    /// What may block there.
    pub file_system: FileSystem,
}

/// How long [`Engine::turn`] may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until a completion or a wake-up.
    Forever,
    /// The same, but no longer than this.
    AtMost(Duration),
}

/// Carries out operations for one loop. Operations end in any order.
pub trait Engine: Clock {
    /// Does the operation now if it needs no waiting. `None` means it has had no effect and is to
    /// be submitted.
    fn try_now(&mut self, op: &mut Op) -> Option<Result<Value, Errno>>;

    /// Forgets which directory a name stands for: to be called when items have been pulled, which may
    /// have been named after a directory took another's place, and before a wait, during which no
    /// directory is to be kept in use.
    fn forget_names(&mut self);

    /// Takes an operation, which starts at the next [`Engine::turn`] and completes in that or a
    /// later one.
    fn submit(&mut self, token: Token, op: Op);

    /// Starts what was submitted, waits as told unless something is already there, and moves a
    /// bounded number of completions to the end of `completions`.
    ///
    /// # Errors
    /// Only if the engine itself no longer works; what was submitted is then lost.
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> std::io::Result<()>;

    /// Tries to end everything submitted for the item in this slot early. Whatever can be cancelled
    /// completes with an error; the rest completes in its own time.
    fn cancel(&mut self, slot: u32);

    /// Operations submitted whose completions have not been handed over.
    fn outstanding(&self) -> usize;

    /// Files open in this engine.
    fn open_files(&self) -> usize;

    /// How often it has called `io_uring_enter`; 0 without a ring.
    fn enters(&self) -> u64;

    /// Ends a wait of this engine from another thread.
    fn waker(&self) -> Arc<dyn Wake>;

    /// One line on what it is made of, for people.
    fn describe(&self) -> String;
}

/// Ends the wait of an engine.
pub trait Wake: Send + Sync {
    /// Makes the current or the next wait end at once.
    fn wake(&self);
}
