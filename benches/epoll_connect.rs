//! The baseline that `ringmill connect` is measured against: one thread with one epoll, which keeps N
//! non-blocking connects in flight and prints each endpoint as soon as its status is known.
//!
//! The list is read as a whole, because a baseline needs no flow control. All connects have the same
//! timeout, so they time out in the order of their start, and a queue does the work of timers.

mod baseline;

use std::collections::VecDeque;
use std::io::{self, BufWriter, Read, StdoutLock, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const USAGE: &str = "\
usage: epoll_connect --in-flight N --timeout Ns [--abort] < LIST

Connects to the endpoints ADDRESS:PORT (IPv4) of a newline-separated list, and prints `endpoint<TAB>status`
lines in any order. A baseline for scripts/bench; without arguments it prints this and ends.
";

const EVENTS_PER_WAIT: usize = 1024;
const OUTPUT_BUFFER_BYTES: usize = 128 * 1024;

struct Options {
    in_flight: usize,
    timeout: Duration,
    /// Connections are closed by a reset.
    abort: bool,
}

fn main() -> ExitCode {
    baseline::main("epoll_connect", USAGE, parse, run)
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let (mut in_flight, mut timeout, mut abort) = (None, None, false);
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        if flag == "--abort" {
            abort = true;
            continue;
        }
        let value = rest
            .next()
            .ok_or_else(|| format!("{flag}: needs a value"))?;
        let wrong = || format!("{flag} {value}: not a value for it");
        match flag.as_str() {
            "--in-flight" => {
                let count = value.parse().ok().filter(|&count| count > 0);
                in_flight = Some(count.ok_or_else(wrong)?);
            }
            "--timeout" => {
                let seconds = value.strip_suffix('s').ok_or_else(wrong)?;
                timeout = Some(Duration::from_secs(seconds.parse().map_err(|_| wrong())?));
            }
            _ => return Err(format!("{flag}: unknown")),
        }
    }
    Ok(Options {
        in_flight: in_flight.ok_or("--in-flight is missing")?,
        timeout: timeout.ok_or("--timeout is missing")?,
        abort,
    })
}

/// Connects to the list on stdin; returns how many endpoints are not open.
fn run(options: &Options) -> io::Result<usize> {
    raise_open_files()?;
    let mut list = String::new();
    io::stdin().lock().read_to_string(&mut list)?;
    let endpoints: Vec<&str> = list.lines().collect();
    let mut connects = Connects {
        options,
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        sockets: endpoints.iter().map(|_| None).collect(),
        endpoints: &endpoints,
        in_flight: 0,
        deadlines: VecDeque::new(),
        stdout: BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, io::stdout().lock()),
        not_open: 0,
    };
    let mut next = 0;
    let mut events = [MaybeUninit::uninit(); EVENTS_PER_WAIT];
    loop {
        while connects.in_flight < options.in_flight && next < endpoints.len() {
            connects.start(next)?;
            next += 1;
        }
        if connects.in_flight == 0 && next == endpoints.len() {
            break;
        }
        connects.wait(&mut events)?;
    }
    connects.stdout.flush()?;
    Ok(connects.not_open)
}

fn raise_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

struct Connects<'a> {
    options: &'a Options,
    epoll: OwnedFd,
    endpoints: &'a [&'a str],
    /// For each endpoint the socket of its connect, if that is in flight.
    sockets: Vec<Option<OwnedFd>>,
    in_flight: usize,
    /// In the order of the starts; those of finished connects are skipped.
    deadlines: VecDeque<(Instant, usize)>,
    stdout: BufWriter<StdoutLock<'a>>,
    not_open: usize,
}

impl Connects<'_> {
    fn start(&mut self, index: usize) -> io::Result<()> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let address: SocketAddrV4 = self.endpoints[index].parse().map_err(invalid)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        if self.options.abort {
            sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        }
        match connect(&socket, &address) {
            Err(Errno::INPROGRESS) => {
                // Each socket has one event at most: its descriptor is closed after it.
                let (data, flags) = (EventData::new_u64(index as u64), EventFlags::OUT);
                epoll::add(&self.epoll, &socket, data, flags | EventFlags::ET)?;
                self.sockets[index] = Some(socket);
                self.in_flight += 1;
                let deadline = Instant::now() + self.options.timeout;
                self.deadlines.push_back((deadline, index));
                Ok(())
            }
            finished => self.print(index, finished),
        }
    }

    /// Waits for events or the next deadline, and finishes those connects.
    fn wait(&mut self, events: &mut [MaybeUninit<Event>]) -> io::Result<()> {
        let timeout = self.time_to_deadline();
        let (ready, _) = match epoll::wait(&self.epoll, &mut *events, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            ready => ready?,
        };
        for event in ready {
            // Copies, because the struct is packed.
            let (data, flags) = (event.data, event.flags);
            let index = data.u64() as usize;
            let socket = self.sockets[index].take().expect("in flight");
            let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            let finished = match failed {
                true => sockopt::socket_error(&socket)?,
                false => Ok(()),
            };
            self.in_flight -= 1;
            self.print(index, finished)?;
        }
        let now = Instant::now();
        while let Some(&(deadline, index)) = self.deadlines.front()
            && (deadline <= now || self.sockets[index].is_none())
        {
            self.deadlines.pop_front();
            if self.sockets[index].take().is_some() {
                self.in_flight -= 1;
                self.print(index, Err(Errno::TIMEDOUT))?;
            }
        }
        Ok(())
    }

    fn time_to_deadline(&self) -> Option<Timespec> {
        let (deadline, _) = self.deadlines.front()?;
        let left = deadline.saturating_duration_since(Instant::now());
        Timespec::try_from(left).ok()
    }

    fn print(&mut self, index: usize, finished: Result<(), Errno>) -> io::Result<()> {
        let status = match finished {
            Ok(()) => "open",
            Err(Errno::CONNREFUSED) => "refused",
            Err(Errno::TIMEDOUT) => "timeout",
            Err(_) => "failed",
        };
        self.not_open += usize::from(finished.is_err());
        self.stdout.write_all(self.endpoints[index].as_bytes())?;
        self.stdout.write_all(b"\t")?;
        self.stdout.write_all(status.as_bytes())?;
        self.stdout.write_all(b"\n")
    }
}
