//! The handle [`Io`], and the state behind it: the operations of one loop or worker.

use super::buffer::{Buffer, BufferClass, BufferPool};
use super::carrier::{Attempt, Carrier};
use super::current::CurrentOperation;
use super::digest_queue::DigestQueue;
use super::exhaustion::{Failures, OpenFiles, Remedy, pause_until};
use super::metadata::Stat;
use super::mounts::MountId;
use super::op::{Completion, Op, Value};
use super::op_slab::{BACKGROUND, Ended, OpSlab, Recipient};
use super::open_file::OpenFile;
use super::part_writer::PartWriter;
use super::places::{Parked, Places};
use super::pressure::Pressure;
use super::retries::{Retries, Verdict};
use super::sleeps::Sleeps;
use super::undelivered::Detached;
use crate::clock;
use crate::error::{Errno, Operation};
use crate::stats::{Activity, Phase, Recorder, Stopwatch};
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Attempts at operations that a task may make in one poll. After that it yields, so that other
/// tasks are polled.
pub(super) const STEPS_PER_POLL: u32 = 16;

/// Limit on the bytes that reads without waiting put into large buffers in one turn. When it is
/// reached, tasks get a large buffer only in the next turn, so that ready results and new items do
/// not wait while long files are hashed.
const LARGE_READ_BYTES_PER_TURN_MAX: usize = 2 * 1024 * 1024;

/// A task that belongs to the loop and not to an item.
pub type BackgroundTask = Pin<Box<dyn Future<Output = ()>>>;

/// The operations of one loop or worker. Cheap to clone.
#[derive(Clone)]
pub struct Io {
    pub(super) core: Rc<Core>,
}

pub(super) struct Core {
    pub(super) buffers: BufferPool,
    pub(super) is_worker: bool,
    /// On a worker: its current operation, published for other threads.
    pub(super) shown: RefCell<Option<Arc<CurrentOperation>>>,
    /// Counts the open files of all workers, or of this one alone until [`Io::count_open_files`].
    pub(super) open_files: RefCell<Arc<OpenFiles>>,
    /// The slot of the item whose task is being polled, or [`BACKGROUND`].
    pub(super) current: Cell<u32>,
    /// Operations the task may still try in this poll.
    pub(super) steps: Cell<u32>,
    /// The item being polled is to be restarted on a worker.
    pub(super) moves_to_worker: Cell<bool>,
    /// The mount of the path that may block, if a path is the reason.
    pub(super) blocked_at: Cell<Option<MountId>>,
    /// The task being polled has dropped the future that its item was parked for.
    pub(super) park_was_dropped: Cell<bool>,
    pub(super) digests: RefCell<DigestQueue>,
    /// Files that items have left open on a worker, with the items' slots; `None` for a file that
    /// an operation still holds and closes.
    pub(super) left_open: RefCell<Vec<(u32, Option<OpenFile>)>>,
    pub(super) part_writer: OnceCell<Arc<dyn PartWriter>>,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    pub(super) carrier: Box<dyn Carrier>,
    pub(super) op_slab: OpSlab,
    pub(super) items: Vec<ItemState>,
    pub(super) places: Places,
    pub(super) pressure: Pressure<u32>,
    pub(super) retries: Retries,
    pub(super) sleeps: Sleeps,
    pub(super) stopwatch: Stopwatch,
    pub(super) activity: Activity,
    /// The number of the current turn.
    pub(super) turn: u64,
    /// Bytes that reads without waiting have put into large buffers in this turn.
    pub(super) large_read_bytes: usize,
    /// Wakers to call when the next turn begins.
    pub(super) next_turn: Vec<Waker>,
    pub(super) spawned: Vec<BackgroundTask>,
    /// Limit on the items to pull, set by the job: see [`Io::limit_intake`].
    pub(super) intake: usize,
    /// See [`IoLimits::parked`].
    pub(super) parked_max: usize,
}

