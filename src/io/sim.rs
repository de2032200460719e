//! A simulated engine: scripted files, seeded order of completion, faults and latencies, and a
//! clock that moves only when nothing else can. For tests; the same seed gives the same run.

mod network;

pub use network::{Network, SentMessage};

use super::buffer::Buffer;
use super::carrier::{Attempt, Carrier, Wait, Wake};
use super::metadata::{FileKind, SpecialKind, Stat, Timestamp};
use super::mounts::FileSystem;
use super::op::{Completion, Op, Outcome, Value};
use super::open_file::{Handle, OpenFile, Simulated};
use crate::clock::{self, Clock};
use crate::error::Errno;
use crate::item::Item;
use network::SimSocket;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// What is different once it is open.
    pub quirk: Option<Quirk>,
    /// Its reads never complete unless they are cancelled.
    pub hangs: bool,
}

/// What a file does after it was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// Its time of modification is different at the end.
    LaterModified,
    /// Its time of change is different at the end.
    LaterChanged,
    /// Its size is different at the end.
    Grown,
    /// So many times in a row, the path leads to another file once it is opened.
    Replaced(u8),
    /// The path leads to a device without end once it is opened.
    Device,
    /// The look at the open file fails.
    StatFails,
    /// The close fails.
    CloseFails,
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
            quirk: None,
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
    /// How often each path has led to another file.
    replaced: Mutex<HashMap<Vec<u8>, u8>>,
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
            replaced: Mutex::default(),
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

    fn is_full(&self) -> bool {
        self.descriptors() >= self.descriptors_max
    }

    fn close(&self) {
        self.descriptors.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What may be exhausted, or seem to be, at a file.
const FILE_SHORTAGES: [i32; 4] = [libc::ENOMEM, libc::EAGAIN, libc::ECANCELED, libc::ENFILE];

/// The same where no descriptor is needed.
const READ_SHORTAGES: &[i32] = &[libc::ENOMEM, libc::EAGAIN, libc::ECANCELED];

/// Sockets know no cancellation but our own.
const SOCKET_SHORTAGES: &[i32] = &[libc::ENOMEM, libc::EAGAIN, libc::ENFILE];

/// A carrier without a kernel.
pub struct SimCarrier {
    world: Arc<World>,
    random: Random,
    /// It serves a worker, which does everything at once.
    is_worker: bool,
    /// Of the operations, so many need no waiting: all where everything is cached.
    at_once_percent: u8,
    /// When each operation completes; `None` for those that hang.
    pending: Vec<(Option<Duration>, u32, Op)>,
    /// Of the file operations that have failed by chance, so many have not been explained yet.
    unexplained: usize,
    handle: Arc<SimHandle>,
}

/// An open simulated file or socket.
#[derive(Debug)]
struct Open {
    world: Arc<World>,
    what: Opened,
}

#[derive(Debug)]
enum Opened {
    File {
        name: Vec<u8>,
        file: SimFile,
        /// Where a read without an offset goes on.
        position: Cell<u64>,
    },
    Socket(RefCell<SimSocket>),
}

impl Simulated for Open {
    fn close(self: Box<Self>) -> Result<(), Errno> {
        match &self.what {
            Opened::File { file, .. } if file.quirk == Some(Quirk::CloseFails) => {
                Err(Errno::new(libc::EIO))
            }
            _ => Ok(()),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.world.close();
    }
}

fn opened(file: &OpenFile) -> &Opened {
    match &file.handle {
        Handle::Simulated(open) => {
            let open: Option<&Open> = open.as_any().downcast_ref();
            &open.expect("one simulation").what
        }
        Handle::Descriptor(_) => unreachable!("the simulation opens nothing real"),
    }
}

/// Lets a test look at an engine that an event loop owns.
#[derive(Debug, Default)]
pub struct SimHandle {
    woken: AtomicBool,
    outstanding: AtomicUsize,
    /// Of these, operations other than receives.
    to_be_done: AtomicUsize,
    /// The earliest time at which something completes.
    next: Mutex<Option<Duration>>,
    sent: Mutex<Vec<SentMessage>>,
}

impl SimHandle {
    /// Messages that went to servers since the last call.
    #[must_use]
    pub fn take_sent(&self) -> Vec<SentMessage> {
        std::mem::take(&mut *lock(&self.sent))
    }

    /// Operations submitted and not completed, but for those that wait for somebody else to send.
    #[must_use]
    pub fn to_be_done(&self) -> usize {
        self.to_be_done.load(Ordering::Relaxed)
    }

    /// True if a wait like this would end.
    #[must_use]
    pub fn would_return(&self, wait: Wait) -> bool {
        wait != Wait::Forever || self.next().is_some() || self.is_woken()
    }

    /// True if the next wait ends at once because somebody has woken the loop.
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }

    /// When the first of the pending operations completes.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
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

impl SimCarrier {
    /// A carrier in this world, whose chances follow from the seed.
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
            is_worker: false,
            at_once_percent,
            pending: Vec::new(),
            unexplained: 0,
            handle,
        }
    }

    /// The same where of 100 operations so many need no waiting: all where everything is cached.
    #[must_use]
    pub fn at_once_percent(mut self, at_once_percent: u8) -> Self {
        self.at_once_percent = at_once_percent;
        self
    }

    /// The same for a worker.
    #[must_use]
    pub fn for_worker(world: Arc<World>, seed: u64) -> Self {
        let mut carrier = Self::new(world, seed);
        carrier.is_worker = true;
        carrier
    }

    /// For the test to look through.
    #[must_use]
    pub fn handle(&self) -> Arc<SimHandle> {
        Arc::clone(&self.handle)
    }

    fn carry_out(&mut self, op: &mut Op) -> Outcome {
        match op {
            Op::StatPath { path, found } => {
                *found = Some(self.look_up_file(path)?);
                Ok(Value::Done)
            }
            Op::Open {
                path, file_system, ..
            } => self.open_file(path, *file_system).map(Value::File),
            Op::StatFile { file, found } => {
                *found = Some(self.stat_file(file)?);
                Ok(Value::Done)
            }
            Op::Read {
                file,
                offset,
                buffer,
                ..
            } => self.read_file(file, *offset, buffer).map(Value::Count),
            _ => self.at_socket(op),
        }
    }

    /// By chance, an operation fails for one of these shortages.
    fn lack(&mut self, shortages: &[i32]) -> Result<(), Errno> {
        if !self.random.percent(self.world.faults.shortage) {
            return Ok(());
        }
        let errno = shortages[self.random.below(shortages.len())];
        Err(Errno::new(errno))
    }

    /// The same at a file.
    fn lack_for_file(&mut self, shortages: &[i32]) -> Result<(), Errno> {
        let lack = self.lack(shortages);
        self.unexplained += usize::from(lack.is_err());
        lack
    }

    fn look_up_file(&mut self, path: &Item) -> Result<Stat, Errno> {
        // A worker does without a descriptor.
        let shortages = if self.is_worker {
            READ_SHORTAGES
        } else {
            &FILE_SHORTAGES
        };
        self.lack_for_file(shortages)?;
        let file = self.world.files.get(path.bytes());
        Ok(stat_of(file.ok_or(Errno::new(libc::ENOENT))?))
    }

    fn open_file(&mut self, path: &Item, file_system: FileSystem) -> Result<OpenFile, Errno> {
        self.lack_for_file(&FILE_SHORTAGES)?;
        let name = path.bytes().to_vec();
        let file = self.world.files.get(&name);
        let file = file.ok_or(Errno::new(libc::ENOENT))?.clone();
        if let Some(errno) = file.open_errno {
            return Err(errno);
        }
        let position = Cell::new(0);
        let what = Opened::File {
            name,
            file,
            position,
        };
        self.hold_open(what, file_system)
    }

    fn stat_file(&self, file: &OpenFile) -> Result<Stat, Errno> {
        let Opened::File { name, file, .. } = opened(file) else {
            unreachable!("sockets are no files")
        };
        self.world.stat_open(name, file)
    }

    fn read_file(
        &mut self,
        file: &OpenFile,
        offset: Option<u64>,
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        self.lack_for_file(READ_SHORTAGES)?;
        let Opened::File { file, position, .. } = opened(file) else {
            unreachable!("sockets are no files")
        };
        let count = self.content(file, offset.unwrap_or(position.get()), buffer)?;
        position.set(position.get() + count as u64);
        Ok(count)
    }

    fn at_socket(&mut self, op: &mut Op) -> Outcome {
        self.lack(SOCKET_SHORTAGES)?;
        match op {
            Op::MakeSocket {
                address, transport, ..
            } => {
                self.world.network.ok_or(Errno::new(libc::ENETDOWN))?;
                let socket = SimSocket::new(*address, *transport);
                let socket = Opened::Socket(RefCell::new(socket));
                self.hold_open(socket, FileSystem::Nowait).map(Value::File)
            }
            Op::Connect { .. } => Ok(Value::Done),
            Op::Send { socket, bytes } => {
                let network = self.world.network.ok_or(Errno::new(libc::ENETDOWN))?;
                let now = self.world.now();
                let mut sender = sim_socket(socket).borrow_mut();
                let mut log = lock(&self.handle.sent);
                let count = sender.send(bytes, &network, now, &mut self.random, &mut log);
                drop(log);
                let next = sender.next();
                // Whoever receives there need not wait any longer than that.
                for (due, _, op) in &mut self.pending {
                    if receives_at(op).is_some_and(|other| std::ptr::eq(other, &**socket)) {
                        *due = next;
                    }
                }
                Ok(Value::Count(count))
            }
            Op::Receive { socket, bytes } => {
                let now = self.world.now();
                let count = sim_socket(socket).borrow_mut().receive(bytes, now);
                count.map(Value::Count).ok_or(Errno::new(libc::ECANCELED))
            }
            _ => unreachable!("files have operations of their own"),
        }
    }

    fn hold_open(&self, what: Opened, file_system: FileSystem) -> Result<OpenFile, Errno> {
        self.world.open()?;
        let handle = Handle::Simulated(Box::new(Open {
            world: Arc::clone(&self.world),
            what,
        }));
        Ok(OpenFile {
            handle,
            file_system,
        })
    }

    fn content(&mut self, file: &SimFile, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let short = self.random.percent(self.world.faults.short_read);
        let part = self.random.below(100) + 1;
        if let Some((from, errno)) = file.read_errno
            && offset + buffer.len() as u64 > from
        {
            return Err(errno);
        }
        let start =
            usize::try_from(offset).map_or(file.content.len(), |o| o.min(file.content.len()));
        let rest = &file.content[start..];
        if file.quirk == Some(Quirk::Device) {
            buffer.fill(0);
            return Ok(buffer.len());
        }
        let mut count = rest.len().min(buffer.len());
        if short && count > 1 {
            count = (count * part / 101).max(1);
        }
        buffer[..count].copy_from_slice(&rest[..count]);
        // What a read did not fill is nobody's: make it wrong for whoever looks at it.
        buffer[count..].fill(0xa5);
        Ok(count)
    }

    fn complete(&mut self, at: usize) -> Completion {
        let (due, key, mut op) = self.pending.swap_remove(at);
        let outcome = match due {
            Some(_) => self.carry_out(&mut op),
            None => Err(Errno::new(libc::ECANCELED)),
        };
        Completion { key, op, outcome }
    }

    /// By chance, an operation needs no waiting.
    fn is_quick(&mut self) -> bool {
        self.is_worker || self.random.percent(self.at_once_percent)
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
        let receives = self
            .pending
            .iter()
            .filter(|(.., op)| receives_at(op).is_some());
        let to_be_done = self.pending.len() - receives.count();
        self.handle.to_be_done.store(to_be_done, Ordering::Relaxed);
    }
}

