//! A small file system in user space whose files follow a script: errors, delays, hangs, short
//! reads, contents that change between two reads.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData,
    ReplyEmpty, ReplyEntry, ReplyOpen, Request,
};
use rustix::mount::UnmountFlags;
use tempfile::TempDir;

pub use fuser::Errno;

/// What happens to a file once the read of its beginning has been answered. The pieces of one long read
/// may be requested in any order.
#[derive(Clone, Debug)]
pub enum Change {
    /// It ends where that read ended.
    EndsThere,
    /// These bytes are appended.
    Grows(Vec<u8>),
    /// Its mtime moves by a nanosecond; size and content stay.
    Touched,
}

/// How one file behaves.
#[derive(Clone)]
pub struct Script {
    content: Vec<u8>,
    claimed_size: Option<u64>,
    direct: bool,
    open_error: Option<(Errno, usize)>,
    read_error: Option<(u64, Errno)>,
    first_read_error: Option<Errno>,
    longest_read: usize,
    delay: Duration,
    gate: Option<Gate>,
    look_up_gate: Option<Gate>,
    open_gate: Option<Gate>,
    name_is_cached: bool,
    change: Option<Change>,
}

impl Script {
    /// An ordinary file. Its reads go through the page cache.
    pub fn new(content: impl Into<Vec<u8>>) -> Self {
        Script {
            content: content.into(),
            claimed_size: None,
            direct: false,
            open_error: None,
            read_error: None,
            first_read_error: None,
            longest_read: usize::MAX,
            delay: Duration::ZERO,
            gate: None,
            look_up_gate: None,
            open_gate: None,
            name_is_cached: false,
            change: None,
        }
    }

    /// Every read call reaches the script, without the page cache.
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// `st_size` is this instead. Without the page cache, which would rely on it.
    pub fn claims(mut self, size: u64) -> Self {
        self.claimed_size = Some(size);
        self.direct()
    }

    pub fn fails_open(self, errno: Errno) -> Self {
        self.fails_opens(errno, usize::MAX)
    }

    /// The first `times` opens fail.
    pub fn fails_opens(mut self, errno: Errno, times: usize) -> Self {
        self.open_error = Some((errno, times));
        self
    }

    /// The first read fails, later ones do not.
    pub fn fails_first_read(mut self, errno: Errno) -> Self {
        self.first_read_error = Some(errno);
        self.direct()
    }

    /// Bytes before `offset` are readable; reads from there on fail with `errno`.
    pub fn fails_read(mut self, offset: u64, errno: Errno) -> Self {
        self.read_error = Some((offset, errno));
        self
    }

    /// A read returns this many bytes at most.
    pub fn short_reads(mut self, longest: usize) -> Self {
        self.longest_read = longest;
        self.direct()
    }

    /// Every read takes this long.
    pub fn slow(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Reads hang until the gate opens.
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Look-ups of the name hang until the gate opens.
    pub fn looked_up_behind(mut self, gate: &Gate) -> Self {
        self.look_up_gate = Some(gate.clone());
        self
    }

    /// The kernel remembers the name once it has been looked up, but opens hang until the gate
    /// opens.
    pub fn opened_behind(mut self, gate: &Gate) -> Self {
        self.open_gate = Some(gate.clone());
        self.name_is_cached = true;
        self
    }

    pub fn changes(mut self, change: Change) -> Self {
        self.change = Some(change);
        self.direct()
    }
}

/// Holds calls back until it is opened.
#[derive(Clone, Default)]
pub struct Gate {
    inner: Arc<(Mutex<GateState>, Condvar)>,
}

#[derive(Default)]
struct GateState {
    open: bool,
    held: VecDeque<Box<dyn FnOnce() + Send>>,
}

impl Gate {
    pub fn new() -> Self {
        Gate::default()
    }

    /// The number of calls that wait here.
    pub fn waiting(&self) -> usize {
        self.inner.0.lock().unwrap().held.len()
    }

    /// Waits until a call hangs here.
    #[track_caller]
    pub fn wait_for_a_reader(&self) {
        let patience = Duration::from_secs(20);
        let state = self.inner.0.lock().unwrap();
        let (state, _) = self
            .inner
            .1
            .wait_timeout_while(state, patience, |s| s.held.is_empty())
            .unwrap();
        assert!(!state.held.is_empty(), "no call hangs within {patience:?}");
    }

    /// Lets all calls pass, now and later.
    pub fn open(&self) {
        let held = {
            let mut state = self.inner.0.lock().unwrap();
            state.open = true;
            std::mem::take(&mut state.held)
        };
        held.into_iter().for_each(|answer| answer());
    }

    fn pass(&self, answer: Box<dyn FnOnce() + Send>) {
        let mut state = self.inner.0.lock().unwrap();
        if state.open {
            drop(state);
            answer();
        } else {
            state.held.push_back(answer);
            self.inner.1.notify_all();
        }
    }
}

/// How the kernel passes on reads of [`Script::direct`] files that come from io_uring: servers built on
/// libfuse 3 request asynchronous reads, many others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direct {
    Synchronous,
    Asynchronous,
}

