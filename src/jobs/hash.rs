//! The hash job: stat, open, read to the end, stat again, close.
//!
//! The path is looked up (stat) before it is opened, because even opening a FIFO or a device has side
//! effects: a blocked writer would wake up and its data would be lost. On a local file system, a short
//! read that ends at the size from stat proves the end of the file; any other file is read until a read
//! returns 0.

use super::Job;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Cause, Errno, ItemError, Operation};
use crate::io::{Buffer, BufferClass, File, FileId, FileKind, FileSystem, Io, Read, Stat};
use crate::item::{Item, PATH_LEN_MAX};
use crate::stats::Phase;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

/// Reads of large files in flight at once in a loop, divided among the items in flight. A single file is
/// read ahead while it is hashed; if there are many, the other files keep the device and the processors
/// busy.
const READS_MAX: usize = 8;

/// Unexpected short reads (after a signal, or where a part was cached) that may make reads ahead useless
/// before a file is read one piece at a time. Some user-space file systems always return less than
/// requested.
const SHORT_READS_MAX: u32 = 2;

/// How often an item is restarted because its path led to another file after it was looked up.
const RESTARTS_MAX: u8 = 3;

/// Hashing the bytes of one read.
pub const HASH: Phase = Phase::of_job(0, "hash");

/// Hashes the content of files.
#[derive(Clone, Debug, Default)]
pub struct HashJob {
    /// The hash function.
    pub algorithm: Algorithm,
    /// Read FIFOs and devices instead of reporting them.
    pub read_special: bool,
    /// Report a file that changed while it was read as a failure.
    pub strict: bool,
    /// Files that the run itself writes. An item that is one of them fails.
    pub outputs: Arc<[FileId]>,
}

/// The digest of a file, and its metadata.
///
/// ```
/// use ringmill::Algorithm;
///
/// for row in ringmill::hash(["Cargo.toml"]).algorithm(Algorithm::Sha1).start()? {
///     let hashed = row?.result?;
///     let content = std::fs::read("Cargo.toml")?;
///     assert_eq!(hashed.digest, Algorithm::Sha1.digest(&content));
///     assert_eq!(hashed.size_bytes, content.len() as u64);
/// }
/// # Ok::<(), ringmill::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hashed {
    /// The digest of the bytes that were read.
    pub digest: Digest,
    /// The number of bytes that were read.
    pub size_bytes: u64,
    /// True if size, mtime or ctime differed before and after the file was read: the digest may be that of a
    /// state which the file never had.
    pub changed: bool,
    /// The device number of the file system (`st_dev` of stat(2)).
    pub device: u64,
    /// The inode number within the file system (`st_ino`). Paths with the same device and inode number lead
    /// to the same file.
    pub inode: u64,
    /// The number of hard links (`st_nlink`).
    pub nlink: u64,
    /// When the content last changed (mtime), as known after it was read. It is the Unix epoch if
    /// `SystemTime` cannot represent it.
    pub modified: SystemTime,
}

impl Job for HashJob {
    type Value = Hashed;
    type Local = Self;

    const PHASES: &'static [Phase] = &[
        Phase::QUEUE,
        Phase::LOOK_UP,
        Phase::OPEN,
        Phase::READ,
        HASH,
        Phase::STAT,
        Phase::CLOSE,
        Phase::TOTAL,
        Phase::REORDER,
        Phase::SCHEDULED_QUEUE,
        Phase::SCHEDULED_TOTAL,
    ];

    fn local(&self, _: &Io) -> Self {
        self.clone()
    }

    fn run(
        local: Rc<Self>,
        io: Io,
        item: Item,
    ) -> impl Future<Output = Result<Hashed, ItemError>> + 'static {
        hash(local, io, item)
    }
}

