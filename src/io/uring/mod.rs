//! The io_uring carrier: the only place with `unsafe` I/O.

mod datagrams;
mod device_queues;
mod ops;
mod ring;
mod setup;

pub use setup::{Refusal, features, probe};

use super::buffer::Buffer;
use super::calls;
use super::carrier::{Attempt, Carrier, Wait, Wake};
use super::inline::{self, Inline};
use super::listings::Listings;
use super::metadata::Stat;
use super::mounts::{FileSystem, MountId};
use super::op::{Completion, Op, Value};
use super::open_file::OpenFile;
use super::wake_up::WakeUp;
use crate::clock::{self, Clock};
use crate::error::Errno;
use crate::item::Item;
use datagrams::Datagrams;
use device_queues::{DeviceQueues, SLOW, Submission, device_of};
use ring::{Ended, Ring};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum completions returned in one turn, so that started items advance and results are emitted
/// before too many more arrive.
const COMPLETIONS_PER_TURN: usize = 256;

/// Bytes read after which a turn returns no more completions. While these are hashed, the kernel
/// fetches what was submitted after the previous turn.
const BYTES_PER_TURN: usize = 2 * 1024 * 1024;

/// How long the end of a run waits for operations that cannot be cancelled.
const GRACE: Duration = Duration::from_secs(2);

/// Operations on an io_uring instance, except those that a plain call does better.
///
/// Files whose reads may wait for something other than a local disk (FUSE, NFS, overlayfs, procfs,
/// devices) are never read here: their items belong on workers. The ring would give such reads to a
/// kernel thread of its own anyway, and it repeats a short read of a FUSE file in direct mode at
/// the same offset (seen on Linux 6.18): the result is content that the file does not have.
pub struct UringCarrier {
    inline: Inline,
    ring: Ring,
    device_queues: DeviceQueues,
    datagrams: Datagrams,
    /// Operations that wait for room in the ring.
    backlog: VecDeque<(u32, Op)>,
    /// Operations that were cancelled before they were in the ring.
    cancelled: Vec<Completion>,
    is_closed: bool,
}

impl UringCarrier {
    /// Sets up one of `rings` rings, with room for `outstanding_max` operations, and up to
    /// `workers_max` kernel threads for operations that block. It belongs to the calling thread.
    ///
    /// # Errors
    /// A refusal by the kernel, with its likely cause.
    pub fn new(
        rings: usize,
        outstanding_max: usize,
        workers_max: usize,
        wake_up: Arc<WakeUp>,
        listings: Arc<Listings>,
    ) -> Result<Self, Refusal> {
        let workers_max = u32::try_from(workers_max).unwrap_or(u32::MAX);
        Ok(Self {
            inline: Inline::new(listings),
            ring: Ring::new(outstanding_max, workers_max, wake_up)?,
            device_queues: DeviceQueues::new(rings),
            datagrams: Datagrams::default(),
            backlog: VecDeque::new(),
            cancelled: Vec::new(),
            is_closed: false,
        })
    }

    fn push(&mut self, key: u32, op: Op) {
        if !self.ring.has_room() {
            self.backlog.push_back((key, op));
        } else if let Err(error) = self.ring.push(key, op) {
            self.ring.fail(error);
        }
    }

    /// Sends the datagrams of this turn, or passes them to the ring. True if some could not be
    /// sent, so that the turn must not wait.
    fn send_datagrams(&mut self, completions: &mut Vec<Completion>) -> bool {
        let mut datagrams = std::mem::take(&mut self.datagrams);
        let before = completions.len();
        datagrams.send(completions, |key, op| self.push(key, op));
        self.datagrams = datagrams;
        completions[before..]
            .iter()
            .any(|sent| sent.outcome.is_err())
    }

    /// Starts the reads that the queues of their devices have room for.
    fn start_reads(&mut self) {
        while let Some(submission) = self.device_queues.next(clock::now()) {
            match submission {
                Submission::Plain(key, op) => self.push(key, op),
                Submission::Async(key, mut op) => {
                    // Kernel threads also start the parallel reads of one file.
                    if let Op::Read { parallel, .. } = &mut op {
                        *parallel = true;
                    }
                    self.push(key, op);
                }
            }
        }
    }

    fn complete(&mut self, ended: Ended) -> Completion {
        let Ended {
            key,
            mut op,
            result,
            statx,
        } = ended;
        let outcome = result.map(|count| match &mut op {
            Op::StatPath { path, found } => {
                let statx = statx.expect("a look-up has room for its answer");
                *found = Some(self.inline.found(path, &statx));
                Value::Done
            }
            Op::Open { file_system, .. } => {
                let descriptor = ring::own_descriptor(count);
                Value::File(OpenFile::new(descriptor, *file_system))
            }
            Op::Read { buffer, .. } => Value::Count(checked_count(count, buffer.len())),
            Op::Send { bytes, .. } | Op::Receive { bytes, .. } => {
                Value::Count(checked_count(count, bytes.len()))
            }
            Op::Connect { .. } => Value::Done,
            Op::StatFile { .. } | Op::MakeSocket { .. } => unreachable!("done at once"),
        });
        Completion { key, op, outcome }
    }
}