impl World {
    /// The metadata of a file once it is open.
    fn stat_open(&self, name: &[u8], file: &SimFile) -> Result<Stat, Errno> {
        let mut stat = stat_of(file);
        match file.quirk {
            Some(Quirk::LaterModified) => stat.modified.nanoseconds += 1,
            Some(Quirk::LaterChanged) => stat.changed.nanoseconds += 1,
            Some(Quirk::Grown) => stat.size_bytes += 1,
            Some(Quirk::Device) => {
                stat.kind = FileKind::Special(SpecialKind::CharacterDevice);
                stat.inode += 1;
            }
            Some(Quirk::StatFails) => return Err(Errno::new(libc::EIO)),
            Some(Quirk::Replaced(times)) => {
                let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
                let so_far = replaced.entry(name.to_vec()).or_default();
                if *so_far < times {
                    *so_far += 1;
                    stat.inode += 1;
                }
            }
            Some(Quirk::CloseFails) | None => {}
        }
        Ok(stat)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hangs(file: &OpenFile) -> bool {
    matches!(opened(file), Opened::File { file, .. } if file.hangs)
}

/// The socket at which the operation receives, if it does.
fn receives_at(op: &Op) -> Option<&OpenFile> {
    match op {
        Op::Receive { socket, .. } => Some(socket),
        _ => None,
    }
}

fn sim_socket(file: &OpenFile) -> &RefCell<SimSocket> {
    match opened(file) {
        Opened::Socket(socket) => socket,
        Opened::File { .. } => unreachable!("files are no sockets"),
    }
}

fn stat_of(file: &SimFile) -> Stat {
    Stat {
        kind: file.kind,
        size_bytes: file.said_size.unwrap_or(file.content.len() as u64),
        modified: Timestamp::default(),
        changed: Timestamp::default(),
        device: (1, 1),
        inode: file.content.as_ptr() as u64,
        file_system: file.file_system,
    }
}

impl Clock for SimCarrier {
    fn now_ns(&self) -> u64 {
        self.world.now_ns.load(Ordering::Relaxed)
    }
}

impl Carrier for SimCarrier {
    fn look_up(&mut self, path: &Item) -> Attempt<Stat> {
        let file = self.world.files.get(path.bytes());
        let may_block = file.is_some_and(|file| file.file_system == FileSystem::Blocking);
        // Not always is that known before.
        if may_block && !self.is_worker && self.random.percent(50) {
            return Attempt::Block;
        }
        match self.is_quick() {
            true => Attempt::Done(self.look_up_file(path)),
            false => Attempt::Submit,
        }
    }

    fn open(&mut self, path: &Item, _: bool, file_system: FileSystem) -> Attempt<OpenFile> {
        if file_system == FileSystem::Blocking && !self.is_worker {
            return Attempt::Block;
        }
        match self.is_quick() {
            true => Attempt::Done(self.open_file(path, file_system)),
            false => Attempt::Submit,
        }
    }

    fn stat(&mut self, file: &OpenFile) -> Attempt<Stat> {
        Attempt::Done(self.stat_file(file))
    }

    fn read(
        &mut self,
        file: &OpenFile,
        offset: Option<u64>,
        buffer: &mut Buffer,
        _: bool,
    ) -> Attempt<usize> {
        match self.is_worker || (self.is_quick() && !hangs(file)) {
            true => Attempt::Done(self.read_file(file, offset, buffer)),
            false => Attempt::Submit,
        }
    }

    fn try_socket(&mut self, op: &mut Op) -> Attempt<Value> {
        let is_quick = match op {
            Op::MakeSocket { .. } => true,
            Op::Receive { socket, .. } => {
                let next = sim_socket(socket).borrow().next();
                next.is_some_and(|at| at <= self.world.now())
            }
            _ => self.is_quick(),
        };
        match is_quick {
            true => Attempt::Done(self.at_socket(op)),
            false => Attempt::Submit,
        }
    }

    fn is_exhausted(&mut self, errno: Errno) -> bool {
        let by_chance = self.unexplained > 0;
        self.unexplained -= usize::from(by_chance);
        by_chance || (errno.is_descriptor_shortage() && self.world.is_full())
    }

    fn forget_names(&mut self) {}

    fn submit(&mut self, key: u32, op: Op) {
        let latency_us = 1 + self.random.next_u64() % (1 << self.random.below(16));
        let due = self.world.now() + Duration::from_micros(latency_us);
        let due = match &op {
            Op::Receive { socket, .. } => sim_socket(socket).borrow().next(),
            Op::Read { file, .. } if hangs(file) => None,
            _ => Some(due),
        };
        self.pending.push((due, key, op));
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
            let is_due = |(_, (due, ..)): &(usize, &(Option<Duration>, u32, Op))| {
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

    fn cancel(&mut self, key: u32) {
        // Those that hang become due; whether others still complete is left to chance, as it is
        // with a kernel.
        if self.world.faults.stubborn {
            return;
        }
        let now = self.world.now();
        for (due, other, _) in &mut self.pending {
            if *other == key && due.is_none() {
                *due = Some(now);
            }
        }
        self.update_handle();
    }

    fn outstanding(&self) -> usize {
        self.pending.len()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.handle) as Arc<dyn Wake>
    }

    fn describe(&self) -> String {
        "simulation".to_owned()
    }
}

impl Drop for SimCarrier {
    /// As the real ones: waits for everything.
    fn drop(&mut self) {
        while let Some(last) = self.pending.len().checked_sub(1) {
            self.complete(last);
        }
        self.update_handle();
    }
}