async fn hash(options: Rc<HashJob>, io: Io, path: Item) -> Result<Hashed, ItemError> {
    check_name(&path)?;
    let mut restarts = 0;
    loop {
        // The look-up is an implementation detail: its failure is reported as a failure to open.
        let before = io.stat(&path).await;
        let before = before.map_err(in_step(Operation::Open))?;
        check_kind(&before, &options)?;
        if options.outputs.contains(&before.id()) {
            return Err(ItemError {
                operation: Operation::Open,
                cause: Cause::Output,
            });
        }
        let file = io.open(&path, &before).await;
        let file = file.map_err(in_step(Operation::Open))?;
        let mut reading = Reading::new(&io, &file, &before, options.algorithm);
        let content = reading.read().await.map_err(in_step(Operation::Read))?;
        let size_bytes = reading.size_bytes;
        drop(reading);
        let Some(content) = content else {
            if restarts == RESTARTS_MAX {
                return Err(changed_while_read());
            }
            restarts += 1;
            let _ = file.close().await;
            continue;
        };
        let mut changed = false;
        let mut last_stat = before;
        if before.kind == FileKind::Regular {
            let after = file.stat().await.map_err(in_step(Operation::Stat))?;
            let is_same = after.id() == before.id();
            changed = !is_same || has_changed(&before, &after, size_bytes);
            if !is_same && restarts < RESTARTS_MAX {
                restarts += 1;
                // The result does not matter: this is not the item's file.
                let _ = file.close().await;
                continue;
            }
            // A FIFO or a device has replaced the file after each restart: what was read is not the
            // item's content.
            let is_regular = after.kind == FileKind::Regular;
            if !is_regular || changed && options.strict {
                return Err(changed_while_read());
            }
            last_stat = after;
        }
        file.close().await.map_err(in_step(Operation::Close))?;
        let digest = match content {
            Content::Whole(buffer, len_bytes) => {
                io.digest(options.algorithm, buffer, len_bytes, HASH).await
            }
            Content::Hashed(digest) => digest,
        };
        return Ok(Hashed {
            digest,
            size_bytes,
            changed,
            device: last_stat.id().device_number(),
            inode: last_stat.inode,
            nlink: last_stat.nlink,
            modified: last_stat.modified.into(),
        });
    }
}

fn check_name(path: &Item) -> Result<(), ItemError> {
    if path.bytes().len() > PATH_LEN_MAX {
        return Err(in_step(Operation::Open)(Errno::new(libc::ENAMETOOLONG)));
    }
    if path.path().is_none() {
        return Err(ItemError {
            operation: Operation::Open,
            cause: Cause::NulInName,
        });
    }
    Ok(())
}

fn check_kind(stat: &Stat, options: &HashJob) -> Result<(), ItemError> {
    match stat.kind {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(in_step(Operation::Read)(Errno::new(libc::EISDIR))),
        FileKind::Special(_) if options.read_special => Ok(()),
        FileKind::Special(kind) => Err(ItemError {
            operation: Operation::Open,
            cause: Cause::Special(kind),
        }),
    }
}

fn changed_while_read() -> ItemError {
    ItemError {
        operation: Operation::Read,
        cause: Cause::Changed,
    }
}

fn in_step(operation: Operation) -> impl Fn(Errno) -> ItemError {
    move |errno| ItemError::errno(operation, errno)
}

/// The content of a file.
enum Content {
    /// All of it, in this many bytes of a buffer.
    Whole(Buffer, usize),
    /// It has already been hashed, piece by piece.
    Hashed(Digest),
}

/// A file being read.
struct Reading<'a> {
    io: &'a Io,
    file: &'a File,
    before: &'a Stat,
    algorithm: Algorithm,
    /// Used if the file needs more than one read.
    hasher: Option<Box<Hasher>>,
    /// Bytes read so far, without a gap: where the next piece starts.
    size_bytes: u64,
    /// The opened file is known to be of the kind that was looked up. Not checked for special files.
    is_kind_checked: bool,
}

impl<'a> Reading<'a> {
    fn new(io: &'a Io, file: &'a File, before: &'a Stat, algorithm: Algorithm) -> Self {
        Self {
            io,
            file,
            before,
            algorithm,
            hasher: None,
            size_bytes: 0,
            is_kind_checked: before.kind != FileKind::Regular,
        }
    }

    /// Reads to the end. `None` if the path was looked up as a regular file but now leads to something
    /// else: a device may have no end.
    async fn read(&mut self) -> Result<Option<Content>, Errno> {
        let is_small = self.before.size_bytes < BufferClass::Small.len_bytes() as u64;
        let content = if self.before.kind == FileKind::Regular && is_small {
            self.read_small().await
        } else {
            // Boxed, so that the futures of small files stay small.
            Box::pin(self.read_large()).await
        };
        match content {
            // Reading at an offset fails on a FIFO, too.
            Err(_) if !self.check_kind().await => Ok(None),
            content => content,
        }
    }

    async fn read_small(&mut self) -> Result<Option<Content>, Errno> {
        loop {
            let buffer = self.io.small_buffer();
            let read = self.file.read(buffer, Some(self.size_bytes), false);
            let (buffer, count) = read.await?;
            if let Some(content) = self.take(buffer, count) {
                return Ok(Some(content));
            }
            if !self.may_read_on().await {
                return Ok(None);
            }
        }
    }

