//! The origins (RFC 6454) that the requests of a run go to: their connections, and when they may be asked.
//!
//! The state is shared by all loops, because the limits of an origin hold for the whole run. It does no I/O.

use super::retry;
use crate::lock::lock;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use url::{Position, Url};

/// Requests that a connection serves one after another for its own loop, although an item of another loop has
/// waited longer. Moving a place to another loop costs a new connection.
const STREAK_MAX: u32 = 64;

/// A longer pause is as good as endless.
const PAUSE_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The number of origins from which on those that are not in use are forgotten.
const SWEEP_FROM: usize = 1024;

/// Limits that hold for each origin.
#[derive(Clone, Copy, Debug)]
pub struct OriginLimits {
    /// The most connections.
    pub connections: usize,
    /// The least time between the beginnings of two requests.
    pub interval: Option<Duration>,
    /// The longest pause that an origin may ask for. Until the rest of a longer one is short enough, its requests
    /// fail without being sent.
    pub pause_max: Duration,
}

/// All origins of a run.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    limits: OriginLimits,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    origins: HashMap<String, Arc<Origin>>,
    sweep_at: usize,
}

/// An origin.
#[derive(Debug)]
pub(super) struct Origin {
    limits: OriginLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Connections that are open or being opened.
    connections: usize,
    /// Those of them that no request uses, the most recently used last.
    idle: Vec<Idle>,
    waiting: VecDeque<Arc<Waiter>>,
    /// No request begins earlier, because of the rate.
    next_at: Duration,
    /// No request begins earlier, because the origin asked for a pause.
    paused_until: Duration,
    /// Pauses in a row whose length the origin did not say.
    pauses: u32,
    /// The number of requests in flight is lower than the limit by this many, because the origin could not serve as
    /// many.
    restraint: usize,
    /// Requests served since the restraint has changed.
    served: usize,
    /// A request was served since the last pause.
    has_served: bool,
}

/// A connection of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionId {
    /// The loop.
    pub(super) loop_id: u32,
    /// Which of its connections.
    pub(super) key: u64,
}

/// A connection that no request uses.
#[derive(Debug)]
pub(super) struct Idle {
    /// Which one.
    pub(super) id: ConnectionId,
    /// How its loop is told to close it.
    pub(super) closer: Arc<Closer>,
    /// Requests that it served in a row while items of other loops waited.
    pub(super) streak: u32,
}

/// Tells a connection's loop to close it.
#[derive(Debug, Default)]
pub(super) struct Closer(Mutex<Closing>);

#[derive(Debug, Default)]
struct Closing {
    is_requested: bool,
    waker: Option<Waker>,
}

/// What a request may do.
#[derive(Debug)]
pub(super) enum Grant {
    /// Use this connection of its loop, which is no longer idle.
    Reuse(Idle),
    /// Open a connection: it is counted already.
    Open,
    /// Fail: the origin wants no request for this time, which is too long to wait for.
    PausedFor(Duration),
}

/// A request that waits for its turn.
#[derive(Debug)]
struct Waiter {
    loop_id: u32,
    turn: Mutex<Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    grant: Option<Grant>,
    waker: Option<Waker>,
}

impl Closer {
    /// Has the connection closed.
    pub(super) fn request(&self) {
        lock(&self.0).is_requested = true;
        self.wake();
    }

