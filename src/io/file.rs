//! Files that items look up, open and read.

use super::buffer::Buffer;
use super::core::Io;
use super::metadata::{FileKind, Stat};
use super::op::{Op, Value};
use super::open_file::OpenFile;
use super::perform::{First, Perform};
use crate::error::{Errno, Operation};
use crate::item::Item;
use crate::stats::Phase;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

impl Io {
    /// Metadata of what a path leads to, following links, without opening it.
    ///
    /// # Errors
    /// The errno that the kernel returned.
    pub async fn stat(&self, path: &Item) -> Result<Stat, Errno> {
        let first = self.try_first(Operation::Open, Phase::LOOK_UP, |state| {
            state.carrier.look_up(path)
        });
        match first {
            Ok(result) => result,
            Err(first) => {
                let path = path.clone();
                look_up(first, self, Op::StatPath { path, found: None }).await
            }
        }
    }

    /// Opens a path for reading; `stat` is what [`Io::stat`] found. Waits until a FIFO has a
    /// writer.
    ///
    /// # Errors
    /// The errno that the kernel returned.
    pub async fn open(&self, path: &Item, stat: &Stat) -> Result<File, Errno> {
        let (wait, file_system) = (stat.kind != FileKind::Regular, stat.file_system);
        if self.core.is_worker {
            // An error of this close no longer concerns the item.
            let _ = self.close_left(self.core.current.get());
        }
        let first = self.try_first(Operation::Open, Phase::OPEN, |state| {
            state.carrier.open(path, wait, file_system)
        });
        let open = match first {
            Ok(result) => result?,
            Err(first) => {
                let open = Op::Open {
                    path: path.clone(),
                    wait,
                    file_system,
                };
                match Perform::after(first, self, open).await? {
                    Value::File(open) => open,
                    other => unreachable!("an open gave {other:?}"),
                }
            }
        };
        Ok(File::new(self.clone(), open))
    }
}

/// A file that an item has open. Dropping it closes it, once no operation uses it any more.
#[derive(Debug)]
pub struct File {
    io: Io,
    /// The slot of the item that opened it.
    owner: u32,
    open: RefCell<Share>,
}

/// The handle's share of the open file.
#[derive(Debug)]
enum Share {
    /// The only owner: no operation had to be submitted.
    Sole(OpenFile),
    /// Shared with submitted operations.
    Shared(Rc<OpenFile>),
    Closed,
}

impl Share {
    fn file(&self) -> &OpenFile {
        match self {
            Self::Sole(open) => open,
            Self::Shared(open) => open,
            Self::Closed => unreachable!("open until it is closed"),
        }
    }
}

impl File {
    pub(super) fn new(io: Io, open: OpenFile) -> Self {
        let owner = io.file_opened();
        Self {
            io,
            owner,
            open: RefCell::new(Share::Sole(open)),
        }
    }

    /// Its metadata now.
    ///
    /// # Errors
    /// The errno that the kernel returned.
    pub async fn stat(&self) -> Result<Stat, Errno> {
        let first = self.io.try_first(Operation::Stat, Phase::STAT, |state| {
            state.carrier.stat(self.open.borrow().file())
        });
        match first {
            Ok(result) => result,
            Err(first) => {
                let file = self.share();
                look_up(first, &self.io, Op::StatFile { file, found: None }).await
            }
        }
    }

