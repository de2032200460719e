//! The handle, and the state of one loop's or worker's operations behind it.

use super::buffer::{Buffer, BufferClass, BufferPool};
use super::carrier::{Attempt, Carrier};
use super::current::CurrentOperation;
use super::digests::Digests;
use super::flights::{BACKGROUND, Ended, Flights, Recipient};
use super::metadata::Stat;
use super::mounts::MountId;
use super::op::{Completion, Op, Value};
use super::open_file::OpenFile;
use super::part_writer::PartWriter;
use super::places::{Parked, Places};
use super::pressure::Pressure;
use super::retries::{Retries, Verdict};
use super::shortages::{Failures, OpenFiles, Remedy, pause_until};
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

/// Operations an item may do in a row when nothing it does needs waiting. Then others have their
/// turn.
pub(super) const STEPS_PER_POLL: u32 = 16;

/// Bytes of large pieces read at once after which a turn begins no more of them: results that are
/// ready and new items do not wait while long files are hashed.
const READ_AT_ONCE_MAX: usize = 2 * 1024 * 1024;

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
    /// Where a worker shows what it does.
    pub(super) shown: RefCell<Option<Arc<CurrentOperation>>>,
    /// The files of all workers; of this one alone, unless it is told of others.
    pub(super) open_files: RefCell<Arc<OpenFiles>>,
    /// The item whose task is polled, by its slot.
    pub(super) current: Cell<u32>,
    /// Operations the task may still try in this poll.
    pub(super) steps: Cell<u32>,
    /// The task that is polled has met with something that may block.
    pub(super) moves_to_worker: Cell<bool>,
    /// Where that is, if it was a path.
    pub(super) blocked_at: Cell<Option<MountId>>,
    /// The task that is polled has dropped what its item was parked for.
    pub(super) park_was_dropped: Cell<bool>,
    pub(super) digests: RefCell<Digests>,
    /// Files that the items of a worker have left open, by slot; `None` for one that an operation closes.
    pub(super) left_open: RefCell<Vec<(u32, Option<OpenFile>)>>,
    pub(super) part_writer: OnceCell<Arc<dyn PartWriter>>,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    pub(super) carrier: Box<dyn Carrier>,
    pub(super) flights: Flights,
    pub(super) items: Vec<ItemState>,
    pub(super) places: Places,
    pub(super) pressure: Pressure<u32>,
    pub(super) retries: Retries,
    pub(super) sleeps: Sleeps,
    pub(super) stopwatch: Stopwatch,
    pub(super) activity: Activity,
    /// Counts the turns.
    pub(super) turn: u64,
    /// Bytes of large pieces read at once in this turn.
    pub(super) read_at_once: usize,
    /// To be woken when the next turn begins.
    pub(super) next_turn: Vec<Waker>,
    pub(super) spawned: Vec<BackgroundTask>,
    /// Items that may be pulled, as far as the job's service has a say in it.
    pub(super) intake: usize,
}

/// What is known of the item in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct ItemState {
    /// Operations with the carrier.
    pub(super) outstanding: u32,
    pub(super) open_files: u32,
    pub(super) last_operation: Operation,
    pub(super) parked: Parked,
    /// It failed on a worker because something was exhausted.
    pub(super) lacks_on_worker: bool,
    /// On a worker: its last operation that failed for a shortage did so because something was really
    /// exhausted.
    pub(super) lacks: bool,
    /// The item's place in the input.
    pub(super) index: u64,
    /// It has handed over parts of its result.
    pub(super) has_written: bool,
    /// Its writes that wait.
    pub(super) writes_waiting: u32,
}

impl ItemState {
    pub(super) const NEW: Self = Self {
        outstanding: 0,
        open_files: 0,
        last_operation: Operation::Open,
        parked: Parked::No,
        lacks_on_worker: false,
        lacks: false,
        index: 0,
        has_written: false,
        writes_waiting: 0,
    };
}

/// What one loop may use.
#[derive(Clone, Copy, Debug)]
pub struct IoLimits {
    /// Items in flight, at most.
    pub in_flight: usize,
    /// Large buffers, at most.
    pub large_buffers: usize,
}

impl Io {
    /// The operations of a loop.
    #[must_use]
    pub fn new(carrier: Box<dyn Carrier>, limits: IoLimits, stopwatch: Stopwatch) -> Self {
        Self::with(carrier, limits, stopwatch, false)
    }