/// The number of bytes that were moved, checked against the length of the buffer.
fn checked_count(count: i32, len: usize) -> usize {
    let count = usize::try_from(count).expect("a count is not negative");
    assert!(
        count <= len,
        "the kernel moved more than there was room for"
    );
    count
}

impl Clock for UringCarrier {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }
}

impl Carrier for UringCarrier {
    fn look_up(&mut self, path: &Item) -> Attempt<Stat> {
        self.inline.look_up(path)
    }

    fn open(&mut self, path: &Item, _: bool, file_system: FileSystem) -> Attempt<OpenFile> {
        self.inline.open(path, file_system)
    }

    fn stat(&mut self, file: &OpenFile) -> Attempt<Stat> {
        inline::stat(file)
    }

    fn read(
        &mut self,
        file: &OpenFile,
        offset: Option<u64>,
        buffer: &mut Buffer,
        parallel: bool,
    ) -> Attempt<usize> {
        if parallel || !self.device_queues.has_room(file) {
            return Attempt::Submit;
        }
        self.inline.read(file, offset, buffer)
    }

    fn try_socket(&mut self, op: &mut Op) -> Attempt<Value> {
        inline::try_socket(op, true)
    }

    fn mount_of(&mut self, path: &Item) -> MountId {
        self.inline.mount_of(path)
    }

    fn is_exhausted(&mut self, errno: Errno) -> bool {
        // ECANCELED: the ring could not start a thread. Whether it could now cannot be checked.
        errno.raw() == libc::ECANCELED || calls::is_exhausted(errno)
    }

    fn leave_directory(&mut self) {
        self.inline.leave_directory();
    }

    fn submit(&mut self, key: u32, op: Op) {
        let Op::Read { file, .. } = &op else {
            return self.push(key, op);
        };
        debug_assert!(file.file_system != FileSystem::Blocking);
        let device = device_of(file);
        self.device_queues.push(key, op, device);
        self.start_reads();
    }

    fn post(&mut self, key: u32, op: Op) {
        self.datagrams.push(key, op);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        while self.ring.has_room()
            && let Some((key, op)) = self.backlog.pop_front()
        {
            self.ring.push(key, op)?;
        }
        self.start_reads();
        completions.append(&mut self.cancelled);
        // Reads that are held back are started when the device has answered, or has proved to be
        // slow.
        let wait = match wait {
            Wait::AtMost(time) if self.device_queues.held() > 0 => Wait::AtMost(time.min(SLOW)),
            Wait::Forever if self.device_queues.held() > 0 => Wait::AtMost(SLOW),
            wait => wait,
        };
        let has_completed = !completions.is_empty();
        let has_failed = self.send_datagrams(completions);
        let is_over = has_completed || has_failed;
        self.ring.enter(if is_over { Wait::No } else { wait })?;
        let mut bytes_read = 0;
        for _ in 0..COMPLETIONS_PER_TURN {
            let Some(ended) = self.ring.pop() else { break };
            self.device_queues.ended(ended.key, clock::now());
            let completion = self.complete(ended);
            if let Ok(Value::Count(count)) = completion.outcome {
                bytes_read += count;
            }
            completions.push(completion);
            if bytes_read >= BYTES_PER_TURN {
                break;
            }
        }
        Ok(())
    }

    fn cancel(&mut self, key: u32) {
        let held = self.device_queues.remove(key);
        let held = held.or_else(|| self.datagrams.remove(key)).or_else(|| {
            let at = self.backlog.iter().position(|(other, _)| *other == key)?;
            self.device_queues.ended(key, clock::now());
            Some(self.backlog.remove(at)?.1)
        });
        if let Some(op) = held {
            let outcome = Err(Errno::new(libc::ECANCELED));
            self.cancelled.push(Completion { key, op, outcome });
        } else {
            self.ring.cancel(key);
            self.ring.replace_stuck_workers();
        }
    }

    /// Waits for every completion of the ring, so that no buffer is freed under an operation and no
    /// late open leaks its descriptor.
    fn close(&mut self) -> bool {
        if std::mem::replace(&mut self.is_closed, true) {
            return self.ring.outstanding() == 0;
        }
        self.backlog.clear();
        self.device_queues.clear();
        self.datagrams.clear();
        let deadline = Instant::now() + GRACE;
        self.ring.cancel_all();
        while self.ring.outstanding() > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.ring.enter(Wait::AtMost(left)).is_err() {
                break;
            }
            while let Some(ended) = self.ring.pop() {
                self.complete(ended);
            }
        }
        self.ring.outstanding() == 0
    }

    fn outstanding(&self) -> usize {
        let held = self.backlog.len() + self.device_queues.held() + self.datagrams.len();
        self.ring.outstanding() + held + self.cancelled.len()
    }

    fn enters(&self) -> u64 {
        self.ring.enters()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.ring.waker()
    }

    fn describe(&self) -> String {
        self.ring.describe()
    }
}

impl Drop for UringCarrier {
    fn drop(&mut self) {
        self.close();
    }
}
