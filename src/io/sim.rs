//! A simulated carrier: scripted files, seeded order of completion, faults and latencies, and a
//! clock that advances only when nothing else can happen. For tests; the same seed gives the same
//! run.

mod network;
mod random;

pub use network::{Framing, Greeting, Layer, Network, SentMessage};
pub use random::Random;

use super::buffer::Buffer;
use super::carrier::{Attempt, Carrier, Wait, Wake};
use super::metadata::{FileKind, SpecialKind, Stat, Timestamp};
use super::mounts::FileSystem;
use super::op::{Completion, Op, Outcome, Value};
use super::open_file::{Handle, OpenFile, Simulated};
use crate::clock::{self, Clock};
use crate::error::Errno;
use crate::item::Item;
use crate::lock::lock;
use network::SimSocket;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a simulated path leads to.
#[derive(Clone, Debug)]
pub struct SimFile {
    /// The kind that the look-up reports.
    pub kind: FileKind,
    /// The content that reads return.
    pub content: Arc<[u8]>,
    /// The size that the look-up reports, where that is not the content's length.
    pub reported_size: Option<u64>,
    /// The file system that it is on.
    pub file_system: FileSystem,
    /// The open fails.
    pub open_errno: Option<Errno>,
    /// Reads at and beyond this offset fail.
    pub read_errno: Option<(u64, Errno)>,
    /// A difference that appears after the look-up.
    pub quirk: Option<Quirk>,
    /// Its reads never complete unless they are cancelled.
    pub hangs: bool,
}

/// A difference that appears after a file was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// Its modification time has changed at the end.
    LaterModified,
    /// Its change time has changed at the end.
    LaterChanged,
    /// Its size has changed at the end.
    Grown,
    /// This many opens in a row lead to another file.
    Replaced(u8),
    /// The open leads to a device whose content never ends.
    Device,
    /// The stat of the open file fails.
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
            reported_size: None,
            file_system: FileSystem::Nowait,
            open_errno: None,
            read_errno: None,
            quirk: None,
            hangs: false,
        }
    }
}

/// Faults that no item causes, and how often they occur, in percent of operations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A read returns less than it could.
    pub short_read: u8,
    /// An operation fails with an errno of exhaustion that does not last.
    pub exhaustion: u8,
    /// Operations that hang cannot even be cancelled.
    pub uncancellable: bool,
}

/// What all simulated carriers of one test share: files, clock and descriptors.
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
    handles: Mutex<Vec<Arc<SimHandle>>>,
    connections: Mutex<HashMap<SocketAddr, Connections>>,
}

/// The connected streams to a server.
#[derive(Clone, Copy, Debug, Default)]
struct Connections {
    open: usize,
    peak: usize,
}

impl World {
    /// A world in which all carriers together may have `descriptors_max` descriptors open.
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
            handles: Mutex::default(),
            connections: Mutex::default(),
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

    /// Descriptors open now, in all carriers.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.descriptors.load(Ordering::Relaxed)
    }

    /// The most descriptors that were ever open at once.
    #[must_use]
    pub fn descriptors_peak(&self) -> usize {
        self.descriptors_peak.load(Ordering::Relaxed)
    }

    /// The most streams that were ever connected to a server at once.
    #[must_use]
    pub fn connections_peak(&self, server: SocketAddr) -> usize {
        lock(&self.connections)
            .get(&server)
            .map_or(0, |connections| connections.peak)
    }

    fn connected(&self, server: SocketAddr) {
        let mut connections = lock(&self.connections);
        let connections = connections.entry(server).or_default();
        connections.open += 1;
        connections.peak = connections.peak.max(connections.open);
    }

    fn disconnected(&self, server: SocketAddr) {
        lock(&self.connections).entry(server).or_default().open -= 1;
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns.load(Ordering::Relaxed))
    }

    /// Advances the clock, but not beyond the next completion of any carrier.
    fn advance_to(&self, time: Duration) {
        let handles = lock(&self.handles);
        let next = handles.iter().filter_map(|handle| handle.next()).min();
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

/// Errnos of exhaustion, real or apparent, of file operations.
const FILE_ERRNOS: [i32; 4] = [libc::ENOMEM, libc::EAGAIN, libc::ECANCELED, libc::ENFILE];

/// Those of file operations that need no descriptor.
const READ_ERRNOS: &[i32] = &[libc::ENOMEM, libc::EAGAIN, libc::ECANCELED];

/// Those of socket operations. ECANCELED is not one of them: only our own cancellation causes it
/// there.
const SOCKET_ERRNOS: &[i32] = &[libc::ENOMEM, libc::EAGAIN, libc::ENFILE];

/// A carrier without a kernel.
pub struct SimCarrier {
    world: Arc<World>,
    random: Random,
    /// It belongs to a worker, whose operations never wait.
    is_worker: bool,
    /// Percentage of operations that need no waiting: 100 where everything is cached.
    at_once_percent: u8,
    /// When each operation completes; `None` for those that hang.
    pending: Vec<(Option<Duration>, u32, Op)>,
    /// Injected exhaustion errors of file operations that [`Carrier::is_exhausted`] has not
    /// confirmed yet.
    unconfirmed: usize,
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
        /// Where the next read without an offset begins.
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
        if let Opened::Socket(socket) = &self.what
            && let Some(server) = socket.borrow().peer()
        {
            self.world.disconnected(server);
        }
        self.world.close();
    }
}

