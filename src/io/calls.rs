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

/// The fields requested from statx.
pub(crate) const STATX_MASK: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::SIZE)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::INO)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::MNT_ID);

/// The flags that every file is opened with. With O_NONBLOCK, a FIFO that has replaced a regular
/// file since its look-up cannot block the open. It changes nothing for regular files.
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

/// Like [`stat_path`], for a path whose components are all cached, with the metadata in memory.
/// `None` says nothing about the path. There is no statx for that, so the path is opened with
/// O_PATH first, which also keeps its target in memory.
pub(crate) fn stat_cached(directory: BorrowedFd<'_>, path: &CStr) -> Option<Result<Statx, Errno>> {
    use rustix::io::Errno as Kernel;
    match open_o_path_cached(directory, path) {
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

fn open_o_path_cached(directory: BorrowedFd<'_>, path: impl Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(directory, path, flags, Mode::empty(), ResolveFlags::CACHED)
}

/// Metadata as the kernel has them in memory, without a request to a server.
fn stat_in_memory(held: BorrowedFd<'_>) -> Option<Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(held, c"", flags, STATX_MASK).ok()
}

pub(crate) fn is_regular(statx: &Statx) -> bool {
    kind_of(statx.stx_mode.into()) == FileKind::Regular
}

/// Opens a path with O_PATH if all its components are cached, and gets its metadata as far as they
/// are in memory. `None` says nothing about the path.
pub(crate) fn open_path_cached(path: &[u8]) -> Option<(OwnedFd, Statx)> {
    let file = open_o_path_cached(CWD, path).ok()?;
    let statx = stat_in_memory(file.as_fd())?;
    Some((file, statx))
}

/// Metadata of an open file. A network file system asks its server for the current values, so this
/// may block there. Plain fstat is the fastest call for it.
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
        nlink: stat.st_nlink as u64,
        file_system,
    })
}

pub(crate) fn open(directory: BorrowedFd<'_>, path: &CStr, wait: bool) -> Result<OwnedFd, Errno> {
    let (flags, mode) = (open_flags(wait), Mode::empty());
    Ok(rustix::fs::openat(directory, path, flags, mode)?)
}

/// Opens what the path leads to with O_PATH, that is, not for reading.
pub(crate) fn open_o_path(directory: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, path, flags, Mode::empty())?)
}

/// Metadata of what a descriptor refers to, with the server's current values.
pub(crate) fn stat_descriptor(held: BorrowedFd<'_>) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH;
    Ok(rustix::fs::statx(held, c"", flags, STATX_MASK)?)
}

/// Opens what an O_PATH descriptor refers to. `fd_links` is the thread's descriptor directory in
/// /proc.
pub(crate) fn reopen(
    fd_links: BorrowedFd<'_>,
    held: BorrowedFd<'_>,
    wait: bool,
) -> Result<OwnedFd, Errno> {
    open(fd_links, DecInt::from_fd(held).as_c_str(), wait)
}

/// Opens a directory with O_PATH to look up paths in it. May block.
pub(crate) fn open_path(path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Opens a directory to list it. May block.
pub(crate) fn open_directory(path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Opens a name that its directory lists as a regular file, if everything needed is cached.
pub(crate) fn open_listed_cached(directory: BorrowedFd<'_>, name: &CStr) -> Option<OwnedFd> {
    let (flags, mode) = (open_flags(false), Mode::empty());
    // Another file may be mounted on the name.
    let resolve = ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(directory, name, flags, mode, resolve).ok()
}

/// Opens the path if everything needed is cached.
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

/// True if the resource that the errno names, descriptors or the kernel's memory, is exhausted now.
/// To find out, a file in /proc is opened and read, which needs both and no server.
pub(crate) fn is_exhausted(errno: Errno) -> bool {
    let explains = |other: rustix::io::Errno| {
        let other = Errno::from(other);
        other.is_descriptor_exhaustion() == errno.is_descriptor_exhaustion()
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let proc_file = rustix::fs::open(c"/proc/self/comm", flags, Mode::empty());
    match proc_file.map(|file| rustix::io::read(file, &mut [0; 1])) {
        Ok(read) => read.is_err_and(explains),
        Err(other) if Errno::from(other).is_exhaustion() => explains(other),
        // Without /proc, only an open is tried.
        Err(_) => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let root = rustix::fs::open(c"/", flags, Mode::empty());
            root.is_err_and(explains)
        }
    }
}

/// Converts the kernel's metadata.
pub(crate) fn to_stat(statx: &Statx, mounts: &mut Mounts) -> Stat {
    let kind = kind_of(statx.stx_mode.into());
    Stat {
        kind,
        size_bytes: statx.stx_size,
        modified: timestamp(&statx.stx_mtime),
        changed: timestamp(&statx.stx_ctime),
        device: (statx.stx_dev_major, statx.stx_dev_minor),
        inode: statx.stx_ino,
        nlink: statx.stx_nlink.into(),
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

/// An item's bytes as a path for the kernel, which ends with a NUL.
pub(crate) fn path(item: &Item) -> &CStr {
    path_from(item, 0)
}

/// The part of an item's path from this byte on.
pub(crate) fn path_from(item: &Item, start: usize) -> &CStr {
    let path = item.path_from(start);
    path.expect("jobs check names before they submit them")
}
