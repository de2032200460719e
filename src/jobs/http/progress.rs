//! How far a request got, and how long its steps took.

use super::phases::{BODY, CONNECT, FIRST_BYTE, PARK, RESOLVE, TLS};
use crate::io::Io;
use std::net::SocketAddr;
use std::time::Duration;

/// How far the last attempt got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The address of the server, if there was a connection.
    pub remote: Option<SocketAddr>,
    /// The status code, if the head of a response came.
    pub status: Option<u16>,
    /// How long the steps took.
    pub timings: Timings,
}

/// The time of each step, of the last attempt that had it; `None` for steps that did not take place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Looking up the host's addresses.
    pub resolve: Option<Duration>,
    /// Waiting for the turn at the origin, in all attempts.
    pub parked: Option<Duration>,
    /// Connecting.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the beginning of the request until the head of the response had arrived.
    pub first_byte: Option<Duration>,
    /// From the head of the response to the end of its body.
    pub body: Option<Duration>,
    /// From the start of the item to its end.
    pub total: Option<Duration>,
}

impl Progress {
    /// Another attempt begins.
    pub(super) fn begin_attempt(&mut self) {
        (self.remote, self.status) = (None, None);
        (self.timings.first_byte, self.timings.body) = (None, None);
    }
}

impl Timings {
    pub(super) fn add_parked(&mut self, io: &Io, since: Duration) {
        let time = io.now().saturating_sub(since);
        if !time.is_zero() {
            io.record(PARK, time);
            self.parked = Some(self.parked.unwrap_or_default() + time);
        }
    }

    pub(super) fn set_resolved(&mut self, io: &Io, since: Duration) {
        let time = io.now().saturating_sub(since);
        io.record(RESOLVE, time);
        self.resolve = Some(time);
    }

    pub(super) fn set_connected(&mut self, io: &Io, time: Duration) {
        io.record(CONNECT, time);
        self.connect = Some(time);
    }

    pub(super) fn set_secured(&mut self, io: &Io, since: Duration) {
        let time = io.now().saturating_sub(since);
        io.record(TLS, time);
        self.tls = Some(time);
    }

    /// Returns the time at which the step has ended.
    pub(super) fn set_first_byte(&mut self, io: &Io, since: Duration) -> Duration {
        let now = io.now();
        let time = now.saturating_sub(since);
        io.record(FIRST_BYTE, time);
        self.first_byte = Some(time);
        now
    }

    /// Returns the time at which the step has ended.
    pub(super) fn set_body(&mut self, io: &Io, since: Duration) -> Duration {
        let now = io.now();
        let time = now.saturating_sub(since);
        io.record(BODY, time);
        self.body = Some(time);
        now
    }
}
