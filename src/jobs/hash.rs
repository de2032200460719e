//! The hash job: look up, open, read to the end, look again, close.
//!
//! The path is looked up before it is opened, because opening a FIFO or a device already has
//! effects: a writer would be woken and its data lost. The end of a file on a local file system is
//! proved by a read that was short and ended at the size the file was said to have; anything else
//! is read until a read returns 0.

use super::{Context, Event, Job};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::engine::{Buffer, BufferClass, FileId, FileKind, FileSystem, Op, Stat, Value};
use crate::error::{Cause, Errno, ItemError, Operation};
use crate::item::{Item, PATH_LEN_MAX};
use crate::stats::Phase;

/// Reads of large files under way at once in a loop, divided among the items in flight. A file that
/// is alone is read ahead while it is hashed; where there are many, the others give the device and
/// the processors enough to do.
const READS_MAX: usize = 8;

/// How often a short read where none should be (a signal came, part of it was cached) may make others
/// useless before a file is read one piece at a time. Some user-space file systems always give less
/// than asked.
const SHORT_READS_MAX: u8 = 2;

/// Times an item is begun again because its path came to name another file after its look-up.
const RESTARTS_MAX: u8 = 3;

/// The hashing of what one read gave.
pub const HASH: Phase = Phase::of_job(0, "hash");

/// Hashes the content of files.
#[derive(Clone, Debug)]
pub struct HashJob {
    /// The hash function.
    pub algorithm: Algorithm,
    /// Read FIFOs and devices instead of reporting them.
    pub read_special: bool,
    /// Make a file that changed while it was read a failure.
    pub strict: bool,
}

/// A file's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The digest of the bytes that were read.
    pub digest: Digest,
    /// How many bytes were read.
    pub size_bytes: u64,
    /// Size, mtime or ctime differed between open and end: the digest may be of no state the file
    /// was ever in.
    pub changed: bool,
}

/// One file under way.
pub struct State {
    /// What the look-up before the open found.
    before: Option<Stat>,
    file: Option<FileId>,
    /// Set when a file takes more than one read.
    hasher: Option<Box<Hasher>>,
    digest: Option<Digest>,
    /// Bytes hashed so far; the next piece to hash starts here.
    hashed: u64,
    /// Where the next read ahead starts.
    submitted: u64,
    /// Read, but a piece before them is not there yet.
    pieces: Vec<Piece>,
    reads_outstanding: usize,
    /// Reads that were short where none should be, so that others were for nothing.
    short_reads: u8,
    /// What is still being read was submitted before such a read: it is read again, in order.
    rewound: bool,
    ended: bool,
    error: Option<ItemError>,
    changed: bool,
    restart: bool,
    restarts: u8,
}

struct Piece {
    offset: u64,
    count: usize,
    buffer: Buffer,
}

type Outcome = Option<Result<Hashed, ItemError>>;

impl Job for HashJob {
    type State = State;
    type Value = Hashed;
    type Service = ();

    const PHASES: &'static [Phase] = &[
        Phase::QUEUE,
        Phase::LOOK_UP,
        Phase::OPEN,
        Phase::READ,
        HASH,
        Phase::STAT,
        Phase::CLOSE,
        Phase::TOTAL,
        Phase::REORDER,
        Phase::SCHEDULED_QUEUE,
        Phase::SCHEDULED_TOTAL,
    ];

    fn serve(&self) {}

    fn begin(&self) -> State {
        State::new(0)
    }

    fn step(
        &self,
        state: &mut State,
        item: &Item,
        event: Event,
        context: &mut Context<'_>,
    ) -> Outcome {
        match event {
            Event::Start => Self::start(item, context),
            Event::BufferFree => self.read_on(state, context),
            Event::Told(nothing) => match nothing {},
            Event::Completed(op, result) => match (op, result) {
                (Op::StatPath(path), result) => self.looked_up(state, path, result, context),
                (Op::Open { .. }, result) => self.opened(state, result, context),
                (Op::Read { offset, buffer, .. }, result) => {
                    self.was_read(state, offset, buffer, result, context)
                }
                (Op::StatFile(_), result) => self.looked_again(state, result, context),
                (Op::Close(_), result) => Self::closed(state, item, result, context),
                (Op::Socket(_), _) => unreachable!("it has no sockets"),
            },
        }
    }

    fn discard(&self, mut state: State, context: &mut Context<'_>) {
        state.drop_pieces(context);
    }
}

impl HashJob {
    fn start(item: &Item, context: &mut Context<'_>) -> Outcome {
        if item.bytes().len() > PATH_LEN_MAX {
            return Some(Err(failure(Operation::Open, libc::ENAMETOOLONG)));
        }
        if item.path().is_none() {
            return Some(Err(ItemError {
                operation: Operation::Open,
                cause: Cause::NulInName,
            }));
        }
        context.submit(Op::StatPath(item.clone()));
        None
    }