    /// Reads into the buffer's whole length, at `offset` bytes from the start or at the file's own
    /// position. Several reads of one file may be in flight; `parallel` says that this is one of
    /// them. Returns the buffer and the number of bytes read: 0 is the end of the file, a short
    /// read is not.
    pub fn read(&self, buffer: Buffer, offset: Option<u64>, parallel: bool) -> Read<'_> {
        Read {
            file: self,
            offset,
            parallel,
            stage: ReadStage::New(buffer),
        }
    }

    /// Closes it. On a worker, it is closed later: when the item has ended, and then an error of
    /// the close is the item's, or when the item opens another file.
    ///
    /// # Errors
    /// The errno that the kernel returned; the file is closed all the same.
    #[allow(
        clippy::unused_async,
        reason = "a close for writing waits for the disk"
    )]
    pub async fn close(self) -> Result<(), Errno> {
        let result = match self.open.replace(Share::Closed) {
            share if self.io.core.is_worker => {
                self.leave(share);
                return Ok(());
            }
            Share::Sole(open) => open.close(),
            // A cancelled read may still hold a share; then its completion closes the file.
            Share::Shared(open) => Rc::into_inner(open).map_or(Ok(()), OpenFile::close),
            Share::Closed => unreachable!("open until it is closed"),
        };
        self.io.file_closed(self.owner);
        self.io.note_close();
        result
    }

    /// Leaves it to be closed when the item has ended: see [`Io::close_left`].
    fn leave(&self, share: Share) {
        let open = match share {
            Share::Sole(open) => Some(open),
            // On a worker, no operation outlives its attempt.
            Share::Shared(open) => Rc::into_inner(open),
            Share::Closed => return,
        };
        self.io.leave_open(self.owner, open);
        self.io.file_closed(self.owner);
    }

    /// A share for an operation that is submitted.
    fn share(&self) -> Rc<OpenFile> {
        let open = &mut *self.open.borrow_mut();
        let shared = match std::mem::replace(open, Share::Closed) {
            Share::Sole(file) => Rc::new(file),
            Share::Shared(file) => file,
            Share::Closed => unreachable!("open until it is closed"),
        };
        *open = Share::Shared(Rc::clone(&shared));
        shared
    }
}

impl Drop for File {
    fn drop(&mut self) {
        match self.open.replace(Share::Closed) {
            Share::Closed => {}
            share if self.io.core.is_worker => self.leave(share),
            share => {
                drop(share);
                self.io.file_closed(self.owner);
            }
        }
    }
}

/// A read in flight. Dropping it cancels it; its buffer returns to the pool at the completion.
#[derive(Debug)]
#[must_use = "a read starts when it is polled"]
pub struct Read<'a> {
    file: &'a File,
    offset: Option<u64>,
    parallel: bool,
    stage: ReadStage,
}

#[derive(Debug)]
enum ReadStage {
    New(Buffer),
    Performed(Perform),
    /// The read completed when it was started.
    Outcome(Result<(Buffer, usize), Errno>),
    Ended,
}

impl Read<'_> {
    /// Starts the read without waiting for it, so that it is in flight while the task waits for
    /// others.
    pub async fn start(&mut self) {
        poll_fn(|context| {
            if let Poll::Ready(outcome) = Pin::new(&mut *self).poll(context) {
                self.stage = ReadStage::Outcome(outcome);
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl Future for Read<'_> {
    type Output = Result<(Buffer, usize), Errno>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let ReadStage::Performed(perform) = &mut this.stage {
            let outcome = ready!(Pin::new(&mut *perform).poll(context));
            let op = perform.take_op();
            this.stage = ReadStage::Ended;
            return Poll::Ready(match (outcome?, op) {
                (Value::Count(count), Op::Read { buffer, .. }) => Ok((buffer, count)),
                (value, op) => unreachable!("{op:?} gave {value:?}"),
            });
        }
        let mut buffer = match std::mem::replace(&mut this.stage, ReadStage::Ended) {
            ReadStage::New(buffer) => buffer,
            ReadStage::Outcome(outcome) => return Poll::Ready(outcome),
            _ => panic!("a read was polled after it had ended"),
        };
        let (file, offset, parallel) = (this.file, this.offset, this.parallel);
        let first = file.io.try_first(Operation::Read, Phase::READ, |state| {
            state.read(file.open.borrow().file(), offset, &mut buffer, parallel)
        });
        match first {
            Ok(result) => Poll::Ready(result.map(|count| (buffer, count))),
            Err(first) => {
                let read = Op::Read {
                    file: file.share(),
                    offset,
                    buffer,
                    parallel,
                };
                this.stage = ReadStage::Performed(Perform::after(first, &file.io, read));
                Pin::new(this).poll(context)
            }
        }
    }
}

/// Continues a look-up after the first attempt.
async fn look_up(first: First, io: &Io, op: Op) -> Result<Stat, Errno> {
    let mut perform = Perform::after(first, io, op);
    (&mut perform).await?;
    match perform.take_op() {
        Op::StatPath { found, .. } | Op::StatFile { found, .. } => Ok(found.expect("it succeeded")),
        op => unreachable!("{op:?} looks nothing up"),
    }
}
