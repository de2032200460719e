//! Operations as submission queue entries.

use crate::engine::files::FileTable;
use crate::engine::{FileSystem, Op, Token, direct};
use io_uring::{opcode, squeue, types};
use rustix::fs::{AtFlags, Statx};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

/// An operation with all the memory the kernel needs while it is under way.
pub(super) struct Entry {
    pub(super) token: Token,
    pub(super) op: Op,
    statx: Option<Box<MaybeUninit<Statx>>>,
}

impl Entry {
    pub(super) fn new(token: Token, op: Op) -> Self {
        let needs_statx = matches!(op, Op::StatPath(_) | Op::StatFile(_));
        Self {
            token,
            op,
            statx: needs_statx.then(|| Box::new(MaybeUninit::zeroed())),
        }
    }

    /// The answer to a statx that has completed without error.
    pub(super) fn take_statx(&mut self) -> Option<Box<Statx>> {
        // SAFETY: `Statx` consists of integers alone, for which zeroes, as the memory was made, and
        // whatever the kernel has written are both valid.
        self.statx
            .take()
            .map(|statx| unsafe { statx.assume_init() })
    }

    /// A close must not be cancelled: the descriptor is ours to get rid of.
    pub(super) fn is_cancellable(&self) -> bool {
        !matches!(self.op, Op::Close(_))
    }
}

/// The submission queue entry for an operation. Its pointers are into what `entry` owns on the
/// heap and stay good for as long as `entry` exists, wherever it is moved.
pub(super) fn prepare(entry: &mut Entry, files: &mut FileTable<OwnedFd>) -> squeue::Entry {
    match &mut entry.op {
        Op::StatPath(_) | Op::StatFile(_) => prepare_statx(entry, files),
        Op::Open { wait, .. } => {
            let flags = direct::open_flags(*wait).bits().cast_signed();
            let path = direct::path_of(&entry.op).as_ptr();
            opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path)
                .flags(flags)
                .build()
        }
        Op::Read {
            file,
            offset,
            buffer,
        } => {
            let open = files.get(*file);
            let descriptor = types::Fd(open.handle.as_raw_fd());
            let len = u32::try_from(buffer.len()).expect("buffers are shorter than 4 GiB");
            // -1 reads at the file's own position, as read(2) does.
            let sqe = opcode::Read::new(descriptor, buffer.as_mut_ptr(), len)
                .offset(offset.unwrap_or(u64::MAX))
                .build();
            // What cannot be tried without blocking goes to a worker from the start. It must:
            // O_NONBLOCK would make the ring try it, and that may block the loop.
            match open.file_system {
                FileSystem::Blocking => sqe.flags(squeue::Flags::ASYNC),
                FileSystem::Nowait | FileSystem::Memory => sqe,
            }
        }
        Op::Close(file) => {
            let descriptor = files.remove(*file).handle.into_raw_fd();
            opcode::Close::new(types::Fd(descriptor)).build()
        }
    }
}

fn prepare_statx(entry: &mut Entry, files: &FileTable<OwnedFd>) -> squeue::Entry {
    let (descriptor, path, flags) = match &entry.op {
        Op::StatFile(file) => (
            files.get(*file).handle.as_raw_fd(),
            c"".as_ptr(),
            AtFlags::EMPTY_PATH,
        ),
        op => (
            libc::AT_FDCWD,
            direct::path_of(op).as_ptr(),
            AtFlags::empty(),
        ),
    };
    let answer = entry
        .statx
        .as_mut()
        .expect("made with the entry")
        .as_mut_ptr();
    opcode::Statx::new(types::Fd(descriptor), path, answer.cast::<types::statx>())
        .flags(flags.bits().cast_signed())
        .mask(direct::STATX_MASK.bits())
        .build()
}
