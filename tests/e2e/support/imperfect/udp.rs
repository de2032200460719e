//! The datagrams of a server: one thread for all of them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::behaviour::Behaviour;
use super::counts::{Counts, Letter};
use super::judge::{Dice, TokenBucket, Verdict, judge};
use super::message::{Content, Query, REFUSED};
use super::schedule::Schedule;

/// Queries between two checks for replies that are due.
const BURST: usize = 64;

/// How long an idle server waits before it checks whether to end.
const WAIT_MAX: Duration = Duration::from_millis(50);

struct Pending {
    client: SocketAddr,
    letter: u8,
    reply: Vec<u8>,
}

struct Server<'a> {
    socket: &'a UdpSocket,
    behaviour: &'a Behaviour,
    schedule: Schedule<Pending>,
    dice: Dice,
    bucket: Option<TokenBucket>,
    letters: Vec<Letter>,
    counts: Counts,
}

pub fn serve(socket: &UdpSocket, behaviour: &Behaviour, ended: &AtomicBool) -> io::Result<Counts> {
    let now = Instant::now();
    let mut server = Server {
        socket,
        behaviour,
        schedule: Schedule::new(behaviour),
        dice: Dice(behaviour.seed),
        bucket: behaviour.rate.map(|rate| TokenBucket::new(rate, now)),
        letters: vec![Letter::default(); 256],
        counts: Counts::default(),
    };
    while !ended.load(Ordering::Relaxed) {
        let now = Instant::now();
        server.send_what_is_due(now);
        if !server.receive_burst(now)? {
            server.wait()?;
        }
    }
    Ok(server.into_counts())
}

impl Server<'_> {
    fn send_what_is_due(&mut self, now: Instant) {
        while let Some(pending) = self.schedule.pop(now) {
            self.send(pending);
        }
    }

    fn send(&mut self, pending: Pending) {
        if self.socket.send_to(&pending.reply, pending.client).is_err() {
            self.counts.unsent += 1;
            return;
        }
        self.counts.answered += 1;
        self.letters[usize::from(pending.letter)].answered += 1;
    }

    /// Returns whether there may be more datagrams.
    fn receive_burst(&mut self, now: Instant) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        for _ in 0..BURST {
            match self.socket.recv_from(&mut buffer) {
                Ok((len, client)) => self.take(&buffer[..len], client, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn take(&mut self, message: &[u8], client: SocketAddr, now: Instant) {
        self.counts.received += 1;
        self.counts.clients.insert(client.ip());
        let Some(query) = Query::parse(message) else {
            self.counts.malformed += 1;
            return;
        };
        let letter = query.letter();
        self.letters[usize::from(letter)].received += 1;
        let pending = |content: Content| Pending {
            client,
            letter,
            reply: query.reply(content),
        };
        if let Some(bucket) = &mut self.bucket
            && !bucket.take(now)
        {
            self.counts.dropped_beyond_rate += 1;
            return;
        }
        let outstanding = self.schedule.len();
        if self.behaviour.queue.is_some_and(|most| outstanding >= most) {
            self.counts.dropped_beyond_queue += 1;
            return;
        }
        let refuse_beyond = self.behaviour.refuse_beyond;
        if refuse_beyond.is_some_and(|most| outstanding >= most) {
            self.counts.refused_beyond += 1;
            let refusal = Content {
                rcode: REFUSED,
                ..Content::default()
            };
            return self.send(pending(refusal));
        }
        if letter == b'l' && self.dice.happens(self.behaviour.loss_percent) {
            self.counts.lost += 1;
            return;
        }
        match judge(self.behaviour, &query, true) {
            Verdict::Nothing => self.counts.ignored += 1,
            Verdict::Reply(speed, content) => self.schedule.push(now, speed, pending(content)),
        }
        let outstanding = self.schedule.len();
        self.counts.most_outstanding = self.counts.most_outstanding.max(outstanding);
    }

    /// Waits until a query comes or an answer is due.
    fn wait(&self) -> io::Result<()> {
        let time = self.schedule.time_to_next(Instant::now(), WAIT_MAX);
        let time = Timespec::try_from(time).expect("a short time");
        match poll(&mut [PollFd::new(self.socket, PollFlags::IN)], Some(&time)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn into_counts(self) -> Counts {
        let letters = (0..=u8::MAX).zip(self.letters);
        let letters = letters
            .filter(|(_, letter)| letter.received > 0)
            .map(|(byte, letter)| (char::from(byte), letter))
            .collect();
        Counts {
            letters,
            ..self.counts
        }
    }
}
