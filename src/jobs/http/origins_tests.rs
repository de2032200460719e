//! Random schedules of requests at an origin. Requests are polled only when they were woken or when the time that
//! they asked for has come, so a lost wake-up leaves one waiting for ever.

use super::origins::{ConnectionId, Grant, Idle, Origin, OriginLimits, Origins, Waiting};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const LOOPS: u32 = 3;

const MS: Duration = Duration::from_millis(1);

/// What happens next. Numbers are reduced to the choices there are.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A request of this loop comes.
    Comes(u32),
    /// A waiting request is given up.
    IsDropped(usize),
    /// A request in flight ends, and its connection is kept, or closed.
    Ends { which: usize, keeps: bool },
    /// The origin asks for a pause, in milliseconds, or does not say how long.
    Pauses(Option<u64>),
    /// A request in flight is served.
    Serves,
    /// Time passes, in milliseconds.
    Passes(u64),
    /// An idle connection is closed by the server.
    IsClosed(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..LOOPS).prop_map(Event::Comes),
        1 => any::<usize>().prop_map(Event::IsDropped),
        4 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(which, keeps)| Event::Ends { which, keeps }),
        1 => prop::option::of(0_u64..50).prop_map(Event::Pauses),
        2 => Just(Event::Serves),
        2 => (0_u64..30).prop_map(Event::Passes),
        1 => any::<usize>().prop_map(Event::IsClosed),
    ];
    prop::collection::vec(event, 0..120)
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Request {
    of_loop: u32,
    waiting: Waiting,
    woken: Arc<Flag>,
    wake_at: Option<Duration>,
}

struct Run {
    origin: Arc<Origin>,
    limits: OriginLimits,
    now: Duration,
    paused_until: Duration,
    waiting: Vec<Request>,
    /// The connections of requests in flight.
    in_flight: Vec<Idle>,
    /// Connections that no request uses, as far as their loops know.
    idle: HashMap<u64, Idle>,
    opened: u64,
    granted_at: Vec<Duration>,
}

impl Run {
    fn new(limits: OriginLimits) -> Self {
        let url = "http://a.example/".parse().unwrap();
        Self {
            origin: Origins::new(limits).of(&url, Duration::ZERO),
            limits,
            now: Duration::ZERO,
            paused_until: Duration::ZERO,
            waiting: Vec::new(),
            in_flight: Vec::new(),
            idle: HashMap::new(),
            opened: 0,
            granted_at: Vec::new(),
        }
    }

    fn perform(&mut self, event: Event) {
        match event {
            Event::Comes(of_loop) => self.waiting.push(Request {
                of_loop,
                waiting: self.origin.queue(of_loop),
                woken: Arc::new(Flag(AtomicBool::new(true))),
                wake_at: None,
            }),
            Event::IsDropped(which) if !self.waiting.is_empty() => {
                drop(self.waiting.swap_remove(which % self.waiting.len()));
            }
            Event::Ends { which, keeps } if !self.in_flight.is_empty() => {
                let connection = self.in_flight.swap_remove(which % self.in_flight.len());
                match keeps {
                    true => self.release(connection),
                    false => self.origin.closed(),
                }
            }
            Event::Pauses(asked) => {
                let before = self.paused_until.saturating_sub(self.now);
                let asked = asked.map(|asked| MS * asked as u32);
                let pause = self.origin.pause(asked, 1 << 50, self.now);
                if asked.is_none() && !before.is_zero() {
                    assert_eq!(pause, before, "a pause that has begun is prolonged");
                }
                self.paused_until = self.paused_until.max(self.now + pause);
            }
            Event::Serves if !self.in_flight.is_empty() => self.origin.note_served(self.now),
            Event::Passes(time) => self.now += MS * time as u32,
            Event::IsClosed(which) if !self.idle.is_empty() => {
                let key = *self.idle.keys().nth(which % self.idle.len()).unwrap();
                let connection = self.idle.remove(&key).unwrap();
                // Its loop no longer knows it when a grant of it arrives.
                self.origin.take_idle(connection.id);
                self.origin.closed();
            }
            _ => {}
        }
        self.settle();
    }

    fn release(&mut self, connection: Idle) {
        let known = Idle {
            id: connection.id,
            closer: Arc::clone(&connection.closer),
            streak: 0,
        };
        self.idle.insert(connection.id.key, known);
        self.origin.release(connection, self.now);
    }

