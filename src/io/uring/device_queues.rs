//! Limits how many reads of one block device a ring has in flight.
//!
//! A device's queue has room for a limited number of requests (`nr_requests` in sysfs). A read of
//! content that is not cached takes one as soon as it is submitted, or tried by a plain call. If
//! none is left, the kernel waits for one in that call, whatever flags it was given: for as long as
//! a slow device takes, or for ever if it hangs. So a loop starts no more reads than the queue has
//! room for, and only one until the device has proved to be fast. The others are held back, because
//! reads that are submitted together are merged. If a device is slow, kernel threads start its
//! reads.

use crate::clock;
use crate::io::op::Op;
use crate::io::open_file::OpenFile;
use rustix::fs::{fstat, major, minor};
use std::collections::VecDeque;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A device is slow if its reads take this long.
pub(super) const SLOW: Duration = Duration::from_millis(20);

/// The assumed depth of the queue of a device that has none of its own, such as that of a file
/// system over several disks, or whose depth cannot be read: the least that a disk has.
const DEPTH_ASSUMED: usize = 64;

/// The queues of the devices that a ring reads from.
#[derive(Debug)]
pub(super) struct DeviceQueues {
    /// The number of rings that share the queues.
    rings: usize,
    queues: Vec<Queue>,
    /// The reads in flight, by the keys of their operations.
    in_flight: Vec<Option<InFlightRead>>,
    /// The number of reads in flight, and of reads held back, in all queues.
    count: usize,
    held: usize,
}

/// A read that has been started.
#[derive(Clone, Copy, Debug)]
struct InFlightRead {
    queue: usize,
    since: Duration,
}

#[derive(Debug)]
struct Queue {
    device: u64,
    /// The part of the queue that this ring may use.
    depth: usize,
    /// Reads in flight, whether started by the loop or by kernel threads.
    count: usize,
    /// The moving average of the time that reads take; `None` before the first has ended.
    latency: Option<Duration>,
    /// When a read last ended, or was started with no other in flight.
    quiet_since: Duration,
    held: VecDeque<(u32, Op)>,
}

/// How a read is to be submitted.
#[derive(Debug)]
pub(super) enum Submission {
    /// As usual: the loop starts it.
    Plain(u32, Op),
    /// With IOSQE_ASYNC: a kernel thread starts it.
    Async(u32, Op),
}

impl Queue {
    /// How many reads the loop may have in flight. Look-ups use the queue, too, and if the device
    /// is slow, most of it.
    fn reads_max(&self, now: Duration) -> usize {
        match self.latency {
            _ if self.is_slow(now) => 0,
            // One, to measure the device.
            None => 1,
            // If the device is fast, look-ups use little of the queue.
            Some(_) => (self.depth * 7 / 8).max(1),
        }
    }

    fn has_room(&self, now: Duration) -> bool {
        self.count < self.reads_max(now)
    }

    /// True if its reads take long on average, or none has ended for long.
    fn is_slow(&self, now: Duration) -> bool {
        let is_stuck = self.count > 0 && now.saturating_sub(self.quiet_since) >= SLOW;
        is_stuck || self.latency.is_some_and(|latency| latency >= SLOW)
    }

    fn started(&mut self, now: Duration) {
        if self.count == 0 {
            self.quiet_since = now;
        }
        self.count += 1;
    }

    fn ended(&mut self, since: Duration, now: Duration) {
        self.count -= 1;
        self.quiet_since = now;
        let took = now.saturating_sub(since);
        let known = self.latency.unwrap_or(took);
        self.latency = Some((known * 7 + took) / 8);
    }

    /// The next of the reads that are held back, if it may start now.
    fn next_held(&mut self, now: Duration) -> Option<Submission> {
        let start = match self.is_slow(now) {
            true => Submission::Async,
            false if self.has_room(now) => Submission::Plain,
            false => return None,
        };
        let (key, op) = self.held.pop_front()?;
        self.started(now);
        Some(start(key, op))
    }
}

impl DeviceQueues {
    /// The queues for one of this many rings.
    pub(super) fn new(rings: usize) -> Self {
        Self {
            rings,
            queues: Vec::new(),
            in_flight: Vec::new(),
            count: 0,
            held: 0,
        }
    }

