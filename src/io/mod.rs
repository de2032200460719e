//! What tasks may do: asynchronous operations over one handle, [`Io`].
//!
//! Each loop has one `Io`, and so has each worker. Behind it a [`Carrier`] carries the operations
//! out: a ring ([`uring`]), plain calls and poll(2) where io_uring is forbidden ([`poll`]), plain
//! calls that may block, on workers ([`blocking`]), or a simulation ([`sim`]). A task cannot tell
//! them apart.
//!
//! An operation belongs to the item whose task has started it. It owns its memory until its
//! completion, whatever becomes of the future that waits for it.

pub mod blocking;
pub mod poll;
pub mod sim;
pub mod uring;

mod buffer;
mod calls;
mod carrier;
mod core;
mod current;
mod digests;
mod driver;
mod file;
mod flights;
mod inline;
mod listings;
mod look_ups;
mod metadata;
mod mounts;
mod op;
mod open_file;
mod page_cache;
mod park;
mod part_writer;
mod path_cache;
mod perform;
mod permits;
mod places;
mod pressure;
mod probe;
mod retries;
mod shortages;
mod sleep;
mod sleeps;
mod socket;
mod socket_calls;
mod timers;
mod undelivered;
mod wake_up;
mod write;

pub use self::core::{BackgroundTask, Io, IoLimits};
pub use buffer::{Buffer, BufferClass, BufferPool};
pub use carrier::{Attempt, Carrier, Wait, Wake};
pub use current::CurrentOperation;
pub use driver::Held;
pub use file::{File, Read};
pub use listings::Listings;
pub use metadata::{FileId, FileKind, SpecialKind, Stat, Timestamp};
pub use mounts::{FileSystem, MountId};
pub use op::{Completion, Op, Outcome, Value};
pub use open_file::OpenFile;
pub use part_writer::{Admission, PartWriter};
pub use permits::{Acquire, Permit, Semaphore};
pub use pressure::Exhaustion;
pub(crate) use shortages::OpenFiles;
pub use sleep::Sleep;
pub use socket::Socket;
pub use socket_calls::{Transport, source_address};
pub use timers::Timers;
pub use undelivered::Undelivered;
pub use wake_up::WakeUp;
pub use write::Write;