/// The state of the item in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct ItemState {
    /// Operations submitted and not completed.
    pub(super) outstanding: u32,
    pub(super) open_files: u32,
    pub(super) last_operation: Operation,
    pub(super) parked: Parked,
    /// It failed on a worker because a resource was exhausted; `retries` counts it until it ends.
    pub(super) is_retried_on_worker: bool,
    /// On a worker: its last failure with an errno of exhaustion is real, and the loop is to retry
    /// it.
    pub(super) is_left_to_loop: bool,
    /// The item's index in the input.
    pub(super) index: u64,
    /// Parts of its result were handed over.
    pub(super) has_written: bool,
    /// Its writes that wait for room.
    pub(super) writes_waiting: u32,
}

impl ItemState {
    pub(super) const NEW: Self = Self {
        outstanding: 0,
        open_files: 0,
        last_operation: Operation::Open,
        parked: Parked::No,
        is_retried_on_worker: false,
        is_left_to_loop: false,
        index: 0,
        has_written: false,
        writes_waiting: 0,
    };
}

/// The limits of one loop.
#[derive(Clone, Copy, Debug)]
pub struct IoLimits {
    /// Maximum number of items in flight.
    pub in_flight: usize,
    /// Maximum number of large buffers.
    pub large_buffers: usize,
    /// Number of parked items from which on no item is started. Items in flight may still park.
    pub parked: usize,
}

impl Io {
    /// The handle of a loop.
    #[must_use]
    pub fn new(carrier: Box<dyn Carrier>, limits: IoLimits, stopwatch: Stopwatch) -> Self {
        Self::with(carrier, limits, stopwatch, false)
    }

    /// The handle of a worker. It does not limit the items in flight. Exhaustion that lasts is left
    /// to the loop, which can free something.
    #[must_use]
    pub fn for_worker(carrier: Box<dyn Carrier>, recorder: Recorder, times_items: bool) -> Self {
        let limits = IoLimits {
            in_flight: usize::MAX,
            large_buffers: 8,
            parked: usize::MAX,
        };
        let stopwatch = Stopwatch::new(recorder, times_items);
        Self::with(carrier, limits, stopwatch, true)
    }

    fn with(
        carrier: Box<dyn Carrier>,
        limits: IoLimits,
        stopwatch: Stopwatch,
        is_worker: bool,
    ) -> Self {
        let state = State {
            carrier,
            op_slab: OpSlab::default(),
            items: Vec::new(),
            places: Places::new(limits.in_flight),
            pressure: Pressure::new(limits.in_flight),
            retries: Retries::default(),
            sleeps: Sleeps::default(),
            stopwatch,
            activity: Activity::default(),
            turn: 0,
            large_read_bytes: 0,
            next_turn: Vec::new(),
            spawned: Vec::new(),
            intake: usize::MAX,
            parked_max: limits.parked,
        };
        Self {
            core: Rc::new(Core {
                buffers: BufferPool::new(limits.large_buffers),
                is_worker,
                shown: RefCell::default(),
                open_files: RefCell::default(),
                current: Cell::new(BACKGROUND),
                steps: Cell::new(0),
                moves_to_worker: Cell::new(false),
                blocked_at: Cell::new(None),
                park_was_dropped: Cell::new(false),
                digests: RefCell::default(),
                left_open: RefCell::default(),
                part_writer: OnceCell::new(),
                state: RefCell::new(state),
            }),
        }
    }

    // For tasks.

    /// A buffer for a file that ends within one read.
    #[must_use]
    pub fn small_buffer(&self) -> Buffer {
        self.core.buffers.small()
    }

    /// Waits for a large buffer: in the order of the calls, and for the next turn if this one has
    /// read enough into large buffers.
    pub async fn large_buffer(&self) -> Buffer {
        let permit = self.core.buffers.large_permit().await;
        while self.borrow().large_read_bytes >= LARGE_READ_BYTES_PER_TURN_MAX {
            self.next_turn().await;
        }
        self.core.buffers.large(permit)
    }

    /// A large buffer, if one is free and no other item waits for one. For items that are faster
    /// with it but do not need it.
    #[must_use]
    pub fn spare_large_buffer(&self) -> Option<Buffer> {
        self.core.buffers.spare_large()
    }

