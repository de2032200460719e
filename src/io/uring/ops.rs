//! Operations as submission queue entries.

use crate::io::calls;
use crate::io::op::Op;
use crate::io::open_file::OpenFile;
use io_uring::{opcode, squeue, types};
use rustix::fs::Statx;
use rustix::net::SocketAddrAny;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

/// An operation with all the memory that the kernel needs while it is in flight.
pub(super) struct Entry {
    pub(super) op: Op,
    statx: Option<Box<MaybeUninit<Statx>>>,
    address: Option<Box<SocketAddrAny>>,
}

impl Entry {
    pub(super) fn new(op: Op) -> Self {
        let needs_statx = matches!(op, Op::StatPath { .. });
        let address = match &op {
            Op::Connect { address, .. } => Some(Box::new((*address).into())),
            _ => None,
        };
        Self {
            op,
            statx: needs_statx.then(|| Box::new(MaybeUninit::zeroed())),
            address,
        }
    }

    /// The result of a statx that has completed without error.
    pub(super) fn take_statx(&mut self) -> Option<Box<Statx>> {
        // SAFETY: `Statx` consists only of integers, for which both the initial zeroes and whatever
        // the kernel has written are valid.
        self.statx
            .take()
            .map(|statx| unsafe { statx.assume_init() })
    }
}

/// The submission queue entry for an operation. Its pointers point to what `entry` owns on the
/// heap, and are valid for as long as `entry` exists, even if it is moved.
pub(super) fn prepare(entry: &mut Entry) -> squeue::Entry {
    match &mut entry.op {
        Op::StatPath { path, .. } => {
            let path = calls::path(path).as_ptr();
            let answer = entry
                .statx
                .as_mut()
                .expect("made with the entry")
                .as_mut_ptr();
            opcode::Statx::new(
                types::Fd(libc::AT_FDCWD),
                path,
                answer.cast::<types::statx>(),
            )
            .mask(calls::STATX_MASK.bits())
            .build()
        }
        Op::Open { path, wait, .. } => {
            let flags = calls::open_flags(*wait).bits().cast_signed();
            let path = calls::path(path).as_ptr();
            opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path)
                .flags(flags)
                .build()
        }
        Op::Read {
            file,
            offset,
            buffer,
            parallel,
        } => {
            let descriptor = descriptor_of(file);
            let len = u32::try_from(buffer.len()).expect("buffers are shorter than 4 GiB");
            let offset = offset.expect("only regular files are read by the ring");
            let sqe = opcode::Read::new(descriptor, buffer.as_mut_ptr(), len)
                .offset(offset)
                .build();
            // Even cached content has to be copied. A kernel thread does that on another processor
            // while this one hashes.
            if *parallel {
                sqe.flags(squeue::Flags::ASYNC)
            } else {
                sqe
            }
        }
        Op::Send { socket, bytes } => {
            let descriptor = descriptor_of(socket);
            let len = u32::try_from(bytes.len()).expect("messages are shorter than 4 GiB");
            opcode::Send::new(descriptor, bytes.as_ptr(), len)
                .flags(libc::MSG_NOSIGNAL)
                .build()
        }
        Op::Receive { socket, bytes } => {
            let descriptor = descriptor_of(socket);
            let len = u32::try_from(bytes.len()).expect("messages are shorter than 4 GiB");
            opcode::Recv::new(descriptor, bytes.as_mut_ptr(), len).build()
        }
        Op::Connect { socket, .. } => {
            let descriptor = descriptor_of(socket);
            let address = entry.address.as_ref().expect("made with the entry");
            let (pointer, len) = (address.as_ptr(), address.addr_len());
            opcode::Connect::new(descriptor, pointer.cast::<libc::sockaddr>(), len).build()
        }
        Op::StatFile { .. } | Op::MakeSocket { .. } => unreachable!("done at once"),
    }
}

/// The number of an open descriptor. The operation holds a share of the file, so the number stays
/// its own until the completion has been taken.
fn descriptor_of(file: &OpenFile) -> types::Fd {
    types::Fd(file.as_fd().as_raw_fd())
}