    fn looked_up(
        &self,
        state: &mut State,
        path: Item,
        result: Result<Value, Errno>,
        context: &mut Context<'_>,
    ) -> Outcome {
        let stat = match result {
            Ok(value) => stat_in(value),
            // Nobody asked for a look-up: what failed, for the user, is the opening.
            Err(errno) => return Some(Err(ItemError::errno(Operation::Open, errno))),
        };
        match stat.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Some(Err(failure(Operation::Read, libc::EISDIR))),
            FileKind::Special(_) if self.read_special => {}
            FileKind::Special(kind) => {
                let cause = Cause::Special(kind);
                return Some(Err(ItemError {
                    operation: Operation::Open,
                    cause,
                }));
            }
        }
        state.before = Some(stat);
        let wait = stat.kind != FileKind::Regular;
        let file_system = stat.file_system;
        context.submit(Op::Open {
            path,
            wait,
            file_system,
        });
        None
    }

    fn opened(
        &self,
        state: &mut State,
        result: Result<Value, Errno>,
        context: &mut Context<'_>,
    ) -> Outcome {
        match result {
            Ok(Value::File(file)) => {
                state.file = Some(file);
                self.read_on(state, context)
            }
            Ok(other) => unreachable!("an open gave {other:?}"),
            Err(errno) => Some(Err(ItemError::errno(Operation::Open, errno))),
        }
    }

    /// Submits the reads that can be submitted now, or goes on to the end.
    fn read_on(&self, state: &mut State, context: &mut Context<'_>) -> Outcome {
        if state.ended || state.error.is_some() {
            if state.reads_outstanding == 0 {
                self.finish(state, context);
            }
            return None;
        }
        state.rewound &= state.reads_outstanding > 0;
        let before = state.before.expect("looked up before it was opened");
        let file = state.file.expect("opened before it is read");
        let class = class_for(&before);
        // Special files are read in the order they give.
        let ahead_up_to = if before.kind == FileKind::Regular {
            before.size_bytes
        } else {
            0
        };
        let reads_max = match class {
            BufferClass::Small => 1,
            BufferClass::Large => context.share_of(READS_MAX),
        };
        while state.may_read(ahead_up_to, reads_max) {
            let buffer = if state.reads_outstanding == 0 && state.pieces.is_empty() {
                context.need_buffer(class)
            } else {
                context.spare_buffer(class)
            };
            let Some(buffer) = buffer else { break };
            let offset = (before.kind == FileKind::Regular).then_some(state.submitted);
            state.submitted += buffer.len() as u64;
            let more_follow = reads_max > 1 && state.submitted < ahead_up_to;
            let parallel = state.reads_outstanding > 0 || more_follow;
            state.reads_outstanding += 1;
            context.submit(Op::Read {
                file,
                offset,
                buffer,
                parallel,
            });
        }
        None
    }

    fn was_read(
        &self,
        state: &mut State,
        offset: Option<u64>,
        buffer: Buffer,
        result: Result<Value, Errno>,
        context: &mut Context<'_>,
    ) -> Outcome {
        state.reads_outstanding -= 1;
        match result {
            Ok(Value::Count(count)) => {
                let offset = offset.unwrap_or(state.hashed);
                self.take_piece(
                    state,
                    Piece {
                        offset,
                        count,
                        buffer,
                    },
                    context,
                );
            }
            Ok(other) => unreachable!("a read gave {other:?}"),
            Err(errno) => {
                context.give_back(buffer);
                if !state.ended {
                    state
                        .error
                        .get_or_insert(ItemError::errno(Operation::Read, errno));
                }
            }
        }
        if state.error.is_some() {
            state.drop_pieces(context);
        }
        self.read_on(state, context)
    }

    /// Hashes the piece if it is next in the file, and those that waited for it.
    fn take_piece(&self, state: &mut State, piece: Piece, context: &mut Context<'_>) {
        if state.ended || state.rewound {
            context.give_back(piece.buffer);
            return;
        }
        if piece.offset != state.hashed {
            state.pieces.push(piece);
            return;
        }
        let mut next = Some(piece);
        while let Some(piece) = next.take() {
            self.hash_piece(state, &piece.buffer[..piece.count], piece.buffer.len());
            context.lap(HASH);
            context.give_back(piece.buffer);
            if state.ended || state.rewound {
                state.drop_pieces(context);
            }
            let waiting = &mut state.pieces;
            let at = waiting
                .iter()
                .position(|piece| piece.offset == state.hashed);
            next = at.map(|at| waiting.swap_remove(at));
        }
    }

    fn hash_piece(&self, state: &mut State, bytes: &[u8], asked: usize) {
        let before = state.before.expect("looked up before it was read");
        state.hashed += bytes.len() as u64;
        let is_short = bytes.len() < asked;
        let ends_at_size = knows_its_size(&before) && state.hashed == before.size_bytes;
        state.ended = bytes.is_empty() || (is_short && ends_at_size);
        if is_short && !state.ended {
            state.rewound = state.reads_outstanding > 0 || !state.pieces.is_empty();
            state.short_reads = state.short_reads.saturating_add(u8::from(state.rewound));
            state.submitted = state.hashed;
        }
        let is_whole = state.ended && state.hasher.is_none();
        if is_whole {
            state.digest = Some(self.algorithm.digest(bytes));
        } else {
            state
                .hasher
                .get_or_insert_with(|| Box::new(Hasher::new(self.algorithm)))
                .update(bytes);
        }
    }

    /// Everything is read, or nothing more will be.
    fn finish(&self, state: &mut State, context: &mut Context<'_>) {
        let file = state.file.expect("opened before it was read");
        if let Some(hasher) = state.hasher.take() {
            state.digest = Some(hasher.finalize());
        }
        let regular = state
            .before
            .is_some_and(|before| before.kind == FileKind::Regular);
        if state.error.is_none() && regular {
            context.submit(Op::StatFile(file));
        } else {
            context.submit(Op::Close(file));
        }
    }

    fn looked_again(
        &self,
        state: &mut State,
        result: Result<Value, Errno>,
        context: &mut Context<'_>,
    ) -> Outcome {
        let before = state.before.expect("looked up before it was opened");
        match result {
            Err(errno) => state.error = Some(ItemError::errno(Operation::Stat, errno)),
            Ok(value) => {
                let after = stat_in(value);
                let is_same = (after.device, after.inode) == (before.device, before.inode);
                state.restart = !is_same && state.restarts < RESTARTS_MAX;
                state.changed = !is_same || has_changed(&before, &after, state.hashed);
            }
        }
        if state.changed && self.strict && !state.restart {
            state.error = Some(ItemError {
                operation: Operation::Read,
                cause: Cause::Changed,
            });
        }
        context.submit(Op::Close(state.file.expect("opened before it was read")));
        None
    }

    fn closed(
        state: &mut State,
        item: &Item,
        result: Result<Value, Errno>,
        context: &mut Context<'_>,
    ) -> Outcome {
        if let Some(error) = state.error.take() {
            return Some(Err(error));
        }
        if state.restart {
            *state = State::new(state.restarts + 1);
            return Self::start(item, context);
        }
        if let Err(errno) = result {
            return Some(Err(ItemError::errno(Operation::Close, errno)));
        }
        let digest = state.digest.expect("hashed before it was closed");
        Some(Ok(Hashed {
            digest,
            size_bytes: state.hashed,
            changed: state.changed,
        }))
    }
}

