//! How many reads of one block device a ring has under way.
//!
//! A device's queue has places for so many requests (`nr_requests` in sysfs). A read of what is not
//! cached takes one as soon as it is submitted, or tried by a plain call, and where none is left the
//! kernel waits for one in that call, whatever flags it was given: for as long as a slow device takes, or
//! for ever if it hangs. So a loop starts no more reads than leave the queue places, and only one until a
//! device has shown to be quick: the others are held back, for reads that are submitted together are merged.
//! Where a device is slow, threads of the kernel start them.

use crate::clock;
use crate::io::op::Op;
use crate::io::open_file::OpenFile;
use rustix::fs::{fstat, major, minor};
use std::collections::VecDeque;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A device is slow if its reads take so long.
pub(super) const SLOW: Duration = Duration::from_millis(20);

/// What is assumed of the queue of a device that is none of its own, as that of a file system over several
/// disks, or not to be seen: the least that a disk has.
const DEPTH_ASSUMED: usize = 64;

/// The queues of the devices that a ring reads from.
#[derive(Debug)]
pub(super) struct DeviceQueues {
    /// Rings that share them.
    rings: usize,
    queues: Vec<Queue>,
    /// By the keys of their operations.
    under_way: Vec<Option<UnderWay>>,
    /// Reads under way in all, and reads held back.
    count: usize,
    held: usize,
}

/// A read that has taken a place.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    queue: usize,
    since: Duration,
}

#[derive(Debug)]
struct Queue {
    device: u64,
    /// The part of its places that this ring may take.
    depth: usize,
    /// Reads under way, whoever has started them.
    count: usize,
    /// The time that reads take, on a moving average; `None` before the first has ended.
    latency: Option<Duration>,
    /// Since when none has ended.
    quiet_since: Duration,
    held: VecDeque<(u32, Op)>,
}

/// What is to be done with a read.
#[derive(Debug)]
pub(super) enum Admission {
    /// Submit it.
    Start(u32, Op),
    /// Have a thread of the kernel start it.
    StartAside(u32, Op),
}

impl Queue {
    /// How many reads the loop may start. Look-ups take places, too, and where they are slow, most of them.
    fn places(&self, now: Duration) -> usize {
        match self.latency {
            _ if self.is_slow(now) => 0,
            // One, to find out.
            None => 1,
            // Where they are quick, they take few.
            Some(_) => (self.depth * 7 / 8).max(1),
        }
    }

    fn has_place(&self, now: Duration) -> bool {
        self.count < self.places(now)
    }

    /// True if its reads are known to take long, or none has ended for long.
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

    /// What is to be done about the next of the reads that are held back.
    fn admit_held(&mut self, now: Duration) -> Option<Admission> {
        let start = match self.is_slow(now) {
            true => Admission::StartAside,
            false if self.has_place(now) => Admission::Start,
            false => return None,
        };
        let (key, op) = self.held.pop_front()?;
        self.started(now);
        Some(start(key, op))
    }
}

impl DeviceQueues {
    /// For one of so many rings.
    pub(super) fn new(rings: usize) -> Self {
        Self {
            rings,
            queues: Vec::new(),
            under_way: Vec::new(),
            count: 0,
            held: 0,
        }
    }

    /// True if a plain call may start to read the file.
    pub(super) fn has_place(&mut self, file: &OpenFile) -> bool {
        if self.count == 0 {
            return true;
        }
        let now = clock::now();
        if self.queues.iter().all(|queue| queue.has_place(now)) {
            return true;
        }
        let queue = self.queue_of(device_of(file));
        self.queues[queue].has_place(now)
    }

    /// Takes a read, which may come back from [`DeviceQueues::next`] at once.
    pub(super) fn push(&mut self, key: u32, op: Op, device: u64) {
        let queue = self.queue_of(device);
        self.queues[queue].held.push_back((key, op));
        self.held += 1;
    }

