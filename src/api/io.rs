//! The operations of a custom job.

use super::error::Error;
use crate::error::{Cause, Errno, ItemError, Operation};
use crate::io::{self, BufferClass, FileKind, Stat};
use crate::item::{Batch, Item};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The operations of a custom job. An operation completes at once if it does not have to wait; otherwise
/// io_uring or a thread carries it out. Cheap to clone, and not `Send`: it belongs to one event loop.
///
/// Dropping the future of an operation cancels the operation.
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

    /// The metadata of the file that a path leads to. Symbolic links are followed; nothing is opened.
    ///
    /// # Errors
    /// The system's error ([`ErrorKind::System`](crate::ErrorKind::System)), or
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the path contains a NUL byte.
    ///
    /// ```
    /// use ringmill::{Error, Io};
    ///
    /// let rows = ringmill::run(["src"], |io: Io, path| async move { io.metadata(path).await });
    /// for row in rows.start()? {
    ///     assert!(row?.result?.is_directory);
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub async fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata, Error> {
        let item = item(path.as_ref())?;
        let stat = self.0.stat(&item).await;
        let stat = stat.map_err(|errno| Error::system("stat", item.bytes(), errno))?;
        Ok(Metadata::of(&stat))
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// The system's error, such as EISDIR for a directory; [`InvalidInput`](crate::ErrorKind::InvalidInput)
    /// if the path contains a NUL byte; [`SpecialFile`](crate::ErrorKind::SpecialFile) for a FIFO, socket or
    /// device, which is not opened, because even opening it can have effects.
    ///
    /// ```
    /// use ringmill::{Error, ErrorKind, Io};
    ///
    /// let rows = ringmill::run(["/dev/null"], |io: Io, path| async move { io.open(path).await.map(drop) });
    /// for row in rows.start()? {
    ///     assert_eq!(row?.result.unwrap_err().kind(), ErrorKind::SpecialFile);
    /// }
    /// # Ok::<(), Error>(())
    /// ```
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

    /// Opens a regular file, reads it to its end and closes it.
    ///
    /// # Errors
    /// Those of [`Io::open`], [`File::read_at`] and [`File::close`].
    ///
    /// ```
    /// use ringmill::{Error, Io};
    ///
    /// let rows = ringmill::run(["Cargo.toml"], |io: Io, path| async move { io.read(path).await });
    /// for row in rows.start()? {
    ///     assert_eq!(row?.result?, std::fs::read("Cargo.toml")?);
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub async fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
        let file = self.open(path).await?;
        let content = file.read_to_end().await?;
        file.close().await?;
        Ok(content)
    }

    /// Waits this long. A sleep of zero completes at once.
    ///
    /// ```
    /// use ringmill::{Error, Io};
    /// use std::time::{Duration, Instant};
    ///
    /// let rows = ringmill::run([20], |io: Io, time_ms| async move {
    ///     let started_at = Instant::now();
    ///     io.sleep(Duration::from_millis(time_ms)).await;
    ///     Ok::<_, Error>(started_at.elapsed())
    /// });
    /// for row in rows.start()? {
    ///     assert!(row?.result? > Duration::from_millis(19));
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub async fn sleep(&self, time: Duration) {
        let at = self.0.now().saturating_add(time);
        self.0.sleep_until(at).await;
    }

    /// Awaits a future while the input is parked: it does not count against the limit in flight, only
    /// against the window, so that other inputs can run. Meant for waits that concern this input alone, such
    /// as a rate limit of its server or a pause that its host asked for. After the future has completed, the
    /// input waits until it may be in flight again.
    ///
    /// An input that drops this before it has completed, and goes on, is in flight again at once, even if
    /// that exceeds the limit. So make a timeout part of `future`.
    ///
    /// ```
    /// use ringmill::{Error, Io};
    /// use std::time::Duration;
    ///
    /// let rows = ringmill::run(1..=3, |io: Io, n: u64| async move {
    ///     io.park(io.sleep(Duration::from_millis(10 * n))).await;
    ///     Ok::<_, Error>(n)
    /// });
    /// // All three wait at the same time, though only one may be in flight.
    /// let numbers: Result<Vec<u64>, Error> = rows.in_flight(1).start()?.map(|row| row?.result).collect();
    /// assert_eq!(numbers?, [1, 2, 3]);
    /// # Ok::<(), Error>(())
    /// ```
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

/// A regular file that a custom job has opened with [`Io::open`]. Dropping it closes it.
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
    /// The size before it was opened.
    size_bytes: u64,
}

