//! The hash job: look up, open, read to the end, look again, close.
//!
//! The path is looked up before it is opened, because opening a FIFO or a device already has
//! effects: a writer would be woken and its data lost. The end of a file on a local file system is
//! proved by a read that was short and ended at the size the file was said to have; anything else
//! is read until a read returns 0.

use super::Job;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Cause, Errno, ItemError, Operation};
use crate::io::{Buffer, BufferClass, File, FileId, FileKind, FileSystem, Io, Read, Stat};
use crate::item::{Item, PATH_LEN_MAX};
use crate::stats::Phase;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// Reads of large files in flight at once in a loop, divided among the items in flight. A file that
/// is alone is read ahead while it is hashed; where there are many, the others give the device and
/// the processors enough to do.
const READS_MAX: usize = 8;

/// How often a short read where none should be (a signal came, part of it was cached) may make others
/// useless before a file is read one piece at a time. Some user-space file systems always give less
/// than asked.
const SHORT_READS_MAX: u32 = 2;

/// Times an item is begun again because its path came to name another file after its look-up.
const RESTARTS_MAX: u8 = 3;

/// The hashing of what one read gave.
pub const HASH: Phase = Phase::of_job(0, "hash");

/// Hashes the content of files.
#[derive(Clone, Debug, Default)]
pub struct HashJob {
    /// The hash function.
    pub algorithm: Algorithm,
    /// Read FIFOs and devices instead of reporting them.
    pub read_special: bool,
    /// Make a file that changed while it was read a failure.
    pub strict: bool,
    /// Files that the run itself writes. For an item that is one of them, hashing fails.
    pub outputs: Arc<[FileId]>,
}

/// A file's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The digest of the bytes that were read.
    pub digest: Digest,
    /// How many bytes were read.
    pub size_bytes: u64,
    /// Size, mtime or ctime differed between open and end: the digest may be of no state the file
    /// was ever in.
    pub changed: bool,
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
        // Nobody asked for a look-up: what failed, for the user, is the opening.
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
        if before.kind == FileKind::Regular {
            let after = file.stat().await.map_err(in_step(Operation::Stat))?;
            let is_same = after.id() == before.id();
            changed = !is_same || has_changed(&before, &after, size_bytes);
            if !is_same && restarts < RESTARTS_MAX {
                restarts += 1;
                // Whatever the kernel says to that, this file is not the item's.
                let _ = file.close().await;
                continue;
            }
            // A FIFO or a device that has taken the path each time: what it gave is nobody's content.
            let is_regular = after.kind == FileKind::Regular;
            if !is_regular || changed && options.strict {
                return Err(changed_while_read());
            }
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
    /// It lies in a buffer, and takes so many bytes of it.
    Whole(Buffer, usize),
    /// It has been hashed, piece by piece.
    Hashed(Digest),
}

/// A file that is read.
struct Reading<'a> {
    io: &'a Io,
    file: &'a File,
    before: &'a Stat,
    algorithm: Algorithm,
    /// Set when a file takes more than one read.
    hasher: Option<Box<Hasher>>,
    /// Bytes read so far, without a gap: where the next piece starts.
    size_bytes: u64,
    /// What was opened is what was looked up, a regular file or not.
    is_of_kind: bool,
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
            is_of_kind: before.kind != FileKind::Regular,
        }
    }

    /// Reads to the end. `None` if the path has come to lead to something that is no regular file, as
    /// which it was looked up: a device may have no end.
    async fn read(&mut self) -> Result<Option<Content>, Errno> {
        let is_small = self.before.size_bytes < BufferClass::Small.len_bytes() as u64;
        let content = if self.before.kind == FileKind::Regular && is_small {
            self.read_small().await
        } else {
            // Apart, so that the futures of small files are small.
            Box::pin(self.read_large()).await
        };
        match content {
            // Reading a FIFO as one reads a file is an error, too.
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
            if !self.may_go_on().await {
                return Ok(None);
            }
        }
    }

    /// False if there is more than a regular file was said to hold, and it is no regular file.
    async fn may_go_on(&mut self) -> bool {
        self.size_bytes <= self.before.size_bytes || self.check_kind().await
    }

    /// False if what was opened is known not to be of the kind that was looked up.
    async fn check_kind(&mut self) -> bool {
        if !self.is_of_kind {
            let stat = self.file.stat().await;
            self.is_of_kind = stat.map_or(true, |stat| stat.kind == FileKind::Regular);
        }
        self.is_of_kind
    }

    async fn read_large(&mut self) -> Result<Option<Content>, Errno> {
        // In the order of the file. What a later one has read waits in its future.
        let mut reads = VecDeque::new();
        let content = self.read_pieces(&mut reads).await;
        wait_for_all(&mut reads).await;
        content
    }

    /// Reads ahead within the size the file is said to have, beyond it only one step at a time. Some
    /// of that may still be in `reads` in the end.
    async fn read_pieces(
        &mut self,
        reads: &mut VecDeque<Read<'a>>,
    ) -> Result<Option<Content>, Errno> {
        let is_regular = self.before.kind == FileKind::Regular;
        // Special files are read in the order they give.
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
                    // It is to be in flight while those before it are waited for.
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
            if !self.may_go_on().await {
                return Ok(None);
            }
            if is_short {
                // What follows was read for nothing: the bytes in between are missing.
                short_reads += u32::from(!reads.is_empty());
                wait_for_all(reads).await;
                next = self.size_bytes;
            }
        }
    }

    /// Takes a piece; gives the content if it was the last.
    fn take(&mut self, buffer: Buffer, count: usize) -> Option<Content> {
        self.size_bytes += count as u64;
        let is_short = count < buffer.len();
        let ends_at_size = knows_its_size(self.before) && self.size_bytes == self.before.size_bytes;
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

/// Waits for reads whose content is of no use, so that the file can be closed.
async fn wait_for_all(reads: &mut VecDeque<Read<'_>>) {
    for read in reads.drain(..) {
        let _ = read.await;
    }
}

/// True where the size can be taken at its word. A user-space or network file system may tell one
/// that was never right, or no longer is.
fn knows_its_size(stat: &Stat) -> bool {
    stat.kind == FileKind::Regular
        && stat.size_bytes > 0
        && stat.file_system != FileSystem::Blocking
}

fn has_changed(before: &Stat, after: &Stat, hashed: u64) -> bool {
    let is_local = after.file_system != FileSystem::Blocking;
    // Pseudo files say size 0 whatever they hold, and their times mean nothing.
    if !is_local && before.size_bytes == 0 && after.size_bytes == 0 && hashed > 0 {
        return false;
    }
    before.size_bytes != after.size_bytes
        || before.modified != after.modified
        || before.changed != after.changed
        || (is_local && hashed != after.size_bytes)
}