    /// A read whose time has come.
    pub(super) fn next(&mut self, now: Duration) -> Option<Admission> {
        if self.held == 0 {
            return None;
        }
        let mut queues = self.queues.iter_mut().enumerate();
        let (queue, admission) =
            queues.find_map(|(at, queue)| Some((at, queue.admit_held(now)?)))?;
        self.held -= 1;
        self.count += 1;
        let (Admission::Start(key, _) | Admission::StartAside(key, _)) = &admission;
        let place = *key as usize;
        if self.under_way.len() <= place {
            self.under_way.resize(place + 1, None);
        }
        self.under_way[place] = Some(UnderWay { queue, since: now });
        Some(admission)
    }

    /// An operation has ended.
    pub(super) fn ended(&mut self, key: u32, now: Duration) {
        let under_way = self.under_way.get_mut(key as usize);
        if let Some(under_way) = under_way.and_then(Option::take) {
            self.count -= 1;
            self.queues[under_way.queue].ended(under_way.since, now);
        }
    }

    /// Takes a read out that is held back.
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

    /// Frees what is held back.
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

/// The places in the queue of a block device, or the fewest of those it is made of. Reading them asks no
/// device.
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
        // Any operation does.
        Op::MakeSocket {
            address: "127.0.0.1:9".parse().unwrap(),
            transport: crate::io::socket_calls::Transport::Stream,
            source: None,
        }
    }

    /// What becomes of reads pushed under these keys: the keys of those that start, and start aside.
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
        let (mut started, mut aside) = (0, 0);
        while let Some(admission) = queues.next(now) {
            match admission {
                Admission::Start(..) => started += 1,
                Admission::StartAside(..) => aside += 1,
            }
        }
        (started, aside)
    }

    /// Of one of so many rings, for a device that has answered quickly.
    fn quick(rings: usize) -> DeviceQueues {
        let mut queues = DeviceQueues::new(rings);
        assert_eq!(push(&mut queues, 0..1, MS), (1, 0));
        queues.ended(0, 2 * MS);
        queues
    }

    #[test]
    fn a_slow_device_gets_one_read_from_the_loop() {
        let mut queues = DeviceQueues::new(1);
        assert_eq!(push(&mut queues, 0..100, MS), (1, 0));
        assert_eq!(starts(&mut queues, MS + SLOW / 2), (0, 0));
        assert_eq!(starts(&mut queues, MS + SLOW), (0, 99));
        queues.ended(0, MS + 2 * SLOW);
        assert_eq!(push(&mut queues, 0..1, MS + 2 * SLOW), (0, 1));
        // One quick answer after a slow one is not enough.
        queues.ended(0, 2 * MS + 2 * SLOW);
        assert_eq!(push(&mut queues, 0..1, 2 * MS + 2 * SLOW), (0, 1));
    }

    #[test]
    fn a_quick_device_gets_what_it_has_places_for_and_the_rest_waits() {
        let mut queues = quick(1);
        let places = DEPTH_ASSUMED * 7 / 8;
        assert_eq!(push(&mut queues, 0..100, 2 * MS), (places, 0));
        assert_eq!(queues.held(), 100 - places);
        queues.ended(1, 3 * MS);
        assert_eq!(starts(&mut queues, 3 * MS), (1, 0));
        assert_eq!(starts(&mut queues, 3 * MS + SLOW / 2), (0, 0));
        // It answers no more.
        assert_eq!(starts(&mut queues, 3 * MS + SLOW), (0, 99 - places));
        assert_eq!(queues.held(), 0);
    }

    #[test]
    fn rings_share_a_queue() {
        let places = |rings| push(&mut quick(rings), 0..100, 2 * MS).0;
        assert_eq!(places(4), DEPTH_ASSUMED / 4 * 7 / 8);
        assert_eq!(places(1000), 1);
    }

    #[test]
    fn one_device_does_not_wait_for_another() {
        let mut queues = quick(1);
        push(&mut queues, 0..100, 2 * MS);
        queues.push(100, read(), DEVICE + 1);
        assert_eq!(starts(&mut queues, 2 * MS), (1, 0));
    }

    #[test]
    fn what_is_taken_out_is_not_started() {
        let mut queues = quick(1);
        let places = DEPTH_ASSUMED * 7 / 8;
        push(&mut queues, 0..100, 2 * MS);
        assert!(queues.remove(99).is_some());
        assert!(queues.remove(99).is_none());
        assert!(queues.remove(0).is_none());
        assert_eq!(starts(&mut queues, 2 * MS + SLOW), (0, 99 - places));
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