    /// Waits for the loop's next turn.
    pub async fn next_turn(&self) {
        let turn = self.borrow().turn;
        std::future::poll_fn(|context| {
            let state = &mut *self.borrow();
            if state.turn != turn {
                return Poll::Ready(());
            }
            state.next_turn.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// One item's share if `operations` are divided equally among the items in flight in this loop;
    /// at least 1. On a worker it is 1, because operations run one after another.
    #[must_use]
    pub fn share_of(&self, operations: usize) -> usize {
        if self.core.is_worker {
            return 1;
        }
        (operations / self.borrow().places.alive().max(1)).max(1)
    }

    /// The current time on the carrier's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        let state = &mut *self.borrow();
        // The next item begins later, so the stopwatch must read the time again.
        state.stopwatch.expire();
        state.carrier.now()
    }

    /// Sets how many more items the loop may pull, because any further one would only be parked,
    /// whatever its subject. Before the first call there is no such limit.
    pub fn limit_intake(&self, items: usize) {
        self.borrow().intake = items;
    }

    /// Runs a task that belongs to the loop and ends with it.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.borrow().spawned.push(Box::pin(task));
    }

    /// Records the time since the item's last operation, or since the last such call, as spent on
    /// `phase`.
    pub fn lap(&self, phase: Phase) {
        self.laps([phase]);
    }

    /// Like [`Io::lap`], for several phases that were done together: each is recorded with the
    /// whole time.
    pub(super) fn laps(&self, phases: impl IntoIterator<Item = Phase>) {
        let state = &mut *self.borrow();
        state.stopwatch.laps(phases, &*state.carrier);
    }

    /// Records that a phase took this long.
    pub fn record(&self, phase: Phase, time: Duration) {
        let time_ns = clock::to_ns(time);
        self.borrow().stopwatch.record(phase, 0, time_ns);
    }

    pub(super) fn borrow(&self) -> std::cell::RefMut<'_, State> {
        self.core.state.borrow_mut()
    }

    // For operations.

    /// Starts an operation that no future waits for.
    pub(super) fn detach(&self, mut op: Op, to: Detached) {
        match self.attempt_op(&mut op) {
            Attempt::Done(outcome) => to.completed(op, &outcome),
            _ => {
                self.borrow()
                    .submit(op, BACKGROUND, Recipient::Detached(to));
            }
        }
    }

    /// Counts one step of the task being polled. False if its steps for this poll are used up.
    pub(super) fn may_step(&self) -> bool {
        let steps = self.core.steps.get();
        self.core.steps.set(steps.saturating_sub(1));
        steps > 0
    }

    /// Makes an attempt at an operation for the task being polled.
    pub(super) fn attempt<T>(
        &self,
        operation: Operation,
        phase: Option<Phase>,
        attempt: impl FnOnce(&mut State) -> Attempt<T>,
    ) -> Attempt<T> {
        let state = &mut *self.borrow();
        if let Some(item) = state.items.get_mut(self.core.current.get() as usize) {
            item.last_operation = operation;
        }
        if self.core.is_worker && !self.show(operation) {
            return Attempt::Done(Err(Errno::new(libc::ECANCELED)));
        }
        let attempt = attempt(state);
        if let Attempt::Done(result) = &attempt {
            state.activity.at_once += 1;
            if let Some(phase) = phase {
                state.stopwatch.lap(phase, &*state.carrier);
            }
            state.note_progress(result.as_ref().err());
        }
        attempt
    }

    /// Publishes the worker's current operation. False if its item was given up.
    pub(super) fn show(&self, operation: Operation) -> bool {
        let shown = self.core.shown.borrow();
        shown.as_ref().is_none_or(|shown| {
            shown.set(operation);
            !shown.is_abandoned(self.core.current.get())
        })
    }

    /// Like [`Io::attempt`], for an operation that may have to be submitted.
    pub(super) fn attempt_op(&self, op: &mut Op) -> Attempt<Value> {
        self.attempt(op.operation(), op.phase(), |state| state.try_now(op))
    }

    pub(super) fn submit(&self, op: Op, waker: &Waker) -> u32 {
        let owner = self.core.current.get();
        self.borrow()
            .submit(op, owner, Recipient::Waiting(waker.clone()))
    }

    pub(super) fn take_completion(&self, key: u32, waker: &Waker) -> Option<Ended> {
        self.borrow().op_slab.take(key, waker)
    }

    /// The future that waited for the operation was dropped: cancels the operation.
    pub(super) fn abandon(&self, key: u32) {
        let state = &mut *self.borrow();
        if state.op_slab.abandon(key) {
            state.carrier.cancel(key);
        }
    }

