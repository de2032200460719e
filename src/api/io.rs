//! What a job of a program's own may do.

use super::error::Error;
use crate::error::{Cause, Errno, ItemError, Operation};
use crate::io::{self, BufferClass, FileKind, Stat};
use crate::item::{Batch, Item};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The operations of a job: they are carried out by io_uring, or at once where nothing has to be waited
/// for, or by threads. Cheap to clone. It belongs to the thread of its event loop.
///
/// Dropping the future of an operation cancels it.
///
/// ```
/// use ringmill::{Error, Io};
///
/// async fn size(io: Io, path: &'static str) -> Result<u64, Error> {
///     Ok(io.metadata(path).await?.size_bytes)
/// }
/// let rows = ringmill::run(["Cargo.toml"], size).start()?;
/// assert!(rows.map(|row| row?.result).sum::<Result<u64, Error>>()? > 0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Io(io::Io);

impl Io {
    pub(super) fn new(io: io::Io) -> Self {
        Self(io)
    }

    /// What a path leads to, following links, without opening it.
    ///
    /// # Errors
    /// What the system said, or that the path holds a NUL byte.
    pub async fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata, Error> {
        let item = item(path.as_ref())?;
        let stat = self.0.stat(&item).await;
        let stat = stat.map_err(|errno| Error::system("stat", item.bytes(), errno))?;
        Ok(Metadata::of(&stat))
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// What the system said; or that it is no regular file: what opening a FIFO or a device does to others
    /// is not undone.
    pub async fn open(&self, path: impl AsRef<Path>) -> Result<File, Error> {
        let item = item(path.as_ref())?;
        let failed = |errno| Error::system("open", item.bytes(), errno);
        let found = self.0.stat(&item).await.map_err(failed)?;
        check_kind(&found, &item)?;
        let file = self.0.open(&item, &found).await.map_err(failed)?;
        Ok(File {
            io: self.0.clone(),
            file,
            path: item,
            size_bytes: found.size_bytes,
        })
    }

    /// Reads a regular file to its end.
    ///
    /// # Errors
    /// As from [`Io::open`] and [`File::read_at`].
    pub async fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
        let file = self.open(path).await?;
        let content = file.read_to_end().await?;
        file.close().await?;
        Ok(content)
    }

    /// Waits this long.
    pub async fn sleep(&self, time: Duration) {
        let at = self.0.now().saturating_add(time);
        self.0.sleep_until(at).await;
    }

    /// Waits for something that is tied to the input's own subject: a place at its server, a pause that
    /// its host asked for. Meanwhile the input takes no place among those in flight, only one in the
    /// window, so that others go on.
    pub async fn park<F: Future>(&self, future: F) -> F::Output {
        self.0.park(future).await
    }
}

fn item(path: &Path) -> Result<Item, Error> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.contains(&0) {
        let error = ItemError {
            operation: Operation::Open,
            cause: Cause::NulInName,
        };
        return Err(Error::of_item(&error, bytes));
    }
    Ok(Item::new(Arc::new(Batch::from_iter([bytes])), 0))
}

fn check_kind(found: &Stat, item: &Item) -> Result<(), Error> {
    let cause = match found.kind {
        FileKind::Regular => return Ok(()),
        FileKind::Directory => Cause::Errno(Errno::new(libc::EISDIR)),
        FileKind::Special(kind) => Cause::Special(kind),
    };
    let operation = Operation::Open;
    Err(Error::of_item(
        &ItemError { operation, cause },
        item.bytes(),
    ))
}

/// A regular file that a job has open. Dropping it closes it.
///
/// ```
/// use ringmill::{Error, Io};
///
/// let rows = ringmill::run(["Cargo.toml"], |io: Io, path| async move {
///     let file = io.open(path).await?;
///     let mut magic = [0; 4];
///     let count = file.read_at(&mut magic, 0).await?;
///     Ok::<_, Error>(magic[..count].to_vec())
/// });
/// # for row in rows.start()? { assert_eq!(row?.result?.len(), 4); }
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct File {
    io: io::Io,
    file: io::File,
    path: Item,
    /// When it was opened.
    size_bytes: u64,
}

impl File {
    /// Reads into the buffer from this offset in bytes, and gives the number of bytes read: 0 only at the
    /// end of the file or for an empty buffer; fewer than there is room for is not the end.
    ///
    /// # Errors
    /// What the system said.
    pub async fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let into = match buffer.len() <= BufferClass::Small.len_bytes() {
            true => self.io.small_buffer(),
            false => self.io.large_buffer().await,
        };
        let read = self.file.read(into, Some(offset), false).await;
        let (bytes, count) = read.map_err(|errno| self.failed("read", errno))?;
        let count = count.min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Reads the file from its beginning to its end.
    ///
    /// # Errors
    /// What the system said.
    pub async fn read_to_end(&self) -> Result<Vec<u8>, Error> {
        let is_small = self.size_bytes < BufferClass::Small.len_bytes() as u64;
        let mut content = Vec::new();
        loop {
            let into = match is_small {
                true => self.io.small_buffer(),
                false => self.io.large_buffer().await,
            };
            let read = self
                .file
                .read(into, Some(content.len() as u64), false)
                .await;
            let (bytes, count) = read.map_err(|errno| self.failed("read", errno))?;
            if count == 0 {
                return Ok(content);
            }
            content.extend_from_slice(&bytes[..count]);
        }
    }

    /// Its metadata now.
    ///
    /// # Errors
    /// What the system said.
    pub async fn metadata(&self) -> Result<Metadata, Error> {
        let stat = self.file.stat().await;
        let stat = stat.map_err(|errno| self.failed("stat", errno))?;
        Ok(Metadata::of(&stat))
    }

    /// Closes it.
    ///
    /// # Errors
    /// What the system said; it is closed all the same.
    pub async fn close(self) -> Result<(), Error> {
        let Self { file, path, .. } = self;
        let closed = file.close().await;
        closed.map_err(|errno| Error::system("close", path.bytes(), errno))
    }

    fn failed(&self, operation: &'static str, errno: Errno) -> Error {
        Error::system(operation, self.path.bytes(), errno)
    }
}

/// What is known of a file besides its content.
///
/// ```
/// use ringmill::{Error, Io};
///
/// let rows = ringmill::run(["Cargo.toml", "src"], |io: Io, path| async move {
///     Ok::<_, Error>(io.metadata(path).await?.is_directory)
/// });
/// let are_directories: Result<Vec<bool>, Error> = rows.start()?.map(|row| row?.result).collect();
/// assert_eq!(are_directories?, [false, true]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// It is a regular file.
    pub is_regular: bool,
    /// It is a directory.
    pub is_directory: bool,
    /// Its size as the file system tells it, which for some (procfs) is not what can be read.
    pub size_bytes: u64,
    /// When its content last changed; the time of the epoch if it is not to be told.
    pub modified: SystemTime,
    /// The number of its file system's device.
    pub device: u64,
    /// Its number within its file system. With the device it tells whether two paths lead to one file.
    pub inode: u64,
}

impl Metadata {
    fn of(stat: &Stat) -> Self {
        let (major, minor) = stat.device;
        Self {
            is_regular: stat.kind == FileKind::Regular,
            is_directory: stat.kind == FileKind::Directory,
            size_bytes: stat.size_bytes,
            modified: stat.modified.into(),
            device: rustix::fs::makedev(major, minor),
            inode: stat.inode,
        }
    }
}