impl Direct {
    pub const BOTH: [Direct; 2] = [Direct::Synchronous, Direct::Asynchronous];
}

/// A mounted file system. On drop, hanging reads are released, and it is unmounted.
pub struct Mounted {
    dir: TempDir,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl Mounted {
    #[track_caller]
    pub fn new<N: Into<String>>(files: impl IntoIterator<Item = (N, Script)>) -> Self {
        Mounted::with(Direct::Synchronous, files)
    }

    #[track_caller]
    pub fn with<N: Into<String>>(
        direct: Direct,
        files: impl IntoIterator<Item = (N, Script)>,
    ) -> Self {
        let files = files
            .into_iter()
            .map(|(name, script)| Scripted::new(name.into(), script))
            .collect();
        let shared = Arc::new(Shared {
            files,
            reading: AtomicUsize::new(0),
            reading_max: AtomicUsize::new(0),
        });
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::RO,
            MountOption::FSName("ringmill-e2e".to_owned()),
        ];
        let session = fuser::Session::new(
            Scripts {
                shared: Arc::clone(&shared),
                direct,
            },
            dir.path(),
            &config,
        )
        .and_then(fuser::Session::spawn)
        .unwrap_or_else(|error| {
            panic!("cannot mount a FUSE file system: {error}; scripts/test sets up what it needs")
        });
        Mounted {
            dir,
            shared,
            session: Some(session),
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// How many of the files have been opened so far.
    pub fn opened_files(&self) -> usize {
        self.shared
            .files
            .iter()
            .filter(|file| file.state.lock().unwrap().opens > 0)
            .count()
    }

    /// The most reads that were in the file system at one time.
    pub fn reads_at_once_max(&self) -> usize {
        self.shared.reading_max.load(Ordering::SeqCst)
    }

    /// The bytes that have been read from a file, at their offsets.
    #[track_caller]
    pub fn served(&self, name: &str) -> Vec<u8> {
        let file = self
            .shared
            .files
            .iter()
            .find(|file| file.name == name)
            .expect("a known file");
        file.state.lock().unwrap().served.clone()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for file in &self.shared.files {
            if let Some(gate) = &file.script.gate {
                gate.open();
            }
        }
        // The lazy unmount comes first: a process that was left behind may still hold a file open.
        // Without root it is refused, and the session calls fusermount3.
        let _ = rustix::mount::unmount(self.dir.path(), UnmountFlags::DETACH);
        drop(self.session.take());
    }
}

struct Scripted {
    name: String,
    script: Script,
    state: Mutex<FileState>,
}

struct FileState {
    content: Vec<u8>,
    mtime: SystemTime,
    opens: usize,
    served: Vec<u8>,
    first_read_error: Option<Errno>,
    change: Option<Change>,
}

impl Scripted {
    fn new(name: String, script: Script) -> Self {
        let state = FileState {
            content: script.content.clone(),
            mtime: UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            opens: 0,
            served: Vec::new(),
            first_read_error: script.first_read_error,
            change: script.change.clone(),
        };
        Scripted {
            name,
            script,
            state: Mutex::new(state),
        }
    }

    /// What a read at `offset` yields now.
    fn read(&self, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        let mut state = self.state.lock().unwrap();
        if let Some(errno) = state.first_read_error.take() {
            return Err(errno);
        }
        let start = state.content.len().min(offset as usize);
        let mut end = state
            .content
            .len()
            .min(start + size.min(self.script.longest_read));
        if let Some((limit, errno)) = self.script.read_error {
            // Through the page cache a short answer would mean the end of the file.
            if offset >= limit || !self.script.direct && end as u64 > limit {
                return Err(errno);
            }
            end = end.min(limit as usize);
        }
        let piece = state.content[start..end].to_vec();
        if state.served.len() < end {
            state.served.resize(end, 0);
        }
        state.served[start..end].copy_from_slice(&piece);
        match state.change.take_if(|_| offset == 0) {
            None => {}
            Some(Change::EndsThere) => state.content.truncate(end),
            Some(Change::Grows(more)) => state.content.extend_from_slice(&more),
            Some(Change::Touched) => state.mtime += Duration::from_nanos(1),
        }
        Ok(piece)
    }

    fn attributes(&self, number: u64) -> FileAttr {
        let state = self.state.lock().unwrap();
        let size = self
            .script
            .claimed_size
            .unwrap_or(state.content.len() as u64);
        FileAttr {
            size,
            ..attributes(number, FileType::RegularFile, state.mtime)
        }
    }
}

struct Shared {
    files: Vec<Scripted>,
    reading: AtomicUsize,
    reading_max: AtomicUsize,
}

/// The file system: one directory, `files[k]` is inode `k + 2`.
struct Scripts {
    shared: Arc<Shared>,
    direct: Direct,
}

const NOTHING_CACHED: Duration = Duration::ZERO;

impl Scripts {
    fn file(&self, inode: INodeNo) -> Option<&Scripted> {
        self.shared.files.get(inode.0.checked_sub(2)? as usize)
    }
}

impl Filesystem for Scripts {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Read-ahead that hangs counts as background work; at the default limit of 12 it would block
        // every other file, too.
        let _ = config.set_max_background(1024);
        let _ = config.set_congestion_threshold(1024);
        if self.direct == Direct::Asynchronous {
            let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self
            .shared
            .files
            .iter()
            .position(|file| name == file.name.as_str())
        {
            Some(place) => {
                let file = &self.shared.files[place];
                let attributes = file.attributes(place as u64 + 2);
                let valid = if file.script.name_is_cached {
                    Duration::from_secs(3600)
                } else {
                    NOTHING_CACHED
                };
                let answer = move || reply.entry(&valid, &attributes, Generation(0));
                match &file.script.look_up_gate {
                    Some(gate) => gate.pass(Box::new(answer)),
                    None => answer(),
                }
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attributes = match self.file(inode) {
            Some(file) => file.attributes(inode.0),
            None => attributes(1, FileType::Directory, UNIX_EPOCH),
        };
        reply.attr(&NOTHING_CACHED, &attributes);
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let Some(file) = self.file(inode) else {
            return reply.error(Errno::EISDIR);
        };
        let mut state = file.state.lock().unwrap();
        state.opens += 1;
        let flags = if file.script.direct {
            FopenFlags::FOPEN_DIRECT_IO
        } else {
            FopenFlags::empty()
        };
        let error = match file.script.open_error {
            Some((errno, times)) if state.opens <= times => Some(errno),
            _ => None,
        };
        let answer = move || match error {
            Some(errno) => reply.error(errno),
            None => reply.opened(FileHandle(0), flags),
        };
        match &file.script.open_gate {
            Some(gate) => gate.pass(Box::new(answer)),
            None => answer(),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let shared = Arc::clone(&self.shared);
        let place = inode.0 as usize - 2;
        let now = shared.reading.fetch_add(1, Ordering::SeqCst) + 1;
        shared.reading_max.fetch_max(now, Ordering::SeqCst);
        let (gate, delay) = (
            self.shared.files[place].script.gate.clone(),
            self.shared.files[place].script.delay,
        );
        let answer = move || {
            let piece = shared.files[place].read(offset, size as usize);
            shared.reading.fetch_sub(1, Ordering::SeqCst);
            match piece {
                Ok(bytes) => reply.data(&bytes),
                Err(errno) => reply.error(errno),
            }
        };
        // The session has one thread, which a waiting read must not block.
        if let Some(gate) = gate {
            gate.pass(Box::new(answer));
        } else if delay > Duration::ZERO {
            thread::spawn(move || {
                sleep(delay);
                answer();
            });
        } else {
            answer();
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }
}

fn attributes(number: u64, kind: FileType, mtime: SystemTime) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime,
        ctime: mtime,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

#[test]
fn the_scripts_are_followed() {
    use std::fs;
    use std::io::Read;

    let gate = Gate::new();
    let bytes = super::tree::content(9, 300_000);
    let script = || Script::new(bytes.clone());
    let fuse = Mounted::new([
        ("cached", script()),
        ("claims", script().claims(10)),
        ("short", script().short_reads(1000)),
        ("eio", script().direct().fails_read(5000, Errno::EIO)),
        ("cached eio", script().fails_read(131_072, Errno::EIO)),
        ("no", script().fails_opens(Errno::EACCES, 1)),
        ("slow", script().slow(Duration::from_millis(20))),
        ("ends", script().changes(Change::EndsThere)),
        ("grows", script().changes(Change::Grows(b"more".to_vec()))),
        ("hangs", script().behind(&gate)),
    ]);
    let read = |name: &str| fs::read(fuse.path(name));
    for name in ["cached", "claims", "short", "slow"] {
        assert_eq!(read(name).unwrap(), bytes, "{name}");
        assert_eq!(fuse.served(name), bytes, "{name}");
    }
    assert_eq!(fs::metadata(fuse.path("claims")).unwrap().len(), 10);
    for name in ["eio", "cached eio"] {
        assert_eq!(read(name).unwrap_err().raw_os_error(), Some(5), "{name}");
    }
    assert_eq!(read("no").unwrap_err().raw_os_error(), Some(13));
    assert_eq!(read("no").unwrap(), bytes);
    let mut first = [0; 4096];
    let mut file = fs::File::open(fuse.path("short")).unwrap();
    assert_eq!(file.read(&mut first).unwrap(), 1000);
    let mut file = fs::File::open(fuse.path("ends")).unwrap();
    assert_eq!(file.read(&mut first).unwrap(), 4096);
    assert_eq!(file.read(&mut first).unwrap(), 0);
    assert_eq!(file.metadata().unwrap().len(), 4096);
    assert_eq!(fuse.served("ends"), bytes[..4096]);
    assert_eq!(read("grows").unwrap(), [&bytes[..], b"more"].concat());
    let reader = thread::spawn({
        let path = fuse.path("hangs");
        move || fs::read(path)
    });
    gate.wait_for_a_reader();
    assert_eq!(
        read("cached").unwrap(),
        bytes,
        "others are served meanwhile"
    );
    assert!(!reader.is_finished());
    gate.open();
    assert_eq!(reader.join().unwrap().unwrap(), bytes);
}