    /// Handles a file operation that failed on this worker with an errno of exhaustion. True if it
    /// is to be tried again now, after a pause made here; if false, the errno is its result.
    pub(super) fn back_off(&self, errno: Errno, failures: &mut Failures) -> bool {
        let state = &mut *self.borrow();
        let item = state.items.get_mut(self.core.current.get() as usize);
        let of_item = item.as_ref().map_or(0, |item| item.open_files as usize);
        let open_files = self.core.open_files.borrow();
        let is_exhausted = state.carrier.is_exhausted(errno);
        let lacks_descriptor = errno.is_descriptor_exhaustion();
        match failures.add(is_exhausted, open_files.are_few(of_item), lacks_descriptor) {
            Remedy::TryAgain(time) => state.carrier.pause(time),
            Remedy::TryWhenFewAreOpen(time) => pause_until(
                || open_files.are_few(of_item),
                time,
                |part| state.carrier.pause(part),
            ),
            remedy => {
                if let Some(item) = item {
                    item.is_left_to_loop = remedy == Remedy::LeaveToLoop;
                }
                return false;
            }
        }
        true
    }

    /// For an operation that failed on a loop with an errno of exhaustion: true if no resource is
    /// exhausted. `is_unexplained` is what was found at its completion; with `None`, it is checked
    /// now. If true, the item is to be restarted on a worker, which finds out whether the errno is
    /// the item's own.
    pub(super) fn should_move_to_worker(&self, errno: Errno, is_unexplained: Option<bool>) -> bool {
        let is_unexplained =
            is_unexplained.unwrap_or_else(|| !self.borrow().carrier.is_exhausted(errno));
        is_unexplained && self.core.current.get() != BACKGROUND
    }

    pub(super) fn retry_later(&self, op: Op, errno: Errno, waker: &Waker) -> u32 {
        let state = &mut *self.borrow();
        let item = state.items.get(self.core.current.get() as usize);
        let holds_file = item.is_some_and(|item| item.open_files > 0);
        let key = state.retries.insert(op, errno, waker.clone());
        let (alive, now) = (state.places.alive(), state.stopwatch.now());
        state.pressure.exhausted(key, holds_file, alive, now);
        key
    }

    /// An operation of the item being polled begins to be retried. Returns the item's slot, for
    /// [`Io::end_retrying`].
    pub(super) fn begin_retrying(&self) -> u32 {
        let owner = self.core.current.get();
        self.borrow().retries.count(owner, true);
        owner
    }

    pub(super) fn end_retrying(&self, owner: u32) {
        self.borrow().retries.count(owner, false);
    }

    pub(super) fn verdict(&self, key: u32, waker: &Waker) -> Verdict {
        self.borrow().retries.verdict(key, waker)
    }

    pub(super) fn forget_retry(&self, key: u32) {
        let state = &mut *self.borrow();
        if state.retries.remove(key) {
            state.pressure.remove(|other| *other == key);
        }
    }

    /// Marks the item to be restarted on a worker because of this operation. False if that is
    /// impossible, because a part of its result was already emitted.
    pub(super) fn move_to_worker(&self, op: Option<&Op>) -> bool {
        assert_ne!(
            self.core.current.get(),
            BACKGROUND,
            "a task of the loop itself must not block"
        );
        let item = self.borrow().items[self.core.current.get() as usize];
        let may_move = !item.has_written || self.part_writer().take_back(item.index);
        self.core.moves_to_worker.set(may_move);
        if may_move && let Some(Op::StatPath { path, .. } | Op::Open { path, .. }) = op {
            self.core.blocked_at.set(Some(self.mount_of(path)));
        }
        may_move
    }

    pub(super) fn part_writer(&self) -> &Arc<dyn PartWriter> {
        let writer = self.core.part_writer.get();
        writer.expect("the run takes parts of results")
    }

    pub(super) fn file_opened(&self) -> u32 {
        let owner = self.core.current.get();
        if let Some(item) = self.borrow().items.get_mut(owner as usize) {
            item.open_files += 1;
        }
        if self.core.is_worker {
            self.core.open_files.borrow().opened();
        }
        owner
    }