    /// False if more was read than stat reported, and the file turns out not to be regular.
    async fn may_read_on(&mut self) -> bool {
        self.size_bytes <= self.before.size_bytes || self.check_kind().await
    }

    /// False if the opened file is known to be of another kind than the one that was looked up.
    async fn check_kind(&mut self) -> bool {
        if !self.is_kind_checked {
            let stat = self.file.stat().await;
            self.is_kind_checked = stat.map_or(true, |stat| stat.kind == FileKind::Regular);
        }
        self.is_kind_checked
    }

    async fn read_large(&mut self) -> Result<Option<Content>, Errno> {
        // In file order. The result of a later read waits in its future.
        let mut reads = VecDeque::new();
        let content = self.read_pieces(&mut reads).await;
        wait_for_all(&mut reads).await;
        content
    }

    /// Reads ahead up to the size from stat, and beyond it one piece at a time. When it returns, `reads`
    /// may still hold reads in flight.
    async fn read_pieces(
        &mut self,
        reads: &mut VecDeque<Read<'a>>,
    ) -> Result<Option<Content>, Errno> {
        let is_regular = self.before.kind == FileKind::Regular;
        // Special files have no offsets: they are read sequentially.
        let ahead_up_to = if is_regular {
            self.before.size_bytes
        } else {
            0
        };
        // Where the next read starts.
        let mut next = 0;
        let mut short_reads = 0;
        loop {
            let reads_max = self.io.share_of(READS_MAX);
            let may_read_ahead = short_reads <= SHORT_READS_MAX;
            while reads.is_empty()
                || (may_read_ahead && next < ahead_up_to && reads.len() < reads_max)
            {
                let buffer = if reads.is_empty() {
                    self.io.large_buffer().await
                } else {
                    let Some(buffer) = self.io.spare_large_buffer() else {
                        break;
                    };
                    buffer
                };
                let offset = is_regular.then_some(next);
                next += buffer.len() as u64;
                let more_follow = may_read_ahead && reads_max > 1 && next < ahead_up_to;
                let parallel = !reads.is_empty() || more_follow;
                let mut read = self.file.read(buffer, offset, parallel);
                if parallel {
                    // It must be in flight while earlier reads are awaited.
                    read.start().await;
                }
                reads.push_back(read);
            }
            let read = reads.pop_front().expect("at least one is in flight");
            let (buffer, count) = read.await?;
            let is_short = count < buffer.len();
            if let Some(content) = self.take(buffer, count) {
                return Ok(Some(content));
            }
            if !self.may_read_on().await {
                return Ok(None);
            }
            if is_short {
                // The reads ahead are useless: the bytes before them are missing.
                short_reads += u32::from(!reads.is_empty());
                wait_for_all(reads).await;
                next = self.size_bytes;
            }
        }
    }

    /// Processes a piece; returns the content if it was the last.
    fn take(&mut self, buffer: Buffer, count: usize) -> Option<Content> {
        self.size_bytes += count as u64;
        let is_short = count < buffer.len();
        let ends_at_size =
            is_size_reliable(self.before) && self.size_bytes == self.before.size_bytes;
        let ended = count == 0 || (is_short && ends_at_size);
        if ended && self.hasher.is_none() {
            return Some(Content::Whole(buffer, count));
        }
        let algorithm = self.algorithm;
        let hasher = self
            .hasher
            .get_or_insert_with(|| Box::new(Hasher::new(algorithm)));
        hasher.update(&buffer[..count]);
        let digest = ended.then(|| self.hasher.take().expect("just used").finalize());
        self.io.lap(HASH);
        digest.map(Content::Hashed)
    }
}

/// Waits for reads whose data is not needed, so that the file can be closed.
async fn wait_for_all(reads: &mut VecDeque<Read<'_>>) {
    for read in reads.drain(..) {
        let _ = read.await;
    }
}

/// True if the size from stat is reliable. A user-space or network file system may report a wrong or
/// outdated one.
fn is_size_reliable(stat: &Stat) -> bool {
    stat.kind == FileKind::Regular
        && stat.size_bytes > 0
        && stat.file_system != FileSystem::Blocking
}

fn has_changed(before: &Stat, after: &Stat, hashed: u64) -> bool {
    let is_local = after.file_system != FileSystem::Blocking;
    // Pseudo files report size 0 whatever they hold, and their times are meaningless.
    if !is_local && before.size_bytes == 0 && after.size_bytes == 0 && hashed > 0 {
        return false;
    }
    before.size_bytes != after.size_bytes
        || before.modified != after.modified
        || before.changed != after.changed
        || (is_local && hashed != after.size_bytes)
}
