//! What paths and files are.

use super::mounts::FileSystem;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

impl From<Timestamp> for SystemTime {
    /// The epoch for a time that `SystemTime` cannot hold.
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

/// Tells a file apart from all others that exist at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The file system's device number.
    pub device: (u32, u32),
    /// The file's number within its file system.
    pub inode: u64,
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
