//! Plain calls that may block, for workers: each operation is done when it is first tried.

use super::calls;
use super::carrier::{Attempt, Carrier, Wait, Wake};
use super::mounts::Mounts;
use super::op::{Completion, Op, Outcome, Value};
use super::open_file::OpenFile;
use super::path_cache::PathCache;
use crate::clock::{self, Clock};
use crate::error::Errno;
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
    path_cache: PathCache,
}

impl Blocking {
    /// A carrier for one worker.
    #[must_use]
    pub fn new() -> Self {
        Self {
            mounts: Mounts::default(),
            path_cache: PathCache::new(),
        }
    }

    fn carry_out(&mut self, op: &mut Op) -> Outcome {
        match op {
            Op::StatPath { path, found } => {
                self.path_cache.enter(path.bytes());
                let (directory, path) = self.path_cache.start_of(path);
                let statx = calls::stat_path(directory, path)?;
                *found = Some(calls::to_stat(&statx, &mut self.mounts));
                Ok(Value::Done)
            }
            Op::Open {
                path,
                wait,
                file_system,
            } => {
                let (directory, path) = self.path_cache.start_of(path);
                let descriptor = calls::open(directory, path, *wait)?;
                Ok(Value::File(OpenFile::new(descriptor, *file_system)))
            }
            Op::StatFile { file, found } => {
                *found = Some(calls::stat_file(file.as_fd(), file.file_system)?);
                Ok(Value::Done)
            }
            Op::Read {
                file,
                offset,
                buffer,
                ..
            } => calls::read(file.as_fd(), *offset, buffer).map(Value::Count),
            // Items with sockets stay on their loop.
            _ => Err(Errno::new(libc::EOPNOTSUPP)),
        }
    }
}

fn wait_out(mut attempt: impl FnMut() -> Outcome, mut pause: impl FnMut(Duration)) -> Outcome {
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

impl Default for Blocking {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for Blocking {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

impl Carrier for Blocking {
    fn try_now(&mut self, op: &mut Op) -> Attempt {
        Attempt::Done(wait_out(|| self.carry_out(op), thread::sleep))
    }

    fn forget_names(&mut self) {
        self.path_cache.leave();
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

    fn errno(raw: i32) -> Outcome {
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
                Ok(Value::Done)
            }
        };
        assert!(wait_out(attempt, |pause| paused += pause).is_ok());
        assert_eq!((tries, paused), (4, Duration::from_millis(7)));
        let mut tries = 0;
        let lacking = || {
            tries += 1;
            errno(libc::ENOMEM)
        };
        assert!(wait_out(lacking, |_| ()).is_err());
        assert_eq!(tries, 8);
    }

    #[test]
    fn what_trying_again_does_not_mend_is_not_tried_again() {
        for raw in [libc::EIO, libc::EMFILE, libc::ENFILE] {
            assert!(wait_out(|| errno(raw), |_| unreachable!()).is_err());
        }
    }
}
