//! A simulated engine: scripted files, seeded order of completion, faults and latencies, and a
//! clock that moves only when nothing else can. For tests; the same seed gives the same run.

mod network;

pub use network::Network;

use super::files::FileTable;
use super::{Completion, Engine, FileId, FileKind, FileSystem, Op, Stat, Timestamp, Token, Value};
use super::{SocketOp, Wait, Wake};
use crate::clock::{self, Clock};
use crate::error::Errno;
use network::SimSocket;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A source of random numbers: splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
/// number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next_u64() % bound as u64).expect("below a usize")
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u8) -> bool {
        self.below(100) < usize::from(percent)
    }
}

/// What a simulated path leads to.
#[derive(Clone, Debug)]
pub struct SimFile {
    /// What the look-up says it is.
    pub kind: FileKind,
    /// What reads give.
    pub content: Arc<[u8]>,
    /// The size the look-up says, where that is not the content's length.
    pub said_size: Option<u64>,
    /// Where it lies.
    pub file_system: FileSystem,
    /// The open fails.
    pub open_errno: Option<Errno>,
    /// Reads at and beyond this offset fail.
    pub read_errno: Option<(u64, Errno)>,
    /// Its times are different at the end.
    pub changes: bool,
    /// Its reads never complete unless they are cancelled.
    pub hangs: bool,
}

impl SimFile {
    /// A regular file without faults.
    #[must_use]
    pub fn regular(content: Vec<u8>) -> Self {
        Self {
            kind: FileKind::Regular,
            content: content.into(),
            said_size: None,
            file_system: FileSystem::Nowait,
            open_errno: None,
            read_errno: None,
            changes: false,
            hangs: false,
        }
    }
}

/// What goes wrong that is no item's fault; how often, in percent of operations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A read gives less than it could.
    pub short_read: u8,
    /// An operation fails for a shortage that passes.
    pub shortage: u8,
    /// What hangs cannot even be cancelled.
    pub stubborn: bool,
}

/// What all simulated engines of one test share: files, clock and descriptors.
#[derive(Debug)]
pub struct World {
    files: HashMap<Vec<u8>, SimFile>,
    network: Option<Network>,
    faults: Faults,
    now_ns: AtomicU64,
    descriptors_max: usize,
    descriptors: AtomicUsize,
    descriptors_peak: AtomicUsize,
    engines: Mutex<Vec<Arc<SimHandle>>>,
}

impl World {
    /// A world in which all engines together may hold so many descriptors.
    #[must_use]
    pub fn new(files: HashMap<Vec<u8>, SimFile>, faults: Faults, descriptors_max: usize) -> Self {
        Self {
            files,
            network: None,
            faults,
            now_ns: AtomicU64::new(0),
            descriptors_max,
            descriptors: AtomicUsize::new(0),
            descriptors_peak: AtomicUsize::new(0),
            engines: Mutex::default(),
        }
    }

    /// The same world with a network.
    #[must_use]
    pub fn with(self, network: Network) -> Self {
        Self {
            network: Some(network),
            ..self
        }
    }

