//! The share that one event loop has of the limit on queries at a server.

use super::controller::{Controller, Sample};
use super::estimate::{Estimate, Smoothed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Questions at one time for the servers of resolv.conf, which others use as well. Whoever names
/// servers knows what they bear.
const AT_ONCE_FOR_SYSTEM_SERVERS: usize = 100;

/// Questions at one time for each server that is named, if nothing is said of how many may be in flight.
/// Names without an answer are in flight for seconds, and must not have all places.
const AT_ONCE: usize = 4096;

/// How many questions each server is asked at one time, at most, where so many items may be in flight.
#[must_use]
pub fn at_once(in_flight: usize, in_flight_is_said: bool, servers_are_named: bool) -> usize {
    match (servers_are_named, in_flight_is_said) {
        (true, true) => in_flight,
        (true, false) => in_flight.min(AT_ONCE),
        (false, _) => in_flight.min(AT_ONCE_FOR_SYSTEM_SERVERS),
    }
}

/// What all loops know of one server.
#[derive(Debug)]
struct Shared {
    controller: Controller,
    /// What follows from the times of its replies, as the loop knows that reported last.
    reply_times: Option<Smoothed>,
    /// Loops that have a share of the limit so far.
    sharers: usize,
}

/// The limits on queries at each server, which all loops share: were each loop to find its own, one
/// that tries more would take from the other.
#[derive(Clone, Debug)]
pub struct SharedLimits {
    servers: Arc<[Mutex<Shared>]>,
    /// The number that the first server of a resolver has here.
    first: usize,
    loops: usize,
}

impl SharedLimits {
    /// For so many servers and loops. No server is asked more than `max` at one time, all loops
    /// together.
    #[must_use]
    pub fn new(servers: usize, max: usize, loops: usize) -> Self {
        let shared = || {
            Mutex::new(Shared {
                controller: Controller::new(max),
                reply_times: None,
                sharers: 0,
            })
        };
        Self {
            servers: std::iter::repeat_with(shared).take(servers).collect(),
            first: 0,
            loops,
        }
    }

    /// The same, for a resolver whose only server is the one with this number.
    pub(super) fn of_server(&self, first: usize) -> Self {
        Self {
            first,
            ..self.clone()
        }
    }

    fn server(&self, server: usize) -> MutexGuard<'_, Shared> {
        let shared = &self.servers[self.first + server];
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limit of one loop for one server. It reports what came of the queries from time to time.
#[derive(Debug)]
pub(super) struct Limit {
    shared: SharedLimits,
    server: usize,
    /// Of the loops that share it, counted from 0.
    sharer: usize,
    value: usize,
    /// As many were under way as allowed when the last query was sent.
    is_full: bool,
    /// The most that were under way.
    most: usize,
    sample: Sample,
}

impl Limit {
    pub(super) fn new(shared: SharedLimits, server: usize) -> Self {
        let loops = shared.loops;
        let mut known = shared.server(server);
        let sharer = known.sharers % loops;
        known.sharers += 1;
        drop(known);
        let mut limit = Self {
            shared,
            server,
            sharer,
            value: 0,
            is_full: false,
            most: 0,
            sample: Sample::default(),
        };
        limit.report(&Estimate::default(), Duration::ZERO);
        limit
    }

    /// How many queries of this loop the server may be busy with at one time.
    pub(super) fn get(&self) -> usize {
        self.value
    }

    /// The limit of all loops together.
    pub(super) fn of_all_loops(&self) -> usize {
        self.shared.server(self.server).controller.limit()
    }

    /// A query was sent, and now so many are under way.
    pub(super) fn sent(&mut self, under_way: usize) {
        self.is_full = under_way >= self.value;
        self.most = self.most.max(under_way);
        self.sample.was_full |= self.is_full;
    }

    /// A query was answered after this time.
    pub(super) fn answered(&mut self, time: Duration) {
        self.sample.answered += 1;
        self.sample.answered_time += time;
        self.lost(time);
    }

    /// The same, when its place had been taken away already and it counted as lost.
    pub(super) fn answered_late(&mut self, time: Duration) {
        self.sample.answered += 1;
        self.sample.answered_time += time;
    }

    /// A query had no answer, or a refusal, and kept its place for this time.
    pub(super) fn lost(&mut self, place_time: Duration) {
        self.sample.ended += 1;
        self.sample.place_time += place_time;
    }

    /// What another loop knows of the times of replies.
    pub(super) fn reply_times(&self) -> Option<Smoothed> {
        self.shared.server(self.server).reply_times
    }

    /// True if there are other loops.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.loops > 1
    }

    /// Reports what has ended, often enough to follow the limit, and seldom enough to cost nothing.
    /// `estimate` is what is known of the times of replies.
    pub(super) fn report_in_time(&mut self, estimate: &Estimate, now: Duration) {
        let ended = self.sample.ended.max(self.sample.answered);
        if ended as usize >= (self.value / 8).clamp(1, 64) {
            self.report(estimate, now);
        }
    }

    fn report(&mut self, estimate: &Estimate, now: Duration) {
        let mut sample = std::mem::take(&mut self.sample);
        sample.was_full |= self.is_full;
        sample.was_half_full = 2 * self.most >= self.value;
        let mut shared = self.shared.server(self.server);
        shared.controller.add(&sample, estimate.place_time(), now);
        shared.reply_times = estimate.known().or(shared.reply_times);
        let loops = self.shared.loops;
        // The shares add up to the limit, except that each is at least 1.
        let share = (shared.controller.limit() + loops - 1 - self.sharer) / loops;
        self.value = share.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resolver counts its servers from 0, whichever they are among all.
    #[test]
    fn a_resolver_of_one_server_has_the_limit_of_that() {
        let limits = SharedLimits::new(3, 64, 2);
        for number in 0..3 {
            let of_server = limits.of_server(number);
            let _held = of_server.server(0);
            let are_held = limits.servers.iter().map(|it| it.try_lock().is_err());
            let expected = (0..3).map(|at| at == number);
            assert!(are_held.eq(expected), "{number}");
        }
    }

    /// What loops are allowed adds up to the limit, but each may always ask one.
    #[test]
    fn the_limit_is_shared_out() {
        for (max, loops) in [(64, 2), (7, 2), (7, 3), (9, 4), (1, 1)] {
            let limits = SharedLimits::new(1, max, loops);
            let shares = || (0..loops).map(|_| Limit::new(limits.clone(), 0).get());
            assert_eq!(shares().sum::<usize>(), max);
            assert!(shares().all(|share| share >= max / loops));
        }
        let limits = SharedLimits::new(1, 1, 2);
        assert_eq!([0, 1].map(|_| Limit::new(limits.clone(), 0).get()), [1, 1]);
    }
}