    /// True if a plain call may start to read the file.
    pub(super) fn has_room(&mut self, file: &OpenFile) -> bool {
        if self.count == 0 {
            return true;
        }
        let now = clock::now();
        if self.queues.iter().all(|queue| queue.has_room(now)) {
            return true;
        }
        let queue = self.queue_of(device_of(file));
        self.queues[queue].has_room(now)
    }

    /// Adds a read, which [`DeviceQueues::next`] may return at once.
    pub(super) fn push(&mut self, key: u32, op: Op, device: u64) {
        let queue = self.queue_of(device);
        self.queues[queue].held.push_back((key, op));
        self.held += 1;
    }

    /// The next read that may start now.
    pub(super) fn next(&mut self, now: Duration) -> Option<Submission> {
        if self.held == 0 {
            return None;
        }
        let mut queues = self.queues.iter_mut().enumerate();
        let (queue, submission) =
            queues.find_map(|(at, queue)| Some((at, queue.next_held(now)?)))?;
        self.held -= 1;
        self.count += 1;
        let (Submission::Plain(key, _) | Submission::Async(key, _)) = &submission;
        let index = *key as usize;
        if self.in_flight.len() <= index {
            self.in_flight.resize(index + 1, None);
        }
        self.in_flight[index] = Some(InFlightRead { queue, since: now });
        Some(submission)
    }

    /// An operation has ended.
    pub(super) fn ended(&mut self, key: u32, now: Duration) {
        let in_flight = self.in_flight.get_mut(key as usize);
        if let Some(in_flight) = in_flight.and_then(Option::take) {
            self.count -= 1;
            self.queues[in_flight.queue].ended(in_flight.since, now);
        }
    }

    /// Removes a read that is held back.
    pub(super) fn remove(&mut self, key: u32) -> Option<Op> {
        let found = self.queues.iter_mut().find_map(|queue| {
            let at = queue.held.iter().position(|(other, _)| *other == key)?;
            queue.held.remove(at)
        });
        self.held -= usize::from(found.is_some());
        found.map(|(_, op)| op)
    }

    /// Reads that are held back.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Drops the reads that are held back.
    pub(super) fn clear(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.held.clear());
        self.held = 0;
    }

    fn queue_of(&mut self, device: u64) -> usize {
        let mut known = self.queues.iter();
        known
            .position(|queue| queue.device == device)
            .unwrap_or_else(|| {
                let path = format!("/sys/dev/block/{}:{}", major(device), minor(device));
                let depth = depth_at(Path::new(&path)).unwrap_or(DEPTH_ASSUMED);
                self.queues.push(Queue {
                    device,
                    depth: depth / self.rings,
                    count: 0,
                    latency: None,
                    quiet_since: Duration::ZERO,
                    held: VecDeque::new(),
                });
                self.queues.len() - 1
            })
    }
}

/// The device that a file is on; 0 if that is not known.
pub(super) fn device_of(file: &OpenFile) -> u64 {
    fstat(file.as_fd()).map_or(0, |stat| stat.st_dev)
}

