//! The connections of a server: a thread for each.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::behaviour::{Behaviour, Tcp};
use super::counts::TcpCounts;
use super::judge::{Verdict, judge};
use super::message::Query;
use super::schedule::Schedule;

/// How long an idle thread waits before it checks whether to end.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// Answers on a connection before it is forgotten.
const ANSWERS_OF_FORGOTTEN: usize = 50;

/// The shortest timeout that `set_read_timeout` accepts.
const WAIT_MIN: Duration = Duration::from_micros(1);

pub fn serve(
    listener: TcpListener,
    behaviour: &Behaviour,
    ended: &AtomicBool,
) -> io::Result<TcpCounts> {
    listener.set_nonblocking(true)?;
    let counts = Mutex::new(TcpCounts::default());
    thread::scope(|scope| {
        while !ended.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, client)) => {
                    let counts = &counts;
                    let mut counted = counts.lock().expect("not poisoned");
                    counted.connections += 1;
                    counted.clients.insert(client.ip());
                    let is_first = counted.connections == 1;
                    drop(counted);
                    // A client that disconnects is no fault of the server.
                    scope.spawn(move || {
                        let _ = Connection::new(stream, behaviour, counts, is_first).serve(ended);
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    Ok(counts.into_inner().expect("not poisoned"))
}

struct Connection<'a> {
    stream: TcpStream,
    behaviour: &'a Behaviour,
    counts: &'a Mutex<TcpCounts>,
    /// Bytes that were read and are not a whole message yet.
    read: Vec<u8>,
    schedule: Schedule<Vec<u8>>,
    /// How many more answers will be sent.
    answers_left: usize,
}

impl<'a> Connection<'a> {
    fn new(
        stream: TcpStream,
        behaviour: &'a Behaviour,
        counts: &'a Mutex<TcpCounts>,
        is_first: bool,
    ) -> Self {
        let is_forgotten = is_first && behaviour.tcp == Tcp::ForgetsFirst;
        Self {
            stream,
            behaviour,
            counts,
            read: Vec::new(),
            schedule: Schedule::new(behaviour),
            answers_left: match is_forgotten {
                true => ANSWERS_OF_FORGOTTEN,
                false => usize::MAX,
            },
        }
    }

    fn serve(mut self, ended: &AtomicBool) -> io::Result<()> {
        let answered = self.answer(ended);
        self.receive_rest()?;
        answered
    }

    /// Reads what has arrived, so that it is counted even if the client ended before it was answered.
    fn receive_rest(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece)? {
                0 => return Ok(()),
                len => self.read.extend_from_slice(&piece[..len]),
            }
            self.take_messages();
        }
    }

    fn answer(&mut self, ended: &AtomicBool) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_nodelay(true)?;
        let mut closing = false;
        while !ended.load(Ordering::Relaxed) {
            let now = Instant::now();
            while let Some(reply) = self.schedule.pop(now) {
                if closing {
                    break;
                }
                if self.answers_left == 0 {
                    continue;
                }
                self.answers_left -= 1;
                self.stream.write_all(&reply)?;
                self.counts.lock().expect("not poisoned").answered += 1;
                if self.behaviour.tcp == Tcp::ClosesAfterOne {
                    // Closing with unread data would send a reset, which may overtake the answer; so
                    // the server waits for the client to close.
                    self.stream.shutdown(Shutdown::Write)?;
                    closing = true;
                }
            }
            if !self.receive(now)? {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the client may send more.
    fn receive(&mut self, now: Instant) -> io::Result<bool> {
        let time = self.schedule.time_to_next(now, WAIT_MAX);
        self.stream.set_read_timeout(Some(time.max(WAIT_MIN)))?;
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => return Ok(false),
            Ok(len) => self.read.extend_from_slice(&piece[..len]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        self.take_messages();
        Ok(true)
    }

    fn take_messages(&mut self) {
        let now = Instant::now();
        let mut from = 0;
        while let Some((len, rest)) = self.read[from..].split_first_chunk() {
            let len = usize::from(u16::from_be_bytes(*len));
            let Some(message) = rest.get(..len) else {
                break;
            };
            from += 2 + len;
            self.counts.lock().expect("not poisoned").received += 1;
            let Some(query) = Query::parse(message) else {
                continue;
            };
            let framed = |content| {
                let reply = query.reply(content);
                let len = u16::try_from(reply.len()).expect("a short reply");
                [&len.to_be_bytes()[..], &reply].concat()
            };
            match judge(self.behaviour, &query, false) {
                _ if self.behaviour.tcp == Tcp::Silent => {}
                Verdict::Nothing => {}
                Verdict::Reply(speed, content) => self.schedule.push(now, speed, framed(content)),
            }
        }
        self.read.drain(..from);
    }
}
