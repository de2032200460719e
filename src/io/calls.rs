//! Operations as plain system calls.

use super::metadata::{FileKind, SpecialKind, Stat, Timestamp};
use super::mounts::{FileSystem, Mounts};
use crate::error::Errno;
use crate::item::Item;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::path::{Arg, DecInt};
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

pub(crate) fn stat_path(directory: BorrowedFd<'_>, path: &CStr) -> Result<Statx, Errno> {
    let flags = AtFlags::empty();
    Ok(rustix::fs::statx(directory, path, flags, STATX_MASK)?)
}

/// The same of a path all parts of which are cached, with what is in memory. `None` says nothing about
/// the path. There is no statx for that: this holds what the path leads to, so that it stays in memory.
pub(crate) fn stat_cached(directory: BorrowedFd<'_>, path: &CStr) -> Option<Result<Statx, Errno>> {
    use rustix::io::Errno as Kernel;
    match hold_cached(directory, path) {
        Ok(held) => stat_in_memory(held.as_fd()).map(Ok),
        Err(
            errno @ (Kernel::NOENT
            | Kernel::NOTDIR
            | Kernel::LOOP
            | Kernel::ACCESS
            | Kernel::NAMETOOLONG),
        ) => Some(Err(errno.into())),
        Err(_) => None,
    }
}

fn hold_cached(directory: BorrowedFd<'_>, path: impl Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(directory, path, flags, Mode::empty(), ResolveFlags::CACHED)
}

/// Metadata as the kernel has them; no server is asked.
fn stat_in_memory(held: BorrowedFd<'_>) -> Option<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(held, c"", flags, STATX_MASK).ok()
}

pub(crate) fn is_regular(statx: &Statx) -> bool {
    kind_of(statx.stx_mode.into()) == FileKind::Regular
}

/// A path all parts of which are cached, not opened for reading, and its metadata as far as those
/// are cached. `None` says nothing about the path.
pub(crate) fn open_path_cached(path: &[u8]) -> Option<(OwnedFd, Statx)> {
    let file = hold_cached(CWD, path).ok()?;
    let statx = stat_in_memory(file.as_fd())?;
    Some((file, statx))
}

/// Metadata of an open file. A server is asked for what it knows now, so this may block where the
/// file system does. Plain fstat is the quickest way.
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

pub(crate) fn open(directory: BorrowedFd<'_>, path: &CStr, wait: bool) -> Result<OwnedFd, Errno> {
    let (flags, mode) = (open_flags(wait), Mode::empty());
    Ok(rustix::fs::openat(directory, path, flags, mode)?)
}

/// What the path leads to, held by a descriptor that is not open for reading.
pub(crate) fn hold(directory: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, path, flags, Mode::empty())?)
}

/// Metadata of what is held, as a server knows it now.
pub(crate) fn stat_held(held: BorrowedFd<'_>) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH;
    Ok(rustix::fs::statx(held, c"", flags, STATX_MASK)?)
}

/// Opens what is held. `links` is the thread's directory of descriptors in /proc.
pub(crate) fn open_held(
    links: BorrowedFd<'_>,
    held: BorrowedFd<'_>,
    wait: bool,
) -> Result<OwnedFd, Errno> {
    open(links, DecInt::from_fd(held).as_c_str(), wait)
}

/// Opens a directory to look up paths in it, which may block.
pub(crate) fn open_path(path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Opens a directory to list it, which may block.
pub(crate) fn open_directory(path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Opens a name that its directory says is a regular file, if all that it takes is cached.
pub(crate) fn open_listed_cached(directory: BorrowedFd<'_>, name: &CStr) -> Option<OwnedFd> {
    let (flags, mode) = (open_flags(false), Mode::empty());
    // Something may be mounted on it.
    let resolve = ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(directory, name, flags, mode, resolve).ok()
}

/// Opens the path if that takes nothing but what is cached.
pub(crate) fn open_cached(directory: BorrowedFd<'_>, path: &CStr) -> Option<OwnedFd> {
    let (flags, mode) = (open_flags(false), Mode::empty());
    rustix::fs::openat2(directory, path, flags, mode, ResolveFlags::CACHED).ok()
}

pub(crate) fn read(
    file: BorrowedFd<'_>,
    offset: Option<u64>,
    buffer: &mut [u8],
) -> Result<usize, Errno> {
    Ok(match offset {
        Some(offset) => rustix::io::pread(file, buffer, offset)?,
        None => rustix::io::read(file, buffer)?,
    })
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

/// True if what the errno names, a descriptor or the kernel's memory, is not to be had now. A file that
/// the kernel makes up takes both, and no server is asked for it.
pub(crate) fn is_exhausted(errno: Errno) -> bool {
    let explains = |other: rustix::io::Errno| {
        let other = Errno::from(other);
        other.is_descriptor_shortage() == errno.is_descriptor_shortage()
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let made_up = rustix::fs::open(c"/proc/self/comm", flags, Mode::empty());
    match made_up.map(|file| rustix::io::read(file, &mut [0; 1])) {
        Ok(read) => read.is_err_and(explains),
        Err(other) if Errno::from(other).is_shortage() => explains(other),
        // Without /proc, a descriptor must do.
        Err(_) => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let root = rustix::fs::open(c"/", flags, Mode::empty());
            root.is_err_and(explains)
        }
    }
}

/// Turns the kernel's metadata into ours.
pub(crate) fn to_stat(statx: &Statx, mounts: &mut Mounts) -> Stat {
    let kind = kind_of(statx.stx_mode.into());
    Stat {
        kind,
        size_bytes: statx.stx_size,
        modified: timestamp(&statx.stx_mtime),
        changed: timestamp(&statx.stx_ctime),
        device: (statx.stx_dev_major, statx.stx_dev_minor),
        inode: statx.stx_ino,
        file_system: match kind {
            FileKind::Regular => mounts.file_system_of(statx),
            _ => FileSystem::Blocking,
        },
    }
}

fn kind_of(mode: u32) -> FileKind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Fifo => FileKind::Special(SpecialKind::Fifo),
        FileType::Socket => FileKind::Special(SpecialKind::Socket),
        FileType::CharacterDevice => FileKind::Special(SpecialKind::CharacterDevice),
        FileType::BlockDevice => FileKind::Special(SpecialKind::BlockDevice),
        _ => FileKind::Special(SpecialKind::Unknown),
    }
}

pub(crate) fn timestamp(time: &rustix::fs::StatxTimestamp) -> Timestamp {
    Timestamp {
        seconds: time.tv_sec,
        nanoseconds: time.tv_nsec,
    }
}

/// An item's bytes as a path, as the kernel wants it.
pub(crate) fn path(item: &Item) -> &CStr {
    path_from(item, 0)
}

/// The part of an item's path from this byte on.
pub(crate) fn path_from(item: &Item, start: usize) -> &CStr {
    let path = item.path_from(start);
    path.expect("jobs check names before they submit them")
}
