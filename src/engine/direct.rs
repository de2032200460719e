//! Operations as plain system calls.

use super::mounts::Mounts;
use super::{FileKind, FileSystem, Op, SpecialKind, Stat, Timestamp};
use crate::error::Errno;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use std::ffi::CStr;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What statx is asked for.
pub(crate) const STATX_MASK: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::SIZE)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::INO)
    .union(StatxFlags::MNT_ID);

/// The flags every file is opened with. O_NONBLOCK means that a FIFO that took a regular file's
/// place since its look-up cannot hold anybody up; it changes nothing for regular files.
pub(crate) fn open_flags(wait: bool) -> OFlags {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    if wait {
        flags
    } else {
        flags | OFlags::NONBLOCK
    }
}

pub(crate) fn stat_path(path: &CStr) -> Result<Statx, Errno> {
    Ok(rustix::fs::statx(CWD, path, AtFlags::empty(), STATX_MASK)?)
}

/// Metadata of an open file on a file system that does not block for it. Plain fstat is the
/// quickest way to them.
pub(crate) fn stat_file(file: BorrowedFd<'_>, file_system: FileSystem) -> Result<Stat, Errno> {
    let stat = rustix::fs::fstat(file)?;
    Ok(Stat {
        kind: kind_of(stat.st_mode),
        size_bytes: stat.st_size.cast_unsigned(),
        modified: Timestamp {
            seconds: stat.st_mtime,
            nanoseconds: stat.st_mtime_nsec as u32,
        },
        changed: Timestamp {
            seconds: stat.st_ctime,
            nanoseconds: stat.st_ctime_nsec as u32,
        },
        device: (
            rustix::fs::major(stat.st_dev),
            rustix::fs::minor(stat.st_dev),
        ),
        inode: stat.st_ino,
        file_system,
    })
}

/// The same where it may block.
pub(crate) fn stat_file_blocking(file: BorrowedFd<'_>) -> Result<Statx, Errno> {
    Ok(rustix::fs::statx(
        file,
        c"",
        AtFlags::EMPTY_PATH,
        STATX_MASK,
    )?)
}

pub(crate) fn open(path: &CStr, wait: bool) -> Result<OwnedFd, Errno> {
    Ok(rustix::fs::openat(
        CWD,
        path,
        open_flags(wait),
        Mode::empty(),
    )?)
}

/// Opens the path if that takes nothing but what is cached.
pub(crate) fn open_cached(path: &CStr) -> Option<OwnedFd> {
    let flags = open_flags(false);
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()
}

pub(crate) fn read(
    file: BorrowedFd<'_>,
    offset: Option<u64>,
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    loop {
        let result = match offset {
            Some(offset) => rustix::io::pread(file, &mut *buffer, offset),
            None => rustix::io::read(file, &mut *buffer),
        };
        match result {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Reads if the content is cached. `None` says nothing about the file.
pub(crate) fn read_cached(
    file: BorrowedFd<'_>,
    offset: Option<u64>,
    buffer: &mut [u8],
) -> Option<usize> {
    let flags = rustix::io::ReadWriteFlags::NOWAIT;
    let buffers = &mut [IoSliceMut::new(buffer)];
    rustix::io::preadv2(file.as_fd(), buffers, offset?, flags).ok()
}

/// Turns the kernel's metadata into ours.
pub(crate) fn to_stat(statx: &Statx, mounts: &mut Mounts) -> Stat {
    let kind = kind_of(statx.stx_mode.into());
    let has_mount = statx.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    Stat {
        kind,
        size_bytes: statx.stx_size,
        modified: timestamp(&statx.stx_mtime),
        changed: timestamp(&statx.stx_ctime),
        device: (statx.stx_dev_major, statx.stx_dev_minor),
        inode: statx.stx_ino,
        file_system: match kind {
            FileKind::Regular if has_mount => mounts.file_system(statx.stx_mnt_id),
            _ => FileSystem::Blocking,
        },
    }
}

fn kind_of(mode: u32) -> FileKind {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::RegularFile => FileKind::Regular,
        rustix::fs::FileType::Directory => FileKind::Directory,
        rustix::fs::FileType::Fifo => FileKind::Special(SpecialKind::Fifo),
        rustix::fs::FileType::Socket => FileKind::Special(SpecialKind::Socket),
        rustix::fs::FileType::CharacterDevice => FileKind::Special(SpecialKind::CharacterDevice),
        rustix::fs::FileType::BlockDevice => FileKind::Special(SpecialKind::BlockDevice),
        _ => FileKind::Special(SpecialKind::Unknown),
    }
}

fn timestamp(time: &rustix::fs::StatxTimestamp) -> Timestamp {
    Timestamp {
        seconds: time.tv_sec,
        nanoseconds: time.tv_nsec,
    }
}

/// The path of an operation, as the kernel wants it; jobs do not submit names with a NUL in them.
pub(crate) fn path_of(op: &Op) -> &CStr {
    match op {
        Op::StatPath(path) | Op::Open { path, .. } => path
            .path()
            .expect("jobs check names before they submit them"),
        _ => unreachable!("only look-ups and opens have a path"),
    }
}
