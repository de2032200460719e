//! Plain calls that may block, for workers: each operation completes at its first attempt.

use super::buffer::Buffer;
use super::calls;
use super::carrier::{Attempt, Carrier, Wait, Wake};
use super::look_ups::LookUps;
use super::metadata::Stat;
use super::mounts::{FileSystem, Mounts};
use super::op::{Completion, Op, Value};
use super::open_file::OpenFile;
use crate::clock::{self, Clock};
use crate::error::Errno;
use crate::item::Item;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Carries out operations on the calling thread, however long that takes.
pub struct Blocking {
    mounts: Mounts,
    look_ups: LookUps,
}

impl Blocking {
    /// A carrier for one worker. A worker with a descriptor table of its own may use more
    /// descriptors than the one that is counted for each item.
    #[must_use]
    pub fn new(has_own_table: bool) -> Self {
        Self {
            mounts: Mounts::default(),
            look_ups: LookUps::new(has_own_table),
        }
    }
}

impl Clock for Blocking {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

impl Carrier for Blocking {
    fn look_up(&mut self, item: &Item) -> Attempt<Stat> {
        let statx = self.look_ups.stat(item);
        Attempt::Done(statx.map(|statx| calls::to_stat(&statx, &mut self.mounts)))
    }

    fn open(&mut self, item: &Item, wait: bool, file_system: FileSystem) -> Attempt<OpenFile> {
        let opened = self.look_ups.open(item, wait);
        Attempt::Done(opened.map(|descriptor| OpenFile::new(descriptor, file_system)))
    }

    fn stat(&mut self, file: &OpenFile) -> Attempt<Stat> {
        Attempt::Done(calls::stat_file(file.as_fd(), file.file_system))
    }

    fn read(
        &mut self,
        file: &OpenFile,
        offset: Option<u64>,
        buffer: &mut Buffer,
        _: bool,
    ) -> Attempt<usize> {
        Attempt::Done(calls::read(file.as_fd(), offset, buffer))
    }

    /// Items with sockets stay on their loop.
    fn try_socket(&mut self, _: &mut Op) -> Attempt<Value> {
        Attempt::Done(Err(Errno::new(libc::EOPNOTSUPP)))
    }

    fn is_exhausted(&mut self, errno: Errno) -> bool {
        calls::is_exhausted(errno)
    }

    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }

    fn leave_directory(&mut self) {
        self.look_ups.leave_directory();
    }

    fn submit(&mut self, _: u32, op: Op) {
        unreachable!("{op:?} is done at once")
    }

    fn turn(&mut self, _: Wait, _: &mut Vec<Completion>) -> io::Result<()> {
        Ok(())
    }

    fn cancel(&mut self, _: u32) {}

    fn outstanding(&self) -> usize {
        0
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(NeverWaits)
    }

    fn describe(&self) -> String {
        "plain calls".to_owned()
    }
}

struct NeverWaits;

impl Wake for NeverWaits {
    fn wake(&self) {}
}
