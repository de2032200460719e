//! The asynchronous operations that tasks may use, through one handle, [`Io`].
//!
//! Each event loop and each worker has one `Io`. A [`Carrier`] behind it carries the operations
//! out: by io_uring ([`uring`]), by plain calls and epoll(7) where io_uring is forbidden ([`epoll`]),
//! by plain calls that may block, on workers ([`blocking`]), or in a simulation ([`sim`]). Tasks
//! cannot tell them apart.
//!
//! An operation belongs to the item whose task started it. It owns its memory until its completion,
//! even if the future that waits for it is dropped.

pub mod blocking;
pub mod epoll;
pub mod sim;
pub mod uring;

mod buffer;
mod calls;
mod carrier;
mod core;
mod current;
mod digest_queue;
mod digests;
mod driver;
mod exhaustion;
mod file;
mod inline;
mod listings;
mod look_ups;
mod metadata;
mod mounts;
mod op;
mod op_slab;
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
mod sleep;
mod sleeps;
mod socket;
mod socket_calls;
mod stream;
mod timers;
mod undelivered;
mod waiting_sockets;
mod wake_up;
mod write;

pub use self::core::{BackgroundTask, Io, IoLimits};
pub use buffer::{Buffer, BufferClass, BufferPool};
pub use carrier::{Attempt, Carrier, Wait, Wake};
pub use current::CurrentOperation;
pub use driver::Held;
pub(crate) use exhaustion::OpenFiles;
pub use file::{File, Read};
pub use listings::Listings;
pub use metadata::{FileId, FileKind, SpecialKind, Stat, Timestamp};
pub use mounts::{FileSystem, MountId};
pub use op::{Completion, Op, Outcome, Value};
pub use open_file::OpenFile;
pub use part_writer::{Admission, PartWriter};
pub use permits::{Acquire, Permit, Semaphore};
pub use pressure::Exhaustion;
pub use sleep::Sleep;
pub use socket::{EXHAUSTION_BACKOFF, Socket};
pub use socket_calls::{Transport, source_address};
pub use stream::Stream;
pub use timers::Timers;
pub use undelivered::Undelivered;
pub use wake_up::WakeUp;
pub use write::Write;
