//! A run that only waits ends as soon as it is stopped. Nothing in it polls for a stop: a stop that did
//! not wake every thread would leave these runs waiting for ever, or for the hour between two of their
//! items.

use ringmill::error::{Errno, ItemError, Operation};
use ringmill::io::{Io, Semaphore};
use ringmill::item::{Batch, Item};
use ringmill::jobs::Job;
use ringmill::jobs::dns::{DnsJob, Settings, SharedLimits, SharedServerStats, parse_type};
use ringmill::mill::{Finished, Order, PART_BYTES_DEFAULT};
use ringmill::run::{End, EngineKind, Plan, Report, Sink, Stop, run};
use ringmill::source::{InputError, Source};
use std::future::pending;
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// Far more than a stop takes, and far less than any wait of these runs.
const LONG: Duration = Duration::from_secs(20);

/// What the items of a run wait for.
#[derive(Clone, Copy, Debug)]
enum Waits {
    /// The first item ends at once; no other comes.
    ForInput,
    /// The items are parked.
    Parked,
    /// The items hold their places in flight.
    InFlight,
    /// For the next moment that the rate allows.
    ForRate,
    /// The items sleep until a time.
    Asleep,
}

struct Waiting(Waits);

impl Job for Waiting {
    type Value = ();
    type Local = (Waits, Semaphore);

    fn local(&self, _: &Io) -> Self::Local {
        (self.0, Semaphore::new(0))
    }

    async fn run(local: Rc<Self::Local>, io: Io, item: Item) -> Result<(), ItemError> {
        let (waits, nothing) = &*local;
        // The result of the first item shows that the run is in progress.
        if item.index() == 0 {
            let in_open = |errno: Errno| ItemError::errno(Operation::Open, errno);
            return io.stat(&item).await.map(drop).map_err(in_open);
        }
        match waits {
            Waits::ForInput | Waits::ForRate => Ok(()),
            Waits::Parked => {
                drop(io.park(nothing.acquire()).await);
                Ok(())
            }
            Waits::InFlight => pending().await,
            Waits::Asleep => {
                io.sleep_until(io.now() + 180 * LONG).await;
                Ok(())
            }
        }
    }
}

/// Yields some items, and then waits until the run is over.
struct Stalls {
    items: Vec<&'static str>,
    end: mpsc::Receiver<()>,
}

impl Source for Stalls {
    fn next_batch(&mut self) -> Result<Option<Batch>, InputError> {
        if self.items.is_empty() {
            let _ = self.end.recv();
            return Ok(None);
        }
        Ok(Some(Batch::from_iter(self.items.drain(..))))
    }
}

/// Sends a message for each result.
struct Notifies(mpsc::Sender<()>);

impl<V> Sink<V> for Notifies {
    fn result(&mut self, _: Finished<V>) -> io::Result<()> {
        let _ = self.0.send(());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn plan(engine: EngineKind) -> Plan {
    Plan {
        engine,
        may_fall_back: true,
        in_flight: 8,
        window: 32,
        window_bytes: usize::MAX,
        parked: usize::MAX,
        loops: 2,
        io_workers: 2,
        part_bytes: PART_BYTES_DEFAULT,
        order: Order::Completion,
        fail_fast: false,
        timeout: None,
        rate_per_s: None,
        latencies: None,
        separate_descriptors: false,
    }
}

/// Runs the job over the items, and stops the run when `is_idle` returns, which receives a message for
/// each result.
fn stopped<J: Job<Value: Send>>(
    plan: Plan,
    job: J,
    items: Vec<&'static str>,
    is_idle: impl FnOnce(&mpsc::Receiver<()>),
) -> Report {
    let stop = Arc::<Stop>::default();
    let (of_results, results) = mpsc::channel();
    let (of_end, end) = mpsc::channel();
    let (of_source, source_ends) = mpsc::channel();
    let ended = Arc::clone(&stop);
    thread::spawn(move || {
        let end = source_ends;
        let report = run(
            &plan,
            job,
            Stalls { items, end },
            &mut Notifies(of_results),
            &ended,
        );
        let _ = of_end.send(report);
    });
    is_idle(&results);
    // Gives the loops time to begin their waits; if they have not, the test is only easier.
    thread::sleep(Duration::from_millis(20));
    stop.request();
    let report = end.recv_timeout(LONG).expect("the run ends").unwrap();
    drop(of_source);
    report
}

#[test]
fn a_run_that_waits_is_stopped_at_once() {
    for engine in [EngineKind::Uring, EngineKind::Threads] {
        for waits in [
            Waits::ForInput,
            Waits::Parked,
            Waits::InFlight,
            Waits::ForRate,
            Waits::Asleep,
        ] {
            let (rate_per_s, items) = match waits {
                Waits::ForInput => (None, vec!["."]),
                Waits::ForRate => (Some(1.0 / 3600.0), vec!["."; 9]),
                _ => (None, vec!["."; 9]),
            };
            let plan = Plan {
                rate_per_s,
                ..plan(engine)
            };
            let report = stopped(plan, Waiting(waits), items, |results| {
                results.recv_timeout(LONG).expect("one result");
            });
            assert!(matches!(report.end, End::Interrupted), "{waits:?}");
            assert_eq!(report.counters.emitted, 1, "{waits:?}");
        }
    }
}

/// The server is silent, or the rate allows one query per hour.
#[test]
fn a_run_that_waits_for_a_server_is_stopped_at_once() {
    for engine in [EngineKind::Uring, EngineKind::Threads] {
        for rate_per_server in [None, Some(1.0 / 3600.0)] {
            let server = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
            server.set_read_timeout(Some(LONG)).unwrap();
            let job = DnsJob {
                limits: SharedLimits::new(1, 2, 1),
                settings: Settings {
                    retries: 3,
                    timeout: 180 * LONG,
                    rate_per_server,
                    ..Settings::new(vec![server.local_addr().unwrap()])
                },
                asks_every_server: false,
                wildcards: None,
                default_type: parse_type(b"A").unwrap(),
                server_stats: SharedServerStats::default(),
            };
            let names = vec!["a.example", "b.example", "c.example", "d.example"];
            let report = stopped(plan(engine), job, names, |_| {
                server.recv(&mut [0; 512]).expect("a query");
            });
            assert!(matches!(report.end, End::Interrupted));
            assert_eq!(report.counters.emitted, 0);
        }
    }
}

/// A stop before the run counts, too.
#[test]
fn a_run_that_was_stopped_before_it_began_does_nothing() {
    let stop = Stop::default();
    stop.request();
    let (of_results, _results) = mpsc::channel();
    let (_of_source, end) = mpsc::channel();
    let source = Stalls {
        items: Vec::new(),
        end,
    };
    let plan = plan(EngineKind::Threads);
    let job = Waiting(Waits::ForInput);
    let report = run(&plan, job, source, &mut Notifies(of_results), &stop).unwrap();
    assert!(matches!(report.end, End::Interrupted));
}