    /// Polls what was woken or is due, and closes what is to be closed, until nothing changes.
    fn settle(&mut self) {
        loop {
            let context = Context::from_waker(Waker::noop());
            let is_asked_to_close = |idle: &&Idle| idle.closer.poll(&context).is_ready();
            let to_close: Vec<ConnectionId> = self
                .idle
                .values()
                .filter(is_asked_to_close)
                .map(|idle| idle.id)
                .collect();
            for id in &to_close {
                self.idle.remove(&id.key);
                self.origin.closed();
            }
            let is_ready = |request: &Request| {
                request.woken.0.load(Ordering::SeqCst)
                    || request.wake_at.is_some_and(|at| at <= self.now)
            };
            let Some(at) = self.waiting.iter().position(is_ready) else {
                if to_close.is_empty() {
                    return;
                }
                continue;
            };
            self.poll(at);
        }
    }

    fn poll(&mut self, at: usize) {
        let request = &mut self.waiting[at];
        request.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&request.woken));
        let context = Context::from_waker(&waker);
        let mut wake_at = None;
        let grant = request.waiting.poll(&context, self.now, &mut wake_at);
        request.wake_at = wake_at;
        let Poll::Ready(grant) = grant else { return };
        let Request { of_loop, .. } = self.waiting.swap_remove(at);
        match grant {
            Grant::Reuse(idle) => {
                assert_eq!(idle.id.loop_id, of_loop);
                match self.idle.remove(&idle.id.key) {
                    Some(_) => self.begin(idle),
                    // It was closed meanwhile: the request comes again.
                    None => self.waiting.push(Request {
                        of_loop,
                        waiting: self.origin.queue(of_loop),
                        woken: Arc::new(Flag(AtomicBool::new(true))),
                        wake_at: None,
                    }),
                }
            }
            Grant::Open => {
                self.opened += 1;
                let id = ConnectionId {
                    loop_id: of_loop,
                    key: self.opened,
                };
                self.begin(Idle {
                    id,
                    closer: Arc::default(),
                    streak: 0,
                });
            }
            Grant::PausedFor(pause) => assert!(pause > self.limits.pause_max),
        }
    }

    fn begin(&mut self, connection: Idle) {
        assert!(self.now >= self.paused_until, "a request in a pause");
        self.in_flight.push(connection);
        self.granted_at.push(self.now);
        let open = self.in_flight.len() + self.idle.len();
        assert!(open <= self.limits.connections, "{open} connections");
    }
}

proptest! {
    /// There are never more connections than allowed, requests are never closer together than the rate allows, and
    /// each gets its turn.
    #[test]
    fn every_request_gets_its_turn(
        connections in 1_usize..5,
        interval in prop::option::of(1_u32..20),
        events in events(),
    ) {
        let interval = interval.map(|interval| MS * interval);
        let pause_max = 30 * MS;
        let mut run = Run::new(OriginLimits { connections, interval, pause_max });
        events.into_iter().for_each(|event| run.perform(event));
        // Now all requests end one after the other.
        for _ in 0..20_000 {
            if run.waiting.is_empty() {
                break;
            }
            let next = match run.in_flight.is_empty() {
                true => Event::Passes(1),
                false => Event::Ends { which: 0, keeps: true },
            };
            run.perform(next);
        }
        prop_assert!(run.waiting.is_empty(), "{} requests wait for ever", run.waiting.len());
        let (times, interval) = (&run.granted_at, interval.unwrap_or_default());
        for (first, from) in times.iter().enumerate() {
            for (count, to) in times[first + 1..].iter().enumerate() {
                prop_assert!(*to - *from >= interval * count as u32, "{count} within {:?}", *to - *from);
            }
        }
    }
}

/// The numbers of requests in flight after rounds in which all of them end. In each, this many of the first ones are
/// served, and the others ask for a pause.
fn in_flight_after(rounds: &[usize]) -> Vec<usize> {
    let limits = OriginLimits {
        connections: 8,
        interval: None,
        pause_max: 30 * MS,
    };
    let mut run = Run::new(limits);
    (0..200).for_each(|_| run.perform(Event::Comes(0)));
    let in_flight = rounds.iter().map(|served| {
        for number in 0..run.in_flight.len() {
            run.perform(match number < *served {
                true => Event::Serves,
                false => Event::Pauses(Some(5)),
            });
            run.perform(Event::Ends {
                which: 0,
                keeps: true,
            });
        }
        run.perform(Event::Passes(5));
        run.in_flight.len()
    });
    in_flight.collect()
}

/// A server that could not serve as many requests gets half as many after the pause, and then one more for each round
/// that it serves.
#[test]
fn fewer_requests_after_a_pause() {
    assert_eq!(in_flight_after(&[8, 1, 8, 8, 1, 8]), [8, 4, 5, 6, 3, 4]);
}

/// A server that serves nothing gets no fewer.
#[test]
fn as_many_requests_to_a_server_that_serves_none() {
    assert_eq!(in_flight_after(&[0; 4]), [8; 4]);
}
