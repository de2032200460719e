//! Metadata of paths and files.

use super::mounts::FileSystem;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kind of a path or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A file that has side effects when it is read or only opened.
    Special(SpecialKind),
}

/// The kinds of files that are read only if that is requested.
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
    /// Any other kind.
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
    /// Seconds since the Unix epoch.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

impl From<Timestamp> for SystemTime {
    /// The Unix epoch for a time that `SystemTime` cannot hold.
    fn from(time: Timestamp) -> Self {
        let seconds = Duration::from_secs(time.seconds.unsigned_abs());
        let whole = match time.seconds >= 0 {
            true => UNIX_EPOCH.checked_add(seconds),
            false => UNIX_EPOCH.checked_sub(seconds),
        };
        let nanoseconds = Duration::from_nanos(time.nanoseconds.into());
        let exact = whole.and_then(|whole| whole.checked_add(nanoseconds));
        exact.unwrap_or(UNIX_EPOCH)
    }
}

/// The metadata that jobs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Its size according to the file system, which for many files (procfs) is not the length of
    /// their content.
    pub size_bytes: u64,
    /// Last change of content.
    pub modified: Timestamp,
    /// Last change of content or metadata.
    pub changed: Timestamp,
    /// The file system's device number.
    pub device: (u32, u32),
    /// The file's number within its file system.
    pub inode: u64,
    /// How many names it has (hard links).
    pub nlink: u64,
    /// How reads on its file system behave.
    pub file_system: FileSystem,
}

/// Identifies a file among all that exist at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The file system's device number.
    pub device: (u32, u32),
    /// The file's number within its file system.
    pub inode: u64,
}

impl FileId {
    /// The device as one number, as stat(2) gives it.
    #[must_use]
    pub fn device_number(&self) -> u64 {
        let (major, minor) = self.device;
        rustix::fs::makedev(major, minor)
    }
}

impl Stat {
    /// Which file it is.
    #[must_use]
    pub fn id(&self) -> FileId {
        FileId {
            device: self.device,
            inode: self.inode,
        }
    }
}