    /// A file of this item was closed.
    pub(super) fn file_closed(&self, owner: u32) {
        if let Some(item) = self.borrow().items.get_mut(owner as usize) {
            item.open_files = item.open_files.saturating_sub(1);
        }
    }

    /// Records the time since the last operation as spent on a close.
    pub(super) fn note_close(&self) {
        let state = &mut *self.borrow();
        state.activity.at_once += 1;
        state.stopwatch.lap(Phase::CLOSE, &*state.carrier);
    }

    /// Keeps a file to be closed after its item has ended, because a close on a worker may block
    /// for ever.
    pub(super) fn leave_open(&self, owner: u32, file: Option<OpenFile>) {
        self.core.left_open.borrow_mut().push((owner, file));
    }
}

impl State {
    pub(super) fn submit(&mut self, op: Op, owner: u32, to: Recipient) -> u32 {
        self.activity.submissions += 1;
        if let Some(item) = self.items.get_mut(owner as usize) {
            item.outstanding += 1;
        }
        let submitted_at_ns = self.stopwatch.now_ns();
        let is_datagram = matches!(to, Recipient::Detached(_));
        let key = self.op_slab.insert(owner, submitted_at_ns, to);
        match is_datagram {
            true => self.carrier.post(key, op),
            false => self.carrier.submit(key, op),
        }
        self.stopwatch.expire();
        key
    }

    /// For completions that failed with an errno of exhaustion: checks, before anything is closed,
    /// whether a resource really is exhausted, and marks those for which none is.
    pub(super) fn note_unexplained_failures(&mut self, completions: &[Completion]) {
        for completion in completions {
            let errno = completion.outcome.as_ref().err();
            let Some(errno) = errno.filter(|errno| errno.is_exhaustion()) else {
                continue;
            };
            if !completion.op.is_on_socket() && !self.carrier.is_exhausted(*errno) {
                self.op_slab.note_unexplained(completion.key);
            }
        }
    }

    /// Parked items that will not free a resource soon: they hold none, or they wait for a place.
    pub(super) fn parked_that_free_nothing(&self) -> usize {
        let frees_nothing = |(slot, item): &(usize, &ItemState)| {
            let is_idle = match item.parked {
                // The mill counts the items that wait to write.
                Parked::No | Parked::UntilPolled | Parked::Lending => false,
                Parked::Yes => item.open_files == 0 && item.outstanding == 0,
                Parked::Returning => true,
            };
            is_idle && !self.retries.is_retrying(*slot)
        };
        self.items.iter().enumerate().filter(frees_nothing).count()
    }

    /// An operation has succeeded, or failed with this error.
    pub(super) fn note_progress(&mut self, errno: Option<&Errno>) {
        if !errno.is_some_and(|errno| errno.is_exhaustion()) {
            self.pressure.progressed();
        }
    }

    fn try_now(&mut self, op: &mut Op) -> Attempt<Value> {
        match op {
            Op::StatPath { path, found } => self.carrier.look_up(path).map(put_into(found)),
            Op::Open {
                path,
                wait,
                file_system,
            } => {
                let opened = self.carrier.open(path, *wait, *file_system);
                opened.map(Value::File)
            }
            Op::StatFile { file, found } => self.carrier.stat(file).map(put_into(found)),
            Op::Read {
                file,
                offset,
                buffer,
                parallel,
            } => self
                .read(file, *offset, buffer, *parallel)
                .map(Value::Count),
            _ => self.carrier.try_socket(op),
        }
    }

    pub(super) fn read(
        &mut self,
        file: &OpenFile,
        offset: Option<u64>,
        buffer: &mut Buffer,
        parallel: bool,
    ) -> Attempt<usize> {
        let attempt = self.carrier.read(file, offset, buffer, parallel);
        if let Attempt::Done(Ok(count)) = attempt
            && buffer.class() == BufferClass::Large
        {
            self.large_read_bytes += count;
        }
        attempt
    }

    /// Reads the time again for what happens now, if times are recorded.
    pub(super) fn refresh(&mut self) {
        self.stopwatch.refresh(&*self.carrier);
    }
}

/// Stores metadata in the operation that requested them.
fn put_into(found: &mut Option<Stat>) -> impl FnOnce(Stat) -> Value {
    |stat| {
        *found = Some(stat);
        Value::Done
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").finish_non_exhaustive()
    }
}