fn opened(file: &OpenFile) -> &Opened {
    match &file.handle {
        Handle::Simulated(open) => {
            let open: Option<&Open> = open.as_any().downcast_ref();
            &open.expect("the file belongs to this simulation").what
        }
        Handle::Descriptor(_) => unreachable!("the simulation opens nothing real"),
    }
}

/// Lets a test observe a carrier that an event loop owns.
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
    /// Messages that were sent to servers since the last call.
    #[must_use]
    pub fn take_sent(&self) -> Vec<SentMessage> {
        std::mem::take(&mut *lock(&self.sent))
    }

    /// Operations submitted and not completed, except receives, which wait for a peer.
    #[must_use]
    pub fn to_be_done(&self) -> usize {
        self.to_be_done.load(Ordering::Relaxed)
    }

    /// True if a wait like this would end.
    #[must_use]
    pub fn would_return(&self, wait: Wait) -> bool {
        wait != Wait::Forever || self.next().is_some() || self.is_woken()
    }

    /// True if the next wait ends at once because the loop was woken.
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }

    /// When the first of the pending operations completes.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        *lock(&self.next)
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
    /// A carrier in this world, whose random choices follow from the seed.
    #[must_use]
    pub fn new(world: Arc<World>, seed: u64) -> Self {
        let handle = Arc::new(SimHandle::default());
        let mut handles = lock(&world.handles);
        handles.push(Arc::clone(&handle));
        drop(handles);
        let mut random = Random::new(seed);
        let at_once_percent = if random.percent(30) { 100 } else { 20 };
        Self {
            world,
            random,
            is_worker: false,
            at_once_percent,
            pending: Vec::new(),
            unconfirmed: 0,
            handle,
        }
    }

    /// The same with this percentage of operations that need no waiting: 100 where everything is
    /// cached.
    #[must_use]
    pub fn at_once_percent(mut self, at_once_percent: u8) -> Self {
        self.at_once_percent = at_once_percent;
        self
    }

    /// A carrier for a worker.
    #[must_use]
    pub fn for_worker(world: Arc<World>, seed: u64) -> Self {
        let mut carrier = Self::new(world, seed);
        carrier.is_worker = true;
        carrier
    }

    /// The handle through which a test observes it.
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

    /// Makes an operation fail with one of these errnos of exhaustion, at random.
    fn inject_exhaustion(&mut self, errnos: &[i32]) -> Result<(), Errno> {
        if !self.random.percent(self.world.faults.exhaustion) {
            return Ok(());
        }
        let errno = errnos[self.random.below(errnos.len())];
        Err(Errno::new(errno))
    }

    /// The same for a file operation.
    fn inject_exhaustion_at_file(&mut self, errnos: &[i32]) -> Result<(), Errno> {
        let injected = self.inject_exhaustion(errnos);
        self.unconfirmed += usize::from(injected.is_err());
        injected
    }

    fn look_up_file(&mut self, path: &Item) -> Result<Stat, Errno> {
        // A worker needs no descriptor for this.
        let errnos = if self.is_worker {
            READ_ERRNOS
        } else {
            &FILE_ERRNOS
        };
        self.inject_exhaustion_at_file(errnos)?;
        let file = self.world.files.get(path.bytes());
        Ok(stat_of(file.ok_or(Errno::new(libc::ENOENT))?))
    }

    fn open_file(&mut self, path: &Item, file_system: FileSystem) -> Result<OpenFile, Errno> {
        self.inject_exhaustion_at_file(&FILE_ERRNOS)?;
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
        self.inject_exhaustion_at_file(READ_ERRNOS)?;
        let Opened::File { file, position, .. } = opened(file) else {
            unreachable!("sockets are no files")
        };
        let count = self.content(file, offset.unwrap_or(position.get()), buffer)?;
        position.set(position.get() + count as u64);
        Ok(count)
    }

    fn at_socket(&mut self, op: &mut Op) -> Outcome {
        self.inject_exhaustion(SOCKET_ERRNOS)?;
        match op {
            Op::MakeSocket {
                address, transport, ..
            } => {
                self.world.network.ok_or(Errno::new(libc::ENETDOWN))?;
                let socket = SimSocket::new(*address, *transport);
                let socket = Opened::Socket(RefCell::new(socket));
                self.hold_open(socket, FileSystem::Nowait).map(Value::File)
            }
            Op::Connect { socket, .. } => {
                let network = self.world.network.ok_or(Errno::new(libc::ENETDOWN))?;
                let mut socket = sim_socket(socket).borrow_mut();
                // Only a cancelled one gets here without a result.
                let result = socket.connected(&network);
                result.unwrap_or(Err(Errno::new(libc::ECANCELED)))?;
                socket.set_connected(&network, self.world.now());
                if let Some(server) = socket.peer() {
                    self.world.connected(server);
                }
                Ok(Value::Done)
            }
            Op::Send { socket, bytes } => {
                let network = self.world.network.ok_or(Errno::new(libc::ENETDOWN))?;
                let now = self.world.now();
                let mut sender = sim_socket(socket).borrow_mut();
                let mut log = lock(&self.handle.sent);
                let count = sender.send(bytes, &network, now, &mut self.random, &mut log);
                drop(log);
                let next = sender.next();
                // Receives that wait at this socket complete then.
                for (due, _, op) in &mut self.pending {
                    if receives_at(op).is_some_and(|other| std::ptr::eq(other, &**socket)) {
                        *due = next;
                    }
                }
                drop(sender);
                self.update_handle();
                count.map(Value::Count)
            }
            Op::Receive { socket, bytes } => {
                let now = self.world.now();
                let received = sim_socket(socket).borrow_mut().receive(bytes, now);
                let count = received.unwrap_or(Err(Errno::new(libc::ECANCELED)))?;
                Ok(Value::Count(count))
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
            until_closed: None,
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
        // The bytes that a read did not fill are undefined: overwrite them, so that using them
        // fails a test.
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

    /// True for a connect to a server that does not react.
    fn never_completes(&self, op: &Op) -> bool {
        match (op, &self.world.network) {
            (Op::Connect { socket, .. }, Some(network)) => {
                sim_socket(socket).borrow().connected(network).is_none()
            }
            _ => false,
        }
    }

    /// Decides at random whether an operation needs no waiting.
    fn is_quick(&mut self) -> bool {
        self.is_worker || self.random.percent(self.at_once_percent)
    }

    fn update_handle(&self) {
        let next = self.pending.iter().filter_map(|(due, ..)| *due).min();
        *lock(&self.handle.next) = next;
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
                let mut replaced = lock(&self.replaced);
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

fn hangs(file: &OpenFile) -> bool {
    matches!(opened(file), Opened::File { file, .. } if file.hangs)
}

/// The socket of a receive.
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
        size_bytes: file.reported_size.unwrap_or(file.content.len() as u64),
        modified: Timestamp::default(),
        changed: Timestamp::default(),
        device: (1, 1),
        inode: file.content.as_ptr() as u64,
        nlink: 1,
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
        // This is not always known before.
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
            _ if self.never_completes(op) => false,
            _ => self.is_quick(),
        };
        match is_quick {
            true => Attempt::Done(self.at_socket(op)),
            false => Attempt::Submit,
        }
    }

    fn is_exhausted(&mut self, errno: Errno) -> bool {
        let is_injected = self.unconfirmed > 0;
        self.unconfirmed -= usize::from(is_injected);
        is_injected || (errno.is_descriptor_exhaustion() && self.world.is_full())
    }

    fn leave_directory(&mut self) {}

    fn submit(&mut self, key: u32, op: Op) {
        let latency_us = 1 + self.random.next_u64() % (1 << self.random.below(16));
        let due = self.world.now() + Duration::from_micros(latency_us);
        let due = match &op {
            Op::Receive { socket, .. } => sim_socket(socket).borrow().next(),
            Op::Read { file, .. } if hangs(file) => None,
            _ if self.never_completes(&op) => None,
            _ => Some(due),
        };
        self.pending.push((due, key, op));
        self.update_handle();
    }

    /// Completes some of the operations that are due, in random order. If none is and it may wait,
    /// the clock advances.
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
        // Operations that hang become due. Others complete as if they had not been cancelled, as
        // they may with a kernel.
        if self.world.faults.uncancellable {
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
    /// Waits for all operations, as the real carriers do.
    fn drop(&mut self) {
        while let Some(last) = self.pending.len().checked_sub(1) {
            self.complete(last);
        }
        self.update_handle();
    }
}