    /// Has the connection's loop poll it.
    pub(super) fn wake(&self) {
        let waker = lock(&self.0).waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Ready when the connection is to be closed.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut closing = lock(&self.0);
        if closing.is_requested {
            return Poll::Ready(());
        }
        closing.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Origins {
    pub(super) fn new(limits: OriginLimits) -> Self {
        Self {
            limits,
            table: Arc::default(),
        }
    }

    /// The longest pause that items wait for.
    pub(super) fn pause_max(&self) -> Duration {
        self.limits.pause_max
    }

    /// The origin of a URL. `now` is the time on the clock of the loops.
    pub(super) fn of(&self, url: &Url, now: Duration) -> Arc<Origin> {
        // As its URLs begin: they have neither user names nor passwords, nor ports that are the scheme's own.
        let name = &url[..Position::BeforePath];
        let table = &mut *lock(&self.table);
        if let Some(origin) = table.origins.get(name) {
            return Arc::clone(origin);
        }
        if table.origins.len() >= table.sweep_at.max(SWEEP_FROM) {
            // An origin with a connection or a waiting item is referred to by it.
            let is_used =
                |origin: &Arc<Origin>| Arc::strong_count(origin) > 1 || origin.is_held_at(now);
            table.origins.retain(|_, origin| is_used(origin));
            table.sweep_at = 2 * table.origins.len();
        }
        let origin = Arc::new(Origin {
            limits: self.limits,
            state: Mutex::default(),
        });
        table.origins.insert(name.to_owned(), Arc::clone(&origin));
        origin
    }
}

impl Origin {
    fn is_held_at(&self, now: Duration) -> bool {
        let state = lock(&self.state);
        state.gate() > now
    }

    /// Lets a request of this loop wait for its turn.
    pub(super) fn queue(self: &Arc<Self>, loop_id: u32) -> Waiting {
        let waiter = Arc::new(Waiter {
            loop_id,
            turn: Mutex::default(),
        });
        lock(&self.state).waiting.push_back(Arc::clone(&waiter));
        Waiting {
            origin: Arc::clone(self),
            waiter,
            now: Duration::ZERO,
            is_over: false,
        }
    }

    /// A request has ended, and its connection can serve another one. It is idle afterwards, unless another
    /// request is granted it at once. True if it is idle.
    pub(super) fn release(&self, connection: Idle, now: Duration) -> bool {
        let id = connection.id;
        let state = &mut *lock(&self.state);
        state.idle.push(connection);
        state.advance(&self.limits, now);
        state.idle.iter().any(|idle| idle.id == id)
    }

    /// A connection that is not idle was closed, or could not be opened.
    pub(super) fn closed(&self) {
        let state = &mut *lock(&self.state);
        state.connections -= 1;
        // It knows the time, and grants what can be granted now.
        state.waiting.iter().take(1).for_each(|first| first.wake());
    }

    /// Takes an idle connection away. False if it is not idle.
    pub(super) fn take_idle(&self, id: ConnectionId) -> bool {
        let state = &mut *lock(&self.state);
        let before = state.idle.len();
        state.idle.retain(|idle| idle.id != id);
        state.idle.len() < before
    }

    /// No request begins for a time, because a response asks for it, or for one that grows with each such pause if
    /// it does not say how long: see [`retry::back_off`], which takes `random`. Returns the time. A pause that has
    /// begun is the answer to all requests that were sent before it.
    pub(super) fn pause(&self, asked: Option<Duration>, random: u64, now: Duration) -> Duration {
        let state = &mut *lock(&self.state);
        let rest = state.paused_until.saturating_sub(now);
        let is_new = rest.is_zero();
        let pause = match asked {
            Some(asked) => asked.min(PAUSE_MAX),
            None if is_new => retry::back_off(state.pauses, random),
            None => rest,
        };
        if is_new {
            state.pauses += u32::from(asked.is_none());
            // An origin that serves nothing at all does not serve fewer requests at a time either.
            if state.has_served {
                let allowed = self.limits.connections - state.restraint;
                state.restraint += allowed / 2;
            }
            (state.served, state.has_served) = (0, false);
        }
        state.paused_until = state.paused_until.max(now + pause);
        state.advance(&self.limits, now);
        pause
    }

    /// A request was served, so the next pause is the first one again. Once as many were served as may be in flight,
    /// one more may be.
    pub(super) fn note_served(&self, now: Duration) {
        let state = &mut *lock(&self.state);
        (state.pauses, state.has_served) = (0, true);
        if state.restraint == 0 {
            return;
        }
        state.served += 1;
        if state.served >= self.limits.connections - state.restraint {
            state.restraint -= 1;
            state.served = 0;
            state.advance(&self.limits, now);
        }
    }
}

impl State {
    /// No request begins before this time.
    fn gate(&self) -> Duration {
        self.next_at.max(self.paused_until)
    }

    /// Grants what can be granted. If the first one in the queue has to wait for a time, it is woken, so that it
    /// sets a timer.
    fn advance(&mut self, limits: &OriginLimits, now: Duration) {
        while let Some(first) = self.waiting.front() {
            let pause = self.paused_until.saturating_sub(now);
            if pause > limits.pause_max {
                self.grant(0, Grant::PausedFor(pause));
                continue;
            }
            if self.gate() > now {
                return first.wake();
            }
            let Some((place, grant)) = self.next_grant(limits, first.loop_id) else {
                return;
            };
            if let Some(interval) = limits.interval {
                let is_late = now.saturating_sub(self.next_at) >= interval;
                // What a timer was late does not change the schedule.
                self.next_at = if is_late { now } else { self.next_at } + interval;
            }
            self.grant(place, grant);
        }
    }

    /// Gives this to the request at this place of the queue.
    fn grant(&mut self, place: usize, grant: Grant) {
        let waiter = self.waiting.remove(place).expect("it waits");
        lock(&waiter.turn).grant = Some(grant);
        waiter.wake();
    }

    /// Whose turn it is, as a place in the queue.
    fn next_grant(&mut self, limits: &OriginLimits, first_loop: u32) -> Option<(usize, Grant)> {
        let in_flight = self.connections - self.idle.len();
        if in_flight + self.restraint >= limits.connections {
            return None;
        }
        if let Some(at) = self
            .idle
            .iter()
            .rposition(|idle| idle.id.loop_id == first_loop)
        {
            let mut idle = self.idle.remove(at);
            idle.streak = 0;
            return Some((0, Grant::Reuse(idle)));
        }
        if self.connections < limits.connections {
            self.connections += 1;
            return Some((0, Grant::Open));
        }
        let idle = self.idle.last_mut()?;
        let own = self
            .waiting
            .iter()
            .position(|waiter| waiter.loop_id == idle.id.loop_id);
        if let Some(place) = own.filter(|_| idle.streak < STREAK_MAX) {
            let mut idle = self.idle.pop()?;
            idle.streak += 1;
            return Some((place, Grant::Reuse(idle)));
        }
        // Its loop closes it. Then the first one may open another.
        let idle = self.idle.pop()?;
        idle.closer.request();
        None
    }
}

impl Waiter {
    fn wake(&self) {
        let waker = lock(&self.turn).waker.take();
        waker.into_iter().for_each(Waker::wake);
    }
}

/// A request that waits for its turn. If it is dropped, it leaves the queue.
#[derive(Debug)]
pub(super) struct Waiting {
    origin: Arc<Origin>,
    waiter: Arc<Waiter>,
    /// The time of the last poll.
    now: Duration,
    is_over: bool,
}

impl Waiting {
    /// The grant. While it is pending, the time at which to poll again is put into `wake_at`, if there is one
    /// that only this request waits for.
    pub(super) fn poll(
        &mut self,
        context: &Context<'_>,
        now: Duration,
        wake_at: &mut Option<Duration>,
    ) -> Poll<Grant> {
        self.now = now;
        // This poll serves a wake-up that came before, and is not to wake itself.
        lock(&self.waiter.turn).waker = None;
        let state = &mut *lock(&self.origin.state);
        let is_first = |state: &State| {
            let first = state.waiting.front();
            first.is_some_and(|first| Arc::ptr_eq(first, &self.waiter))
        };
        if is_first(state) {
            state.advance(&self.origin.limits, now);
        }
        *wake_at = is_first(state)
            .then(|| state.gate())
            .filter(|&gate| gate > now);
        let mut turn = lock(&self.waiter.turn);
        if let Some(grant) = turn.grant.take() {
            self.is_over = true;
            return Poll::Ready(grant);
        }
        turn.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Waiting {
    /// What it was granted meanwhile goes to another request.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let state = &mut *lock(&self.origin.state);
        state
            .waiting
            .retain(|other| !Arc::ptr_eq(other, &self.waiter));
        match lock(&self.waiter.turn).grant.take() {
            Some(Grant::Reuse(idle)) => state.idle.push(idle),
            Some(Grant::Open) => state.connections -= 1,
            Some(Grant::PausedFor(_)) | None => {}
        }
        state.advance(&self.origin.limits, self.now);
    }
}