/// The depth of a block device's queue, or the smallest among the devices it consists of. This is
/// read from sysfs, without a request to the device.
fn depth_at(directory: &Path) -> Option<usize> {
    let read = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse().ok();
    let own = read(directory.join("queue/nr_requests"));
    // A partition has the queue of its disk.
    let own: Option<usize> = own.or_else(|| read(directory.join("../queue/nr_requests")));
    let parts = fs::read_dir(directory.join("slaves")).into_iter().flatten();
    let parts = parts
        .flatten()
        .filter_map(|part| depth_at(&directory.join("slaves").join(part.file_name())));
    own.into_iter().chain(parts).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const DEVICE: u64 = 0;
    const MS: Duration = Duration::from_millis(1);

    fn read() -> Op {
        // Any operation will do.
        Op::MakeSocket {
            address: "127.0.0.1:9".parse().unwrap(),
            transport: crate::io::socket_calls::Transport::Stream,
            source: None,
        }
    }

    /// Pushes reads with these keys. Returns how many are started by the loop, and how many by
    /// kernel threads.
    fn push(
        queues: &mut DeviceQueues,
        keys: std::ops::Range<u32>,
        now: Duration,
    ) -> (usize, usize) {
        for key in keys {
            queues.push(key, read(), DEVICE);
        }
        starts(queues, now)
    }

    fn starts(queues: &mut DeviceQueues, now: Duration) -> (usize, usize) {
        let (mut started, mut by_kernel) = (0, 0);
        while let Some(submission) = queues.next(now) {
            match submission {
                Submission::Plain(..) => started += 1,
                Submission::Async(..) => by_kernel += 1,
            }
        }
        (started, by_kernel)
    }

    /// The queues for one of this many rings, with a device that has proved to be fast.
    fn quick(rings: usize) -> DeviceQueues {
        let mut queues = DeviceQueues::new(rings);
        assert_eq!(push(&mut queues, 0..1, MS), (1, 0));
        queues.ended(0, 2 * MS);
        queues
    }

    #[test]
    fn the_loop_starts_one_read_on_a_slow_device() {
        let mut queues = DeviceQueues::new(1);
        assert_eq!(push(&mut queues, 0..100, MS), (1, 0));
        assert_eq!(starts(&mut queues, MS + SLOW / 2), (0, 0));
        assert_eq!(starts(&mut queues, MS + SLOW), (0, 99));
        queues.ended(0, MS + 2 * SLOW);
        assert_eq!(push(&mut queues, 0..1, MS + 2 * SLOW), (0, 1));
        // One fast answer after a slow one is not enough.
        queues.ended(0, 2 * MS + 2 * SLOW);
        assert_eq!(push(&mut queues, 0..1, 2 * MS + 2 * SLOW), (0, 1));
    }

    #[test]
    fn a_fast_device_gets_as_many_reads_as_it_has_room_for() {
        let mut queues = quick(1);
        let reads_max = DEPTH_ASSUMED * 7 / 8;
        assert_eq!(push(&mut queues, 0..100, 2 * MS), (reads_max, 0));
        assert_eq!(queues.held(), 100 - reads_max);
        queues.ended(1, 3 * MS);
        assert_eq!(starts(&mut queues, 3 * MS), (1, 0));
        assert_eq!(starts(&mut queues, 3 * MS + SLOW / 2), (0, 0));
        // The device no longer answers.
        assert_eq!(starts(&mut queues, 3 * MS + SLOW), (0, 99 - reads_max));
        assert_eq!(queues.held(), 0);
    }

    #[test]
    fn rings_share_a_queue() {
        let reads_max = |rings| push(&mut quick(rings), 0..100, 2 * MS).0;
        assert_eq!(reads_max(4), DEPTH_ASSUMED / 4 * 7 / 8);
        assert_eq!(reads_max(1000), 1);
    }

    #[test]
    fn one_device_does_not_wait_for_another() {
        let mut queues = quick(1);
        push(&mut queues, 0..100, 2 * MS);
        queues.push(100, read(), DEVICE + 1);
        assert_eq!(starts(&mut queues, 2 * MS), (1, 0));
    }

    #[test]
    fn a_read_that_was_removed_is_not_started() {
        let mut queues = quick(1);
        let reads_max = DEPTH_ASSUMED * 7 / 8;
        push(&mut queues, 0..100, 2 * MS);
        assert!(queues.remove(99).is_some());
        assert!(queues.remove(99).is_none());
        assert!(queues.remove(0).is_none());
        assert_eq!(starts(&mut queues, 2 * MS + SLOW), (0, 99 - reads_max));
    }

    #[test]
    fn the_depth_is_that_of_the_smallest_queue_behind_a_device() {
        let sysfs = tempfile::tempdir().unwrap();
        let path = |name| sysfs.path().join(name);
        for (name, requests) in [("disk", "64"), ("other", "32"), ("mapped", "128")] {
            fs::create_dir_all(path(name).join("queue")).unwrap();
            fs::write(
                path(name).join("queue/nr_requests"),
                format!("{requests}\n"),
            )
            .unwrap();
        }
        fs::create_dir_all(path("disk").join("partition")).unwrap();
        fs::create_dir_all(path("mapped").join("slaves")).unwrap();
        assert_eq!(depth_at(&path("disk")), Some(64));
        assert_eq!(depth_at(&path("disk").join("partition")), Some(64));
        assert_eq!(depth_at(&path("mapped")), Some(128));
        for name in ["disk", "other"] {
            symlink(path(name), path("mapped").join("slaves").join(name)).unwrap();
        }
        assert_eq!(depth_at(&path("mapped")), Some(32));
        assert_eq!(depth_at(&path("none")), None);
    }
}