    /// Descriptors open now, in all engines.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.descriptors.load(Ordering::Relaxed)
    }

    /// The most descriptors that were ever open at once.
    #[must_use]
    pub fn descriptors_peak(&self) -> usize {
        self.descriptors_peak.load(Ordering::Relaxed)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns.load(Ordering::Relaxed))
    }

    /// Lets time pass, but not beyond what is due in any of the engines.
    fn advance_to(&self, time: Duration) {
        let engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        let next = engines.iter().filter_map(|engine| engine.next()).min();
        let time = next.map_or(time, |next| time.min(next));
        self.now_ns.fetch_max(clock::to_ns(time), Ordering::Relaxed);
    }

    fn open(&self) -> Result<(), Errno> {
        let before = self.descriptors.fetch_add(1, Ordering::Relaxed);
        if before >= self.descriptors_max {
            self.descriptors.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::new(libc::EMFILE));
        }
        self.descriptors_peak
            .fetch_max(before + 1, Ordering::Relaxed);
        Ok(())
    }

    fn close(&self) {
        self.descriptors.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An engine without a kernel.
pub struct SimEngine {
    world: Arc<World>,
    random: Random,
    /// Of the operations, so many need no waiting: all where everything is cached.
    at_once_percent: u8,
    files: FileTable<Handle>,
    /// When each operation completes; `None` for those that hang.
    pending: Vec<(Option<Duration>, Token, Op)>,
    handle: Arc<SimHandle>,
}

/// What is open.
#[derive(Debug)]
enum Handle {
    File(SimFile),
    Socket(SimSocket),
}

/// Lets a test look at an engine that an event loop owns.
#[derive(Debug, Default)]
pub struct SimHandle {
    woken: AtomicBool,
    outstanding: AtomicUsize,
    /// The earliest time at which something completes.
    next: Mutex<Option<Duration>>,
}

impl SimHandle {
    /// True if a wait like this would end.
    #[must_use]
    pub fn would_return(&self, wait: Wait) -> bool {
        wait != Wait::Forever || self.next().is_some() || self.woken.load(Ordering::Relaxed)
    }

    fn next(&self) -> Option<Duration> {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations submitted and not completed.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }
}

impl Wake for SimHandle {
    fn wake(&self) {
        self.woken.store(true, Ordering::Relaxed);
    }
}

impl SimEngine {
    /// An engine in this world, whose chances follow from the seed.
    #[must_use]
    pub fn new(world: Arc<World>, seed: u64) -> Self {
        let handle = Arc::new(SimHandle::default());
        let mut engines = world.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.push(Arc::clone(&handle));
        drop(engines);
        let mut random = Random::new(seed);
        let at_once_percent = if random.percent(30) { 100 } else { 20 };
        Self {
            world,
            random,
            at_once_percent,
            files: FileTable::new(),
            pending: Vec::new(),
            handle,
        }
    }

    /// For the test to look through.
    #[must_use]
    pub fn handle(&self) -> Arc<SimHandle> {
        Arc::clone(&self.handle)
    }

    fn carry_out(&mut self, op: &mut Op) -> Result<Value, Errno> {
        let spared = matches!(op, Op::Close(_) | Op::StatFile(_));
        if !spared && self.random.percent(self.world.faults.shortage) {
            // Sockets know no cancellation but our own.
            let known = if matches!(op, Op::Socket(_)) { 3 } else { 4 };
            let shortages = [libc::ENOMEM, libc::EAGAIN, libc::ENFILE, libc::ECANCELED];
            return Err(Errno::new(shortages[self.random.below(known)]));
        }
        match op {
            Op::StatPath(path) => {
                let file = self.world.files.get(path.bytes());
                let file = file.ok_or(Errno::new(libc::ENOENT))?;
                Ok(Value::Stat(stat_of(file, false)))
            }
            Op::Open {
                path, file_system, ..
            } => {
                let file = self.world.files.get(path.bytes());
                let file = file.ok_or(Errno::new(libc::ENOENT))?.clone();
                if let Some(errno) = file.open_errno {
                    return Err(errno);
                }
                self.world.open()?;
                Ok(Value::File(
                    self.files.insert(Handle::File(file), *file_system),
                ))
            }
            Op::StatFile(file) => {
                let file = self.file(*file);
                Ok(Value::Stat(stat_of(file, file.changes)))
            }
            Op::Read {
                file,
                offset,
                buffer,
                ..
            } => self.read(*file, *offset, buffer),
            Op::Close(file) => {
                self.files.remove(*file);
                self.world.close();
                Ok(Value::Done)
            }
            Op::Socket(op) => self.carry_out_at_socket(op),
        }
    }

    fn carry_out_at_socket(&mut self, op: &mut SocketOp) -> Result<Value, Errno> {
        let network = self.world.network.ok_or(Errno::new(libc::ENETDOWN))?;
        let now = self.world.now();
        match op {
            SocketOp::Make { address, transport } => {
                self.world.open()?;
                let socket = Handle::Socket(SimSocket::new(*address, *transport));
                let socket = self.files.insert(socket, FileSystem::Nowait);
                Ok(Value::File(socket))
            }
            SocketOp::Connect { .. } => Ok(Value::Done),
            SocketOp::Send { socket, bytes } => {
                let Handle::Socket(sender) = &mut self.files.get_mut(*socket).handle else {
                    unreachable!("messages are sent at sockets")
                };
                let count = sender.send(bytes, &network, now, &mut self.random);
                let next = sender.next();
                // Whoever receives there need not wait any longer than that.
                for (due, _, op) in &mut self.pending {
                    if receives_at(op) == Some(*socket) {
                        *due = next;
                    }
                }
                Ok(Value::Count(count))
            }
            SocketOp::Receive { socket, bytes } => {
                let count = self.socket(*socket).receive(bytes, now);
                count.map(Value::Count).ok_or(Errno::new(libc::ECANCELED))
            }
        }
    }

    fn file(&self, file: FileId) -> &SimFile {
        match &self.files.get(file).handle {
            Handle::File(file) => file,
            Handle::Socket(_) => unreachable!("files are no sockets"),
        }
    }

    fn socket(&mut self, socket: FileId) -> &mut SimSocket {
        match &mut self.files.get_mut(socket).handle {
            Handle::Socket(socket) => socket,
            Handle::File(_) => unreachable!("sockets are no files"),
        }
    }

    fn read(
        &mut self,
        file: FileId,
        offset: Option<u64>,
        buffer: &mut [u8],
    ) -> Result<Value, Errno> {
        let short = self.random.percent(self.world.faults.short_read);
        let part = self.random.below(100) + 1;
        let file = self.file(file);
        let offset = offset.expect("simulated files are read at an offset");
        if let Some((from, errno)) = file.read_errno
            && offset + buffer.len() as u64 > from
        {
            return Err(errno);
        }
        let start =
            usize::try_from(offset).map_or(file.content.len(), |o| o.min(file.content.len()));
        let rest = &file.content[start..];
        let mut count = rest.len().min(buffer.len());
        if short && count > 1 {
            count = (count * part / 101).max(1);
        }
        buffer[..count].copy_from_slice(&rest[..count]);
        // What a read did not fill is nobody's: make it wrong for whoever looks at it.
        buffer[count..].fill(0xa5);
        Ok(Value::Count(count))
    }

    fn complete(&mut self, at: usize) -> Completion {
        let (due, token, mut op) = self.pending.swap_remove(at);
        let result = match due {
            Some(_) => self.carry_out(&mut op),
            None => Err(Errno::new(libc::ECANCELED)),
        };
        Completion { token, op, result }
    }

    fn hangs(&self, op: &Op) -> bool {
        matches!(op, Op::Read { file, .. } if self.file(*file).hangs)
    }

    fn update_handle(&self) {
        let next = self.pending.iter().filter_map(|(due, ..)| *due).min();
        *self
            .handle
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = next;
        self.handle
            .outstanding
            .store(self.pending.len(), Ordering::Relaxed);
    }
}

/// The socket at which the operation receives, if it does.
fn receives_at(op: &Op) -> Option<FileId> {
    match op {
        Op::Socket(SocketOp::Receive { socket, .. }) => Some(*socket),
        _ => None,
    }
}

fn stat_of(file: &SimFile, changed: bool) -> Stat {
    let time = Timestamp {
        seconds: i64::from(changed),
        nanoseconds: 0,
    };
    Stat {
        kind: file.kind,
        size_bytes: file.said_size.unwrap_or(file.content.len() as u64),
        modified: time,
        changed: time,
        device: (1, 1),
        inode: file.content.as_ptr() as u64,
        file_system: file.file_system,
    }
}

impl Clock for SimEngine {
    fn now_ns(&self) -> u64 {
        self.world.now_ns.load(Ordering::Relaxed)
    }
}

impl Engine for SimEngine {
    fn try_now(&mut self, op: &mut Op) -> Option<Result<Value, Errno>> {
        if let Some(socket) = receives_at(op) {
            let now = self.world.now();
            let has_come = self.socket(socket).next().is_some_and(|at| at <= now);
            return has_come.then(|| self.carry_out(op));
        }
        let is_quick = self.random.percent(self.at_once_percent) && !self.hangs(op);
        is_quick.then(|| self.carry_out(op))
    }

    fn forget_names(&mut self) {}

    fn submit(&mut self, token: Token, op: Op) {
        let latency_us = 1 + self.random.next_u64() % (1 << self.random.below(16));
        let due = self.world.now() + Duration::from_micros(latency_us);
        let due = match receives_at(&op) {
            Some(socket) => self.socket(socket).next(),
            None if self.hangs(&op) => None,
            None => Some(due),
        };
        self.pending.push((due, token, op));
        self.update_handle();
    }

    /// Completes some of what is due, in any order. If nothing is and it may wait, time passes.
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let woken = self.handle.woken.swap(false, Ordering::Relaxed);
        let next = self.pending.iter().filter_map(|(due, ..)| *due).min();
        let limit = match wait {
            Wait::No => Some(self.world.now()),
            Wait::AtMost(duration) => Some(self.world.now() + duration),
            Wait::Forever => None,
        };
        if !woken && let Some(time) = [next, limit].into_iter().flatten().min() {
            self.world.advance_to(time);
        }
        let now = self.world.now();
        let count_max = 1 + self.random.below(8);
        for _ in 0..count_max {
            let is_due = |(_, (due, ..)): &(usize, &(Option<Duration>, Token, Op))| {
                due.is_some_and(|due| due <= now)
            };
            let due: Vec<usize> = self
                .pending
                .iter()
                .enumerate()
                .filter(is_due)
                .map(|(at, _)| at)
                .collect();
            if due.is_empty() {
                break;
            }
            let at = due[self.random.below(due.len())];
            let completion = self.complete(at);
            completions.push(completion);
        }
        self.update_handle();
        Ok(())
    }

    fn cancel(&mut self, slot: u32) {
        // Those that hang become due; whether others still complete is left to chance, as it is
        // with a kernel.
        if self.world.faults.stubborn {
            return;
        }
        let now = self.world.now();
        for at in 0..self.pending.len() {
            let (due, owner, op) = &mut self.pending[at];
            if owner.slot == slot && due.is_none() && !matches!(op, Op::Close(_)) {
                *due = Some(now);
            }
        }
        self.update_handle();
    }

    fn outstanding(&self) -> usize {
        self.pending.len()
    }

    fn open_files(&self) -> usize {
        self.files.len()
    }

    fn enters(&self) -> u64 {
        0
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.handle) as Arc<dyn Wake>
    }

    fn describe(&self) -> String {
        "simulation".to_owned()
    }
}

impl Drop for SimEngine {
    /// As the real engines: waits for everything, closes what is open.
    fn drop(&mut self) {
        while let Some(last) = self.pending.len().checked_sub(1) {
            self.complete(last);
        }
        for _ in 0..self.files.len() {
            self.world.close();
        }
        self.update_handle();
    }
}