    /// The operations of a worker, which has a place for each item it is given. What it lacks is for
    /// the loop to deal with, which can free something.
    #[must_use]
    pub fn for_worker(carrier: Box<dyn Carrier>, recorder: Recorder, times_items: bool) -> Self {
        let limits = IoLimits {
            in_flight: usize::MAX,
            large_buffers: 8,
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
            flights: Flights::default(),
            items: Vec::new(),
            places: Places::new(limits.in_flight),
            pressure: Pressure::new(limits.in_flight),
            retries: Retries::default(),
            sleeps: Sleeps::default(),
            stopwatch,
            activity: Activity::default(),
            turn: 0,
            read_at_once: 0,
            next_turn: Vec::new(),
            spawned: Vec::new(),
            intake: usize::MAX,
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

    /// A large buffer, once one is free, those who asked earlier have theirs, and this turn of the
    /// loop has time for another large piece.
    pub async fn large_buffer(&self) -> Buffer {
        let permit = self.core.buffers.large_permit().await;
        while self.borrow().read_at_once >= READ_AT_ONCE_MAX {
            self.next_turn().await;
        }
        self.core.buffers.large(permit)
    }

    /// A large buffer that would make the item faster, if no other item waits for one.
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

    /// One item's share of so many operations, if each in flight in this loop is to have the same;
    /// at least 1. On a worker operations are made one after the other.
    #[must_use]
    pub fn share_of(&self, operations: usize) -> usize {
        if self.core.is_worker {
            return 1;
        }
        (operations / self.borrow().places.alive().max(1)).max(1)
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Duration {
        let state = &mut *self.borrow();
        // The next item begins later.
        state.stopwatch.expire();
        state.carrier.now()
    }

    /// Says how many more items the loop should pull at most, because any further one would only be
    /// parked, whatever its subject. Until this is said, there is no such limit.
    pub fn limit_intake(&self, items: usize) {
        self.borrow().intake = items;
    }

    /// Runs a task that belongs to the loop and ends with it.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.borrow().spawned.push(Box::pin(task));
    }

    /// Says what the time since the item's last operation, or since the last such call, was spent on.
    pub fn lap(&self, phase: Phase) {
        self.laps([phase]);
    }

    /// The same for several things that were done together, each of which took all that time.
    pub(super) fn laps(&self, phases: impl IntoIterator<Item = Phase>) {
        let state = &mut *self.borrow();
        state.stopwatch.laps(phases, &*state.carrier);
    }

    /// Counts something that took this long.
    pub fn record(&self, phase: Phase, time: Duration) {
        let time_ns = clock::to_ns(time);
        self.borrow().stopwatch.record(phase, 0, time_ns);
    }

    pub(super) fn borrow(&self) -> std::cell::RefMut<'_, State> {
        self.core.state.borrow_mut()
    }

    // For operations.

    /// Starts an operation that nobody waits for.
    pub(super) fn detach(&self, mut op: Op, to: Detached) {
        match self.attempt_op(&mut op) {
            Attempt::Done(outcome) => to.completed(op, &outcome),
            _ => {
                self.borrow()
                    .submit(op, BACKGROUND, Recipient::Detached(to));
            }
        }
    }

    /// True if the task that is polled may try another operation.
    pub(super) fn may_step(&self) -> bool {
        let steps = self.core.steps.get();
        self.core.steps.set(steps.saturating_sub(1));
        steps > 0
    }

    /// Makes an attempt at an operation, as the task that is polled.
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

    /// Shows what a worker does. False if nobody waits for its item any more.
    pub(super) fn show(&self, operation: Operation) -> bool {
        let shown = self.core.shown.borrow();
        shown.as_ref().is_none_or(|shown| {
            shown.set(operation);
            !shown.is_abandoned(self.core.current.get())
        })
    }

    /// The same for an operation that may have to be submitted.
    pub(super) fn attempt_op(&self, op: &mut Op) -> Attempt<Value> {
        self.attempt(op.operation(), op.phase(), |state| state.try_now(op))
    }

    pub(super) fn submit(&self, op: Op, waker: &Waker) -> u32 {
        let owner = self.core.current.get();
        self.borrow()
            .submit(op, owner, Recipient::Waiting(waker.clone()))
    }

    pub(super) fn take_completion(&self, key: u32, waker: &Waker) -> Option<Ended> {
        self.borrow().flights.take(key, waker)
    }

    /// The future that waited for the operation is gone.
    pub(super) fn abandon(&self, key: u32) {
        let state = &mut *self.borrow();
        if state.flights.abandon(key) {
            state.carrier.cancel(key);
        }
    }

    /// A file operation of the item that is polled, on this worker, has failed with this errno, which
    /// says that something is exhausted. True if it is to be tried again now; else that is its result.
    pub(super) fn waits_out(&self, errno: Errno, failures: &mut Failures) -> bool {
        let state = &mut *self.borrow();
        let item = state.items.get_mut(self.core.current.get() as usize);
        let of_item = item.as_ref().map_or(0, |item| item.open_files as usize);
        let open_files = self.core.open_files.borrow();
        let is_exhausted = state.carrier.is_exhausted(errno);
        let lacks_descriptor = errno.is_descriptor_shortage();
        match failures.add(is_exhausted, open_files.are_few(of_item), lacks_descriptor) {
            Remedy::TryAgain(time) => state.carrier.pause(time),
            Remedy::TryWhenFewAreOpen(time) => pause_until(
                || open_files.are_few(of_item),
                time,
                |part| state.carrier.pause(part),
            ),
            remedy => {
                if let Some(item) = item {
                    item.lacks = remedy == Remedy::LeaveToLoop;
                }
                return false;
            }
        }
        true
    }

    /// The same in a loop. True if nothing is exhausted, as was found when the operation completed, or, if
    /// it was done at once, is found now. Then the item is to be begun anew on a worker, which finds out
    /// whose the error is.
    pub(super) fn moves_to_judge(&self, errno: Errno, is_unexplained: Option<bool>) -> bool {
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
        state.pressure.shortage(key, holds_file, alive, now);
        key
    }

    /// An operation of the item that is polled begins to lack something. Gives the item's slot, with
    /// which the operation's end is to be told.
    pub(super) fn begins_to_lack(&self) -> u32 {
        let owner = self.core.current.get();
        self.borrow().retries.count(owner, true);
        owner
    }

    pub(super) fn lacks_no_more(&self, owner: u32) {
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

    /// The item is to be begun anew on a worker, because of this operation. False if it cannot: some of its
    /// result has left.
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

    /// A file of this item is not open any more.
    pub(super) fn file_closed(&self, owner: u32) {
        if let Some(item) = self.borrow().items.get_mut(owner as usize) {
            item.open_files = item.open_files.saturating_sub(1);
        }
    }

    /// The time since the last operation was spent on a close.
    pub(super) fn note_close(&self) {
        let state = &mut *self.borrow();
        state.activity.at_once += 1;
        state.stopwatch.lap(Phase::CLOSE, &*state.carrier);
    }

    /// Files of a worker are closed when their item is over, for that may take for ever.
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
        let key = self.flights.insert(owner, submitted_at_ns, to);
        match is_datagram {
            true => self.carrier.post(key, op),
            false => self.carrier.submit(key, op),
        }
        self.stopwatch.expire();
        key
    }

    /// Looks, before anything is closed, whether what completions failed for is really exhausted.
    pub(super) fn look_for_shortages(&mut self, completions: &[Completion]) {
        for completion in completions {
            let errno = completion.outcome.as_ref().err();
            let Some(errno) = errno.filter(|errno| errno.is_shortage()) else {
                continue;
            };
            if !completion.op.is_at_socket() && !self.carrier.is_exhausted(*errno) {
                self.flights.note_unexplained(completion.key);
            }
        }
    }

    /// Parked items that will not free anything soon: they hold nothing, or they wait for a place.
    pub(super) fn parked_that_free_nothing(&self) -> usize {
        let frees_nothing = |(slot, item): &(usize, &ItemState)| {
            let is_idle = match item.parked {
                // The mill knows how many wait to write.
                Parked::No | Parked::UntilPolled | Parked::Lending => false,
                Parked::Yes => item.open_files == 0 && item.outstanding == 0,
                Parked::Returning => true,
            };
            is_idle && !self.retries.lacks(*slot)
        };
        self.items.iter().enumerate().filter(frees_nothing).count()
    }

    /// An operation has ended, or failed with this error.
    pub(super) fn note_progress(&mut self, errno: Option<&Errno>) {
        if !errno.is_some_and(|errno| errno.is_shortage()) {
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
            self.read_at_once += count;
        }
        attempt
    }

    /// Makes sure that what happens now gets its own time, if times are recorded.
    pub(super) fn refresh(&mut self) {
        self.stopwatch.refresh(&*self.carrier);
    }
}

/// Puts metadata into the operation that has found them.
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