impl State {
    fn new(restarts: u8) -> Self {
        Self {
            before: None,
            file: None,
            hasher: None,
            digest: None,
            hashed: 0,
            submitted: 0,
            pieces: Vec::new(),
            reads_outstanding: 0,
            short_reads: 0,
            rewound: false,
            ended: false,
            error: None,
            changed: false,
            restart: false,
            restarts,
        }
    }

    /// Reads ahead within the size the file is said to have, beyond it only one step at a time.
    fn may_read(&self, size_bytes: u64, reads_max: usize) -> bool {
        let none_under_way = self.reads_outstanding == 0 && self.pieces.is_empty();
        let sequential = self.short_reads > SHORT_READS_MAX || self.submitted >= size_bytes;
        if sequential || self.rewound {
            return none_under_way;
        }
        self.reads_outstanding < reads_max
    }

    fn drop_pieces(&mut self, context: &mut Context<'_>) {
        self.pieces
            .drain(..)
            .for_each(|piece| context.give_back(piece.buffer));
    }
}

/// A small buffer if the file ends within it, which its read proves by being short. Files of
/// unknown size (procfs says 0) mostly do.
fn class_for(stat: &Stat) -> BufferClass {
    let is_small = stat.size_bytes < BufferClass::Small.len_bytes() as u64;
    if stat.kind == FileKind::Regular && is_small {
        BufferClass::Small
    } else {
        BufferClass::Large
    }
}

/// True where the size can be taken at its word. A user-space or network file system may tell one
/// that was never right, or no longer is.
fn knows_its_size(stat: &Stat) -> bool {
    stat.kind == FileKind::Regular
        && stat.size_bytes > 0
        && stat.file_system != FileSystem::Blocking
}

fn has_changed(before: &Stat, after: &Stat, hashed: u64) -> bool {
    // Pseudo files say size 0 whatever they hold, and their times mean nothing.
    if before.size_bytes == 0 && after.size_bytes == 0 && hashed > 0 {
        return false;
    }
    let is_local = after.file_system != FileSystem::Blocking;
    before.size_bytes != after.size_bytes
        || before.modified != after.modified
        || before.changed != after.changed
        || (is_local && hashed != after.size_bytes)
}

fn stat_in(value: Value) -> Stat {
    match value {
        Value::Stat(stat) => stat,
        other => unreachable!("a look-up gave {other:?}"),
    }
}

fn failure(operation: Operation, errno: i32) -> ItemError {
    ItemError::errno(operation, Errno::new(errno))
}
