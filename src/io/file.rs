//! Files that items look up, open and read.

use super::buffer::Buffer;
use super::core::Io;
use super::metadata::{FileKind, Stat};
use super::op::{Op, Value};
use super::open_file::OpenFile;
use super::perform::Perform;
use crate::error::Errno;
use crate::item::Item;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

impl Io {
    /// What a path leads to, following links, without opening it.
    ///
    /// # Errors
    /// What the kernel said.
    pub async fn stat(&self, path: &Item) -> Result<Stat, Errno> {
        let path = path.clone();
        look_up(self, Op::StatPath { path, found: None }).await
    }

    /// Opens a path for reading, which [`Io::stat`] found to lead to `stat`. A FIFO is waited for
    /// until it has a writer.
    ///
    /// # Errors
    /// What the kernel said.
    pub async fn open(&self, path: &Item, stat: &Stat) -> Result<File, Errno> {
        let open = Op::Open {
            path: path.clone(),
            wait: stat.kind != FileKind::Regular,
            file_system: stat.file_system,
        };
        match Perform::new(self, open).await? {
            Value::File(open) => Ok(File::new(self.clone(), open)),
            other => unreachable!("an open gave {other:?}"),
        }
    }
}

/// A file that an item has open. Dropping it closes it, once no operation uses it any more.
#[derive(Debug)]
pub struct File {
    io: Io,
    /// The slot of the item that opened it.
    owner: u32,
    /// `None` once it is closed.
    open: Option<Rc<OpenFile>>,
}

impl File {
    pub(super) fn new(io: Io, open: OpenFile) -> Self {
        let owner = io.file_opened();
        Self {
            io,
            owner,
            open: Some(Rc::new(open)),
        }
    }

    /// Its metadata now.
    ///
    /// # Errors
    /// What the kernel said.
    pub async fn stat(&self) -> Result<Stat, Errno> {
        let file = self.share();
        look_up(&self.io, Op::StatFile { file, found: None }).await
    }

    /// Reads into the buffer's whole length: at this offset in bytes from the start, or at the
    /// file's own position. Several reads of one file may be in flight; `parallel` says that this
    /// is one of them. The number of bytes read comes with the buffer; 0 is the end of the file,
    /// fewer than asked for is not.
    pub fn read(&self, buffer: Buffer, offset: Option<u64>, parallel: bool) -> Read<'_> {
        let perform = Perform::new(
            &self.io,
            Op::Read {
                file: self.share(),
                offset,
                buffer,
                parallel,
            },
        );
        Read {
            perform,
            outcome: None,
        }
    }

    /// Closes it.
    ///
    /// # Errors
    /// What the kernel said; it is closed all the same.
    #[allow(
        clippy::unused_async,
        reason = "a close for writing waits for the disk"
    )]
    pub async fn close(mut self) -> Result<(), Errno> {
        let open = self.open.take().expect("open until now");
        // A read that was given up may still hold a share; then its completion closes the file.
        let result = Rc::into_inner(open).map_or(Ok(()), OpenFile::close);
        self.io.file_closed(self.owner, true);
        result
    }

    fn share(&self) -> Rc<OpenFile> {
        Rc::clone(self.open.as_ref().expect("open until it is closed"))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if self.open.take().is_some() {
            self.io.file_closed(self.owner, false);
        }
    }
}

/// A read in flight. Dropping it cancels it; its buffer is free again when the kernel has let go of
/// it.
#[derive(Debug)]
#[must_use = "a read starts when it is polled"]
pub struct Read<'a> {
    perform: Perform<'a>,
    /// If it was there when the read was started.
    outcome: Option<Result<(Buffer, usize), Errno>>,
}

impl Read<'_> {
    /// Starts the read without waiting for it, so that it is in flight while others are waited for.
    pub async fn start(&mut self) {
        poll_fn(|context| {
            if let Poll::Ready(outcome) = self.poll_perform(context) {
                self.outcome = Some(outcome);
            }
            Poll::Ready(())
        })
        .await;
    }

    fn poll_perform(&mut self, context: &mut Context<'_>) -> Poll<Result<(Buffer, usize), Errno>> {
        let poll = Pin::new(&mut self.perform).poll(context);
        poll.map(|outcome| match (outcome?, self.perform.take_op()) {
            (Value::Count(count), Op::Read { buffer, .. }) => Ok((buffer, count)),
            (value, op) => unreachable!("{op:?} gave {value:?}"),
        })
    }
}

impl Future for Read<'_> {
    type Output = Result<(Buffer, usize), Errno>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => self.poll_perform(context),
        }
    }
}

async fn look_up(io: &Io, op: Op) -> Result<Stat, Errno> {
    let mut perform = Perform::new(io, op);
    (&mut perform).await?;
    match perform.take_op() {
        Op::StatPath { found, .. } | Op::StatFile { found, .. } => Ok(found.expect("it succeeded")),
        op => unreachable!("{op:?} looks nothing up"),
    }
}