impl File {
    /// Reads into the buffer from this offset in bytes, and returns the number of bytes read: at most the
    /// length of the buffer and 1 MiB. It is 0 only at the end of the file or for an empty buffer. A short
    /// read does not mean the end of the file.
    ///
    /// # Errors
    /// The system's error.
    ///
    /// ```
    /// use ringmill::{Error, Io};
    ///
    /// let rows = ringmill::run(["Cargo.toml"], |io: Io, path| async move {
    ///     let file = io.open(path).await?;
    ///     let mut byte = [0];
    ///     assert_eq!(file.read_at(&mut byte, 0).await?, 1);
    ///     assert_eq!(file.read_at(&mut byte, 1 << 40).await?, 0); // behind the end
    ///     Ok::<_, Error>(byte[0])
    /// });
    /// for row in rows.start()? {
    ///     assert_eq!(row?.result?, std::fs::read("Cargo.toml")?[0]);
    /// }
    /// # Ok::<(), Error>(())
    /// ```
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

    /// Reads the file from its beginning to its end into memory.
    ///
    /// # Errors
    /// The system's error.
    ///
    /// ```
    /// use ringmill::{Error, Io};
    ///
    /// let rows = ringmill::run(["/proc/self/comm"], |io: Io, path| async move {
    ///     let file = io.open(path).await?;
    ///     // The size of such a file is 0, whatever its content.
    ///     assert_eq!(file.metadata().await?.size_bytes, 0);
    ///     file.read_to_end().await
    /// });
    /// for row in rows.start()? {
    ///     assert!(!row?.result?.is_empty());
    /// }
    /// # Ok::<(), Error>(())
    /// ```
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

    /// The present metadata of the open file, even if its path leads to another file by now.
    ///
    /// # Errors
    /// The system's error.
    ///
    /// ```
    /// use ringmill::{Error, Io};
    ///
    /// let rows = ringmill::run(["Cargo.toml"], |io: Io, path| async move {
    ///     let file = io.open(path).await?;
    ///     file.metadata().await
    /// });
    /// for row in rows.start()? {
    ///     assert!(row?.result?.is_regular);
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub async fn metadata(&self) -> Result<Metadata, Error> {
        let stat = self.file.stat().await;
        let stat = stat.map_err(|errno| self.failed("stat", errno))?;
        Ok(Metadata::of(&stat))
    }

    /// Closes the file. Dropping it closes it, too, but ignores errors.
    ///
    /// # Errors
    /// The system's error. The file is closed nevertheless.
    ///
    /// ```
    /// use ringmill::{Error, Io};
    ///
    /// let rows = ringmill::run(["Cargo.toml"], |io: Io, path| async move {
    ///     let file = io.open(path).await?;
    ///     let content = file.read_to_end().await?;
    ///     file.close().await?;
    ///     Ok::<_, Error>(content.len())
    /// });
    /// for row in rows.start()? {
    ///     assert!(row?.result? > 0);
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub async fn close(self) -> Result<(), Error> {
        let Self { file, path, .. } = self;
        let closed = file.close().await;
        closed.map_err(|errno| Error::system("close", path.bytes(), errno))
    }

    fn failed(&self, operation: &'static str, errno: Errno) -> Error {
        Error::system(operation, self.path.bytes(), errno)
    }
}

/// Metadata of a file, from [`Io::metadata`] or [`File::metadata`].
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
    /// True for a regular file.
    pub is_regular: bool,
    /// True for a directory.
    pub is_directory: bool,
    /// The size in bytes that the file system reports. On some (procfs) more can be read than that.
    pub size_bytes: u64,
    /// When the content last changed (mtime). It is the Unix epoch if `SystemTime` cannot represent it.
    pub modified: SystemTime,
    /// The device number of the file system (`st_dev` of stat(2)).
    pub device: u64,
    /// The inode number within the file system (`st_ino`). Paths with the same device and inode number lead
    /// to the same file.
    pub inode: u64,
    /// The number of hard links (`st_nlink`).
    pub nlink: u64,
}

impl Metadata {
    fn of(stat: &Stat) -> Self {
        Self {
            is_regular: stat.kind == FileKind::Regular,
            is_directory: stat.kind == FileKind::Directory,
            size_bytes: stat.size_bytes,
            modified: stat.modified.into(),
            device: stat.id().device_number(),
            inode: stat.inode,
            nlink: stat.nlink,
        }
    }
}
