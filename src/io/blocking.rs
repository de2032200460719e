//! Plain calls that may block, for workers: each operation is done when it is first tried.

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

/// Pauses before an operation is tried again that failed because something was exhausted. The item
/// could be begun anew instead, as it is for want of a descriptor, which other items hold. But then
/// much would have been done for nothing, and on a busy system a large file would never be read to
/// its end.
const PAUSES_MS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Carries out operations on the calling thread, however long that takes.
pub struct Blocking {
    mounts: Mounts,
    look_ups: LookUps,
}

impl Blocking {
    /// A carrier for one worker. With a table of descriptors of its own, the worker may use more of
    /// them than the one that an item is counted with.
    #[must_use]
    pub fn new(has_own_table: bool) -> Self {
        Self {
            mounts: Mounts::default(),
            look_ups: LookUps::new(has_own_table),
        }
    }
}

/// Does an operation until it ends otherwise than because something is exhausted, or for too long.
fn wait_out<T>(attempt: impl FnMut() -> Result<T, Errno>) -> Attempt<T> {
    Attempt::Done(wait_out_with(attempt, thread::sleep))
}

fn wait_out_with<T>(
    mut attempt: impl FnMut() -> Result<T, Errno>,
    mut pause: impl FnMut(Duration),
) -> Result<T, Errno> {
    for pause_ms in PAUSES_MS {
        match attempt() {
            Err(errno) if errno.is_shortage() && !errno.is_descriptor_shortage() => {
                pause(Duration::from_millis(pause_ms));
            }
            outcome => return outcome,
        }
    }
    attempt()
}

impl Clock for Blocking {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

impl Carrier for Blocking {
    fn look_up(&mut self, item: &Item) -> Attempt<Stat> {
        wait_out(|| {
            let statx = self.look_ups.stat(item)?;
            Ok(calls::to_stat(&statx, &mut self.mounts))
        })
    }

    fn open(&mut self, item: &Item, wait: bool, file_system: FileSystem) -> Attempt<OpenFile> {
        wait_out(|| {
            let descriptor = self.look_ups.open(item, wait)?;
            Ok(OpenFile::new(descriptor, file_system))
        })
    }

    fn stat(&mut self, file: &OpenFile) -> Attempt<Stat> {
        wait_out(|| calls::stat_file(file.as_fd(), file.file_system))
    }

    fn read(
        &mut self,
        file: &OpenFile,
        offset: Option<u64>,
        buffer: &mut Buffer,
        _: bool,
    ) -> Attempt<usize> {
        wait_out(|| calls::read(file.as_fd(), offset, buffer))
    }

    /// Items with sockets stay on their loop.
    fn try_socket(&mut self, _: &mut Op) -> Attempt<Value> {
        Attempt::Done(Err(Errno::new(libc::EOPNOTSUPP)))
    }

    fn forget_names(&mut self) {
        self.look_ups.forget_names();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(raw: i32) -> Result<(), Errno> {
        Err(Errno::new(raw))
    }

    #[test]
    fn what_failed_for_a_while_is_tried_again() {
        let (mut tries, mut paused) = (0, Duration::ZERO);
        let attempt = || {
            tries += 1;
            if tries < 4 {
                errno(libc::ENOMEM)
            } else {
                Ok(())
            }
        };
        assert!(wait_out_with(attempt, |pause| paused += pause).is_ok());
        assert_eq!((tries, paused), (4, Duration::from_millis(7)));
        let mut tries = 0;
        let lacking = || {
            tries += 1;
            errno(libc::ENOMEM)
        };
        assert!(wait_out_with(lacking, |_| ()).is_err());
        assert_eq!(tries, 8);
    }

    #[test]
    fn what_trying_again_does_not_mend_is_not_tried_again() {
        for raw in [libc::EIO, libc::EMFILE, libc::ENFILE] {
            assert!(wait_out_with(|| errno(raw), |_| unreachable!()).is_err());
        }
    }
}
